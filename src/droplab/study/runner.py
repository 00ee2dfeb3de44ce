"""The runner: what the plan asks for − what the store has → backend → store."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Protocol

from droplab.config import Recipe
from droplab.data.dataset import Dataset, DatasetCard
from droplab.errors import StoreError, TrainingError
from droplab.study.backends import Backend, Here, Site
from droplab.study.claims import renewed
from droplab.study.filing import Filing
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
from droplab.train.examples import Examples
from droplab.train.outcome import CheckpointCost, Trained
from droplab.train.state import Progress

WAITING_SECONDS = 1.0
"""How often the store is asked whether another process has finished what this one waits for."""


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

    def looked(self, text: str) -> None:
        """How a study goes that is trained look by look."""

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
        signal: what it was stopped by, if it was.
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
    signal: signal.Signals = signal.SIGINT
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)
    checkpoints: list[CheckpointCost] = field(default_factory=list)

    def add_result(self, result: Trained | TrainingError) -> None:
        """Take in what became of a run."""
        if isinstance(result, TrainingError):
            self.failures.append(result)
            return
        self.trained += 1
        cost = result.outcome.checkpoints  # one for all runs of a pack, which come one after the other
        if not self.checkpoints or self.checkpoints[-1] is not cost:
            self.checkpoints.append(cost)

    def add(self, later: Summary) -> None:
        """Take in what more runs of the same study came to."""
        self.reused += later.reused
        self.trained += later.trained
        self.failures += later.failures
        self.interrupted |= later.interrupted
        self.signal = later.signal
        self.seconds += later.seconds
        self.notices += [notice for notice in later.notices if notice not in self.notices]
        self.checkpoints += later.checkpoints


def run_all(
    runs: Sequence[Run],
    dataset: Dataset,
    store: Store,
    observer: Observer,
    workers: int | None = None,
    site: Site | None = None,
) -> Summary:
    """Train every run that `store` lacks and file it there as soon as it is done.

    Ctrl-C, SIGTERM and SIGHUP end the trainings under way after a step, with a last checkpoint; every finished run is
    kept, and it returns. A second one is the usual `KeyboardInterrupt`.

    Args:
        runs: of one data set and way.
        dataset: their data.
        store: where results are and go.
        observer: told of everything.
        workers: processes on a CPU; `None` for one a core.
        site: where they are trained, which stays ready for the next call; `None` for this machine.

    Raises:
        DataError: if there are not as many training examples as a run asks for; or if a mapped data file is changed or
            taken away meanwhile, and nothing is filed from then on.
        TrainingError: if workers die again and again.
        StoreError: if a result cannot be filed; those before are.
    """
    if site is None:
        with Here() as here:
            return run_all(runs, dataset, store, observer, workers, here)
    started = time.perf_counter()
    summary = Summary(reused=0)

    def notice(text: str) -> None:
        summary.notices.append(text)
        observer.notice(text)

    store.keep_data(dataset)
    had, damaged = _sound(runs, store)
    if damaged:
        count = f"{len(damaged)} run{'s are' if len(damaged) > 1 else ' is'}"
        notice(f"{count} damaged in the store and trained again; the first: {next(iter(damaged.values()))}")
    todo = [run for run in runs if run.key not in had]
    summary.reused = len(runs) - len(todo)
    kinds = {(run.settings.batch_size, run.settings.valid_fraction, run.settings.train_examples): run for run in runs}
    for clipped in dict.fromkeys(clipped_batch(run.settings, dataset.card) for run in kinds.values()):
        if clipped:
            notice(clipped)
    if not todo:
        observer.begin(runs, todo)
    else:
        workers = site.workers(todo[0].way, workers, len(todo))
        groups = _parts(todo, dataset)
        planned_packs = partial(_planned_packs, store=store, site=site, workers=workers)
        parts = [(part, planned_packs(mine, part, notice=notice)) for part, mine in groups]
        forecast = forecast_of(len(runs), len(runs) - len(todo), parts, workers, site.is_here)
        observer.planned(forecast)
        observer.begin(runs, todo)
        left = {run.key for run in todo}

        def filed(run: Run, result: Trained | TrainingError) -> None:
            left.discard(run.key)
            summary.add_result(result)
            observer.finished(run, result)

        with (
            _stop_on_interrupt() as stop,
            renewed(store.renew),
            store.waiting_until(stop.is_set),
        ):
            backend = site.backend(todo[0].way, min(forecast.workers, forecast.packs))
            filing = Filing(store, dataset, filed, notice, stop)
            try:
                while parts:
                    for examples, planned in parts:
                        if mine := _claimed(planned, store, damaged):
                            packs = _compiled(mine, examples, store, workers, notice, stop)
                            _train(packs, examples, backend, store, observer, notice, stop, filing)
                    filing.end()
                    parts = (
                        []
                        if stop.is_set()
                        else _free(groups, left, damaged, store, planned_packs, summary, notice, stop)
                    )
            finally:
                filing.end()
                with suppress(StoreError):  # a lease ends by itself
                    store.release()
        summary.interrupted = bool(left)
        summary.signal = stop.signal
        if fault := next((cost.fault for cost in summary.checkpoints if cost.fault), None):
            notice(f"checkpoints could not be written: {fault}")
    summary.seconds = time.perf_counter() - started
    return summary


def foretell(
    runs: Sequence[Run],
    dataset: Dataset,
    store: Store | None,
    workers: int | None = None,
    site: Site | None = None,
) -> Forecast:
    """What `run_all` would take; nothing is trained and nothing kept.

    Args:
        runs: of one data set and way.
        dataset: their data.
        store: where results are; `None` for an empty one.
        workers: processes on a CPU; `None` for one a core.
        site: where they would be trained; `None` for this machine.

    Raises:
        DataError: as `run_all`.
    """
    site = site or Here()
    had = _sound(runs, store)[0] if store else set()
    todo = [run for run in runs if run.key not in had]
    if not todo:
        return forecast_of(len(runs), len(runs), [], 1)
    workers = site.workers(todo[0].way, workers, len(todo))
    parts = [
        (part, _planned_packs(mine, part, store, site, workers, lambda text: None))
        for part, mine in _parts(todo, dataset)
    ]
    return forecast_of(len(runs), len(runs) - len(todo), parts, workers, site.is_here)


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


def _sound(runs: Sequence[Run], store: Store) -> tuple[set[str], dict[str, str]]:
    """The runs that the store has, and of which it knows no damage; those of which it does, with what is wrong."""
    had = store.finished([run.key for run in runs])
    damaged = store.damaged(had)
    return had - damaged.keys(), damaged


def plan_of(pack: Pack) -> dict[str, Planned]:
    """What the store keeps of a pack that is to be trained."""
    name = pack_name(pack)
    return {run.key: Planned(run.way, name) for run in pack}


def _claimed(packs: Sequence[Pack], store: Store, again: Collection[str] = ()) -> list[Pack]:
    """Those of the packs that this process is to train: no other has claimed or finished a run of them."""
    ours = store.claim(map(plan_of, packs), again)
    return [pack for pack, mine in zip(packs, ours, strict=True) if mine]


def _train(
    packs: Sequence[Pack],
    examples: Examples,
    backend: Backend,
    store: Store,
    observer: Observer,
    notice: Callable[[str], None],
    stop: _Stop,
    filing: Filing,
) -> None:
    """Train packs, and file each as soon as it is done."""
    results = backend.execute(packs, examples, observer.progress, notice, stop.is_set, store.checkpoint)
    with closing(results):
        for pack, answer in results:
            examples.check_files()  # a result belongs to the bytes that the fingerprint is of
            filing.add(pack, answer)


def _free(
    groups: Sequence[tuple[Examples, Sequence[Run]]],
    left: set[str],
    damaged: dict[str, str],
    store: Store,
    planned_packs: Callable[..., list[Pack]],
    summary: Summary,
    notice: Callable[[str], None],
    stop: _Stop,
) -> list[tuple[Examples, list[Pack]]]:
    """Wait for what other processes train; packs of what they did not finish, or none once nothing is `left`."""
    told = False
    while left and not stop.is_set():
        others = store.claimed(left)
        free = [run for _, runs in groups for run in runs if run.key in left - others.keys()]
        done, faults = _sound(free, store)
        damaged.update(faults)
        left -= done
        summary.reused += len(done)
        if any(run.key in left for run in free):
            wanted = [(part, [run for run in runs if run.key in left - others.keys()]) for part, runs in groups]
            return [(part, planned_packs(runs, part, notice=lambda _: None)) for part, runs in wanted if runs]
        if others and not told:
            owner = next(iter(others.values()))
            notice(
                f"{len(others)} of these networks are being trained by process {owner.pid} on {owner.host}, which is "
                "waited for, so that nothing is trained twice; Ctrl-C ends the waiting"
            )
            told = True
        stop.wait(WAITING_SECONDS)
    return []


def _planned_packs(
    todo: Sequence[Run],
    examples: Examples,
    store: Store | None,
    site: Site,
    workers: int,
    notice: Callable[[str], None],
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
    memory = workers * site.memory(todo[0].way.device, examples, workers)
    beside = len(kept) if site.is_here else None
    packing = make_packs(new, examples, workers, memory, beside, site.most_seconds, site.compiles())
    for text in packing.notices:
        notice(text)
    return sorted(kept + packing.packs, key=lambda pack: -pack_work(pack, examples))


def _compiled(
    packs: Sequence[Pack],
    examples: Examples,
    store: Store,
    workers: int,
    notice: Callable[[str], None],
    stop: _Stop,
) -> list[Pack]:
    """Make the programs that are wanted and missing, several at once; where one cannot be made its packs do without."""
    programs = {pack: pack_program(pack, examples) for pack in packs if pack[0].way.compiled}
    missing = [program for program in dict.fromkeys(programs.values()) if not program.path.exists()]
    if not missing:
        return list(packs)
    seconds = COMPILING_SECONDS * math.ceil(len(missing) / workers)
    notice(f"compiling {len(missing)} kinds of network, about {seconds:.0f} s, once on this machine")
    try:
        with ThreadPoolExecutor(workers) as pool:
            made = list(pool.map(lambda program: program.compile(stop.is_set), missing))
    except RuntimeError:  # where no thread can be started, one after the other
        made = [program.compile(stop.is_set) for program in missing]
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
    _claimed(list(plain.values()), store, [run.key for pack in plain for run in pack])
    return [plain.get(pack, pack) for pack in packs]


class _Stop(threading.Event):
    """The wish to stop, set by the first signal that asks for it."""

    signal = signal.SIGINT


@contextmanager
def _stop_on_interrupt() -> Iterator[_Stop]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into an event; a second one is the usual `KeyboardInterrupt`.

    Those that are ignored stay so, as SIGHUP behind `nohup`; in a thread none arrives, and there is just the event.
    """
    stop = _Stop()
    asking: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in asking}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            for each in before:
                signal.signal(each, signal.SIG_IGN)  # a third one must not interrupt the ending of workers
            if callable(handler := before[number]):
                handler(number, frame)
            raise KeyboardInterrupt
        stop.signal = signal.Signals(number)
        stop.set()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
