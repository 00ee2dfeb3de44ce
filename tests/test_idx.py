"""The IDX format: sound files round-trip, every unsound one is a DataError of its own, memory follows real bytes."""

from __future__ import annotations

import gzip
import math
import os
import resource
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from droplab.data import idx
from droplab.errors import DataError

DTYPES = [np.dtype(name) for name in ("u1", "i1", "i2", "i4", "f4", "f8")]
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([1, 0], dtype=np.uint8)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=4))
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def header(*dims: int, code: int = 0x08, order: str = ">") -> bytes:
    return struct.pack(f"{order}I{len(dims)}I", code << 8 | len(dims), *dims)


def sound(array: np.ndarray = IMAGES) -> bytes:
    return idx._header(array) + bytes(idx._payload(array))


def peak_of(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fault(content: bytes, **options) -> str:
    with pytest.raises(DataError) as caught:
        idx.read(content, **options)
    return str(caught.value)


@QUICK
@given(array=ARRAYS, compress=st.booleans())
def test_what_is_written_is_read_again_bit_for_bit(tmp_path: Path, array: np.ndarray, compress: bool) -> None:
    idx.write(tmp_path / "a", array, compress=compress)
    again = idx.read(tmp_path / "a")
    assert again.dtype == array.dtype
    assert again.dtype.isnative
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable


@pytest.mark.parametrize("array", [IMAGES.T, IMAGES[::-1, :, ::2], IMAGES.astype(">i4"), np.zeros((1,) * 64, "f4")])
def test_any_memory_layout_and_64_dimensions_round_trip(tmp_path: Path, array: np.ndarray) -> None:
    idx.write(tmp_path / "a", array)
    np.testing.assert_array_equal(idx.read(tmp_path / "a"), array)


def test_a_file_written_by_hand_is_read_as_the_format_says() -> None:
    content = bytes([0, 0, 0x0B, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 1, 0xFF, 0xFE, 1, 0])
    np.testing.assert_array_equal(idx.read(content), np.array([[1, -2, 256]], np.int16))


def test_the_digest_is_that_of_the_uncompressed_file() -> None:
    import hashlib

    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert idx.digest(array) == hashlib.sha256(sound(array)).hexdigest()


def test_compressed_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        idx.write(tmp_path / name, IMAGES, compress=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("array", [np.zeros(2, np.uint16), np.zeros(2, complex), np.array(["a"]), np.uint8(3)[...]])
def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match="an IDX file holds"):
        idx.write(tmp_path / "a", array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "empty file", id="case 1: empty"),
        pytest.param(gzip.compress(b""), "empty file", id="case 1: empty inside gzip"),
        pytest.param(b"\0\0\x08", "at least 4 bytes; found 3", id="case 2: fewer than 4 bytes"),
        pytest.param(b"\x89PNG\r\n", "begins with two zero bytes; found 89 50 4e 47", id="case 3: wrong magic"),
        pytest.param(header(2, code=0x0A) + b"12", "type code must be one of .* found 0x0A", id="case 4: type code"),
        pytest.param(header(), "1 to 64 dimensions here; found 0", id="case 5: no dimension"),
        pytest.param(header(*[1] * 65) + b"1", "1 to 64 dimensions here; found 65", id="case 5: too many dimensions"),
        pytest.param(header(2, 3)[:-2], "the file ends after 10", id="case 6: header cut off"),
        pytest.param(sound()[:-1], "24 bytes; found 23", id="case 6: truncated"),
        pytest.param(sound() + b"x", "24 bytes; found more bytes after them", id="case 7: trailing bytes"),
        pytest.param(gzip.compress(sound() + b"x"), "found more bytes after them", id="case 7: trailing inside gzip"),
        pytest.param(header(*[2**32 - 1] * 3) + b"1", "4294967295 × 4294967295.* found 1", id="case 8: huge"),
        pytest.param(header(0, 2**32 - 1, 2**32 - 1, 2**32 - 1), "larger than any array", id="case 8: huge and empty"),
        pytest.param(header(2, order="<") + b"12", "is big-endian; found a little-endian one", id="case 12: header"),
        pytest.param(
            header()[:3] + b"\x01" + struct.pack("<I", 2) + b"12", "fit little-endian", id="case 12: dimensions"
        ),
        pytest.param(gzip.compress(b"<!DOCTYPE html>"), "found an HTML page", id="case 13: HTML in gzip"),
        pytest.param(b"\n<html>", "found an HTML page", id="case 13: HTML plain"),
        pytest.param(gzip.compress(sound())[:-9], "ends too early", id="case 14: truncated gzip"),
        pytest.param(gzip.compress(sound())[:15], "ends too early", id="case 14: very truncated gzip"),
        pytest.param(gzip.compress(sound())[:-8] + bytes(8), "CRC", id="case 15: wrong CRC"),
        pytest.param(gzip.compress(sound())[:10] + b"\xff" * 20, "sound gzip file", id="case 15: no deflate stream"),
    ],
)
def test_an_unsound_file_says_what_is_wrong_with_it(content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        idx.read(content)


@pytest.mark.parametrize(
    ("array", "dims", "says"),
    [
        (LABELS, 3, r"a label file \(1 dimension\) where images \(3 dimensions\) are meant: are the two files swapped"),
        (
            IMAGES,
            1,
            r"an image file \(3 dimensions\) where labels \(1 dimension\) are meant: are the two files swapped",
        ),
        (IMAGES, 2, "an image file .* where a table of labels"),
        (IMAGES[None], 3, "must have 3 dimension.*; found 4"),
        (IMAGES[0], 1, "must have 1 dimension.*; found 2"),
    ],
)
def test_other_dimensions_than_meant_are_refused(array: np.ndarray, dims: int, says: str) -> None:  # case 5
    with pytest.raises(DataError, match=says):
        idx.read(sound(array), dims=dims)


def read_pair(images: bytes, labels: bytes, label_dims: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return idx.pair(idx.read(images, dims=3), idx.read(labels, dims=label_dims))


def test_a_pair_of_zero_examples_is_refused() -> None:  # case 9
    with pytest.raises(DataError, match="at least one example"):
        read_pair(header(0, 28, 28), header(0))


def test_a_pair_of_different_counts_is_refused() -> None:  # case 10
    with pytest.raises(DataError, match="found 2 images and 3 labels"):
        read_pair(sound(IMAGES), header(3) + b"123")


def test_a_swapped_pair_is_refused() -> None:  # case 11
    with pytest.raises(DataError, match="are the two files swapped"):
        read_pair(sound(LABELS), sound(IMAGES))


def test_a_pair_gives_images_and_int64_classes() -> None:
    images, labels = read_pair(sound(IMAGES), sound(LABELS))
    np.testing.assert_array_equal(images, IMAGES)
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0]


def test_column_0_of_a_label_table_is_the_class() -> None:
    _, labels = read_pair(sound(IMAGES), sound(np.array([[5, 9], [7, 9]], np.int32)), 2)
    assert labels.tolist() == [5, 7]


@pytest.mark.parametrize("trailing", [1, 300 << 20])
def test_a_gzip_bomb_is_refused_in_bounded_memory(trailing: int) -> None:  # case 16
    bomb = gzip.compress(header(10) + bytes(10 + trailing), compresslevel=1)
    assert peak_of(lambda: fault(bomb)) < 8 << 20


def test_a_gzip_bomb_whose_header_is_honest_is_refused_in_bounded_memory() -> None:  # case 16
    bomb = gzip.compress(header(200 << 20) + bytes(200 << 20), compresslevel=9)
    assert peak_of(lambda: fault(bomb)) < 100 << 20


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_lying_header_allocates_nothing(pack) -> None:  # case 8
    assert peak_of(lambda: fault(pack(header(2**32 - 1, 2**32 - 1) + b"123"))) < 4 << 20


@pytest.mark.parametrize(("name", "compress"), [("raw.gz", False), ("packed", True)])
def test_bytes_not_names_decide_what_is_gzip(tmp_path: Path, name: str, compress: bool) -> None:  # case 17
    idx.write(tmp_path / name, IMAGES, compress=compress)
    np.testing.assert_array_equal(idx.read(tmp_path / name), IMAGES)


@QUICK
@given(data=st.data(), compress=st.booleans())
def test_any_mutation_of_a_file_is_read_or_a_data_error(data: st.DataObject, compress: bool) -> None:
    array = data.draw(ARRAYS)
    content = bytearray(gzip.compress(sound(array), mtime=0) if compress else sound(array))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    def attempt() -> None:
        try:
            again = idx.read(bytes(content))
        except DataError:
            return
        assert math.prod(again.shape) == again.size

    assert peak_of(attempt) < 4 << 20


def test_a_path_that_is_no_readable_file_is_refused_without_blocking(tmp_path: Path) -> None:  # case 25
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    for path, says in (
        (tmp_path, "found a directory"),
        (tmp_path / "fifo", "found a pipe"),
        (tmp_path / "link", "a link to nowhere, which does not exist"),
        (tmp_path / "absent", "no such file"),
        (tmp_path / "x\0y", "cannot be read"),
    ):
        with pytest.raises(DataError, match=says):
            idx.read(path)


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # case 25
    (tmp_path / "a").write_bytes(sound())

    def refuse(*_: object) -> None:  # root may read every file, so the refusal is played
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        idx.read(tmp_path / "a")


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(tmp_path: Path) -> None:  # case 25
    idx.write(tmp_path / "a", LABELS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            idx.write(tmp_path / "a", np.zeros(100_000, np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(idx.read(tmp_path / "a"), LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_who_reads_the_old_file_is_not_disturbed_by_a_new_one(tmp_path: Path) -> None:
    idx.write(tmp_path / "a", IMAGES)
    with (tmp_path / "a").open("rb") as old:
        idx.write(tmp_path / "a", LABELS)
        assert old.read() == sound(IMAGES)


def test_a_file_goes_nowhere_but_into_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written: No such file or directory"):
        idx.write(tmp_path / "absent" / "a", LABELS)
