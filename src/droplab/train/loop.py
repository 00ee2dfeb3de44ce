"""The loop that every training is: epochs of steps, and after each what its policy says.

R networks; B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from droplab.config import RunSettings
from droplab.errors import DataError, TrainingError
from droplab.model.network import Network
from droplab.train.checkpoint import Checkpoint
from droplab.train.examples import Examples
from droplab.train.graphs import graphed
from droplab.train.networks import Networks
from droplab.train.optimizers import Optimizer
from droplab.train.outcome import CheckpointCost, Trained, Way
from droplab.train.program import Program
from droplab.train.replay import replayed
from droplab.train.results import finish
from droplab.train.state import Progress, State
from droplab.train.step import Inputs, Step


class StoppedError(Exception):
    """The user asked to stop; raised after a step, when what is there has been kept."""


class Policy(Protocol):
    """What one training is beside another: what its steps are given, how it is watched, when it stops.

    Attributes:
        epochs: after how many it ends at the latest.
        examples: of an epoch.
    """

    epochs: int
    examples: int

    def inputs(self, networks: Networks) -> Iterator[Inputs]:
        """The steps that are left of an epoch, for the networks under training."""

    def after_epoch(self, networks: Networks, losses: NDArray[np.float64]) -> Collection[int]:
        """Told of each epoch's losses and aims, shape (R, 2), of the networks under training; gives which rows stop."""


def train(networks: Networks, policy: Policy, step: Step, keep: Callable[[], None] = lambda: None) -> None:
    """Train networks, each until its policy stops it.

    Args:
        networks: changed in place; one that has stopped costs nothing more.
        policy: of the training.
        step: an update.
        keep: called after every step.
    """
    while networks.active and networks.epoch < policy.epochs:
        losses = run_epoch(networks, policy, step, keep)
        for row in sorted(policy.after_epoch(networks.live, losses), reverse=True):
            networks.stop(row)


def run_epoch(
    networks: Networks, policy: Policy, step: Step, keep: Callable[[], None] = lambda: None
) -> NDArray[np.float64]:
    """What is left of an epoch, for the networks under training; the mean loss and aim of each, shape (R, 2)."""
    running = networks.live
    for inputs in policy.inputs(running):
        running.total.add_(step(running, inputs).T, alpha=inputs.targets.shape[1])
        networks.step += 1
        networks.updates += 1
        keep()
    losses: NDArray[np.float64] = (running.total / policy.examples).cpu().numpy()
    running.total.zero_()
    networks.epoch, networks.step = networks.epoch + 1, 0
    return losses


def train_pack(
    settings: Sequence[RunSettings],
    examples: Examples,
    way: Way,
    on_progress: Callable[[Progress], None],
    checkpoint: Checkpoint | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Trained | TrainingError]:
    """Train R runs of a study that share a program: they may differ in seed, rates, strengths and schedules.

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
    device, first = torch.device(way.device), settings[0]
    if first.train_examples:
        examples = examples.fewer(first.train_examples, first.split_seed)
    groups = [settings] if way.stacked else [[run] for run in settings]
    states = [State(group, examples, device, way.precision) for group in groups]
    if checkpoint is not None:
        checkpoint.read(states)
    for number, state in enumerate(states):
        state.begin(on_progress, number)  # where there are several, each is of one run
        train(state.networks, state, step_of(state, examples, way), _keeper(state, states, checkpoint, stopping))
        state.end()
    cost = checkpoint.cost if checkpoint else CheckpointCost()
    return [result for state in states for result in finish(state, examples, way, cost)]


def _keeper(
    state: State, states: Sequence[State], checkpoint: Checkpoint | None, stopping: Callable[[], bool]
) -> Callable[[], None]:
    """What is done after every step: a checkpoint where one is due, and the end where it is asked for."""

    def keep() -> None:
        if checkpoint is not None:
            with state.aside():
                checkpoint.offer(states)
        if stopping():
            if checkpoint is not None:
                with suppress(DataError, OSError):  # a full disk: the one before stays
                    checkpoint.write(states)
            raise StoppedError

    return keep


def step_of(state: State, examples: Examples, way: Way) -> Step:
    """The step as `way` has it: as a CUDA graph, compiled, or its operations one by one."""
    if way.device == "cuda":
        return graphed()
    return program_of(state.settings, examples, way).load() if way.compiled else replayed()


def program_of(settings: Sequence[RunSettings], examples: Examples, way: Way) -> Program:
    """The compiled step of runs that share one, stacked if they are several."""
    network = Network.of(settings, examples.features, examples.classes, way.precision)
    features = str(examples.train.features.dtype).removeprefix("torch.")
    return Program(network, Optimizer.of(settings), features, len(settings) > 1, way.threads)
