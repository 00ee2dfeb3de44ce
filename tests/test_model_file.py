"""The model file: the same network gives the same bytes, and nothing but a whole, matching file is read."""

import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.errors import ModelFileError
from droplab.model.file import ModelInfo, from_bytes, read, separate, settings_of, stacked, to_bytes

INFO = ModelInfo(
    widths=(3, 2),
    dropout=0.5,
    features=4,
    classes=("cat", "dog"),
    scale=1 / 255,
    image_shape=(2, 2),
    data="toy",
    fingerprint="f" * 64,
    key="a" * 64,
    precision="fp32",
)


def weights_of(info: ModelInfo, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in info.shapes.items()}


def with_header(change) -> bytes:
    """A good file whose JSON header `change` has edited."""
    data = to_bytes(weights_of(INFO), INFO)
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def with_entry(**values: object) -> bytes:
    """A good file whose droplab metadata have other values."""

    def change(header: dict) -> dict:
        entry = json.loads(header["__metadata__"]["droplab"]) | values
        return header | {"__metadata__": {"droplab": json.dumps(entry)}}

    return with_header(change)


infos = st.builds(
    ModelInfo,
    widths=st.lists(st.integers(1, 5), max_size=12).map(tuple),
    dropout=st.floats(0, 1, exclude_max=True),
    features=st.integers(1, 5),
    classes=st.lists(st.text(max_size=5), min_size=2, max_size=4).map(tuple),
    scale=st.floats(allow_nan=False, allow_infinity=False),
    image_shape=st.none()
    | st.tuples(st.integers(1, 9), st.integers(1, 9))
    | st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
    background=st.none() | st.integers(0, 255),
    data=st.text(max_size=9),
    fingerprint=st.text(max_size=9),
    key=st.text(max_size=9),
    precision=st.sampled_from(["fp32", "bf16"]),
)


@given(info=infos, seed=st.integers(0, 9))
def test_every_bit_of_weights_and_info_comes_back(info: ModelInfo, seed: int) -> None:
    weights = weights_of(info, seed)
    weights["layers.0.bias"][0] = np.nan
    data = to_bytes(weights, info)
    again, info_again = from_bytes(data)
    assert info_again == info
    assert again.keys() == weights.keys()
    for name, array in weights.items():
        assert again[name].dtype == np.float32
        assert again[name].tobytes() == array.tobytes()
        assert again[name].flags.writeable
    assert to_bytes(dict(reversed(weights.items())), info) == data, "the order of the weights shows in the bytes"


def test_memory_layout_does_not_change_the_file() -> None:
    weights = weights_of(INFO)
    views = {
        name: np.asfortranarray(array) if array.ndim == 2 else np.stack([array, array])[:, ::1].T[:, 0]
        for name, array in weights.items()
    }
    assert not views["layers.0.weight"].flags.c_contiguous
    assert to_bytes(views, INFO) == to_bytes(weights, INFO)


def test_a_background_that_is_not_known_is_not_written() -> None:
    assert b"background" not in to_bytes(weights_of(INFO), INFO)
    assert b"background" in to_bytes(weights_of(INFO), INFO.model_copy(update={"background": 0}))


@pytest.mark.parametrize("shape", [(2,), (2, 2, 1), (1, 2, 4), (1, 1, 3, 3), (0, 4)])
def test_a_form_that_is_no_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelFileError, match="image_shape"):
        from_bytes(with_entry(image_shape=shape))


def test_safetensors_itself_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(to_bytes(weights_of(INFO), INFO))
    plain = safetensors.numpy.load_file(path)
    assert {name: array.shape for name, array in plain.items()} == INFO.shapes


def test_weights_that_do_not_fit_their_network_are_not_written() -> None:
    weights = weights_of(INFO)
    with pytest.raises(ModelFileError, match=r"layers\.1\.bias must be float32 of shape \(2,\); found float64"):
        to_bytes(weights | {"layers.1.bias": np.zeros(2)}, INFO)
    with pytest.raises(ModelFileError, match=r"layers\.0\.weight must be float32 of shape \(3, 4\); found .*\(4, 3\)"):
        to_bytes(weights | {"layers.0.weight": weights["layers.0.weight"].T}, INFO)
    with pytest.raises(ModelFileError, match=r"'layers\.9\.bias' missing or too many"):
        to_bytes(weights | {"layers.9.bias": np.zeros(1, np.float32)}, INFO)


GOOD = to_bytes(weights_of(INFO), INFO)
DAMAGED = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header longer than the file": (2**63).to_bytes(8, "little") + b"{}",
    "header of no length": bytes(8) + GOOD[8:],
    "a pickle": pickle.dumps({"layers.0.weight": [1.0]}) * 9,
    "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "no JSON": (5).to_bytes(8, "little") + b"[[[[[",
    "JSON too deep": (99_999).to_bytes(8, "little") + b"[" * 99_999,
    "no UTF-8": (4).to_bytes(8, "little") + b'{"\xff"',
    "a list": with_header(lambda header: [header]),
    "no metadata": with_header(lambda header: {k: v for k, v in header.items() if k != "__metadata__"}),
    "metadata of another program": with_header(lambda header: header | {"__metadata__": {"format": "pt"}}),
    "metadata of another type": with_header(lambda header: header | {"__metadata__": {"droplab": 5}}),
    "a tensor of another program": safetensors.numpy.save({"w": np.zeros(3)}, {"droplab": "{}"}),
    "one byte short": GOOD[:-1],
    "one byte long": GOOD + b"\0",
    "half": GOOD[: len(GOOD) // 2],
    "other widths": with_entry(widths=[2, 3]),
    "other widths, same size": with_entry(widths=[2, 2, 2, 1]),
    "huge widths": with_entry(widths=[10**6] * 1000),
    "other class count": with_entry(classes=["cat", "dog", "cow"]),
    "no number": with_entry(scale=float("nan")),
    "a rate of 1": with_entry(dropout=1.0),
    "an unknown precision": with_entry(precision="fp8"),
    "an unknown entry": with_entry(optimizer="sgd"),
    "half a character": with_entry(data="\ud800"),
    "another dtype": with_header(lambda header: header | {"layers.0.bias": header["layers.0.bias"] | {"dtype": "I32"}}),
    "a dtype NumPy lacks": with_header(
        lambda header: header | {"layers.0.bias": header["layers.0.bias"] | {"dtype": "BF16", "shape": [6]}}
    ),
    "another name": with_header(
        lambda header: {("layers.7.bias" if k == "layers.2.bias" else k): v for k, v in header.items()}
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_or_foreign_files_give_one_clear_error(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(DAMAGED[what])
    with pytest.raises(ModelFileError, match=re.escape(str(path))) as caught:
        read(path)
    message = str(caught.value)
    assert "must " in message
    assert "; found " in message
    assert "\n" not in message
    assert len(message) < 600


@settings(max_examples=400)
@given(data=st.data())
def test_a_mutated_file_is_refused_or_read_whole(data: st.DataObject) -> None:
    length = 8 + int.from_bytes(GOOD[:8], "little")
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4), "mutations")):
        end = data.draw(st.sampled_from([8, length, len(GOOD)]), "where") - 1
        start = data.draw(st.integers(0, min(end, len(mutated))), "from")
        stop = start + data.draw(st.integers(0, 8), "replaced")
        mutated[start:stop] = data.draw(st.binary(max_size=8), "by")
    try:
        weights, info = from_bytes(bytes(mutated))
    except ModelFileError:
        return
    assert {name: array.shape for name, array in weights.items()} == info.shapes


@given(st.binary(max_size=200))
def test_random_bytes_are_no_model(data: bytes) -> None:
    with pytest.raises(ModelFileError):
        from_bytes(data)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in (".", "pipe", "dangling", "missing"):
        with pytest.raises(ModelFileError, match=re.escape(str(tmp_path))):
            read(tmp_path / name)


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, droplab.model.file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


@given(place=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_no_flipped_bit_goes_unseen(place: int, bit: int) -> None:
    damaged = bytearray(GOOD)
    damaged[place] ^= 1 << bit
    with pytest.raises(ModelFileError):
        from_bytes(bytes(damaged))


def test_damage_that_leaves_the_file_in_shape_is_found_by_its_hash() -> None:
    damaged = bytearray(GOOD)
    damaged[-5] ^= 1
    with pytest.raises(ModelFileError, match=r"must have the SHA-256 that its header names.*damaged or was edited"):
        from_bytes(bytes(damaged))
    with pytest.raises(ModelFileError, match="SHA-256"):
        from_bytes(with_entry(dropout=0.25))


def of_format_1() -> bytes:
    """The file as droplab wrote it before formats had numbers."""

    def change(header: dict) -> dict:
        entry = json.loads(header["__metadata__"]["droplab"])
        del entry["format"], entry["sha256"]
        return header | {"__metadata__": {"droplab": json.dumps(entry)}}

    return with_header(change)


def test_a_file_of_format_1_is_read() -> None:
    weights, info = from_bytes(of_format_1())
    assert info == INFO
    assert all(np.array_equal(weights[name], array) for name, array in weights_of(INFO).items())


@pytest.mark.parametrize(
    ("made", "words"), [(6, "format 5 or older; found format 6.*Update droplab"), (1, "found 1"), ("2", "found '2'")]
)
def test_another_format_says_so(made: object, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        from_bytes(with_entry(format=made))


def test_a_rate_a_hidden_layer_is_kept_and_its_old_name_read() -> None:
    info = INFO.model_copy(update={"widths": (3, 2), "dropout": (0.2, 0.5)})
    assert from_bytes(to_bytes(weights_of(info), info))[1] == info
    assert settings_of(info).rates == (0.2, 0.5)

    def of_old(header: dict) -> dict:
        entry = json.loads(header["__metadata__"]["droplab"])
        del entry["format"], entry["sha256"]
        entry |= {"dropout": 0.0, "regularizers": [["dropout_by_layer", [0.2, 0.5]], ["l2", 0.1]]}
        return header | {"__metadata__": {"droplab": json.dumps(entry)}}

    assert from_bytes(with_header(of_old))[1] == info.model_copy(update={"regularizers": (("l2", 0.1),)})


def test_several_networks_come_back_apart() -> None:
    networks = [(weights_of(INFO, seed), INFO.model_copy(update={"key": str(seed)})) for seed in range(3)]
    weights, info = from_bytes(to_bytes(*stacked(networks)))
    assert (info.networks, info.key) == (3, "0,1,2")
    for one, (alone, _) in zip(separate(weights, info), networks, strict=True):
        assert all(np.array_equal(one[name], alone[name]) for name in alone)
    assert to_bytes(*stacked(networks[:1])) == to_bytes(*networks[0])
