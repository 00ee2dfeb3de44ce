"""Folders of npy or IDX files: the data set that an npz of the same arrays gives, mapped where it can be."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from droplab.data import idx, mapped
from droplab.data.arrays import name_of
from droplab.data.contents import inspect
from droplab.data.dataset import Dataset
from droplab.data.files import dataset_name, load_dataset
from droplab.data.folder import load_folder
from droplab.data.mapped import MappedArray
from droplab.data.npz import load_npz
from droplab.errors import DataError
from study_help import droplab
from toy import toy_dataset

RANDOM = np.random.default_rng(0)
IMAGES = {
    "train_x": RANDOM.integers(0, 256, (8, 2, 3), np.uint8),
    "train_y": np.array([3, 1, 2, 3, 1, 2, 3, 1], np.uint8),
    "test_x": RANDOM.integers(0, 256, (4, 2, 3), np.uint8),
    "test_y": np.array([1, 2, 3, 1], np.uint8),
}
TABLE = RANDOM.normal(0, 100, (8, 6))
IDX_NAMES = {
    "train_x": "train-images-idx3",
    "train_y": "train-labels-idx1",
    "test_x": "t10k-images-idx3",
    "test_y": "t10k-labels-idx1",
}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def of_features(x: np.ndarray) -> dict[str, np.ndarray]:
    return IMAGES | {"train_x": x, "test_x": x[:4]}


def npy_folder(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    return folder


def idx_folder(folder: Path, arrays: dict[str, np.ndarray], dash: str = "-", ending: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in arrays.items():
        name = IDX_NAMES[key].replace("-idx", f"{dash}idx")
        idx.write(folder / f"{name}-ubyte{ending}", array, compress=ending == ".gz")
    return folder


def npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)
    return path


def assert_same(one: Dataset, other: Dataset) -> None:
    """All but the source, which tells a folder from a file."""
    for field in ("name", "classes", "scale", "image_shape", "fingerprint"):
        assert getattr(one, field) == getattr(other, field), field
    for key in IMAGES:
        left, right = getattr(one, key), getattr(other, key)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("arrays", "stays"),
    [
        pytest.param(IMAGES, True, id="images"),
        pytest.param(of_features(IMAGES["train_x"].reshape(8, 6)), True, id="bytes"),
        pytest.param(of_features(TABLE.astype(np.float32)), True, id="float32"),
        pytest.param(of_features(TABLE), False, id="float64"),
        pytest.param(of_features(TABLE.astype(">f4")), False, id="big-endian float32"),
        pytest.param(of_features(TABLE.astype(np.int32)), False, id="int32"),
        pytest.param(of_features(np.asfortranarray(IMAGES["train_x"])), False, id="Fortran order"),
        pytest.param(
            IMAGES | {"train_y": np.array(list("cabcabca")), "test_y": np.array(list("abca"))}, True, id="str"
        ),
    ],
)
def test_a_folder_of_npy_is_the_npz_of_the_same_arrays(tmp_path: Path, arrays: dict, stays: bool) -> None:
    dataset = load_dataset(npy_folder(tmp_path / "some", arrays))
    assert_same(dataset, load_npz(npz(tmp_path / "some.npz", arrays)))
    assert dataset.source == f"folder {tmp_path / 'some'}"
    assert (getattr(dataset.train_x, "file", None) is not None) == stays
    if stays:
        assert not dataset.train_x.flags.writeable


@pytest.mark.parametrize(("dash", "ending"), [("-", ""), (".", ""), ("-", ".gz"), (".", ".gz")])
def test_a_folder_of_idx_is_the_npz_of_the_same_arrays(tmp_path: Path, dash: str, ending: str) -> None:
    dataset = load_dataset(idx_folder(tmp_path / "some", IMAGES, dash, ending))
    assert_same(dataset, load_npz(npz(tmp_path / "some.npz", IMAGES)))
    assert isinstance(dataset.train_x, MappedArray) == isinstance(dataset.test_x, MappedArray) == (not ending)


def test_of_an_idx_file_and_its_gz_the_file_is_taken(tmp_path: Path) -> None:
    other = IMAGES | {"train_x": 255 - IMAGES["train_x"]}
    folder = idx_folder(idx_folder(tmp_path / "some", other, ending=".gz"), IMAGES)
    np.testing.assert_array_equal(load_folder(folder).train_x, IMAGES["train_x"].reshape(8, 6))


def test_idx_floats_are_converted_as_they_are_big_endian(tmp_path: Path) -> None:
    images = TABLE.astype(np.float32).reshape(8, 2, 3)
    dataset = load_folder(idx_folder(tmp_path / "some", of_features(images)))
    assert dataset.train_x.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(dataset.train_x, images.reshape(8, 6))


def test_floats_at_an_odd_place_of_a_file_are_copied(tmp_path: Path) -> None:
    """Another writer may pad the header to any length; tensors over misaligned floats are undefined."""
    arrays = of_features(TABLE.astype(np.float32))
    folder = npy_folder(tmp_path / "some", arrays)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 6), }".ljust(88) + b"\n"
    odd = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
    assert len(odd) % 4
    (folder / "train_x.npy").write_bytes(odd + arrays["train_x"].tobytes())
    dataset = load_folder(folder)
    assert dataset.train_x.flags.aligned
    assert_same(dataset, load_npz(npz(tmp_path / "some.npz", arrays)))


def loaded_or_said(load: Callable[[Path], Dataset], path: Path) -> Dataset | str:
    try:
        return load(path)
    except DataError as error:
        return str(error)


FEATURES = st.sampled_from(["u1", "f4", "f8", ">f4", "i2", "?", "U2"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
)
LABELS = hnp.arrays(st.sampled_from(["u1", "i8", "?", "U1", "f8"]), st.integers(0, 4))


@QUICK
@given(x=FEATURES, y=LABELS, fortran=st.booleans())
def test_folder_and_npz_agree_on_any_arrays(tmp_path: Path, x: np.ndarray, y: np.ndarray, fortran: bool) -> None:
    arrays = {"train_x": np.asfortranarray(x) if fortran else x, "train_y": y, "test_x": x, "test_y": y}
    path, folder = npz(tmp_path / "some.npz", arrays), npy_folder(tmp_path / "some", arrays)
    expected, found = loaded_or_said(load_npz, path), loaded_or_said(load_folder, folder)
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert (
            found.replace(f"{folder}/", f"{path}: ").replace(".npy", "").replace(f"{folder}:", f"{path}:") == expected
        )
    else:
        assert_same(found, expected)


def spoil(folder: Path, fault: str) -> None:
    """Make one file of a sound folder of npy files unsound."""
    train = folder / "train_x.npy"
    content = train.read_bytes()
    match fault:
        case "truncated":
            train.write_bytes(content[:-1])
        case "too long":
            train.write_bytes(content + b"x")
        case "empty":
            train.write_bytes(b"")
        case "no npy":
            train.write_bytes(b"\0\0\x08\3" + bytes(60))
        case "huge":
            train.write_bytes(content.replace(b"(8, 2, 3), }" + b" " * 9, b"(8, 2, 3000000000), }"))
        case "negative":
            train.write_bytes(content.replace(b"(8, 2, 3), }  ", b"(-8, -2, 3), }"))
        case "pickle":
            np.save(train, np.array([[{}]] * 8), allow_pickle=True)
        case "directory":
            train.unlink()
            train.mkdir()
        case "pipe":
            train.unlink()
            os.mkfifo(train)
        case "link":
            train.unlink()
            train.symlink_to("nowhere")
        case "NaN":
            np.save(train, np.where(np.arange(48) == 13, np.nan, 0).reshape(8, 6).astype(np.float32))
            np.save(folder / "test_x.npy", np.zeros((4, 6), np.float32))
        case "overflow":
            np.save(train, np.full((8, 2, 3), 1e39))
        case "labels":
            np.save(folder / "train_y.npy", np.arange(7) % 2)
        case "missing":
            train.unlink()
            (folder / "test_y.npy").unlink()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("truncated", r"train_x\.npy: its header promises shape \(8, 2, 3\) of uint8, 48 bytes; found 47"),
        ("too long", r"train_x\.npy: .* 48 bytes; found 49"),
        ("empty", r"train_x\.npy must begin with an npy header"),
        ("no npy", "must begin with an npy header"),
        ("huge", r"48000000000 bytes; found 48"),
        ("negative", r"shape \(-8, -2, 3\) of uint8 cannot be"),
        ("pickle", "pickled objects .*never read"),
        ("directory", r"train_x\.npy: must be a file; found a directory"),
        ("pipe", r"train_x\.npy: must be a regular file; found a pipe"),
        ("link", r"train_x\.npy: is a link to nowhere"),
        ("NaN", "features must be finite; found nan in train row 2, column 1"),
        ("overflow", r"train_x\.npy must be finite as float32; found 1e\+39 at \(0, 0, 0\)"),
        ("labels", r"one an example \(8\)"),
        ("missing", r"found only train_y\.npy, test_x\.npy\. Add train_x\.npy, test_y\.npy"),
    ],
)
def test_an_unsound_folder_says_what_is_wrong_with_it(tmp_path: Path, fault: str, says: str) -> None:
    folder = npy_folder(tmp_path / "some", IMAGES)
    load_folder(folder)
    spoil(folder, fault)
    with pytest.raises(DataError, match=says):
        load_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train-images-idx3-ubyte", b"", "empty file"),
        ("train-images-idx3-ubyte", b"<!DOCTYPE html>", "an HTML page"),
        ("train-images-idx3-ubyte", idx._header(IMAGES["train_x"]) + bytes(47), "48 bytes; found 47.*truncated"),
        ("train-images-idx3-ubyte", idx._header(IMAGES["train_x"]) + bytes(49), "found more bytes after them"),
        ("train-images-idx3-ubyte", idx._header(IMAGES["train_y"]) + bytes(8), "label file .* swapped"),
        ("train-labels-idx1-ubyte", idx._header(IMAGES["train_x"]) + bytes(48), "image file .* swapped"),
    ],
)
def test_an_unsound_idx_file_says_what_is_wrong_with_it(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    folder = idx_folder(tmp_path / "some", IMAGES)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: .*{says}"):
        load_folder(folder)


def test_a_folder_that_is_not_one_data_set_says_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    for names, says in (
        ([], "found nothing. Name the folder that holds them"),
        (list("abcdefg"), "found a, b, c, d, e and 2 more. Name"),
        (["digits.npz"], rf"If digits\.npz is meant, name it: {folder}/digits\.npz"),
        (["train-images-idx3-ubyte"], "found only train-images-idx3-ubyte. Add train-labels-idx1-ubyte, t10k-images-"),
        (["train-images.idx3-ubyte"], r"found train-images-idx3-ubyte and train-images\.idx3-ubyte\. Keep one"),
    ):
        for name in names:
            (folder / name).touch()
        with pytest.raises(DataError, match=says):
            load_folder(folder)


def test_a_folder_of_both_kinds_is_refused(tmp_path: Path) -> None:
    folder = npy_folder(idx_folder(tmp_path / "some", IMAGES), IMAGES)
    with pytest.raises(DataError, match=r"found both \(train_x\.npy, .*t10k-labels-idx1-ubyte\)\. Move"):
        load_folder(folder)


@QUICK
@given(data=st.data(), kind=st.sampled_from(["npy", "idx"]))
def test_any_mutation_of_a_file_is_read_or_a_data_error(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    folder = (npy_folder if kind == "npy" else idx_folder)(tmp_path / kind, IMAGES)
    path = folder / ("train_x.npy" if kind == "npy" else "train-images-idx3-ubyte")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    for reader in (load_folder, inspect):
        with suppress(DataError):
            reader(folder)


def test_a_header_that_promises_gigabytes_of_header_is_not_read(tmp_path: Path) -> None:
    folder = npy_folder(tmp_path / "some", IMAGES)
    with (folder / "train_x.npy").open("wb") as file:
        file.write(b"\x93NUMPY\2\0" + (1 << 30).to_bytes(4, "little"))
        file.truncate(2 << 30)
    tracemalloc.start()
    with pytest.raises(DataError, match="must begin with an npy header"):
        load_folder(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_chunks_of_a_check_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = of_features(TABLE.astype(np.float32))
    folder = npy_folder(tmp_path / "some", arrays)
    whole = load_folder(folder).fingerprint
    monkeypatch.setattr(mapped, "_CHUNK", 50)
    assert load_folder(folder).fingerprint == whole
    spoil(folder, "NaN")
    with pytest.raises(DataError, match="found nan in train row 2, column 1"):
        load_folder(folder)


@pytest.mark.parametrize("text", ["digits", "some", "some/", "v1.2", "some.npz"])
def test_the_name_is_known_without_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    if text != "digits":
        npy_folder(Path(text), IMAGES)
    assert load_dataset(text).name == dataset_name(text) == text.rstrip("/").removesuffix(".npz")


def test_a_folder_may_be_this_one_or_the_one_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = npy_folder(tmp_path / "some", IMAGES) / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert load_dataset("..").name == "some"
    monkeypatch.chdir("..")
    assert load_dataset(".").name == load_dataset("./").name == "some"
    assert name_of(Path("/")) == "/"


def test_inspect_lists_the_files_of_a_folder_and_a_single_npy(tmp_path: Path) -> None:
    folder = npy_folder(tmp_path / "some", IMAGES)
    (folder / "test_y.npy").unlink()
    info = inspect(folder)
    assert info.kind == "folder"
    assert [(array.name, array.shape) for array in info.arrays] == [
        ("train_x.npy", (8, 2, 3)),
        ("train_y.npy", (8,)),
        ("test_x.npy", (4, 2, 3)),
    ]
    assert info.arrays[1].counts == {"1": 3, "2": 2, "3": 3}
    assert info.arrays[0].high == IMAGES["train_x"].max()
    single = inspect(folder / "train_y.npy")
    assert (single.kind, single.arrays) == ("npy", (info.arrays[1],))
    assert inspect(idx_folder(tmp_path / "idx", IMAGES)).arrays[0].name == "train-images-idx3-ubyte"


def test_a_network_trained_on_a_folder_is_that_of_the_npz(tmp_path: Path) -> None:
    toy = toy_dataset()
    arrays = {key: getattr(toy, key) for key in IMAGES}
    data = npy_folder(tmp_path / "toy", arrays), npz(tmp_path / "toy.npz", arrays)
    for number, path in enumerate(data):
        where = ("--out", tmp_path / f"m{number}", "--store", tmp_path / f"s{number}")
        assert droplab("train", "--data", path, "--epochs", 2, "--widths", 8, *where).code == 0
    assert (tmp_path / "m0").read_bytes() == (tmp_path / "m1").read_bytes()
    said = [droplab("evaluate", tmp_path / "m0", "--data", path) for path in data]
    assert said[0] == said[1]
    assert said[0].code == 0
