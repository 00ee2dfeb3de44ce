"""Families: the comparisons of one study, judged together and with the help of each other.

A arms, S seeds, N examples, M comparisons, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from droplab.errors import ConfigError, DataError
from droplab.stats.compare import (
    Comparison,
    check_levels,
    checked,
    improvement,
    judge,
    unjudged,
    verdict_of,
)
from droplab.stats.looks import checked_looks, level_of, look_at
from droplab.stats.planning import seeds_needed
from droplab.stats.spreads import Spreads, spreads_of
from droplab.stats.variance import over_seeds_and_examples

DRAWS, FEWEST_DRAWS, MOST_NUMBERS = 40_000, 4_000, 10_000_000
"""Of the joint errors of a family: by chance a level of 5 % is 0.1 points off, one of 0.5 % 0.04. Fewer for hundreds of
arms, so that all of them hold no more than so many numbers."""


def compare_all(
    arms: Mapping[str, ArrayLike],
    control: ArrayLike,
    *,
    margin: float = 0.001,
    confidence: float = 0.95,
    looks: Sequence[int] | None = None,
) -> dict[str, Comparison]:
    """Compare every arm with one control, as one family: any `helps` or `hurts` is wrong with 1 − confidence at most.

    As `compare`, but what a few seeds say of the spread is moderated by what all arms say of it (`stats.spreads`), and
    the joint errors against the shared control replace a correction for many comparisons (Dunnett 1955), step by step
    from the largest difference (Marcus, Peritz & Gabriel 1976). Where arms and seeds are too few to lend anything, each
    is judged by its own t test under Holm's correction (1979); `moderated` says which. `equivalent` is not corrected.

    Args:
        arms: accuracies by seed as fractions, shape (S,), or right and wrong by example, shape (S, N), by name. An arm
            may have fewer seeds than control, the first ones: those that it was stopped after.
        control: likewise.
        margin: the largest difference that does not matter, > 0, as a fraction.
        confidence: of all verdicts and looks together, between 0 and 1.
        looks: the numbers of seeds at which verdicts are looked at; the seeds of each arm must be one of them.

    Raises:
        DataError: as `compare`, and if an arm has more seeds than control.
        ConfigError: as `compare`, or if there is no arm.

    >>> arms = {"a": [0.98, 0.99, 0.985], "b": [0.96, 0.965, 0.97], "c": [0.95, 0.954, 0.961]}
    >>> [one.verdict for one in compare_all(arms, [0.951, 0.955, 0.962]).values()]
    ['helps', 'helps', 'undecided']
    """
    check_levels(margin, confidence)
    planned = checked_looks(looks) if looks is not None else None
    if not isinstance(arms, Mapping) or not arms:
        raise ConfigError("arms must be a mapping of names and results, with one arm or more; found none.")
    theirs, _ = checked(control, control)
    results = [theirs]
    for name, values in arms.items():
        mine, _ = checked(values, values)
        if mine.shape[1:] != theirs.shape[1:] or len(mine) > len(theirs):
            raise DataError(
                f"arm {name!r} must have the first seeds of control, and its examples; found {mine.shape} and "
                f"{theirs.shape} of control."
            )
        results.append(np.concatenate([mine, np.full((len(theirs) - len(mine), *mine.shape[1:]), np.nan)]))
    pairs = [(arm, 0) for arm in range(1, len(results))]
    found: dict[str, Comparison] = {}
    for seeds in dict.fromkeys(len(np.asarray(values)) for values in arms.values()):
        look = None if planned is None else look_at(seeds, planned)
        level = 1 - confidence if look is None or planned is None else level_of(look, 1 - confidence, len(planned))
        judged = judge_family([values[:seeds] for values in results], pairs, margin, level)
        mine_too = (len(np.asarray(values)) == seeds for values in arms.values())
        found |= {
            name: replace(one, look=look) for name, one, is_mine in zip(arms, judged, mine_too, strict=True) if is_mine
        }
    return {name: found[name] for name in arms}


def judge_family(
    results: Sequence[NDArray[np.float64]],
    pairs: Sequence[tuple[int, int]],
    margin: float,
    level: float,
    draws: int = DRAWS,
) -> list[Comparison]:
    """Compare pairs of arms that are one family, each over the seeds that both have.

    Args:
        results: of each of A arms, shape (S,) or (S, N), NaN for a seed that it has not.
        pairs: places in `results`: the one, and what it is compared with, M of them; each shares a seed.
        margin: as `compare_all`.
        level: the error that may be made in all.
        draws: D.

    Returns:
        M comparisons; one of a single shared seed is undecided and counts for nothing.
    """
    both = [np.isfinite(_by_seed(results[a])) & np.isfinite(_by_seed(results[b])) for a, b in pairs]
    differences = [results[a][shared] - results[b][shared] for (a, b), shared in zip(pairs, both, strict=True)]
    members = [place for place, mine in enumerate(differences) if len(mine) > 1]
    spreads = None
    if len(members) > 1:
        family = [pairs[place] for place in members]
        arms = sorted({arm for pair in family for arm in pair})
        place_of = {arm: place for place, arm in enumerate(arms)}
        family = [(place_of[a], place_of[b]) for a, b in family]
        spreads = spreads_of(np.stack([_by_seed(results[arm]) for arm in arms]), _blocks(family, len(arms)))
    if spreads is None:
        return judge_each(differences, margin, level)
    draws = min(draws, max(MOST_NUMBERS // len(arms), FEWEST_DRAWS))
    judged = iter(_moderated(spreads, family, [differences[place] for place in members], margin, level, draws))
    return [next(judged) if len(mine) > 1 else judge(mine, margin, level) for mine in differences]


def judge_each(
    differences: Sequence[NDArray[np.float64]], margin: float, level: float, folds: int = 0
) -> list[Comparison]:
    """Judge differences by their own spread, each as one of its family by Holm's correction (1979).

    Args:
        differences: of each of M comparisons, shape (S,) or (S, N); those of one seed, or without spread, count for
            nothing.
        margin: as `compare_all`.
        level: the error that may be made in all.
        folds: as `judge`.
    """
    alone = [judge(mine, margin, level, folds=folds) for mine in differences]
    members = [place for place, one in enumerate(alone) if one.seeds > 1 and one.p_value is not None]
    if len(members) < 2:
        return alone
    ordered = sorted(members, key=lambda place: alone[place].p_value or 0.0)
    found, adjusted, stopped = list(alone), 0.0, 0.0
    for rank, place in enumerate(ordered):
        one, left = alone[place], len(ordered) - rank
        adjusted = min(max(adjusted, left * (one.p_value or 0.0)), 1.0)
        strict = stopped or level / left
        found[place] = replace(judge(differences[place], margin, level, strict, folds), p_adjusted=adjusted)
        if adjusted >= level:
            stopped = strict  # what comes after is not shown, either, and its interval says so
    return found


def _moderated(
    spreads: Spreads,
    pairs: Sequence[tuple[int, int]],
    differences: Sequence[NDArray[np.float64]],
    margin: float,
    level: float,
    draws: int,
) -> list[Comparison]:
    """Judge M differences by the errors that they may have together, drawn from what the arms' variances may be.

    An error is that of the arm's mean less that of its control's, so arms with one control share the latter. Where
    arms vary unequally and skewed, a difference is skewed, too, and must reach further: by the first term of the
    expansion of Student's t (Hall 1992, "On the removal of skewness by transformation"), taken on both sides.
    """
    random = np.random.default_rng(0)
    of_arms = spreads.drawn(draws, random)
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    seeds = np.array([len(mine) for mine in differences])
    normal = np.sqrt(of_arms) * random.standard_normal(of_arms.shape)
    errors, of_seeds = (normal[:, a] - normal[:, b]) / np.sqrt(seeds), of_arms[:, a] + of_arms[:, b]
    variances = of_seeds / seeds
    by_example = [over_seeds_and_examples(mine) if mine.ndim == 2 else None for mine in differences]
    for place, one in enumerate(by_example):
        if one is not None and one.of_examples:
            of_examples = one.of_examples * one.examples_df / random.chisquare(one.examples_df, draws)
            errors[:, place] += np.sqrt(of_examples) * random.standard_normal(draws)
            variances[:, place] += of_examples
    scales = 1 / np.sqrt((1 / variances).mean(axis=0))
    errors = np.abs(errors) / scales
    typical = 1 / (1 / of_arms).mean(axis=0)
    bends = np.abs(typical[a] ** 1.5 - typical[b] ** 1.5) / (typical[a] + typical[b]) ** 1.5
    bends *= abs(spreads.skewness(typical)) / (6 * np.sqrt(seeds))

    means = np.array([float(mine.mean()) for mine in differences])
    sizes = _unbent(np.abs(means) / scales, bends)
    order = np.argsort(-sizes)
    rest = np.maximum.accumulate(errors[:, order[::-1]], axis=1)[:, ::-1]  # the largest of those not yet shown
    shares = np.maximum.accumulate(((rest >= sizes[order]).sum(axis=0) + 1) / (draws + 1))
    place_of_critical = min(draws + 1 - math.ceil(level * (draws + 1)), draws - 1)  # beyond it a share is below level
    critical = np.partition(rest, place_of_critical, axis=0)[place_of_critical]
    shown = int((sizes[order] > critical).cumprod().sum())
    critical[shown:] = critical[min(shown, len(order) - 1)]  # what comes after is not shown, either
    same = _bent(np.quantile(errors, 1 - 2 * level, axis=0), bends) * scales if level < 0.5 else np.zeros(len(order))
    found: dict[int, Comparison] = {}
    for rank, place in enumerate(order.tolist()):
        mine, examples = differences[place], by_example[place]
        by_seed = _by_seed(mine)
        p_value = float(2 * special.ndtr(-sizes[place] * scales[place] / np.sqrt(variances[:, place])).mean())
        p_adjusted = float(shares[rank])
        base = replace(
            unjudged(by_seed, margin, level, None if examples is None else mine.shape[1]),
            p_value=min(p_value, p_adjusted),  # beyond it only by the chance of the draws
            p_adjusted=p_adjusted,
            probability_of_improvement=improvement(by_seed),
            moderated=True,
        )
        judged = verdict_of(base, float(_bent(critical[rank], bends[place]) * scales[place]), float(same[place]))
        if judged.verdict == "undecided":
            strict = float((errors[:, place] > critical[rank]).mean())
            needed = seeds_needed(
                judged.difference,
                judged.seeds,
                margin,
                (max(strict, 1 / draws), level),
                np.quantile(of_seeds[:, place], [0.1, 0.9]),
                (0.0, np.inf) if examples is None else (examples.of_examples, examples.examples_df),
                lent=float(spreads.df.sum()) / len(spreads.seeds),
            )
            judged = replace(judged, seeds_needed=needed)
        found[place] = judged
    return [found[place] for place in range(len(differences))]


def _bent(sizes: NDArray[np.float64], bends: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a standardized difference must be where it would be `sizes` without skewness."""
    return np.asarray(sizes + bends * (2 * sizes**2 + 1))


def _unbent(sizes: NDArray[np.float64], bends: NDArray[np.float64]) -> NDArray[np.float64]:
    """The other way round; never below 0."""
    over = np.maximum(sizes - bends, 0)
    return np.asarray(2 * over / (1 + np.sqrt(1 + 8 * bends * over)))


def _by_seed(results: NDArray[np.float64]) -> NDArray[np.float64]:
    return results if results.ndim == 1 else np.asarray(results.mean(axis=1))


def _blocks(pairs: Sequence[tuple[int, int]], arms: int) -> list[NDArray[np.int64]]:
    """The arms that comparisons join, directly or by others."""
    a, b = zip(*pairs, strict=True)
    count, label = connected_components(coo_array((np.ones(len(pairs)), (a, b)), shape=(arms, arms)), directed=False)
    return [np.flatnonzero(label == one) for one in range(count)]
