"""Planning: the seeds that a difference takes, and those that an undecided comparison still needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

import simulated as sim
from droplab.errors import ConfigError
from droplab.stats.compare import compare
from droplab.stats.planning import MOST_SEEDS, SeedsNeeded, plan_seeds, seeds_needed

NO_EXAMPLES = 0.0, np.inf
"""Nothing comes from the choice of examples."""


@pytest.mark.parametrize(("effect", "spread"), [(0.001, 0.001), (0.0005, 0.001), (0.003, 0.001), (0.0002, 0.002)])
def test_plans_agree_with_statsmodels(effect, spread):
    planned = plan_seeds(effect, spread)
    power = TTestPower()
    assert power.power(effect / spread, planned, 0.05) >= 0.8 - 1e-6
    assert planned == 2 or power.power(effect / spread, planned - 1, 0.05) < 0.8


@pytest.mark.parametrize("wrong", [{"effect": 0}, {"spread": -1}, {"power": 1}, {"confidence": 0}, {"effect": np.nan}])
def test_a_plan_of_nothing_is_refused(wrong):
    with pytest.raises(ConfigError, match="a plan needs"):
        plan_seeds(**({"effect": 0.001, "spread": 0.001} | wrong))


def test_seeds_needed_are_plans_for_a_spread_as_small_and_as_large_as_it_may_be():
    a, b = np.array([9820, 9850, 9830, 9790]) / 10_000, np.array([9810, 9815, 9835, 9795]) / 10_000
    found = compare(a, b)
    assert found.verdict == "undecided"
    ends = np.std(a - b, ddof=1) * np.sqrt(3 / stats.chi2.ppf([0.9, 0.1], 3))
    low, high = (plan_seeds(found.difference, spread) for spread in ends)
    assert found.seeds_needed == (max(low, 5), None if high > MOST_SEEDS else high)
    assert found.words.endswith(f"it takes {found.seeds_needed.words}.")


@given(st.floats(-0.01, 0.01), st.integers(2, 60), st.floats(1e-9, 1e-4), st.floats(1, 100), st.floats(0.001, 0.05))
def test_never_no_more_seeds_than_there_are(difference, seeds, variance, factor, level):
    needed = seeds_needed(difference, seeds, 0.001, (level, 0.05), (variance, factor * variance), NO_EXAMPLES)
    if needed is None:  # the difference is the margin's, or so small that nothing but the margin could be shown
        assert abs(difference) == pytest.approx(0.001)
        return
    assert needed.low is None or needed.low > seeds
    assert needed.high is None or needed.low <= needed.high


@given(st.floats(0.0012, 0.01), st.floats(1e-6, 1e-5))
def test_at_the_level_of_a_family_it_takes_more_seeds(difference, variance):
    alone, of_many = (
        seeds_needed(difference, 2, 0.001, (level, 0.05), (variance, 2 * variance), NO_EXAMPLES)
        for level in (0.05, 0.05 / 12)
    )
    assert [end or 101 for end in of_many] >= [end or 101 for end in alone]
    if alone.high and alone.low > 3:
        assert of_many.low > alone.low


def test_lent_degrees_of_freedom_save_seeds():
    needed = [seeds_needed(0.003, 3, 0.001, (0.05, 0.05), (4e-6, 4e-6), NO_EXAMPLES, lent=df).low for df in (0, 20)]
    assert needed[1] < needed[0]


def test_more_than_a_hundred_seeds_are_not_worth_it_and_said_so():
    assert seeds_needed(0.002, 3, 0.001, (0.05, 0.05), (1e-4, 1e-3), NO_EXAMPLES) == (None, None)
    assert seeds_needed(0.002, 3, 0.001, (0.05, 0.05), (1e-5, 1e-3), NO_EXAMPLES).high is None
    assert SeedsNeeded(None, None).words == "more than 100 seeds: not worth it"
    assert SeedsNeeded(12, None).words == "12 to more than 100 seeds"
    assert SeedsNeeded(8, 21).words == "8 to 21 seeds"
    assert SeedsNeeded(8, 8).words == "8 seeds"


def test_no_number_of_seeds_helps_where_the_examples_are_too_few():
    assert seeds_needed(0.002, 3, 0.001, (0.05, 0.05), (1e-6, 2e-6), (1e-6, 999)) is None
    assert seeds_needed(0.002, 3, 0.001, (0.05, 0.05), (1e-6, 2e-6), (1e-8, 999)) is not None


def test_a_small_difference_is_settled_by_showing_that_it_lies_within_the_margin():
    within, between = (
        seeds_needed(difference, 3, 0.001, (0.05, 0.05), (1e-6, 1e-6), NO_EXAMPLES).low for difference in (0, 0.0006)
    )
    power = stats.t(within - 1, loc=0).ppf(0.95) < 0.001 / np.sqrt(1e-6 / within)
    assert power
    assert within < between


@pytest.mark.parametrize(("seeds", "effects", "repeats"), [(3, [0.001], 500), (5, [0.001], 500), (5, sim.EFFECTS, 40)])
def test_four_ranges_in_five_or_more_hold_the_number_that_the_true_spread_gives(seeds, effects, repeats):
    held = sim.planned(repeats, seeds, effects, 0.3)["held"]
    assert 0.75 <= held <= 0.95
