"""Variance: how sure the mean of paired differences is, over seeds or over seeds and examples.

S seeds, N examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean and what it varies with.

    Attributes:
        mean: of the differences.
        variance: of the mean; 0 where the differences do not vary at all.
        df: its degrees of freedom.
        of_seeds: variance of a seed's mean difference, on the given examples.
        of_examples: the part of `variance` that comes from the choice of examples, which no seed removes.
        examples_df: degrees of freedom of that part.
    """

    mean: float
    variance: float
    df: float
    of_seeds: float
    of_examples: float = 0.0
    examples_df: float = np.inf


def over_seeds(differences: NDArray[np.float64]) -> Estimate:
    """The mean over seeds, for these examples: Student's one sample.

    Args:
        differences: shape (S,), S ≥ 2.
    """
    seeds = len(differences)
    of_seeds = float(differences.var(ddof=1))
    return Estimate(float(differences.mean()), of_seeds / seeds, seeds - 1, of_seeds)


def over_folds(differences: NDArray[np.float64], folds: int) -> Estimate:
    """The mean over the folds of repeated cross-validation, for other data of this size.

    Training sets overlap, so the variance of the mean is taken as (1/n + 1/(folds − 1)) · s² instead of s²/n (Nadeau &
    Bengio 2003, "Inference for the generalization error").

    Args:
        differences: one a fold of each repetition, shape (n,), n ≥ 2.
        folds: of one repetition, ≥ 2.
    """
    each = over_seeds(differences)
    return replace(each, variance=(1 / len(differences) + 1 / (folds - 1)) * each.of_seeds)


def over_seeds_and_examples(differences: NDArray[np.float64]) -> Estimate:
    """The mean over new seeds and new examples: a crossed design with random seeds, examples and rest.

    Each difference is mean + seed + example + rest. The mean squares of the two-way table estimate their variances
    (Searle, Casella & McCulloch, "Variance Components", 1992, chapter 4), none below 0; the variance of the mean is
    seeds/S + examples/N + rest/(S·N). Its degrees of freedom are Satterthwaite's (1946).

    Args:
        differences: shape (S, N), S ≥ 2, N ≥ 2.
    """
    seeds, examples = differences.shape
    mean = float(differences.mean())
    by_seed, by_example = differences.mean(axis=1) - mean, differences.mean(axis=0) - mean
    all_squares = float(((differences - mean) ** 2).sum())
    seed_squares, example_squares = examples * float(by_seed @ by_seed), seeds * float(by_example @ by_example)
    seeds_df, examples_df, rest_df = seeds - 1, examples - 1, (seeds - 1) * (examples - 1)
    rest = max(all_squares - seed_squares - example_squares, 0.0) / rest_df
    of_seeds = max(seed_squares / seeds_df, rest) / examples
    of_examples = max(example_squares / examples_df - rest, 0.0) / (seeds * examples)
    variance = of_seeds / seeds + of_examples
    if not variance:
        return Estimate(mean, 0.0, seeds_df, 0.0)
    df = variance**2 / ((of_seeds / seeds) ** 2 / seeds_df + of_examples**2 / examples_df)
    return Estimate(mean, variance, df, of_seeds, of_examples, examples_df)
