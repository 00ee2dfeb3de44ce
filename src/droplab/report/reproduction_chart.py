"""The chart of a reproduction: the paper's table or figure redrawn, published values beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.stats.intervals import normal_interval
from droplab.study.published import beside

if TYPE_CHECKING:
    from droplab.study.reproduction import Reproduced

OURS, PUBLISHED = "droplab, mean over seeds", "published"
_SIDES = [OURS, PUBLISHED]

_LOG_FROM = 10
"""How many times the smallest error the largest is where the axis is logarithmic."""


def reproduction_chart(reproduced: Reproduced) -> alt.TopLevelMixin:
    """Test error of every row with its 95 % interval; across for a figure, a line a row for a table.

    Args:
        reproduced: with at least one network finished.
    """
    frame = _frame(reproduced)
    what = reproduced.reproduction
    seeds = max(len(result.runs) for result in reproduced.rows)
    updates = f"{what.updates[reproduced.budget]:,} updates a network"
    bar = "bar: 95 % interval" if seeds > 1 else "one seed: its spread is not known"
    if what.across and (frame["side"] == PUBLISHED).any():
        bar += "; diamond, dashed: published"
    title = style.title(
        what.title,
        f"Test error on {reproduced.dataset.name}; {updates}, {seeds} seed{'s' if seeds > 1 else ''}; {bar}.",
        what.source,
    )
    layers = _figure(frame, what.across, what.logarithmic) if what.across else _table(frame)
    return style.finished(layers, title)


def _frame(reproduced: Reproduced) -> pd.DataFrame:
    """A row for each value: `name, series, x, side, value, low, high`, errors in %."""
    rows: list[dict[str, Any]] = []
    for result in reproduced.rows:
        found = beside(result, reproduced.dataset.test_examples)
        where = {"name": result.row.name, "series": result.row.series, "x": result.row.x}
        if found.error is not None:
            rows.append(where | {"side": OURS, "value": found.error, "low": found.low, "high": found.high})
        if found.published is not None and found.published_sd is not None:
            theirs = normal_interval(found.published, found.published_sd)
            ends = {"low": max(theirs.low, 0.0), "high": theirs.high}
            rows.append(where | {"side": PUBLISHED, "value": found.published} | ends)
    return pd.DataFrame(rows).astype({"low": np.float64, "high": np.float64})


def _tips() -> list[alt.Tooltip]:
    return [
        style.tip("name:N", "row"),
        style.tip("side:N", "value"),
        style.tip("value:Q", "test error (%)", ".2f"),
        style.tip("low:Q", "95 % interval from", ".2f"),
        style.tip("high:Q", "to", ".2f"),
    ]


def _table(frame: pd.DataFrame) -> Any:
    """A line a row, ours above the published value."""
    sides = [side for side in _SIDES if (frame["side"] == side).any()]
    base = alt.Chart(style.data(frame)).encode(
        y=alt.Y(
            "name:N", title=None, sort=list(dict.fromkeys(frame["name"])), axis=alt.Axis(labelLimit=340, grid=True)
        ),
        yOffset=alt.YOffset("side:N", sort=sides, scale=alt.Scale(paddingInner=0.5, paddingOuter=0.5)),
        color=style.colour("side", sides, None),
    )
    return alt.layer(
        base.mark_rule(strokeWidth=2.5).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=65, filled=True, opacity=1).encode(
            x=alt.X("value:Q", title="test error (%)", scale=alt.Scale(zero=False)),
            shape=style.shape("side", sides),
            tooltip=_tips(),
        ),
    ).properties(width=460, height=alt.Step(15, **{"for": "offset"}))


def _figure(frame: pd.DataFrame, across: str, logarithmic: bool) -> Any:
    """A line a series through ours; published values are diamonds."""
    names = list(dict.fromkeys(frame["series"]))
    ticks = sorted(frame["x"].unique())
    frame = frame.assign(beside=_beside(frame, logarithmic))
    x = alt.X(
        "beside:Q",
        title=f"{across} (logarithmic)" if logarithmic else across,
        scale=alt.Scale(type="log" if logarithmic else "linear", nice=False, zero=False, padding=14),
        axis=alt.Axis(grid=False, values=ticks, format=",.6~g", labelAngle=0, labelOverlap=True),
    )
    colour = style.colour("series", names, None) if len(names) > 1 else alt.value(style.BLUE)
    base = alt.Chart(style.data(frame)).encode(x=x, color=colour)
    y = _upwards(frame)
    ours, published = (base.transform_filter(alt.datum.side == side) for side in _SIDES)
    point = ours.mark_point(size=55, filled=True, opacity=1).encode(y=y, tooltip=_tips())
    if len(names) > 1:
        point = point.encode(shape=style.shape("series", names))
    marks = [
        ours.mark_rule(strokeWidth=2, opacity=0.6).encode(y="low:Q", y2="high:Q"),
        ours.mark_line(strokeWidth=1.5).encode(y=y),
        point,
    ]
    if (frame["side"] == PUBLISHED).any():
        marks += [
            published.mark_rule(strokeWidth=1.5, strokeDash=[3, 3]).encode(y="low:Q", y2="high:Q"),
            published.mark_point(size=90, filled=False, strokeWidth=2, shape="diamond", opacity=1).encode(
                y=y, tooltip=_tips()
            ),
        ]
    return alt.layer(*marks).properties(width=560, height=320)


def _upwards(frame: pd.DataFrame) -> alt.Y:
    """Test error upwards; logarithmic where the largest is many times the smallest."""
    ends = frame[["value", "low", "high"]].min().min(), frame[["value", "low", "high"]].max().max()
    if ends[0] <= 0 or ends[1] < _LOG_FROM * ends[0]:
        return alt.Y("value:Q", title="test error (%)", scale=alt.Scale(zero=False))
    return alt.Y(
        "value:Q",
        title="test error (%, logarithmic)",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(values=style.decades(*ends), format="~g"),
    )


def _beside(frame: pd.DataFrame, logarithmic: bool) -> pd.Series[float]:
    """Where values stand across: published ones a little to the right of ours, each series beside the others."""
    names = list(dict.fromkeys(frame["series"]))
    steps = 0.006 * (frame["series"].map(names.index) - (len(names) - 1) / 2) + 0.02 * (frame["side"] == PUBLISHED)
    low, high = frame["x"].min(), frame["x"].max()
    moved: pd.Series[float] = frame["x"] * (high / low) ** steps if logarithmic else frame["x"] + (high - low) * steps
    return moved
