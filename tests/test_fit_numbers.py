"""`droplab fit` where the target is a number: model, card, predictions and intervals, each against its plain form."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from droplab.data.files import load_dataset
from droplab.fit import SET_APART
from droplab.model.file import read
from droplab.stats.intervals import number_intervals
from droplab.study.rates import Rates
from droplab.train.examples import split_rows
from study_help import droplab

RANDOM = np.random.default_rng(5)
ROWS = 300
SIZE = RANDOM.normal(size=ROWS)
FRAME = pd.DataFrame({"size": SIZE, "town": RANDOM.choice(["Bern", "Ulm"], ROWS)})
FRAME["price"] = 1000 + 80 * SIZE + 40 * (FRAME.town == "Ulm") + 10 * RANDOM.normal(size=ROWS)
USUAL = ("--epochs", "60", "--widths", "16", "--learning-rate", "0.01", "--store", "s.db")


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FRAME.to_csv("t.csv", index=False)
    return lambda *more: droplab("fit", "t.csv", "--target", "price", *USUAL, *more)


def told(*more):
    done = droplab("predict", "t.safetensors", "t.csv", "--format", "csv", *more)
    assert done.code == 0, done.errors
    return pd.read_csv(io.StringIO(done.out))


def by_hand(weights, x):
    """What two networks with one hidden layer say of rows, in the unit of the target."""
    hidden = np.einsum("nf,rhf->rnh", x, weights["layers.0.weight"]) + weights["layers.0.bias"][:, None]
    outputs = np.einsum("rnh,roh->rno", np.maximum(hidden, 0), weights["layers.1.weight"])
    return (outputs + weights["layers.1.bias"][:, None]).mean(axis=0)[:, 0]


def test_numbers_are_told_in_their_unit_and_held_by_intervals(fitted):
    said = fitted("--seeds", "2", "--confidence", "0.8")
    assert said.code == 0, said.errors
    weights, info = read("t.safetensors")
    assert (info.classes, info.loss, info.networks) == ((), "squared_error", 2)
    split = {"valid_fraction": SET_APART, "split_seed": 1}
    encoded = {"numeric_encoding": "piecewise_linear"}  # as a table's numbers are
    whole = load_dataset("t.csv", target="price", **split, **encoded, notify=lambda _: None)
    kept, apart = (np.sort(rows) for rows in split_rows(whole, *split.values()))
    assert info.fingerprint == whole.only(kept).fingerprint
    misses = np.sort(np.abs(whole.train_y[apart] - by_hand(weights, whole.train_x[apart])))
    reach = misses[int(np.ceil(0.8 * (len(apart) + 1))) - 1]
    assert info.calibration.bounds == pytest.approx([reach], rel=1e-4)
    truth, predictions = whole.test_y, by_hand(weights, whole.test_x)
    rmse, mae = root_mean_squared_error(truth, predictions), mean_absolute_error(truth, predictions)
    assert rmse < 25  # of a standard deviation of 80; the noise is 10
    assert f"test RMSE: {rmse:.4g} (95 % interval" in said.out
    covered = np.mean(np.abs(truth - predictions) <= reach)
    assert f"test coverage of intervals: {100 * covered:.2f} % (95 % interval" in said.out
    frame = told("--interval")
    expected = by_hand(weights, info.preprocessing.transform(FRAME))
    np.testing.assert_allclose(frame.prediction, expected, rtol=1e-5)
    np.testing.assert_allclose(frame.lower, expected - reach, rtol=1e-4)
    np.testing.assert_allclose(frame.upper, expected + reach, rtol=1e-4)
    again = droplab("evaluate", "t.safetensors", "--data", "t.csv", "--target", "price")
    assert f"dropout off: RMSE {rmse:.4g}, MAE {mae:.4g}" in again.out
    card = Path("t.md").read_text("utf-8")
    assert "holds 2 fully-connected networks, whose numbers are averaged" in card
    assert f"| RMSE | {rmse:.4g} |" in card
    assert "classifier" not in card


def test_an_exported_network_gives_the_numbers(fitted):
    assert fitted("--dropout", "0.1").code == 0
    exported = droplab("export", "t.safetensors", "--to", "onnx", "--check", "t.csv")
    assert exported.code == 0, exported.errors
    session = onnxruntime.InferenceSession("t.onnx")
    inputs = np.stack([FRAME["size"], (FRAME.town == "Ulm").astype(float)], axis=1)  # towns are numbered in order
    np.testing.assert_allclose(session.run(["numbers"], {"x": inputs})[0][:, 0], told().prediction, rtol=1e-4)


def test_counts_are_fitted_by_their_logarithms(fitted):
    FRAME.assign(price=np.where(SIZE > 0, "more", "less")).to_csv("t.csv", index=False)
    assert "loss=poisson is for targets that are numbers; found classes" in fitted("--loss", "poisson").errors
    FRAME.assign(price=np.random.default_rng(0).poisson(np.exp(1 + SIZE / 2))).to_csv("t.csv", index=False)
    said = fitted("--loss", "poisson", "--task", "regression", "--dropout", "0", "--seeds", "2")
    assert said.code == 0, said.errors
    found = told().prediction
    assert (found > 0).all()
    assert np.corrcoef(np.log(found), SIZE)[0, 1] > 0.9
    assert found.mean() == pytest.approx(np.exp(1 + 1 / 8), rel=0.15)


@pytest.mark.parametrize("flag", ["--sets", "--probabilities", "--uncertainty"])
def test_what_is_of_classes_is_refused_for_numbers(fitted, flag):
    assert "by class is for classes alone" in fitted("--confidence", "0.9", "--by-class").errors
    assert "loss=cross_entropy is for classes" in fitted("--loss", "cross_entropy").errors
    assert fitted("--dropout", "0", "--widths", "2").code == 0
    said = droplab("predict", "t.safetensors", "t.csv", flag).errors
    assert f"{flag[2:]} can be asked of classes alone; this model says numbers" in said
    said = droplab("predict", "t.safetensors", "t.csv", "--interval").errors
    assert "were not. Make it with droplab fit --confidence 0.9" in said


def test_intervals_of_metrics_hold_them():
    random, inside, truth_of = np.random.default_rng(0), np.zeros(3), (1.0, np.sqrt(2 / np.pi), 0.8)
    for _ in range(25):
        said = 2 * random.normal(size=150)
        truth = said + random.normal(size=150)
        found = number_intervals(truth, said, 1.96)
        inside += [one.low <= value <= one.high for one, value in zip(found, truth_of, strict=False)]
    assert (inside / 25 >= 0.8).all()
    assert found[0].value == pytest.approx(root_mean_squared_error(truth, said))
    assert found[2].value == pytest.approx(r2_score(truth, said))
    assert (found[3].value, found[4].value) == (pytest.approx(np.mean(np.abs(truth - said) <= 1.96)), 3.92)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_rate_is_chosen_by_squared_error_and_chance_seldom_looks_like_a_gain(seeds):
    earned = 0
    for seed in range(150):
        random = np.random.default_rng([seed, seeds])
        rates = Rates.of_errors({rate: random.chisquare(1, (seeds, 80)) for rate in (0.0, 0.2, 0.5)})
        assert rates.chosen == min(rates.values, key=rates.values.get)
        earned += "earned its place: valid RMSE" in rates.words
    assert earned / 150 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    better = Rates.of_errors({0.0: 4 + random.normal(size=(seeds, 80)), 0.2: 1 + 0.1 * random.normal(size=(seeds, 80))})
    assert (better.chosen, better.values[0.2]) == (0.2, pytest.approx(1, abs=0.05))
    assert "Dropout 0.2 earned its place: valid RMSE 1" in better.words
    assert better.against_none[0.2].difference == pytest.approx(0.75, abs=0.05)
