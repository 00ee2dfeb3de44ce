"""The face of reproductions: train what a paper's table or figure takes, and give back everything beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from droplab.config import MOST_SEEDS
from droplab.errors import ConfigError
from droplab.study.forecast import Forecast
from droplab.study.lab import Lab, Warn
from droplab.study.reproduction import BUDGETS, Budget, Reproduced, Reproduction, load_reproduction
from droplab.study.row_networks import RowNetworks
from droplab.study.runner import Observer, Summary


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
        files: str | None = None,
        backend: str = "local",
        address: str | None = None,
        observer: Observer | None = None,
    ) -> Reproduced:
        """Train what the store lacks: first what valid chooses among, with one seed, then what the test split is for.

        Args:
            store: a file, or the URL of a database on a server; `None` for the user's own.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU, or packs at once on a cluster; `None` for one a core.
            files: where a new store keeps weights and checkpoints, a path or URL that all machines reach.
            backend: where networks are trained: `local`, this machine, or `ray`, a cluster.
            address: of the Ray cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of,
                or else a new one on this machine.
            observer: told how far it is; as of `Study.run`.

        Raises:
            DroplabError: if the data cannot be had, the device is not there, or the store does not work.
        """
        lab = Lab(store, device, precision, workers, observer, files, backend, address)
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
        files: str | None = None,
        backend: str = "local",
        address: str | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Forecast:
        """What `run` would take; nothing is trained. For a choice that is not made the costliest recipe stands.

        Args:
            store: as `run`, likewise the others; it is not made where it is not there.
            device: `auto`, `cpu` or `cuda`.
            precision: `auto`, `fp32` or `bf16`.
            workers: processes on a CPU, or packs at once on a cluster; `None` for one a core.
            files: where a new store keeps weights and checkpoints, a path or URL that all machines reach.
            backend: where networks are trained: `local`, this machine, or `ray`, a cluster.
            address: of the Ray cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of,
                or else a new one on this machine.
            notify: told what must be known; without it that is a warning.

        Raises:
            DroplabError: as `run`.
        """
        lab = Lab(store, device, precision, workers, Warn(notify), files, backend, address)
        with lab.existing() as opened:
            return self._networks(lab).forecast(lab, opened)

    def _networks(self, lab: Lab) -> RowNetworks:
        return RowNetworks(self.reproduction, self.budget, self.seeds, lab.read(self.reproduction.data))
