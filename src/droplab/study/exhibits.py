"""Exhibits: what can be shown of the network that valid chose, beside numbers: what it confuses, and how it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array

from droplab.config import RunSettings
from droplab.model.network import Network, layers_of
from droplab.study.findings import Findings
from droplab.study.mistakes import Mistakes, find_mistakes
from droplab.study.names import trained_words

if TYPE_CHECKING:
    from droplab.data.dataset import Dataset
    from droplab.model.file import ModelInfo
    from droplab.stats.measure import Measure
    from droplab.study.records import RunRecord

_MOST_UNITS = 64

MOST_EXAMPLES = 2000
"""Test examples, the first ones, over which activations are counted."""

_BINS = 40

Weights = Callable[["RunRecord"], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)
class Exhibits:
    """What is shown of one network, and of those beside it.

    Attributes:
        network: its arm and seed, in words.
        confusion: of `confusion_frame` on test; `None` where the store has no test labels, or targets are numbers.
        mistakes: what it gets wrong; `None` likewise.
        image_shape: (rows, columns) where the features are a grey image, (rows, columns, 3) where they are in colour;
            `None` for other data.
        images: the mistakes shown, by example, of that shape; empty where the data are no images or not at hand.
        first_layers: incoming weights of the first layer's strongest units, each of shape (units, features), of the
            control and of the best one beside it, by what they are trained with; empty where the data are no images.
        units: how many of how many units each of them shows.
        predicted: where targets are numbers, those of test and what the network says: columns `true, predicted`; else
            `None`.
        sparsity: the frames of `activation_frames` for the same networks; `None` without hidden layer or data.
        missing: what is not shown and why, in words; empty where all is.
    """

    network: str
    confusion: pd.DataFrame | None
    mistakes: Mistakes | None
    image_shape: tuple[int, ...] | None = None
    images: Mapping[int, NDArray[np.generic]] = field(default_factory=dict)
    first_layers: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    units: tuple[int, int] = (0, 0)
    predicted: pd.DataFrame | None = None
    sparsity: tuple[pd.DataFrame, pd.DataFrame] | None = None
    missing: str = ""


def collect_exhibits(findings: Findings, info: ModelInfo, weights: Weights, data: Dataset | None) -> Exhibits:
    """Collect what can be shown of the network that valid chose.

    Args:
        findings: the study's, with at least one finished run.
        info: what that network's file says beside its weights.
        weights: gives those of a run.
        data: the study's, where it is at hand.
    """
    best = findings.best_run
    record = findings.records[best.key]
    predicted = None
    if record.test_labels is not None and not info.classes:
        predicted = pd.DataFrame({"true": record.test_labels, "predicted": record.outcome.ledger["test"]})
    mistakes = find_mistakes(findings.plan, findings.records, best)
    confusion = None
    if record.test_labels is not None and info.classes:
        confusion = confusion_frame(record.test_labels, record.outcome.ledger["test"], info.classes)
    beside = _beside(findings)
    images, sparsity, missing = {}, None, ""
    if data is None:
        missing = "The data are not at hand, so the images that it gets wrong and the activations are not shown."
    else:
        if info.image_shape is not None and mistakes is not None:
            images = {
                one.example: np.asarray(data.test_x[one.example]).reshape(info.image_shape) for one in mistakes.shown
            }
        if best.settings.widths:
            features = np.asarray(data.test_x[:MOST_EXAMPLES]).astype(np.float32) * np.float32(data.scale)
            networks = ((name, run.settings, weights(run)) for name, runs in beside.items() for run in runs)
            sparsity = activation_frames(networks, features)
    first_layers = {}
    if info.image_shape is not None:
        two = {
            name: record if record in runs else runs[0] for name, runs in _two(beside, record, findings.measure).items()
        }
        first_layers = {name: _strongest(weights(run)["layers.0.weight"]) for name, run in two.items()}
    units = best.settings.widths[0] if best.settings.widths else info.outputs
    return Exhibits(
        network=f"{' = '.join(arm.name for arm in best.arms)}, seed {best.settings.seed}",
        confusion=confusion,
        mistakes=mistakes,
        image_shape=info.image_shape,
        images=images,
        first_layers=first_layers,
        units=(min(units, _MOST_UNITS), units),
        predicted=predicted,
        sparsity=sparsity,
        missing=missing,
    )


def _beside(findings: Findings) -> dict[str, list[RunRecord]]:
    """The finished networks in the place of the best one, seed by seed, by what they are trained with, by rate."""
    plan, place = findings.plan, findings.best_run.arms[0].place
    arms = sorted((arm for arm in plan.distinct if arm.place == place), key=lambda arm: arm.rate)
    found = {
        trained_words(arm, plan): [
            findings.records[run.key] for run in plan.runs if arm in run.arms and run.key in findings.records
        ]
        for arm in arms
    }
    return {name: runs for name, runs in found.items() if runs}


def _two(beside: Mapping[str, list[RunRecord]], best: RunRecord, measure: Measure) -> dict[str, list[RunRecord]]:
    """Of what is trained in one place the control, which is first, and the best, or of the others the best on valid."""
    control, *others = beside
    if not others:
        return {control: beside[control]}
    merits = {name: np.mean([run.merit(measure) for run in beside[name]]) for name in others}
    chosen = max(others, key=lambda name: (best in beside[name], merits[name]))
    return {name: beside[name] for name in (control, chosen)}


def _strongest(first: NDArray[np.float32]) -> NDArray[np.float32]:
    """The incoming weights of the units with the largest of them."""
    return first[np.argsort(-np.linalg.norm(first, axis=1), kind="stable")[:_MOST_UNITS]]


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
    ones = np.ones(len(labels), np.int64)
    counts = coo_array((ones, (labels, predictions)), shape=(len(classes), len(classes))).toarray()
    frame = pd.DataFrame(
        {
            "true": np.repeat(np.asarray(classes, dtype=object), len(classes)),
            "predicted": np.tile(np.asarray(classes, dtype=object), len(classes)),
            "examples": counts.ravel(),
        }
    )
    totals = np.repeat(counts.sum(axis=1), len(classes))
    return frame.assign(share=np.divide(frame["examples"], totals, out=np.full(len(frame), np.nan), where=totals > 0))


def activation_frames(
    networks: Iterable[tuple[str, RunSettings, Mapping[str, NDArray[np.float32]]]], features: NDArray[np.float32]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many hidden units are active, and how strongly, with dropout off.

    Args:
        networks: what it is trained with, settings and weights (`layers.K.weight`, `layers.K.bias`) of each.
        features: as networks see them, shape (examples, features).

    Returns:
        A frame with `trained, seed, layer, active, dead, mean`: of hidden layer 1, 2, …, the share of activations above
        0, the share of units that are 0 for all examples, and the mean activation. And one with `trained, low, high,
        share`: the activations of the first hidden layer, all seeds together, in bins of one width for all networks.
    """
    rows = []
    first: dict[str, list[NDArray[np.float32]]] = {}
    inputs = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))[None]
    for trained, settings, weights in networks:
        with torch.inference_mode():
            layers = layers_of(weights)
            network = Network.of([settings], inputs.shape[2], layers[-1].bias.shape[1], "fp32")
            seen, _ = network.after_first(layers, network.first(layers, inputs))
        for layer, hidden in enumerate(seen, start=1):
            units = hidden[0].numpy()
            active = units > 0
            rows.append((trained, settings.seed, layer, active.mean(), (~active.any(axis=0)).mean(), units.mean()))
        first.setdefault(trained, []).append(seen[0][0].numpy())
    top = max(float(np.quantile(np.stack(units), 0.9999)) for units in first.values())
    edges = np.linspace(0, top or 1.0, _BINS + 1)
    bins = [
        (trained, low, high, share)
        for trained, units in first.items()
        for low, high, share in zip(
            edges, edges[1:], np.histogram(np.stack(units), edges)[0] / np.stack(units).size, strict=False
        )
    ]
    return (
        pd.DataFrame(rows, columns=["trained", "seed", "layer", "active", "dead", "mean"]),
        pd.DataFrame(bins, columns=["trained", "low", "high", "share"]),
    )
