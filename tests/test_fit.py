"""`droplab fit`: a table in, a model and its card out."""

import hashlib
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from droplab.cli.options import model_path
from droplab.config import TABULAR, RunSettings
from droplab.data.files import load_dataset
from droplab.fit import RECIPE, SET_APART, fit, recipe_of
from droplab.inputs import features_of
from droplab.model.file import read, weights_hash
from droplab.stats.metrics import classification_metrics
from droplab.study.lab import Lab, Ready, Warn
from droplab.study.rates import Rates
from droplab.train.answers import answers
from droplab.train.examples import split_rows
from droplab.train.outcome import Way
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


READ = {"target": "class", "groups": "patient", "numeric_encoding": "piecewise_linear", "notify": lambda _: None}
BASE = ("t.csv", "--target", "class", "--groups", "patient", "--epochs", "5", "--store", "s.db")


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """What the command says of a table with the dropout rate given, and the folder it was typed in."""
    monkeypatch.chdir(tmp_path)
    FRAME.to_csv("t.csv", index=False)
    return lambda *more: droplab("fit", *BASE, "--dropout", "0.5", *more)


@pytest.fixture
def compared(fitted):
    """The same without: rates are compared."""
    return lambda *more: droplab("fit", *BASE, *more)


def test_one_network_with_its_file_and_card(fitted):
    said = fitted()
    assert said.code == 0, said.errors
    weights, info = read("t.safetensors")
    assert (info.widths, info.dropout, info.networks, info.classes) == ((128, 128), 0.5, 1, ("large", "small"))
    dataset = load_dataset("t.csv", **READ)
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


def test_an_encoding_of_numbers_is_in_the_model(fitted):
    said = fitted("--numeric-encoding", "piecewise_linear")
    assert said.code == 0, said.errors
    _, info = read("t.safetensors")
    assert [bool(column.edges) for column in info.preprocessing.columns if column.kind == "number"] == [True]
    assert info.preprocessing.features == info.features == 16 + 1 + 2
    assert droplab("predict", "t.safetensors", "t.csv").code == 0
    exported = droplab("export", "t.safetensors", "--to", "onnx", "--check", "t.csv")
    assert exported.code == 0, exported.errors


@pytest.mark.parametrize("by_class", [False, True])
def test_sets_of_classes_come_from_rows_that_nothing_was_trained_on(compared, by_class):
    flags = ("--confidence", "0.8", *(["--by-class"] if by_class else []))
    said = compared("--widths", "16", *flags)
    assert said.code == 0, said.errors
    weights, info = read("t.safetensors")
    whole = load_dataset("t.csv", **READ, valid_fraction=SET_APART, split_seed=1)
    kept, apart = split_rows(whole, SET_APART, 1)
    assert info.preprocessing == whole.preprocessing
    assert info.fingerprint == whole.only(kept).fingerprint
    assert f"{len(kept)} examples were trained on" in Path("t.md").read_text("utf-8")
    assert f"Another {len(apart)} were set apart to calibrate sets." in Path("t.md").read_text("utf-8")
    p = np.exp(answers(weights, info, whole.train_x[np.sort(apart)])["off"].logs.astype(float))
    truth = whole.train_y[np.sort(apart)]
    scores = 1 - p[np.arange(len(truth)), truth]
    groups = [scores[truth == one] for one in (0, 1)] if by_class else [scores]
    bounds = [np.sort(one)[math.ceil(round(0.8 * (len(one) + 1), 9)) - 1] for one in groups]
    assert info.calibration.bounds == pytest.approx(bounds)
    frame = pd.read_csv(io.StringIO(droplab("predict", "t.safetensors", "t.csv", "--sets", "--format", "csv").out))
    p = np.exp(answers(weights, info, features_of(info, "t.csv", lambda _: None))["off"].logs.astype(float))
    expected = [" | ".join(np.array(info.classes)[row]) for row in 1 - p <= np.array(bounds)]
    assert frame["set"].fillna("").tolist() == expected
    logs = answers(weights, info, whole.test_x)["off"].logs.astype(float)
    covered = (1 - np.exp(logs) <= np.array(bounds))[np.arange(len(logs)), whole.test_y].mean()
    assert f"test coverage of sets: {100 * covered:.2f} % (95 % interval" in said.out


def test_sets_need_enough_rows_and_a_model_that_was_calibrated(fitted):
    assert "need 99 examples set apart; found 33" in fitted("--confidence", "0.99").errors
    assert "must lie between 0 and 1" in fitted("--confidence", "90").errors
    assert "cannot act without it" in fitted("--by-class").errors
    assert fitted("--widths", "4").code == 0
    assert (
        "sets and intervals need a model whose answers were calibrated"
        in droplab("predict", "t.safetensors", "t.csv", "--sets").errors
    )


def test_some_may_be_held_out(fitted):
    assert fitted("--valid-fraction", "0.25").code == 0
    card = Path("t.md").read_text("utf-8")
    assert re.search(r"\d+ examples were trained on, \d+ held out for validation", card)


def test_dropout_has_to_earn_its_place(compared):
    said = compared("--widths", "16", "--seeds", "2")
    assert said.code == 0, said.errors
    assert "6 networks to train, 0 reused" in said.out
    chosen = re.search(r"valid chose (no dropout|dropout [\d.]+): trained again on train and valid", said.out).group(1)
    assert "2 networks to train, 0 reused" in said.out
    _, info = read("t.safetensors")
    assert chosen == (f"dropout {info.dropout:g}" if info.dropout else "no dropout")
    assert info.networks == 2
    card = Path("t.md").read_text("utf-8")
    verdict = re.search(r"^Dropout .*valid.*$", said.out, re.MULTILINE).group(0)
    assert f"## Whether dropout earned its place\n\n{verdict}" in card
    row = r"\| {} \| [\d.]+ \| \S+ \| (–.*|\S+ to \S+) \|\n"
    assert re.search("".join(row.format(rate) for rate in ("none", "0.125", "0.5")), card)
    assert "but for the dropout rate, which valid chose" in card
    dataset = load_dataset("t.csv", **READ)
    assert f"{len(dataset.train_y)} examples were trained on and" in card  # those of valid among them
    assert info.fingerprint == dataset.fingerprint
    assert "0 networks to train, 6 reused" in compared("--widths", "16", "--seeds", "2", "--force").out


def test_a_rate_that_is_given_is_compared_with_nothing(fitted):
    said = fitted()
    assert "valid chose" not in said.out
    assert "earned" not in said.out + Path("t.md").read_text("utf-8")
    assert "given, and compared with nothing" in Path("t.md").read_text("utf-8")


@pytest.mark.parametrize("flags", [("--regularizers", "dropout_by_layer=0.1/0.2"), ("--dropout", "0.1/0.2")])
def test_rates_by_layer_are_given_rates(compared, flags):
    said = compared("--widths", "16,8", *flags)
    assert said.code == 0, said.errors
    assert "1 networks to train" in said.out


def test_a_network_for_a_table_stops_early_where_examples_are_held_out():
    held, whole = (RunSettings.parse(recipe_of("t.csv", share)) for share in (0.25, 0.0))
    assert (dict(held.regularizers), dict(whole.regularizers)) == (TABULAR["regularizers"], {})
    assert recipe_of("digits", 0.0) == RECIPE


SMALL = RunSettings.parse(RECIPE | {"widths": (16,), "epochs": 3, "valid_fraction": 0.25})
STOPPED = SMALL.model_copy(update={"regularizers": {"early_stopping": 3}})


def made(dataset, tmp_path, settings=SMALL, rates=(0.2, 0.5)):
    notices = []
    lab = Lab(tmp_path / "s.db", workers=1, observer=Warn(notices.append))
    return fit(lab, Ready(dataset, Way("cpu", "fp32"), []), settings, [0], rates), notices


def test_the_test_split_chooses_no_rate(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    dataset = load_dataset(tmp_path / "t.csv", target="class", groups="patient", notify=lambda _: None)
    first, _ = made(dataset, tmp_path)
    again, _ = made(replace(dataset, test_y=1 - dataset.test_y), tmp_path)
    assert again.rates == first.rates
    assert again.info.dropout == first.info.dropout == first.rates.chosen
    assert weights_hash(again.weights) == weights_hash(first.weights)
    assert [one.value for one in again.metrics] != [one.value for one in first.metrics]
    valid = len(first.dataset.train_y) - len(split_rows(dataset, 0.25, SMALL.split_seed)[0])
    assert next(iter(first.rates.against_none.values())).examples == valid


@pytest.mark.parametrize(
    ("rows", "settings", "why"),
    [
        (40, STOPPED, "32 training examples are too few to hold some out; it takes 50; dropout 0.5 is used untried"),
        (80, SMALL.model_copy(update={"valid_fraction": 0.0}), "no examples are held out for valid; dropout 0.5"),
        (80, SMALL.model_copy(update={"valid_fraction": 0.002}), "no examples can be held out: train and valid must"),
        (80, SMALL.model_copy(update={"widths": ()}), "without a hidden layer dropout changes nothing"),
    ],
)
def test_where_rates_cannot_be_compared_it_is_said(tmp_path, rows, settings, why):
    table = FRAME.drop(columns="patient").iloc[:rows]
    table.to_csv(tmp_path / "t.csv", index=False)
    model, notices = made(load_dataset(tmp_path / "t.csv", target="class", notify=lambda _: None), tmp_path, settings)
    assert any(f"whether dropout earns its place is not found out: {why}" in notice for notice in notices), notices
    assert model.rates is None
    assert model.info.dropout == (0.5 if settings.widths else 0.0)
    assert [run.settings.valid_fraction for run in model.runs] == [0.0]


def rates_of(*shares, seeds=1, examples=200):
    """Rates 0, 0.2 and 0.5 with these shares of examples right, the same examples first."""
    right = [np.arange(examples) < round(share * examples) for share in shares]
    return Rates.of({rate: np.stack([one] * seeds) for rate, one in zip((0.0, 0.2, 0.5), right, strict=True)})


@pytest.mark.parametrize(
    ("shares", "chosen", "words"),
    [
        (
            (0.80, 0.90, 0.85),
            0.2,
            r"Dropout 0\.2 earned its place: valid accuracy 90\.0 % against 80\.0 % without, \+10\.00 points "
            r"\(97\.5 % interval \+\d\S+ to \+\S+ for new examples\)\. One seed says nothing about other seeds\.",
        ),
        ((0.80, 0.81, 0.80), 0.2, r"Dropout 0\.2 is best on valid, but chance may have done that: .* −\S+ to \+"),
        (
            (0.80, 0.80, 0.80),
            0.0,
            r"Dropout did not earn its place: valid accuracy is 80\.0 % without, 80\.0 % with 0\.2 and 80\.0 % with",
        ),
        ((0.80, 0.90, 0.90), 0.2, "Dropout 0.2 earned"),
        ((0.90, 0.80, 0.70), 0.0, "did not earn its place"),
    ],
)
def test_the_best_on_valid_is_chosen_and_of_equals_the_least(shares, chosen, words):
    found = rates_of(*shares)
    assert found.chosen == chosen
    assert re.search(words, found.words), found.words


def test_what_several_seeds_say_holds_for_new_ones():
    right = RANDOM.random((5, 400))
    found = Rates.of({0.0: right < 0.7, 0.2: right < 0.85})
    assert "for new seeds and examples)." in found.words
    assert "One seed" not in found.words
    assert next(iter(found.against_none.values())).confidence == pytest.approx(0.95)  # one comparison


def test_choosing_the_best_of_several_rates_is_not_rewarded():
    """Where dropout does nothing, it is said to have earned its place in no more than a twentieth of cases."""
    random, earned = np.random.default_rng(0), 0
    for _ in range(400):
        right = {rate: random.random((1, 300)) < 0.8 for rate in (0.0, 0.2, 0.5)}
        earned += "earned its place:" in Rates.of(right).words
    assert earned <= 0.05 * 400


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "no/such/model.safetensors"], "--out must be a file in a folder that can be written"),
        (["--out", "card.md"], "must not be the name of the card"),
        (["--seeds", "0"], "1 to"),
        (["--seeds", "1,1"], "different seeds"),
        (["--seeds", "1,-4"], "whole numbers"),
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
