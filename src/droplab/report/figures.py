"""Figures: all charts of a study, in the order of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from droplab.errors import DataError
from droplab.report import charts, network_charts, published_charts, tables, uncertainty
from droplab.report.activations import MOST_EXAMPLES
from droplab.report.post import post_beside
from droplab.report.style import Figure

if TYPE_CHECKING:
    from droplab.report.exhibits import Exhibits
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord

FIGURES = (
    *("difference", "axes", "control", "inference", "loss", "overfitting", "reliability", "samples"),
    *("confusion", "activations", "post"),
)
"""The names of all figures that a report may have."""


def study_figures(plan: Plan, records: Mapping[str, RunRecord], exhibits: Exhibits | None = None) -> dict[str, Figure]:
    """Every figure of a report, by file name.

    Args:
        plan: the study's.
        records: the finished runs by content key, at least one.
        exhibits: of the network that valid chose; without them there are no figures of it.

    Raises:
        DataError: if no run is finished.
    """
    results, curves = tables.results_frame(plan, records), tables.curves_frame(plan, records)
    if results.empty:
        raise DataError("a report needs at least one finished run; found none. Run the study first.")
    comparisons = tables.control_comparisons(plan, records)
    reliability, samples = uncertainty.reliability_frame(plan, records), uncertainty.samples_frame(plan, records)
    confusion, sparsity = (exhibits.confusion, exhibits.sparsity) if exhibits else (None, None)
    beside = post_beside(plan, records)
    figures = {
        "difference": charts.difference(plan, results, comparisons) if comparisons else None,
        "axes": charts.axes(plan, results),
        "control": charts.control(plan, results),
        "inference": charts.inference(plan, results),
        "loss": charts.loss(plan, curves),
        "overfitting": charts.overfitting(plan, curves),
        "reliability": None if reliability.empty else network_charts.reliability(plan, reliability),
        "samples": None if samples.empty else network_charts.samples(plan, samples),
        "confusion": None
        if confusion is None or not exhibits
        else network_charts.confusion(confusion, exhibits.network),
        "activations": None if sparsity is None else network_charts.activations(*sparsity, MOST_EXAMPLES),
        "post": published_charts.post(beside.figures) if beside and any(one.ours for one in beside.figures) else None,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}
