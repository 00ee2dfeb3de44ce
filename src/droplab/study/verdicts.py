"""Verdicts: what a study's finished runs say at each of its looks, and which runs the next look needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from droplab.stats.compare import Comparison, does_not_apply, unjudged
from droplab.stats.family import judge_family
from droplab.stats.looks import level_of
from droplab.stats.measure import ACCURACY, Measure
from droplab.study.plan import Arm, Plan, Run
from droplab.study.records import RunRecord

ERROR = 0.05
"""How often a study without effects may find one, in all its looks."""

_UNDECIDED = "undecided"

Pairs = Sequence[tuple[Arm, Arm]]


@dataclass(frozen=True)
class ArmComparison:
    """`arm` − `against`, in the study's metric on test with dropout off at inference.

    Attributes:
        arm: the one.
        against: the other.
        comparison: over seeds, on these test examples.
        new_examples: over seeds and examples; `None` where the store has no test labels of them, it does not apply, or
            the metric is none that is counted example by example, as accuracy is.
    """

    arm: Arm
    against: Arm
    comparison: Comparison
    new_examples: Comparison | None = None


@dataclass(frozen=True)
class Due:
    """What the next look of a study needs.

    Attributes:
        seeds: of each arm that goes on, the first so many.
        arms: those that go on, the most promising first, each after its control.
        runs: theirs that are not finished.
    """

    seeds: int
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]


def control_pairs(plan: Plan) -> list[tuple[Arm, Arm]]:
    """Every arm with its control; by depth and rate where nothing else varies, else in the plan's order."""
    return [(arm, plan.control_of(arm)) for arm in by_depth(plan) if not arm.is_control]


def level_pairs(plan: Plan, names_only: bool) -> list[tuple[Arm, Arm]]:
    """Every arm with the one that is at the baseline of one axis, and at its own level of all others.

    Args:
        plan: the study's.
        names_only: whether only axes count whose levels are names, and no regularizers; else all but dropout's.
    """
    at = {arm.levels: arm for arm in plan.arms}
    found = []
    for place, axis in enumerate(plan.axes):
        if axis.is_of_regularizers or (names_only and axis.is_numeric):
            continue
        declared = [level.value for level in axis.levels if level.label == plan.settings.baseline]
        base = (axis.name, (declared or [axis.levels[0].value])[0])
        for arm in plan.arms:
            other = at.get((*arm.levels[:place], base, *arm.levels[place + 1 :]))
            if other is not None and other != arm:
                found.append((arm, other))
    return found


def contrast_pairs(plan: Plan) -> list[tuple[Arm, Arm]]:
    """What a study asks about: every arm with its control; without regularizers, its levels with the baseline."""
    return control_pairs(plan) or level_pairs(plan, names_only=False)


def by_depth(plan: Plan) -> list[Arm]:
    """The arms in their order, but by depth and rate where nothing else varies."""
    return list(plan.arms) if plan.settings.vary else sorted(plan.arms, key=lambda arm: (arm.depth, arm.rate))


def verdicts(plan: Plan, records: Mapping[str, RunRecord], pairs: Pairs, stops: bool = False) -> list[ArmComparison]:
    """Each pair at the last look that all its runs are there for, all pairs one family.

    Args:
        plan: the study's.
        records: the finished runs by content key.
        pairs: what is compared; a pair without a shared finished seed is left out.
        stops: whether a pair stays as it was decided, so that seeds its arms have beyond that do not count.
    """
    walk = _Walk.of(plan, records, pairs, stops)
    metric, margin, found = plan.settings.metric, walk.margin, []
    for arm, against in pairs:
        pair = walk.places[arm], walk.places[against]
        shared = np.isfinite(walk.values[list(pair)]).all(axis=0)
        if not shared.any():
            continue
        if pair not in walk.acting:
            found.append(ArmComparison(arm, against, does_not_apply(int(shared.sum())).told_as(metric)))
            continue
        differences = walk.values[pair[0], shared] - walk.values[pair[1], shared]
        level = level_of(plan.look_numbers[0], ERROR)
        comparison, new = walk.standing.get(pair, (unjudged(differences, margin, level), None))
        found.append(ArmComparison(arm, against, comparison.told_as(metric), new and new.told_as(metric)))
    return found


def looks_reached(plan: Plan, records: Mapping[str, RunRecord]) -> list[tuple[int, ...]]:
    """The seeds, sorted, of each planned look at which some arm can be judged: such a look counts, whoever reads it.

    Args:
        plan: the study's.
        records: the finished runs by content key.
    """
    done = {(arm.name, run.settings.seed) for run in plan.runs if run.key in records for arm in run.arms}
    firsts = [plan.settings.seeds[:look] for look in plan.settings.looks if look > 1]
    pairs = [(arm.name, other.name) for arm, other in contrast_pairs(plan)]
    return [
        tuple(sorted(seeds))
        for seeds in firsts
        if any(all((name, seed) in done for name in pair for seed in seeds) for pair in pairs)
    ]


def due(plan: Plan, records: Mapping[str, RunRecord], failed: Collection[str] = ()) -> Due | None:
    """What the next look of a study needs that goes on until it is decided; `None` where there is no next one.

    Args:
        plan: of a study with `until`.
        records: the finished runs by content key.
        failed: keys of runs that cannot be trained; their arms, and what is compared with them, get no more seeds.
    """
    lost = {arm for run in plan.runs if run.key in failed for arm in run.arms}
    lost |= {arm for arm in plan.arms if plan.control_of(arm) in lost} if lost else set()
    first = plan.settings.looks[0]
    able = [arm for arm in plan.arms if arm not in lost]
    if missing := _missing(plan, records, able, first):
        return Due(first, tuple(able), missing)
    walk = _Walk.of(plan, records, control_pairs(plan), stops=True, lost=lost)
    if plan.settings.until == "best":
        contenders, seeds = contenders_of(plan, records, lost)
        arms = dict.fromkeys(one for arm in contenders for one in (plan.control_of(arm), arm))
    else:
        seeds = walk.next_seeds
        going = [pair for pair in control_pairs(plan) if pair[0] not in lost and walk.is_open(*pair)]
        going.sort(key=lambda pair: walk.promise(*pair))
        arms = dict.fromkeys(one for arm, against in going for one in (against, arm))
    if seeds is None or not arms:
        return None
    return Due(seeds, tuple(arms), _missing(plan, records, arms, seeds))


def _missing(plan: Plan, records: Mapping[str, RunRecord], arms: Collection[Arm], seeds: int) -> tuple[Run, ...]:
    """The runs of some arms with their first seeds that are not finished."""
    first = set(plan.settings.seeds[:seeds])
    wanted = (run for run in plan.runs if run.settings.seed in first and run.key not in records)
    return tuple(run for run in wanted if any(arm in arms for arm in run.arms))


@dataclass
class _Walk:
    """A study from look to look.

    A arms, S seeds.

    Attributes:
        places: of the arms, in the rows of what follows.
        values: of the metric on test times its sign, so that more is better, shape (A, S); NaN where a run is not
            finished.
        margin: of equivalence.
        right: by example where the store can say it, shape (S, N) an arm; `None` where it cannot.
        acting: the pairs whose arms differ at all.
        standing: what each pair of places came to: on these examples, and on new ones.
        ends: how many of its first seeds count, of each arm.
        next_seeds: those of the first look that not all is there for; `None` after the last.
    """

    places: dict[Arm, int]
    values: NDArray[np.float64]
    margin: float
    right: list[NDArray[np.float64]] | None
    acting: list[tuple[int, int]] = field(default_factory=list)
    standing: dict[tuple[int, int], tuple[Comparison, Comparison | None]] = field(default_factory=dict)
    ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    next_seeds: int | None = None

    @classmethod
    def of(
        cls, plan: Plan, records: Mapping[str, RunRecord], pairs: Pairs, stops: bool, lost: Collection[Arm] = ()
    ) -> _Walk:
        """Walk as far as the finished runs go; nobody waits for those that are `lost`."""
        places = {arm: place for place, arm in enumerate(dict.fromkeys(arm for pair in pairs for arm in pair))}
        found = {(arm, run.settings.seed): records.get(run.key) for run in plan.runs for arm in run.arms}
        rows = [[found.get((arm, seed)) for seed in plan.settings.seeds] for arm in places]
        measure = plan.settings.measure
        values = _metric(rows, "test", len(plan.settings.seeds), measure)
        walk = cls(places, values, margin_of(plan, records), _right(rows) if measure == ACCURACY else None)
        walk.ends = np.full(len(places), len(plan.settings.seeds))
        twins, gone = plan.twins, {place for arm, place in places.items() if arm in lost}
        named = [(places[arm], places[other]) for arm, other in pairs if (arm.name, other.name) not in twins]
        walk.acting = [(one, other) for one, other in named if _differ(rows[one], rows[other])]
        for number, seeds in zip(plan.look_numbers, plan.settings.looks, strict=True):
            is_open = [pair for pair in walk.acting if not stops or not walk._is_decided(pair)]
            complete = np.asarray(np.isfinite(values[:, :seeds]).all(axis=1))
            ready = [(one, other) for one, other in is_open if complete[one] and complete[other]]
            awaited = [one for one, _ in is_open if one not in gone]
            if walk.next_seeds is None and len(ready) < len(awaited):
                walk.next_seeds = seeds
            if ready:
                walk._look(ready, seeds, number, stops)
        return walk

    def is_open(self, arm: Arm, against: Arm) -> bool:
        """Whether a pair is not decided yet."""
        pair = self.places[arm], self.places[against]
        return pair in self.acting and not self._is_decided(pair)

    def promise(self, arm: Arm, against: Arm) -> float:
        """How many seeds it would take to decide a pair; the fewer, the more promising."""
        one, _ = self.standing.get((self.places[arm], self.places[against]), (None, None))
        return float("inf") if one is None or one.seeds_needed is None else float(one.seeds_needed.low or "inf")

    def _is_decided(self, pair: tuple[int, int]) -> bool:
        return pair in self.standing and self.standing[pair][0].verdict != _UNDECIDED

    def _look(self, ready: list[tuple[int, int]], seeds: int, number: int, stops: bool) -> None:
        """Judge what is ready at one look."""
        counts = np.arange(self.values.shape[1]) < np.minimum(self.ends, seeds)[:, None]
        rows = np.where(counts, self.values, np.nan)
        family = [pair for pair in self.acting if np.isfinite(rows[list(pair)]).all(axis=0).any()]
        level = level_of(number, ERROR)
        judged = judge_family(list(rows), family, self.margin, level)
        wider: Sequence[Comparison | None] = [None] * len(family)
        if self.right is not None:
            examples = [np.where(mine[:, None], right, np.nan) for mine, right in zip(counts, self.right, strict=True)]
            wider = judge_family(examples, family, self.margin, level)
        for pair, one, new in zip(family, judged, wider, strict=True):
            if pair in ready:
                self.standing[pair] = replace(one, look=number), new and replace(new, look=number)
        for place in range(len(self.ends)) if stops else ():
            mine = [pair for pair in self.acting if place in pair]
            if mine and all(map(self._is_decided, mine)):
                self.ends[place] = min(self.ends[place], seeds)


def contenders_of(
    plan: Plan, records: Mapping[str, RunRecord], lost: Collection[Arm] = ()
) -> tuple[list[Arm], int | None]:
    """The arms that may still be the best on valid, the leader first, and the seeds of the next look.

    At each look every arm is compared with the one that leads, which the same results chose; so each comparison has the
    level of one among all pairs of arms (Bonferroni). Of arms whose networks are the same one stands for all.

    Args:
        plan: of a study with `until = "best"`.
        records: the finished runs by content key.
        lost: arms that cannot be trained.

    Returns:
        No seeds once one arm stands alone, or all others are equivalent to it, or after the last look.
    """
    every = plan.settings.seeds
    found = {(arm, run.settings.seed): records.get(run.key) for run in plan.runs for arm in run.arms}
    arms: list[Arm] = []
    for arm in plan.arms:
        mine = [found[arm, seed] for seed in every]
        same = ((arm.name, one.name) in plan.twins or not _differ(mine, [found[one, s] for s in every]) for one in arms)
        if arm not in lost and not any(same):
            arms.append(arm)
    measure = plan.settings.measure
    valid = _metric([[found[arm, seed] for seed in every] for arm in arms], "valid", len(every), measure)
    left = list(range(len(arms)))
    for number, seeds in zip(plan.look_numbers, plan.settings.looks, strict=True):
        if not np.isfinite(valid[left, :seeds]).all():
            return [arms[place] for place in left], seeds
        left.sort(key=lambda place: -float(valid[place, :seeds].mean()))
        leader, *others = left
        level = level_of(number, ERROR) * 2 / len(arms)
        judged = (
            judge_family(list(valid[:, :seeds]), [(one, leader) for one in others], margin_of(plan, records), level)
            if others
            else []
        )
        left = [leader, *(place for place, one in zip(others, judged, strict=True) if one.verdict != "hurts")]
        if all(one.verdict in ("hurts", "equivalent") for one in judged):
            break
    return [arms[place] for place in left], None


def margin_of(plan: Plan, records: Mapping[str, RunRecord]) -> float:
    """The largest difference of the study's metric that does not matter; of numbers by how far these are spread.

    Args:
        plan: the study's.
        records: the finished runs by content key; one of them knows the targets of the test examples.
    """
    measure = plan.settings.measure
    targets = next((run.test_labels for run in records.values() if run.test_labels is not None), None)
    if not measure.is_of_targets or targets is None:
        return measure.margin
    return measure.margin * (float(targets.std()) or 1.0)


def _metric(
    rows: Sequence[Sequence[RunRecord | None]], split: Literal["valid", "test"], seeds: int, measure: Measure
) -> NDArray[np.float64]:
    """The metric with dropout off, times its sign; NaN where there is no run."""
    values = [
        [np.nan if run is None else run.outcome.metric("off", split, measure.name) for run in row] for row in rows
    ]
    return measure.sign * np.array(values, dtype=np.float64).reshape(len(rows), seeds)


def _right(rows: Sequence[Sequence[RunRecord | None]]) -> list[NDArray[np.float64]] | None:
    """Right and wrong by example of each arm, NaN where there is no run; `None` where not every run says it."""
    told = {id(run): run.right for row in rows for run in row if run is not None}
    known = [one for one in told.values() if one is not None]
    if not known or len(known) < len(told) or len(known[0]) < 2:
        return None
    nothing = np.full(len(known[0]), np.nan)
    return [np.stack([nothing if run is None else np.asarray(told[id(run)], float) for run in row]) for row in rows]


def _differ(ours: Sequence[RunRecord | None], theirs: Sequence[RunRecord | None]) -> bool:
    """Whether the runs of two arms, seed by seed, are not all the same network: so where what one adds never acted."""
    both = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    return not both or any(one.outcome.metrics != other.outcome.metrics for one, other in both)
