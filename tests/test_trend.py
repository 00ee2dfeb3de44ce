"""Trends: a slope where a straight line fits, and where it does not what the results do instead."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from droplab.errors import ConfigError, DataError
from droplab.report.words import trend_words
from droplab.stats.compare import compare_differences
from droplab.stats.trend import trend
from droplab.study.findings import DepthTrend

POST = [0.9224, 0.9795, 0.9821, 0.9822, 0.9794]
"""The means of the post's networks by depth, 1 to 5."""


def noisy(means: list[float], seeds: int, noise: float = 0.001, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array(means)[:, None] + random.normal(0, noise, (len(means), seeds))


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("levels", [[1, 2, 3], [1, 2, 3, 4, 5], [0.1, 0.2, 0.5, 0.8]])
@pytest.mark.parametrize("slope", [0.0, 0.02])
def test_a_straight_line_is_seldom_called_bent(levels, seeds, slope):
    random, studies = np.random.default_rng(5), 1500
    line = 0.5 + slope * np.array(levels)[:, None]
    bent = sum(
        trend(levels, line + random.normal(0, 0.01, seeds) + random.normal(0, 0.003, (len(levels), seeds))).is_straight
        is False
        for _ in range(studies)
    )
    assert bent / studies < 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.parametrize(
    ("means", "shape"),
    [
        ([0.90, 0.95, 0.98, 0.95, 0.90], "rises and then falls"),
        (POST, "rises and then falls"),
        ([0.90, 0.96, 0.98, 0.9805, 0.9805], "rises and then levels off"),
        ([0.98, 0.98, 0.97, 0.95, 0.90], "holds and then falls"),
        ([0.98, 0.95, 0.93, 0.95, 0.98], "falls and then rises"),
        ([0.98, 0.94, 0.92, 0.9198, 0.9198], "falls and then levels off"),
        ([0.90, 0.90, 0.91, 0.93, 0.98], "holds and then rises"),
        ([0.90, 0.92, 0.94, 0.96, 0.98], "straight"),
    ],
)
def test_what_the_results_do_is_named(means, shape):
    values = noisy(means, 8, 0.0005, seed=1)
    assert trend(range(1, 6), values).shape == shape
    assert trend([5, 4, 3, 2, 1], values[::-1]).shape == shape, "in whatever order the levels come"


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_call_no_side_flat_that_is_far_from_it(seeds):
    for seed in range(20):
        found = trend(range(1, 6), noisy([0.98, 0.95, 0.94, 0.95, 0.97], seeds, 0.001, seed)).shape
        assert found in ("falls and then rises", "straight")


def test_a_peak_between_the_ends_is_no_line_even_where_no_parabola_shows_it():
    found = trend(range(1, 6), noisy([0.95, 0.97, 0.95, 0.93, 0.95], 8))
    assert found.bend_p > 0.05
    assert (found.is_straight, found.shape, found.highest) == (False, "rises and then falls", 2)


def test_the_bend_is_that_of_the_parabola_above_its_chord():
    levels = np.array([1, 2, 4, 8, 9])
    seeds = np.array([0.01, 0.02, 0.04])
    parabola = 0.5 + 0.03 * levels[:, None] + seeds * (1 - ((levels[:, None] - 5) / 4) ** 2)
    found = trend(levels, parabola)
    assert found.bend == pytest.approx(seeds.mean())
    assert found.bend_p == pytest.approx(compare_differences(seeds).p_value)


@given(
    arrays(float, (5, 4), elements=st.floats(0.2, 0.8)),
    st.floats(-0.02, 0.02),
    arrays(float, 4, elements=st.floats(-0.05, 0.05)),
)
def test_a_slope_and_what_a_seed_has_in_common_say_nothing_of_a_bend(values, slope, of_seeds):
    moved = values + slope * np.arange(5)[:, None] + of_seeds
    assert trend(range(5), moved).bend == pytest.approx(trend(range(5), values).bend, abs=1e-12)


@given(arrays(float, (4, 3), elements=st.floats(0, 1)), st.floats(0.001, 1000), st.floats(-10, 10))
def test_the_unit_of_the_axis_matters_to_the_slope_alone(values, factor, start):
    levels = np.array([1, 2, 4, 5])
    here, there = trend(levels, values), trend(start + factor * levels, values)
    assert there.slope * factor == pytest.approx(here.slope, abs=1e-9)
    assert there.bend == pytest.approx(here.bend, abs=1e-9)


def test_what_one_seed_or_no_spread_or_two_levels_cannot_tell_is_not_told():
    one = trend([1, 2, 3], [[0.90], [0.95], [0.92]])
    assert (one.is_straight, one.bend_p, one.highest, one.top) == (None, None, 2, 0.95)
    assert one.bend == pytest.approx(0.04)
    assert trend([1, 2, 3], [[0.90, 0.90], [0.95, 0.95], [0.92, 0.92]]).is_straight is None
    two = trend([1, 2], [[0.90, 0.91], [0.95, 0.94]])
    assert (two.is_straight, two.bend, two.slope) == (None, None, pytest.approx(0.04))


def test_two_seeds_are_tested_and_seldom_show_a_bend():
    assert trend(range(1, 6), noisy(POST, 2, 0.0005)).is_straight is False, "this one is thirty times the noise"
    assert trend([1, 2, 3], [[0.97, 0.975], [0.98, 0.978], [0.978, 0.98]]).is_straight is True


@pytest.mark.parametrize(
    ("levels", "values"),
    [([1, 1], [[0.5], [0.5]]), ([1, 2], [0.5, 0.6]), ([1, 2], [[0.97], [np.nan]]), ([1, 2], [[], []])],
)
def test_what_makes_no_trend_is_refused(levels, values):
    with pytest.raises(DataError):
        trend(levels, values)


def test_a_confidence_out_of_range_is_refused():
    with pytest.raises(ConfigError):
        trend([1, 2, 3], [[0.9, 0.8]] * 3, confidence=1.0)


def said(means: list[float], seeds: int) -> str:
    found = trend(range(1, len(means) + 1), noisy(means, seeds, 0.0005))
    return trend_words(DepthTrend("the controls", tuple(range(1, len(means) + 1)), found))


def test_no_slope_is_given_where_no_line_fits():
    assert said([0.90, 0.95, 0.98, 0.95, 0.90], 5) == (
        "Among the controls, no hidden layer to 4 hidden layers, test accuracy rises and then falls, highest with "
        "2 hidden layers (97.96 %); no "
        "straight line fits (5 seeds)."
    )


def test_words_about_a_line_say_how_sure_they_are_that_it_is_one():
    assert "whether" not in said([0.90, 0.91, 0.92], 5)
    assert said([0.90, 0.91, 0.92], 2).endswith("2 seeds). Two seeds hardly tell whether a straight line fits.")
    assert said([0.90, 0.92, 0.91], 1).endswith(
        "It is highest with 1 hidden layer (91.99 %); whether a straight line fits cannot be told."
    )
