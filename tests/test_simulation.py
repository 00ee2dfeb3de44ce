"""The promises of the verdicts, on simulated studies: the fast form of docs/results/statistics.md."""

import pytest

import simulation as sim

REPEATS = 1500
NOISE = 0.017  # three standard errors of a share of 5 % in 1,500


@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_intervals_over_seeds_cover_gaussian_differences(seeds):
    assert sim.paired_coverage(REPEATS, seeds) >= 0.95 - NOISE


@pytest.mark.parametrize("name", sim.CROSSED)
@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_intervals_by_example_cover_the_truth_over_new_seeds_and_new_examples(seeds, name):
    assert sim.crossed_coverage(400, seeds, name) >= 0.93 - 0.02  # the page has the sharper form


def test_accuracies_by_seed_do_not_speak_of_new_examples():
    assert sim.crossed_coverage(300, 10, "examples differ between arms", by_example=False) < 0.92


@pytest.mark.parametrize("seeds", sim.SEEDS)
def test_a_study_in_which_nothing_differs_seldom_says_that_anything_helps_or_hurts(seeds):
    assert sim.study_false_alarms(REPEATS, seeds) <= 0.05 + NOISE


def test_without_the_correction_it_would_say_so_too_often():
    assert sim.study_false_alarms(REPEATS, 5, corrected=False) > 0.12


@pytest.mark.parametrize("name", sim.CROSSED)
def test_nothing_helps_or_hurts_by_example_where_nothing_differs(name):
    assert sim.crossed_false_alarms(400, 5, name) <= 0.05 + 0.033


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
    _, power = sim.plan_keeps(REPEATS, ratio * sim.SPREAD, sim.SPREAD)
    assert power >= 0.8 - 0.031
