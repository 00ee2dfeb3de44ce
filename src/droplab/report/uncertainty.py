"""Uncertainty: whether probabilities can be believed, and how many masks it takes, as frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from droplab.report.tables import finished_runs, place_words, trained_words

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan
    from droplab.study.records import RunRecord

_ARM_COLUMNS = ["arm", "seed", "depth", "dropout", "place", "trained"]
RELIABILITY_COLUMNS = [*_ARM_COLUMNS, "calibrated", "bin", "confidence", "accuracy", "examples"]
SAMPLES_COLUMNS = [*_ARM_COLUMNS, "masks", "metric", "value"]

_AFTER = re.compile(r"(accuracy|nll|ece)_k(\d+)")
_METRICS = ("accuracy", "nll", "ece")


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
        (*_arm_cells(arm, seed, plan), bool(state), place, *map(float, values))
        for arm, seed, record in finished_runs(plan, records)
        if record.outcome.reliability is not None
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
            off = [(0, m.name, m.value) for m in mine if m[:2] == ("off", "test") and m.name in _METRICS]
            rows += [(*_arm_cells(arm, seed, plan), *one) for one in (*off, *sampled)]
    return pd.DataFrame(rows, columns=SAMPLES_COLUMNS)


def _arm_cells(arm: Arm, seed: int, plan: Plan) -> tuple[str, int, int, float, str, str]:
    return arm.name, seed, arm.depth, arm.dropout, place_words(arm), trained_words(arm, plan)
