"""Files that users give: sound ones become a Dataset, every unsound one is a DataError, in bounded memory."""

from __future__ import annotations

import gzip
import io
import os
import resource
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab.data import idx
from droplab.data.contents import inspect
from droplab.data.dataset import Dataset
from droplab.data.files import dataset_at_hand, load_dataset
from droplab.data.npz import load_npz, write_npz
from droplab.errors import ConfigError, DataError
from toy import toy_dataset


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    sound = {
        "train_x": random.integers(0, 256, (8, 2, 3), np.uint8),
        "train_y": np.arange(8) % 3,
        "test_x": random.integers(0, 256, (4, 2, 3), np.uint8),
        "test_y": np.arange(4) % 3,
    }
    return sound | changes


def saved(path: Path, **changes: np.ndarray) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an npz member by member; `members` replace or join the sound ones."""
    sound = {f"{name}.npy": npy(array) for name, array in arrays().items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (sound | members).items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.npz"


def test_images_are_flattened_and_bytes_stay_bytes(path: Path) -> None:
    given_arrays = arrays()
    np.savez(path, **given_arrays)
    dataset = load_npz(path)
    np.testing.assert_array_equal(dataset.train_x, given_arrays["train_x"].reshape(8, 6))
    assert (dataset.train_x.dtype, dataset.scale, dataset.image_shape) == (np.uint8, 1 / 255, (2, 3))
    assert (dataset.name, dataset.source, dataset.classes) == ("some", f"file {path}", ("0", "1", "2"))
    assert dataset.train_y.dtype == np.int64


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i8", "u2"])
def test_other_numbers_become_float32(path: Path, dtype: str) -> None:
    x = np.arange(48).reshape(8, 6).astype(dtype)
    dataset = load_npz(saved(path, train_x=x, test_x=np.asfortranarray(x[:4])))
    assert (dataset.train_x.dtype, dataset.scale, dataset.image_shape) == (np.float32, 1.0, None)
    np.testing.assert_array_equal(dataset.test_x, x[:4])


@pytest.mark.parametrize(
    ("train", "test", "classes", "numbers"),
    [
        ([-1, 7, 100, 7], [7, -1], ("-1", "7", "100"), [0, 1, 2, 1]),
        ([True, False, True, False], [True, False], ("False", "True"), [1, 0, 1, 0]),
        (["cat", "ant", "cat", "bee"], ["ant", "cat"], ("ant", "bee", "cat"), [2, 0, 2, 1]),
    ],
)
def test_labels_of_any_kind_are_numbered_in_sorted_order(path: Path, train, test, classes, numbers) -> None:  # case 35
    x = np.zeros((4, 2), np.float32)
    changes = {"train_x": x, "train_y": np.array(train), "test_x": x[:2], "test_y": np.array(test)}
    dataset = load_npz(saved(path, **changes))
    assert dataset.classes == classes
    assert dataset.train_y.tolist() == numbers


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"train_x": np.array([[{}]] * 8)}, "pickled objects .*never read", id="case 19: pickle"),
        pytest.param({"train_x": np.full((8, 6), np.nan)}, r"found nan at \(0, 0\)", id="case 26: NaN"),
        pytest.param({"test_x": np.full((4, 6), np.inf)}, r"test_x must be finite as float32; found inf", id="27: inf"),
        pytest.param({"train_x": np.full((8, 6), 1e39)}, r"found 1e\+39 at", id="case 27: overflow"),
        pytest.param({"train_x": np.zeros((8, 6), complex)}, "real numbers; found complex128", id="case 28: complex"),
        pytest.param({"train_x": np.zeros((8, 6), "f4,i4")}, "real numbers; found", id="case 29: mixed dtype"),
        pytest.param({"train_x": np.full((8, 6), "1")}, "real numbers; found <U1", id="case 30: strings"),
        pytest.param({"train_x": np.zeros(8)}, r"found shape \(8,\)", id="case 32: 1-D"),
        pytest.param({"train_x": np.zeros((8, 1, 1, 6))}, r"found shape \(8, 1, 1, 6\)", id="case 32: 4-D"),
        pytest.param({"train_x": np.zeros((0, 6))}, r"found shape \(0, 6\)", id="case 33: no rows"),
        pytest.param({"train_x": np.zeros((8, 0))}, r"found shape \(8, 0\)", id="case 33: no features"),
        pytest.param({"train_y": np.zeros(8, int), "test_y": np.zeros(4, int)}, "2 classes; found 1", id="case 36"),
        pytest.param({"train_y": np.full(8, np.inf)}, "found float64, as for a regression", id="case 38: infinite"),
        pytest.param({"train_y": np.zeros((8, 2), int)}, r"one label an example.*\(8, 2\)", id="case 39: 2-D"),
        pytest.param({"train_y": np.arange(7) % 3}, r"one an example \(8\)", id="case 39: other length"),
        pytest.param({"train_y": np.array(["a"] * 8)}, "of one kind; found <U1 and int64", id="labels of two kinds"),
        pytest.param({"train_y": np.full(8, 2**64 - 1, np.uint64)}, "must fit int64", id="labels too large"),
        pytest.param({"train_y": np.full(8, b"x")}, "integers, booleans or strings; found", id="labels of bytes"),
        pytest.param({"test_x": np.zeros((4, 5), np.uint8)}, "the same features; found shapes", id="other features"),
    ],
)
def test_arrays_that_cannot_be_learned_from_say_why(path: Path, changes, says: str) -> None:
    if "train_x" in changes:
        changes = {"test_x": changes["train_x"][:4]} | changes
    else:
        changes = {"train_x": np.zeros((8, 6)), "test_x": np.zeros((4, 6))} | changes
    with pytest.raises(DataError, match=says):
        load_npz(saved(path, **changes))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param({"train_x.npy": npy(np.zeros((8, 6)))[:-8]}, "384 bytes; found 376", id="case 21: too short"),
        pytest.param({"train_x.npy": npy(np.zeros((8, 6))) + b"x"}, "384 bytes; found 385", id="case 21: too long"),
        pytest.param(
            {"train_x.npy": npy(np.zeros((8, 6))).replace(b"(8, 6), }" + b" " * 8, b"(8, 600000000), }")},
            "shape .8, 600000000.* bytes; found 384",
            id="case 21: huge",
        ),
        pytest.param(
            {"train_x.npy": npy(np.zeros((8, 6))).replace(b"(8, 6), }  ", b"(-8, -6), }")}, "cannot be", id="negative"
        ),
        pytest.param({"train_x.npy": b"no npy"}, "must begin with an npy header", id="case 21: no header"),
        pytest.param({"train_x.npy": npy(np.zeros((8, 6)))[:50]}, "must begin with an npy header", id="header cut"),
        pytest.param(
            {"../evil.npy": npy(np.zeros(1))}, r"arrays named NAME.npy; found '../evil.npy'", id="case 22: .."
        ),
        pytest.param({"/evil.npy": npy(np.zeros(1))}, "found '/evil.npy'", id="case 22: absolute"),
        pytest.param({"note.txt": b"hello"}, "found 'note.txt'", id="a member that is no array"),
    ],
)
def test_members_that_are_not_what_they_say_are_refused(path: Path, members, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_npz(zipped(path, members))


def test_a_missing_array_is_named(path: Path) -> None:  # case 22
    np.savez(path, train_x=np.zeros((2, 2)), x_test=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"found train_x, x_test\. Add train_y, test_x, test_y"):
        load_npz(path)


@pytest.mark.parametrize("reader", [load_npz, inspect])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(path: Path, reader) -> None:  # case 20
    bomb = npy(np.zeros((8, 12 << 20), np.uint8))
    zipped(path, {"train_x.npy": bomb})
    tracemalloc.start()
    with pytest.raises(DataError, match="zip bomb"):
        reader(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_cannot_be_bounded_are_refused(path: Path, compression: int) -> None:  # case 20
    with pytest.raises(DataError, match="must be stored or deflated"):
        load_npz(zipped(path, {}, compression))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4 no zip", gzip.compress(b"x"), b"<html>"])
def test_what_is_no_npz_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match="must be a sound npz file"):
        load_npz(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), compressed=st.booleans())
def test_any_mutation_of_an_npz_is_read_or_a_data_error(path: Path, data: st.DataObject, compressed: bool) -> None:
    (np.savez_compressed if compressed else np.savez)(path, **arrays())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for reader in (load_npz, inspect):
            with suppress(DataError):
                reader(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_path_that_is_no_readable_file_is_refused_without_blocking(tmp_path: Path) -> None:  # case 25
    (tmp_path / "link.npz").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo.npz")
    for name, says in (
        ("", "a folder must hold"),
        ("fifo.npz", "a pipe"),
        ("link.npz", "nowhere"),
        ("no.npz", "no such file"),
    ):
        for reader in (load_dataset, inspect):
            with pytest.raises(DataError, match=says):
                reader(tmp_path / name)


def test_an_export_is_read_again_as_the_same_data(path: Path) -> None:
    dataset = load_dataset("digits")
    write_npz(dataset, path)
    with np.load(path, allow_pickle=False) as raw:
        assert (raw["train_x"].shape, raw["train_x"].dtype) == ((1437, 8, 8), np.float32)
        assert (raw["train_x"].min(), raw["train_x"].max()) == (0, 1)
        assert raw["train_y"].dtype == np.uint8
    again = load_npz(path)
    np.testing.assert_array_equal(again.train_x, dataset.train_x.astype(np.float32) / 16)
    np.testing.assert_array_equal(again.test_y, dataset.test_y)
    assert (again.classes, again.image_shape) == (dataset.classes, (8, 8))


def test_features_that_are_no_image_stay_a_table(path: Path) -> None:
    x, y = np.ones((300, 2), np.float32), np.arange(300)
    write_npz(Dataset("many", x, y, x, y, tuple(map(str, y))), path)
    with np.load(path) as raw:
        assert raw["train_x"].shape == (300, 2)
        assert raw["train_y"].dtype == np.int64


def test_a_full_disk_leaves_the_old_export_and_nothing_half_written(path: Path) -> None:  # case 25
    dataset = load_dataset("digits")
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            write_npz(dataset, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_names_of_the_catalog_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    saved(Path("other.npz")).rename("plain")
    assert load_dataset("digits").source == "scikit-learn's load_digits"
    assert load_dataset("plain").source == "file plain"
    with pytest.raises(DataError, match="digits: a folder must hold"):
        load_dataset("./digits/")
    with pytest.raises(DataError, match="no such file"):
        load_dataset("absent.npz")
    with pytest.raises(ConfigError, match=r"Did you mean 'kmnist'.*Known names: mnist"):
        load_dataset("kmnits")


@pytest.mark.parametrize("compress", [False, True])
def test_inspect_says_what_an_idx_file_holds(tmp_path: Path, compress: bool) -> None:
    idx.write(tmp_path / "labels", np.array([3, 1, 3], np.uint8), compress=compress)
    info = inspect(tmp_path / "labels")
    assert info.kind == ("IDX, gzip" if compress else "IDX")
    (array,) = info.arrays
    assert (array.name, array.dtype, array.shape, array.low, array.high) == ("labels", "uint8", (3,), 1, 3)
    assert array.counts == {"1": 1, "3": 2}


def test_inspect_says_what_an_npz_holds_whatever_its_arrays(path: Path) -> None:
    np.savez(
        path, a=np.zeros((2, 3), np.float32), words=np.array(["x", "y", "x"]), none=np.zeros(0), many=np.arange(2000)
    )
    found = {array.name: array for array in inspect(path).arrays}
    assert (found["a"].shape, found["a"].counts) == ((2, 3), {})
    assert (found["words"].low, found["words"].counts) == (None, {"x": 2, "y": 1})
    assert (found["none"].low, found["many"].counts) == (None, {})


def test_data_at_hand_are_those_of_the_fingerprint_and_nothing_is_fetched(tmp_path, monkeypatch):
    path = tmp_path / "toy.npz"
    write_npz(toy_dataset(), path)
    fingerprint = load_dataset(path).fingerprint
    found = dataset_at_hand(str(path), fingerprint)
    assert found is not None
    assert found.fingerprint == fingerprint
    assert dataset_at_hand(str(path), "0" * 64) is None
    path.write_bytes(path.read_bytes()[:100])
    assert dataset_at_hand(str(path), fingerprint) is None
    path.unlink()
    assert dataset_at_hand(str(path), fingerprint) is None
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path / "cache"))
    assert dataset_at_hand("mnist", fingerprint) is None
    assert not (tmp_path / "cache").exists()
    assert dataset_at_hand("digits", load_dataset("digits").fingerprint) is not None


@pytest.mark.parametrize("number", [0x110000, 0xFFFFFFFF, 0xD800])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_numbers_that_are_no_characters_are_no_labels(tmp_path: Path, number: int, ending: str) -> None:
    labels = np.array(["a", "b"] * 10)
    labels.view("u4")[3] = number
    x, path = np.zeros((20, 2), np.float32), tmp_path / f"y.{ending}"
    if ending == "npz":
        np.savez(path, x=x, y=labels)
    else:
        np.save(tmp_path / "x.npy", x)
        np.save(path, labels)
    for read in (load_dataset, inspect):
        with pytest.raises(DataError, match=rf"y\.{ending}.*characters up to U\+10FFFF; found the number {number:#x}"):
            read(str(path) if ending == "npz" else f"{tmp_path / 'x.npy'},{path}")


def test_what_is_told_of_columns_is_not_passed_over_where_there_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    for path in (tmp_path / "x.npy", tmp_path, "digits"):
        with pytest.raises(ConfigError, match="a table alone; found them with"):
            inspect(path, missing=["?"])
