"""The npz format → Dataset, Dataset → npz: members read only after their sizes have been checked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.config import Task
from droplab.data import npy
from droplab.data.arrays import KEYS, Labelled, held_out_of, to_dataset
from droplab.data.dataset import Dataset
from droplab.data.disk import expansion_limit, open_regular, write_atomically
from droplab.errors import ConfigError, DataError, reading

FEATURES = ("x", "X")
"""How features may be called where train and test are not kept apart."""


def load_npz(
    path: str | Path,
    test: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
    task: Task = "auto",
) -> Dataset:
    """Load a data set from an npz file with the arrays `train_x`, `train_y`, `test_x`, `test_y`, or `x` and `y`.

    Their shapes and dtypes are those of `arrays.to_dataset`.

    Args:
        path: of the file.
        test: of `x` and `y` alone, another such file, or the share of the examples to test on.
        notify: told what is assumed.
        task: as that of `arrays.targets_of`.

    Raises:
        ConfigError: if `test` is no share, or the file has a test part of its own.
        DataError: if the file is no npz, is damaged or a zip bomb, holds pickled objects, or lacks an array; if an
            array has the wrong shape or dtype, or a feature is not finite or overflows `float32`.
    """
    path = Path(path)
    with open_npz(path) as members:
        if not set(KEYS) & set(members.names) and _features_of(members):
            examples = _labelled(members)
        else:
            examples = None
            if missing := [key for key in KEYS if key not in members.names]:
                raise DataError(
                    f"{path}: must hold the arrays {', '.join(KEYS)}, or x and y; found "
                    f"{', '.join(members.names) or 'none'}. Add {', '.join(missing)}."
                )
            arrays = [members.read(key) for key in KEYS]
    if examples is not None:
        return held_out_of(path, f"file {path}", examples, test, _read_labelled, notify, task)
    if test is not None:
        raise ConfigError(f"{path}: has a test part of its own (test_x, test_y), so test cannot act. Leave it out.")
    return to_dataset(path, f"file {path}", arrays, [f"{path}: {key}" for key in KEYS], task=task, notify=notify)


def _read_labelled(text: str) -> Labelled:
    with open_npz(Path(text)) as members:
        return _labelled(members)


def _labelled(members: Members) -> Labelled:
    features = _features_of(members)
    if features is None or "y" not in members.names:
        raise DataError(
            f"{members.path}: must hold the arrays x and y; found {', '.join(members.names) or 'none'}. Add them."
        )
    where = (f"{members.path}: {features}", f"{members.path}: y")
    return Labelled(members.read(features), members.read("y"), where)


def _features_of(members: Members) -> str | None:
    return next((name for name in FEATURES if name in members.names), None)


def write_npz(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as the npz of the original post: scaled `float32` features, images as (examples, rows, columns).

    Labels are `uint8` where there are at most 256 classes, else `int64`; numbers are `float64`. The file is
    written whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """

    def features(x: NDArray[Any]) -> NDArray[np.float32]:
        scaled = x.astype(np.float32) * np.float32(dataset.scale)
        return scaled.reshape(len(x), *(dataset.image_shape or (-1,)))

    labels = np.float64 if dataset.is_of_numbers else np.uint8 if len(dataset.classes) <= 256 else np.int64
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
        npy.check_text(where, array)
        return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


@contextmanager
def open_npz(path: Path) -> Iterator[Members]:
    """Open an npz file.

    Raises:
        DataError: if it is none, is damaged or a zip bomb.
    """
    advice = "Write it again with np.savez_compressed; `droplab data inspect` says what a file holds."
    with open_regular(path) as handle, reading(path, "a sound npz file", advice), zipfile.ZipFile(handle) as archive:
        size = os.fstat(handle.fileno()).st_size
        names = [_key(path, info.filename) for info in archive.infolist()]
        unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > expansion_limit(size):
            raise DataError(
                f"{path}: {size} bytes must not unpack to {unpacked}: this looks like a zip bomb. If it is meant, "
                "write it again with np.savez (not compressed)."
            )
        yield Members(path, archive, names)


def _key(path: Path, member: str) -> str:
    name = member.removesuffix(".npy")
    if name == member or not name or any(mark in name for mark in ("/", "\\", "..")):
        raise DataError(f"{path}: members must be arrays named NAME.npy; found {member!r}. Write the file again.")
    return name
