"""The Python face: declare a study, run it, look at what it says."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplab.config import StudySettings, load_study
from droplab.data.dataset import Dataset
from droplab.data.files import load_dataset
from droplab.errors import DroplabError, StoreError
from droplab.report.page import Origin
from droplab.report.tables import ArmComparison, arms_table, best_arm, control_comparisons, results_frame
from droplab.report.write import write_report
from droplab.study.plan import Plan, Run, plan_study
from droplab.study.records import RunRecord
from droplab.study.runner import Observer, Summary, run_all
from droplab.study.store import Store, store_path
from droplab.train.device import resolve_way
from droplab.train.engine import Progress
from droplab.train.outcome import Trained

if TYPE_CHECKING:
    import pandas as pd


class Silent:
    """An observer that says nothing."""

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """Nothing to say."""

    def progress(self, run: Run, progress: Progress) -> None:
        """Nothing to say."""

    def finished(self, run: Run, result: Trained | DroplabError) -> None:
        """Nothing to say."""

    def notice(self, text: str) -> None:
        """Nothing to say."""


class Study:
    """A study that can be run.

    Args:
        settings: what is compared, on what, how often.

    Example:
        >>> study = Study.preset("mnist-depth", data="digits", depths=(2,), epochs=3, seeds=2)
        >>> study.settings.architectures
        ((512,),)
    """

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings

    @classmethod
    def preset(cls, spec: str, **overrides: Any) -> Study:
        """A study from a preset's name or a TOML file, with single settings replaced.

        Raises:
            ConfigError: if there is no such preset, or a setting is wrong.
        """
        settings = load_study(spec)
        return cls(settings.override(**overrides) if overrides else settings)

    def run(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        observer: Observer | None = None,
    ) -> StudyResult:
        """Train what the store lacks, and return everything.

        Args:
            store: SQLite file; `None` for the user's own.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU; `None` for one a core.
            observer: told how far it is.

        Raises:
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        observer = observer or Silent()
        way = resolve_way(device, precision)
        dataset = load_dataset(self.settings.data, notify=observer.notice)
        plan = plan_study(self.settings, dataset.fingerprint, way)
        with Store(store) as opened:
            summary = run_all(plan.runs, dataset, opened, observer, workers)
            return _collect(plan, dataset, opened, summary)

    def recall(
        self, *, store: str | Path | None = None, device: str = "auto", precision: str = "auto"
    ) -> StudyResult:
        """What the store already has of this study; nothing is trained. Arguments and errors as `run`.

        Raises:
            StoreError: if it has none of the study's runs.
        """
        if not (path := store_path(store)).exists():
            raise StoreError(f"{path}: there must be a store to report from; found none. `droplab study` makes it.")
        dataset = load_dataset(self.settings.data)
        plan = plan_study(self.settings, dataset.fingerprint, resolve_way(device, precision))
        with Store(store) as opened:
            had = opened.finished([run.key for run in plan.runs])
            if not had:
                raise StoreError(
                    f"the store must have runs of the study {self.settings.name!r} for a report; found none of "
                    f"{len(plan.runs)}. Train them first: droplab study, with the same settings."
                )
            return _collect(plan, dataset, opened, Summary(reused=len(had)))


@dataclass(frozen=True)
class StudyResult:
    """A study with its results.

    Attributes:
        plan: settings, arms and runs.
        records: what the store holds of each run, by content key; an interrupted study lacks some.
        weights: the file of each run's weights, by content key.
        dataset: the data.
        summary: what was trained now, and what was said on the way.
    """

    plan: Plan
    records: dict[str, RunRecord]
    weights: dict[str, Path]
    dataset: Dataset
    summary: Summary

    def table(self) -> pd.DataFrame:
        """A row an arm: means and standard deviations over the seeds."""
        return arms_table(self.plan, self.records)

    def results(self) -> pd.DataFrame:
        """Tidy, a row a value: what `results.csv` holds."""
        return results_frame(self.plan, self.records)

    def comparisons(self) -> list[ArmComparison]:
        """Each dropout arm against its control on test, dropout off: difference, 95 % paired t interval, verdict."""
        return control_comparisons(self.plan, self.results())

    def write(self, out: Path, command: str) -> list[Path]:
        """Write report, tables, figures and models into the folder `out`; returns the files.

        Raises:
            DroplabError: if the folder cannot be written.
        """
        files = write_report(out, self.plan, self.records, self._origin(command))
        return files + self._write_models(out / "models")

    def _origin(self, command: str) -> Origin:
        train = len(self.dataset.train_y)
        valid = math.ceil(self.plan.settings.valid_fraction * train)
        return Origin(
            data=self.dataset.name,
            source=self.dataset.source,
            classes=self.dataset.classes,
            examples={"train": train - valid, "valid": valid, "test": len(self.dataset.test_y)},
            command=command,
            notices=tuple(self.summary.notices),
            started=self.summary.started,
            trained=self.summary.trained,
            seconds=self.summary.seconds,
        )

    def _write_models(self, folder: Path) -> list[Path]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            written = [
                _copy(self.weights[run.key], folder / f"{arm.name},seed={run.settings.seed}.safetensors")
                for run in self.plan.runs
                if run.key in self.weights
                for arm in run.arms
            ]
            chosen = self._best_run()
            return [*written, _copy(self.weights[chosen.key], folder / "best.safetensors")]
        except OSError as error:
            raise DroplabError(f"{folder}: the models must be writable there; {error}.") from None

    def _best_run(self) -> Run:
        """Of the arm that is best on valid, the seed that is."""
        best = best_arm(self.plan, self.results())
        runs = [run for run in self.plan.runs if run.key in self.records and best in run.arms]
        return max(runs, key=lambda run: valid_accuracy(self.records[run.key]))


def valid_accuracy(record: RunRecord) -> float:
    """Accuracy on valid with dropout off, in [0, 1]: the number that choices are made by."""
    return record.outcome.metric("off", "valid", "accuracy")


def _copy(source: Path, target: Path) -> Path:
    part = target.with_name(target.name + ".part")
    shutil.copyfile(source, part)
    return part.replace(target)


def _collect(plan: Plan, dataset: Dataset, store: Store, summary: Summary) -> StudyResult:
    records = store.load([run.key for run in plan.runs])
    weights = {key: store.weights_path(record) for key, record in records.items()}
    return StudyResult(plan, records, weights, dataset, summary)
