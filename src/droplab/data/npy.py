"""The npy format: headers read without believing them, arrays mapped without reading them."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from droplab.data.disk import open_regular
from droplab.data.mapped import MappedFile
from droplab.errors import DataError, reading

MAGIC = b"\x93NUMPY"
_LAST_CHARACTER = 0x10FFFF
_MOST_HEADER = 1 << 14  # NumPy itself refuses more than 10,000


def open_mapped(path: Path) -> NDArray[Any]:
    """Map the array of an npy file read-only; one in Fortran order is read into memory instead, in C order.

    Raises:
        DataError: if the file cannot be read or mapped, holds pickled objects, or is not as long as its header says.
    """
    with open_regular(path) as handle, reading(path, "an npy file"):
        head = io.BytesIO(handle.read(_MOST_HEADER))
        dtype, shape, fortran = read_header(str(path), head)
        file = MappedFile.of(handle, path, head.tell(), dtype, shape[::-1] if fortran else shape)
    check_length(str(path), dtype, shape, file.length - file.offset)
    array = file.map()
    check_text(str(path), array)
    return np.ascontiguousarray(array.T) if fortran else array


def read_header(where: str, stream: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Read the header at the beginning of a stream: dtype, shape, and whether the order is Fortran's.

    Raises:
        DataError: if there is none, it is damaged, or it promises pickled objects.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is odd in that text
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


def check_text(where: str, array: NDArray[Any]) -> None:
    """Raise `DataError` where an array of text has numbers that are no characters, of which no text can be made."""
    if array.dtype.kind == "U" and array.size:
        numbers = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4")
        odd = (numbers > _LAST_CHARACTER) | ((numbers >= 0xD800) & (numbers < 0xE000))  # halves of a pair
        if odd.any():
            raise DataError(
                f"{where}: text must be of characters up to U+10FFFF; found the number {numbers[odd][0]:#x}. The file "
                "is damaged: write it again."
            )


def check_length(where: str, dtype: np.dtype[Any], shape: tuple[int, ...], found: int) -> None:
    """Raise `DataError` unless `found` bytes are exactly what a header of `shape` and `dtype` promises."""
    promised = math.prod(shape) * dtype.itemsize
    if promised != found:
        raise DataError(
            f"{where}: its header promises shape {shape} of {dtype}, {promised} bytes; found {found}. "
            "The file is damaged: write it again."
        )
