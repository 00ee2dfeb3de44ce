"""The epochs of a pack: batches, steps, curves, and the final evaluation.

R runs of one shape, trained side by side; N training examples, B of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from droplab.config import RunSettings
from droplab.errors import TrainingError
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer
from droplab.model.regularizers import Dropout
from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train.device import environment
from droplab.train.evaluate import Evaluation, evaluate
from droplab.train.examples import Examples, Part
from droplab.train.metrics import classification_metrics
from droplab.train.optimizers import SGD
from droplab.train.outcome import Curves, Inference, Metric, Outcome, Split, Trained, Way
from droplab.train.step import train_step

CURVE_POINTS = 40
"""About how often a training is evaluated for its curves."""

CURVE_EXAMPLES = 10_000
"""How many training examples, the first ones of the split, the curves are evaluated on."""


class Progress(NamedTuple):
    """How far one run of a pack is.

    Attributes:
        run: position in the pack.
        epoch: epochs done.
        loss: mean training loss of the last epoch, in nats.
        accuracy: on valid with dropout off, in [0, 1], as last evaluated; `None` before that.
    """

    run: int
    epoch: int
    loss: float
    accuracy: float | None


@dataclass
class _Pack:
    """The state of R runs while they are trained."""

    settings: Sequence[RunSettings]
    way: Way
    examples: Examples
    layers: list[Layer]
    state: list[Layer]
    dropout: Dropout
    optimizer: SGD
    train_losses: list[NDArray[np.float32]] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    evaluated: list[NDArray[np.float64]] = field(default_factory=list)  # each (train or valid, nll or accuracy, R)
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0


def train_pack(
    settings: Sequence[RunSettings], examples: Examples, way: Way, on_progress: Callable[[Progress], None]
) -> list[Trained | TrainingError]:
    """Train R networks of one shape and recipe; they may differ in seed, rates, learning rate and momentum.

    Args:
        settings: of each run.
        examples: what to train and evaluate on, on the device of `way`.
        way: device and precision.
        on_progress: called for each run after each epoch.

    Returns:
        For each run what it became, or the error that says why its loss is no number any more.
    """
    pack = _start(settings, examples, way)
    epochs = settings[0].epochs
    points = curve_points(epochs)
    for epoch in range(epochs):
        losses = _run_epoch(pack, epoch)
        if epoch + 1 in points:
            _add_point(pack, epoch + 1)
        _report(pack, epoch + 1, losses, on_progress)
        if not np.isfinite(losses).any():
            break
    return _finish(pack)


def curve_points(epochs: int) -> list[int]:
    """The epochs (1 … `epochs`) after which curves are evaluated: every one, or about `CURVE_POINTS` evenly spread.

    >>> curve_points(3), len(curve_points(400)), curve_points(400)[-1]
    ([1, 2, 3], 40, 400)
    """
    return sorted({round(x) for x in np.linspace(epochs / CURVE_POINTS, epochs, CURVE_POINTS)} - {0} | {epochs})


def _start(settings: Sequence[RunSettings], examples: Examples, way: Way) -> _Pack:
    device = torch.device(way.device)
    first = settings[0]
    seeds = [run.seed for run in settings]
    layers = initial_layers(examples.features, first.widths, examples.classes, seeds, device)
    optimizer = SGD.of([run.learning_rate for run in settings], [run.momentum for run in settings], device)
    dropout = Dropout.of(seeds, [run.dropout for run in settings])
    return _Pack(settings, way, examples, layers, optimizer.initial_state(layers), dropout, optimizer)


def _run_epoch(pack: _Pack, epoch: int) -> NDArray[np.float32]:
    """Every training example once, in the epoch's order; the mean loss of each run, shape (R,)."""
    started = time.perf_counter()
    train, precision = pack.examples.train, pack.way.precision
    device = train.rows.device
    order = permutation(
        key_tensor([stream_key(run.seed, Purpose.ORDER, epoch) for run in pack.settings], device), len(train)
    )
    dtype = torch.bfloat16 if precision == "bf16" and pack.settings[0].widths else torch.float32
    total = torch.zeros(len(pack.settings), device=device)
    for step, picked in enumerate(torch.split(order, pack.settings[0].batch_size, dim=1)):
        stored, labels = train.batch(picked)
        inputs = stored.to(dtype).mul_(train.scale)
        loss = train_step(
            pack.layers, pack.state, inputs, labels, pack.dropout, pack.optimizer, precision, (epoch, step)
        )
        total.add_(loss, alpha=picked.shape[1])
    losses: NDArray[np.float32] = (total / len(train)).cpu().numpy()
    pack.train_losses.append(losses)
    pack.train_seconds += time.perf_counter() - started
    return losses


def _add_point(pack: _Pack, epoch: int) -> None:
    """Evaluate a fixed part of train, and valid, with dropout off."""
    started = time.perf_counter()
    train = pack.examples.train.first(CURVE_EXAMPLES)
    said = [
        evaluate(pack.layers, train, "train", pack.way.precision),
        evaluate(pack.layers, pack.examples.valid, "valid", pack.way.precision),
    ]
    pack.points.append(epoch)
    pack.evaluated.append(torch.stack([torch.stack((e.nll, e.accuracy)) for e in said]).cpu().numpy())
    pack.evaluate_seconds += time.perf_counter() - started


def _report(pack: _Pack, epoch: int, losses: NDArray[np.float32], on_progress: Callable[[Progress], None]) -> None:
    for run, loss in enumerate(losses):
        accuracy = float(pack.evaluated[-1][1, 1, run]) if pack.evaluated else None
        on_progress(Progress(run, epoch, float(loss), accuracy))


def _finish(pack: _Pack) -> list[Trained | TrainingError]:
    """Evaluate every inference mode and take the pack apart."""
    losses = np.stack(pack.train_losses)
    diverged = ~np.isfinite(losses)
    if diverged.any(axis=0).all():
        return [_divergence(run, diverged[:, index]) for index, run in enumerate(pack.settings)]
    started = time.perf_counter()
    metrics, ledgers = _final_metrics(pack)
    pack.evaluate_seconds += time.perf_counter() - started
    runs = len(pack.settings)
    return [
        _divergence(run, diverged[:, index])
        if diverged[:, index].any()
        else Trained(
            Outcome(
                metrics=tuple(metrics[index]),
                curves=_curves(pack, index),
                ledger=ledgers[index],
                train_seconds=pack.train_seconds / runs,
                evaluate_seconds=pack.evaluate_seconds / runs,
                environment=environment(pack.way.device),
            ),
            _weights(pack.layers, index),
        )
        for index, run in enumerate(pack.settings)
    ]


def _divergence(run: RunSettings, diverged: NDArray[np.bool_]) -> TrainingError:
    epoch = int(diverged.argmax()) + 1
    return TrainingError(
        f"the loss must stay a finite number; with widths={list(run.widths)}, dropout={run.dropout:g}, seed={run.seed} "
        f"it did not in epoch {epoch}. Lower learning_rate={run.learning_rate:g} or momentum={run.momentum:g}."
    )


def _final_metrics(pack: _Pack) -> tuple[list[list[Metric]], list[dict[str, NDArray[np.integer]]]]:
    """All metrics and the ledger of each run. Without dropout the three inference modes are one."""
    metrics: list[list[Metric]] = [[] for _ in pack.settings]
    ledgers: list[dict[str, NDArray[np.integer]]] = [{} for _ in pack.settings]
    samples = pack.settings[0].mc_samples
    label_type = np.uint8 if pack.examples.classes <= 256 else np.uint16
    splits: tuple[Split, ...] = ("train", "valid", "test")
    modes: dict[Split, tuple[Inference, ...]] = {
        "train": ("off", "on"),
        "valid": ("off", "on"),
        "test": ("off", "on", "mc"),
    }
    for split in splits:
        part = pack.examples.part(split)
        off = evaluate(pack.layers, part, split, pack.way.precision)
        for inference in modes[split]:
            said = off
            if inference != "off" and pack.dropout.acts:
                said = evaluate(pack.layers, part, split, pack.way.precision, inference, pack.dropout, samples)
            for index in range(len(pack.settings)):
                metrics[index] += _split_metrics(said, index, inference, split, part, pack.examples.classes)
        if split != "train":
            for index, ledger in enumerate(ledgers):
                ledger[split] = off.predictions[index].cpu().numpy().astype(label_type)
    return metrics, ledgers


def _split_metrics(
    said: Evaluation, run: int, inference: Inference, split: Split, part: Part, classes: int
) -> list[Metric]:
    numbers = {"accuracy": float(said.accuracy[run]), "nll": float(said.nll[run])}
    if split == "test":
        labels = part.labels[part.rows].cpu().numpy()
        numbers |= classification_metrics(labels, said.predictions[run].cpu().numpy(), classes)
    return [Metric(inference, split, name, value) for name, value in numbers.items()]


def _curves(pack: _Pack, run: int) -> Curves:
    values = np.stack(pack.evaluated)[..., run].astype(np.float32)  # (points, parts, nll and accuracy)
    return Curves(
        train_loss=np.array([losses[run] for losses in pack.train_losses], dtype=np.float32),
        points=np.array(pack.points, dtype=np.int32),
        losses=np.ascontiguousarray(values[:, :, 0].T),
        accuracies=np.ascontiguousarray(values[:, :, 1].T),
    )


def _weights(layers: Sequence[Layer], run: int) -> dict[str, NDArray[np.float32]]:
    return {
        f"layers.{index}.{name}": part[run].cpu().numpy().copy()
        for index, layer in enumerate(layers)
        for name, part in zip(Layer._fields, layer, strict=True)
    }
