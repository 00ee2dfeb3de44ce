"""Findings: all numbers that a study comes to, each computed once; whatever shows them reads them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from droplab.errors import ConfigError, DataError
from droplab.stats.trend import Trend, trend
from droplab.study import frames
from droplab.study.names import spaced
from droplab.study.origin import split_counts
from droplab.study.post import PostBeside, post_beside
from droplab.study.regimes import ArmState, arm_states
from droplab.study.verdicts import (
    ArmComparison,
    by_depth,
    contrast_pairs,
    control_pairs,
    due,
    level_pairs,
    verdicts,
)

if TYPE_CHECKING:
    import pandas as pd

    from droplab.data.dataset import DatasetCard
    from droplab.stats.measure import Measure
    from droplab.study.plan import Arm, Plan, Run
    from droplab.study.records import RunRecord
    from droplab.train.outcome import Inference, Split


@dataclass(frozen=True)
class DepthTrend:
    """How the metric on test, dropout off at inference, goes with depth among arms that are alike but for it."""

    among: str
    depths: tuple[int, ...]
    trend: Trend


@dataclass(frozen=True, eq=False)
class Findings:
    """What the finished runs of a study come to.

    Attributes:
        plan: settings, arms and runs.
        records: the finished runs by content key; a study that was stopped lacks some.
        card: what is known of the data.
        features: of an example; `None` where they are not known.
        refits: the network that valid chose, trained again on train and valid together, by seed; empty where it was
            not.
    """

    plan: Plan
    records: Mapping[str, RunRecord]
    card: DatasetCard
    features: int | None = None
    refits: dict[int, RunRecord] = field(default_factory=dict)

    @property
    def measure(self) -> Measure:
        """The metric that the study asks about."""
        return self.plan.settings.measure

    @cached_property
    def replicates(self) -> frames.Replicates:
        """Any metric of any arm, seed by seed."""
        return frames.Replicates(self.results)

    def by_seed(self, arm: Arm, inference: Inference, split: Split) -> pd.Series[float]:
        """The study's metric of one arm, indexed by seed."""
        return self.replicates.by_seed(arm, inference, split, self.measure.name)

    @property
    def done(self) -> int:
        """How many of the plan's runs are finished."""
        return sum(run.key in self.records for run in self.plan.runs)

    @cached_property
    def wanted(self) -> int:
        """How many the study needs: all, or, where seeds go where they are needed, those up to the look under way."""
        if self.plan.settings.until is None:
            return len(self.plan.runs)
        following = due(self.plan, self.records)
        return self.done + (len(following.runs) if following else 0)

    @cached_property
    def examples(self) -> Mapping[str, int]:
        """How many examples there are, by split."""
        ledgers = (record.outcome.ledger for record in self.records.values())
        valid = next((len(ledger["valid"]) for ledger in ledgers), 0)  # where there are groups, they decide it
        return split_counts(self.card, valid, self.plan.settings.train_examples)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Every metric of every finished run: `frames.results_frame`."""
        return frames.results_frame(self.plan, self.records)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """How they learned: `frames.curves_frame`."""
        return frames.curves_frame(self.plan, self.records)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a finished network: `frames.runs_frame`."""
        return frames.runs_frame(self.plan, self.records)

    @cached_property
    def arms(self) -> pd.DataFrame:
        """Means and spreads over the seeds: `frames.arms_frame`."""
        return frames.arms_frame(self.plan, self.records, self.results)

    @cached_property
    def reliability(self) -> pd.DataFrame:
        """How often each network is right where it is how sure: `frames.reliability_frame`."""
        return frames.reliability_frame(self.plan, self.records)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """What the mean over so many masks comes to: `frames.samples_frame`."""
        return frames.samples_frame(self.plan, self.records)

    @cached_property
    def contrasts(self) -> list[ArmComparison]:
        """Every arm − its control at the look that decided it, or the last that its runs are there for.

        By depth, then rate, else in the plan's order; pairs of arms that share no finished seed are left out. Of a
        study that compares no regularizers, every level − the baseline.
        """
        pairs, stops = contrast_pairs(self.plan), self.plan.settings.until is not None
        return verdicts(self.plan, self.records, pairs, stops)

    @cached_property
    def levels(self) -> list[ArmComparison]:
        """Of a study that compares regularizers, each level that has a name − the baseline, all else alike."""
        pairs = level_pairs(self.plan, names_only=True) if control_pairs(self.plan) else []
        return verdicts(self.plan, self.records, pairs)

    @cached_property
    def deeper(self) -> list[ArmComparison]:
        """Each depth − the next shallower one, among the controls and then among the arms of each rate."""
        pairs = [pair for ladder in self._ladders.values() for pair in pairwise(ladder)]
        return verdicts(self.plan, self.records, [(deeper, shallower) for shallower, deeper in pairs])

    @cached_property
    def ranking(self) -> list[ArmComparison]:
        """Every network − the one with the best mean on valid, in the order of that mean; that one is not in it."""
        means = {arm: self.by_seed(arm, "off", "valid").mean() for arm in self.plan.distinct}
        ranked = sorted(
            (arm for arm, mean in means.items() if not np.isnan(mean)), key=lambda arm: -self.measure.sign * means[arm]
        )
        return verdicts(self.plan, self.records, [(arm, ranked[0]) for arm in ranked[1:]])

    @cached_property
    def trends(self) -> list[DepthTrend]:
        """The trend of the test metric along depth, among arms that are alike but for it: the controls, then by rate.

        Over the seeds that have finished every depth. Arms with fewer than three depths, or without such a seed, are
        left out.
        """
        found = []
        for among, ladder in self._ladders.items():
            depths = tuple(arm.depth for arm in ladder)
            values = self.replicates.by_arm(ladder, "off", "test", self.measure.name).dropna()
            if len(set(depths)) >= 3 and not values.empty:
                found.append(DepthTrend(among, depths, trend(depths, values.to_numpy().T)))
        return found

    @cached_property
    def states(self) -> list[ArmState]:
        """In what state the networks of each arm were when their training stopped."""
        return arm_states(self.plan, self.records)

    @cached_property
    def post(self) -> PostBeside | None:
        """The post that droplab began from beside this study; `None` where it does not repeat it."""
        return post_beside(self)

    @cached_property
    def best(self) -> Arm:
        """The simplest arm within one standard error of the best, by the metric's mean on valid (dropout off).

        The one-standard-error rule (Breiman et al. 1984, section 3.4.3): among the arms whose mean is no more than the
        standard error of the best one's mean worse than it, the one with the fewest hidden units, then layers, then the
        least dropout, then the best mean. With one seed there is no such error and the best one is taken. Only the
        arms with the most finished seeds compete; where an arm that is decided gets no more, all compete over the seeds
        of the first look. The test split chooses nothing.

        Raises:
            DataError: if no run is finished.
        """
        valid = {arm: self.measure.sign * self.by_seed(arm, "off", "valid") for arm in self.plan.arms}
        most = max(len(values) for values in valid.values())
        if self.plan.settings.until == "decided":
            most = min(most, self.plan.settings.looks[0])
            first = self.plan.settings.seeds[:most]
            valid = {arm: values[values.index.isin(first)] for arm, values in valid.items()}
        if not most:
            raise DataError("the best arm needs at least one finished run; found none. Run the study first.")
        means = {arm: float(values.mean()) for arm, values in valid.items() if len(values) == most}
        best = max(means, key=lambda arm: means[arm])
        error = float(valid[best].std(ddof=1)) / most**0.5 if most > 1 else 0.0
        near = [arm for arm, mean in means.items() if mean >= means[best] - error - 1e-12]
        return min(near, key=lambda arm: (sum(arm.widths), arm.depth, arm.rate, -means[arm]))

    @cached_property
    def best_run(self) -> Run:
        """Of the arm that valid chose, the seed that is best there.

        Raises:
            DataError: if no run is finished.
        """
        runs = [run for run in self.plan.runs if run.key in self.records and self.best in run.arms]
        return max(runs, key=lambda run: self.records[run.key].merit(self.measure))

    @cached_property
    def sampling(self) -> Mapping[str, tuple[float, float]]:
        """Where the metric of a network of each arm may be on other test examples, as many as these, by the arm's name.

        The mean over the arm's seeds of each network's own 95 % interval (`RunRecord.test_interval`): what the choice
        of the examples leaves open, whatever the seeds agree on. Arms of which it is not known are left out.
        """
        found: dict[str, list[tuple[float, float]]] = {}
        for arm, _, record in frames.finished_runs(self.plan, self.records):
            if (ends := record.test_interval(self.measure)) is not None:
                found.setdefault(arm.name, []).append(ends)
        return {name: tuple(np.mean(ends, axis=0).tolist()) for name, ends in found.items()}

    def compare(self, regularizer: str, against: str) -> list[ArmComparison]:
        """One regularizer − another wherever in the study both are, over the seeds that both have finished.

        Args:
            regularizer: the last part of an arm's name: `dropout=0.5`, or `control`.
            against: likewise.

        Raises:
            ConfigError: if the study has no arms of that name.
        """
        ladders = {
            name: {arm.place: arm for arm in by_depth(self.plan) if arm.trained == name}
            for name in (regularizer, against)
        }
        for name, arms in ladders.items():
            if not arms:
                known = dict.fromkeys(arm.trained for arm in self.plan.arms)
                raise ConfigError(f"a comparison is between {', '.join(known)} in this study; found {name!r}.")
        theirs = ladders[against]
        pairs = [(arm, theirs[place]) for place, arm in ladders[regularizer].items() if place in theirs]
        return verdicts(self.plan, self.records, pairs)

    @cached_property
    def _ladders(self) -> Mapping[str, list[Arm]]:
        """The arms that are alike but for their depth, by what they have in common, where depth varies; by depth."""
        ladders: dict[str, list[Arm]] = {}
        if len(self.plan.settings.depths) > 1:
            for arm in sorted(self.plan.arms, key=lambda arm: (arm.rate, arm.depth)):
                others = [*arm.place.split(",")[1:], arm.trained]
                controls = others == ["control"]
                among = "the controls" if controls else f"the networks with {spaced(','.join(others))}"
                ladders.setdefault(among, []).append(arm)
        return ladders
