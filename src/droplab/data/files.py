"""Data that users give, by path: npz → Dataset, Dataset → npz."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data import fetch, npy
from droplab.data.arrays import KEYS, name_of, to_dataset
from droplab.data.catalog import CATALOG, find
from droplab.data.dataset import Dataset
from droplab.data.disk import expansion_limit, is_folder, open_regular, write_atomically
from droplab.data.folder import load_folder
from droplab.data.tables import SUFFIXES, is_table
from droplab.data.tabular import load_tabular
from droplab.errors import ConfigError, DataError, DroplabError


def load_dataset(
    name_or_path: str | Path,
    *,
    target: str | None = None,
    test: str | None = None,
    cache_dir: str | Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set of the catalog by its name, or a table, an npz file or a folder of npy or IDX files by its path.

    Args:
        name_or_path: a name of the catalog; else a path, if it has a suffix or a separator, or exists.
        target: of a table, the column of the classes.
        test: of a table, another table of test rows, or the share of the rows to test on.
        cache_dir: root of the cache for the catalog's files.
        notify: called with each notice while fetching; prints to stderr if `None`.

    Raises:
        ConfigError: if it is neither; the message says the nearest known name. If `target` or `test` is given for what
            is no table.
        DataError: if the file or folder is not what it must be.
        FetchError: if the catalog's files cannot be had from any source.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if text not in CATALOG and is_table(path) and not is_folder(path):
        return load_tabular(path, target, test, notify or _to_stderr)
    if target is not None or test is not None:
        raise ConfigError(
            f"target and test are for tables ({', '.join(SUFFIXES)}); found them with {text}. Leave them out."
        )
    if text not in CATALOG and (path.suffix or path.name != text or os.path.lexists(path)):
        return load_folder(path) if is_folder(path) else load_npz(path)
    return fetch.load(find(text), cache_dir=cache_dir, notify=notify)


def dataset_at_hand(
    name_or_path: str, fingerprint: str, target: str | None = None, test: str | None = None
) -> Dataset | None:
    """The data set of that name and fingerprint if it can be had without fetching anything, else `None`."""
    if name_or_path in CATALOG and any(fetch.verify(name_or_path).values()):
        return None
    try:
        dataset = load_dataset(name_or_path, target=target, test=test, notify=lambda _: None)
    except DroplabError:
        return None
    return dataset if dataset.fingerprint == fingerprint else None


def dataset_name(name_or_path: str) -> str:
    """The name of the data set that `load_dataset` gives for the same argument, without loading it."""
    return name_or_path if name_or_path in CATALOG else name_of(Path(name_or_path))


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def load_npz(path: str | Path) -> Dataset:
    """Load a data set from an npz file with the arrays `train_x`, `train_y`, `test_x`, `test_y`.

    Their shapes and dtypes are those of `arrays.to_dataset`.

    Raises:
        DataError: if the file is no npz, is damaged or a zip bomb, holds pickled objects, or lacks an array; if an
            array has the wrong shape or dtype, or a feature is not finite or overflows `float32`.
    """
    path = Path(path)
    with open_npz(path) as members:
        missing = [key for key in KEYS if key not in members.names]
        if missing:
            raise DataError(
                f"{path}: must hold the arrays {', '.join(KEYS)}; found {', '.join(members.names) or 'none'}. "
                f"Add {', '.join(missing)}."
            )
        arrays = {key: members.read(key) for key in KEYS}
    return to_dataset(path, f"file {path}", arrays, {key: f"{path}: {key}" for key in KEYS})


def write_npz(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as the npz of the original post: scaled `float32` features, images as (examples, rows, columns).

    Labels are `uint8` where there are at most 256 classes, else `int64`. The file is written whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """

    def features(x: NDArray[Any]) -> NDArray[np.float32]:
        scaled = x.astype(np.float32) * np.float32(dataset.scale)
        return scaled.reshape(len(x), *(dataset.image_shape or (-1,)))

    labels = np.uint8 if len(dataset.classes) <= 256 else np.int64
    with write_atomically(Path(path)) as handle:
        np.savez_compressed(
            handle,
            train_x=features(dataset.train_x),
            train_y=dataset.train_y.astype(labels),
            test_x=features(dataset.test_x),
            test_y=dataset.test_y.astype(labels),
        )


@dataclass(frozen=True)
class Members:
    """The arrays of an open npz; each is read only after its sizes have been checked against the file's."""

    path: Path
    archive: zipfile.ZipFile
    names: Sequence[str]

    def read(self, name: str) -> NDArray[Any]:
        """Read one array.

        Raises:
            DataError: if it is not what it must be.
        """
        where = f"{self.path}: {name}"
        info = self.archive.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise DataError(f"{where} must be stored or deflated, not encrypted. Write it with np.savez_compressed.")
        with self.archive.open(info) as stream:
            dtype, shape, fortran = npy.read_header(where, stream)
            # tell() is the header's length; the zip gives at most file_size bytes, whatever the npy header says
            promised = info.file_size - stream.tell()
            npy.check_length(where, dtype, shape, promised)
            payload = bytearray(stream.read())
        if len(payload) != promised:
            raise DataError(f"{where}: must hold {promised} bytes; found {len(payload)}. The file is truncated.")
        array = np.ndarray(shape, dtype, buffer=payload, order="F" if fortran else "C")
        return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


@contextmanager
def open_npz(path: Path) -> Iterator[Members]:
    """Open an npz file.

    Raises:
        DataError: if it is none, is damaged or a zip bomb.
    """
    with open_regular(path) as handle:
        try:
            size = os.fstat(handle.fileno()).st_size
            with zipfile.ZipFile(handle) as archive:
                names = [_key(path, info.filename) for info in archive.infolist()]
                unpacked = sum(info.file_size for info in archive.infolist())
                if unpacked > expansion_limit(size):
                    raise DataError(
                        f"{path}: {size} bytes must not unpack to {unpacked}: this looks like a zip bomb. If it is "
                        "meant, write it again with np.savez (not compressed)."
                    )
                yield Members(path, archive, names)
        except DataError:
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise DataError(
                f"{path}: must be a sound npz file; found: {error or 'it ends too early'}. "
                "Write it again with np.savez_compressed; `droplab data inspect` says what a file holds."
            ) from None


def _key(path: Path, member: str) -> str:
    name = member.removesuffix(".npy")
    if name == member or not name or any(mark in name for mark in ("/", "\\", "..")):
        raise DataError(f"{path}: members must be arrays named NAME.npy; found {member!r}. Write the file again.")
    return name
