"""Schedules: learning rate and momentum as functions of the updates done."""

from __future__ import annotations

import math

from droplab.config import Recipe


def learning_rate_at(recipe: Recipe, update: int, updates_an_epoch: int) -> float:
    """The learning rate of an update.

    Args:
        recipe: its `learning_rate`, `schedule…` and `warmup_epochs`.
        update: how many were done before it.
        updates_an_epoch: how many an epoch has.

    >>> recipe = Recipe(learning_rate=1.0, epochs=10, schedule="linear", schedule_final=0.5)
    >>> [learning_rate_at(recipe, t, 10) for t in (0, 50, 100, 200)]
    [1.0, 0.75, 0.5, 0.5]
    """
    time = update / updates_an_epoch
    length = recipe.schedule_epochs or recipe.epochs
    done, final = min(time / length, 1.0), recipe.schedule_final
    factors: dict[str, float] = {
        "constant": 1.0,
        "linear": 1 - (1 - final) * done,
        "exponential": final**done,
        "inverse_time": 1 / (1 + time / length),
        "cosine": final + (1 - final) * (1 + math.cos(math.pi * done)) / 2,
    }
    warm = min((update + 1) / (recipe.warmup_epochs * updates_an_epoch), 1.0) if recipe.warmup_epochs else 1.0
    return recipe.learning_rate * factors[recipe.schedule] * warm


def momentum_at(recipe: Recipe, update: int, updates_an_epoch: int) -> float:
    """The momentum of an update; arguments as `learning_rate_at`.

    >>> recipe = Recipe(momentum=0.5, epochs=10, momentum_schedule="linear", momentum_final=0.9)
    >>> [round(momentum_at(recipe, t, 10), 3) for t in (0, 50, 100, 200)]
    [0.5, 0.7, 0.9, 0.9]
    """
    if recipe.momentum_schedule == "constant":
        return recipe.momentum
    time = update / updates_an_epoch / (recipe.momentum_epochs or recipe.epochs)
    way = min(time, 1.0) if recipe.momentum_schedule == "linear" else 1 - math.exp(-time)
    return recipe.momentum + (recipe.momentum_final - recipe.momentum) * way
