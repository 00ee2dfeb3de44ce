"""Arrays that stay in their file: mapped read-only, so that memory need not hold them."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from droplab.data.disk import cache_folder, open_regular
from droplab.errors import DataError, reading

_CHUNK = 16 << 20


@dataclass(frozen=True)
class MappedFile:
    """Where an array lies in a file, and what that file was like when its header was read.

    It pickles to a few bytes, with which another process maps the same array.

    Attributes:
        path: absolute.
        offset: of the first element, in bytes.
        dtype: of the elements.
        shape: of the array, last dimension fastest.
        length: of the whole file, in bytes.
        modified: when the file was last written to, in nanoseconds.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    length: int
    modified: int

    @classmethod
    def of(cls, handle: BinaryIO, path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> MappedFile:
        """Describe an array of an open file."""
        status = os.fstat(handle.fileno())
        return cls(path.absolute(), offset, dtype, shape, status.st_size, status.st_mtime_ns)

    def map(self) -> MappedArray:
        """Map the array; its pages are read when they are touched, and writing to it is an error.

        Raises:
            DataError: if the file cannot be mapped, or is no longer what it was.
        """
        must = f"an array of shape {self.shape} of {self.dtype} that can be mapped into memory"
        with open_regular(self.path) as handle, reading(self.path, must, "Check the file and its file system."):
            self._compare(os.fstat(handle.fileno()))
            pages = mmap.mmap(handle.fileno(), self.length, access=mmap.ACCESS_READ)
            array = MappedArray(self.shape, self.dtype, buffer=pages, offset=self.offset)
        array.file = self
        return array

    def check(self) -> None:
        """Raise `DataError` unless the file is still what it was when its header was read."""
        try:
            self._compare(self.path.stat())
        except OSError as error:
            raise DataError(
                f"{self.path}: must stay where it is while it is trained on; {error.strerror or error}. "
                "Put it back and begin again."
            ) from None

    def _compare(self, status: os.stat_result) -> None:
        if (status.st_size, status.st_mtime_ns) != (self.length, self.modified):
            raise DataError(
                f"{self.path}: must stay as it is while it is trained on; it was written to since it was first read "
                f"({self.length} bytes then, {status.st_size} now). Leave it alone and begin again."
            )


class MappedArray(np.ndarray[Any, np.dtype[Any]]):
    """An array over a mapped file, read-only.

    Attributes:
        file: what it is the array of; `None` for what NumPy derives from such an array (slices, results).
    """

    file: MappedFile | None = None

    def flattened(self) -> MappedArray:
        """The same bytes as (examples, features), without a copy."""
        flat = self.reshape(len(self), -1).view(MappedArray)
        flat.file = replace(self.file, shape=flat.shape) if self.file else None
        return flat


def spilled(array: NDArray[Any]) -> MappedArray:
    """The same array in a file in the cache that other processes can map, and that goes with this one, however it ends.

    It has no name in its folder: they find it among what this process holds open.

    Raises:
        OSError: if there is no room for it, or the system does not show a process's open files.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _, rows in row_chunks(array):
            file.write(np.ascontiguousarray(rows).data)
        file.flush()
        held = os.dup(file.fileno())
        path = Path(f"/proc/{os.getpid()}/fd/{held}")
        path.stat()
        mapped = MappedFile.of(file, path, 0, array.dtype, array.shape).map()
    weakref.finalize(mapped, os.close, held)
    return mapped


def row_chunks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Go through an array in order, some rows (about 16 MiB) at a time: (first row, the rows)."""
    plain = np.asarray(array)  # of a mapped array: the same bytes as an ordinary one
    rows = max(1, _CHUNK // max(1, plain.itemsize * math.prod(plain.shape[1:])))
    for start in range(0, len(plain), rows):
        yield start, plain[start : start + rows]
