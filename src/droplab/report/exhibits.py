"""Exhibits: what a report shows of the network that valid chose, beside numbers: what it confuses, and how it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.report import tables
from droplab.report.activations import MOST_EXAMPLES, activation_frames
from droplab.report.confusion import confusion_frame
from droplab.report.mistakes import Mistakes, find_mistakes
from droplab.report.pictures import image_png, signed_grid_png

if TYPE_CHECKING:
    from droplab.data.dataset import Dataset
    from droplab.study.plan import Plan, Run
    from droplab.study.records import RunRecord

_MOST_UNITS = 64

Weights = Callable[["RunRecord"], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Exhibits:
    """What is shown of one network.

    Attributes:
        network: its arm and seed, in words.
        confusion: of `confusion_frame` on test; `None` where the store has no test labels.
        mistakes: what it gets wrong; `None` likewise.
        images: PNG files of the mistakes shown, by example; empty where the data are no images or not at hand.
        first_layer: what the units of the first layer weigh most, a PNG file; `None` where the data are no images.
        in_colour: whether that picture has red, green and blue of each unit side by side.
        units: how many of how many units it shows.
        sparsity: the frames of `activation_frames` for this architecture; `None` without hidden layer or data.
        missing: what is not shown and why, in words; empty where all is.
    """

    network: str
    confusion: pd.DataFrame | None
    mistakes: Mistakes | None
    images: Mapping[int, bytes] = field(default_factory=dict)
    first_layer: bytes | None = None
    in_colour: bool = False
    units: tuple[int, int] = (0, 0)
    sparsity: tuple[pd.DataFrame, pd.DataFrame] | None = None
    missing: str = ""


def collect(
    plan: Plan,
    records: Mapping[str, RunRecord],
    best: Run,
    classes: tuple[str, ...],
    image_shape: tuple[int, ...] | None,
    weights: Weights,
    data: Dataset | None,
) -> Exhibits:
    """Collect what can be shown of `best`.

    Args:
        plan: the study's.
        records: the finished runs by content key, that of `best` among them.
        best: the network that valid chose.
        classes: the name of each class.
        image_shape: (rows, columns) where the features are a grey image, (rows, columns, 3) where they are in colour.
        weights: gives those of a run.
        data: the study's, where it is at hand.
    """
    arms = " = ".join(arm.name for arm in best.arms)
    record = records[best.key]
    mistakes = find_mistakes(plan, records, best)
    confusion = None
    if record.test_labels is not None:
        confusion = confusion_frame(record.test_labels, record.outcome.ledger["test"], classes)
    images, sparsity, missing = {}, None, ""
    if data is None:
        missing = "The data are not at hand, so the images that it gets wrong and the activations are not shown."
    else:
        if image_shape is not None and mistakes is not None:
            images = {
                one.example: image_png(np.asarray(data.test_x[one.example]).reshape(image_shape))
                for one in mistakes.shown
            }
        if best.settings.widths:
            sparsity = _activations(plan, records, best, weights, data)
    first = weights(record)["layers.0.weight"]
    strongest = np.argsort(-np.linalg.norm(first, axis=1), kind="stable")[:_MOST_UNITS]
    return Exhibits(
        network=f"{arms}, seed {best.settings.seed}",
        confusion=confusion,
        mistakes=mistakes,
        images=images,
        first_layer=None if image_shape is None else signed_grid_png(first[strongest], image_shape),
        in_colour=image_shape is not None and len(image_shape) == 3,
        units=(len(strongest), len(first)),
        sparsity=sparsity,
        missing=missing,
    )


def _activations(
    plan: Plan, records: Mapping[str, RunRecord], best: Run, weights: Weights, data: Dataset
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of every finished network that stands in the same place of the study."""
    place = best.arms[0].place
    features = np.asarray(data.test_x[:MOST_EXAMPLES]).astype(np.float32) * np.float32(data.scale)
    networks = (
        (tables.trained_words(arm, plan), run.settings, weights(records[run.key]))
        for arm in sorted((arm for arm in plan.arms if arm.place == place), key=lambda arm: arm.dropout)
        for run in plan.runs
        if arm in run.arms and run.key in records
    )
    return activation_frames(networks, features)
