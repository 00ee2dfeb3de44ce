"""Intervals for one model's metrics: usual values, and ends that hold the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from droplab.stats.intervals import accuracy_interval, metric_intervals, next_seed_interval
from droplab.stats.metrics import classification_metrics


def drawn(random, examples, classes=3):
    """Labels, and log-probabilities that know something of them."""
    labels = random.integers(0, classes, examples)
    logits = random.normal(size=(examples, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_values_are_the_usual_ones_and_lie_in_their_intervals(seed, examples, classes):
    labels, logs = drawn(np.random.default_rng(seed), examples, classes)
    found = {one.name: one for one in metric_intervals(labels, logs)}
    usual = classification_metrics(labels, logs.argmax(axis=1), classes)
    for name in ("accuracy", "balanced accuracy", "macro F1"):
        assert found[name].value == pytest.approx(usual[name.replace(" ", "_").lower()])
        assert np.isnan(found[name].low) or 0 <= found[name].low <= found[name].high <= 1
    assert found["NLL"].value == pytest.approx(log_loss(labels, np.exp(logs), labels=range(classes)))
    for one in found.values():
        assert np.isnan(one.low) or -1e-9 <= one.low < one.high
    assert found["accuracy"].low <= found["accuracy"].value <= found["accuracy"].high + 1e-12


def test_a_large_sample_agrees_with_scikit_learn():
    labels, logs = drawn(np.random.default_rng(0), 4000)
    found = {one.name: one for one in metric_intervals(labels, logs)}
    assert found["balanced accuracy"].value == pytest.approx(balanced_accuracy_score(labels, logs.argmax(axis=1)))
    assert found["Brier"].value == pytest.approx(brier_score_loss(labels, np.exp(logs), scale_by_half=False))
    for one in found.values():
        assert one.low < one.value < one.high


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(1)
    labels, logs = drawn(random, 200_000)
    truth = {one.name: one.value for one in metric_intervals(labels[:100_000], logs[:100_000])}
    held = dict.fromkeys(truth, 0)
    for _ in range(200):
        rows = random.integers(0, len(labels), 150)
        for one in metric_intervals(labels[rows], logs[rows]):
            held[one.name] += one.low <= truth[one.name] <= one.high
    assert all(178 <= count <= 199 for count in held.values()), held  # 95 % of 200 is 190 ± 3.1


def test_all_right_is_not_certain():
    one = accuracy_interval(50, 50)
    assert (one.value, one.high) == (1.0, 1.0)
    labels = np.arange(50) % 2
    found = {one.name: one for one in metric_intervals(labels, np.log(np.eye(2)[labels] * 0.8 + 0.1))}
    assert found["balanced accuracy"].value == 1
    assert np.isnan([found["balanced accuracy"].low, found["macro F1"].high]).all()
    assert one.low == pytest.approx(50 / (50 + 1.959964**2))  # Wilson's lower end where all are right


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_one_more_seed_falls_into_its_interval_as_often_as_it_says(seeds):
    random, held = np.random.default_rng(seeds), 0
    for _ in range(4000):
        *found, one_more = random.normal(0.98, 0.001, seeds + 1)
        low, high = next_seed_interval(found)
        held += low <= one_more <= high
    assert 3744 <= held <= 3856, held  # 95 % of 4000 is 3800 ± 13.8


@pytest.mark.parametrize("values", [[], [0.98], [0.98, 0.98, 0.98]])
def test_without_a_spread_there_is_no_interval_for_one_more_seed(values):
    assert next_seed_interval(values) is None
