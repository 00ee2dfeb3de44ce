"""The Python face: declare a study, run it, look at what it says."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplab.config import StudySettings, load_study
from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.files import dataset_at_hand, dataset_name, load_dataset
from droplab.errors import ConfigError, DroplabError, StoreError
from droplab.report.card import render_card
from droplab.report.exhibits import Exhibits
from droplab.report.exhibits import collect as collect_exhibits
from droplab.report.folder import Folder, file_names
from droplab.report.markdown import render_markdown
from droplab.report.notebook import StudyCharts, html_fragment
from droplab.report.origin import Origin
from droplab.report.probabilities import probability_frame
from droplab.report.regimes import arm_states
from droplab.report.single import write_page
from droplab.report.tables import (
    arms_table,
    best_arm,
    compare_arms,
    control_comparisons,
    ranking,
    results_frame,
)
from droplab.report.words import looks_words, refit_words, regime_words
from droplab.report.write import REPORT, write_report, write_tables
from droplab.study.forecast import Forecast
from droplab.study.plan import Arm, Plan, Run, plan_refit, plan_study, plan_way, study_arms
from droplab.study.records import RunRecord
from droplab.study.runner import Observer, Summary, clipped_batch, foretell, run_all
from droplab.study.sequence import keep_looks, looks_ahead, run_study
from droplab.study.sqlite import store_path
from droplab.study.store import Store
from droplab.study.verdicts import ArmComparison
from droplab.train.device import resolve_way
from droplab.train.engine import Progress
from droplab.train.examples import Examples
from droplab.train.outcome import PRECISIONS, Precision, Trained, Way

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


class Warn:
    """The observer of who gives none: says nothing of progress, and warns of what must be known."""

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
        warnings.warn(text, stacklevel=2)


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
        refit: bool = False,
    ) -> StudyResult:
        """Train what the store lacks, and return everything.

        Args:
            store: SQLite file; `None` for the user's own.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU; `None` for one a core.
            observer: told how far it is. Without one, what must be known (a clipped batch, a network that could not be
                trained) is a warning, and Ctrl-C is a `KeyboardInterrupt`, after which the same call goes on; with one,
                an interrupted study returns what is finished (`summary.interrupted`).
            refit: train the network that valid chose again, with every seed, on train and valid together; the test
                split is looked at once more, and chooses nothing.

        Raises:
            ConfigError: if `refit` is asked for with fewer training examples than there are.
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        if refit and self.settings.train_examples:
            raise ConfigError(
                f"refit trains on all training examples; found train_examples={self.settings.train_examples}. "
                "Leave one out."
            )
        quiet, observer = observer is None, observer or Warn()
        resolve_way(device, precision)  # before anything is fetched
        dataset = self._dataset(observer.notice)
        way, notices = plan_way(dataset, device, precision)
        for notice in (*dataset.look.findings, *notices):
            observer.notice(notice)
        plan = plan_study(self.settings, dataset.fingerprint, way)
        with Store(store) as opened:
            plan = plan.looked_at(opened.looks(plan.identity))
            summary = run_study(plan, dataset, opened, observer, workers)
            summary.notices[:0] = notices
            if refit and not summary.interrupted and summary.reused + summary.trained:
                chosen, again = _refits(plan, opened.load([run.key for run in plan.runs]))
                observer.notice(f"valid chose {chosen.name}: it is trained again on train and valid together")
                summary.add(run_all(again, dataset, opened, observer, workers))
            if quiet and summary.interrupted:
                raise KeyboardInterrupt
            return _collect(plan, dataset.card, opened, summary, observer.notice, dataset)

    def _dataset(self, notify: Callable[[str], None]) -> Dataset:
        return load_dataset(self.settings.data, **self.settings.reading, notify=notify)

    def files(self, probabilities: bool = False) -> list[str]:
        """The files that `StudyResult.write` may write, by their paths in its folder.

        Raises:
            ConfigError: if an arm's settings cannot be.
        """
        names = [
            f"{name},seed={seed}"
            for name in arm_files(study_arms(self.settings)).values()
            for seed in self.settings.seeds
        ]
        models = [f"models/{name}.safetensors" for name in (*names, "best", "refit")]
        said = [f"probabilities/{name}.parquet" for name in names] if probabilities else []
        return [*REPORT, *models, "models/MODEL_CARD.md", *said]

    def foretell(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> tuple[Plan, Forecast]:
        """What `run` would train, and about what it would take; nothing is trained.

        Args:
            store: as `run`, likewise the others; it is not made where it is not there.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU; `None` for one a core.
            notify: told what must be known, as where the data come from; without it that is a warning.

        Raises:
            DroplabError: as `run`.
        """
        resolve_way(device, precision)
        notify = notify or Warn().notice
        dataset = self._dataset(notify)
        way, _ = plan_way(dataset, device, precision)
        plan = plan_study(self.settings, dataset.fingerprint, way)
        with Store(store) if store_path(store).exists() else nullcontext() as opened:
            forecast = foretell(plan.runs, dataset, opened, workers)
            if self.settings.until is not None:
                finished = opened.finished([run.key for run in plan.runs]) if opened else set()
                plan = plan.looked_at(opened.looks(plan.identity) if opened else [])
                for line in looks_ahead(plan, finished, dataset, workers):
                    notify(line)
            return plan, forecast

    def recall(
        self,
        *,
        store: str | Path | None = None,
        precision: str = "auto",
        notify: Callable[[str], None] | None = None,
    ) -> StudyResult:
        """What the store has of this study; nothing is trained, and neither data nor device is needed.

        Args:
            store: as `run`.
            precision: of the runs wanted; `auto` takes that of which the store has most.
            notify: told of each run that is damaged, which is left out; without it that is a warning.

        Raises:
            StoreError: if it has none of the study's runs.
        """
        if not (path := store_path(store)).exists():
            raise StoreError(f"{path}: there must be a store to report from; found none. `droplab study` makes it.")
        precisions: tuple[Precision, ...] = tuple(p for p in PRECISIONS if precision in ("auto", p))
        with Store(store) as opened:
            candidates = [
                (plan_study(self.settings, card.fingerprint, Way("cpu", p)), card)
                for card in opened.datasets(dataset_name(self.settings.data))
                for p in precisions
            ]
            counts = [len(opened.finished([run.key for run in plan.runs])) for plan, _ in candidates]
            if not any(counts):
                raise StoreError(
                    f"{path}: must have runs of the study {self.settings.name!r} on {self.settings.data} in "
                    f"{' or '.join(precisions) or precision}; found none. Train them first: droplab study, with the "
                    "same settings."
                )
            plan, card = candidates[counts.index(max(counts))]
            plan = plan.looked_at(opened.looks(plan.identity))
            with suppress(StoreError):  # a store that is only read
                keep_looks(plan, opened.load([run.key for run in plan.runs], lambda _: None), opened)
            clipped = clipped_batch(self.settings, card)
            summary = Summary(reused=max(counts), notices=[clipped] if clipped else [])
            return _collect(plan, card, opened, summary, notify or Warn().notice)


@dataclass(frozen=True)
class StudyResult:
    """A study with its results.

    Attributes:
        plan: settings, arms and runs.
        records: what the store holds of each run, by content key; an interrupted study lacks some.
        dataset: what is known of the data.
        store: where records and models lie; closed.
        summary: what was trained now, and what was said on the way.
        refits: the network that valid chose, trained again on train and valid together, by seed; empty
            where it was not.
        data: the examples, where they were needed; else `exhibits` looks whether they are at hand.
    """

    plan: Plan
    records: dict[str, RunRecord]
    dataset: DatasetCard
    store: Store
    summary: Summary
    refits: dict[int, RunRecord]
    data: Dataset | None = None

    def table(self) -> pd.DataFrame:
        """A row an arm: means and standard deviations over the seeds."""
        return arms_table(self.plan, self.records)

    def results(self) -> pd.DataFrame:
        """Tidy, a row a value: what `results.csv` holds."""
        return results_frame(self.plan, self.records)

    @property
    def charts(self) -> StudyCharts:
        """The figures of the report as Altair charts: `result.charts.difference()`, `dict(result.charts)`.

        Raises:
            DataError: if no run is finished.
        """
        return StudyCharts(self.plan, self.records, self.exhibits)

    def exhibits(self) -> Exhibits:
        """What can be shown of the network that valid chose: confusion, mistakes, first layer, activations.

        Raises:
            DroplabError: if no run is finished, or the weights are not there.
        """
        best = self._best_run()
        _, info = self.store.read_weights(self.records[best.key])
        data = self._data_at_hand()

        def weights(record: RunRecord) -> dict[str, NDArray[np.float32]]:
            return self.store.read_weights(record)[0]

        return collect_exhibits(self.plan, self.records, best, info.classes, info.image_shape, weights, data)

    def refit_words(self) -> str:
        """What the network that valid chose came to when it was trained again; empty where it was not."""
        return refit_words(self.refits, self.dataset.train_examples)

    def looks_words(self) -> str | None:
        """At what the study was looked at, and what each look decided; `None` for one that is looked at once."""
        return looks_words(self.plan, self.comparisons())

    def regime_words(self) -> str | None:
        """In what state training was when it stopped; `None` where no verdict suffers from it."""
        return regime_words(arm_states(self.plan, self.records))

    def _repr_html_(self) -> str:
        return html_fragment(self.plan, self.records)

    def compare(self, regularizer: str, against: str = "control") -> list[ArmComparison]:
        """Two regularizers on test with dropout off: difference, the interval that decides, and verdict, one a network.

        Args:
            regularizer: as arms are named: `dropout=0.5`, or `control`.
            against: likewise.

        Raises:
            ConfigError: if the study has no such arms.
        """
        return compare_arms(self.plan, self.records, regularizer, against)

    def comparisons(self) -> list[ArmComparison]:
        """Every arm against its control, as `compare`."""
        return control_comparisons(self.plan, self.records)

    def ranking(self) -> list[ArmComparison]:
        """Every arm against the one with the highest mean accuracy on valid, by that accuracy, as `compare`."""
        return ranking(self.plan, self.records)

    def write(
        self,
        out: Path,
        command: str,
        probabilities: bool = False,
        *,
        force: bool = False,
        raw: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> list[Path]:
        """Write tables, models, the best one's card, figures and report into the folder `out`; returns the files.

        What an earlier study wrote there and this one does not is taken away; other files stay.

        Args:
            out: the folder; made where it is not there.
            command: what repeats the study, as typed.
            probabilities: also what every network says of every example of valid and test, a parquet file each.
            force: whether files of these names that droplab did not write are written over.
            raw: whether text goes into `results.csv` as it is, also where a spreadsheet takes it for a formula.
            notify: told that figures could not be drawn, if so; without it that is a warning.

        Raises:
            DroplabError: if the folder cannot be written, or the data that probabilities need are not at hand.
        """
        folder, origin = Folder(out, force), self._origin(command)
        files = write_tables(folder, self.plan, self.records, origin, raw)
        files += [*self._write_models(folder), self._write_card(folder, origin)]
        files += self._write_probabilities(folder) if probabilities else []
        notify = notify or Warn().notice
        files += write_report(folder, self.plan, self.records, origin, self.exhibits(), self.refits, notify)
        folder.finish()
        return files

    def write_page(
        self, out: Path, command: str, *, force: bool = False, notify: Callable[[str], None] | None = None
    ) -> Path:
        """Write the report's HTML page, and nothing else, into the folder `out`; arguments as those of `write`.

        Raises:
            DroplabError: if no run is finished, or the file cannot be written.
        """
        folder, origin, notify = Folder(out, force), self._origin(command), notify or Warn().notice
        exhibits = self.exhibits() if self.records else None
        return write_page(folder, self.plan, self.records, origin, exhibits, self.refits, notify)

    def markdown(self, command: str) -> str:
        """The report as Markdown that fits in a pull request: question, answer, verdicts, arms and `command`."""
        return render_markdown(self.plan, self.records, self._origin(command))

    def _origin(self, command: str) -> Origin:
        ledgers = (record.outcome.ledger for record in self.records.values())
        valid = next((len(ledger["valid"]) for ledger in ledgers), 0)  # where there are groups, they decide it
        return Origin.of(self.dataset, valid, self.plan.settings.train_examples, self.summary, command)

    def _write_models(self, folder: Folder) -> list[Path]:
        """Every run's model under the names of its arms, and the best."""
        names, best = arm_files(self.plan.arms), self._best_run()
        models = {
            f"{names[arm.name]},seed={run.settings.seed}": self.records[run.key]
            for run in self.plan.runs
            if run.key in self.records
            for arm in run.arms
        }
        models["best"] = self.records[best.key]
        if self.refits:
            models["refit"] = self.refits.get(best.settings.seed) or next(iter(self.refits.values()))
        return [
            folder.write(f"models/{name}.safetensors", self.store.read_model(record)) for name, record in models.items()
        ]

    def _write_probabilities(self, folder: Folder) -> list[Path]:
        """Those of every run, under the name of its first arm."""
        data = self._data_at_hand()
        if data is None:
            raise DroplabError(
                f"probabilities need the data, {self.plan.settings.data!r} as the study had them; found none at hand. "
                "Run `droplab study` with --probabilities, which fetches them."
            )
        names, paths = arm_files(self.plan.arms), []
        for run in self.plan.runs:
            if run.key in self.records:
                record = self.records[run.key]
                examples = Examples.of(data, run.settings.valid_fraction, run.settings.split_seed)
                frame = probability_frame(record, self.store.read_weights(record)[0], data, examples)
                name, content = f"{names[run.arms[0].name]},seed={run.settings.seed}", io.BytesIO()
                frame.to_parquet(content, index=False)
                paths.append(folder.write(f"probabilities/{name}.parquet", content.getvalue()))
        return paths

    def _data_at_hand(self) -> Dataset | None:
        settings = self.plan.settings
        return self.data or dataset_at_hand(settings.data, self.plan.fingerprint, **settings.reading)

    def _write_card(self, folder: Folder, origin: Origin) -> Path:
        """The card of the best model, beside it."""
        best = self._best_run()
        _, info = self.store.read_weights(self.records[best.key])
        card = render_card(self.plan, self.records, origin, best, info, "best.safetensors")
        return folder.write("models/MODEL_CARD.md", card.encode())

    def _best_run(self) -> Run:
        """Of the arm that valid chose, the seed that is best there."""
        best = best_arm(self.plan, self.results())
        runs = [run for run in self.plan.runs if run.key in self.records and best in run.arms]
        return max(runs, key=lambda run: valid_accuracy(self.records[run.key]))


def valid_accuracy(record: RunRecord) -> float:
    """Accuracy on valid with dropout off, in [0, 1]: the number that choices are made by."""
    return record.outcome.metric("off", "valid", "accuracy")


def _refits(plan: Plan, records: Mapping[str, RunRecord]) -> tuple[Arm, tuple[Run, ...]]:
    """The arm that valid chose among the finished runs, and its networks trained on train and valid together."""
    chosen = best_arm(plan, results_frame(plan, records))
    return chosen, plan_refit(plan, chosen, {key: record.outcome for key, record in records.items()})


def arm_files(arms: Sequence[Arm]) -> dict[str, str]:
    """How files call each arm, by its name."""
    return file_names(arm.name for arm in arms)


def _collect(
    plan: Plan,
    card: DatasetCard,
    store: Store,
    summary: Summary,
    notify: Callable[[str], None],
    data: Dataset | None = None,
) -> StudyResult:
    def told(fault: str) -> None:
        summary.notices.append(fault)
        notify(fault)

    records = store.load([run.key for run in plan.runs], told)
    refits: dict[int, RunRecord] = {}
    if records:
        _, again = _refits(plan, records)
        found = store.load([run.key for run in again], told)
        refits = {record.settings.seed: record for record in found.values()}
    return StudyResult(plan, records, card, store, summary, refits, data)
