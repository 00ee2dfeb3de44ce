"""Data files that users give: npz → Dataset, Dataset → npz, and what a data file holds."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data import fetch, idx
from droplab.data.catalog import CATALOG, find
from droplab.data.dataset import Dataset
from droplab.data.disk import expansion_limit, open_regular, write_atomically
from droplab.errors import DataError

KEYS = ("train_x", "train_y", "test_x", "test_y")
_ZIP_MAGIC = b"PK"
_MOST_COUNTED = 1_000  # an integer array with more distinct values holds no classes


def load_dataset(
    name_or_path: str | Path,
    *,
    cache_dir: str | Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> Dataset:
    """Load a data set of the catalog by its name, or a data file by its path.

    Args:
        name_or_path: a name of the catalog; else a path, if it has a suffix or a separator, or exists.
        cache_dir: root of the cache for the catalog's files.
        notify: called with each notice while fetching; prints to stderr if `None`.

    Raises:
        ConfigError: if it is neither; the message says the nearest known name.
        DataError: if the file is not what it must be.
        FetchError: if the catalog's files cannot be had from any source.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if text not in CATALOG and (path.suffix or path.name != text or os.path.lexists(path)):
        return load_npz(path)
    return fetch.load(find(text), cache_dir=cache_dir, notify=notify)


def dataset_name(name_or_path: str) -> str:
    """The name of the data set that `load_dataset` gives for the same argument, without loading it."""
    return name_or_path if name_or_path in CATALOG else Path(name_or_path).stem


def load_npz(path: str | Path) -> Dataset:
    """Load a data set from an npz file with the arrays `train_x`, `train_y`, `test_x`, `test_y`.

    Features are (examples, features), or (examples, rows, columns) for images; `uint8` stays and is scaled by 1/255,
    any other number becomes `float32`. Labels are integers, booleans or strings, shape (examples,); the classes are
    their sorted distinct values.

    Raises:
        DataError: if the file is no npz, is damaged or a zip bomb, holds pickled objects, or lacks an array; if an
            array has the wrong shape or dtype, or a feature is not finite or overflows `float32`.
    """
    path = Path(path)
    with _opened_npz(path) as members:
        missing = [key for key in KEYS if key not in members.names]
        if missing:
            raise DataError(
                f"{path}: must hold the arrays {', '.join(KEYS)}; found {', '.join(members.names) or 'none'}. "
                f"Add {', '.join(missing)}."
            )
        train_x, train_y, test_x, test_y = (members.read(key) for key in KEYS)
    image_shape = (int(train_x.shape[1]), int(train_x.shape[2])) if train_x.ndim == 3 else None
    if train_x.shape[1:] != test_x.shape[1:]:
        raise DataError(
            f"{path}: train_x and test_x must have the same features; found shapes {train_x.shape} and {test_x.shape}."
        )
    classes, train_classes, test_classes = _classes(
        _labels(f"{path}: train_y", train_y), _labels(f"{path}: test_y", test_y)
    )
    return Dataset(
        name=path.stem,
        train_x=_features(f"{path}: train_x", train_x),
        train_y=train_classes,
        test_x=_features(f"{path}: test_x", test_x),
        test_y=test_classes,
        classes=classes,
        scale=1 / 255 if train_x.dtype == np.uint8 else 1.0,
        image_shape=image_shape,
        source=f"file {path}",
    )


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
class ArrayInfo:
    """What one array of a data file holds.

    Attributes:
        name: its key in an npz, or the name of the IDX file.
        dtype: as stored.
        shape: as stored.
        low: least value; `None` where the array is empty or holds no real numbers.
        high: greatest value, likewise.
        counts: examples of each class, if the array looks like labels (one integer or string an example).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float | None
    high: float | None
    counts: dict[str, int]


@dataclass(frozen=True)
class FileInfo:
    """What a data file holds: its kind in words, and its arrays."""

    kind: str
    arrays: tuple[ArrayInfo, ...]


def inspect(path: str | Path) -> FileInfo:
    """Say what an IDX file (plain or gzip) or an npz file holds.

    Raises:
        DataError: if the file is neither, or damaged.
    """
    path = Path(path)
    with open_regular(path) as handle:
        head = handle.read(2)
    if head == _ZIP_MAGIC:
        with _opened_npz(path) as members:
            return FileInfo("npz", tuple(_info(name, members.read(name)) for name in members.names))
    kind = "IDX, gzip" if head == idx.GZIP_MAGIC else "IDX"
    return FileInfo(kind, (_info(path.name, idx.read(path)),))


def _info(name: str, array: NDArray[Any]) -> ArrayInfo:
    real = array.size and array.dtype.kind in "biuf"
    counts: dict[str, int] = {}
    if array.ndim == 1 and array.dtype.kind in "biuU":
        values, members = np.unique(array, return_counts=True)
        if len(values) <= _MOST_COUNTED:
            counts = {str(value): int(count) for value, count in zip(values, members, strict=True)}
    low, high = (float(array.min()), float(array.max())) if real else (None, None)
    return ArrayInfo(name, str(array.dtype), array.shape, low, high, counts)


def _features(where: str, x: NDArray[Any]) -> NDArray[Any]:
    """Flatten features to (examples, features) as `uint8` or `float32`."""
    if x.dtype.kind not in "uif":
        raise DataError(f"{where} must hold real numbers; found {x.dtype}. Encode it as numbers first.")
    if x.ndim not in (2, 3) or x.size == 0:
        raise DataError(
            f"{where} must be (examples, features) or (examples, rows, columns), at least one of each; "
            f"found shape {x.shape}. Reshape it."
        )
    if x.dtype != np.uint8:
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)
        if not np.isfinite(narrow).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(narrow))[0])
            raise DataError(
                f"{where} must be finite as float32; found {x[place]} at {place}. Remove or rescale such values first."
            )
        x = narrow
    return x.reshape(len(x), -1)


def _labels(where: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.ndim != 1:
        raise DataError(f"{where} must have one label an example, shape (examples,); found shape {y.shape}.")
    if y.dtype.kind == "f":
        raise DataError(f"{where} must be classes; found {y.dtype}, as for a regression. Convert it to integers.")
    if y.dtype.kind not in "biuU":
        raise DataError(f"{where} must be integers, booleans or strings; found {y.dtype}. Convert it first.")
    if y.dtype == np.uint64 and y.size and y.max() > np.iinfo(np.int64).max:
        raise DataError(f"{where} must fit int64; found {y.max()}. Number the classes from 0.")
    return y.astype(np.int64) if y.dtype.kind in "iu" else y


def _classes(train: NDArray[Any], test: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Name the distinct labels of both parts and number them 0 … K−1, in sorted order."""
    if train.dtype.kind != test.dtype.kind:
        raise DataError(f"train_y and test_y must be of one kind; found {train.dtype} and {test.dtype}.")
    values, numbers = np.unique(np.concatenate([train, test]), return_inverse=True)
    numbers = numbers.astype(np.int64)
    return tuple(str(value) for value in values), numbers[: len(train)], numbers[len(train) :]


@dataclass(frozen=True)
class _Members:
    """The arrays of an open npz; each is read only after its sizes have been checked against the file's."""

    path: Path
    archive: zipfile.ZipFile
    names: Sequence[str]

    def read(self, name: str) -> NDArray[Any]:
        where = f"{self.path}: {name}"
        info = self.archive.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise DataError(f"{where} must be stored or deflated, not encrypted. Write it with np.savez_compressed.")
        with self.archive.open(info) as stream:
            dtype, shape, fortran = _npy_header(where, stream)
            promised = math.prod(shape) * dtype.itemsize
            # tell() is the header's length; the zip gives at most file_size bytes, whatever the npy header says
            if promised != info.file_size - stream.tell():
                raise DataError(
                    f"{where}: its header promises shape {shape} of {dtype}, {promised} bytes; found "
                    f"{info.file_size - stream.tell()}. The file is damaged: write it again."
                )
            payload = bytearray(stream.read())
        if len(payload) != promised:
            raise DataError(f"{where}: must hold {promised} bytes; found {len(payload)}. The file is truncated.")
        array = np.ndarray(shape, dtype, buffer=payload, order="F" if fortran else "C")
        return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


def _npy_header(where: str, stream: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
        sound = all(n >= 0 for n in shape) and dtype.itemsize > 0
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise
    except Exception as error:  # NumPy parses the header as Python text: what a damaged one raises is open-ended
        raise DataError(
            f"{where} must begin with an npy header; it cannot be read ({error}). Write it again."
        ) from None
    if dtype.hasobject:
        raise DataError(
            f"{where} must hold plain numbers; found pickled objects ({dtype}), which are never read: they can run any "
            "code. Convert the array to a number dtype and save it again."
        )
    if not sound:
        raise DataError(f"{where}: shape {shape} of {dtype} cannot be. The file is damaged: write it again.")
    return dtype, shape, fortran


@contextmanager
def _opened_npz(path: Path) -> Iterator[_Members]:
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
                yield _Members(path, archive, names)
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
