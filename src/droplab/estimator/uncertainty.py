"""How unsure an estimator is: what its networks say under many masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr


class Uncertainty(NamedTuple):
    """What networks say of N rows under S draws: masks, and networks where there are several.

    Attributes:
        mean: mean probability of each class, shape (N, C).
        std: standard deviation of each class's probability over the draws, shape (N, C).
        entropy: of the mean, in nats, shape (N,): all that is uncertain. With several labels a row, of each label,
            shape (N, C), as in the next.
        mutual_information: the entropy less the mean entropy of the draws, in nats, shape (N,): what the draws disagree
            about, which more data would settle (Houlsby et al. 2011; Gal & Ghahramani 2016).
    """

    mean: NDArray[np.floating]
    std: NDArray[np.floating]
    entropy: NDArray[np.floating]
    mutual_information: NDArray[np.floating]

    @classmethod
    def of(cls, draws: NDArray[np.floating], exclusive: bool) -> Uncertainty:
        """From probabilities.

        Args:
            draws: shape (S, N, C).
            exclusive: whether a row has one of the classes; else each is a label that a row has or has not.
        """
        mean = draws.mean(axis=0)
        whole, parts = (_entropy(table, exclusive) for table in (mean, draws))
        return cls(mean, draws.std(axis=0), whole, np.maximum(whole - parts.mean(axis=0), 0))


class Spread(NamedTuple):
    """What networks say of the numbers of N rows under draws: masks, and networks where there are several.

    Attributes:
        mean: over the draws, shape (N,), or as `predict` gives it.
        std: standard deviation over them, likewise.
    """

    mean: NDArray[np.floating]
    std: NDArray[np.floating]


def _entropy(p: NDArray[np.floating], exclusive: bool) -> NDArray[np.floating]:
    """In nats, over the last axis, or of each label's yes and no."""
    return np.asarray(entr(p).sum(axis=-1) if exclusive else entr(p) + entr(1 - p))
