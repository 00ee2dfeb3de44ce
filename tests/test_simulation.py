"""The promises of the verdicts, on simulated studies: the fast form of docs/results/statistics.md."""

import numpy as np
import pytest

import simulated as sim
from droplab.stats.family import judge_each

REPEATS = 1000
NOISE = 0.021  # three standard errors of a share of 5 % in 1,000
STUDIES = 300
STUDY_NOISE = 0.038  # the same in 300


@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_intervals_over_seeds_cover_gaussian_differences(seeds):
    assert sim.paired_coverage(REPEATS, seeds) >= 0.95 - NOISE


@pytest.mark.parametrize("name", sim.CROSSED)
@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_intervals_by_example_cover_the_truth_over_new_seeds_and_new_examples(seeds, name):
    assert sim.crossed_coverage(200, seeds, name) >= 0.93 - 0.03  # the page has the sharper form


def test_accuracies_by_seed_do_not_speak_of_new_examples():
    assert sim.crossed_coverage(300, 10, "examples differ between arms", by_example=False) < 0.92


@pytest.mark.parametrize("unequal", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (2, 3), (3, 5), (5, 2), (12, 3), (4, 30)])
def test_a_study_in_which_nothing_differs_seldom_says_that_anything_helps_or_hurts(arms, seeds, unequal):
    mine, holm, fell_back = sim.null_errors(STUDIES, arms, seeds, unequal)
    assert mine <= 0.05 + STUDY_NOISE
    assert fell_back == ((arms, seeds) == (2, 2))
    assert mine == holm or not fell_back


@pytest.mark.parametrize("shape", ["exponential", "lognormal (0.5)"])
@pytest.mark.parametrize(("arms", "seeds"), [(3, 3), (3, 5), (12, 3)])
def test_nor_do_runs_that_are_skewed_and_vary_unequally(arms, seeds, shape):
    assert sim.null_errors(STUDIES, arms, seeds, 0.6, shape)[0] <= 0.05 + STUDY_NOISE


@pytest.mark.parametrize("unequal", [0.0, 0.6])
def test_nor_do_arms_of_different_lengths(unequal):
    assert sim.ragged_errors(STUDIES, 6, unequal) <= 0.05 + STUDY_NOISE


@pytest.mark.parametrize(("arms", "seeds"), [(1, 3), (4, 3), (11, 5)])
def test_nor_do_real_networks_of_one_arm_that_are_dealt_into_several(arms, seeds):
    assert sim.real_null(STUDIES, arms, seeds)[0] <= 0.05 + STUDY_NOISE


def test_without_the_correction_it_would_say_so_too_often():
    assert sim.uncorrected_errors(REPEATS, 4, 5) > 0.12


def test_the_plain_way_of_the_page_is_the_package_s_own_without_help_from_other_arms():
    studies = np.array([sim.study(np.random.default_rng(seed), 5, sim.EFFECTS, 0.3) for seed in range(20)])
    shown, same = sim.by_holm(studies)
    for study, differ, equal in zip(studies, shown, same, strict=True):
        found = [one.verdict for one in judge_each(list(study[1:] - study[0]), sim.MARGIN, sim.ERROR)]
        assert [verdict in ("helps", "hurts") for verdict in found] == differ.tolist()
        assert [verdict == "equivalent" for verdict in found] == equal.tolist()


@pytest.mark.parametrize(("seeds", "least"), [(3, 5.2), (5, 7.6)])
def test_of_thirteen_arms_so_many_are_decided(seeds, least):
    count, holm, wrong = sim.decided(STUDIES, seeds, 0.3)
    assert count >= least
    assert count > holm + 1.5
    assert wrong <= 0.05 + STUDY_NOISE


@pytest.mark.parametrize("arms", [1, 4])
def test_stopping_at_any_look_keeps_the_error(arms):
    levels = sim.as_the_package()
    repeats = REPEATS if arms == 1 else STUDIES
    assert sim.looked_at(repeats, arms, levels) <= 0.05 + (NOISE if arms == 1 else STUDY_NOISE)


def test_whoever_looks_without_having_said_so_finds_too_much():
    assert sim.looked_at(REPEATS, 1, [sim.ERROR] * len(sim.LOOKS)) > 0.1
    assert sim.looked_at_every_seed(REPEATS, 1) > 0.15


def test_looks_keep_the_error_of_equivalence_too():
    assert sim.false_equivalent(REPEATS, 1, sim.as_the_package()) <= 0.05 + NOISE


def test_a_study_that_grows_leaves_arms_as_they_are_decided_and_is_seldom_wrong():
    networks, count, wrong = sim.grown(60, sim.as_the_package(), 0.3)
    assert networks < 14 * sim.LOOKS[-1] * 0.6
    assert count > 10
    assert wrong <= 0.05 + 0.085


@pytest.mark.parametrize("name", sim.CROSSED)
def test_nothing_helps_or_hurts_by_example_where_nothing_differs(name):
    assert sim.crossed_false_alarms(STUDIES, 5, name) <= 0.05 + STUDY_NOISE


@pytest.mark.parametrize("spread", [0.0001, 0.0003, 0.001])
@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_equivalent_is_seldom_wrong_at_the_edge_of_the_margin(seeds, spread):
    assert sim.said(REPEATS, seeds, sim.MARGIN, spread, "equivalent") <= 0.05 + NOISE


def test_a_difference_of_three_standard_deviations_is_found_with_ten_seeds():
    assert sim.said(REPEATS, 10, 0.006, 0.002, "helps") >= 0.9


def test_equal_arms_with_a_spread_far_inside_the_margin_are_equivalent():
    assert sim.said(REPEATS, 10, 0.0, 0.0002, "equivalent") >= 0.9


@pytest.mark.parametrize("ratio", [0.5, 1, 2])
def test_a_plan_keeps_its_power(ratio):
    _, power = sim.plan_keeps(REPEATS, ratio * sim.PAIR_SPREAD, sim.PAIR_SPREAD)
    assert power >= 0.8 - 0.038
