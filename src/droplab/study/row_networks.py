"""Row networks: the networks that a reproduction takes, and what valid chooses among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from droplab.study.forecast import Forecast
from droplab.study.lab import Lab, Ready
from droplab.study.packs import work
from droplab.study.plan import Run
from droplab.study.records import RunRecord
from droplab.study.reproduction import Budget, Reproduction, Row, RowResult
from droplab.study.store import Store


@dataclass(frozen=True)
class RowNetworks:
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
