"""What trained runs leave behind: the final evaluation of a state, taken apart run by run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from droplab.config import RunSettings, strength_words
from droplab.errors import TrainingError
from droplab.model.network import Layer, is_noisy
from droplab.stats.metrics import classification_metrics, number_metrics
from droplab.train.device import environment
from droplab.train.evaluate import Evaluation, evaluate
from droplab.train.examples import Examples
from droplab.train.outcome import CheckpointCost, Curves, Inference, Metric, Outcome, Split, Trained, Way
from droplab.train.state import State
from droplab.train.uncertainty import Beliefs, judge

MODES: dict[Split, tuple[Inference, ...]] = {
    "train": ("off", "on"),
    "valid": ("off", "on"),
    "test": ("off", "on", "mc"),
}
"""The inference modes in which each split is evaluated at the end."""

KEPT_PROBABILITIES = 2_000_000
"""Most probabilities of a run and mode, those of the first examples, that calibration is judged by."""

TRAIN_EXAMPLES = 100_000
"""Most training examples, the first ones of the split, that the final evaluation takes."""


def finish(state: State, examples: Examples, way: Way, checkpoints: CheckpointCost) -> list[Trained | TrainingError]:
    """Evaluate trained runs in every inference mode.

    Returns:
        For each run what it became, or the error that says why its loss is no number any more.
    """
    losses, chosen = np.stack(state.losses), state.take_best()
    started = time.perf_counter()
    layers, strengths = state.final(state.networks)
    diverged = np.isinf(losses).max(axis=0)
    final = [] if diverged.all() else _final_evaluation(state, layers, strengths, examples)
    state.evaluate_seconds += time.perf_counter() - started
    for index, one in enumerate(final):  # the last update, and valid, may show what no epoch's loss did
        diverged[index] |= chosen[index] == 0 or not all(
            np.isfinite(m.value) for m in one.metrics if m.name in ("nll", "rmse")
        )
    runs = len(state.settings)
    return [
        _divergence(run, losses[:, index])
        if diverged[index]
        else Trained(
            Outcome(
                metrics=tuple(final[index].metrics),
                curves=_curves(state, losses, index),
                ledger=final[index].ledger,
                reliability=final[index].reliability,
                train_seconds=state.train_seconds / runs,
                evaluate_seconds=state.evaluate_seconds / runs,
                environment=environment(way.device),
                best_epoch=chosen[index],
                checkpoints=checkpoints,
            ),
            _weights(layers, index),
        )
        for index, run in enumerate(state.settings)
    ]


def _divergence(run: RunSettings, losses: NDArray[np.float32]) -> TrainingError:
    epochs = np.isinf(losses)
    epoch = int(epochs.argmax()) + 1 if epochs.any() else int((~np.isnan(losses)).sum())
    return TrainingError(
        f"the loss must stay a finite number; with widths={list(run.widths)}, dropout={strength_words(run.dropout)}, "
        f"seed={run.seed} "
        f"it did not in epoch {epoch}. Lower learning_rate={run.learning_rate:g} or momentum={run.momentum:g}."
    )


class _Final(NamedTuple):
    """What the final evaluation says of one run."""

    metrics: list[Metric]
    ledger: dict[str, NDArray[Any]]
    reliability: NDArray[np.float32] | None


def _final_evaluation(state: State, layers: Sequence[Layer], strengths: Tensor, examples: Examples) -> list[_Final]:
    """Evaluate each run on every split."""
    metrics: list[list[Metric]] = [[] for _ in state.settings]
    ledgers: list[dict[str, NDArray[Any]]] = [{} for _ in state.settings]
    beliefs: dict[Split, Beliefs] = {}
    samples, network, seeds = state.settings[0].mc_samples, state.networks.network, state.networks.seeds
    of_numbers = state.unit is not None
    kind = np.float32 if of_numbers else np.uint8 if examples.classes <= 256 else np.uint16
    for split, modes in MODES.items():
        part = examples.part(split).first(TRAIN_EXAMPLES) if split == "train" else examples.part(split)
        if not len(part):  # nothing was held out
            continue
        keep = 0 if split == "train" else KEPT_PROBABILITIES // examples.classes
        said = evaluate(network, layers, part, strengths, modes, seeds, split, samples, keep, unit=state.unit)
        labels = part.labels[part.rows].cpu().numpy()
        for inference in modes:
            for run, numbers in enumerate(_numbers(said[inference], split, labels, examples.classes)):
                metrics[run] += [Metric(inference, split, name, value) for name, value in numbers.items()]
        if split != "train":
            if not of_numbers:
                beliefs[split] = Beliefs(said, labels)
            predictions = said["off"].predictions.cpu().numpy().astype(kind)
            for run, ledger in enumerate(ledgers):
                ledger[split] = predictions[run]
    if of_numbers:
        return [_Final(said, ledger, None) for said, ledger in zip(metrics, ledgers, strict=True)]
    masked = [is_noisy(run) for run in state.settings]
    judged = [judge(place, acts, beliefs.get("valid"), beliefs["test"]) for place, acts in enumerate(masked)]
    return [
        _Final([*said, *more], ledger, curves)
        for said, ledger, (more, curves) in zip(metrics, ledgers, judged, strict=True)
    ]


def _numbers(said: Evaluation, split: Split, labels: NDArray[Any], classes: int) -> list[dict[str, float]]:
    """The metrics of each run by name."""
    if labels.dtype.kind == "f":
        return [number_metrics(labels, predicted) for predicted in said.predictions.cpu().numpy()]
    named = [
        {"accuracy": accuracy, "nll": nll}
        for accuracy, nll in zip(said.score.tolist(), said.loss.tolist(), strict=True)
    ]
    if split != "train":
        predictions = said.predictions.cpu().numpy()
        for numbers, predicted, error in zip(named, predictions, said.loss_error.tolist(), strict=True):
            by_class = classification_metrics(labels, predicted, classes)
            if split == "test":
                numbers |= {"nll_error": error, **by_class}
            else:  # what may be chosen by
                numbers |= {name: by_class[name] for name in ("balanced_accuracy", "macro_f1")}
    return named


def _curves(state: State, losses: NDArray[np.float32], run: int) -> Curves:
    values = np.stack(state.evaluated)[..., run].astype(np.float32)  # (points, parts, nll and accuracy)
    seen = ~np.isnan(values[:, 0, 0])
    return Curves(
        train_loss=losses[~np.isnan(losses[:, run]), run],
        points=np.array(state.points, dtype=np.int32)[seen],
        losses=np.ascontiguousarray(values[seen, :, 0].T),
        accuracies=np.ascontiguousarray(values[seen, :, 1].T),
    )


def _weights(layers: Sequence[Layer], run: int) -> dict[str, NDArray[np.float32]]:
    return {
        f"layers.{index}.{name}": part[run].cpu().numpy().copy()
        for index, layer in enumerate(layers)
        for name, part in zip(Layer._fields, layer, strict=True)
    }
