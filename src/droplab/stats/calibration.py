"""Calibration: whether a network's probabilities can be believed. Arrays in, numbers out.

N examples, C classes. Log-probabilities are natural, of shape (N, C), each example's exponentials summing to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax

BINS = 15
"""Bins of a reliability curve, as in Guo et al. (2017)."""

COOLEST, HOTTEST = 0.05, 20.0
"""Between these a temperature is looked for: where all of valid is classified rightly, ever cooler is ever better."""

_Floats = NDArray[np.floating]
_Labels = NDArray[np.integer]


class Reliability(NamedTuple):
    """How often a network is right where it is how sure; bins of equal mass, from the least sure to the surest.

    Attributes:
        confidence: mean probability of the predicted class, shape (bins,).
        accuracy: share of the bin's examples that are classified rightly, shape (bins,).
        examples: how many there are, shape (bins,); two bins differ by one at most.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    examples: NDArray[np.int64]


def reliability(log_probabilities: _Floats, labels: _Labels, bins: int = BINS) -> Reliability:
    """Sort examples by confidence and cut them into bins of equal mass (Nguyen & O'Connor 2015).

    Args:
        log_probabilities: shape (N, C), N ≥ 1.
        labels: shape (N,), 0 … C − 1.
        bins: how many; as many as examples where these are fewer. Examples of one confidence keep their order.
    """
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    right = log_probabilities.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(labels)))
    return Reliability(
        np.array([confidence[part].mean() for part in parts]),
        np.array([right[part].mean() for part in parts]),
        np.array([len(part) for part in parts]),
    )


def calibration_error(curve: Reliability) -> float:
    """Expected calibration error: mean |accuracy − confidence| over the examples' bins (Guo et al. 2017), in [0, 1].

    Even a calibrated network has an error above 0 on few examples: a bin's accuracy varies by chance.
    """
    gaps = np.abs(curve.accuracy - curve.confidence)
    return float((curve.examples * gaps).sum() / curve.examples.sum())


def brier(log_probabilities: _Floats, labels: _Labels) -> float:
    """Brier's score (1950): mean squared distance of the probabilities from the truth, in [0, 2]."""
    probabilities = np.exp(log_probabilities.astype(np.float64))
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(axis=1) - 2 * of_truth + 1).mean())


def mean_nll(log_probabilities: _Floats, labels: _Labels) -> float:
    """Mean negative log-likelihood, in nats an example."""
    return float(-log_probabilities[np.arange(len(labels)), labels].mean(dtype=np.float64))


def entropy(log_probabilities: _Floats) -> NDArray[np.float64]:
    """Entropy of each example's probabilities, in nats, 0 … ln C, shape (N,).

    Of the mean over masks it is the predictive entropy; that less the masks' mean entropy is the mutual information of
    prediction and mask (Houlsby et al. 2011): what the networks under the masks disagree about.
    """
    information: NDArray[np.float64] = entr(np.exp(log_probabilities.astype(np.float64))).sum(axis=1)
    return information


def fit_temperature(log_probabilities: _Floats, labels: _Labels) -> float:
    """The temperature that makes the labels likeliest (Guo et al. 2017), between `COOLEST` and `HOTTEST`.

    Above 1 the network was too sure, below 1 not sure enough. It changes no prediction.

    Args:
        log_probabilities: of examples that the network was not trained on and will not be judged by: valid.
        labels: of these.
    """
    found = minimize_scalar(
        lambda log_temperature: mean_nll(tempered(log_probabilities, float(np.exp(log_temperature))), labels),
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def tempered(log_probabilities: _Floats, temperature: float) -> _Floats:
    """The log-probabilities that the logits divided by `temperature` give, shape (N, C)."""
    scaled: _Floats = log_softmax(log_probabilities / temperature, axis=1)
    return scaled
