import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from droplab.errors import ConfigError, DataError
from droplab.stats.compare import Comparison, compare, compare_differences, does_not_apply, points
from droplab.stats.trend import trend
from droplab.stats.variance import over_seeds_and_examples

accuracies = st.lists(st.integers(0, 10_000), min_size=2, max_size=12)


def pair(a, b):
    return compare(np.array(a) / 10_000, np.array(b) / 10_000)


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
    assert compare(a, b).verdict == "helps"
    assert compare(a, b[::-1]).verdict == "undecided"


def test_equivalent_needs_both_one_sided_tests():
    # mean 0, error e: t = 0.001/e must pass t(2, 0.95) = 2.919986
    inside, outside = 0.001 / 2.92 * 0.999 * 3**0.5, 0.001 / 2.9199 * 1.001 * 3**0.5
    for spread, verdict in ((inside, "equivalent"), (outside, "undecided")):
        assert compare(0.5 + spread * np.array([-1.0, 0.0, 1.0]), np.full(3, 0.5)).verdict == verdict


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
    assert pair([9820, 9840, 9830], [9790, 9800, 9810]).words == "Helps: +0.30 points, 95 % interval +0.05 to +0.55."
    assert points(-0.00001) == "0.00"
    assert points(-0.0012) == "−0.12"


@pytest.mark.parametrize(
    ("a", "b", "what"),
    [
        ([], [], "one shape"),
        ([0.5], [0.5, 0.6], r"one shape.*\(1,\) and \(2,\)"),
        ([[[1]]], [[[1]]], "one shape"),
        ([0.5, np.nan], [0.5, 0.6], "fractions from 0 to 1"),
        ([98.2, 98.4], [97.9, 98.0], "fractions from 0 to 1; found .98.2"),
        ([[0.5, 1]], [[0, 1]], r"1 \(right\) or 0 \(wrong\)"),
        ([[1]], [[0]], "two examples or more"),
        (["a"], ["b"], "arrays of numbers"),
    ],
)
def test_results_that_cannot_be_paired_are_refused(a, b, what):
    with pytest.raises(DataError, match=what):
        compare(a, b)


@pytest.mark.parametrize("wrong", [{"margin": 0}, {"margin": np.nan}, {"confidence": 1}])
def test_a_margin_or_confidence_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match="margin must be"):
        compare(np.array([0.5, 0.6]), np.array([0.5, 0.6]), **wrong)


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
    moved = compare(np.array(a) / 20_000 + 0.5, np.array(b) / 20_000 + 0.5)
    assert moved.difference == pytest.approx(pair(a, b).difference / 2, abs=1e-12)


right = st.integers(2, 6).flatmap(
    lambda seeds: st.integers(2, 30).flatmap(
        lambda examples: arrays(np.int8, (2, seeds, examples), elements=st.integers(0, 1))
    )
)


def test_a_hand_worked_crossed_design():
    # differences: rows (0.5, 0) and columns 0.5, 0: mean squares seeds 4·0.125 … worked in the comments
    a = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    b = np.array([[0, 1, 1, 0], [1, 1, 0, 1]])
    d = a - b  # [[1, 0, 0, 1], [0, 0, 0, -1]]: mean 1/8; rows 1/2, −1/4; columns 1/2, 0, 0, 0
    estimate = over_seeds_and_examples(d.astype(float))
    seeds = 4 * ((1 / 2 - 1 / 8) ** 2 + (-1 / 4 - 1 / 8) ** 2) / 1  # mean square of seeds
    examples = 2 * ((1 / 2 - 1 / 8) ** 2 + 3 * (1 / 8) ** 2) / 3
    rest = (((d - 1 / 8) ** 2).sum() - seeds - 3 * examples) / 3
    assert rest > examples > 0  # so the examples' own variance is estimated as 0, none below it
    assert estimate.of_examples == 0
    assert estimate.variance == pytest.approx(max(seeds, rest) / 8)
    assert estimate.df == pytest.approx(1)


def test_the_mean_squares_are_those_of_an_analysis_of_variance():
    random = np.random.default_rng(3)
    d = random.normal(size=(5, 1)) + random.normal(size=(1, 40)) + random.normal(size=(5, 40))
    frame = pd.DataFrame({"d": d.ravel(), "seed": np.repeat(range(5), 40), "example": np.tile(range(40), 5)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = anova_lm(ols("d ~ C(seed) + C(example)", frame).fit())
    seeds, examples, rest = table["sum_sq"] / table["df"]
    estimate = over_seeds_and_examples(d)
    assert estimate.variance == pytest.approx((seeds + examples - rest) / 200)
    assert estimate.of_examples == pytest.approx((examples - rest) / 200)
    assert estimate.of_seeds == pytest.approx(seeds / 40)


def test_examples_leave_a_floor_that_no_number_of_seeds_removes():
    # 50 of 10,000 examples in systematic disagreement, 30 of them for a: standard error √(0.005)/100 = 0.0007
    b = np.ones((200, 10_000), dtype=np.int8)
    a = b.copy()
    b[:, :30] = 0
    a[:, 30:50] = 0
    found = compare(a, b)
    assert found.difference == pytest.approx(0.001)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.0007, rel=0.02)
    assert found.verdict == "undecided"
    assert found.seeds_needed is None
    assert "more test examples are needed" in found.words


@given(right)
def test_by_example_the_order_of_seeds_and_of_examples_says_nothing(both):
    a, b = both
    one, other = compare(a, b), compare(a[::-1, ::-1], b[::-1, ::-1])
    assert one.difference == pytest.approx(other.difference)
    assert (one.low is None) == (other.low is None)
    if one.low is not None:
        assert [one.low, one.high, one.p_value] == pytest.approx([other.low, other.high, other.p_value], abs=1e-9)
        assert one.low <= one.difference <= one.high
    assert one.difference == pytest.approx(compare(a.mean(axis=1), b.mean(axis=1)).difference)


def test_one_seed_by_example_is_mcnemar_and_says_nothing_about_seeds():
    a, b = np.ones((1, 1000)), np.ones((1, 1000))
    b[0, :20], a[0, 20:25] = 0, 0
    found = compare(a, b)
    assert found.p_value == pytest.approx(binomtest(5, 25).pvalue)
    assert found.difference == pytest.approx(0.015)
    assert found.low < 0.015 < found.high
    assert found.verdict == "undecided"
    assert "nothing about other seeds" in found.words


def test_other_examples_are_refused_and_named():
    a = b = np.ones((2, 3))
    with pytest.raises(DataError, match="example 1 is 7 in a and 9 in b"):
        compare(a, b, examples=(np.array([1, 7, 3]), np.array([1, 9, 3])))
    with pytest.raises(DataError, match="ids of a's and of b's 3 examples"):
        compare(a, b, examples=([1, 2], [1, 2]))
    with pytest.raises(DataError, match="found accuracies by seed"):
        compare([0.5], [0.5], examples=([1], [1]))


def test_the_probability_of_improvement_counts_seeds_and_halves_ties():
    assert pair([5, 5, 5, 5], [4, 5, 6, 3]).probability_of_improvement == 0.625
    assert pair([5], [4]).probability_of_improvement is None


def test_a_trend_is_the_mean_slope_over_seeds():
    found = trend([1, 2, 4], [[0.90, 0.95], [0.91, 0.955], [0.93, 0.965]])
    assert found.slope == pytest.approx((0.01 + 0.005) / 2)
    assert found.low < found.slope < found.high
    assert found.p_value == pytest.approx(compare([0.10, 0.05], [0.09, 0.045]).p_value)
    with pytest.raises(DataError, match="two different levels"):
        trend([1, 1], [[0.5], [0.5]])


def test_differences_are_compared_as_the_arms_they_come_from():
    a, b = np.array([0.982, 0.984, 0.983]), np.array([0.979, 0.980, 0.981])
    assert compare_differences(a - b) == compare(a, b)
    with pytest.raises(DataError, match="finite numbers, one a seed"):
        compare_differences([0.1, np.nan])


@given(accuracies, st.randoms(use_true_random=False), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_intervals_shown_are_the_ones_that_decide(a, random, confidence):
    b = [random.randint(0, 10_000) for _ in a]
    found = compare(np.array(a) / 10_000, np.array(b) / 10_000, margin=0.01, confidence=confidence)
    assume(found.low is not None)
    same = found.same_low > -0.01 and found.same_high < 0.01
    assert (found.verdict == "equivalent") == same
    assert (found.verdict == "helps") == (found.low > 0 and not same)
    assert (found.verdict == "hurts") == (found.high < 0 and not same)


def test_by_example_the_interval_is_wider_for_it_speaks_of_new_examples_too():
    random = np.random.default_rng(5)
    bent = random.normal(size=(2, 1, 2000)) / 2  # each arm has examples of its own that it is good at
    a, b = (bent + 1.5 + 0.02 * random.normal(size=(2, 10, 1)) > 0.3 * random.normal(size=(2, 10, 2000))).astype(int)
    by_example, by_seed = compare(a, b), compare(a.mean(axis=1), b.mean(axis=1))
    assert by_example.difference == pytest.approx(by_seed.difference)
    assert by_example.high - by_example.low > 1.5 * (by_seed.high - by_seed.low)
    assert "for new seeds and new examples" in by_example.words
