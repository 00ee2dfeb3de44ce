"""Packs: which runs are trained together, and how. Decided once, before anything is trained.

R runs of a pack, B examples of a batch.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from droplab.config import RunSettings
from droplab.model.network import pieces_of
from droplab.study import limits
from droplab.study.plan import Run
from droplab.train.evaluate import mc_points
from droplab.train.examples import CHUNK, Examples
from droplab.train.loop import program_of
from droplab.train.optimizers import Optimizer
from droplab.train.outcome import Precision, Way
from droplab.train.program import Program
from droplab.train.results import KEPT_PROBABILITIES, TRAIN_EXAMPLES

Pack = tuple[Run, ...]
"""Runs that one worker trains together: of one way and one kind."""

Kind = tuple[Any, ...]

FREE = {"seed", "dropout", "learning_rate", "warmup_epochs", "momentum", "beta_1", "beta_2", "regularizers"}
"""Settings in which the runs of a pack may differ, but for the names of the regularizers. Schedules differ, too."""

GPU_RUNS = 64
"""Most runs that a GPU trains in one pack."""

CPU_RUNS = 32
"""Most runs that a core trains in one pack: their weights and gradients still fit into its cache."""

STACKED_PRODUCTS = 2e7
"""Multiplications of a run's step below which stacking wins on a CPU: there the calls cost more than the products."""

THREADED_SECONDS = 2e-3
"""Time of a step's products on one core from which on several threads share them: below, they mostly wait."""

COMPILING_SECONDS = 20.0
"""About what compiling a program takes, on one core."""

SAVED_SHARE = {False: 0.35, True: 0.45}
"""About which share of the training compiling saves, for separate and for stacked runs (docs/log.md)."""

WORTH_A_WORD = 5.0
"""Seconds of work ahead from which it is said that they are done uncompiled."""

MEMORY_SHARE = 0.8
"""Which share of the free memory the packs under way may take together."""


@dataclass(frozen=True)
class Packing:
    """What `make_packs` decided.

    Attributes:
        packs: the most work first, so that workers end together.
        notices: what the user must know of it.
    """

    packs: list[Pack]
    notices: list[str]


def in_order(runs: Iterable[Run]) -> Pack:
    """Runs in the order that they have in a pack, whatever order a study names them in."""
    return tuple(sorted(runs, key=lambda run: run.key))


def kind_of(settings: RunSettings) -> Kind:
    """What runs of one pack have in common: they share a program, and all end after as many epochs."""
    same = {
        name: value for name, value in settings if name not in FREE and not name.startswith(("schedule", "momentum"))
    }
    moves = settings.momentum > 0 or settings.momentum_schedule != "constant"
    return (*same.values(), moves, tuple(name for name, _ in settings.regularizers))


def pack_name(pack: Pack) -> str:
    """The name of a pack, 64 hexadecimal digits: a hash of its runs' keys in their order."""
    return hashlib.sha256("".join(run.key for run in pack).encode()).hexdigest()


def pack_program(pack: Pack, examples: Examples) -> Program:
    """The program of a pack, whether or not it is compiled."""
    settings = [run.settings for run in pack]
    return program_of(settings, examples, pack[0].way)


def make_packs(
    runs: Sequence[Run],
    examples: Examples,
    workers: int,
    memory: float | None = None,
    beside: int | None = None,
    most_seconds: float = math.inf,
    compiles: bool = True,
) -> Packing:
    """Group runs into packs and settle how each is executed.

    A GPU trains runs of one shape stacked, and so does a CPU where the products are small; large ones gain nothing by
    it there, and such a run is a pack of its own. The step is compiled where that saves more time than it takes.

    Args:
        runs: of one data set, device and precision.
        examples: what they are trained on.
        workers: how many packs are trained at once.
        memory: free memory of the device, bytes; `None` asks for it.
        beside: how many packs, planned before, are trained at the same time; `None` gives each pack one thread.
        most_seconds: of work, about, that a pack has at most; a single run may have more.
        compiles: whether steps may be compiled.
    """
    device = runs[0].way.device
    share = MEMORY_SHARE * (free_memory(device, examples, workers) if memory is None else memory / workers)
    groups: dict[Kind, list[Run]] = {}
    for run in runs:
        groups.setdefault(kind_of(run.settings), []).append(run)
    packs: list[Pack] = []
    notices: list[str] = []
    for group in groups.values():
        most = _most_runs(group[0], examples, device, len(group), workers)
        fitting = max(1, int(share / memory_of(group[0], examples)))
        if fitting < most:
            notices.append(
                f"{most} networks with widths={list(group[0].settings.widths)} do not fit into the free memory "
                f"together; they are trained {fitting} at a time"
            )
            most = fitting
        most = max(1, int(min(most, most_seconds / plain_seconds(tuple(group[:1]), examples))))
        packs += [in_order(group[i : i + most]) for i in range(0, len(group), most)]
    packs = [with_way(pack, replace(pack[0].way, stacked=len(pack) > 1)) for pack in packs]
    if beside is not None:
        packs = with_threads(packs, examples, beside)
    packs, notice = _decide_compiling(packs, examples) if compiles else (packs, [])
    return Packing(sorted(packs, key=lambda pack: -pack_work(pack, examples)), notices + notice)


def with_threads(packs: Sequence[Pack], examples: Examples, beside: int = 0) -> list[Pack]:
    """Have the cores that fewer packs than cores would leave idle share the products of large networks.

    Args:
        packs: that are planned now.
        examples: what they are trained on.
        beside: how many packs, planned before, are trained at the same time.
    """
    count, least = len(packs) + beside, THREADED_SECONDS * product_rate(packs[0][0].way.precision)
    large = [pack for pack in packs if step_products(pack[0], examples) > least]
    if not large or count > limits.cores() // 2 or packs[0][0].way.device == "cuda":
        return list(packs)
    threads = max(1, min(limits.idle_cores(), torch.get_num_threads()) // count)  # the latter: OMP_NUM_THREADS
    return [with_way(pack, replace(pack[0].way, threads=threads)) if pack in large else pack for pack in packs]


def pack_work(pack: Pack, examples: Examples) -> float:
    """About how much there is to do for a pack, for order only."""
    return sum(work(run, examples.features, examples.classes, len(examples.train)) for run in pack)


def memory_of(run: Run, examples: Examples) -> float:
    """About how many bytes a run takes in a pack.

    Weights four times over (values, gradients, working copies) and once more for each moment and for the best so far; a
    batch or an evaluated chunk with its activations six times (masks, and what the gradient needs), the epoch's order
    while it is made, the predictions of three inference modes, and the probabilities that each of these keeps, `mc`
    after some of its masks, too.
    """
    copies = 4 + Optimizer.of([run.settings]).moments + ("early_stopping" in dict(run.settings.regularizers))
    shapes = weight_shapes(run.settings, examples.features, examples.classes)
    weights, units = weight_count(shapes), examples.features + sum(outputs for _, outputs in shapes)
    trained = _trained(run, examples)
    batch = max(min(run.settings.batch_size, trained), CHUNK)
    predicted = max(min(trained, TRAIN_EXAMPLES), len(examples.valid), len(examples.test))
    believed = min(len(examples.test) * examples.classes, KEPT_PROBABILITIES)
    kept = believed * (3 + len(mc_points(run.settings.mc_samples)))
    return 4.0 * (copies * weights + 6 * batch * units + kept) + 24.0 * (trained + predicted)


def free_memory(device: str, examples: Examples, workers: int) -> float:
    """Bytes of memory that each worker's training may take: what is free, less what the data and the workers will."""
    if device == "cuda":
        tables = (examples.train.features, examples.test.features)
        return float(torch.cuda.mem_get_info()[0]) - sum(table.numel() * table.element_size() for table in tables)
    own = limits.WORKER_MEMORY if limits.room_for_workers() >= workers else 0.0
    return min(limits.free_memory() / workers - own, limits.free_addresses())


def weight_shapes(settings: RunSettings, features: int, classes: int) -> list[tuple[int, int]]:
    """Inputs and outputs of each weight layer; a maxout unit has an output a piece."""
    outputs = [width * pieces_of(settings) for width in settings.widths]
    return list(zip((features, *settings.widths), (*outputs, classes), strict=True))


def weight_count(shapes: Sequence[tuple[int, int]]) -> int:
    """Weights of all layers, biases left out; an example's multiplications from features to classes."""
    return sum(inputs * outputs for inputs, outputs in shapes)


def work(run: Run, features: int = 784, classes: int = 10, examples: int = 50_000) -> float:
    """About how much there is to do for a run, in multiplications; for order and ETA only.

    Args:
        run: the run.
        features: of the data, where they are known; likewise the others.
        classes: to tell apart.
        examples: of the training part.
    """
    products = weight_count(weight_shapes(run.settings, features, classes))
    masks = 100 * sum(run.settings.widths) if run.settings.dropout else 0
    return run.settings.epochs * float(products + masks) * (run.settings.train_examples or examples)


def step_products(run: Run, examples: Examples) -> float:
    """Multiplications of one step's products: forward, weight gradients, input gradients but the first layer's."""
    first, *others = [a * b for a, b in weight_shapes(run.settings, examples.features, examples.classes)]
    return float(min(run.settings.batch_size, _trained(run, examples)) * (2 * first + 3 * sum(others)))


def plain_seconds(pack: Pack, examples: Examples) -> float:
    """About how long a pack takes on one core, uncompiled: products, and as much again by half, and the calls."""
    run = pack[0]
    steps = run.settings.epochs * math.ceil(_trained(run, examples) / run.settings.batch_size)
    calls = 50e-6 * (4 + 6 * run.settings.depth)
    rate = product_rate(run.way.precision)
    return steps * (1.5 * len(pack) * step_products(run, examples) / rate + calls)


def _trained(run: Run, examples: Examples) -> int:
    """How many examples a run is trained on."""
    return run.settings.train_examples or len(examples.train)


@cache
def product_rate(precision: Precision) -> float:
    """Multiplications a second of one core; measured once, in some milliseconds."""
    a = torch.ones(512, 512, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            torch.mm(a, a)
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return float(512**3 / min(times))


def _most_runs(run: Run, examples: Examples, device: str, runs: int, workers: int) -> int:
    """The size of packs of one shape: as many for each worker, none larger than the most a device takes."""
    if device == "cpu" and step_products(run, examples) > STACKED_PRODUCTS:
        return 1
    rounds = math.ceil(runs / workers / (GPU_RUNS if device == "cuda" else CPU_RUNS))
    return math.ceil(runs / workers / rounds)


def with_way(pack: Pack, way: Way) -> Pack:
    """The same runs, executed in another way."""
    return tuple(replace(run, way=way) for run in pack)


def _decide_compiling(packs: list[Pack], examples: Examples) -> tuple[list[Pack], list[str]]:
    """Settle for each pack whether its step is compiled: on a CPU, where the program is there or pays for itself.

    On a GPU the step is recorded as a CUDA graph, which takes away the cost of the calls already.
    """
    if packs[0][0].way.device == "cuda":
        return packs, []
    programs = {pack: pack_program(pack, examples) for pack in packs}
    ahead: dict[Program, float] = {}
    saved: dict[Program, float] = {}
    for pack, program in programs.items():
        seconds = plain_seconds(pack, examples)
        ahead[program] = ahead.get(program, 0) + seconds
        saved[program] = saved.get(program, 0) + SAVED_SHARE[program.stacked] * seconds
    paying = {program for program in ahead if saved[program] > COMPILING_SECONDS or program.path.exists()}
    notices = []
    plain = [seconds for program, seconds in ahead.items() if program not in paying]
    if sum(plain) > WORTH_A_WORD:
        notices.append(
            f"{len(plain)} of {len(ahead)} kinds of network are trained uncompiled: about {sum(plain):.0f} s of work "
            "ahead do not repay compiling"
        )
    ways = [replace(pack[0].way, compiled=programs[pack] in paying) for pack in packs]
    return [with_way(pack, way) for pack, way in zip(packs, ways, strict=True)], notices
