"""In what state a training was when it stopped: curves of known kinds under noise, and real trainings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.config import RunSettings
from droplab.data.files import load_dataset
from droplab.errors import DataError
from droplab.stats.regime import has_gap, regime
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Way

POINTS = [5, 8, 10, 20, 40]
FLOOR = 0.1


def falling(points: int, rate: float) -> np.ndarray:
    """From 1.1 at the start down to 0.1, by a factor of e each `rate`-th part of the training."""
    return FLOOR + np.exp(-rate * np.arange(1, points + 1) / points)


def low(points: int) -> np.ndarray:
    """Loss on train of a network that has learned all of it."""
    return 0.9 * falling(points, 20) - 0.8 * FLOOR


def said(losses: np.ndarray, noise: float, kind: str, repeats: int = 400) -> float:
    """How often a curve with noise around it is of a kind."""
    random = np.random.default_rng(4)
    found = [regime(losses + random.normal(0, noise, len(losses)), low(len(losses)), 10) for _ in range(repeats)]
    return float(np.mean([one == kind for one in found]))


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("noise", [0.001, 0.01, 0.05])
def test_a_flat_curve_is_seldom_said_to_improve_or_to_overfit_however_noisy(points, noise):
    flat = np.full(points, 0.5)
    assert said(flat, noise, "improving") < 0.1
    assert said(flat, noise, "overfitting") < 0.1


@pytest.mark.parametrize("points", POINTS)
def test_a_curve_that_still_falls_is_improving(points):
    for rate in (2, 3, 4):
        assert regime(falling(points, rate), low(points), 10) == "improving"
    assert said(falling(points, 2), 0.01, "improving") > 0.95


@pytest.mark.parametrize("points", [20, 40])
def test_more_points_see_through_more_noise(points):
    assert said(falling(points, 3), 0.01, "improving") > 0.95
    assert said(falling(points, 2), 0.03, "improving") > 0.75


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_a_curve_that_has_long_come_down_is_finished(points, noise):
    assert said(falling(points, 20), noise, "finished") > 0.85


@pytest.mark.parametrize("points", POINTS)
def test_a_curve_that_falls_and_rises_again_is_overfitting(points):
    rising = np.arange(1, points + 1) / points
    for steep in (0.1, 0.2, 0.5):
        assert regime(falling(points, 15) + steep * rising, low(points), 10) == "overfitting"
    assert said(falling(points, 15) + 0.3 * rising, 0.01, "overfitting") > 0.95


def test_a_loss_that_rises_on_train_as_well_is_not_overfitting():
    both = falling(20, 15) + 0.3 * np.linspace(0, 1, 20)
    assert regime(both, 0.98 * both, 10) == "finished"


def test_one_jump_of_a_flat_curve_changes_nothing():
    for at in range(20):
        losses = 0.5 + np.random.default_rng(at).normal(0, 0.002, 20)
        quiet = regime(losses, low(20), 10)
        losses[at] += 1
        assert regime(losses, low(20), 10) == quiet


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number_at_the_end_has_diverged_and_elsewhere_is_left_out(wrong):
    losses = falling(10, 3)
    assert regime([*losses[:-1], wrong], low(10), 10) == "diverged"
    assert regime(losses, [*low(10)[:-1], wrong], 10) == "diverged"
    assert regime([losses[0], wrong, *losses[2:]], low(10), 10) == "improving"


def test_a_loss_on_train_that_is_no_better_than_a_guess_has_diverged():
    guessing = np.full(10, math.log(10) - 0.001)
    assert regime(guessing, guessing, 10) == "diverged"
    assert regime(guessing, guessing, 100) == "finished"
    assert regime(falling(10, 3) + 3, low(10), 10) == "improving", "a bad loss on valid alone is not divergence"


def test_a_network_that_has_not_come_below_a_guess_yet_but_falls_is_improving():
    slow = np.linspace(2.6, 2.35, 10)
    assert regime(slow, slow, 10) == "improving"
    assert regime(slow[:2], slow[:2], 10) == "improving"
    assert regime(slow[::-1], slow[::-1], 10) == "diverged"


def test_what_cannot_be_told_is_not_said():
    nothing_held_out = np.full(10, np.nan)
    assert regime(nothing_held_out, low(10), 10) is None
    assert regime(nothing_held_out, np.full(10, 2.31), 10) == "diverged"
    assert regime([0.5], [0.4], 10) is None
    assert regime([2.4], [2.4], 10) is None
    assert regime([0.5, 0.6, 0.4], [0.4, 0.3, 0.2], 10) is None
    assert regime([0.5, 0.4, 0.3], [0.4, 0.3, 0.2], 10) == "improving"


@pytest.mark.parametrize(("valid", "train"), [([], []), ([0.5, 0.4], [0.5]), ([[0.5]], [[0.4]])])
def test_curves_that_do_not_fit_together_are_refused(valid, train):
    with pytest.raises(DataError, match="one shape"):
        regime(valid, train, 10)
    with pytest.raises(DataError, match="one shape"):
        has_gap(valid, train)


LOSSES = st.lists(st.floats(0.05, 2.2), min_size=1, max_size=40).map(np.array)


@given(LOSSES, st.sampled_from([0.5, 0.25, 2**-6]))  # exact in floating point
def test_the_unit_of_the_loss_does_not_matter(losses, factor):
    train = 0.5 * losses
    assert regime(factor * losses, factor * train, 10) == regime(losses, train, 10)


@given(LOSSES)
def test_a_curve_that_only_rises_never_improves_and_one_that_only_falls_never_overfits(losses):
    assert regime(np.sort(losses), np.full(len(losses), 0.01), 10) != "improving"
    assert regime(np.sort(losses)[::-1], np.full(len(losses), 0.01), 10) != "overfitting"


def trained(**settings: object):
    """The curves of a training on digits: losses on valid and on train."""
    examples = Examples.of(load_dataset("digits"), 1 / 6, 1)
    recipe = {"widths": (64, 64), "batch_size": 32, "learning_rate": 0.05, "seed": 0}
    (done,) = train_pack([RunSettings.parse(recipe | settings)], examples, Way("cpu", "fp32"), lambda _: None)
    on_train, on_valid = done.outcome.curves.losses
    return on_valid, on_train


@pytest.mark.parametrize(
    ("settings", "state", "gap"),
    [
        ({"epochs": 6}, "improving", False),
        ({"epochs": 40, "dropout": 0.5}, "improving", True),
        ({"epochs": 150, "learning_rate": 0.2}, "overfitting", True),
        ({"epochs": 60, "learning_rate": 3.0}, "diverged", False),
    ],
)
def test_real_trainings_are_told_apart(settings, state, gap):
    curves = trained(**settings)
    assert regime(*curves, 10) == state
    assert has_gap(*curves) == gap
