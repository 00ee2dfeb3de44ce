"""The forecast: what training the packs of a plan will take, said before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from droplab.study.packs import (
    COMPILING_SECONDS,
    SAVED_SHARE,
    Pack,
    memory_of,
    pack_program,
    plain_seconds,
    product_rate,
    weight_count,
    weight_shapes,
)
from droplab.study.plan import Run
from droplab.train.examples import Examples
from droplab.train.results import TRAIN_EXAMPLES

THREAD_SHARE = 0.6
"""What each further thread adds to the speed of one."""

CURVES_SHARE = 1.1
"""Time of a run with its curves, over that of its steps (docs/results/performance.md)."""

EVALUATION_SHARE = 1.5
"""Time of the final evaluation, over that of its products (docs/log.md)."""

WORKER_SECONDS, WORKER_BYTES = 4.0, 4e8
"""What a worker takes to start, and what it holds before any network."""

RUN_BYTES = 3e4
"""What the store keeps of a run beside its weights."""


@dataclass(frozen=True)
class Forecast:
    """What lies ahead.

    Attributes:
        runs: networks of the plan.
        stored: how many of them the store has.
        packs: how many there are to train.
        workers: processes that train them at once; 0 where this one does, on a GPU or because the work is less than
            what they take to start.
        seconds: about how long that takes, `None` on a GPU, where nothing is known before.
        memory: about how much all workers hold at once, bytes.
        disk: about how much the store grows, bytes; the output folder gets as much again.
    """

    runs: int
    stored: int
    packs: int
    workers: int
    seconds: float | None
    memory: float
    disk: float

    @property
    def words(self) -> str:
        """All of it in a line."""
        if not self.packs:
            return f"plan: {self.runs} networks, all in the store"
        time = "time unknown on a GPU" if self.seconds is None else f"about {span_words(self.seconds)}"
        where = f"on {self.workers} worker{'s' if self.workers > 1 else ''}" if self.workers else "in this process"
        return (
            f"plan: {self.runs} networks, {self.stored} of them in the store; {self.packs} packs {where}, {time}, "
            f"{_size(self.memory)} of memory, {_size(self.disk)} of disk"
        )


def forecast_of(
    runs: int, stored: int, parts: Sequence[tuple[Examples, Sequence[Pack]]], workers: int, is_here: bool = True
) -> Forecast:
    """Foretell what the packs will take.

    Args:
        runs: of the plan.
        stored: of these, in the store.
        parts: the packs to train, by the examples that they are trained on; one part is done after another.
        workers: how many packs worker processes would train at once.
        is_here: whether they are of this machine, where this process does little work itself, and that of a GPU.
    """
    packs = [(examples, pack) for examples, part in parts for pack in part]
    on_gpu = any(pack[0].way.device == "cuda" for _, pack in packs)
    held = sorted((len(pack) * memory_of(pack[0], examples) for examples, pack in packs), reverse=True)
    seconds = None
    if on_gpu:
        workers = 0 if is_here else workers
    else:
        alone = [[_pack_seconds(pack, examples) for pack in part] for examples, part in parts]
        workers = 0 if is_here and sum(map(sum, alone)) <= WORKER_SECONDS else workers
        spans = [_part_seconds(*part, each, max(workers, 1)) for part, each in zip(parts, alone, strict=True)]
        seconds = sum(spans, WORKER_SECONDS * bool(workers))
    weights = sum(
        4.0 * sum((a + 1) * b for a, b in weight_shapes(run.settings, examples.features, examples.classes))
        for examples, pack in packs
        for run in pack
    )
    return Forecast(
        runs=runs,
        stored=stored,
        packs=len(packs),
        workers=workers,
        seconds=seconds,
        memory=sum(held[: max(workers, 1)]) + WORKER_BYTES * workers,
        disk=weights + RUN_BYTES * sum(len(pack) for _, pack in packs),
    )


def _part_seconds(examples: Examples, packs: Sequence[Pack], seconds: Sequence[float], workers: int) -> float:
    """Of the packs of a part, each of which takes some `seconds` on one core."""
    programs = {pack_program(pack, examples) for pack in packs if pack[0].way.compiled}
    missing = sum(not program.path.exists() for program in programs)
    compiling = COMPILING_SECONDS * math.ceil(missing / workers)
    ends = [0.0] * workers
    for one in sorted(seconds, reverse=True):  # the largest first, to whoever is free
        ends[ends.index(min(ends))] += one
    return compiling + max(ends)


def _pack_seconds(pack: Pack, examples: Examples) -> float:
    way = pack[0].way
    share = 1 - SAVED_SHARE[way.stacked] if way.compiled else 1.0
    trained = CURVES_SHARE * share * plain_seconds(pack, examples)
    evaluated = sum(_evaluation_seconds(run, examples) for run in pack)
    return (trained + evaluated) / (1 + THREAD_SHARE * (way.threads - 1))


def _evaluation_seconds(run: Run, examples: Examples) -> float:
    """Of the final evaluation: every split with dropout off and on, and test once more for each mask of the mean."""
    trained = min(run.settings.train_examples or len(examples.train), TRAIN_EXAMPLES)
    passes = 2 * (trained + len(examples.valid)) + len(examples.test) * (1 + run.settings.mc_samples)
    products = weight_count(weight_shapes(run.settings, examples.features, examples.classes))
    return EVALUATION_SHARE * passes * products / product_rate(run.way.precision)


def span_words(seconds: float) -> str:
    """A time that is only about right, in one unit."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"
