"""The runner: what the plan asks for − what the store has → backend → store."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

from droplab.config import Recipe
from droplab.data.dataset import Dataset
from droplab.errors import TrainingError
from droplab.study.backends import choose_backend
from droplab.study.backends.base import Pack
from droplab.study.plan import Run
from droplab.study.store import Store
from droplab.train.engine import Progress
from droplab.train.examples import Examples
from droplab.train.outcome import Trained

PACK_RUNS = 64
"""Most runs that a GPU trains in one pack."""


class Observer(Protocol):
    """Who watches a study being run."""

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
    """

    reused: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    trained: int = 0
    failures: list[TrainingError] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    notices: list[str] = field(default_factory=list)


def run_all(
    runs: Sequence[Run], dataset: Dataset, store: Store, observer: Observer, workers: int | None = None
) -> Summary:
    """Train every run that `store` lacks and file it there as soon as it is done.

    Ctrl-C drops the trainings under way, keeps every finished run, and returns; a second one is the usual
    `KeyboardInterrupt`.

    Args:
        runs: of one data set, split and way.
        dataset: their data.
        store: where results are and go.
        observer: told of everything.
        workers: processes on a CPU; `None` for one a core.

    Raises:
        DataError: if a mapped data file is changed or taken away meanwhile; nothing is filed from then on.
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

    observer.begin(runs, todo)
    if clipped := clipped_batch(runs[0].settings, len(dataset.train_y)):
        notice(clipped)
    if todo:
        first = todo[0].settings
        examples = Examples.of(dataset, first.valid_fraction, first.split_seed)
        packs = pack_runs(todo, examples)
        backend = choose_backend(todo[0].way, workers, len(packs))
        with (
            _stop_on_interrupt() as stop,
            closing(backend.execute(packs, examples, observer.progress, notice, stop.is_set)) as results,
        ):
            for run, result in results:
                if isinstance(result, TrainingError):
                    summary.failures.append(result)
                else:
                    examples.check_files()  # a result belongs to the bytes that the fingerprint is of
                    store.save(run, dataset, result)
                    summary.trained += 1
                observer.finished(run, result)
            summary.interrupted = summary.trained + len(summary.failures) < len(todo)
    summary.seconds = time.perf_counter() - started
    return summary


def clipped_batch(recipe: Recipe, train_examples: int) -> str | None:
    """What to say where a batch is larger than the training part; `train_examples` counts those held out, too."""
    train, _ = recipe.split_sizes(train_examples)
    if recipe.batch_size <= train:
        return None
    return f"batch_size={recipe.batch_size} is clipped to the {train} training examples there are"


def pack_runs(runs: Sequence[Run], examples: Examples) -> list[Pack]:
    """Group runs into packs, the most work first so that workers end together.

    A GPU trains runs of one shape stacked; on a CPU, where large products gain nothing by it, a pack is one run.
    """
    most = PACK_RUNS if runs[0].way.device == "cuda" else 1
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        settings = run.settings
        shape = (settings.widths, settings.epochs, settings.batch_size, settings.mc_samples)
        groups.setdefault(shape, []).append(run)
    packs = [tuple(group[i : i + most]) for group in groups.values() for i in range(0, len(group), most)]
    return sorted(packs, key=lambda pack: -sum(work(run, examples.features, examples.classes) for run in pack))


def work(run: Run, features: int, classes: int) -> float:
    """About how much there is to do for a run, in multiplications an example times epochs; for order and ETA only."""
    sizes = [features, *run.settings.widths, classes]
    products = sum(a * b for a, b in pairwise(sizes))
    masks = 100 * sum(run.settings.widths) if run.settings.dropout else 0
    return run.settings.epochs * float(products + masks)


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
