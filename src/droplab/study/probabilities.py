"""Probabilities: what a stored network says of every example of valid and test, computed anew from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.data.dataset import Dataset
from droplab.model.network import Network, layers_of, used_by
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples
from droplab.train.outcome import Split

if TYPE_CHECKING:
    from droplab.study.records import RunRecord

_SPLITS: tuple[Split, ...] = ("valid", "test")


def probability_frame(
    record: RunRecord, weights: Mapping[str, NDArray[np.float32]], dataset: Dataset, examples: Examples
) -> pd.DataFrame:
    """The probability of each class for each example of valid and test, dropout off.

    Args:
        record: of the run.
        weights: its `layers.K.weight` and `layers.K.bias`.
        dataset: what it was trained on.
        examples: that, split as the run's settings say.

    Returns:
        Columns `split, example, label, predicted` and then `p_CLASS` for each class, `float32`. `example` is the
        row of the data set's train examples for `valid` and of its test examples for `test`; the label and the
        predicted class are names.
    """
    classes = np.asarray(dataset.classes, dtype=object)
    network = Network.of([record.settings], examples.features, examples.classes, record.way.precision)
    strengths = network.strengths([used_by(record.settings)]).float()
    parts = []
    for split in _SPLITS:
        part = examples.part(split)
        said = evaluate(network, layers_of(weights), part, strengths, keep=len(part))["off"]
        if not len(part):
            continue
        head = {
            "split": split,
            "example": part.rows.numpy(),
            "label": classes[part.labels[part.rows].numpy()],
            "predicted": classes[said.predictions[0].numpy()],
        }
        values = pd.DataFrame(said.kept[0][0].exp().numpy(), columns=[f"p_{name}" for name in classes])
        parts.append(pd.concat([pd.DataFrame(head), values], axis=1))
    return pd.concat(parts, ignore_index=True)
