"""Style: what all figures have in common: colours that the colour-blind can tell apart, titles, panels, legends."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
"""Okabe and Ito's colours."""

INK, QUIET, LINE, GRID, SHADE = "#333333", "#555555", "#cccccc", "#e6e6e6", "#eeeeee"
"""Text and zero lines, lesser text, frames, grids and areas; the page has others for these on dark paper."""


def finished(chart: Any, title: alt.TitleParams) -> alt.TopLevelMixin:
    """The chart with its title, its legend on top and quiet lines."""
    finished: alt.TopLevelMixin = (
        chart.properties(title=title)
        .configure(background="white", font="sans-serif", padding=12, aria=False)
        .configure_title(color=INK, subtitleColor=QUIET)
        .configure_legend(
            orient="top",
            labelColor=INK,
            titleColor=INK,
            labelFontSize=12,
            titleFontSize=12,
            labelLimit=300,
            symbolOpacity=1,
            padding=8,
            columns=4,
        )
        .configure_axis(
            labelFontSize=11,
            labelColor=INK,
            titleFontSize=12,
            titleFontWeight="normal",
            titleColor=INK,
            gridColor=GRID,
            tickColor=LINE,
            domain=False,
        )
        .configure_view(stroke=LINE)
    )
    return finished


def title(text: str, *lines: str) -> alt.TitleParams:
    """What a figure shows, and in the lines below it how to read it; the page sets them as its own text."""
    return alt.TitleParams(text, subtitle=list(lines), anchor="start", fontSize=16, subtitleFontSize=12, offset=12)


def data(frame: pd.DataFrame) -> alt.InlineData:
    """The rows as they go into a chart: six digits a number, nothing for NaN."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    values = [{str(k): float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return alt.InlineData(values=values)


def panels(layers: Any, frame: pd.DataFrame, field: str, names: list[str], rows: bool = False) -> Any:
    """A panel for each of `names`, three a line; or a column for each, and a row for each depth (of `by_depth`)."""
    header = alt.Header(title=None, labelFontSize=13, labelFontWeight="bold", labelColor=INK)
    values = data(frame)
    if rows:
        column = alt.Column(f"{field}:N", sort=names, header=header)
        row = alt.Row("panel:N", sort=depth_names(frame), header=header)
        return layers.facet(data=values, column=column, row=row)
    if len(names) <= 3:
        return layers.facet(data=values, column=alt.Column(f"{field}:N", sort=names, header=header))
    return layers.facet(data=values, facet=alt.Facet(f"{field}:N", sort=names, header=header), columns=3)


def by_depth(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its depths as names of panels."""
    return frame.assign(panel="depth " + frame["depth"].astype(str))


def colour(field: str, names: list[str], title: str | None) -> alt.Color:
    """A colour a name; beyond what Okabe and Ito offer, a scheme that grows darker evenly."""
    colours = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY]
    scale = alt.Scale(domain=names, range=colours[: len(names)])
    if len(names) > len(colours):
        scale = alt.Scale(domain=names, scheme="viridis")
    return alt.Color(f"{field}:O", title=title, sort=names, scale=scale)


def shape(field: str, names: list[str]) -> alt.Shape:
    """A shape a name, in the legend of its colour; shapes repeat where colours do the telling."""
    shapes = ["circle", "triangle-up", "square", "diamond", "triangle-down", "cross"]
    cycle = [shapes[i % len(shapes)] for i in range(len(names))]
    return alt.Shape(f"{field}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=cycle))


def picked(field: str) -> alt.Parameter:
    """A click on an entry of the legend of `field` picks it; with Shift several, with a double click all."""
    return alt.selection_point(fields=[field], bind="legend")


def faded(pick: alt.Parameter, opacity: float = 1.0) -> Any:
    """The opacity of a mark: full where it is picked, or nothing is, else hardly to be seen."""
    return alt.condition(pick, alt.value(opacity), alt.value(0.08 * opacity))


def tip(field: str, title: str, form: str | None = None) -> alt.Tooltip:
    """A line of what is said of a mark under the pointer."""
    return alt.Tooltip(field, title=title, format=form or alt.Undefined)


def decades(low: float, high: float) -> list[float]:
    """Where a logarithmic axis has its ticks: at the powers of ten, and between them if these are few."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high < 100 * low else (1,)
    return [float(f"{step}e{power}") for power in powers for step in steps]


def depth_names(frame: pd.DataFrame) -> list[str]:
    """The panels of a frame with a column `depth`, in their order."""
    return [f"depth {depth}" for depth in sorted(frame["depth"].unique())]


def trained(rate: float) -> str:
    """How networks of a rate are called."""
    return f"dropout {rate:g}" if rate else "no dropout (control)"


def places(frame: pd.DataFrame) -> list[str]:
    """The places of a frame with columns `place` and `depth`, by depth, else as they come."""
    return list(frame.sort_values("depth", kind="stable")["place"].unique())


def kinds(frame: pd.DataFrame) -> list[str]:
    """What networks are trained with, of a frame with columns `trained` and `dropout`: by rate, else as they come."""
    return list(frame.sort_values("dropout", kind="stable")["trained"].unique())


def seeds(frame: pd.DataFrame) -> str:
    """How many seeds a frame with a column `seed` has, in words."""
    count = frame["seed"].nunique()
    return f"{count} seeds" if count > 1 else "one seed, so their spread is not known"
