"""Numbers as targets: what is taken for one, and studies of them, held against plain calculations."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from droplab import Study
from droplab.config import RunSettings
from droplab.data.arrays import targets_of
from droplab.data.files import load_dataset
from droplab.data.splits import train_valid_split
from droplab.errors import ConfigError, DataError
from droplab.model.file import ModelInfo, from_bytes, to_bytes
from droplab.study.lab import Lab
from study_help import Watcher, droplab

USUAL = {"target": "y", "batch_size": 32, "learning_rate": 0.05, "momentum": 0.0}


def table(folder, target, rows=240):
    """A table of two columns and of `y`, which `target` makes of them and of noise."""
    a, b, noise = np.random.default_rng(0).normal(size=(3, rows))
    path = folder / "table.csv"
    pd.DataFrame({"a": a, "b": b, "y": target(a, b, noise)}).to_csv(path, index=False)
    return path


def steep(a, b, noise):
    return 5000 + 300 * a - 100 * b + 20 * noise


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two arms and three seeds, with its folder."""
    folder = tmp_path_factory.mktemp("numbers")
    asked = Study.of(table(folder, steep), depths=2, first_width=16, epochs=10, seeds=3, dropout=0.8, **USUAL)
    observer = Watcher()
    result = asked.run(store=folder / "store.db", device="cpu", observer=observer)
    assert any("taken for a number" in text for text in observer.notices)
    result.write(folder / "out", "droplab study", notify=lambda _: None)
    return folder, asked, result


def test_metrics_are_scikit_learns_and_the_model_file_gives_the_predicted_numbers(study):
    folder, _, result = study
    dataset = load_dataset(folder / "table.csv", target="y", valid_fraction=1 / 6, notify=lambda _: None)
    store = Lab(folder / "store.db").existing()
    with store as opened:
        for record in result.records.values():
            said, truth = record.outcome.ledger["test"], dataset.test_y
            weights, info = from_bytes(opened.read_model(record))
            hidden = np.maximum(dataset.test_x @ weights["layers.0.weight"].T + weights["layers.0.bias"], 0)
            plain = hidden @ weights["layers.1.weight"].T + weights["layers.1.bias"]
            np.testing.assert_allclose(said, plain[:, 0], rtol=1e-4)
            for name, metric in (("rmse", root_mean_squared_error), ("mae", mean_absolute_error), ("r2", r2_score)):
                assert record.outcome.metric("off", "test", name) == pytest.approx(metric(truth, said), rel=1e-6)
            assert info.is_of_numbers
            off, mc = (record.outcome.metric(mode, "test", "rmse") for mode in ("off", "mc"))
            assert (mc == pytest.approx(off, rel=1e-5)) == (not record.settings.dropout)


def test_verdicts_are_of_rmse_and_the_report_has_nothing_of_classes(study):
    folder, asked, result = study
    (found,) = result.findings.contrasts
    assert found.comparison.metric == "rmse"
    assert found.comparison.verdict == "hurts", "dropout has little to do on a line"
    assert found.comparison.difference > 0
    assert found.comparison.margin == pytest.approx(
        0.01 * result.findings.records[result.findings.best_run.key].test_labels.std()
    )
    assert result.findings.best.is_control
    low, high = result.findings.sampling[result.findings.best.name]
    assert low < result.findings.arms.set_index("arm")["test RMSE"][result.findings.best.name] < high
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert "RMSE" in page
    assert "Accuracy by class" not in page
    assert not {"accuracy", "nll"} & set(pd.read_csv(folder / "out" / "results.csv")["metric"])
    assert json.loads((folder / "out" / "study.json").read_text("utf-8"))["arms"][0]["test R²"] <= 1
    again = asked.recall(store=folder / "store.db")
    assert again.findings.contrasts == result.findings.contrasts


def test_runs_are_listed_with_their_rmse_and_asked_for_probabilities_a_report_is_written_all_the_same(study, tmp_path):
    folder, _, result = study
    listed = droplab("runs", "list", "--store", folder / "store.db").out.splitlines()
    column = listed[0].split("\t").index("accuracy/RMSE")
    told = {line.split("\t")[0]: line.split("\t")[column] for line in listed[1:]}
    assert told == {key[:12]: f"{one.outcome.metric('off', 'test', 'rmse'):.4g}" for key, one in result.records.items()}
    fewer = droplab(
        "runs", "list", "--store", folder / "store.db", "--where", f"test_rmse<={min(map(float, told.values()))}"
    )
    assert 1 < len(fewer.out.splitlines()) + 1 < len(listed)
    notices = []
    result.write(tmp_path / "out", probabilities=True, notify=notices.append)
    assert any("no probabilities" in text for text in notices)
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    "target",
    [
        lambda a, b, noise: 1e9 + a / 1000,
        lambda a, b, noise: 1e-50 * a,
        lambda a, b, noise: 0 * a + 3.5,
    ],
)
def test_targets_that_float32_cannot_tell_apart_are_refused_before_training(tmp_path, target):
    study = Study.of(table(tmp_path, target), depths=2, first_width=4, epochs=1, seeds=1, task="regression", **USUAL)
    with pytest.raises(DataError, match="steps of float32"):
        study.run(store=tmp_path / "store.db", device="cpu", observer=Watcher())


def test_a_network_without_hidden_layer_comes_to_the_line_of_least_squares(tmp_path):
    path = table(tmp_path, lambda a, b, noise: 1e4 + 3 * a - b + noise)
    lab = Lab(tmp_path / "store.db", device="cpu", observer=Watcher())
    ready = lab.read(path, target="y")
    with lab.opened() as store:
        settings = RunSettings(epochs=60, batch_size=60, learning_rate=0.2, valid_fraction=0)
        _, found, _ = lab.networks([settings], ready, store)
    data = ready.dataset
    line = LinearRegression().fit(data.train_x, data.train_y).predict(data.test_x)
    (record,) = found.values()
    np.testing.assert_allclose(record.outcome.ledger["test"], line, atol=0.05)


@pytest.mark.parametrize("given", [{"metric": "accuracy"}, {"loss": "cross_entropy"}, {"metric": "f1"}])
def test_what_is_for_classes_is_refused_where_it_is_given_for_numbers(tmp_path, given):
    study = Study.of(table(tmp_path, steep), depths=2, seeds=1, **USUAL, **given)
    with pytest.raises(ConfigError, match=next(iter(given))):
        study.run(store=tmp_path / "store.db", device="cpu", observer=Watcher())


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson"])
def test_other_losses_learn_in_the_targets_own_unit(tmp_path, loss):
    counts = loss == "poisson"
    path = table(tmp_path, lambda a, b, noise: np.exp(3 + a) if counts else steep(a, b, noise))
    lab = Lab(tmp_path / "store.db", device="cpu", observer=Watcher())
    ready = lab.read(path, target="y", task="regression")
    with lab.opened() as store:
        settings = RunSettings(widths=(16,), epochs=40, batch_size=32, learning_rate=0.05, loss=loss)
        _, found, _ = lab.networks([settings], ready, store)
    (record,) = found.values()
    assert record.outcome.metric("off", "test", "r2") > 0.8
    assert not counts or (record.outcome.ledger["test"] > 0).all()


@pytest.mark.parametrize(
    ("target", "task", "numbers"),
    [
        (steep, "auto", True),
        (lambda a, b, noise: np.round(40 * a), "auto", True),
        (lambda a, b, noise: (a > 0).astype(int), "auto", False),
        (lambda a, b, noise: (a > 0).astype(int), "regression", True),
        (lambda a, b, noise: np.clip(np.round(2 * a), -1, 1).astype(int), "classification", False),
    ],
)
def test_a_target_is_a_number_if_it_has_fractions_or_many_values_or_one_says_so(tmp_path, target, task, numbers):
    data = load_dataset(table(tmp_path, target), target="y", task=task, notify=lambda _: None)
    assert data.is_of_numbers == numbers
    assert data.train_y.dtype == (np.float64 if numbers else np.int64)


def test_arrays_of_floats_with_fractions_are_numbers_and_whole_ones_classes():
    said: list[str] = []
    assert targets_of("y", np.array([0.5, 1, 2]), notify=said.append).dtype == np.float64
    assert "taken for numbers" in said[0]
    assert targets_of("y", np.array([0.0, 1, 2])).dtype == np.int64
    assert targets_of("y", np.array([0, 1, 2]), "regression").dtype == np.float64
    with pytest.raises(DataError, match="as for a regression"):
        targets_of("y", np.array([0.5, 1, 2]), "classification")


def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path):
    path = table(tmp_path, steep)
    with pytest.raises(DataError, match="must hold classes; found measured values"):
        load_dataset(path, target="y", task="classification")
    asked = {"depths": 2, "first_width": 4, "epochs": 1, "seeds": 1, **USUAL}
    for wrong, words in (
        ({"regularizers": {"label_smoothing": 0.1}}, "classes alone"),
        ({"metric": "nll"}, "rmse, mae or r2"),
        ({"vary": {"regularizer": ("label_smoothing",)}}, "classes alone"),
        ({"vary": {"loss": ("huber", "cross_entropy")}}, "classes alone"),
    ):
        with pytest.raises(ConfigError, match=words):
            Study.of(path, **asked, **wrong).foretell(store=tmp_path / "store.db", notify=lambda _: None)
    below = table(tmp_path, lambda a, b, noise: a)
    with pytest.raises(ConfigError, match="of counts; found targets down to -"):
        Study.of(below, **asked, loss="poisson").foretell(store=tmp_path / "store.db", notify=lambda _: None)
    with pytest.raises(ConfigError, match="for targets that are numbers"):
        Study.of("digits", depths=2, loss="huber").foretell(store=tmp_path / "store.db", notify=lambda _: None)


def test_numbers_are_split_at_random_and_groups_of_them_are_not_parted():
    numbers, groups = np.arange(60) / 7, np.repeat(np.arange(12), 5)
    train, valid = train_valid_split(numbers, test_size=0.25)
    assert sorted([*train, *valid]) == list(range(60))
    assert len(valid) == 15
    train, valid = train_valid_split(numbers, test_size=0.25, groups=groups)
    assert not set(groups[train]) & set(groups[valid])


def test_a_model_file_of_numbers_has_no_classes_and_one_of_classes_no_loss_of_numbers():
    told = {
        "widths": (),
        "dropout": 0.0,
        "features": 2,
        "scale": 1.0,
        "image_shape": None,
        "data": "",
        "fingerprint": "",
    }
    told |= {"key": "", "precision": "fp32"}
    info = ModelInfo(classes=(), loss="huber", **told)
    weights = {"layers.0.weight": np.ones((1, 2), "f4"), "layers.0.bias": np.zeros(1, "f4")}
    assert from_bytes(to_bytes(weights, info))[1] == info
    for classes, loss in ((("a",), "cross_entropy"), ((), "cross_entropy"), (("a", "b"), "huber")):
        with pytest.raises(ValueError, match="classes"):
            ModelInfo(classes=classes, loss=loss, **told)
