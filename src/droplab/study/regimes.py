"""Regimes: in what state the networks of a study were when their training stopped, arm by arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from droplab.stats.regime import Regime, has_gap, regime
from droplab.study.frames import finished_runs

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan
    from droplab.study.records import RunRecord


class NetworkState(NamedTuple):
    """A network when its training stopped; `regime` is `None` where its curves do not tell."""

    regime: Regime | None
    has_overfitted: bool


@dataclass(frozen=True)
class ArmState:
    """The finished networks of an arm when their training stopped.

    Attributes:
        arm: whose.
        control: what it is compared with; its own for a control.
        networks: by content key, at least one.
    """

    arm: Arm
    control: Arm
    networks: Mapping[str, NetworkState]

    @property
    def is_improving(self) -> bool:
        """Whether most of its networks were."""
        return self._most(one.regime == "improving" for one in self.networks.values())

    @property
    def has_diverged(self) -> bool:
        """Whether most of its networks have."""
        return self._most(one.regime == "diverged" for one in self.networks.values())

    @property
    def has_overfitted(self) -> bool:
        """Whether at least half of its networks have, or their curves do not tell."""
        return not self._most(not one.has_overfitted and one.regime is not None for one in self.networks.values())

    def _most(self, holds: Iterable[bool]) -> bool:
        return 2 * sum(holds) > len(self.networks)


def arm_states(plan: Plan, records: Mapping[str, RunRecord]) -> list[ArmState]:
    """The arms that have a finished run, in the plan's order.

    Args:
        plan: the study's.
        records: the finished runs by content key.
    """
    networks: dict[Arm, dict[str, NetworkState]] = {}
    for arm, _, record in finished_runs(plan, records):
        networks.setdefault(arm, {})[record.key] = network_state(record)
    return [ArmState(arm, plan.control_of(arm), mine) for arm, mine in networks.items()]


def network_state(record: RunRecord) -> NetworkState:
    """In what state one network was.

    One that early stopping ended is finished, and so is one of which it kept an earlier state than the last.
    """
    outcome, curves = record.outcome, record.outcome.curves
    train, valid = curves.losses
    # Of other losses of numbers nobody knows what a guess has: a network that learned nothing is not told by them.
    guessed = record.settings.loss in ("cross_entropy", "squared_error")
    found = regime(valid, train, _classes(record) if guessed else 10**9)
    ended = len(curves.train_loss) < record.settings.epochs
    if (ended and found == "improving") or ((ended or outcome.best_epoch is not None) and found == "overfitting"):
        found = "finished"
    return NetworkState(found, found == "overfitting" or has_gap(valid, train))


def _classes(record: RunRecord) -> int:
    """How many classes there are: as far as the test split has them; 1 where targets are numbers."""
    if record.settings.is_of_numbers:
        return 1
    known = [
        int(metric.name.removeprefix("accuracy_class_"))
        for metric in record.outcome.metrics
        if metric.name.startswith("accuracy_class_")
    ]
    return max(known, default=1) + 1
