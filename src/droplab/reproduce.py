"""The face of reproductions: train what a paper's table or figure takes, and give back everything beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from droplab.config import MOST_SEEDS
from droplab.errors import ConfigError
from droplab.study.forecast import Forecast
from droplab.study.lab import Lab, Ready, Warn
from droplab.study.packs import work
from droplab.study.plan import Run
from droplab.study.records import RunRecord
from droplab.study.reproduction import BUDGETS, Budget, Reproduced, Reproduction, Row, RowResult, load_reproduction
from droplab.study.runner import Observer, Summary
from droplab.study.store import Store


class Reproduce:
    """A paper's table or figure, to be trained at a budget.

    Args:
        reproduction: what is reproduced.
        budget: `smoke`, `short` or `paper`: how many updates each network has.
        seeds: how many replicates.

    Raises:
        ConfigError: if there is no such budget, or no seed or too many.

    Example:
        >>> table = Reproduce.preset("srivastava-table10", budget="short", seeds=3)
        >>> [row.error for row in table.reproduction.rows]
        [1.08, 0.95]
    """

    def __init__(self, reproduction: Reproduction, budget: str = "short", seeds: int = 3) -> None:
        known: dict[str, Budget] = {one: one for one in BUDGETS}
        if budget not in known:
            raise ConfigError(f"a budget is one of {', '.join(BUDGETS)}; found {budget!r}.")
        if not 1 <= seeds <= MOST_SEEDS:
            raise ConfigError(f"a reproduction has 1 to {MOST_SEEDS} seeds; found seeds={seeds}.")
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
        lab = Lab(store, device, precision, workers, observer)
        networks = self._networks(lab)
        with lab.opened() as opened:
            summary = Summary(0, notices=networks.ready.notices)
            if choices := networks.choices():
                whole = networks.forecast(lab, opened).words
                lab.watcher.notice(f"in all, {whole}; first what valid chooses among")
                summary.add(lab.train(choices, networks.ready.dataset, opened))
            options = networks.chosen(opened, settled=not summary.interrupted)
            finals = networks.finals(options)
            if finals and not summary.interrupted:
                summary.add(lab.train(finals, networks.ready.dataset, opened))
            rows = tuple(networks.result(row, options[row.name], opened) for row in self.reproduction.rows)
        return Reproduced(self.reproduction, self.budget, self.seeds, rows, networks.ready.dataset.card, summary)

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
        lab = Lab(store, device, precision, workers, Warn(notify))
        with lab.existing() as opened:
            return self._networks(lab).forecast(lab, opened)

    def _networks(self, lab: Lab) -> _Networks:
        return _Networks(self.reproduction, self.budget, self.seeds, lab.read(self.reproduction.data))


@dataclass(frozen=True)
class _Networks:
    """The networks that a reproduction takes: those that valid chooses among, and those that the test split is for."""

    reproduction: Reproduction
    budget: Budget
    seeds: tuple[int, ...]
    ready: Ready

    def choices(self) -> list[Run]:
        """What valid chooses among."""
        return _unique([run for row in self.reproduction.rows for run in self._tried(row)])

    def finals(self, options: Mapping[str, int | None]) -> list[Run]:
        """What the test split is for, of the rows whose choice is made; `options` by a row's name."""
        return _unique([run for row in self.reproduction.rows for run in self._final(row, options[row.name])])

    def chosen(self, store: Store, settled: bool) -> dict[str, int | None]:
        """For each row the recipe with the highest accuracy on valid, the first of equals, by the row's name.

        Once all is `settled`, recipes that are not in the store could not be trained, and are not chosen.
        """
        return {row.name: _best(self.result(row, None, store).tried, settled) for row in self.reproduction.rows}

    def result(self, row: Row, option: int | None, store: Store) -> RowResult:
        """What the store has of a row."""
        tried, final = self._tried(row), self._final(row, option)
        records = store.load([run.key for run in tried + final], lambda _: None)  # a damaged one is trained again
        found = {run.settings.seed: records[run.key] for run in final if run.key in records}
        return RowResult(row, tuple(records.get(run.key) for run in tried), option, found)

    def forecast(self, lab: Lab, store: Store | None) -> Forecast:
        """What training them takes; where a choice is not made the costliest recipe stands for it."""
        options = {row.name: self._costliest(row) for row in self.reproduction.rows}
        made = self.chosen(store, settled=False) if store else {}
        options |= {name: option for name, option in made.items() if option is not None}
        return lab.forecast(_unique(self.choices() + self.finals(options)), self.ready.dataset, store)

    def _tried(self, row: Row) -> list[Run]:
        """A row's recipes to choose among, each with the first seed."""
        return [self._run(row, self.seeds[0], option, False) for option in range(len(row.tried))]

    def _final(self, row: Row, option: int | None) -> list[Run]:
        """A row's networks for the test split; none before its choice is made."""
        return [self._run(row, seed, option, True) for seed in self.seeds if option is not None]

    def _costliest(self, row: Row) -> int:
        costs = [work(self._run(row, 0, option, True)) for option in range(len(row.tried) or 1)]
        return costs.index(max(costs))

    def _run(self, row: Row, seed: int, option: int, final: bool) -> Run:
        settings = self.reproduction.recipe(row, seed, self.budget, len(self.ready.dataset.train_y), option, final)
        run = self.ready.run(settings)
        name = row.name if final else f"{row.name}, recipe {option + 1}"
        return replace(run, arms=(replace(run.arms[0], name=name, trained=name, control=name),))


def _best(records: Sequence[RunRecord | None], settled: bool) -> int | None:
    """The place of the record that valid chooses; 0 where there is nothing to choose, `None` where it cannot yet."""
    if not records:
        return 0
    found = {place: record.valid_accuracy for place, record in enumerate(records) if record is not None}
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
