"""droplab itself: all that the benchmarks know of its inside but for its store, which `scaling` fills.

A study of these networks plans the packs, `train_pack` trains them: on a CPU in as many fresh processes of one thread
as a study has workers. Only the training steps count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.processes import Wait, in_processes
from benchmarks.turns import Sample, total
from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.data.files import load_dataset
from droplab.errors import TrainingError
from droplab.study.backends import Here
from droplab.study.packs import make_packs, pack_program, with_way
from droplab.study.plan import plan_run, plan_way
from droplab.train.device import device_name, environment
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Way

LONG = 10**6
"""Epochs for which compiling pays: a case stands for a study of its shapes, not for one of its few epochs."""

Pack = tuple[tuple[RunSettings, ...], Way]
"""Networks that one worker trains together, and how."""


class Table(NamedTuple):
    """The training part as other programs take it.

    Attributes:
        features: scaled, shape (examples, features), `float32`.
        labels: shape (examples,), `int64`.
        classes: how many there are.
    """

    features: Tensor
    labels: Tensor
    classes: int


@cache
def dataset_of(data: str) -> Dataset:
    """A data set by its name or file, fetched where it is missing."""
    return load_dataset(data, notify=lambda text: print(text, file=sys.stderr))


@cache
def examples_of(data: str) -> Examples:
    """The same, split as a study splits it."""
    recipe = RunSettings()
    return Examples.of(dataset_of(data), recipe.valid_fraction, recipe.split_seed)


def table_of(data: str) -> Table:
    """What is trained on."""
    examples = examples_of(data)
    train = examples.train
    return Table(train.features[train.rows].float() * train.scale, train.labels[train.rows], examples.classes)


def way_of(data: str, device: str, precision: str) -> Way:
    """Device and precision, `auto` as a study has it.

    Raises:
        DeviceError: if what is asked for is not there.
    """
    return plan_way(dataset_of(data), device, precision)[0]


def machine() -> dict[str, str]:
    """Where everything is measured."""
    about = environment("cpu")
    devices = " and ".join(device_name(one) for one in ("cpu", "cuda")[: 1 + torch.cuda.is_available()])
    return {"devices": devices} | {
        name: str(about[name]) for name in ("droplab", "torch", "python", "system", "threads")
    }


def workers_of(way: Way, networks: int) -> int:
    """How many workers train so many packs: one on a GPU."""
    return Here().workers(way, None, networks)


def packs_of(networks: Sequence[RunSettings], data: str, way: Way, together: int, compiled: bool) -> list[Pack]:
    """The packs of a long study of these networks, with their programs made.

    Args:
        networks: whose.
        data: theirs.
        way: device and precision.
        together: most networks of a pack on a CPU; on a GPU it is as many as fit.
        compiled: whether steps are compiled, where they can be.

    Raises:
        TrainingError: if a program cannot be made.
    """
    dataset, examples = dataset_of(data), examples_of(data)
    lengthy = [plan_run(one.model_copy(update={"epochs": LONG}), dataset.fingerprint, way) for one in networks]
    size = together if way.device == "cpu" else len(networks)
    packs = [
        pack
        for first in range(0, len(lengthy), size)
        for pack in make_packs(lengthy[first : first + size], examples, 1).packs
    ]
    if not compiled:
        packs = [with_way(pack, replace(pack[0].way, compiled=False)) for pack in packs]
    wanted = {pack_program(pack, examples) for pack in packs if pack[0].way.compiled}
    with ThreadPoolExecutor(2) as pool:
        if reasons := [reason for reason in pool.map(lambda program: program.compile(), wanted) if reason is not None]:
            raise TrainingError(
                f"a benchmark of compiled steps must compile them; {reasons[0]}. Use --steps uncompiled."
            )
    epochs = {"epochs": networks[0].epochs}
    return [(tuple(run.settings.model_copy(update=epochs) for run in pack), pack[0].way) for pack in packs]


def train(packs: Sequence[Pack], data: str, workers: int) -> Sample:
    """Train every network; what an epoch of all of them takes, while every worker is busy."""
    if packs[0][1].device == "cuda":
        took = [_train(lambda: 0, packs, data, 1)]
    else:
        took = in_processes(workers, _train, packs, data, workers)
    seconds, cpu, _ = total(took)
    return Sample(seconds / workers, cpu).times(1 / packs[0][0][0].epochs)


def _train(wait: Wait, packs: Sequence[Pack], data: str, workers: int) -> Sample:
    """What the training steps of this worker's packs took: every `workers`-th."""
    examples = examples_of(data).to(torch.device(packs[0][1].device))
    seconds = cpu = 0.0
    for settings, way in packs[wait() :: workers]:
        before = time.process_time()
        trained = train_pack(settings, examples, way, lambda _: None)
        used = time.process_time() - before
        outcomes = [one.outcome for one in trained if not isinstance(one, TrainingError)]
        if len(outcomes) < len(trained):
            raise TrainingError("a network of a benchmark must not diverge")
        steps = sum(outcome.train_seconds for outcome in outcomes)
        seconds += steps
        cpu += used * steps / (steps + sum(outcome.evaluate_seconds for outcome in outcomes))
    return Sample(seconds, cpu)
