"""Confusion: which classes a network takes for which, as a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix


def confusion_frame(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: Sequence[str]
) -> pd.DataFrame:
    """Count the examples of each true and each predicted class.

    Args:
        labels: true classes 0 … len(classes) − 1, shape (examples,).
        predictions: predicted classes, shape (examples,).
        classes: their names.

    Returns:
        Columns `true, predicted, examples, share`: every pair of names, and the share of the true class's examples
        (NaN where there is none).
    """
    counts = confusion_matrix(labels, predictions, labels=np.arange(len(classes)))
    frame = pd.DataFrame(
        {
            "true": np.repeat(np.asarray(classes, dtype=object), len(classes)),
            "predicted": np.tile(np.asarray(classes, dtype=object), len(classes)),
            "examples": counts.ravel(),
        }
    )
    totals = np.repeat(counts.sum(axis=1), len(classes))
    return frame.assign(share=np.divide(frame["examples"], totals, out=np.full(len(frame), np.nan), where=totals > 0))
