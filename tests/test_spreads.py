"""Spreads: how much each arm varies, told from the seeds that all share."""

import numpy as np
import pytest

from droplab.stats.spreads import spreads_of


def runs(seed: int, arms: int, seeds: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 0.9 + 0.001 * random.normal(size=(arms, seeds)) + 0.01 * random.normal(size=seeds)


def test_two_arms_tell_half_the_variance_of_their_differences_over_the_seeds_they_share():
    results = runs(0, 4, 9)
    results[1, 5:] = np.nan
    spreads = spreads_of(results, [np.array([0, 1]), np.array([2, 3])])
    differences = results[::2] - results[1::2]
    assert spreads.variances[[0, 2]] == pytest.approx(np.nanvar(differences, axis=1, ddof=1) / 2)
    assert spreads.df == pytest.approx([4, 0, 8, 0])
    assert spreads.unit.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("lengths", [(6, 6, 6, 6), (6, 3, 6, 2), (6, 6, 4, 4)])
def test_every_result_beyond_those_that_tell_arms_and_seeds_is_a_degree_of_freedom(lengths):
    results = np.where(np.arange(6) < np.array(lengths)[:, None], runs(1, 4, 6), np.nan)
    assert spreads_of(results, [np.arange(4)]).df.sum() == pytest.approx(sum(lengths) - 4 - 6 + 1)


@pytest.mark.parametrize("short", [3, 8])
def test_variances_are_right_on_the_average_where_half_of_the_arms_stopped_early(short):
    found = []
    for seed in range(400):
        results = runs(seed, 6, 8)
        results[3:, short:] = np.nan
        spreads = spreads_of(results, [np.arange(6)])
        found.append(spreads.df @ spreads.variances / spreads.df.sum())
    assert np.mean(found) == pytest.approx(1e-6, rel=0.06)


def test_a_wild_arm_tells_nothing_of_the_others_nor_they_of_it():
    results = runs(3, 9, 5)
    results[8] = [0.2, 0.7, 0.4, 0.1, 0.6]
    spreads = spreads_of(results, [np.arange(9)])
    drawn = spreads.drawn(20_000, np.random.default_rng(0))
    typical = 1 / (1 / drawn).mean(axis=0)
    assert typical[8] == pytest.approx(np.var(results[8], ddof=1), rel=0.05)
    alone = spreads_of(results[:8], [np.arange(8)])
    same = 1 / (1 / alone.drawn(20_000, np.random.default_rng(0))).mean(axis=0)
    assert typical[:8] == pytest.approx(same, rel=0.2)


def test_a_pair_of_wild_arms_has_the_variance_that_it_tells():
    results = runs(3, 6, 5)
    results[4:] += 0.2 * np.random.default_rng(1).normal(size=(2, 5))
    spreads = spreads_of(results, list(np.arange(6).reshape(3, 2)))
    typical = 1 / (1 / spreads.drawn(20_000, np.random.default_rng(0))).mean(axis=0)
    assert typical[4:] == pytest.approx(np.var(results[4] - results[5], ddof=1) / 2, rel=0.05)


def test_too_little_tells_nothing():
    assert spreads_of(runs(4, 3, 2), [np.arange(3)]) is None
    assert spreads_of(runs(4, 2, 9), [np.arange(2)]) is None
    assert spreads_of(np.full((5, 9), 0.9), [np.arange(5)]) is None
    assert spreads_of(runs(4, 3, 3), [np.arange(3)]) is not None
