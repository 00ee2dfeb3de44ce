"""Optimizers and schedules: what a step does with gradients, at numbers that change from step to step and run to run.

R runs, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.config import Recipe, Schedule

EPSILON = 1e-8
"""What Adam adds to a root: PyTorch's."""

ROWS = 5
"""Numbers of a run that an update takes: learning rate; step; momentum, or of Adam 1 − β₁; 1 − β₂; epsilon."""


@dataclass(frozen=True)
class Optimizer:
    """How weights follow gradients.

    Attributes:
        adam: whether it is Adam (Kingma & Ba 2015); else descent with momentum.
        moving: whether descent has momentum.
        classical: whether velocities hold steps, v ← m·v + rate·g and w ← w − v, or gradients, v ← m·v + g and
            w ← w − rate·v, as PyTorch has it; the two differ where the rate changes.
        nesterov: whether the momentum is Nesterov's: w moves by g + m·v (times the rate), with v as it has become.
    """

    adam: bool = False
    moving: bool = False
    classical: bool = False
    nesterov: bool = False

    @classmethod
    def of(cls, runs: Sequence[Recipe]) -> Optimizer:
        """The optimizer that runs share."""
        name, adam = runs[0].optimizer, runs[0].optimizer in ("adam", "adamw")
        moving = not adam and any(run.momentum or run.momentum_schedule != "constant" for run in runs)
        return cls(adam, moving, name == "classical", name == "nesterov")

    @property
    def moments(self) -> int:
        """How many numbers it keeps of each weight."""
        return 2 if self.adam else int(self.moving)

    def update(
        self,
        values: Sequence[Tensor],
        moments: Sequence[Sequence[Tensor]],
        gradients: Sequence[Tensor],
        numbers: Tensor,
    ) -> None:
        """Move `values` and `moments` in place.

        Args:
            values: each with R first.
            moments: as many as `self.moments`, each shaped as `values`.
            gradients: shaped as `values`.
            numbers: shape (ROWS, R).
        """
        rate, step, first, second, epsilon = numbers.unsqueeze(2)
        for place, part in enumerate(values):
            value, gradient = part.flatten(1), gradients[place].flatten(1)
            if self.adam:
                m, v = (each[place].flatten(1) for each in moments)
                m.lerp_(gradient, first)
                v.lerp_(gradient.square(), second)
                value.sub_((m * step).div_(v.sqrt().add_(epsilon)))
                continue
            taken = gradient * rate if self.classical else gradient
            if self.moving:
                velocity = moments[0][place].flatten(1).mul_(first).add_(taken)
                taken = torch.addcmul(taken, velocity, first) if self.nesterov else velocity
            value.sub_(taken if self.classical else taken * rate)


def numbers_of(recipe: Recipe, updates: NDArray[np.int64], updates_an_epoch: int) -> NDArray[np.float64]:
    """What updates of a run take, shape (S, ROWS).

    Args:
        recipe: the run's.
        updates: how many were done before each, shape (S,).
        updates_an_epoch: how many an epoch has.
    """
    rate = learning_rate_at(recipe, updates, updates_an_epoch)
    if recipe.optimizer in ("adam", "adamw"):
        return adam_numbers(rate, recipe.beta_1, recipe.beta_2, updates, EPSILON)
    momentum = momentum_at(recipe, updates, updates_an_epoch)
    return np.stack([rate, rate, momentum, np.zeros_like(rate), np.zeros_like(rate)], axis=1)


def adam_numbers(
    rate: NDArray[np.float64],
    beta_1: float,
    beta_2: float,
    updates: NDArray[np.int64],
    epsilon: float,
    corrected: bool = True,
) -> NDArray[np.float64]:
    """As `numbers_of`, of Adam; `epsilon` is added to the root of the second moment, which is `corrected` or not.

    The corrections of both moments for their beginning at 0 are in the step and in epsilon.
    """
    done = updates + 1.0
    root = np.sqrt(1 - beta_2**done)
    ones = np.ones_like(rate)
    return np.stack(
        [
            rate,
            rate * root / (1 - beta_1**done),
            (1 - beta_1) * ones,
            (1 - beta_2) * ones,
            epsilon * (root if corrected else ones),
        ],
        axis=1,
    )


def learning_rate_at(recipe: Recipe, updates: NDArray[np.int64], updates_an_epoch: int) -> NDArray[np.float64]:
    """The learning rate of updates; arguments and shape as `numbers_of`.

    >>> recipe = Recipe(learning_rate=1.0, epochs=10, schedule="linear", schedule_final=0.5)
    >>> learning_rate_at(recipe, np.array([0, 50, 100, 200]), 10).tolist()
    [1.0, 0.75, 0.5, 0.5]
    """
    time = updates / updates_an_epoch
    factors = factor_at(recipe.schedule, time, recipe.schedule_epochs or recipe.epochs, recipe.schedule_final)
    return np.asarray(recipe.learning_rate * factors * warmth_at(updates, recipe.warmup_epochs * updates_an_epoch))


def factor_at(schedule: Schedule, time: NDArray[np.float64], length: float, final: float) -> NDArray[np.float64]:
    """The share of the learning rate that a schedule leaves, shape (S,).

    Args:
        schedule: which.
        time: of each update, in epochs, shape (S,).
        length: of the schedule, in epochs.
        final: the share at its end, and from then on.

    >>> factor_at("flat_cosine", np.array([0.0, 5.0, 7.5, 10.0]), 10, 0.5).round(3).tolist()
    [1.0, 1.0, 0.75, 0.5]
    """
    done = np.minimum(time / length, 1.0)
    factors = {
        "constant": np.ones_like(done),
        "linear": 1 - (1 - final) * done,
        "exponential": final**done,
        "inverse_time": 1 / (1 + time / length),
        "cosine": final + (1 - final) * (1 + np.cos(math.pi * done)) / 2,
        "flat_cosine": final + (1 - final) * (1 + np.cos(math.pi * np.maximum(2 * done - 1, 0))) / 2,
    }
    return np.asarray(factors[schedule])


def warmth_at(updates: NDArray[np.int64], length: float) -> NDArray[np.float64]:
    """The share of the learning rate while it grows from 0 over `length` updates, shape (S,)."""
    return np.asarray(np.minimum((updates + 1) / length, 1.0)) if length else np.ones(len(updates))


def momentum_at(recipe: Recipe, updates: NDArray[np.int64], updates_an_epoch: int) -> NDArray[np.float64]:
    """The momentum of updates; likewise.

    >>> recipe = Recipe(momentum=0.5, epochs=10, momentum_schedule="linear", momentum_final=0.9)
    >>> momentum_at(recipe, np.array([0, 50, 100, 200]), 10).round(3).tolist()
    [0.5, 0.7, 0.9, 0.9]
    """
    if recipe.momentum_schedule == "constant":
        return np.full(len(updates), recipe.momentum)
    time = updates / updates_an_epoch / (recipe.momentum_epochs or recipe.epochs)
    way = np.minimum(time, 1.0) if recipe.momentum_schedule == "linear" else 1 - np.exp(-time)
    return np.asarray(recipe.momentum + (recipe.momentum_final - recipe.momentum) * way)
