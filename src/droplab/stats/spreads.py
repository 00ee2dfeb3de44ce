"""Spreads: how much each arm of a study varies over seeds, each estimate moderated by all the others.

A arms, S seeds, U units: a unit is an arm, or two arms of which only their difference tells anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEAST_DF = 4
"""Fewer degrees of freedom in all arms together tell nothing of how much variances differ."""

_NOTHING = 1e-24
"""Variances below are those of rounding."""

_UNEQUAL = np.arange(11) / 10
"""How unequal the arms' standard deviations may be: the standard deviation of their logarithms."""

_BELIEF = _UNEQUAL + 0.2
"""In each, before anything is seen, up to a factor: rather in unequal ones, which keeps the error of few seeds."""

_SCALES = np.linspace(-3, 3, 41)
"""The logarithm of the variance that they have in common, about that of the typical one."""

_WILD = 150
"""An arm with so many times the typical variance diverges: it tells nothing of the others', nor they of its."""

_TURNS = 3
"""Of estimating the seeds' effects and the arms' variances by each other; more change nothing that shows."""


def _prior_df(unequal: float) -> float:
    """Degrees of freedom of an inverse χ² whose logarithm has the standard deviation 2·`unequal`."""
    low, high = 0.1, 1e7
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if special.polygamma(1, middle / 2) > (2 * unequal) ** 2 else (low, middle)
    return float(high)


_PRIOR_DF = np.array([_prior_df(one) for one in _UNEQUAL])


@dataclass(frozen=True)
class Spreads:
    """What a study's arms say of their variances.

    Attributes:
        variances: of a run about its arm's mean and its seed's effect, shape (U,).
        df: degrees of freedom of each, shape (U,); 0 where nothing is known but from the others.
        unit: of each arm, shape (A,).
        thirds: third central moments of the same, shape (A,), NaN where there are fewer than three runs.
        seeds: runs of each arm, shape (A,).
    """

    variances: NDArray[np.float64]
    df: NDArray[np.float64]
    unit: NDArray[np.int64]
    thirds: NDArray[np.float64]
    seeds: NDArray[np.int64]

    def drawn(self, draws: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Variances that the arms may have, shape (draws, A).

        The variances are taken to come from a scaled inverse χ² distribution, so that each is moderated by all (Smyth
        2004, "Linear models and empirical Bayes methods for assessing differential expression", section 3). A few arms
        hardly tell the two parameters of it, so no single pair is believed: pairs are drawn from a grid, each as often
        as it is likely; an estimate is then F distributed about the scale.
        """
        typical = _typical(self.variances, self.df)
        known = self.df > 0
        wild = known & (self.variances > _WILD * typical)
        likely, scales = self._likelihoods(typical, known & ~wild)
        spread, scale = np.unravel_index(random.choice(likely.size, draws, p=likely.ravel()), likely.shape)
        prior_df, prior = np.where(wild, 0, _PRIOR_DF[spread][:, None]), np.exp(scales[scale])[:, None]
        moderated = prior_df * prior + self.df * self.variances
        return np.asarray((moderated / random.chisquare(prior_df + self.df))[:, self.unit])

    def _likelihoods(self, typical: float, known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each inequality and scale, shape (11, 41), adding up to 1; and the scales' logarithms."""
        df = self.df[known]
        logs = np.log(np.maximum(self.variances[known], 1e-4 * typical))  # of counts: none is 0 but by chance
        scales = np.log(typical) + _SCALES
        x, prior = logs - scales[None, :, None], _PRIOR_DF[:, None, None]
        of_each = df / 2 * (np.log(df / prior) + x) - (df + prior) / 2 * np.log1p(df / prior * np.exp(x))
        total = (of_each - special.betaln(df / 2, prior / 2)).sum(axis=-1) + np.log(_BELIEF)[:, None]
        likely = np.exp(total - total.max())
        return likely / likely.sum(), scales

    def skewness(self, variances: NDArray[np.float64]) -> float:
        """Of all arms together, shrunk to 0 by what chance makes of it (James & Stein 1961).

        Args:
            variances: of the arms, shape (A,).
        """
        n, told = self.seeds, np.isfinite(self.thirds)
        if not told.any():
            return 0.0
        found = float((self.thirds[told] / variances[told] ** 1.5).mean())
        chance = float((6 * n[told] / ((n[told] - 1.0) * (n[told] - 2))).sum()) / told.sum() ** 2
        return found * max(0.0, 1 - chance / found**2) if found else 0.0


def spreads_of(results: NDArray[np.float64], blocks: Sequence[NDArray[np.int64]]) -> Spreads | None:
    """What arms × seeds says of the arms' variances; `None` where it says too little to lend any, or nothing varies.

    Within a block (a control and what is compared with it) a result is arm + seed + rest, the rest with a variance of
    its arm's own. Seeds' effects are means over the arms weighted by these variances, so one wild arm does not spoil
    the others'; an arm of weight h is left with 1 − h degrees of freedom a seed. Blocks have seed effects of their own.

    Args:
        results: shape (A, S), NaN where there is no run.
        blocks: the arms of each, two or more, a partition of 0 … A − 1.
    """
    arms = len(results)
    variances, df, unit, thirds = np.zeros(arms), np.zeros(arms), np.arange(arms), np.full(arms, np.nan)
    seeds = np.isfinite(results).sum(axis=1)
    for block in blocks:
        rest, df[block] = _two_way(results[block])
        variances[block] = (rest**2).sum(axis=1) / np.maximum(df[block], 1e-9)
        if len(block) == 2:
            unit[block[1]], df[block] = block[0], [df[block].sum(), 0]
        n = np.maximum(seeds[block], 3)
        thirds[block] = np.where(seeds[block] > 2, n * (rest**3).sum(axis=1) / ((n - 1) * (n - 2)), np.nan)
    pooled = float((df * variances).sum()) / max(float(df.sum()), 1e-9)
    if round(df.sum(), 6) < LEAST_DF or (df > 0).sum() < 2 or pooled < _NOTHING:
        return None
    return Spreads(variances, df, unit, thirds, seeds)


def _two_way(results: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rests of one block, 0 where there is no run, and each arm's degrees of freedom.

    Weighted least squares, the seeds' effects eliminated (Searle, Casella & McCulloch 1992, section 4.4), so that arms
    with fewer seeds are told from seeds that go worse; a result keeps 1 − its leverage degrees of freedom.
    """
    there = np.isfinite(results)
    values = np.where(there, results, 0)
    weights = np.ones(len(results))
    for _ in range(_TURNS):
        share = weights[:, None] * there / np.maximum((weights[:, None] * there).sum(axis=0), 1e-300)
        inverse = np.linalg.inv(np.diag(there.sum(axis=1)) - there @ share.T + 1)
        means = inverse @ (there * (values - (share * values).sum(axis=0))).sum(axis=1)
        rest = values - means[:, None]
        rest = there * (rest - (share * rest).sum(axis=0))
        pull = inverse @ there
        leverage = np.diag(inverse)[:, None] - inverse.T @ share + share * (1 - pull + (share * pull).sum(axis=0))
        df = ((1 - leverage) * there).sum(axis=1)
        squares = (rest**2).sum(axis=1)
        if len(results) == 2 or not squares.any():
            break
        weights = (2 + df) / (2 * _typical(squares / np.maximum(df, 1e-9), df) + squares)
    return rest, df


def _typical(variances: NDArray[np.float64], df: NDArray[np.float64]) -> float:
    """The median of those that are known, which one wild arm does not move; never far below the pooled one."""
    return max(float(np.median(variances[df > 0])), 1e-4 * float(df @ variances) / float(df.sum()))
