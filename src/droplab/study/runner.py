"""The runner: what the plan asks for − what the store has → backend → store."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from droplab.config import Recipe
from droplab.data.dataset import Dataset, DatasetCard
from droplab.errors import TrainingError
from droplab.study.backends import choose_backend, worker_count
from droplab.study.backends.base import Answer
from droplab.study.forecast import Forecast, forecast_of
from droplab.study.packs import (
    COMPILING_SECONDS,
    Pack,
    in_order,
    make_packs,
    pack_name,
    pack_program,
    pack_work,
    with_way,
)
from droplab.study.plan import Run
from droplab.study.records import Planned
from droplab.study.store import Store
from droplab.train.engine import Progress
from droplab.train.examples import Examples
from droplab.train.outcome import CheckpointCost, Trained


class Observer(Protocol):
    """Who watches a study being run."""

    def planned(self, forecast: Forecast) -> None:
        """What lies ahead, before anything is trained."""

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """`todo` of `runs` have to be trained; the others are in the store."""

    def progress(self, run: Run, progress: Progress) -> None:
        """How far a run is."""

    def finished(self, run: Run, result: Trained | TrainingError) -> None:
        """A run is trained and in the store, or failed."""

    def notice(self, text: str) -> None:
        """Something the user must know."""


@dataclass
class Summary:
    """What running a study came to.

    Attributes:
        reused: runs that the store already had.
        trained: runs trained now.
        failures: runs that could not be trained.
        interrupted: whether the user stopped it.
        started: when.
        seconds: wall-clock time, from planning to the last commit.
        notices: what was said on the way.
        checkpoints: what those of each pack took.
    """

    reused: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    trained: int = 0
    failures: list[TrainingError] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)
    checkpoints: list[CheckpointCost] = field(default_factory=list)

    def add(self, later: Summary) -> None:
        """Take in what more runs of the same study came to."""
        self.reused += later.reused
        self.trained += later.trained
        self.failures += later.failures
        self.interrupted |= later.interrupted
        self.seconds += later.seconds
        self.notices += [notice for notice in later.notices if notice not in self.notices]
        self.checkpoints += later.checkpoints


def run_all(
    runs: Sequence[Run], dataset: Dataset, store: Store, observer: Observer, workers: int | None = None
) -> Summary:
    """Train every run that `store` lacks and file it there as soon as it is done.

    Ctrl-C drops the trainings under way but for their checkpoints, keeps every finished run, and returns; a second one
    is the usual `KeyboardInterrupt`.

    Args:
        runs: of one data set and way.
        dataset: their data.
        store: where results are and go.
        observer: told of everything.
        workers: processes on a CPU; `None` for one a core.

    Raises:
        DataError: if there are not as many training examples as a run asks for; or if a mapped data file is changed or
            taken away meanwhile, and nothing is filed from then on.
        TrainingError: if workers die again and again.
        StoreError: if a result cannot be filed; those before are.
    """
    started = time.perf_counter()
    had = store.finished([run.key for run in runs])
    todo = [run for run in runs if run.key not in had]
    summary = Summary(reused=len(runs) - len(todo))

    def notice(text: str) -> None:
        summary.notices.append(text)
        observer.notice(text)

    for clipped in dict.fromkeys(clipped_batch(run.settings, dataset.card) for run in runs):
        if clipped:
            notice(clipped)
    if not todo:
        observer.begin(runs, todo)
    else:
        workers = worker_count(todo[0].way, workers, len(todo))
        parts = [(part, _planned_packs(mine, part, store, workers, notice)) for part, mine in _parts(todo, dataset)]
        _keep_plan([pack for _, packs in parts for pack in packs], store)
        observer.planned(forecast_of(len(runs), len(runs) - len(todo), parts, workers))
        observer.begin(runs, todo)
        with _stop_on_interrupt() as stop:
            for examples, planned in parts:
                packs = _compiled(planned, examples, store, workers, notice, stop)
                backend = choose_backend(todo[0].way, min(workers, len(packs)))
                results = backend.execute(
                    packs, examples, observer.progress, notice, stop.is_set, store.checkpoints_folder
                )
                with closing(results):
                    for pack, answer in results:
                        examples.check_files()  # a result belongs to the bytes that the fingerprint is of
                        _file(pack, answer, dataset, store, summary)
                        for run, result in zip(pack, answer, strict=True):
                            observer.finished(run, result)
        summary.interrupted = summary.trained + len(summary.failures) < len(todo)
        if fault := next((cost.fault for cost in summary.checkpoints if cost.fault), None):
            notice(f"checkpoints could not be written: {fault}")
    summary.seconds = time.perf_counter() - started
    return summary


def foretell(runs: Sequence[Run], dataset: Dataset, store: Store | None, workers: int | None = None) -> Forecast:
    """What `run_all` would take; nothing is trained and nothing kept.

    Args:
        runs: of one data set and way.
        dataset: their data.
        store: where results are; `None` for an empty one.
        workers: processes on a CPU; `None` for one a core.

    Raises:
        DataError: as `run_all`.
    """
    had = store.finished([run.key for run in runs]) if store else set()
    todo = [run for run in runs if run.key not in had]
    if not todo:
        return forecast_of(len(runs), len(runs), [], 1)
    workers = worker_count(todo[0].way, workers, len(todo))
    parts = [
        (part, _planned_packs(mine, part, store, workers, lambda text: None)) for part, mine in _parts(todo, dataset)
    ]
    return forecast_of(len(runs), len(runs) - len(todo), parts, workers)


def _parts(todo: Sequence[Run], dataset: Dataset) -> list[tuple[Examples, list[Run]]]:
    """The runs by the split that they are trained on."""
    groups: dict[tuple[float, int], list[Run]] = {}
    for run in todo:
        groups.setdefault((run.settings.valid_fraction, run.settings.split_seed), []).append(run)
    parts = [(Examples.of(dataset, *split), runs) for split, runs in groups.items()]
    for examples, runs in parts:
        for count, seed in {(run.settings.train_examples, run.settings.split_seed) for run in runs}:
            if count:
                examples.fewer(count, seed)  # raises where there are not so many
    return parts


def clipped_batch(recipe: Recipe, card: DatasetCard) -> str | None:
    """What to say where a batch is larger than the training part of a data set."""
    train, _ = recipe.split_sizes(card.train_examples, sum(card.look.valid) if card.look else 0)
    if recipe.batch_size <= train:
        return None
    return f"batch_size={recipe.batch_size} is clipped to the {train} training examples there are"


def _file(pack: Pack, answer: Answer, dataset: Dataset, store: Store, summary: Summary) -> None:
    """Keep what became of a pack: its networks in one transaction; then its checkpoint and plan are of no use."""
    trained = [(run, result) for run, result in zip(pack, answer, strict=True) if isinstance(result, Trained)]
    failures = [result for result in answer if isinstance(result, TrainingError)]
    if trained:
        store.save_pack(trained, dataset)
        summary.checkpoints.append(trained[0][1].outcome.checkpoints)
    if len(trained) < len(pack):
        store.delete(run.key for run, result in zip(pack, answer, strict=True) if isinstance(result, TrainingError))
    store.drop_checkpoint(pack_name(pack))
    summary.trained += len(trained)
    summary.failures += failures


def _planned_packs(
    todo: Sequence[Run], examples: Examples, store: Store | None, workers: int, notice: Callable[[str], None]
) -> list[Pack]:
    """The packs of the runs to train. What was planned before keeps its pack and its way; the rest is planned now."""
    planned = store.planned([run.key for run in todo]) if store else {}
    groups: dict[str, list[Run]] = {}
    for run in todo:
        before = planned.get(run.key)
        if before is not None and before.way.device == run.way.device:
            groups.setdefault(before.pack, []).append(replace(run, way=before.way))
    kept = [in_order(group) for name, group in groups.items() if pack_name(in_order(group)) == name]
    known = {run.key for pack in kept for run in pack}
    new = [run for run in todo if run.key not in known]
    if not new:
        return kept
    packing = make_packs(new, examples, workers)
    for text in packing.notices:
        notice(text)
    return sorted(kept + packing.packs, key=lambda pack: -pack_work(pack, examples))


def _keep_plan(packs: Sequence[Pack], store: Store) -> None:
    store.keep_plan({run.key: Planned(run.way, pack_name(pack)) for pack in packs for run in pack})


def _compiled(
    packs: Sequence[Pack],
    examples: Examples,
    store: Store,
    workers: int,
    notice: Callable[[str], None],
    stop: threading.Event,
) -> list[Pack]:
    """Make the programs that are wanted and missing, several at once; where one cannot be made its packs do without."""
    programs = {pack: pack_program(pack, examples) for pack in packs if pack[0].way.compiled}
    missing = [program for program in dict.fromkeys(programs.values()) if not program.path.exists()]
    if not missing:
        return list(packs)
    seconds = COMPILING_SECONDS * math.ceil(len(missing) / workers)
    notice(f"compiling {len(missing)} kinds of network, about {seconds:.0f} s, once on this machine")
    with ThreadPoolExecutor(workers) as pool:
        made = pool.map(lambda program: "stopped" if stop.is_set() else program.compile(), missing)
        failed = {program: reason for program, reason in zip(missing, made, strict=True) if reason is not None}
    if not failed or stop.is_set():
        return list(packs)
    notice(
        f"{len(failed)} of {len(missing)} kinds of network cannot be compiled and are trained uncompiled, slower but "
        f"right; compiling needs g++: {next(iter(failed.values()))}"
    )
    plain = {
        pack: with_way(pack, replace(pack[0].way, compiled=False)) for pack in packs if programs.get(pack) in failed
    }
    _keep_plan(list(plain.values()), store)
    return [plain.get(pack, pack) for pack in packs]


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event; just the event where none arrives: in a thread, or behind `nohup … &`."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is signal.SIG_IGN:
        yield stop
        return

    def on_interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third one must not interrupt the ending of workers
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
