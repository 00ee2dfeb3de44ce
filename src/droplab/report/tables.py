"""Tables: from the runs of a study to tidy frames, comparisons and the best arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.errors import ConfigError, DataError
from droplab.stats.trend import Trend, trend
from droplab.study.verdicts import ArmComparison, by_depth, control_pairs, due, verdicts

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan
    from droplab.study.records import RunRecord

RESULT_COLUMNS = ["arm", "seed", "depth", "dropout", "inference", "split", "metric", "value", "widths", "run"]
CURVE_COLUMNS = ["arm", "seed", "depth", "dropout", "epoch", "quantity", "split", "value", "place", "trained"]

_ARM_METRICS = {
    "test accuracy": ("off", "test", "accuracy"),
    "valid accuracy": ("off", "valid", "accuracy"),
    "train accuracy": ("off", "train", "accuracy"),
    "test accuracy, on": ("on", "test", "accuracy"),
    "valid accuracy, on": ("on", "valid", "accuracy"),
    "train accuracy, on": ("on", "train", "accuracy"),
    "test accuracy, mc": ("mc", "test", "accuracy"),
    "test nll": ("off", "test", "nll"),
    "test balanced accuracy": ("off", "test", "balanced_accuracy"),
    "test macro F1": ("off", "test", "macro_f1"),
    "test Brier": ("off", "test", "brier"),
    "test ECE": ("off", "test", "ece"),
    "temperature": ("off", "valid", "temperature"),
    "test nll, calibrated": ("off", "test", "nll_calibrated"),
    "test ECE, calibrated": ("off", "test", "ece_calibrated"),
    "test nll, mc": ("mc", "test", "nll"),
    "test ECE, mc": ("mc", "test", "ece"),
}


@dataclass(frozen=True)
class DepthTrend:
    """How test accuracy, dropout off at inference, goes with depth among arms that are alike but for it."""

    among: str
    depths: tuple[int, ...]
    trend: Trend


def results_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """Every metric of every finished run, one row a value; a run that serves two arms stands under both.

    Args:
        plan: the study's.
        records: the finished runs by content key; those that are not there yet are left out.

    Returns:
        Columns `arm, seed, depth, dropout, inference, split, metric, value`, then `widths` (`512-256`, or `linear`) and
        `run`, the content key, then one for each axis that the study varies. `dropout` is the arm's rate. Accuracies
        are fractions, `nll` is in nats an example.
    """
    own = [axis.name for axis in plan.axes if axis.name not in RESULT_COLUMNS]
    rows = [
        (arm.name, seed, arm.depth, arm.dropout, *metric[:3], metric.value, _widths(arm), record.key, *levels)
        for arm, seed, record in finished_runs(plan, records)
        for levels in ([level for name, level in arm.levels if name in own],)
        for metric in record.outcome.metrics
    ]
    return _typed(pd.DataFrame(rows, columns=RESULT_COLUMNS + own))


def curves_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """How the finished runs learned, one row a value.

    Args:
        plan: the study's.
        records: the finished runs by content key.

    Returns:
        Columns `arm, seed, depth, dropout, epoch, quantity, split, value`, then `place` and `trained` in words: where
        the arm stands in the study, and the regularizers that it is compared for. `quantity` is `loss` (nats) or
        `accuracy` (fraction). `split` is `train_as_trained` (an epoch's mean, dropout on), or `train` (a fixed part of
        it) or `valid`, both evaluated with dropout off.
    """
    parts = []
    for arm, seed, record in finished_runs(plan, records):
        curves = record.outcome.curves
        epochs = np.arange(1, len(curves.train_loss) + 1)
        lines: list[tuple[str, str, NDArray[Any], NDArray[Any]]] = [
            ("loss", "train_as_trained", epochs, curves.train_loss)
        ]
        for quantity, values in (("loss", curves.losses), ("accuracy", curves.accuracies)):
            lines += [(quantity, split, curves.points, values[i]) for i, split in enumerate(("train", "valid"))]
        for quantity, split, at, values in lines:
            part = pd.DataFrame({"epoch": at.astype(np.int64), "value": values.astype(np.float64)})
            parts.append(
                part.assign(
                    arm=arm.name,
                    seed=seed,
                    depth=arm.depth,
                    dropout=arm.dropout,
                    quantity=quantity,
                    split=split,
                    place=place_words(arm),
                    trained=trained_words(arm, plan),
                )
            )
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CURVE_COLUMNS)
    return _typed(frame[CURVE_COLUMNS])


def arms_table(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """Mean and spread over the seeds of what an arm came to.

    Returns:
        One row an arm that has a finished run, in the plan's order: `arm, depth, dropout, widths, seeds`, and for each
        of the accuracies (fractions; dropout off at inference unless `on` or `mc` is said), `test nll` (nats), balanced
        accuracy, macro F1, Brier, ECE, `temperature` and `train seconds` a column with the mean and one `… sd` with the
        standard deviation over seeds (NaN for one seed). `calibrated` is at the temperature fitted on valid. NaN stands
        for what no run of the arm has.
    """
    results = results_frame(plan, records)
    rows = []
    for arm in plan.arms:
        mine = results[results["arm"] == arm.name]
        if mine.empty:
            continue
        row: dict[str, object] = {"arm": arm.name, "depth": arm.depth, "dropout": arm.dropout, "widths": _widths(arm)}
        row["seeds"] = mine["seed"].nunique()
        columns = {name: by_seed(mine, arm, *where) for name, where in _ARM_METRICS.items()}
        seconds = [record.outcome.train_seconds for served, _, record in finished_runs(plan, records) if served == arm]
        columns["train seconds"] = pd.Series(seconds)
        for name, values in columns.items():
            row |= {name: values.mean(), f"{name} sd": values.std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows)


def by_seed(results: pd.DataFrame, arm: Arm, inference: str, split: str, metric: str) -> pd.Series[float]:
    """One metric of one arm, indexed by seed.

    Args:
        results: of `results_frame`.
        arm: whose.
        inference: `off`, `on` or `mc`.
        split: `train`, `valid` or `test`.
        metric: its name in `results`.
    """
    chosen = results[
        (results["arm"] == arm.name)
        & (results["inference"] == inference)
        & (results["split"] == split)
        & (results["metric"] == metric)
    ]
    return chosen.set_index("seed")["value"].sort_index()


def control_comparisons(plan: Plan, records: Mapping[str, RunRecord]) -> list[ArmComparison]:
    """Every arm − its control, at the look that decided it, or the last that its runs are there for.

    Args:
        plan: the study's.
        records: the finished runs by content key.

    Returns:
        By depth, then rate, else in the plan's order; pairs of arms that share no finished seed are left out.
    """
    return verdicts(plan, records, control_pairs(plan), stops=plan.settings.until is not None)


def compare_arms(plan: Plan, records: Mapping[str, RunRecord], regularizer: str, against: str) -> list[ArmComparison]:
    """One regularizer − another wherever in the study both are, over the seeds that both have finished.

    Args:
        plan: the study's.
        records: the finished runs by content key.
        regularizer: the last part of an arm's name: `dropout=0.5`, or `control`.
        against: likewise.

    Raises:
        ConfigError: if the study has no arms of that name.
    """
    ladders = {
        name: {arm.place: arm for arm in by_depth(plan) if arm.trained == name} for name in (regularizer, against)
    }
    for name, arms in ladders.items():
        if not arms:
            known = dict.fromkeys(arm.trained for arm in plan.arms)
            raise ConfigError(f"a comparison is between {', '.join(known)} in this study; found {name!r}.")
    theirs = ladders[against]
    return verdicts(
        plan, records, [(arm, theirs[place]) for place, arm in ladders[regularizer].items() if place in theirs]
    )


def ranking(plan: Plan, records: Mapping[str, RunRecord]) -> list[ArmComparison]:
    """Every arm − the one with the highest mean accuracy on valid, by that accuracy; that one is not among them.

    Args:
        plan: the study's.
        records: the finished runs by content key.
    """
    results = results_frame(plan, records)
    means = {arm: by_seed(results, arm, "off", "valid", "accuracy").mean() for arm in plan.arms}
    ranked = sorted((arm for arm in plan.arms if not np.isnan(means[arm])), key=lambda arm: -means[arm])
    return verdicts(plan, records, [(arm, ranked[0]) for arm in ranked[1:]])


def depth_comparisons(plan: Plan, records: Mapping[str, RunRecord]) -> list[ArmComparison]:
    """Each depth − the next shallower one, among the controls and among the arms of each rate.

    Args:
        plan: the study's.
        records: the finished runs by content key.

    Returns:
        The controls first, then rate by rate, each by depth.
    """
    pairs = [pair for ladder in _ladders(plan).values() for pair in pairwise(ladder)]
    return verdicts(plan, records, [(deeper, shallower) for shallower, deeper in pairs])


def depth_trends(plan: Plan, results: pd.DataFrame) -> list[DepthTrend]:
    """The trend of test accuracy along depth, among arms that are alike but for it.

    Args:
        plan: the study's.
        results: of `results_frame`.

    Returns:
        The controls first, then by rate; over the seeds that have finished every depth. Arms with fewer than three
        depths, or without such a seed, are left out.
    """
    found = []
    for among, ladder in _ladders(plan).items():
        depths = tuple(arm.depth for arm in ladder)
        values = pd.concat([by_seed(results, arm, "off", "test", "accuracy") for arm in ladder], axis=1).dropna()
        if len(set(depths)) >= 3 and not values.empty:
            found.append(DepthTrend(among, depths, trend(depths, values.to_numpy().T)))
    return found


def best_arm(plan: Plan, results: pd.DataFrame) -> Arm:
    """The simplest arm within one standard error of the best, by mean valid accuracy (dropout off).

    The one-standard-error rule (Breiman et al. 1984, section 3.4.3): among the arms whose mean is no more than the
    standard error of the best one's mean below it, the one with the fewest hidden units, then layers, then the least
    dropout. With one seed there is no such error and the best one is taken. Only the arms with the most finished seeds
    compete; where an arm that is decided gets no more, all compete over the seeds of the first look. The test split
    chooses nothing.

    Args:
        plan: the study's.
        results: of `results_frame`.

    Raises:
        DataError: if no run is finished.
    """
    valid = {arm: by_seed(results, arm, "off", "valid", "accuracy") for arm in plan.arms}
    most = max(len(values) for values in valid.values())
    if plan.settings.until == "decided":
        most = min(most, plan.settings.looks[0])
        first = plan.settings.seeds[:most]
        valid = {arm: values[values.index.isin(first)] for arm, values in valid.items()}
    if not most:
        raise DataError("the best arm needs at least one finished run; found none. Run the study first.")
    means = {arm: float(values.mean()) for arm, values in valid.items() if len(values) == most}
    best = max(means, key=lambda arm: means[arm])
    error = float(valid[best].std(ddof=1)) / most**0.5 if most > 1 else 0.0
    near = [arm for arm, mean in means.items() if mean >= means[best] - error - 1e-12]
    return min(near, key=lambda arm: (sum(arm.widths), arm.depth, arm.dropout))


def runs_done(plan: Plan, records: Mapping[str, RunRecord]) -> int:
    """How many of the plan's runs are finished."""
    return sum(run.key in records for run in plan.runs)


def runs_wanted(plan: Plan, records: Mapping[str, RunRecord]) -> int:
    """How many the study needs: all, or, where seeds go where they are needed, those up to the look under way."""
    if plan.settings.until is None:
        return len(plan.runs)
    following = due(plan, records)
    return runs_done(plan, records) + (len(following.runs) if following else 0)


def finished_runs(plan: Plan, records: Mapping[str, RunRecord]) -> Iterator[tuple[Arm, int, RunRecord]]:
    """Each arm and seed with its record, in the plan's order; a run that serves two arms comes twice."""
    found = {(arm, run.settings.seed): run.key for run in plan.runs for arm in run.arms}
    for arm in plan.arms:
        for seed in plan.settings.seeds:
            record = records.get(found[arm, seed])
            if record is not None:
                yield arm, seed, record


def place_words(arm: Arm) -> str:
    """Where an arm stands in its study but for its regularizers: `depth 5`, or `train_examples 100`."""
    return spaced(arm.place) or f"depth {arm.depth}"


def trained_words(arm: Arm, plan: Plan) -> str:
    """The regularizers that an arm is compared for: `dropout 0.5`, or `no dropout (control)`."""
    if arm.is_control and not plan.settings.vary:
        return "no dropout (control)"
    return spaced(arm.trained)


def spaced(label: str) -> str:
    """A part of an arm's name in words.

    >>> spaced("depth=5,train_examples=100")
    'depth 5, train_examples 100'
    """
    return label.replace("=", " ").replace(",", ", ")


def _ladders(plan: Plan) -> dict[str, list[Arm]]:
    """The arms that are alike but for their depth, by what they have in common, where depth is an axis; by depth."""
    ladders: dict[str, list[Arm]] = {}
    if len(plan.settings.depths) > 1:
        for arm in sorted(plan.arms, key=lambda arm: (arm.dropout, arm.depth)):
            others = [*arm.place.split(",")[1:], arm.trained]
            controls = others == ["control"]
            among = "the controls" if controls else f"the networks with {spaced(','.join(others))}"
            ladders.setdefault(among, []).append(arm)
    return ladders


def _widths(arm: Arm) -> str:
    return "-".join(map(str, arm.widths)) or "linear"


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, even where there is no row."""
    numbers = {"seed": np.int64, "depth": np.int64, "dropout": np.float64, "epoch": np.int64, "value": np.float64}
    return frame.astype({name: kind for name, kind in numbers.items() if name in frame})
