"""Looks: how much error each look at a growing study may make, so that all of them together make no more than one.

A study that is looked at after 3, 5, 8 … seeds until something shows is wrong more often than a study looked at once.
So the error is spent (Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials"): each look gets a part
of it, and the parts add up to it. They are added, not multiplied out along a Brownian path, so the bound holds whatever
arms leave on the way, however many comparisons there are, and for Student's t with few degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from droplab.errors import ConfigError, DataError

SHARE = 1 / 3
"""Of the error that is left, what a look spends. Of 1/2, 1/3 and 1/4 it takes the fewest networks by a hair in
docs/results/statistics.md (156 of 294 at spread 0.3, against 158 and 157) and decides about as many arms. Equal parts
of five looks take 149, but must know that there are five, and a study may always go on."""


def level_of(look: int, alpha: float, looks: int | None = None) -> float:
    """The error that one look may make: a third of what is left; the last of a planned number takes all of it.

    Args:
        look: its number, from 1.
        alpha: the error of all looks together, between 0 and 1.
        looks: how many there are at most; `None` where more may always follow.

    >>> [round(level_of(look, 0.05, looks=3), 4) for look in (1, 2, 3)]
    [0.0167, 0.0111, 0.0222]
    """
    left = alpha * (1 - SHARE) ** (look - 1)
    return left if look == looks else SHARE * left


def checked_looks(looks: Sequence[int]) -> tuple[int, ...]:
    """Planned looks, as numbers of seeds.

    Raises:
        ConfigError: if they are not whole numbers from 2 that rise.
    """
    try:
        wanted = tuple(looks)
        numbers = tuple(int(one) for one in wanted)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"looks must be numbers of seeds, as (3, 5, 8); found {looks!r}.") from None
    rising = all(a < b for a, b in pairwise(numbers))
    if not numbers or numbers != wanted or numbers[0] < 2 or not rising:
        raise ConfigError(f"looks must be whole numbers of seeds from 2 that rise, as (3, 5, 8); found {looks!r}.")
    return numbers


def look_at(seeds: int, looks: Sequence[int]) -> int:
    """Which of the planned looks `seeds` seeds are, from 1.

    Raises:
        DataError: if none: a comparison between two looks would be one more.
    """
    if seeds not in looks:
        told = ", ".join(map(str, looks))
        after = next((one for one in looks if one > seeds), None)
        told_next = f"Wait for {after}." if after else f"Compare the first {looks[-1]}."
        raise DataError(
            f"looks are planned at {told} seeds, and only there is anything concluded; found {seeds} seeds. {told_next}"
        )
    return list(looks).index(seeds) + 1
