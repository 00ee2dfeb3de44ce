"""Style: what all figures have in common: colours, each of one meaning, legends, panels, widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report.cells import Table

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E0730A", "#009E73", "#B0589A"
"""The control; the regularizer; places, and amounts that are good; what stands beside both, as dropout left on."""

BLUES, ORANGES, GREENS, PURPLES = ("#6FB7E0", BLUE), ("#F2A65A", "#A34700"), ("#7CCDB0", "#00755A"), ("#F6EAF2", PURPLE)
"""From light to dark: several controls; several regularizers; several places; amounts that are bad."""

INK, QUIET, LINE, GRID, SHADE = "#333333", "#555555", "#cccccc", "#e6e6e6", "#eeeeee"
"""Text and zero lines, lesser text, frames, grids and areas; the page has others for these on dark paper."""

WIDTH, GAP, LINE_WIDTH = 662, 14, 1.7
"""In pixels: of a figure, 6.9 inches at 96 pixels an inch, the text width of a paper, which the page fits to its own;
between panels; of lines."""

MOST_PANELS, MOST_ROWS = 12, 60
"""Of a figure with a panel for each place in a study; of one with a row an arm."""

FEW_TICKS = alt.Axis(tickCount=4, grid=False, labelFlush=False)
"""The axis across of a chart with a row an arm."""

NUMBER = "format(datum.value, datum.value > 0 && datum.value < 0.001 ? '~e' : ',.6~g')"
"""The label of a tick, where it is a number of the study's."""

ROWS = alt.NamedData("rows")
"""What a chart's marks are drawn of; its values are given to `finished`."""

_SHAPES = ["circle", "triangle-up", "square", "diamond", "triangle-down", "cross"]  # again from the first on
_TEXT = {"labelColor": INK, "titleColor": INK}
_CONFIG = {
    "background": "white",
    "font": "sans-serif",
    "padding": 5,
    "aria": False,
    "view": {"stroke": LINE},
    "header": {"title": None, "labelFontSize": 12, "labelFontWeight": "bold", "labelColor": INK, "labelLimit": 300},
    "legend": {"orient": "top", "title": None, "columns": 4, "padding": 2, "offset": 8}
    | {"labelFontSize": 12, "labelLimit": 300, "symbolOpacity": 1, "symbolStrokeWidth": 2}
    | _TEXT,
    "axis": {"labelFontSize": 11, "titleFontSize": 11.5, "titleFontWeight": "normal"}
    | {"gridColor": GRID, "tickColor": LINE, "domain": False}
    | _TEXT,
}


@dataclass(frozen=True, eq=False)
class Figure:
    """A chart, what it shows, and what it draws as a table in words.

    Attributes:
        title: what it shows.
        caption: how to read it.
        chart: without either.
        numbers: its values.
    """

    title: str
    caption: str
    chart: alt.TopLevelMixin
    numbers: Table

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite has it."""
        return self.chart.to_dict(validate=False)  # tests validate every chart

    @property
    def drawing(self) -> tuple[str, dict[str, Any]]:
        """What `drawing.draw` takes."""
        return self.title, self.spec

    @property
    def titled(self) -> alt.TopLevelMixin:
        """The chart with its title, to stand alone."""
        chart: Any = self.chart
        title = alt.TitleParams(self.title, anchor="start", color=INK, fontSize=14, offset=10)
        return chart.properties(title=title)  # type: ignore[no-any-return]


def finished(chart: Any, left: float, each: float = 0, **frames: pd.DataFrame) -> alt.TopLevelMixin:
    """The chart with its legend on top, quiet lines, and its data, which Altair would copy at every earlier step.

    Args:
        chart: layers, panels, or views side by side; it is changed.
        left: how much of its width are labels, so that the page can fit the rest to its own.
        each: how much beside that stands left of each panel.
        frames: the data by the names that the chart has for them.
    """
    chart.usermeta = {"left": round(left), "each": round(each)}
    chart.config = _CONFIG
    chart.datasets = {name: _values(frame) for name, frame in frames.items()}
    return chart  # type: ignore[no-any-return]


def panels(
    layers: Any,
    frame: pd.DataFrame,
    field: str,
    names: Sequence[str],
    left: float = 76,
    each: float = 0,
    height: Any = 150,
    free_x: bool = False,
) -> alt.TopLevelMixin:
    """A finished chart of a panel for each of `names`, three a line.

    All have one y axis, unless `each` gives room to one beside each panel, and one x axis unless `free_x`.
    """
    columns = min(3, len(names))
    width = (WIDTH - left - GAP * (columns - 1)) / columns - each
    facet = alt.Facet(f"{field}:N", sort=list(names))
    layers = layers.properties(width=round(width), height=height)
    chart = layers.facet(data=ROWS, facet=facet, columns=columns, spacing=GAP)
    chart = chart.resolve_scale(y="independent") if each else chart.resolve_axis(x="independent")
    return finished(chart.resolve_scale(x="independent") if free_x else chart, left, each, rows=frame)


def _values(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as they go into a chart: six digits a number, nothing for NaN."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(k): float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]


def ramp(ends: tuple[str, str], count: int, one: str) -> list[str]:
    """So many colours from light to dark; `one` where there is a single one."""
    if count == 1:
        return [one]
    light, dark = (np.array([int(end[k : k + 2], 16) for k in (1, 3, 5)]) for end in ends)
    mixed = np.linspace(light, dark, count).round().astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed]


def arms_colour(field: str, controls: Sequence[str], others: Sequence[str]) -> alt.Color:
    """Blue for controls, orange for what is compared with them; from light to dark where there are several."""
    shades = [*ramp(BLUES, len(controls), BLUE), *ramp(ORANGES, len(others), ORANGE)]
    return colour(field, dict(zip([*controls, *others], shades, strict=True)), legend=len(shades) > 1)


def colour(field: str, colours: dict[str, str], legend: bool = True) -> alt.Color:
    """A colour a name."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", sort=list(colours), scale=scale, legend=alt.Undefined if legend else None)


def dash(field: str, names: Sequence[str]) -> alt.StrokeDash:
    """The first name a full line, the second a dashed one."""
    scale = alt.Scale(domain=list(names), range=[[1, 0], [4, 3]][: len(names)])
    legend = alt.Legend(symbolType="stroke", symbolStrokeColor=INK, symbolSize=200)
    return alt.StrokeDash(f"{field}:N", sort=list(names), scale=scale, legend=legend)


def picked(field: str) -> alt.Parameter:
    """A click on an entry of the legend of `field` picks it; with Shift several, with a double click all."""
    return alt.selection_point(name=f"picked_{field}", fields=[field], bind="legend")


def faded(field: str, opacity: float = 1.0) -> Any:
    """The opacity of a mark: full where its `field` is `picked`, or nothing is, else hardly to be seen."""
    return alt.condition(picked(field), alt.value(opacity), alt.value(0.08 * opacity))


def tips(titles: Mapping[str, str], form: str = "") -> list[alt.Tooltip]:
    """What is said of a mark under the pointer: a line a field (as `"mean:Q"`), quantities in this format."""
    return [
        alt.Tooltip(field, title=title, format=form if form and field.endswith(":Q") else alt.Undefined)
        for field, title in titles.items()
    ]


def marks(
    base: alt.Chart,
    place: alt.X | alt.Y,
    field: str,
    names: Sequence[str],
    tips: list[alt.Tooltip],
    bars: bool = True,
    line: bool = True,
) -> list[Any]:
    """The marks of some values: bars from `low` to `high`, a line through the values, and points.

    `base` is what they share, `place` the values' axis, and `tips` what is said of a point; each of `names`, of which
    `field` has one, has a shape in the legend of its colour, and can be `picked`.
    """
    ends = {"x": "low:Q", "x2": "high:Q"} if isinstance(place, alt.X) else {"y": "low:Q", "y2": "high:Q"}
    shape = alt.Shape(f"{field}:N", sort=list(names), scale=alt.Scale(domain=list(names), range=_SHAPES))
    points = base.mark_point(size=50, filled=True).encode(place, shape, opacity=faded(field), tooltip=tips)
    return [
        *([base.mark_rule(strokeWidth=2.5).encode(opacity=faded(field, 0.5), **ends)] if bars else []),
        *([base.mark_line(strokeWidth=LINE_WIDTH).encode(place, opacity=faded(field))] if line else []),
        points.add_params(picked(field)),
    ]


def close(padding: int = 8) -> alt.Scale:
    """A scale of just the values, with so many pixels beside them."""
    return alt.Scale(zero=False, nice=False, padding=padding)


def log_axis(low: float, high: float) -> dict[str, Any]:
    """The scale and the axis of positive values from `low` to `high`: no empty range, ticks at powers of ten."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high < 100 * low else (1,)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    return {"scale": alt.Scale(type="log", nice=False), "axis": alt.Axis(format="~g", values=ticks)}


def is_log(values: Sequence[float] | pd.Series[float]) -> bool:
    """Whether an axis of these values is logarithmic: they are positive, and the largest is 10 times the smallest."""
    return min(values) > 0 and max(values) >= 10 * min(values)


def numbers_axis(field: str, title: str, values: Sequence[float], log: bool) -> alt.X:
    """An axis across with a tick at each of `values`."""
    return alt.X(
        f"{field}:Q",
        title=f"{title} (logarithmic)" if log else title,
        scale=alt.Scale(type="log", nice=False, padding=12) if log else close(12),
        axis=alt.Axis(grid=False, labelAngle=0, labelOverlap=True, labelExpr=NUMBER, values=sorted(values)),
    )


def text_width(words: Sequence[str], most: int = 180) -> int:
    """About how many pixels the longest line of `words` takes in labels, `most` at most."""
    lines = [line for one in words for line in one.split("\n")]
    return min(most, 8 + round(6.1 * max(len(line) + line.count("→") for line in lines)))


def numbers(frame: pd.DataFrame, columns: Mapping[str, str]) -> Table:
    """The rows of a frame as a table in words: by head, how a cell is written (as `"{mean:.2f}"`)."""
    rows: Any = frame.to_dict("records")
    return Table(tuple(columns), [tuple(cell.format(**row) for cell in columns.values()) for row in rows])


def seeds(frame: pd.DataFrame) -> str:
    """How many seeds a frame with a column `seed` has, in words."""
    count = frame["seed"].nunique()
    return f"{count} seeds" if count > 1 else "one seed, so the spread is not known"


def first(frame: pd.DataFrame, field: str, most: int, what: str) -> tuple[pd.DataFrame, list[str], str]:
    """The rows of the first names of a column, these names, and a sentence where there are more."""
    names = list(dict.fromkeys(frame[field]))
    return frame[frame[field].isin(names[:most])], names[:most], listed(len(names), most, what)


def listed(total: int, most: int, what: str) -> str:
    """A sentence that says that only the first of many are drawn; nothing where all are."""
    return f" The first {most} of {total} {what}." if total > most else ""
