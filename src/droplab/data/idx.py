"""The IDX format: bytes ↔ arrays.

A file is a big-endian header (two zero bytes, a type code, the number of dimensions, each dimension as an unsigned
32-bit integer) and then the elements, big-endian, last dimension fastest. Format: the MNIST page of LeCun, Cortes and
Burges. Nothing the header says is believed: memory follows the bytes that are really there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from droplab.data.disk import expansion_limit, open_regular, write_atomically
from droplab.data.mapped import MappedFile
from droplab.errors import DataError, reading

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
GZIP_MAGIC = b"\x1f\x8b"
_CODES = {dtype.newbyteorder("="): code for code, dtype in TYPES.items()}
_MOST_DIMENSIONS = 64  # the most a NumPy array has; the format allows 255
_MEANT = {1: "labels (1 dimension)", 2: "a table of labels (2 dimensions)", 3: "images (3 dimensions)"}
_CHUNK = 1 << 20


def read(source: str | Path | bytes, *, dims: int | None = None) -> NDArray[Any]:
    """Read one IDX file, plain or gzip; which of the two is decided by its bytes, not by its name.

    Args:
        source: a path, or the bytes themselves.
        dims: the number of dimensions that is meant (3 for images, 1 for labels); `None` takes any.

    Returns:
        The array as stored, in the machine's byte order; it may hold zero elements.

    Raises:
        DataError: if the file cannot be read, or its header, length, checksum or dimensions are not what they must be.

    Example:
        >>> read(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
        array([7, 8, 9], dtype=uint8)
    """
    with ExitStack() as stack:
        stored: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open_regular(Path(source))
        stack.enter_context(stored)
        where = "IDX bytes" if isinstance(source, bytes) else str(source)
        with reading(where, "a sound gzip file", "Fetch it again."):
            zipped = stored.read(2) == GZIP_MAGIC
            size = stored.seek(0, io.SEEK_END)
            stored.seek(0)
            if not zipped:
                return _decode(stored, where, limit=size, size=size, dims=dims)
            unpacked = stack.enter_context(gzip.GzipFile(fileobj=stored))
            return _decode(unpacked, where, limit=expansion_limit(size), size=size, dims=dims)


def open_mapped(path: Path, *, dims: int | None = None) -> NDArray[Any]:
    """As `read`, but an uncompressed file is mapped read-only instead; its elements stay big-endian, as stored.

    Raises:
        DataError: as `read` does, or if the file cannot be mapped.
    """
    with open_regular(path) as stored, reading(path, "an IDX file", "Fetch it again."):
        zipped = stored.read(2) == GZIP_MAGIC
        stored.seek(0)
        if not zipped:
            dtype, shape = _read_header(stored, str(path))
            file = MappedFile.of(stored, path, stored.tell(), dtype, shape)
    if zipped:
        return read(path, dims=dims)
    _check_dims(str(path), shape, dims)
    promised, found = math.prod(shape) * dtype.itemsize, file.length - file.offset
    if found != promised:
        raise DataError(_wrong_length(str(path), dtype, shape, promised, found))
    return file.map()


def pair(images: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Match images of shape (examples, rows, columns) with labels of shape (examples,) or (examples, columns).

    Returns:
        The images, and the classes (column 0 of a table) as `int64` of shape (examples,).

    Raises:
        DataError: if there are no examples, the counts differ, or the labels are no integers.
    """
    if images.size == 0 or labels.size == 0:
        raise DataError(
            f"images and labels must hold at least one example; found images of shape {images.shape} and labels of "
            f"shape {labels.shape}. Fetch both files again."
        )
    if len(images) != len(labels):
        raise DataError(
            f"images and labels must be equally many; found {len(images)} images and {len(labels)} labels. "
            "Are the files from different splits (train, test)?"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers; found {labels.dtype}. Check that this is the label file.")
    return images, (labels if labels.ndim == 1 else labels[:, 0]).astype(np.int64)


def write(path: str | Path, array: NDArray[Any], *, compress: bool = False) -> None:
    """Write an array as an IDX file, whole or not at all.

    Args:
        path: where to; an existing file is replaced.
        array: uint8, int8, int16, int32, float32 or float64 with 1 to 64 dimensions.
        compress: write gzip; the same array always gives the same bytes.

    Raises:
        DataError: if the format cannot hold the array, or the file cannot be written.
    """
    header, payload = _header(array), _payload(array)
    with write_atomically(Path(path)) as handle:
        if compress:
            with gzip.GzipFile(filename="", fileobj=handle, mode="wb", mtime=0) as packed:
                packed.write(header)
                packed.write(payload)
        else:
            handle.write(header)
            handle.write(payload)


def digest(array: NDArray[Any]) -> str:
    """Return the SHA-256, in hexadecimal, of the uncompressed IDX file that holds the array."""
    sha256 = hashlib.sha256(_header(array))
    sha256.update(_payload(array))
    return sha256.hexdigest()


def _header(array: NDArray[Any]) -> bytes:
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        known = ", ".join(str(dtype) for dtype in _CODES)
        raise DataError(f"an IDX file holds one of {known}; found {array.dtype}. Convert the array first.")
    if array.ndim == 0 or max(array.shape) >= 2**32:
        raise DataError(
            f"an IDX file holds 1 or more dimensions, each below 2**32; found shape {array.shape}. Reshape the array."
        )
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def _payload(array: NDArray[Any]) -> memoryview:
    big_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">"))
    return big_endian.reshape(-1).view(np.uint8).data


def _decode(stream: BinaryIO | gzip.GzipFile, where: str, *, limit: int, size: int, dims: int | None) -> NDArray[Any]:
    dtype, shape = _read_header(stream, where)
    _check_dims(where, shape, dims)
    promised = math.prod(shape) * dtype.itemsize
    payload = _read_up_to(stream, min(promised, limit) + 1)
    if len(payload) > limit:
        raise DataError(
            f"{where}: its {size} bytes must not unpack to more than {limit}: this looks like a gzip bomb. If it is "
            "meant, unpack it first."
        )
    if len(payload) != promised:
        raise DataError(_wrong_length(where, dtype, shape, promised, len(payload)))
    try:
        array = np.ndarray(shape, dtype, buffer=payload)
    except ValueError:  # zero elements, but the other dimensions overflow NumPy's index
        raise DataError(f"{where}: dimensions {shape} are larger than any array. The header is damaged.") from None
    return array if array.dtype.isnative else array.astype(dtype.newbyteorder("="))


def _read_header(stream: BinaryIO | gzip.GzipFile, where: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise DataError(f"{where}: must hold an IDX header; found no byte at all (empty file). Fetch it again.")
    if looks_like_html(magic):
        raise DataError(
            f"{where}: must be an IDX file; found an HTML page, perhaps a mirror's error page. Fetch it from elsewhere."
        )
    if len(magic) < 4:
        raise DataError(f"{where}: an IDX header has at least 4 bytes; found {len(magic)}. Fetch the file again.")
    if magic[2:] == b"\0\0" and magic[1] in TYPES and 0 < magic[0] <= _MOST_DIMENSIONS:
        raise DataError(
            f"{where}: an IDX header is big-endian; found a little-endian one ({magic.hex(' ')}). "
            "Write the file again with big-endian numbers."
        )
    if magic[:2] != b"\0\0":
        raise DataError(
            f"{where}: an IDX file begins with two zero bytes; found {magic.hex(' ')}. Is this another kind of file?"
        )
    if magic[2] not in TYPES:
        known = ", ".join(f"0x{code:02X}" for code in TYPES)
        raise DataError(f"{where}: the IDX type code must be one of {known}; found 0x{magic[2]:02X}.")
    count = magic[3]
    if not 1 <= count <= _MOST_DIMENSIONS:
        raise DataError(f"{where}: an IDX file must have 1 to {_MOST_DIMENSIONS} dimensions here; found {count}.")
    raw = stream.read(4 * count)
    if len(raw) != 4 * count:
        raise DataError(
            f"{where}: a header with {count} dimensions has {4 + 4 * count} bytes; the file ends after "
            f"{4 + len(raw)}. Fetch it again."
        )
    return TYPES[magic[2]], struct.unpack(f">{count}I", raw)


def looks_like_html(head: bytes) -> bool:
    """Say whether the first bytes of a file begin a page of HTML or XML (a mirror's error page)."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _read_up_to(stream: BinaryIO | gzip.GzipFile, most: int) -> bytearray:
    """Read until the end or until `most` bytes; at the end of a gzip stream its checksum has been checked."""
    payload = bytearray()
    while len(payload) < most and (chunk := stream.read(min(_CHUNK, most - len(payload)))):
        payload += chunk
    return payload


def _check_dims(where: str, shape: tuple[int, ...], meant: int | None) -> None:
    found = len(shape)
    if meant is None or found == meant:
        return
    if {found, meant} in ({1, 3}, {2, 3}):
        kind = "an image file (3 dimensions)" if found == 3 else f"a label file ({found} dimension{'s'[: found - 1]})"
        raise DataError(f"{where}: this is {kind} where {_MEANT[meant]} are meant: are the two files swapped?")
    raise DataError(f"{where}: must have {meant} dimension(s), as {_MEANT.get(meant, 'asked')}; found {found}.")


def _wrong_length(where: str, dtype: np.dtype[Any], shape: tuple[int, ...], promised: int, found: int) -> str:
    claim = f"{where}: the header promises {' × '.join(map(str, shape))} elements of {dtype.itemsize} byte(s)"
    swapped = [int.from_bytes(n.to_bytes(4, "little"), "big") for n in shape]
    if found == math.prod(swapped) * dtype.itemsize:
        return f"{claim}; found {found} bytes, which fit little-endian dimensions. Write them big-endian."
    if found > promised:
        return f"{claim}, {promised} bytes; found more bytes after them. The file is damaged, or the header lies."
    return (
        f"{claim}, {promised} bytes; found {found}. The file is truncated or not what its header says: fetch it again."
    )
