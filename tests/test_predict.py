"""`droplab predict`: what a kept network says of new rows."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from droplab.data import idx
from droplab.data.files import load_dataset
from droplab.data.picture import fit_picture
from droplab.errors import ConfigError, DroplabError
from droplab.inputs import features_of, pieces
from droplab.model.file import ModelInfo, stacked, to_bytes
from droplab.predict import predict
from study_help import droplab
from test_tabular import FRAME

RANDOM = np.random.default_rng(1)


@pytest.fixture
def made(tmp_path):
    """A network for a table, its file, and the table."""
    FRAME.to_csv(tmp_path / "people.csv", index=False)
    dataset = load_dataset(tmp_path / "people.csv", target="class", notify=lambda _: None)
    return network(tmp_path, dataset.features, dataset.classes, preprocessing=dataset.preprocessing)


def network(folder, features, classes, **told):
    given = {
        "widths": (8,),
        "dropout": 0.5,
        "scale": 1.0,
        "image_shape": None,
        "data": "toy",
        "fingerprint": "",
        "key": "",
    }
    info = ModelInfo(features=features, classes=classes, precision="fp32", **given | told)
    weights = {name: RANDOM.normal(size=shape).astype("f4") for name, shape in info.shapes.items()}
    (folder / "m.safetensors").write_bytes(to_bytes(weights, info))
    return weights, info


def by_hand(weights, features):
    hidden = np.maximum(features @ weights["layers.0.weight"].T + weights["layers.0.bias"], 0)
    logits = np.exp(hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"])
    return logits / logits.sum(axis=1, keepdims=True)


def said_by(arguments, folder, **given):
    return subprocess.run(
        [Path(sys.executable).with_name("droplab"), "predict", "m.safetensors", *arguments],
        cwd=folder,
        capture_output=True,
        check=False,
        **given,
    )


def test_probabilities_are_those_of_the_plain_formula(made, tmp_path):
    weights, info = made
    features = features_of(info, str(tmp_path / "people.csv"), print)
    frame = predict(weights, info, features, probabilities=True)
    expected = by_hand(weights, info.preprocessing.transform(FRAME))
    np.testing.assert_allclose(frame[["p_no", "p_yes, of course"]], expected, atol=1e-5)
    assert frame["class"].tolist() == [info.classes[k] for k in expected.argmax(axis=1)]
    assert frame["row"].tolist() == list(range(1, len(FRAME) + 1))


def test_columns_are_found_by_name(made, tmp_path):
    _, info = made
    FRAME[FRAME.columns[::-1]].drop(columns="class").assign(other="x").to_parquet(tmp_path / "new.parquet")
    new, old = (features_of(info, str(tmp_path / name), print) for name in ("new.parquet", "people.csv"))
    np.testing.assert_array_equal(new, old)


def test_uncertainty_is_that_of_the_masks(made, tmp_path):
    weights, info = made
    features = features_of(info, str(tmp_path / "people.csv"), print)
    frame = predict(weights, info, features, uncertainty=True, samples=50)
    assert (frame["mutual_information"] >= 0).all()
    assert (frame["entropy"] <= np.log(2) + 1e-6).all()
    assert (frame["mutual_information"] <= frame["entropy"] + 1e-9).all()
    assert frame["mc_p"].between(0.5, 1).all()
    np.testing.assert_array_equal(frame, predict(weights, info, features, uncertainty=True, samples=50))
    sure = info.model_copy(update={"dropout": 0.0})
    with pytest.raises(ConfigError, match="without"):
        predict(weights, sure, features, uncertainty=True)


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "table"])
def test_the_command_says_it_in_every_form(made, tmp_path, form):
    weights, info = made
    out = [] if form in ("table", "csv") else ["--out", f"said.{form}"]
    done = said_by(["people.csv", "--probabilities", "--format", form, *out], tmp_path)
    assert done.returncode == 0, done.stderr
    expected = predict(weights, info, features_of(info, str(tmp_path / "people.csv"), print), probabilities=True)
    if form == "table":
        lines = done.stdout.decode().splitlines()
        assert lines[0].split("\t") == ["row", "class", "p_no", "p_yes, of course"]
        assert len(lines) == len(FRAME) + 1
        return
    read = {
        "csv": lambda: pd.read_csv(io.BytesIO(done.stdout)),
        "json": lambda: pd.DataFrame(json.loads((tmp_path / "said.json").read_text("utf-8"))),
        "parquet": lambda: pd.read_parquet(tmp_path / "said.parquet"),
    }[form]()
    assert read["class"].tolist() == expected["class"].tolist()
    np.testing.assert_allclose(read["p_no"], expected["p_no"], atol=1e-6)


def test_standard_input_is_a_table(made, tmp_path):
    piped = said_by(["-", "--format", "csv"], tmp_path, input=FRAME.to_csv(index=False).encode())
    assert piped.stdout == said_by(["people.csv", "--format", "csv"], tmp_path).stdout


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_bytes_of_images_are_scaled_as_in_training(tmp_path, ending):
    weights, info = network(tmp_path, 16, ("a", "b"), scale=1 / 255, image_shape=(4, 4))
    images = RANDOM.integers(0, 256, (5, 4, 4), dtype=np.uint8)
    path = tmp_path / f"x.{ending}"
    np.save(path, images) if ending == "npy" else np.savez(path, x=images)
    frame = predict(weights, info, features_of(info, str(path), print), probabilities=True)
    np.testing.assert_allclose(frame["p_a"], by_hand(weights, images.reshape(5, 16) / 255)[:, 0], atol=1e-5)
    told = []
    np.save(tmp_path / "f.npy", (images / 255).astype("f4"))
    scaled = predict(weights, info, features_of(info, str(tmp_path / "f.npy"), told.append), probabilities=True)
    np.testing.assert_allclose(scaled["p_a"], frame["p_a"], atol=1e-5)
    assert "scaled already" in told[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.csv"], "no such file"),
        (["short.csv"], "found no town"),
        (["odd.csv"], "'age' must hold finite numbers or nothing; found 'old' in row 2"),
        (["x.npy"], "must be a table, as this network"),
        (["people.csv", "--format", "xml"], "--format must be"),
        (["people.csv", "--format", "parquet"], "--out"),
        (["people.csv", "--out", "o.csv"], "--out"),
        (["people.csv", "--format", "csv", "--out", "nowhere/o.csv"], "a folder that can be written"),
        (["m.safetensors"], "must be text in UTF-8|zero byte"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("made")
def test_wrong_things_are_one_line(tmp_path, arguments, words):
    FRAME.drop(columns="town").to_csv(tmp_path / "short.csv", index=False)
    FRAME.assign(age=["1", "old"] * 30).to_csv(tmp_path / "odd.csv", index=False)
    np.save(tmp_path / "x.npy", np.zeros((2, 3), "f4"))
    done = said_by(arguments, tmp_path)
    error = done.stderr.decode()
    assert done.returncode == 1
    assert done.stdout == b""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert any(word in error for word in words.split("|"))


def test_arrays_of_another_width_are_an_error(tmp_path):
    _, info = network(tmp_path, 16, ("a", "b"))
    np.save(tmp_path / "x.npy", np.zeros((2, 3), "f4"))
    with pytest.raises(DroplabError, match=r"16 features.*found shape \(2, 3\)"):
        features_of(info, str(tmp_path / "x.npy"), print)
    with pytest.raises(ConfigError, match="standard input is for CSV"):
        features_of(info, "-", print)


def test_an_answer_that_is_no_number_is_an_error_that_names_the_row(tmp_path):
    weights, info = network(tmp_path, 5, ("a", "b", "c"))
    x = RANDOM.normal(size=(7, 5)).astype("f4")
    x[3, 2] = 3e38
    with pytest.raises(DroplabError, match="found none for row 104, whose largest value, in feature 3, is too large"):
        predict(weights, info, x, first=100, call=lambda row: f"row {101 + row}")


def test_rows_asked_some_at_a_time_have_the_masks_of_all_at_once(tmp_path):
    weights, info = network(tmp_path, 5, ("a", "b", "c"))
    x = RANDOM.normal(size=(2100, 5)).astype("f4")
    whole = predict(weights, info, x, probabilities=True, uncertainty=True, samples=7)
    parts = [
        predict(weights, info, part, probabilities=True, uncertainty=True, samples=7, first=first)
        for first, part in ((0, x[:700]), (700, x[700:]))
    ]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole, atol=1e-5)


def test_several_networks_are_averaged(tmp_path):
    networks = [network(tmp_path, 5, ("a", "b", "c")) for _ in range(3)]
    weights, info = stacked(networks)
    x = RANDOM.normal(size=(7, 5)).astype("f4")
    said = predict(weights, info, x, probabilities=True, uncertainty=True, samples=50)
    expected = np.mean([by_hand(one, x) for one, _ in networks], axis=0)
    np.testing.assert_allclose(said[["p_a", "p_b", "p_c"]], expected, atol=1e-6)
    assert said["class"].tolist() == [info.classes[k] for k in expected.argmax(axis=1)]
    assert (said["mutual_information"] > 0).all()


def test_evaluate_says_of_several_networks_what_their_mean_says(tmp_path):
    networks = [network(tmp_path, 5, ("a", "b", "c"), dropout=0.0) for _ in range(2)]
    (tmp_path / "m.safetensors").write_bytes(to_bytes(*stacked(networks)))
    x, y = RANDOM.normal(size=(60, 5)).astype("f4"), np.array(["a", "b", "c"] * 20)
    np.savez(tmp_path / "d.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    said = droplab("evaluate", tmp_path / "m.safetensors", "--data", tmp_path / "d.npz")
    table = np.mean([by_hand(one, x) for one, _ in networks], axis=0)
    truth = np.arange(60) % 3
    nll = -np.log(table[np.arange(60), truth]).mean()
    assert f"dropout off: accuracy {np.mean(table.argmax(axis=1) == truth):.4f}, nll {nll:.4f}" in said.out


@pytest.fixture
def pictures(tmp_path):
    """A network for images of 4 × 5, in its file, and six images in folders."""
    made = network(tmp_path, 20, ("a", "b"), scale=1 / 255, image_shape=(4, 5))
    pixels = RANDOM.integers(0, 256, (6, 4, 5), np.uint8)
    for number, one in enumerate(pixels):
        path = tmp_path / "new" / ("x" if number < 3 else "y") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(path)
    return *made, pixels


def test_images_are_read_one_by_one_and_by_folders(pictures, tmp_path):
    weights, info, pixels = pictures
    expected = [info.classes[k] for k in by_hand(weights, pixels.reshape(6, 20) / 255).argmax(axis=1)]
    for named in (["new"], ["new/x", "new/y"], ["new/x/0.png", "new/x/1.png", "new/x/2.png", "new/y"]):
        said = pd.read_csv(io.BytesIO(said_by([*named, "--format", "csv"], tmp_path).stdout))
        assert said["class"].tolist() == expected
        assert [Path(file).name for file in said["file"]] == [f"{k}.png" for k in range(6)]
    one = said_by(["new/y/4.png", "--format", "json"], tmp_path)
    assert json.loads(one.stdout) == [{"row": 1, "class": expected[4]}]


def test_a_picture_has_256_greys_whatever_the_data_had(tmp_path):
    """As those of scikit-learn's digits, whose bytes are 0 … 16."""
    weights, info = network(tmp_path, 20, ("a", "b"), scale=1 / 16, image_shape=(4, 5))
    pixels = RANDOM.integers(0, 256, (4, 5), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    (piece,) = pieces(info, [str(tmp_path / "x.png")], print)
    frame = predict(weights, info, piece.features, probabilities=True, scale=piece.scale)
    np.testing.assert_allclose(frame["p_a"], by_hand(weights, pixels.reshape(1, 20) / 255)[:, 0], atol=1e-5)
    said = pd.read_csv(io.BytesIO(said_by(["x.png", "--probabilities", "--format", "csv"], tmp_path).stdout))
    np.testing.assert_allclose(said["p_a"], frame["p_a"], atol=1e-5)


@pytest.fixture
def drawn(tmp_path):
    """A network for 28 × 28, and a dark drawing on white paper of 90 × 60."""
    made = network(tmp_path, 784, ("a", "b"), scale=1 / 255, image_shape=(28, 28), background=0)
    paper = np.full((90, 60), 255, np.uint8)
    paper[20:70, 25:35] = 0
    Image.fromarray(paper).save(tmp_path / "drawn.png")
    return made


def test_a_picture_is_brought_to_a_models_form_when_asked(drawn, tmp_path):
    weights, _ = drawn
    plain = said_by(["drawn.png"], tmp_path)
    assert plain.returncode == 1
    assert b"must hold images of 28" in plain.stderr
    assert b"--fit-image brings pictures to that form" in plain.stderr
    done = said_by(["drawn.png", "--fit-image", "--probabilities", "--format", "csv"], tmp_path)
    assert done.returncode == 0, done.stderr
    fitted = fit_picture(tmp_path / "drawn.png", (28, 28), 0)
    assert (fitted[0, 0], fitted[14, 14]) == (0, 255)
    said = pd.read_csv(io.BytesIO(done.stdout))
    np.testing.assert_allclose(said["p_a"], by_hand(weights, fitted.reshape(1, -1) / 255)[:, 0], atol=1e-5)


@pytest.mark.usefixtures("drawn")
def test_fitting_what_is_no_picture_is_an_error(tmp_path):
    FRAME.to_csv(tmp_path / "people.csv", index=False)
    np.save(tmp_path / "x.npy", np.zeros((1, 28, 28), np.uint8))
    assert b"--fit-image can act on images alone; found x.npy" in said_by(["x.npy", "--fit-image"], tmp_path).stderr
    network(tmp_path, 784, ("a", "b"))
    assert b"--fit-image needs a network of images" in said_by(["x.npy", "--fit-image"], tmp_path).stderr


def test_idx_files_are_read_as_npy_files_are(pictures, tmp_path):
    _, info, pixels = pictures
    idx.write(tmp_path / "new-idx3-ubyte", pixels)
    np.testing.assert_array_equal(
        features_of(info, str(tmp_path / "new-idx3-ubyte"), lambda _: None), pixels.reshape(6, 20)
    )


def test_several_tables_say_which_row_is_of_which(made, tmp_path):
    FRAME[:3].to_csv(tmp_path / "one.csv", index=False)
    FRAME[3:5].to_csv(tmp_path / "two.csv", index=False)
    said = pd.read_csv(io.BytesIO(said_by(["one.csv", "two.csv", "--format", "csv"], tmp_path).stdout))
    assert said["file"].tolist() == ["one.csv"] * 3 + ["two.csv"] * 2
    assert said["row"].tolist() == [1, 2, 3, 1, 2]
    whole = pd.read_csv(io.BytesIO(said_by(["people.csv", "--format", "csv"], tmp_path).stdout))
    assert said["class"].tolist() == whole["class"].tolist()[:5]
    assert "file" not in whole


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (["new", "scaled.npy"], "all bytes or all scaled|all hold bytes or all scaled numbers; found new: uint8"),
        (["wide.png"], "must hold images of 4 × 5, 20 features each"),
        (["turned.png"], "must hold images of 4 × 5"),
        (["m.safetensors"], "IDX|magic|header"),
        (["empty"], "must hold images"),
        (["-"], "standard input is for CSV"),
    ],
)
def test_wrong_images_are_one_clear_error(pictures, tmp_path, named, words):
    np.save(tmp_path / "scaled.npy", np.zeros((2, 20), "f4"))
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "turned.png")
    (tmp_path / "empty").mkdir()
    said = said_by(named, tmp_path)
    assert said.returncode == 1
    assert re.search(words, said.stderr.decode())
    assert b"Traceback" not in said.stderr


def test_a_network_says_whether_it_was_trained_on_a_table(made, pictures, tmp_path):
    """The fixtures' networks have one file name; the second was written last."""
    said = said_by(["people.csv"], tmp_path)
    assert b"people.csv: must hold images or an array, as this network was not trained on a table" in said.stderr
    network(tmp_path, made[1].features, made[1].classes, preprocessing=made[1].preprocessing)
    for name in ("new/x/0.png", "x.npy"):
        assert b"must be a table, as this network was trained on one" in said_by([name], tmp_path).stderr
