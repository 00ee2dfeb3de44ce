"""The face of reproductions: train what a paper's table or figure takes, and give back everything beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from droplab.api import Warn, valid_accuracy
from droplab.data.dataset import Dataset
from droplab.data.files import load_dataset
from droplab.errors import ConfigError
from droplab.study.forecast import Forecast
from droplab.study.packs import work
from droplab.study.plan import Run, plan_run, plan_way
from droplab.study.records import RunRecord
from droplab.study.reproduction import BUDGETS, Budget, Reproduced, Reproduction, Row, RowResult, load_reproduction
from droplab.study.runner import Observer, Summary, foretell, run_all
from droplab.study.sqlite import store_path
from droplab.study.store import Store
from droplab.train.device import resolve_way
from droplab.train.outcome import Way


class Reproduce:
    """A paper's table or figure, to be trained at a budget.

    Args:
        reproduction: what is reproduced.
        budget: `smoke`, `short` or `paper`: how many updates each network has.
        seeds: how many replicates.

    Raises:
        ConfigError: if there is no such budget, or no seed.

    Example:
        >>> table = Reproduce.preset("srivastava-table10", budget="short", seeds=3)
        >>> [row.error for row in table.reproduction.rows]
        [1.08, 0.95]
    """

    def __init__(self, reproduction: Reproduction, budget: str = "short", seeds: int = 3) -> None:
        known: dict[str, Budget] = {one: one for one in BUDGETS}
        if budget not in known:
            raise ConfigError(f"a budget is one of {', '.join(BUDGETS)}; found {budget!r}.")
        if seeds < 1:
            raise ConfigError(f"a reproduction needs at least one seed; found seeds={seeds}.")
        self.reproduction, self.budget, self.seeds = reproduction, known[budget], tuple(range(seeds))

    @classmethod
    def preset(cls, name: str, budget: str = "short", seeds: int = 3, rows: Sequence[str] = ()) -> Reproduce:
        """A reproduction by name.

        Args:
            name: of it; `droplab presets` lists them.
            budget: of each network.
            seeds: how many replicates.
            rows: parts of the names of the rows wanted, or `all`; none for the usual ones.

        Raises:
            ConfigError: if there is no such reproduction, row or budget.
        """
        return cls(load_reproduction(name).select(rows), budget, seeds)

    def run(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        observer: Observer | None = None,
    ) -> Reproduced:
        """Train what the store lacks: first what valid chooses among, with one seed, then what the test split is for.

        Args:
            store: SQLite file; `None` for the user's own.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU; `None` for one a core.
            observer: told how far it is; as of `Study.run`.

        Raises:
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        quiet, observer = observer is None, observer or Warn()
        notices: list[str] = []
        dataset, way = self._prepared(device, precision, observer.notice, notices)
        with Store(store) as opened:
            summary = Summary(0, notices=notices)
            if choices := self._choices(dataset, way):
                observer.notice(
                    f"in all, {self._forecast(dataset, way, opened, workers).words}; first what valid chooses among"
                )
                summary.add(run_all(_unique(choices), dataset, opened, observer, workers))
            options = self._chosen(dataset, way, opened, settled=not summary.interrupted)
            finals = self._finals(dataset, way, options)
            if finals and not summary.interrupted:
                summary.add(run_all(_unique(finals), dataset, opened, observer, workers))
            if quiet and summary.interrupted:
                raise KeyboardInterrupt
            return self._collected(dataset, way, options, opened, summary)

    def foretell(
        self,
        *,
        store: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        workers: int | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Forecast:
        """What `run` would take; nothing is trained. For a choice that is not made the costliest recipe stands.

        Args:
            store: as `run`, likewise the others; it is not made where it is not there.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU; `None` for one a core.
            notify: told what must be known; without it that is a warning.

        Raises:
            DroplabError: as `run`.
        """
        dataset, way = self._prepared(device, precision, notify or Warn().notice, [])
        if not store_path(store).exists():
            return self._forecast(dataset, way, None, workers)
        with Store(store) as opened:
            return self._forecast(dataset, way, opened, workers)

    def _forecast(self, dataset: Dataset, way: Way, store: Store | None, workers: int | None) -> Forecast:
        def costliest(row: Row) -> int:
            recipes = [self._run(row, 0, option, dataset, way, True) for option in range(len(row.tried) or 1)]
            return max(range(len(recipes)), key=lambda k: work(recipes[k], dataset.features, len(dataset.classes)))

        chosen = self._chosen(dataset, way, store, settled=False) if store else {}
        options = {row.name: chosen.get(row.name) for row in self.reproduction.rows}
        options |= {row.name: costliest(row) for row in self.reproduction.rows if options[row.name] is None}
        runs = self._choices(dataset, way) + self._finals(dataset, way, options)
        return foretell(_unique(runs), dataset, store, workers)

    def _prepared(
        self, device: str, precision: str, notify: Callable[[str], None], notices: list[str]
    ) -> tuple[Dataset, Way]:
        """The data and the way; what must be known of the way is also put into `notices`."""
        resolve_way(device, precision)  # before anything is fetched
        dataset = load_dataset(self.reproduction.data, notify=notify)
        way, known = plan_way(dataset, device, precision)
        for notice in known:
            notify(notice)
        notices += known
        return dataset, way

    def _run(self, row: Row, seed: int, option: int, dataset: Dataset, way: Way, final: bool) -> Run:
        settings = self.reproduction.recipe(row, seed, self.budget, len(dataset.train_y), option, final)
        run = plan_run(settings, dataset.fingerprint, way)
        name = row.name if final else f"{row.name}, recipe {option + 1}"
        return replace(run, arms=(replace(run.arms[0], name=name, trained=name, control=name),))

    def _tried(self, row: Row, dataset: Dataset, way: Way) -> list[Run]:
        """What the row's recipes take to be chosen among: each with the first seed."""
        return [self._run(row, self.seeds[0], option, dataset, way, False) for option in range(len(row.tried))]

    def _choices(self, dataset: Dataset, way: Way) -> list[Run]:
        return [run for row in self.reproduction.rows for run in self._tried(row, dataset, way)]

    def _finals(self, dataset: Dataset, way: Way, options: Mapping[str, int | None]) -> list[Run]:
        """What the test split is for, of the rows whose choice is made."""
        return [
            self._run(row, seed, option, dataset, way, True)
            for row in self.reproduction.rows
            for option in (options[row.name],)
            if option is not None
            for seed in self.seeds
        ]

    def _chosen(self, dataset: Dataset, way: Way, store: Store, settled: bool) -> dict[str, int | None]:
        """For each row the recipe with the highest accuracy on valid, the first of equals, by the row's name.

        Once all is `settled`, recipes that are not in the store could not be trained, and are not chosen.
        """
        return {
            row.name: _best([records.get(run.key) for run in runs], settled)
            for row in self.reproduction.rows
            for runs in (self._tried(row, dataset, way),)
            for records in (store.load([run.key for run in runs]),)
        }

    def _collected(
        self, dataset: Dataset, way: Way, options: dict[str, int | None], store: Store, summary: Summary
    ) -> Reproduced:
        rows = []
        for row in self.reproduction.rows:
            tried, option = self._tried(row, dataset, way), options[row.name]
            runs = [self._run(row, seed, option, dataset, way, True) for seed in self.seeds if option is not None]
            records = store.load([run.key for run in tried + runs])
            found = {run.settings.seed: records[run.key] for run in runs if run.key in records}
            rows.append(RowResult(row, tuple(records.get(run.key) for run in tried), option, found))
        return Reproduced(self.reproduction, self.budget, self.seeds, tuple(rows), dataset.card, summary)


def _best(records: Sequence[RunRecord | None], settled: bool) -> int | None:
    """The place of the record that valid chooses; 0 where there is nothing to choose, `None` where it cannot yet."""
    if not records:
        return 0
    found = {place: valid_accuracy(record) for place, record in enumerate(records) if record is not None}
    if not found or (len(found) < len(records) and not settled):
        return None
    return max(found, key=lambda place: found[place])


def _unique(runs: Sequence[Run]) -> list[Run]:
    """Each network once, with the names of all that it serves."""
    found: dict[str, Run] = {}
    for run in runs:
        if run.key in found:
            known = found[run.key]
            found[run.key] = replace(known, arms=(*known.arms, *(arm for arm in run.arms if arm not in known.arms)))
        else:
            found[run.key] = run
    return list(found.values())
