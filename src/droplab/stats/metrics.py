"""Metrics: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def number_metrics(truth: NDArray[np.floating], predictions: NDArray[np.floating]) -> dict[str, float]:
    """How far predicted numbers are off.

    Args:
        truth: shape (examples,), in any unit.
        predictions: shape (examples,), likewise.

    Returns:
        `rmse` and `mae`, in that unit; `r2`, 1 − the squared error as a share of that of the mean of `truth`, NaN where
        these are all one number.

    >>> number_metrics(np.array([0.0, 2.0]), np.array([0.0, 1.0]))["r2"]
    0.5
    """
    residuals = predictions.astype(np.float64) - truth
    square, of_mean = float(np.mean(residuals**2)), float(np.var(truth))
    r2 = 1 - square / of_mean if of_mean else float("nan")
    return {"rmse": square**0.5, "mae": float(np.mean(np.abs(residuals))), "r2": r2}


def classification_metrics(labels: NDArray[np.int64], predictions: NDArray[np.int64], classes: int) -> dict[str, float]:
    """Accuracy, and what it hides about single classes.

    Args:
        labels: true classes, shape (examples,), 0 … classes − 1.
        predictions: predicted classes, shape (examples,).
        classes: how many there are.

    Returns:
        `accuracy`; `balanced_accuracy`, the mean recall of the classes that occur in `labels`; `macro_f1`, the mean F1
        of the classes that are true or predicted anywhere, as in scikit-learn; `accuracy_class_K`, the recall of each
        class that occurs. All in [0, 1].
    """
    # Counted here: scikit-learn takes a second of every worker to import, and some milliseconds a network.
    right, true, predicted = (
        np.bincount(each, minlength=classes) for each in (labels[labels == predictions], labels, predictions)
    )
    occurs, named = true > 0, true + predicted > 0
    recalls, f1s = right / np.maximum(true, 1), 2 * right / np.maximum(true + predicted, 1)
    return {
        "accuracy": float(np.mean(labels == predictions)),
        "balanced_accuracy": float(recalls[occurs].mean()),
        "macro_f1": float(f1s[named].mean()),
        **{f"accuracy_class_{k}": float(recalls[k]) for k in np.flatnonzero(occurs)},
    }
