"""Calibration: each number against its plain definition, and what a run keeps of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss

from droplab.config import RunSettings
from droplab.model.initialise import initial_layers
from droplab.model.network import Network
from droplab.stats import calibration
from droplab.stats.calibration import (
    brier,
    calibration_error,
    entropy,
    fit_temperature,
    mean_nll,
    reliability,
    tempered,
)
from droplab.study.records import pack_arrays, unpack_arrays
from droplab.train.evaluate import evaluate, mc_points
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Trained, Way
from toy import toy_dataset, toy_examples

EXAMPLES = toy_examples()


def logs_of(seed: int, examples: int = 200, classes: int = 4, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of a calibrated classifier: labels are drawn from them."""
    random = np.random.default_rng(seed)
    logs = log_softmax(spread * random.normal(size=(examples, classes)), axis=1).astype(np.float32)
    labels = (random.random((examples, 1)) > np.exp(logs).cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return logs, labels


cases = st.builds(
    logs_of, st.integers(0, 10**6), st.integers(1, 80), st.integers(2, 6), st.floats(0.1, 8, allow_nan=False)
)


@given(cases)
def test_bins_hold_every_example_once_and_about_as_many_each(case):
    logs, labels = case
    curve = reliability(logs, labels)
    assert curve.examples.sum() == len(labels)
    assert len(curve.examples) == min(15, len(labels))
    assert np.ptp(curve.examples) <= 1
    assert (np.diff(curve.confidence) >= 0).all()
    assert (curve.accuracy * curve.examples).sum() == pytest.approx((logs.argmax(axis=1) == labels).sum())


def test_the_error_worked_by_hand():
    """Confidences .6 .7 .8 .9; right, wrong | right, right: bins ½ against .65 and 1 against .85."""
    confidence = np.array([0.9, 0.6, 0.8, 0.7])
    logs = np.log(np.stack([confidence, 1 - confidence], axis=1))
    curve = reliability(logs, np.array([0, 0, 0, 1]), bins=2)
    assert curve.confidence == pytest.approx([0.65, 0.85])
    assert curve.accuracy == pytest.approx([0.5, 1.0])
    assert calibration_error(curve) == pytest.approx(0.15)


def test_a_calibrated_classifier_has_little_error_and_one_too_sure_has_much():
    logs, labels = logs_of(1, 50_000)
    fair = calibration_error(reliability(logs, labels))
    sure = calibration_error(reliability(tempered(logs, 0.3), labels))
    assert fair < 0.01
    assert sure > 0.15


@given(cases)
def test_scores_are_those_of_scikit_learn(case):
    logs, labels = case
    probabilities = np.exp(logs.astype(np.float64))
    classes = np.arange(logs.shape[1])
    of_each = [(labels == k).astype(int) for k in classes]
    expected = sum(
        brier_score_loss(y, p, pos_label=1) for y, p in zip(of_each, probabilities.T.clip(0, 1), strict=True)
    )
    assert brier(logs, labels) == pytest.approx(expected, abs=1e-6)
    normal = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert mean_nll(logs, labels) == pytest.approx(log_loss(labels, normal, labels=classes), rel=1e-4, abs=1e-6)


@given(cases)
def test_entropy_lies_between_none_and_that_of_chance(case):
    logs, _ = case
    found = entropy(logs)
    assert (found >= 0).all()
    assert (found <= math.log(logs.shape[1]) + 1e-5).all()
    assert entropy(np.log(np.full((1, 4), 0.25)))[0] == pytest.approx(math.log(4))
    assert entropy(np.array([[0.0, -np.inf]]))[0] == 0


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found(true):
    logs, labels = logs_of(3, 20_000)
    assert fit_temperature(tempered(logs, 1 / true), labels) == pytest.approx(true, rel=0.05)


@given(cases)
@settings(deadline=None)
def test_fitting_never_makes_the_labels_less_likely_and_changes_no_prediction(case):
    logs, labels = case
    temperature = fit_temperature(logs, labels)
    assert calibration.COOLEST <= temperature <= calibration.HOTTEST
    calibrated = tempered(logs, temperature)
    assert mean_nll(calibrated, labels) <= mean_nll(logs, labels) + 1e-4
    assert np.exp(calibrated).sum(axis=1) == pytest.approx(1, abs=1e-5)
    best = logs.max(axis=1)
    assert np.take_along_axis(logs, calibrated.argmax(axis=1)[:, None], 1)[:, 0] == pytest.approx(best, abs=1e-5)


def test_where_all_is_right_the_coolest_temperature_is_taken():
    logs, _ = logs_of(5)
    assert fit_temperature(logs, logs.argmax(axis=1)) == pytest.approx(calibration.COOLEST, rel=0.01)


def test_masks_are_kept_at_even_steps_the_first_and_the_last_among_them():
    assert mc_points(1) == [1]
    assert mc_points(4) == [1, 2, 3, 4]
    assert mc_points(120) == [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 120]


def test_what_is_kept_is_what_a_plain_mean_over_masks_gives():
    sizes, rates = (EXAMPLES.features, 16, 8, EXAMPLES.classes), torch.full((2, 1), 0.4)
    network = Network(sizes, regularizers=("dropout",), fine=True)
    layers = [
        layer._replace(weight=layer.weight * 3)
        for layer in initial_layers(EXAMPLES.features, (16, 8), EXAMPLES.classes, [7])
    ]
    part, keep = EXAMPLES.test, len(EXAMPLES.test) - 3

    def said_in(*modes, samples=5, keep=keep):
        return evaluate(network, layers, part, rates, modes, [7], samples=samples, keep=keep)

    said = said_in("off", "on", "mc")
    single = [said_in("mc", samples=masks)["mc"].kept[masks][0].double().exp() for masks in range(1, 6)]
    assert list(said["mc"].kept) == [1, 2, 3, 5]
    assert list(said["on"].kept) == [1]
    assert list(said["off"].kept) == [0]
    for masks, logs in said["mc"].kept.items():
        assert logs.shape == (1, keep, EXAMPLES.classes)
        torch.testing.assert_close(logs[0].double().exp(), single[masks - 1], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(said["on"].kept[1], said["mc"].kept[1])
    alone = [single[0], *(masks * single[masks - 1] - (masks - 1) * single[masks - 2] for masks in range(2, 6))]
    entropies = torch.stack([-(p * p.clamp_min(1e-30).log()).sum(dim=1) for p in alone]).mean(dim=0)
    torch.testing.assert_close(said["mc"].single[0].double(), entropies, rtol=1e-3, atol=1e-4)
    nll = -said["off"].kept[0][0][torch.arange(keep), part.labels[part.rows][:keep]].mean()
    assert nll.item() == pytest.approx(said["off"].loss.item(), rel=0.2), "of nearly all examples"
    assert said_in("mc", keep=0)["mc"].kept == {}


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    """A network with dropout, its control, and one with nothing held out."""
    recipe = {"widths": (16,), "epochs": 4, "batch_size": 32, "learning_rate": 0.1, "mc_samples": 6}
    kinds = {"dropout": {"dropout": 0.5}, "control": {}, "refit": {"dropout": 0.5, "valid_fraction": 0.0}}
    found = {}
    for name, values in kinds.items():
        examples = Examples.of(toy_dataset(), 0.0, 1) if name == "refit" else EXAMPLES
        (found[name],) = train_pack([RunSettings(**recipe, **values)], examples, Way("cpu", "fp32"), lambda _: None)
    return found


def names_of(trained: Trained) -> set[tuple[str, str, str]]:
    return {(metric.inference, metric.split, metric.name) for metric in trained.outcome.metrics}


def test_a_run_says_whether_its_probabilities_can_be_believed(trained):
    outcome = trained["dropout"].outcome
    for mode in ("off", "on", "mc"):
        assert 0 <= outcome.metric(mode, "test", "ece") <= 1
        assert 0 <= outcome.metric(mode, "test", "brier") <= 2
    assert outcome.metric("off", "test", "ece") == pytest.approx(calibration_error_of(outcome.reliability[0]), rel=1e-4)
    assert outcome.metric("off", "test", "ece_calibrated") == pytest.approx(
        calibration_error_of(outcome.reliability[1]), rel=1e-4
    )
    assert outcome.metric("off", "valid", "temperature") > 0
    assert outcome.metric("mc", "test", "nll_k6") == pytest.approx(outcome.metric("mc", "test", "nll"), rel=1e-5)
    assert outcome.metric("mc", "test", "accuracy_k6") == outcome.metric("mc", "test", "accuracy")
    assert outcome.metric("mc", "test", "nll_k1") == pytest.approx(outcome.metric("on", "test", "nll"), rel=1e-5)
    assert 0 < outcome.metric("mc", "test", "mutual_information") < outcome.metric("mc", "test", "entropy")
    right, wrong = (outcome.metric("mc", "test", f"entropy_{kind}") for kind in ("right", "wrong"))
    share = outcome.metric("mc", "test", "accuracy")
    assert share * right + (1 - share) * wrong == pytest.approx(outcome.metric("mc", "test", "entropy"))


def calibration_error_of(curve: np.ndarray) -> float:
    confidence, accuracy, examples = curve.astype(np.float64)
    return float((examples * abs(accuracy - confidence)).sum() / examples.sum())


def test_a_control_has_no_masks_to_disagree(trained):
    names = names_of(trained["control"])
    assert ("mc", "test", "ece") in names
    assert not any(name.startswith(("mutual_information", "nll_k", "ece_k", "accuracy_k")) for _, _, name in names)


def test_without_valid_there_is_no_temperature(trained):
    names = names_of(trained["refit"])
    assert not any("temperature" in name or "calibrated" in name for _, _, name in names)
    assert np.isnan(trained["refit"].outcome.reliability[1]).all()
    assert np.isfinite(trained["refit"].outcome.reliability[0]).all()


def test_the_store_keeps_it_and_older_runs_have_none(trained):
    outcome = trained["dropout"].outcome
    assert (unpack_arrays(pack_arrays(outcome))[2] == outcome.reliability).all()
    assert unpack_arrays(pack_arrays(replace(outcome, reliability=None)))[2] is None


def test_at_most_so_many_probabilities_are_kept(trained, monkeypatch):
    monkeypatch.setattr("droplab.train.results.KEPT_PROBABILITIES", 50 * EXAMPLES.classes)
    run = RunSettings(widths=(16,), epochs=4, batch_size=32, learning_rate=0.1, mc_samples=6, dropout=0.5)
    (again,) = train_pack([run], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    assert again.outcome.reliability[0, 2].sum() == 50
    whole = trained["dropout"].outcome
    assert whole.reliability[0, 2].sum() == len(EXAMPLES.test) > 50
    assert again.outcome.metric("off", "test", "nll") == whole.metric("off", "test", "nll")


def test_a_run_of_mnist_takes_less_than_50_kb_beside_its_weights(trained):
    random = np.random.default_rng(0)
    predicted = random.integers(0, 10, 10_000).astype(np.uint8)
    outcome = trained["dropout"].outcome
    long = random.random((2, 40)).astype(np.float32)
    curves = replace(
        outcome.curves,
        train_loss=random.random(400).astype(np.float32),
        points=np.arange(40, dtype=np.int32),
        losses=long,
        accuracies=long,
    )
    outcome = replace(outcome, curves=curves, ledger={"valid": predicted, "test": predicted[::-1]})
    metrics = len(json.dumps([list(metric) for metric in outcome.metrics]))
    assert 10_000 < len(pack_arrays(outcome)) + metrics < 50_000


def test_a_control_says_the_same_in_a_stacked_pack_with_others_that_drop_units():
    recipe = {"widths": (16,), "epochs": 2, "batch_size": 32, "mc_samples": 3}
    runs = [RunSettings(**recipe), RunSettings(**recipe, dropout=0.5)]
    control, dropped = train_pack(runs, EXAMPLES, Way("cpu", "fp32", stacked=True), lambda _: None)
    (alone,) = train_pack(runs[:1], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    assert names_of(control) == names_of(alone)
    assert ("mc", "test", "nll_k3") in names_of(dropped)
