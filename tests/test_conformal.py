"""Conformal prediction: bounds by their plain definition, and sets and intervals that cover as often as they say."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.errors import ConfigError, DataError
from droplab.stats.conformal import (
    bounds_by_class,
    class_scores,
    class_sets,
    distance_scores,
    fewest_rows,
    quantile_scores,
    score_bound,
    widened,
)

FLOATS = st.floats(-1e6, 1e6)
TRIALS = 3_000


@given(st.lists(FLOATS, max_size=60), st.integers(1, 99))
def test_the_bound_is_the_smallest_score_that_enough_of_the_rows_and_one_more_stay_below(scores, percent):
    share = Fraction(percent, 100)
    held = [one for one in scores if sum(other <= one for other in scores) >= share * (len(scores) + 1)]
    assert score_bound(scores, percent / 100) == min(held, default=math.inf)
    assert (not held) == (len(scores) < fewest_rows(percent / 100))


@pytest.mark.parametrize(("rows", "confidence"), [(19, 0.9), (24, 0.9), (60, 0.8)])
def test_intervals_cover_one_more_row_as_often_as_they_say_and_hardly_more_often(rows, confidence):
    random = np.random.default_rng(0)
    noise = random.standard_t(3, size=(TRIALS, rows + 1))  # what a model is wrong by, of any shape
    truth, said = noise + 5, np.full_like(noise, 5)
    low, high = said - np.abs(noise.mean()) - 0.5, said + 0.2  # quantiles that are bad, and not around the middle
    bounds = [score_bound(distance_scores(y[:-1], f[:-1]), confidence) for y, f in zip(truth, said, strict=True)]
    quantiles = zip(truth[:, :-1], low[:, :-1], high[:, :-1], strict=True)
    wider = [score_bound(quantile_scores(*row), confidence) for row in quantiles]
    for lower, upper in (
        widened(said[:, -1], said[:, -1], np.array(bounds)),
        widened(low[:, -1], high[:, -1], np.array(wider)),
    ):
        covered = np.mean((lower <= truth[:, -1]) & (truth[:, -1] <= upper))
        error = 4 * math.sqrt(confidence * (1 - confidence) / TRIALS)
        assert confidence - error <= covered <= confidence + 1 / (rows + 1) + error


def test_sets_of_classes_cover_on_average_and_by_class_within_each():
    random, confidence = np.random.default_rng(1), 0.9
    labels = random.choice(3, 60_000, p=[0.7, 0.25, 0.05])
    logits = random.normal(size=(len(labels), 3)) + 2 * np.eye(3)[labels] + [1.0, 0, -1]  # the last too rarely
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    half = len(labels) // 2
    scores = class_scores(probabilities[:half], labels[:half])
    plain = class_sets(probabilities[half:], score_bound(scores, confidence))
    fair = class_sets(probabilities[half:], bounds_by_class(scores, labels[:half], 3, confidence))
    truth = labels[half:]
    held, fairly = (sets[np.arange(len(truth)), truth] for sets in (plain, fair))
    assert held.mean() == pytest.approx(confidence, abs=0.008)
    assert held[truth == 2].mean() < 0.6  # what holds on average may fail a class
    assert [fairly[truth == one].mean() for one in range(3)] == pytest.approx([confidence] * 3, abs=0.025)


def test_a_class_with_too_few_rows_is_in_every_set():
    labels = np.array([0] * 20 + [1] * 3)
    probabilities = np.tile([0.99, 0.01], (23, 1))
    bounds = bounds_by_class(class_scores(probabilities, labels), labels, 2, 0.9)
    assert bounds.tolist() == [pytest.approx(0.01), math.inf]
    assert class_sets(probabilities, bounds).all()


@given(FLOATS, st.floats(0, 1e6), st.floats(-1e6, 1e6) | st.just(math.inf))
def test_intervals_hold_what_their_scores_allow_and_are_never_turned_over(lower, width, bound):
    low, high = widened([lower], [lower + width], bound)
    assert low[0] <= high[0]
    for value in (lower - 1, lower + width / 3, lower + width + 2):
        score = quantile_scores(value, lower, lower + width)
        slack = 1e-9 * (1 + abs(lower) + width + abs(value))
        if score < bound - slack:
            assert low[0] - slack <= value <= high[0] + slack
        elif score > max(bound, -width / 2) + slack:
            assert not low[0] <= value <= high[0]


def test_what_is_no_confidence_and_no_score_is_said():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        score_bound([1.0], 1.0)
    with pytest.raises(DataError, match="NaN in row 1"):
        score_bound([1.0, math.nan], 0.9)
