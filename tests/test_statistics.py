import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from droplab.errors import ConfigError, DataError
from droplab.report.statistics import Comparison, does_not_apply, paired, points

accuracies = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


def pair(a, b):
    return paired(np.array(a) / 10_000, np.array(b) / 10_000)


def test_a_hand_worked_interval():
    # differences 0.003, 0.004, 0.002: mean 0.003, sd 0.001, error 0.001/√3, t(2, 0.975) = 4.302653
    found = pair([9820, 9840, 9830], [9790, 9800, 9810])
    assert found.difference == pytest.approx(0.003)
    assert found.high == pytest.approx(0.003 + 4.302653 * 0.001 / 3**0.5)
    assert found.low == pytest.approx(0.003 - 4.302653 * 0.001 / 3**0.5)
    # t = 3√3 = 5.196; two-sided with 2 degrees: 1 − t/√(t² + 2)
    assert found.p_value == pytest.approx(1 - 27**0.5 / 29**0.5)
    assert found.verdict == "helps"
    assert found.seeds == 3


def test_swapping_the_arms_turns_helps_into_hurts():
    assert pair([9790, 9800, 9810], [9820, 9840, 9830]).verdict == "hurts"


def test_pairing_counts_and_not_the_two_means():
    a, b = np.array([0.90, 0.94, 0.98]), np.array([0.89, 0.931, 0.969])
    assert paired(a, b).verdict == "helps"
    assert paired(a, b[::-1]).verdict == "undecided"


def test_equivalent_needs_both_one_sided_tests():
    # mean 0, error e: t = 0.001/e must pass t(2, 0.95) = 2.919986
    inside, outside = 0.001 / 2.92 * 0.999 * 3**0.5, 0.001 / 2.9199 * 1.001 * 3**0.5
    for spread, verdict in ((inside, "equivalent"), (outside, "undecided")):
        assert paired(0.5 + spread * np.array([-1.0, 0.0, 1.0]), np.full(3, 0.5)).verdict == verdict


def test_a_difference_that_is_certain_but_smaller_than_the_margin_is_equivalent():
    assert pair([9805, 9806, 9804], [9800, 9801, 9800]).verdict == "equivalent"


def test_a_large_p_value_alone_is_not_equivalence():
    assert pair([9800, 9700, 9900], [9750, 9820, 9810]).verdict == "undecided"


def test_one_seed_has_no_interval_and_says_that_it_cannot_tell():
    found = pair([9900], [9700])
    assert (found.low, found.high, found.p_value, found.verdict) == (None, None, None, "undecided")
    assert "one seed cannot tell" in found.words


@pytest.mark.parametrize("by", [0, 9, -30])
def test_seeds_that_agree_to_the_last_example_decide_nothing(by):
    found = pair([9700 + by, 9801 + by, 9903 + by], [9700, 9801, 9903])
    assert (found.low, found.high, found.p_value, found.verdict) == (None, None, None, "undecided")
    assert found.difference == pytest.approx(by / 10_000)
    assert "in each of 3 seeds" in found.words


def test_one_run_for_both_arms_does_not_apply():
    assert does_not_apply(3) == Comparison(0.0, None, None, None, 3, "does not apply")
    assert "Does not apply" in does_not_apply(3).words


def test_words_give_percentage_points():
    assert pair([9820, 9840, 9830], [9790, 9800, 9810]).words == "Helps: +0.30 points, 95% interval +0.05 to +0.55."
    assert points(-0.00001) == "0.00"
    assert points(-0.0012) == "−0.12"


@pytest.mark.parametrize(("a", "b"), [([], []), ([0.5], [0.5, 0.6]), ([0.5, np.nan], [0.5, 0.6]), ([[0.5]], [[0.5]])])
def test_accuracies_that_cannot_be_paired_are_refused(a, b):
    with pytest.raises(DataError, match="finite, one a seed"):
        paired(np.array(a), np.array(b))


@pytest.mark.parametrize("wrong", [{"margin": 0}, {"margin": np.nan}, {"confidence": 1}])
def test_a_margin_or_confidence_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="margin must be"):
        paired(np.array([0.5, 0.6]), np.array([0.5, 0.6]), **wrong)


@given(accuracies, st.randoms(use_true_random=False))
def test_the_interval_holds_the_mean_and_swapping_mirrors_it(a, random):
    b = [random.randint(0, 10_000) for _ in a]
    one, other = pair(a, b), pair(b, a)
    assume(one.low is not None)  # without spread there is no interval
    assert one.low <= one.difference <= one.high
    assert 0 <= one.p_value <= 1
    assert [one.difference, one.low, one.high] == pytest.approx([-other.difference, -other.high, -other.low])
    assert {"helps": "hurts", "hurts": "helps"}.get(one.verdict, one.verdict) == other.verdict


@given(accuracies, st.randoms(use_true_random=False))
def test_p_below_five_percent_and_zero_outside_the_interval_are_one_thing(a, random):
    found = pair(a, [random.randint(0, 10_000) for _ in a])
    assume(found.low is not None)
    if abs(found.p_value - 0.05) > 1e-9:
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


@given(accuracies)
def test_adding_the_same_to_both_arms_changes_nothing(a):
    b = [(3 * value + 17) % 10_001 for value in a]
    moved = paired(np.array(a) / 10_000 + 1, np.array(b) / 10_000 + 1)
    assert moved.difference == pytest.approx(pair(a, b).difference)


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds):
    random = np.random.default_rng(7)
    shared = random.normal(0.98, 0.01, (800, seeds))
    covered = helped = 0
    for both in shared:
        found = paired(both + random.normal(0.002, 0.0007, seeds), both + random.normal(0.0, 0.0007, seeds))
        covered += found.low <= 0.002 <= found.high
        helped += paired(both + random.normal(0, 0.002, seeds), both).verdict in ("helps", "hurts")
    assert covered / 800 == pytest.approx(0.95, abs=0.025)  # the standard error of the simulation is 0.008
    assert helped / 800 < 0.05 + 0.025  # false alarms where nothing acts
