"""Intervals: usual values, and ends that hold the truth as often as they say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from droplab.stats.intervals import (
    Interval,
    accuracy_interval,
    binomial_error,
    corrected_interval,
    difference_interval,
    metric_intervals,
    next_seed_interval,
    normal_interval,
    prediction_interval,
    t_interval,
)
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


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_the_interval_of_predictions_is_that_of_resampled_examples(metric):
    labels, logs = drawn(np.random.default_rng(2), 500)
    said = logs.argmax(axis=1)
    random = np.random.default_rng(3)
    rows = (random.integers(0, 500, 500) for _ in range(2000))
    plain = np.percentile([classification_metrics(labels[at], said[at], 3)[metric] for at in rows], [2.5, 97.5])
    assert prediction_interval(metric, labels.astype(np.uint8), said.astype(np.uint8)) == pytest.approx(
        plain, abs=0.006
    )


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


ERRORS = [1.15, 1.21, 1.08, 1.17, 1.3]
"""Test errors of five networks in %."""


def test_every_interval_of_a_report_has_the_ends_that_it_had_where_it_was_made_before():
    ours = t_interval(ERRORS)
    assert (ours.low, ours.high) == (pytest.approx(OURS[0], rel=1e-13), pytest.approx(OURS[1], rel=1e-13))
    printed = difference_interval(ours, normal_interval(1.3, 0.05))
    assert (printed.low, printed.high) == tuple(pytest.approx(end, rel=1e-13) for end in PRINTED)
    alone = normal_interval(1.15, 100 * binomial_error(0.0115, 10_000))
    single = difference_interval(alone, normal_interval(1.1, 100 * binomial_error(0.011, 10_000)))
    assert (single.low, single.high) == tuple(pytest.approx(end, rel=1e-13) for end in SINGLE)
    corrected = corrected_interval(ERRORS, 5)
    assert (corrected.low, corrected.high) == tuple(pytest.approx(end, rel=1e-13) for end in CORRECTED)


OURS = (1.0813562584522016, 1.2826437415478)
PRINTED = (-0.2584735197981289, 0.022473519798130448)
SINGLE = (-0.24233537934926652, 0.3423353793492573)
CORRECTED = (1.0310343876783004, 1.3329656123216995)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_t_interval_is_scipys(values):
    found = t_interval(values)
    if found is None:
        assert np.ptp(values) < 1e-12
    else:
        ends = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        assert (found.low, found.high) == (pytest.approx(ends[0], abs=1e-12), pytest.approx(ends[1], abs=1e-12))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [0.5, float("nan")]])
def test_without_spread_there_is_no_t_interval(values):
    assert t_interval(values) is None


ESTIMATES = st.builds(Interval, st.floats(-10, 10), st.floats(0, 10))


@given(ESTIMATES, ESTIMATES)
def test_the_interval_of_a_difference_is_never_narrower_than_either_and_swapping_mirrors_it(a, b):
    found, mirrored = difference_interval(a, b), difference_interval(b, a)
    assert found.reach >= max(a.reach, b.reach)
    assert (found.low, found.high) == (-mirrored.high, -mirrored.low)


def test_folds_that_share_their_training_sets_say_less_than_so_many_seeds():
    assert corrected_interval(ERRORS, 5).reach == pytest.approx(t_interval(ERRORS).reach * math.sqrt(1 + 5 / 4))
