"""Figures: all charts of a study, each with its numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd

from droplab.errors import DataError
from droplab.report import axes, cells, charts, uncertainty
from droplab.report.activations import activation_chart
from droplab.report.cells import Table
from droplab.report.confusion import confusion_chart
from droplab.report.post import intervals_table
from droplab.report.post_chart import post_chart

if TYPE_CHECKING:
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings

_MOST_EPOCHS = 20
"""Epochs of a table of curves, evenly chosen."""

FIGURES = (
    *("difference", "axes", "control", "inference", "splits", "loss", "overfitting", "reliability", "samples"),
    *("confusion", "activations", "post"),
)
"""The names of all figures that a report may have."""

_MODES = {"off": "off", "on": "left on", "mc": "mc"}


@dataclass(frozen=True, eq=False)
class Figure:
    """A chart, and what it draws as a table in words."""

    chart: alt.TopLevelMixin
    numbers: Table


def study_figures(findings: Findings, exhibits: Exhibits | None = None) -> dict[str, Figure]:
    """Every figure of a report, by file name.

    Args:
        findings: the study's, with at least one finished run.
        exhibits: of the network that valid chose; without them there are no figures of it.

    Raises:
        DataError: if no run is finished.
    """
    plan, results, curves = findings.plan, findings.results, findings.curves
    if results.empty:
        raise DataError("a report needs at least one finished run; found none. Run the study first.")
    comparisons = findings.contrasts
    if plan.settings.vary:
        drawn = axes.axes_charts(plan, results, comparisons) | charts.curve_charts(curves)
    else:
        drawn = charts.all_charts(results, curves, comparisons)
    drawn |= uncertainty.uncertainty_charts(findings.reliability, findings.samples)
    modes = _accuracies(results, ["off", "on"])
    numbers = {
        "difference": cells.comparison_table(comparisons),
        "axes": _accuracies(results, ["off"]),
        "control": _accuracies(results, ["off"]),
        "inference": modes,
        "splits": modes,
        "loss": _losses(curves, {"train_as_trained": "train, as trained"}),
        "overfitting": _losses(curves, {"train": "train", "valid": "valid"}),
        "reliability": _reliability(findings.reliability),
        "samples": _samples(findings.samples),
    }
    if exhibits is not None:
        if exhibits.confusion is not None:
            drawn["confusion"] = confusion_chart(exhibits.confusion, exhibits.network)
            numbers["confusion"] = _confusion(exhibits.confusion)
        if exhibits.sparsity is not None:
            drawn["activations"] = activation_chart(*exhibits.sparsity)
            numbers["activations"] = _activations(exhibits.sparsity[0])
    if (beside := findings.post) and any(one.ours for one in beside.figures):
        drawn["post"], numbers["post"] = post_chart(beside.figures), intervals_table(beside.figures)
    return {name: Figure(chart, numbers[name]) for name, chart in drawn.items()}


def _accuracies(results: pd.DataFrame, modes: list[str]) -> Table:
    chosen = results[(results["metric"] == "accuracy") & results["inference"].isin(modes)]
    grouped = chosen.groupby(["arm", "inference", "split"], sort=False)["value"]
    spread = grouped.agg(["mean", "min", "max", "count"]).reset_index()
    rows = [
        (arm, _MODES[mode], split, *(f"{100 * value:.2f}" for value in values), str(seeds))
        for arm, mode, split, *values, seeds in spread.itertuples(index=False)
    ]
    return Table(("arm", "dropout at inference", "split", "mean (%)", "smallest (%)", "largest (%)", "seeds"), rows)


def _losses(curves: pd.DataFrame, kinds: Mapping[str, str]) -> Table:
    chosen = curves[(curves["quantity"] == "loss") & curves["split"].isin(list(kinds))]
    epochs = sorted(chosen["epoch"].unique())
    step = max(1, -(-len(epochs) // _MOST_EPOCHS))
    chosen = chosen[chosen["epoch"].isin([*epochs[step - 1 :: step], epochs[-1]])]
    spread = chosen.groupby(["arm", "split", "epoch"], sort=False)["value"].agg(["mean", "min", "max"]).reset_index()
    rows = [
        (arm, kinds[split], str(epoch), *(f"{value:.3g}" for value in values))
        for arm, split, epoch, *values in spread.itertuples(index=False)
    ]
    return Table(("arm", "loss on", "epoch", "mean (nats)", "smallest", "largest"), rows)


def _reliability(curves: pd.DataFrame) -> Table:
    means = curves.groupby(["arm", "calibrated", "bin"], sort=False)[["confidence", "accuracy", "examples"]].mean()
    rows = [
        (arm, "scaled" if calibrated else "as trained", str(place + 1), *_percents(*shares), f"{examples:.0f}")
        for arm, calibrated, place, *shares, examples in means.reset_index().itertuples(index=False)
    ]
    return Table(("arm", "temperature", "bin", "mean confidence (%)", "right (%)", "examples"), rows)


def _samples(samples: pd.DataFrame) -> Table:
    means = samples.groupby(["arm", "masks", "metric"], sort=False)["value"].mean().unstack("metric")
    rows = [
        (arm, str(masks) if masks else "dropout off", *_percents(1 - accuracy), f"{nll:.4f}", *_percents(ece))
        for (arm, masks), accuracy, nll, ece in zip(
            means.index, *(means.get(name, []) for name in ("accuracy", "nll", "ece")), strict=True
        )
    ]
    return Table(("arm", "masks averaged", "error (%)", "NLL (nats)", "ECE (%)"), rows)


def _confusion(frame: pd.DataFrame) -> Table:
    classes = list(dict.fromkeys(frame["true"]))
    counts = frame.set_index(["true", "predicted"])["examples"]
    rows = [(str(true), *(str(counts[true, predicted]) for predicted in classes)) for true in classes]
    return Table(("true class ↓, predicted →", *map(str, classes)), rows)


def _activations(sparsity: pd.DataFrame) -> Table:
    means = sparsity.groupby(["trained", "layer"], sort=False)[["active", "dead", "mean"]].mean().reset_index()
    rows = [
        (trained, str(int(layer)), *_percents(active, dead), f"{mean:.3f}")
        for trained, layer, active, dead, mean in means.itertuples(index=False)
    ]
    return Table(("trained with", "hidden layer", "units active (%)", "never active (%)", "mean activation"), rows)


def _percents(*shares: float) -> list[str]:
    return [f"{100 * share:.2f}" for share in shares]
