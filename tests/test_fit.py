"""`droplab fit`: a table in, a model and its card out."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from droplab.cli.options import model_path
from droplab.data.files import load_dataset
from droplab.inputs import features_of
from droplab.model.file import read, weights_hash
from droplab.predict import answers
from droplab.stats.metrics import classification_metrics
from study_help import droplab

RANDOM = np.random.default_rng(3)
ROWS = 240
SIZE = RANDOM.normal(size=ROWS)
FRAME = pd.DataFrame(
    {
        "size": np.where(np.arange(ROWS) % 11 == 0, np.nan, SIZE),
        "town": RANDOM.choice(["Ulm", "Bern"], ROWS),
        "patient": np.arange(ROWS) // 3,
        "class": np.where(SIZE + RANDOM.normal(size=ROWS) / 2 > 0, "large", "small"),
    }
)


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """What the command says of a table, and the folder it was typed in."""
    monkeypatch.chdir(tmp_path)
    FRAME.to_csv("t.csv", index=False)

    def run(*more):
        base = ("t.csv", "--target", "class", "--groups", "patient", "--epochs", "5", "--store", "s.db")
        return droplab("fit", *base, *more)

    return run


def test_one_network_with_its_file_and_card(fitted):
    said = fitted()
    assert said.code == 0, said.errors
    weights, info = read("t.safetensors")
    assert (info.widths, info.dropout, info.networks, info.classes) == ((256, 128), 0.5, 1, ("large", "small"))
    dataset = load_dataset("t.csv", target="class", groups="patient", notify=lambda _: None)
    logs = answers(weights, info, dataset.test_x)["off"].logs
    accuracy = classification_metrics(dataset.test_y, logs.argmax(axis=1), 2)["accuracy"]
    assert accuracy > 0.7
    assert f"test accuracy: {100 * accuracy:.2f} % (95 % interval" in said.out
    card = Path("t.md").read_text("utf-8")
    assert f"| accuracy (%) | {100 * accuracy:.2f} |" in card
    train, test = len(dataset.train_y), len(dataset.test_y)
    assert f"{train} examples were trained on and {test} are the test split, which chose nothing. No group is" in card
    assert "`--seeds 5` averages five" in card
    assert "expected calibration error" in card
    assert info.fingerprint in card


def test_several_networks_are_one_model(fitted):
    said = fitted("--seeds", "3", "--out", "three.safetensors", "--widths", "16", "--dropout", "0.2")
    assert said.code == 0, said.errors
    weights, info = read("three.safetensors")
    assert (info.networks, info.widths, info.dropout) == (3, (16,), 0.2)
    assert weights["layers.0.weight"].shape[:2] == (3, 16)
    accuracy = re.search(r"test accuracy: ([\d.]+) %", said.out).group(1)
    again = droplab("evaluate", "three.safetensors", "--data", "t.csv", "--target", "class", "--groups", "patient")
    assert f"dropout off: accuracy {float(accuracy) / 100:.4f}" in again.out
    card = Path("three.md").read_text("utf-8")
    assert "holds 3 fully-connected classifiers, whose probabilities are averaged" in card
    assert "is seen in the single networks" in card
    features = features_of(info, "t.csv", lambda _: None)
    assert np.exp(answers(weights, info, features)["off"].logs).sum(axis=1) == pytest.approx(np.ones(ROWS), abs=1e-5)


def test_what_the_store_has_is_not_trained_again(fitted):
    assert "1 networks to train, 0 reused" in fitted().out
    first = read("t.safetensors")
    assert "2 networks to train, 1 reused" in fitted("--seeds", "3", "--force").out
    assert "0 networks to train, 1 reused" in fitted("--force").out
    weights, info = read("t.safetensors")
    assert info == first[1]
    assert weights_hash(weights) == weights_hash(first[0])


def test_model_and_card_name_each_other(fitted):
    assert fitted().code == 0
    card = Path("t.md").read_bytes()
    weights, _ = read("t.safetensors")
    assert weights_hash(weights).encode() in card
    header = Path("t.safetensors").read_bytes()
    assert hashlib.sha256(card).hexdigest().encode() in header[: int.from_bytes(header[:8], "little") + 8]


def test_what_is_there_is_kept(fitted):
    Path("t.safetensors").write_bytes(b"somebody's")
    said = fitted()
    assert said.code == 1
    assert "t.safetensors is there already, and is kept" in said.errors
    assert "--force" in said.errors
    Path("t.safetensors").unlink()
    Path("t.md").write_bytes(b"somebody's")
    assert "t.md is there already" in fitted().errors
    assert Path("t.md").read_bytes() == b"somebody's"
    assert not Path("t.safetensors").exists()
    assert fitted("--force").code == 0
    assert Path("t.md").read_bytes() != b"somebody's"


@pytest.mark.parametrize("out", ["t.csv", "s.db"])
def test_what_is_read_is_never_written_over(fitted, out):
    assert fitted().code == 0
    before = Path(out).read_bytes()
    said = fitted("--out", out, "--force")
    assert "--out must not be what is read" in said.errors
    assert Path(out).read_bytes() == before


@pytest.mark.parametrize(
    ("data", "name"),
    [("digits", "digits"), ("a/b/wine.csv.gz", "wine"), ("x.npy,y.npy", "x"), ("pets/", "pets"), ("v1.2.tsv", "v1.2")],
)
def test_a_model_is_named_after_its_data(data, name):
    assert model_path(data) == Path(f"{name}.safetensors")


def test_a_folder_named_as_a_data_set_has_not_its_licence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = RANDOM.normal(size=(40, 3)), np.arange(40) % 2
    np.savez("digits.npz", x=x, y=y)  # whose data set is called digits
    said = droplab("fit", "digits.npz", "--epochs", "1", "--widths", "4", "--store", "s.db")
    assert said.code == 0, said.errors
    assert "Licence of the data" not in Path("digits.md").read_text("utf-8")


def test_some_may_be_held_out(fitted):
    assert fitted("--valid-fraction", "0.25").code == 0
    card = Path("t.md").read_text("utf-8")
    assert re.search(r"\d+ examples were trained on, \d+ held out for validation", card)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "no/such/model.safetensors"], "--out must be a file in a folder that can be written"),
        (["--out", "card.md"], "must not be the name of the card"),
        (["--seeds", "0"], "1 to"),
        (["--seeds", "1,1"], "different seeds"),
        (["--seeds", "1,-4"], "seed: "),
        (["--dropout", "1.5"], "dropout: "),
        (["--test", "0"], "between 0 and 1"),
        (["--optimizer", "adamm"], "optimizer: "),
        (["--regularizers", "dropuot=1"], "dropuot"),
    ],
)
def test_wrong_settings_are_one_clear_error_and_write_nothing(fitted, tmp_path, arguments, words):
    said = fitted(*arguments)
    assert said.code != 0
    assert words in said.errors
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob("*.md"))
