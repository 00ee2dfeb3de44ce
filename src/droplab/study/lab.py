"""The lab: the only place where data are read, runs planned, trained, filed, chosen and refitted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from droplab.config import NUMERICS_VERSION, Recipe, RunSettings, StudySettings
from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.files import dataset_name, load_dataset
from droplab.data.given import Given
from droplab.errors import ConfigError, DataError, DroplabError, StoreError
from droplab.study.backends import Site, site_of
from droplab.study.findings import Findings
from droplab.study.forecast import Forecast
from droplab.study.location import database_at
from droplab.study.plan import Plan, Run, plan_refit, plan_run, plan_study, plan_way
from droplab.study.progress import Bar, in_notebook
from droplab.study.records import RunRecord
from droplab.study.runner import Observer, Summary, clipped_batch, foretell, run_all
from droplab.study.sequence import keep_looks, looks_ahead, run_study
from droplab.study.store import Store
from droplab.train.outcome import PRECISIONS, Precision, Trained, Way
from droplab.train.state import Progress

Fitting = TypeVar("Fitting", bound=Recipe)

_STEPS = 100  # of float32, that a standard deviation of targets has at least


class Warn:
    """The observer of who gives none: says nothing of progress, and warns of what must be known.

    Args:
        tell: told this instead; without it, it is a warning.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell

    def planned(self, forecast: Forecast) -> None:
        """Nothing to say."""

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """Nothing to say."""

    def progress(self, run: Run, progress: Progress) -> None:
        """Nothing to say."""

    def finished(self, run: Run, result: Trained | DroplabError) -> None:
        """Warn of a run that failed."""
        if isinstance(result, DroplabError):
            self.notice(str(result))

    def looked(self, text: str) -> None:
        """Nothing to say."""

    def notice(self, text: str) -> None:
        """Warn."""
        if self._tell is None:
            warnings.warn(text, stacklevel=2)
        else:
            self._tell(text)


@dataclass(frozen=True)
class Ready:
    """Data that were read, and how networks are trained on them here.

    Attributes:
        dataset: the examples.
        way: of execution.
        notices: what must be known of the way.
    """

    dataset: Dataset
    way: Way
    notices: list[str]

    def run(self, settings: RunSettings) -> Run:
        """A network that is no study's, planned.

        Raises:
            ConfigError: if its settings cannot be.
        """
        return plan_run(_fitting(settings, self.dataset), self.dataset.fingerprint, self.way)


@dataclass(frozen=True)
class Lab:
    """Where networks are trained, and kept.

    Attributes:
        store: file, or URL of a server's database; `None` for the user's own.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `fp32` or `bf16`.
        workers: processes on a CPU; `None` for one a core.
        observer: told how far it is. Without one, a notebook shows a bar; elsewhere, what must be known (a clipped
            batch, a network that could not be trained) is a warning. Without one, Ctrl-C is a `KeyboardInterrupt`,
            after which the same call goes on; with one, what was interrupted returns what is finished.
        files: where a new store keeps weights and checkpoints, as `Store` takes it.
        backend: where networks are trained, `local` or `ray`.
        address: of a Ray cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of, or else
            a new one on this machine.

    Example:
        >>> lab = Lab(device="cpu")
        >>> lab.read("digits").dataset.features
        64
    """

    store: str | Path | None = field(default=None, repr=False)  # it may have a password, and a notebook shows results
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    observer: Observer | None = field(default=None, compare=False)
    files: str | None = None
    backend: str = "local"
    address: str | None = None

    @property
    def watcher(self) -> Observer:
        """The observer, or a new one: in a notebook one that shows a bar, else one that warns."""
        return self.observer or (Bar() if in_notebook() else Warn())

    @cached_property
    def site(self) -> Site:
        """Where networks are trained.

        Raises:
            DroplabError: if there is no such place.
        """
        if self.backend == "ray":
            self.watcher.looked("looking for the Ray cluster, or starting one on this machine")
        return site_of(self.backend, self.address)

    def read(self, data: str | Path | Given, **reading: Any) -> Ready:
        """Read data, and decide how networks are trained on them; a device that is not there is told of before.

        Args:
            data: a name, a path or what is at hand, as `data.files.load_dataset` takes it.
            reading: its other arguments.

        Raises:
            DroplabError: if they cannot be had, or the device is not there.
        """
        self.site.resolve(self.device, self.precision)  # before anything is fetched
        tell = self.watcher.notice
        dataset = load_dataset(data, **reading, notify=tell)
        way, notices = plan_way(dataset, self.device, self.precision, self.site.resolve)
        notices += self.site.notices
        for notice in (*dataset.look.findings, *notices):
            tell(notice)
        return Ready(dataset, way, notices)

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """The store, open; made where it is not there."""
        with Store(self.store, self.files, self.watcher.notice) as store:
            yield store

    @contextmanager
    def existing(self) -> Iterator[Store | None]:
        """The store, open, or `None` where there is none yet."""
        with self.opened() if database_at(self.store).exists else nullcontext() as store:
            yield store

    def train(self, runs: Sequence[Run], dataset: Dataset, store: Store) -> Summary:
        """Train those of the runs that the store lacks, and file them: `runner.run_all`."""
        with self.site as site:
            return self._ended(run_all(runs, dataset, store, self.watcher, self.workers, site))

    def forecast(self, runs: Sequence[Run], dataset: Dataset, store: Store | None) -> Forecast:
        """What `train` would take: `runner.foretell`."""
        return foretell(runs, dataset, store, self.workers, self.site)

    def networks(
        self, settings: Sequence[RunSettings], ready: Ready, store: Store
    ) -> tuple[tuple[Run, ...], dict[str, RunRecord], Summary]:
        """Train networks that are no study's; with their records by content key, some missing if it was interrupted.

        Raises:
            DroplabError: if one cannot be trained.
        """
        runs = tuple(ready.run(one) for one in settings)
        summary = self.train(runs, ready.dataset, store)
        if summary.failures:
            raise summary.failures[0]
        return runs, store.load([run.key for run in runs]), summary

    def study(
        self, settings: StudySettings, refit: bool = False, data: Given | None = None
    ) -> tuple[Findings, Summary, Dataset]:
        """Train what a study needs and the store lacks.

        Args:
            settings: the study's.
            refit: whether the network that valid chose is trained again, with every seed, on train and valid together.
            data: arrays or DataFrames, where the settings only name them.

        Raises:
            ConfigError: if `refit` is asked for with fewer training examples than there are.
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        if refit and settings.train_examples:
            raise ConfigError(
                f"refit trains on all training examples; found train_examples={settings.train_examples}. Leave one out."
            )
        ready = self.read(data or settings.data, **settings.reading)
        with self.opened() as store:
            plan = _plan(settings, ready, store)
            summary = self._ended(run_study(plan, ready.dataset, store, self.watcher, self.workers, self.site))
            summary.notices[:0] = ready.notices
            findings = self._findings(plan, ready.dataset.card, store, summary)
            unread = [run for run in plan.runs if run.key not in findings.records]
            if not summary.interrupted and (had := store.finished([run.key for run in unread])):
                summary.reused -= len(had)  # they turned out to be damaged when they were read
                summary.add(self.train([run for run in unread if run.key in had], ready.dataset, store))
                findings = self._findings(plan, ready.dataset.card, store, summary)
            again = _refits(findings)
            if refit and not summary.interrupted and findings.records:
                self.watcher.notice(
                    f"valid chose {findings.best.name}: it is trained again on train and valid together"
                )
                summary.add(self.train(again, ready.dataset, store))
            self._load_refits(findings, again, store, summary)
            return findings, summary, ready.dataset

    def recall(self, settings: StudySettings, data: Given | None = None) -> tuple[Findings, Summary]:
        """What the store has of a study; nothing is trained, and neither data nor device is needed.

        The precision is that of the runs wanted; `auto` takes that of which the store has most. So it is with numerics
        versions, which never mix: an older droplab's runs are found where there are more of them.

        Raises:
            StoreError: if it has none of the study's runs.
        """
        if not (database := database_at(self.store)).exists:
            raise StoreError(
                f"{database.name}: there must be a store to report from; found none. `droplab study` makes it."
            )
        reading = settings.reading | {"notify": lambda _: None}
        cards = None if data is None else [load_dataset(data, **reading).card]
        precisions: tuple[Precision, ...] = tuple(p for p in PRECISIONS if self.precision in ("auto", p))
        with self.opened() as store:
            candidates = [
                (plan_study(settings.for_targets(not card.classes), card.fingerprint, Way("cpu", p), numerics), card)
                for numerics in range(NUMERICS_VERSION, 0, -1)
                for card in cards or store.datasets(dataset_name(settings.data))
                for p in precisions
            ]
            counts = [len(store.finished([run.key for run in plan.runs])) for plan, _ in candidates]
            if not any(counts):
                raise StoreError(
                    f"{database.name}: must have runs of the study {settings.name!r} on {settings.data} in "
                    f"{' or '.join(precisions) or self.precision}; found none. Train them first: droplab study, with "
                    "the same settings."
                )
            plan, card = candidates[counts.index(max(counts))]
            plan = plan.looked_at(store.looks(plan.identity))
            notices = [_older_numerics(plan), clipped_batch(settings, card)]
            summary = Summary(reused=max(counts), notices=[one for one in notices if one])
            findings = self._findings(plan, card, store, summary)
            self._load_refits(findings, _refits(findings), store, summary)
            return findings, summary

    def foretell(self, settings: StudySettings, data: Given | None = None) -> tuple[Plan, Forecast]:
        """What `study` would train, and about what it would take; nothing is trained, and no store made.

        Raises:
            DroplabError: as `study`.
        """
        ready = self.read(data or settings.data, **settings.reading)
        with self.existing() as store:
            plan = _plan(settings, ready, store)
            forecast = self.forecast(plan.runs, ready.dataset, store)
            if settings.until is not None:
                finished = store.finished([run.key for run in plan.runs]) if store else set()
                for line in looks_ahead(plan, finished, ready.dataset, self.workers, self.site):
                    self.watcher.notice(line)
            return plan, forecast

    def _findings(self, plan: Plan, card: DatasetCard, store: Store, summary: Summary) -> Findings:
        """What the store has of a plan, the looks kept that it allows."""
        records = self._load(plan.runs, store, summary)
        with suppress(StoreError):  # a store that is only read
            keep_looks(plan, records, store)
        for record in records.values():
            record.merit(plan.settings.measure)  # which an older droplab's may lack
        features = None
        for record in list(records.values())[:1]:
            with suppress(DroplabError):
                features = store.read_weights(record)[1].features
        return Findings(plan, records, card, features)

    def _load(self, runs: Sequence[Run], store: Store, summary: Summary) -> dict[str, RunRecord]:
        """What the store has of some runs; what is damaged is told and left out."""

        def told(fault: str) -> None:
            summary.notices.append(fault)
            self.watcher.notice(fault)

        return store.load([run.key for run in runs], told)

    def _load_refits(self, findings: Findings, runs: Sequence[Run], store: Store, summary: Summary) -> None:
        """Add the networks that were trained again to the findings."""
        records = self._load(runs, store, summary).values()
        findings.refits.update({record.settings.seed: record for record in records})

    def _ended(self, summary: Summary) -> Summary:
        """What was run; where nobody watches it, Ctrl-C is raised."""
        if summary.interrupted and self.observer is None:
            raise KeyboardInterrupt
        return summary


def _fitting(settings: Fitting, dataset: Dataset) -> Fitting:
    """Settings for what the targets are.

    Raises:
        ConfigError: if they make no sense there.
    """
    found = settings.for_targets(dataset.is_of_numbers)
    if dataset.is_of_numbers:
        _check_apart(dataset.train_y)
    losses = {found.loss, *(dict(found.vary).get("loss", ()) if isinstance(found, StudySettings) else ())}
    if "poisson" in losses and (least := dataset.train_y.min()) < 0:
        raise ConfigError(f"loss=poisson is of counts; found targets down to {least:g}. Choose another loss.")
    return found


def _check_apart(targets: NDArray[np.float64]) -> None:
    """Raise `DataError` unless networks, which answer in float32, can tell targets apart, shape (N,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = targets.mean(), targets.std()
        step = np.spacing(np.abs(targets).max().astype(np.float32))
    if not step <= deviation / _STEPS:  # NaN where float32 overflows
        raise DataError(
            f"targets must vary by more than {_STEPS} steps of float32, in which networks answer; found a mean of "
            f"{mean:g} and a standard deviation of {deviation:.3g}. Take a constant off them, or another unit."
        )


def _plan(settings: StudySettings, ready: Ready, store: Store | None) -> Plan:
    """The plan of a study, with the looks at it that the store has."""
    plan = plan_study(_fitting(settings, ready.dataset), ready.dataset.fingerprint, ready.way)
    return plan.looked_at(store.looks(plan.identity) if store else [])


def _older_numerics(plan: Plan) -> str | None:
    """What to say of runs that an older droplab trained."""
    if plan.numerics == NUMERICS_VERSION:
        return None
    return (
        f"these networks are of numerics version {plan.numerics}, an older droplab's; trained again, they would be of "
        f"version {NUMERICS_VERSION}, and differ by what rounding and random numbers make of it"
    )


def _refits(findings: Findings) -> tuple[Run, ...]:
    """The networks of the arm that valid chose, to be trained on train and valid together; none where none is."""
    if not findings.records:
        return ()
    outcomes = {key: record.outcome for key, record in findings.records.items()}
    return plan_refit(findings.plan, findings.best, outcomes)
