"""Figures: all charts of a study, in the order of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altair.utils.schemapi import debug_mode

from droplab.errors import DataError
from droplab.report import charts, network_charts, published_charts
from droplab.report.answer import answer_of
from droplab.report.layout import Layout
from droplab.report.style import Figure
from droplab.study.exhibits import MOST_EXAMPLES

if TYPE_CHECKING:
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings

FIGURES = (
    *("difference", "axes", "control", "inference", "loss", "overfitting", "reliability", "samples"),
    *("confusion", "activations", "post"),
)
"""The names of all figures that a report may have."""


def study_figures(findings: Findings, exhibits: Exhibits | None = None) -> dict[str, Figure]:
    """Every figure of a report, by file name.

    Args:
        findings: the study's, with at least one finished run.
        exhibits: of the network that valid chose; without them there are no figures of it.

    Raises:
        DataError: if no run is finished.
    """
    if not findings.done:
        raise DataError("a report needs at least one finished run; found none. Run the study first.")
    layout = Layout(findings.plan, findings.features, findings.card.outputs)
    results, curves, contrasts = findings.results, findings.curves, findings.contrasts
    figures: dict[str, Figure | None] = {}
    with debug_mode(False):  # Altair checks each part of a chart, which takes longer than all else; tests do that
        if contrasts:
            figures["difference"] = charts.difference(layout, results, contrasts, answer_of(findings).title)
        figures["axes"] = charts.axes(layout, results)
        figures["control"] = charts.control(layout, results)
        figures["inference"] = charts.inference(layout, results)
        figures["loss"] = charts.loss(layout, curves)
        figures["overfitting"] = charts.overfitting(layout, curves)
        if not findings.reliability.empty:
            figures["reliability"] = network_charts.reliability(layout, findings.reliability)
        if not findings.samples.empty:
            figures["samples"] = network_charts.samples(layout, findings.samples)
        if exhibits is not None and exhibits.confusion is not None:
            figures["confusion"] = network_charts.confusion(exhibits.confusion, exhibits.network)
        if exhibits is not None and exhibits.sparsity is not None:
            figures["activations"] = network_charts.activations(*exhibits.sparsity, MOST_EXAMPLES)
        if findings.post is not None and any(one.ours for one in findings.post.figures):
            figures["post"] = published_charts.post(findings.post.figures)
    return {name: figure for name, figure in figures.items() if figure is not None}
