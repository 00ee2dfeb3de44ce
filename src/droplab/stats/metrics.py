"""Metrics: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    from sklearn.metrics import precision_recall_fscore_support  # a second to import, and a report needs none

    _, recalls, f1s, support = precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=0
    )
    occurs = support > 0
    named = occurs | (np.bincount(predictions, minlength=classes) > 0)
    return {
        "accuracy": float(np.mean(labels == predictions)),
        "balanced_accuracy": float(recalls[occurs].mean()),
        "macro_f1": float(f1s[named].mean()),
        **{f"accuracy_class_{k}": float(recalls[k]) for k in np.flatnonzero(occurs)},
    }
