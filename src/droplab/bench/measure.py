"""droplab itself, on the way that `droplab study` takes.

All that the benchmark knows of plan, packs, backends, runner and store is here.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from droplab.bench.memory import Memory, largest_child
from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.errors import TrainingError
from droplab.study.backends import choose_backend, worker_count
from droplab.study.forecast import Forecast
from droplab.study.packs import Pack, make_packs, pack_program, with_way
from droplab.study.plan import Run, plan_run
from droplab.study.runner import plan_of, run_all
from droplab.study.store import Store
from droplab.train.examples import Examples
from droplab.train.outcome import Outcome, Trained, Way
from droplab.train.program import Program
from droplab.train.state import Progress


@dataclass(frozen=True)
class Alone:
    """Training alone.

    Attributes:
        seconds: in training steps, of all networks over the workers: what it takes while every worker is busy.
        start_up: seconds from the call to the first network, less its training and evaluation: processes, imports,
            data, and whatever is compiled before the first step.
        memory: of the worker that took most; of a GPU what PyTorch held there, and nothing shared.
    """

    seconds: float
    start_up: float
    memory: Memory | None


@dataclass(frozen=True)
class Whole:
    """A study from its plan to its last commit, in seconds. But for `seconds` they are added up over all workers.

    Attributes:
        seconds: of the clock.
        workers: how many there were.
        networks: how many were trained.
        training: in training steps.
        evaluation: in evaluation, curves included.
        start_up: until each worker trained, as in `Alone`.
        idle: of workers that found nothing more to do, at the end.
    """

    seconds: float
    workers: int
    networks: int
    training: float
    evaluation: float
    start_up: float
    idle: float

    @property
    def own(self) -> float:
        """Everything else: the runner and the store."""
        return self.seconds * self.workers - self.training - self.evaluation - self.start_up - self.idle

    @property
    def own_a_network(self) -> float | None:
        """The same a network; `None` where no worker trained a second one, as the first one's is in its start-up."""
        later = self.networks - self.workers
        return self.own / later if later > 0 else None


def plan(networks: Sequence[RunSettings], epochs: int, seeds: int, dataset: Dataset, way: Way) -> list[Run]:
    """Every network with every seed."""
    return [
        plan_run(settings.model_copy(update={"epochs": epochs, "seed": seed}), dataset.fingerprint, way)
        for settings in networks
        for seed in range(seeds)
    ]


def packs_of(runs: Sequence[Run], examples: Examples, workers: int, compiled: bool) -> list[Pack]:
    """The packs of a study of `runs`; their programs, which are made here where they are wanted and missing.

    Args:
        runs: of one group.
        examples: their data.
        workers: as a study takes it.
        compiled: whether steps are compiled, whatever the work ahead: a case stands for a study of its shapes, not for
            one of its few epochs.

    Raises:
        TrainingError: if a program cannot be made.
    """
    packs = make_packs(runs, examples, workers).packs
    packs = [with_way(pack, replace(pack[0].way, compiled=compiled)) for pack in packs]
    wanted = {pack_program(pack, examples) for pack in packs} if compiled else set()
    with ThreadPoolExecutor(workers) as pool:
        reasons = [reason for reason in pool.map(Program.compile, wanted) if reason is not None]
    if reasons:
        raise TrainingError(f"a benchmark of compiled steps must compile them; {reasons[0]}. Use --uncompiled.")
    return packs


def workers_for(runs: Sequence[Run], workers: int | None) -> int:
    """How many workers a study of `runs` has: one on a GPU."""
    return worker_count(runs[0].way, workers, len(runs))


def train_alone(runs: Sequence[Run], packs: Sequence[Pack], examples: Examples, workers: int) -> Alone:
    """Train on the backend that a study takes, and keep nothing.

    Raises:
        TrainingError: if a network could not be trained.
    """
    backend = choose_backend(runs[0].way, min(workers, len(packs)))
    on_gpu = runs[0].way.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    clock = _Clock()
    memory: Memory | None = None
    with closing(backend.execute(packs, examples, clock.progress, clock.notice, lambda: False)) as results:
        for pack, answer in results:
            for run, trained in zip(pack, answer, strict=True):
                clock.finished(run, trained)
            # Workers live until the generator goes on; a peak is only ever raised.
            memory = max(filter(None, (memory, largest_child())), default=None)
    if on_gpu:
        memory = Memory(torch.cuda.max_memory_allocated(), 0)
    busy = sum(outcome.train_seconds for outcome in clock.outcomes.values())
    return Alone(busy / workers, clock.start_up(packs), memory)


def run_study(runs: Sequence[Run], packs: Sequence[Pack], dataset: Dataset, workers: int) -> Whole:
    """Run a study with everything that belongs to it, in a new store.

    Args:
        runs: of the study.
        dataset: theirs.
        packs: that the study is planned as.
        workers: how many there are.

    Raises:
        TrainingError: if a network could not be trained.
        KeyboardInterrupt: if it was interrupted.
    """
    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="droplab-bench-") as folder, Store(Path(folder) / "store.sqlite") as store:
        store.claim(map(plan_of, packs))
        clock.started = time.perf_counter()
        summary = run_all(runs, dataset, store, clock, workers)
        seconds = time.perf_counter() - clock.started
    if summary.interrupted:
        raise KeyboardInterrupt
    outcomes = clock.outcomes.values()
    return Whole(
        seconds=seconds,
        workers=workers,
        networks=len(runs),
        training=sum(outcome.train_seconds for outcome in outcomes),
        evaluation=sum(outcome.evaluate_seconds for outcome in outcomes),
        start_up=clock.start_up(packs) * workers,
        idle=clock.idle(packs, workers),
    )


class _Clock:
    """An observer that notes when each run was finished."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.outcomes: dict[str, Outcome] = {}
        self.times: dict[str, float] = {}

    def planned(self, forecast: Forecast) -> None:
        """Nothing to note."""

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """Nothing to note."""

    def progress(self, run: Run, progress: Progress) -> None:
        """Nothing to note."""

    def looked(self, text: str) -> None:
        """Nothing to note."""

    def notice(self, text: str) -> None:
        """Nothing to note."""

    def finished(self, run: Run, result: Trained | TrainingError) -> None:
        """Note it, or raise what went wrong."""
        if isinstance(result, TrainingError):
            raise result
        self.times[run.key] = time.perf_counter() - self.started
        self.outcomes[run.key] = result.outcome

    def start_up(self, packs: Sequence[Pack]) -> float:
        """Until the first run was there, less the training and evaluation of its pack."""
        first = min(self.times, key=self.times.__getitem__)
        pack = next(pack for pack in packs if any(run.key == first for run in pack))
        outcomes = [self.outcomes[run.key] for run in pack]
        return self.times[first] - sum(outcome.train_seconds + outcome.evaluate_seconds for outcome in outcomes)

    def idle(self, packs: Sequence[Pack], workers: int) -> float:
        """What each worker waited for the last one: a worker's last pack is one of the last packs finished."""
        ends = sorted(max(self.times[run.key] for run in pack) for pack in packs)[-workers:]
        return sum(ends[-1] - end for end in ends)
