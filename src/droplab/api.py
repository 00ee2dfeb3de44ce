"""The Python face: declare a study, run it, look at what it says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from droplab.config import StudySettings, load_study
from droplab.data.dataset import Dataset, DatasetCard
from droplab.data.files import dataset_at_hand, dataset_name
from droplab.data.given import IN_MEMORY, Given
from droplab.data.output import Folder, file_names
from droplab.errors import DroplabError
from droplab.report.card import render_card
from droplab.report.drawing import FILES, PAGE
from droplab.report.figures import study_figures
from droplab.report.markdown import render_markdown
from droplab.report.notebook import Comparisons, StudyCharts, html_fragment, settings_fragment
from droplab.report.write import (
    REPORT,
    check_kinds,
    drawn,
    write_dictionary,
    write_page,
    write_report,
    write_tables,
)
from droplab.study.exhibits import Exhibits, collect_exhibits
from droplab.study.findings import Findings
from droplab.study.forecast import Forecast
from droplab.study.lab import Lab, Warn
from droplab.study.origin import Origin
from droplab.study.plan import Arm, Plan, study_arms
from droplab.study.probabilities import probability_frame
from droplab.study.records import RunRecord
from droplab.study.runner import Observer, Summary
from droplab.study.store import Store
from droplab.train.examples import Examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


class Study:
    """A study that can be run.

    Args:
        settings: what is compared, on what, how often.
        data: arrays or DataFrames, where the settings only name them.

    Example:
        >>> study = Study.preset("mnist-depth", data="digits", depths=(2,), epochs=3, seeds=2)
        >>> study.settings.architectures
        ((512,),)
    """

    def __init__(self, settings: StudySettings, data: Given | None = None) -> None:
        self.settings, self.data = settings, data

    @classmethod
    def preset(cls, spec: str, **overrides: Any) -> Study:
        """A study from a preset's name or a TOML file, with single settings replaced; `data` may be what `of` takes.

        Raises:
            ConfigError: if there is no such preset, or a setting is wrong.
        """
        settings = load_study(spec)
        given, overrides = _named(overrides)
        return cls(settings.override(**overrides) if overrides else settings, given)

    @classmethod
    def of(
        cls,
        data: Any = "mnist",
        *,
        dropout: float | Sequence[float | Sequence[float]] | None = None,
        depths: int | Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
        seeds: int | Sequence[int] = 3,
        **settings: Any,
    ) -> Study:
        """A study of your own: networks trained with dropout, each beside the same one without.

        Args:
            data: a data set by name, or a path: a table (which needs `target`, the column of the classes, or of
                numbers), an npz file, a folder. Or arrays, `(X, y)` or `(X, y, X_test, y_test)`, where X may be a
                DataFrame (pandas, polars) and is then read as a table is; or a DataFrame with `target`, and perhaps
                another as `test`. With these `groups` may be an array, and `name` is also that of the data.
            dropout: the drop rate, or several, each in [0, 1) or one a hidden layer; 0.5 unless given.
            depths: numbers of layers, hidden widths halving from `first_width`; 2 and 3 unless `widths` are given.
            widths: instead, the hidden widths of a single network.
            seeds: how often each is repeated, or the seeds themselves.
            settings: any other of `StudySettings`, by its name; not given, `epochs` and `batch_size` are 100, and
                `momentum` is 0.9 if the optimizer is not given either.

        Raises:
            ConfigError: if a setting is not known, or cannot be.
            DataError: if arrays or DataFrames are not what they must be.

        Example:
            >>> Study.of("digits", dropout=[0.2, 0.5], epochs=20).settings.depths
            (2, 3)
        """
        given, settings = _named({"data": data, **settings})
        data = str(settings["data"])
        name = re.sub(r"[^\w.-]+", "-", dataset_name(data)).strip("-.") or "study"
        usual = {"name": name, "epochs": 100, "batch_size": 100}
        usual |= {} if "optimizer" in settings else {"momentum": 0.9}
        networks = {"depths": (2, 3) if depths is None and widths is None else depths, "widths": widths}
        numbers: dict[str, Any] = {"seeds": seeds, **networks} | ({} if dropout is None else {"dropout": dropout})
        plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in numbers.items()}
        plain["depths"] = (depths,) if isinstance(depths, int) else plain["depths"] or ()
        return cls(StudySettings.parse(usual | plain | settings | {"data": data}, "study"), given)

    def run(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        files: str | None = None,
        backend: str = "local",
        address: str | None = None,
        observer: Observer | None = None,
        refit: bool = False,
    ) -> StudyResult:
        """Train what the store lacks, and return everything.

        Args:
            store: a file, or the URL of a database on a server; `None` for the user's own.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU, or packs at once on a cluster; `None` for one a core.
            files: where a new store keeps weights and checkpoints, a path or URL that all machines reach.
            backend: where networks are trained: `local`, this machine, or `ray`, a cluster.
            address: of the Ray cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of,
                or else a new one on this machine.
            observer: told how far it is. Without one, a notebook shows a bar; elsewhere, what must be known (a clipped
                batch, a network that could not be trained) is a warning. Without one, Ctrl-C is a `KeyboardInterrupt`,
                after which the same call goes on; with one, an interrupted study returns what is finished
                (`summary.interrupted`).
            refit: train the network that valid chose again, with every seed, on train and valid together; the test
                split is looked at once more, and chooses nothing.

        Raises:
            ConfigError: if `refit` is asked for with fewer training examples than there are.
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        lab = Lab(store, device, precision, workers, observer, files, backend, address)
        findings, summary, dataset = lab.study(self.settings, refit, self.data)
        return StudyResult(findings, summary, lab, dataset)

    def foretell(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        files: str | None = None,
        backend: str = "local",
        address: str | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> tuple[Plan, Forecast]:
        """What `run` would train, and about what it would take; nothing is trained, and no store made.

        Args:
            store: as `run`, likewise the others.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU, or packs at once on a cluster; `None` for one a core.
            files: where a new store keeps weights and checkpoints, a path or URL that all machines reach.
            backend: where networks are trained: `local`, this machine, or `ray`, a cluster.
            address: of the Ray cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of,
                or else a new one on this machine.
            notify: told what must be known, as where the data come from; without it that is a warning.

        Raises:
            DroplabError: as `run`.
        """
        return Lab(store, device, precision, workers, Warn(notify), files, backend, address).foretell(
            self.settings, self.data
        )

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
        lab = Lab(store, precision=precision, observer=Warn(notify))
        return StudyResult(*lab.recall(self.settings, self.data), lab)

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

    def _repr_html_(self) -> str:
        return settings_fragment(self.settings)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A study with its results.

    Attributes:
        findings: all numbers that it comes to.
        summary: what was trained now, and what was said on the way.
        lab: where it was trained; its store is closed.
        data: the examples, where they were needed; else `exhibits` looks whether they are at hand.
    """

    findings: Findings
    summary: Summary
    lab: Lab
    data: Dataset | None = None

    @property
    def plan(self) -> Plan:
        """Settings, arms and runs."""
        return self.findings.plan

    @property
    def records(self) -> dict[str, RunRecord]:
        """What the store holds of each run, by content key; an interrupted study lacks some."""
        return dict(self.findings.records)

    @property
    def refits(self) -> dict[int, RunRecord]:
        """The network that valid chose, trained again on train and valid together, by seed; empty where it was not."""
        return self.findings.refits

    @property
    def dataset(self) -> DatasetCard:
        """What is known of the data."""
        return self.findings.card

    @cached_property
    def store(self) -> Store:
        """Where records and models lie; closed, which reads models all the same."""
        with self.lab.opened() as store:
            return store

    def table(self) -> pd.DataFrame:
        """A row an arm: means and standard deviations over the seeds."""
        return self.findings.arms

    def results(self) -> pd.DataFrame:
        """Tidy, a row a value: what `results.csv` holds."""
        return self.findings.results

    @property
    def charts(self) -> StudyCharts:
        """The figures of the report as Altair charts: `result.charts.difference()`, `dict(result.charts)`.

        Raises:
            DataError: if no run is finished.
        """
        return StudyCharts(self.findings, self.exhibits)

    def exhibits(self) -> Exhibits:
        """What can be shown of the network that valid chose: confusion, mistakes, first layer, activations.

        Raises:
            DroplabError: if no run is finished, or the weights are not there.
        """
        return self._exhibits

    @cached_property
    def _exhibits(self) -> Exhibits:
        _, info = self.store.read_weights(self.records[self.findings.best_run.key])

        def weights(record: RunRecord) -> dict[str, NDArray[np.float32]]:
            return self.store.read_weights(record)[0]

        return collect_exhibits(self.findings, info, weights, self._data_at_hand)

    def _repr_html_(self) -> str:
        return html_fragment(self.findings)

    def compare(self, regularizer: str, against: str = "control") -> Comparisons:
        """Two regularizers on test with dropout off: difference, the interval that decides, and verdict, one a network.

        Args:
            regularizer: as arms are named: `dropout=0.5`, or `control`.
            against: likewise.

        Raises:
            ConfigError: if the study has no such arms.
        """
        return Comparisons(self.findings.compare(regularizer, against))

    def comparisons(self) -> Comparisons:
        """Every arm against its control, as `compare`."""
        return Comparisons(self.findings.contrasts)

    def ranking(self) -> Comparisons:
        """Every arm against the one with the highest mean accuracy on valid, by that accuracy, as `compare`."""
        return Comparisons(self.findings.ranking)

    def write(
        self,
        out: Path,
        command: str = "",
        probabilities: bool = False,
        *,
        force: bool = False,
        raw: bool = False,
        figures: Sequence[str] = (),
        notify: Callable[[str], None] | None = None,
    ) -> list[Path]:
        """Write tables, models, the best one's card, figures and report into the folder `out`; returns the files.

        What an earlier study wrote there and this one does not is taken away; other files stay.

        Args:
            out: the folder; made where it is not there.
            command: what repeats the study, as typed; of data that were given in Python there need be none.
            probabilities: also what every network says of every example of valid and test, a parquet file each.
            force: whether files of these names that droplab did not write are written over.
            raw: whether text goes into CSV as it is, also where a spreadsheet takes it for a formula.
            figures: kinds of files of each figure beside SVG and PNG: `pdf`.
            notify: told that figures could not be drawn, or that numbers have no probabilities; without it that is a
                warning.

        Raises:
            ConfigError: if there is no such kind of figure.
            DroplabError: if the folder cannot be written, or the data that probabilities need are not at hand.
        """
        check_kinds(figures)
        folder, origin = Folder(out, force), self._origin(command)
        charts = study_figures(self.findings, self._exhibits)
        notify = notify or self.lab.watcher.notice
        if probabilities and self.plan.settings.is_of_numbers:
            notify("no probabilities are written: they are those of classes; found numbers as targets")
            probabilities = False
        with drawn(charts, (*FILES, *figures, PAGE), notify) as pictures:
            files = write_tables(folder, self.findings, origin, raw)
            files += [*self._write_models(folder), self._write_card(folder, origin)]
            files += self._write_probabilities(folder) if probabilities else []
        files += write_report(folder, self.findings, origin, self._exhibits, charts, pictures.result())
        files.append(write_dictionary(folder, self.findings, origin))
        folder.finish()
        return files

    def write_page(
        self, out: Path, command: str = "", *, force: bool = False, notify: Callable[[str], None] | None = None
    ) -> Path:
        """Write the report's HTML page, and nothing else, into the folder `out`; arguments as those of `write`.

        Raises:
            DroplabError: if no run is finished, or the file cannot be written.
        """
        exhibits = self._exhibits if self.records else None
        notify = notify or self.lab.watcher.notice
        return write_page(Folder(out, force), self.findings, self._origin(command), exhibits, notify)

    def markdown(self, command: str = "") -> str:
        """The report as Markdown that fits in a pull request: question, answer, verdicts, arms and `command`."""
        return render_markdown(self.findings, self._origin(command))

    def _origin(self, command: str) -> Origin:
        if not command and self.plan.settings.data.endswith(IN_MEMORY):
            command = "# no command line repeats this: its data were given in Python, to droplab.study(data=...)"
        return Origin.of(self.findings.card, self.findings.examples, self.summary, command)

    def _write_models(self, folder: Folder) -> list[Path]:
        """Every run's model under the names of its arms, and the best."""
        names, best = arm_files(self.plan.arms), self.findings.best_run
        models = {
            f"{names[arm.name]},seed={run.settings.seed}": self.records[run.key]
            for run in self.plan.runs
            if run.key in self.records
            for arm in run.arms
        }
        models["best"] = self.records[best.key]
        if refits := self.findings.refits:
            models["refit"] = refits.get(best.settings.seed) or next(iter(refits.values()))
        return [
            folder.write(f"models/{name}.safetensors", self.store.read_model(record)) for name, record in models.items()
        ]

    def _write_card(self, folder: Folder, origin: Origin) -> Path:
        """The card of the best model, beside it."""
        _, info = self.store.read_weights(self.records[self.findings.best_run.key])
        card = render_card(self.findings, origin, info, "best.safetensors")
        return folder.write("models/MODEL_CARD.md", card.encode())

    def _write_probabilities(self, folder: Folder) -> list[Path]:
        """Those of every run, under the name of its first arm."""
        data = self._data_at_hand
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

    @cached_property
    def _data_at_hand(self) -> Dataset | None:
        settings = self.plan.settings
        return self.data or dataset_at_hand(settings.data, self.plan.fingerprint, **settings.reading)


def _named(settings: dict[str, Any]) -> tuple[Given | None, dict[str, Any]]:
    """Arrays and DataFrames among what a study is asked for, and the settings that name them in their place."""
    if isinstance(settings.get("data", ""), str | Path):
        return None, settings
    given = Given.of(settings["data"], settings)
    return given, settings | given.settings


def arm_files(arms: Sequence[Arm]) -> dict[str, str]:
    """How files call each arm, by its name."""
    return file_names(arm.name for arm in arms)
