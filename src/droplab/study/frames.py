"""Frames: the finished runs of a study as tidy tables of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.config import mean_rate
from droplab.study.names import place_words, trained_words

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan
    from droplab.study.records import RunRecord

RESULT_COLUMNS = ["arm", "seed", "depth", "dropout", "inference", "split", "metric", "value", "widths"]
RUN_COLUMNS = ["arm", "seed", "depth", "widths", "dropout"]
RUN_ORIGIN_COLUMNS = ["train_seconds", "evaluate_seconds", "device", "way", "finished", "also", "run"]
CURVE_COLUMNS = ["arm", "seed", "depth", "dropout", "epoch", "quantity", "split", "value", "place", "trained"]

_ARM_COLUMNS = ["arm", "seed", "depth", "dropout", "place", "trained"]
RELIABILITY_COLUMNS = [*_ARM_COLUMNS, "calibrated", "bin", "confidence", "accuracy", "examples"]
SAMPLES_COLUMNS = [*_ARM_COLUMNS, "masks", "metric", "value"]

_SAMPLED = ("accuracy", "nll", "ece")
_AFTER = re.compile(r"(accuracy|nll|ece)_k(\d+)")

ARM_METRICS = {
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

NUMBER_METRICS = {
    "test RMSE": ("off", "test", "rmse"),
    "valid RMSE": ("off", "valid", "rmse"),
    "train RMSE": ("off", "train", "rmse"),
    "test RMSE, on": ("on", "test", "rmse"),
    "test RMSE, mc": ("mc", "test", "rmse"),
    "test MAE": ("off", "test", "mae"),
    "test R²": ("off", "test", "r2"),
}
"""The same where targets are numbers."""


def results_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """Every metric of every finished run, one row a value; a run that serves two arms stands under both.

    Args:
        plan: the study's.
        records: the finished runs by content key; those that are not there yet are left out.

    Returns:
        Columns `arm, seed, depth, dropout, inference, split, metric, value`, then `widths` (`512-256`, or `linear`) and
        one for each other axis that the study varies. `dropout` is the arm's rate, of several the mean over
        the hidden layers. Accuracies are fractions, `nll` is
        in nats an example, `rmse` and `mae` are in the targets' own unit.
    """
    own = [axis.name for axis in plan.axes if axis.name not in RESULT_COLUMNS]
    rows = [
        (*head, *metric, *tail)
        for arm, seed, record in finished_runs(plan, records)
        for head in ((arm.name, seed, arm.depth, arm.rate),)
        for tail in ((_widths(arm), *(level for name, level in arm.levels if name in own)),)
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
    columns: dict[str, list[Any]] = {name: [] for name in CURVE_COLUMNS}
    for arm, seed, record in finished_runs(plan, records):
        curves = record.outcome.curves
        epochs = np.arange(1, len(curves.train_loss) + 1)
        lines: list[tuple[str, str, NDArray[Any], NDArray[Any]]] = [
            ("loss", "train_as_trained", epochs, curves.train_loss)
        ]
        for quantity, values in (("loss", curves.losses), (plan.settings.usual.name, curves.accuracies)):
            lines += [(quantity, split, curves.points, values[i]) for i, split in enumerate(("train", "valid"))]
        words = arm.name, seed, arm.depth, arm.rate
        where = place_words(arm), trained_words(arm, plan)
        for quantity, split, at, values in lines:
            same = dict(
                zip(
                    ("arm", "seed", "depth", "dropout", "quantity", "split", "place", "trained"),
                    (*words, quantity, split, *where),
                    strict=True,
                )
            )
            for name, value in same.items():
                columns[name].append(np.full(len(at), value, object if isinstance(value, str) else None))
            columns["epoch"].append(at)
            columns["value"].append(values)
    return _typed(pd.DataFrame({name: np.concatenate(parts) if parts else [] for name, parts in columns.items()}))


def runs_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """A row a finished network: what it is, how and where it was trained, and its accuracies.

    Args:
        plan: the study's.
        records: the finished runs by content key.

    Returns:
        Columns `arm, seed, depth, widths, dropout` (the rate that acted), one for each other axis that the study
        varies, `SPLIT_accuracy_MODE` for each split and inference mode (fractions; NaN where there is none), of numbers
        `SPLIT_rmse_MODE`,
        `train_seconds, evaluate_seconds, device, way, finished` (UTC), `also` (the other arms that the network serves,
        with ` = ` between) and `run`, its content key.
    """
    taken = {*RUN_COLUMNS, *RUN_ORIGIN_COLUMNS}
    own = [axis.name for axis in plan.axes if axis.name not in taken]
    rows = []
    for run in plan.runs:
        if run.key in records:
            record, arm = records[run.key], run.arms[0]
            levels = dict(arm.levels)
            head = (arm.name, run.settings.seed, arm.depth, _widths(arm), mean_rate(run.settings.dropout))
            usual = plan.settings.usual.name
            accuracies = {
                f"{one.split}_{usual}_{one.inference}": one.value for one in record.outcome.metrics if one.name == usual
            }
            origin = (
                record.outcome.train_seconds,
                record.outcome.evaluate_seconds,
                record.outcome.environment.get("device", record.way.device),
                record.way.words,
                record.finished.isoformat(timespec="seconds"),
                " = ".join(one.name for one in run.arms[1:]),
                run.key,
            )
            rows.append(
                dict(zip(RUN_COLUMNS, head, strict=True))
                | {name: levels[name] for name in own}
                | accuracies
                | dict(zip(RUN_ORIGIN_COLUMNS, origin, strict=True))
            )
    return pd.DataFrame(rows)


def arms_frame(plan: Plan, records: Mapping[str, RunRecord], results: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over the seeds of what an arm came to; arms that the same networks serve are one row.

    Args:
        plan: the study's.
        records: the finished runs by content key.
        results: of `results_frame`.

    Returns:
        One row an arm that has a finished run, in the plan's order: `arm, depth, dropout, widths, seeds`, and for each
        of the accuracies (fractions; dropout off at inference unless `on` or `mc` is said), `test nll` (nats), balanced
        accuracy, macro F1, Brier, ECE, `temperature` and `train seconds` a column with the mean and one `… sd` with the
        standard deviation over seeds (NaN for one seed). `calibrated` is at the temperature fitted on valid. NaN stands
        for what no run of the arm has. Of numbers it is what `NUMBER_METRICS` names instead.
    """
    seconds: dict[str, list[float]] = {}
    for arm, _, record in finished_runs(plan, records):
        seconds.setdefault(arm.name, []).append(record.outcome.train_seconds)
    grouped = results.groupby(["arm", "inference", "split", "metric"])["value"]
    means, spreads = grouped.mean().to_dict(), grouped.std(ddof=1).to_dict()
    rows = []
    for arm in plan.distinct:
        if arm.name not in seconds:
            continue
        row: dict[str, object] = {"arm": arm.name, "depth": arm.depth, "dropout": arm.rate, "widths": _widths(arm)}
        row["seeds"] = len(seconds[arm.name])
        for name, where in arm_metrics(plan.settings.is_of_numbers).items():
            key = (arm.name, *where)
            row |= {name: means.get(key, np.nan), f"{name} sd": spreads.get(key, np.nan)}
        times = pd.Series(seconds[arm.name])
        rows.append(row | {"train seconds": times.mean(), "train seconds sd": times.std(ddof=1)})
    return pd.DataFrame(rows)


def arm_metrics(are_numbers: bool) -> dict[str, tuple[str, str, str]]:
    """What `arms_frame` has of each arm: inference mode, split and metric by column."""
    return NUMBER_METRICS if are_numbers else ARM_METRICS


class Replicates:
    """Single metrics of single arms out of `results_frame`, which is searched once for all of them.

    Args:
        results: of `results_frame`.
    """

    def __init__(self, results: pd.DataFrame) -> None:
        self._seeds, self._values = results["seed"].to_numpy(), results["value"].to_numpy()
        places = [results[name].astype("category") for name in ("arm", "inference", "split", "metric")]
        self._rows = results.groupby(places, observed=True, sort=False).indices

    def by_seed(self, arm: Arm, inference: str, split: str, metric: str) -> pd.Series[float]:
        """One metric of one arm, indexed by seed; empty where there is none.

        Args:
            arm: whose.
            inference: `off`, `on` or `mc`.
            split: `train`, `valid` or `test`.
            metric: its name in `results`.
        """
        rows = np.asarray(self._rows.get((arm.name, inference, split, metric), ()), np.int64)
        rows = rows[np.argsort(self._seeds[rows], kind="stable")]
        return pd.Series(self._values[rows], pd.Index(self._seeds[rows], name="seed"), name="value")

    def by_arm(self, arms: Sequence[Arm], inference: str, split: str, metric: str) -> pd.DataFrame:
        """One metric of some arms, a column an arm by its name, indexed by seed; NaN where a run is not finished."""
        return pd.DataFrame({arm.name: self.by_seed(arm, inference, split, metric) for arm in arms})


def finished_runs(plan: Plan, records: Mapping[str, RunRecord]) -> Iterator[tuple[Arm, int, RunRecord]]:
    """Each arm and seed with its record, in the plan's order; a run that serves two arms comes twice."""
    found = {(arm, run.settings.seed): run.key for run in plan.runs for arm in run.arms}
    for arm in plan.arms:
        for seed in plan.settings.seeds:
            record = records.get(found[arm, seed])
            if record is not None:
                yield arm, seed, record


def reliability_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """How often each run is right where it is how sure, on test with dropout off.

    Args:
        plan: the study's.
        records: the finished runs by content key; those of a droplab that did not keep it are left out.

    Returns:
        `RELIABILITY_COLUMNS`; `calibrated` says whether at the temperature fitted on valid. Bins have equal mass, from
        the least sure (0) to the surest; `confidence` and `accuracy` are fractions.
    """
    rows = [
        (*cells, bool(state), place, *map(float, values))
        for arm, seed, record in finished_runs(plan, records)
        if record.outcome.reliability is not None
        for cells in (_arm_cells(arm, seed, plan),)
        for state, curve in enumerate(record.outcome.reliability)
        for place, values in enumerate(curve.T)
        if np.isfinite(values).all()
    ]
    return pd.DataFrame(rows, columns=RELIABILITY_COLUMNS)


def samples_frame(plan: Plan, records: Mapping[str, RunRecord]) -> pd.DataFrame:
    """What the mean over so many masks comes to on test, for every run that dropout acts in.

    Args:
        plan: the study's.
        records: the finished runs by content key; those of a droplab that did not keep it are left out.

    Returns:
        `SAMPLES_COLUMNS`; `metric` is `accuracy` (fraction), `nll` (nats) or `ece` (fraction). `masks` 0 stands for
        dropout off: weight scaling.
    """
    rows = []
    for arm, seed, record in finished_runs(plan, records):
        mine = record.outcome.metrics
        after = [
            (_AFTER.fullmatch(one.name), one.value) for one in mine if (one.inference, one.split) == ("mc", "test")
        ]
        sampled = [(int(found[2]), found[1], value) for found, value in after if found]
        if sampled:
            off = [(0, m.name, m.value) for m in mine if m[:2] == ("off", "test") and m.name in _SAMPLED]
            rows += [(*_arm_cells(arm, seed, plan), *one) for one in (*off, *sampled)]
    return pd.DataFrame(rows, columns=SAMPLES_COLUMNS)


def _arm_cells(arm: Arm, seed: int, plan: Plan) -> tuple[str, int, int, float, str, str]:
    return arm.name, seed, arm.depth, arm.rate, place_words(arm), trained_words(arm, plan)


def _widths(arm: Arm) -> str:
    return "-".join(map(str, arm.widths)) or "linear"


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, even where there is no row."""
    numbers = {"seed": np.int64, "depth": np.int64, "dropout": np.float64, "epoch": np.int64, "value": np.float64}
    return frame.astype({name: kind for name, kind in numbers.items() if name in frame})
