"""The epochs of a pack: batches, steps, curves, checkpoints.

R runs of one shape; N training examples, B of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch

from droplab.config import RunSettings
from droplab.errors import DataError, TrainingError
from droplab.model.regularizers import Dropout
from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train.checkpoint import Checkpoint
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples
from droplab.train.general_epoch import run_general_epoch, stops
from droplab.train.graphs import graphed
from droplab.train.outcome import CheckpointCost, Precision, Trained, Way
from droplab.train.program import Program
from droplab.train.results import finish
from droplab.train.state import State, optimizer_of
from droplab.train.step import Step, StepInputs, plain_step

CURVE_POINTS = 40
"""Most points at which a training is evaluated for its curves."""

CURVE_SHARE = 0.04
"""About the largest share of a training's products that its curves may take."""

CURVE_EXAMPLES = 5_000
"""How many training examples, the first ones of the split, the curves are evaluated on."""


class Progress(NamedTuple):
    """How far one run of a pack is.

    Attributes:
        run: position in the pack.
        epoch: epochs done.
        loss: mean training loss of the last epoch, in nats.
        accuracy: on valid with dropout off, in [0, 1], as last evaluated; `None` before that and
            without valid.
    """

    run: int
    epoch: int
    loss: float
    accuracy: float | None


class StoppedError(Exception):
    """The user asked to stop; raised after a step, when what is there has been kept."""


def train_pack(
    settings: Sequence[RunSettings],
    examples: Examples,
    way: Way,
    on_progress: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Trained | TrainingError]:
    """Train R networks of one shape and recipe; they may differ in seed, rates, learning rate and momentum.

    Args:
        settings: of each run; all have the same number of training examples.
        examples: what to train and evaluate on, on the device of `way`.
        way: device and precision; whether the step is compiled; whether the runs share products, or each has its own
            and so the bits that it has alone.
        on_progress: called for each run after each epoch.
        checkpoint: where the pack goes on from, and where it is kept meanwhile.
        stopping: asked after each step.

    Returns:
        For each run what it became, or the error that says why its loss is no number any more.

    Raises:
        StoppedError: once `stopping` is true.
    """
    device, first_run = torch.device(way.device), settings[0]
    if first_run.train_examples:
        examples = examples.fewer(first_run.train_examples, first_run.split_seed)
    groups = [settings] if way.stacked and settings[0].is_plain else [[run] for run in settings]
    states = [State.initial(group, examples, device) for group in groups]
    if checkpoint is not None:
        checkpoint.read(states)

    def keep() -> None:
        if checkpoint is not None:
            checkpoint.offer(states)
        if stopping():
            if checkpoint is not None:
                with suppress(DataError, OSError):  # a full disk: the one before stays
                    checkpoint.write(states)
            raise StoppedError

    steps = [_step_of(state, examples, way) for state in states]
    points = curve_points(settings[0].epochs, _points_worth(examples))
    for epoch in range(settings[0].epochs):
        first = 0
        for state, step in zip(states, steps, strict=True):
            if state.epoch == epoch and _alive(state):
                if state.extras is None:
                    _run_epoch(state, examples, step, keep)
                else:
                    run_general_epoch(state, examples, way.precision, keep)
                if state.epoch in points or (state.extras is not None and stops(state)):
                    _add_point(state, examples, way.precision)
                _report(state, first, len(examples.valid) > 0, on_progress)
            first += len(state.settings)
    cost = checkpoint.cost if checkpoint else CheckpointCost()
    return [result for state in states for result in finish(state, examples, way, cost)]


def curve_points(epochs: int, worth: float) -> list[int]:
    """The epochs (1 … `epochs`) after which curves are evaluated, evenly spread, the last among them.

    Args:
        epochs: of the training.
        worth: what a point costs, in epochs of training; it decides how many there are: 5 to `CURVE_POINTS`.

    >>> curve_points(3, 0.1), curve_points(25, 0.1), len(curve_points(400, 0.1))
    ([1, 2, 3], [2, 5, 8, 10, 12, 15, 18, 20, 22, 25], 40)
    """
    count = min(max(int(CURVE_SHARE * epochs / worth), 5), CURVE_POINTS, epochs)
    return sorted({round(x) for x in np.linspace(epochs / count, epochs, count)})


def _points_worth(examples: Examples) -> float:
    """What a point of the curves costs, in epochs of training: an example costs 2/5 of what it does in a step."""
    evaluated = len(examples.valid) + min(len(examples.train), CURVE_EXAMPLES)
    return 0.4 * evaluated / len(examples.train)


def program_of(settings: Sequence[RunSettings], examples: Examples, precision: Precision) -> Program:
    """The compiled step that these runs take, stacked if they are several."""
    rates = Dropout.of([run.seed for run in settings], [max(run.rates, default=0.0) for run in settings])
    return Program(
        sizes=(examples.features, *settings[0].widths, examples.classes),
        features="uint8" if examples.train.features.dtype == torch.uint8 else "float32",
        precision=precision,
        stacked=len(settings) > 1,
        mask_bytes=rates.mask_bytes,
        momentum=any(run.momentum for run in settings),
    )


def _step_of(state: State, examples: Examples, way: Way) -> Step:
    if state.extras is not None:
        return plain_step(way.precision)
    if way.device == "cuda":
        return graphed(plain_step(way.precision))
    return program_of(state.settings, examples, way.precision).load() if way.compiled else plain_step(way.precision)


def _run_epoch(state: State, examples: Examples, step: Step, keep: Callable[[], None]) -> None:
    """Every training example once, in the epoch's order; begun where the state is."""
    clock = time.perf_counter()
    train, first = examples.train, state.settings[0]
    device = train.rows.device
    optimizer = optimizer_of(state.settings, device)
    dropping = state.dropout.training(len(first.widths), state.epoch, device)
    scale = torch.tensor(train.scale, dtype=torch.float32, device=device)
    keys = [stream_key(run.seed, Purpose.ORDER, state.epoch) for run in state.settings]
    batches = torch.split(permutation(key_tensor(keys, device), len(train)), first.batch_size, dim=1)
    numbers = torch.arange(len(batches), device=device)
    for picked in batches[state.step :]:
        inputs = StepInputs(*train.batch(picked), scale, numbers[state.step], optimizer, dropping)
        loss = step(state.layers, state.velocities, inputs)
        state.total.add_(loss, alpha=picked.shape[1])
        state.step += 1
        state.train_seconds += time.perf_counter() - clock
        keep()
        clock = time.perf_counter()
    state.losses.append((state.total / len(train)).cpu().numpy())
    state.total.zero_()
    state.epoch, state.step = state.epoch + 1, 0
    state.train_seconds += time.perf_counter() - clock


def _alive(state: State) -> bool:
    """Whether any run's loss is still a number, and early stopping has not ended it."""
    if state.extras is not None and stops(state):
        return False
    return not state.losses or bool(np.isfinite(state.losses[-1]).any())


def _add_point(state: State, examples: Examples, precision: Precision) -> None:
    """Evaluate a fixed part of train, and valid, with dropout off."""
    started = time.perf_counter()
    network, general = state.network, state.general(precision)
    said = [
        evaluate(network, examples.train.first(CURVE_EXAMPLES), "train", precision, general=general)["off"],
        evaluate(network, examples.valid, "valid", precision, general=general)["off"],
    ]
    state.points.append(state.epoch)
    state.evaluated.append(torch.stack([torch.stack((e.nll, e.accuracy)) for e in said]).cpu().numpy())
    state.evaluate_seconds += time.perf_counter() - started


def _report(state: State, first: int, held_out: bool, on_progress: Callable[[Progress], None]) -> None:
    """Tell how far each run is; `first` is the position of the first in the pack."""
    for run, loss in enumerate(state.losses[-1]):
        accuracy = float(state.evaluated[-1][1, 1, run]) if state.evaluated and held_out else None
        on_progress(Progress(first + run, state.epoch, float(loss), accuracy))
