"""Families: the comparisons of one study, judged together."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import multivariate_t
from statsmodels.stats.multitest import multipletests

from droplab.errors import ConfigError, DataError
from droplab.stats.compare import compare, judge
from droplab.stats.family import DRAWS, compare_all, judge_each, judge_family

MARGIN, LEVEL = 0.001, 0.05
EFFECTS = np.array([0, 0.0, 0.001, 0.002, 0.004, -0.003])


def study(seed: int = 0, effects: np.ndarray = EFFECTS, seeds: int = 5, spread: float = 0.0007) -> np.ndarray:
    """Accuracies of arms, the first their control, shape (A, S)."""
    random = np.random.default_rng(seed)
    return (
        0.9 + effects[:, None] + 0.0005 * random.normal(size=seeds) + spread * random.normal(size=(len(effects), seeds))
    )


def judged(results, margin=MARGIN, level=LEVEL, draws=DRAWS):
    return judge_family(list(results), [(arm, 0) for arm in range(1, len(results))], margin, level, draws)


def numbers(found):
    ends = [[one.difference, one.low, one.high, one.same_low, one.same_high] for one in found]
    return np.array(ends), [one.verdict for one in found], np.array([[one.p_value, one.p_adjusted] for one in found])


def assert_same(found, other, scale=1.0):
    """The same to rounding, but for the unit of accuracy."""
    (ends, verdicts, shares), (other_ends, other_verdicts, other_shares) = numbers(found), numbers(other)
    assert verdicts == other_verdicts
    np.testing.assert_allclose(ends * scale, other_ends, atol=1e-9)
    np.testing.assert_allclose(shares, other_shares, atol=1e-9)


def test_a_family_of_one_is_the_plain_comparison():
    control, arm, *_ = study()
    assert compare_all({"arm": arm}, control)["arm"] == compare(arm, control)
    assert judged([control, arm]) == [compare(arm, control)]


def test_the_order_of_the_seeds_says_nothing():
    results = study(1)
    assert_same(judged(results), judged(results[:, [3, 1, 4, 0, 2]]))


def test_the_order_of_the_arms_says_nothing_but_for_the_chance_of_the_draws():
    results, order = study(2), [4, 0, 2, 3, 1]
    (ends, verdicts, shares), (other_ends, other_verdicts, other_shares) = (
        numbers(found) for found in (judged(results), judged(results[[0, *(arm + 1 for arm in order)]]))
    )
    assert [verdicts[arm] for arm in order] == other_verdicts
    np.testing.assert_allclose(ends[order], other_ends, rtol=0.05, atol=5e-5)
    np.testing.assert_allclose(shares[order], other_shares, atol=0.01)


@pytest.mark.parametrize("ends", [(5, 5, 5, 5, 5, 5), (5, 3, 5, 3, 4, 5)])
def test_what_a_seed_adds_to_all_arms_changes_nothing(ends):
    results = np.where(np.arange(5) < np.array(ends)[:, None], study(3), np.nan)
    assert_same(judged(results), judged(results + 0.05 * np.random.default_rng(4).normal(size=5)))


@pytest.mark.parametrize("scale", [0.01, 7.0, 100.0])
def test_the_unit_of_accuracy_changes_nothing(scale):
    results = study(5)
    found, other = judged(results), judged(scale * results, margin=scale * MARGIN)
    assert_same(found, other, scale)
    assert [one.seeds_needed for one in found] == [one.seeds_needed for one in other]


@pytest.mark.parametrize("seed", range(4))
def test_an_arm_that_diverges_leaves_the_others_their_verdicts(seed):
    results = study(seed)
    wild = np.random.default_rng(seed).uniform(0.1, 0.8, size=(1, 5))
    alone, beside = judged(results), judged([*results, *wild])[:-1]
    clear = [place for place, effect in enumerate(EFFECTS[1:]) if abs(effect) > 0.0015]
    assert [beside[place].verdict for place in clear] == [alone[place].verdict for place in clear]
    widths = [(b.high - b.low) / (a.high - a.low) for a, b in zip(alone, beside, strict=True)]
    assert 0.75 < min(widths) < max(widths) < 1.5


def test_an_arm_that_diverges_is_judged_by_its_own_spread():
    results = np.vstack([study(6), [[0.3, 0.8, 0.1, 0.7, 0.5]]])
    wild = judged(results)[-1]
    plain = compare(results[-1], results[0])
    assert wild.low == pytest.approx(plain.low, abs=0.15)
    assert wild.high - wild.low > 0.9 * (plain.high - plain.low)


def test_a_spread_that_is_small_by_chance_does_not_decide():
    results = study(7, effects=np.zeros(9), seeds=3)
    results[1] = results[0] + [0.0006, 0.00061, 0.00059]
    plain, of_family = compare(results[1], results[0], margin=1e-5), judged(results, margin=1e-5)[0]
    assert plain.verdict == "helps"
    assert of_family.verdict == "undecided"
    assert of_family.moderated


def test_three_seeds_of_thirteen_arms_decide_more_than_each_arm_by_itself():
    results = study(8, effects=np.array([0, *[0.004] * 12]), seeds=3)
    alone = judge_each(list(results[1:] - results[0]), MARGIN, LEVEL)
    assert sum(one.verdict == "helps" for one in alone) < 7
    assert sum(one.verdict == "helps" for one in judged(results)) == 12


def test_the_joint_errors_are_about_dunnetts_where_all_arms_vary_alike():
    random = np.random.default_rng(9)
    runs = random.normal(size=(5, 60))
    runs = 0.001 * (runs - runs.mean(axis=1, keepdims=True)) / runs.std(axis=1, keepdims=True)
    results = 0.9 + runs + np.array([[0, 0.00045, 0.0001, 0.0002, -0.0003]]).T
    largest = max(judged(results), key=lambda one: abs(one.difference))
    rest = results - results.mean(axis=1, keepdims=True) - results.mean(axis=0) + results.mean()
    df = 4 * 59
    t = abs(largest.difference) / np.sqrt(2 / 60 * (rest**2).sum() / df)
    dunnett = multivariate_t(shape=(np.eye(4) + 1) / 2, df=df, seed=0)  # differences to one control agree by half
    expected = 1 - dunnett.cdf([t] * 4, lower_limit=[-t] * 4)
    assert 0.01 < expected < 0.2
    assert 0.95 * expected < largest.p_adjusted < 1.3 * expected  # more, for that they vary alike is not known
    assert largest.p_adjusted < 0.9 * 4 * largest.p_value  # less than Bonferroni's


def test_a_seed_that_one_arm_has_not_counts_for_its_comparison_alone():
    results = study(10)
    results[2, [1, 3]] = np.nan
    found = judged(results)
    assert [one.seeds for one in found] == [5, 3, 5, 5, 5]
    there = [0, 2, 4]
    assert found[1].difference == pytest.approx((results[2, there] - results[0, there]).mean())
    assert found[1].high - found[1].low > found[0].high - found[0].low


def test_a_comparison_of_one_seed_is_undecided_and_counts_for_nothing():
    results = study(11)
    one_seed = np.full((1, 5), np.nan)
    one_seed[0, 2] = 0.99
    *others, last = judged([*results, *one_seed])
    assert others == judged(results)
    assert (last.verdict, last.seeds, last.low) == ("undecided", 1, None)


def test_an_arm_that_stopped_early_is_judged_as_when_all_arms_were_that_long():
    results = study(12, seeds=8)
    names = "abcde"
    whole = dict(zip(names, results[1:], strict=True))
    ragged = compare_all(whole | {"b": results[2, :5], "d": results[4, :3]}, results[0])
    at_three = compare_all({name: mine[:3] for name, mine in whole.items()}, results[0, :3])
    assert ragged["d"] == at_three["d"]
    at_five = compare_all({name: mine[:5] for name, mine in whole.items()}, results[0, :5])
    assert ragged["b"].difference == at_five["b"].difference
    assert ragged["b"].seeds == 5
    assert [ragged[name].verdict for name in "be"] == [
        at_five["b"].verdict,
        compare_all(whole, results[0])["e"].verdict,
    ]


@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (1, 5)])
def test_too_few_arms_and_seeds_are_judged_by_themselves_and_say_so(arms, seeds):
    results = study(13, effects=np.zeros(arms + 1), seeds=seeds)
    found = judged(results)
    assert found == judge_each(list(results[1:] - results[0]), MARGIN, LEVEL)
    assert not any(one.moderated for one in found)
    assert all(one.moderated for one in judged(study(13, effects=np.zeros(3), seeds=3)))


def test_arms_that_do_not_vary_at_all_are_judged_by_themselves():
    found = judged(np.full((4, 3), 0.9) + np.array([[0], [0.01], [0], [-0.01]]))
    assert [(one.verdict, one.low, one.moderated) for one in found] == [("undecided", None, False)] * 3


counts = st.tuples(st.integers(2, 5), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 40))
)


@settings(deadline=None, max_examples=150)
@given(counts, st.sampled_from([0.001, 0.01, 0.05, 0.3]), st.booleans())
def test_the_intervals_shown_are_the_ones_that_decide_and_the_adjusted_p_value_agrees(counts, level, jointly):
    results = 0.9 + counts / 1000
    found = judged(results, 0.005, level, 2000) if jointly else judge_each(list(results[1:] - results[0]), 0.005, level)
    for one in found:
        if one.low is None:
            assert one.verdict == "undecided"
            continue
        same = one.same_low > -0.005 and one.same_high < 0.005
        leaves_out_0 = not one.low <= 0 <= one.high
        assert (one.verdict == "equivalent") == same
        assert (one.verdict == "helps") == (one.low > 0 and not same)
        assert (one.verdict == "hurts") == (one.high < 0 and not same)
        assert one.confidence == pytest.approx(1 - level)
        adjusted = one.p_value if one.p_adjusted is None else one.p_adjusted
        if abs(adjusted - level) > 1e-9:
            assert leaves_out_0 == (adjusted < level)
        assert one.p_value <= adjusted


@settings(deadline=None, max_examples=20)  # statsmodels collects garbage at each correction
@given(
    arrays(np.float64, (6, 4), elements=st.integers(0, 40)).filter(lambda one: (np.ptp(one, axis=1) > 0).all()),
)
def test_each_by_itself_is_corrected_by_holm_as_statsmodels_does(counts):
    found = judge_each(list((counts - 20) / 1000), MARGIN, LEVEL)
    _, adjusted, *_ = multipletests([one.p_value for one in found], method="holm")
    np.testing.assert_allclose([one.p_adjusted for one in found], adjusted, atol=1e-12)


def test_what_comes_after_a_difference_that_is_not_shown_is_not_shown_either():
    each = [np.array([0.003, 0.004, 0.002]), np.array([0.0031, 0.0042, 0.0019])]
    alone = [judge(mine, MARGIN, LEVEL) for mine in each]
    assert [one.verdict for one in alone] == ["helps", "helps"]
    small, large = sorted(one.p_value for one in alone)
    assert small > LEVEL / 2
    by_holm = judge_each(each, MARGIN, LEVEL)
    assert sorted(one.p_adjusted for one in by_holm) == pytest.approx([2 * small, max(2 * small, large)])
    assert [one.verdict for one in by_holm] == ["undecided", "undecided"]
    results = study(18, np.zeros(3))
    results += np.array([[0], [1], [1]]) * 0.00001 - results.mean(axis=1, keepdims=True)
    for size in np.linspace(0.0002, 0.003, 60):  # both differences are alike: as soon as the larger is shown, both are
        found = judged(results + np.array([[0], [size], [size]]), margin=1e-9)
        assert len({one.verdict for one in found}) == 1


def test_a_comparison_without_spread_counts_for_nothing():
    one, other, still = np.array([0.003, 0.004, 0.002]), np.array([0.002, 0.0038, 0.0031]), np.full(3, 0.002)
    assert judge_each([one, still, other], MARGIN, LEVEL)[::2] == judge_each([one, other], MARGIN, LEVEL)
    assert judge_each([one, still], MARGIN, LEVEL) == [judge(one, MARGIN, LEVEL), judge(still, MARGIN, LEVEL)]


def test_equivalence_is_left_alone_by_the_family():
    same = np.array([0.0005, 0.0005, 0.0004])
    assert [one.verdict for one in judge_each([same] * 20, MARGIN, LEVEL)] == ["equivalent"] * 20


def test_controls_of_their_own_are_one_family_too():
    results = np.vstack([study(seed, np.array([0, 0.004])) for seed in range(5)])
    found = judge_family(list(results), [(2 * place + 1, 2 * place) for place in range(5)], MARGIN, LEVEL)
    assert [one.verdict for one in found] == ["helps"] * 5
    assert all(one.moderated for one in found)
    of_seeds = np.random.default_rng(0).normal(size=(5, 5))  # each control and its arm have theirs
    shifted = list(results + np.repeat(of_seeds, 2, axis=0))
    again = judge_family(shifted, [(2 * place + 1, 2 * place) for place in range(5)], MARGIN, LEVEL)
    assert_same(found, again)


def test_by_example_the_intervals_are_wider_than_by_seed():
    random = np.random.default_rng(14)
    bent = random.normal(size=(5, 1, 1000)) / 2  # each arm has examples of its own that it is good at
    seeds = 0.02 * random.normal(size=(5, 8, 1))
    right = (bent + 1.5 + seeds > 0.3 * random.normal(size=(5, 8, 1000))).astype(float)
    by_example, by_seed = judged(right), judged(right.mean(axis=2))
    for wide, narrow in zip(by_example, by_seed, strict=True):
        assert wide.difference == pytest.approx(narrow.difference)
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
        assert wide.moderated
        assert wide.examples == 1000


def test_two_calls_agree_to_the_last_bit():
    arms = dict(zip("abcde", study(15)[1:], strict=True))
    assert compare_all(arms, study(15)[0]) == compare_all(arms, study(15)[0])


def test_hundreds_of_arms_take_less_than_700_megabytes():
    results = study(16, effects=np.zeros(401))
    tracemalloc.start()
    try:
        found = judged(results)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 400
    assert most < 700 * 2**20


def test_words_of_a_family_say_that_the_interval_is_for_all_at_once():
    helps = judged(study(17))[3]
    assert helps.verdict == "helps"
    assert "95 % interval for all comparisons at once" in helps.words
    assert replace(helps, p_adjusted=None).words.startswith("Helps: ")


@pytest.mark.parametrize(
    ("arms", "error", "what"),
    [
        ({}, ConfigError, "one arm or more"),
        ([[0.5, 0.6]], ConfigError, "mapping of names and results"),
        ({"a": [0.5, 0.6, 0.7]}, DataError, r"arm 'a' must have the first seeds of control.*\(3,\) and \(2,\)"),
        ({"a": [[1, 0], [0, 1]]}, DataError, "arm 'a' must have the first seeds of control, and its examples"),
        ({"a": [0.5, np.nan]}, DataError, "fractions from 0 to 1"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(arms, error, what):
    with pytest.raises(error, match=what):
        compare_all(arms, [0.5, 0.6])
