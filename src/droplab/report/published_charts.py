"""Charts of ours beside what others published: the blog post's accuracies, a paper's table or figure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.cells import Table
from droplab.report.post import intervals_table
from droplab.report.style import BLUE, GREEN, INK, ORANGES, PURPLE, QUIET, WIDTH, Figure
from droplab.stats.intervals import normal_interval
from droplab.study.post import PostFigure
from droplab.study.published import beside

if TYPE_CHECKING:
    from droplab.study.reproduction import Reproduced

OURS, PUBLISHED = "droplab, mean over seeds", "published"
_SIDES = {OURS: GREEN, PUBLISHED: QUIET}

_PANELS = {"off": "dropout off at inference", "on": "dropout left on: its “no dropout”"}
_AGREES = {"the post is within": GREEN, "the post is outside": PURPLE, "no interval": QUIET}


def post(figures: Sequence[PostFigure]) -> Figure:
    """Our mean − the post's figure, with the interval for one more seed of ours; the post is the zero line.

    Args:
        figures: of the post, at least one with ours beside it; the others are left out.
    """
    frame = _post_frame(figures)
    colours = {name: colour for name, colour in _AGREES.items() if (frame["agrees"] == name).any()}
    names = list(dict.fromkeys(frame["name"]))
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(grid=True, labelLimit=200))
    base = alt.Chart().encode(y=y, color=style.colour("agrees", colours))
    tips = [
        style.tip("name:N", "figure"),
        style.tip("theirs:Q", "the post (%)", ".2f"),
        style.tip("ours:Q", "ours (%)", ".3f"),
        style.tip("difference:Q", "ours − the post (points)", "+.3f"),
        style.tip("low:Q", "one more seed − the post, from", "+.3f"),
        style.tip("high:Q", "to", "+.3f"),
    ]
    layers = alt.layer(
        alt.Chart().mark_rule(color=INK).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2.5, opacity=0.7).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            x=alt.X("difference:Q", title="ours − the post (points of accuracy)"),
            shape=style.shape("agrees", list(colours)),
            tooltip=tips,
        ),
    )
    panels = [name for name in _PANELS.values() if (frame["panel"] == name).any()]
    return Figure(
        "The post’s figures beside ours",
        "Zero line: the post. Point: our mean over the seeds minus the post’s figure. Bar: where one more seed of ours "
        "would fall (95 %); where it meets the zero line, the two agree.",
        style.panels(layers, frame, "panel", panels, 90, 0, alt.Step(19)),
        intervals_table(figures),
    )


def _post_frame(figures: Sequence[PostFigure]) -> pd.DataFrame:
    """A row a figure: `panel, name, agrees, theirs, ours` in %, `difference, low, high` in points."""
    rows = []
    within, outside, unknown = _AGREES
    for one in figures:
        if one.ours:
            low, high = one.interval or (np.nan, np.nan)
            rows.append(
                {
                    "panel": _PANELS[one.inference],
                    "name": f"depth {one.depth}, {one.split}",
                    "agrees": {True: within, False: outside, None: unknown}[one.agrees],
                    "theirs": 100 * one.theirs,
                    "ours": 100 * fmean(one.ours),
                    "difference": 100 * (fmean(one.ours) - one.theirs),
                    "low": 100 * (low - one.theirs),
                    "high": 100 * (high - one.theirs),
                }
            )
    return pd.DataFrame(rows)


def reproduction(reproduced: Reproduced) -> Figure:
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
    caption = (
        f"Test error on {reproduced.dataset.name}; {updates}, {seeds} seed{'s' if seeds > 1 else ''}; {bar}. "
        f"{what.source}"
    )
    frame = frame.assign(beside=_beside(frame, what.logarithmic)) if what.across else frame
    layers, labels = _figure(frame, what.across, what.logarithmic) if what.across else _table(frame)
    chart = style.finished(layers.properties(width=WIDTH - labels), labels, rows=frame)
    rows = [
        (one["name"], one["side"], *(f"{one[part]:.2f}" for part in ("value", "low", "high")))
        for one in frame.to_dict("records")
    ]
    return Figure(what.title, caption, chart, Table(("row", "value", "test error (%)", "from", "to"), rows))


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


def _table(frame: pd.DataFrame) -> tuple[Any, int]:
    """A line a row, ours above the published value; and the width of the labels."""
    sides = [side for side in _SIDES if (frame["side"] == side).any()]
    names = list(dict.fromkeys(frame["name"]))
    labels = style.text_width(names, 300)
    base = alt.Chart(style.ROWS).encode(
        y=alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=labels, grid=True)),
        yOffset=alt.YOffset("side:N", sort=sides, scale=alt.Scale(paddingInner=0.5, paddingOuter=0.5)),
        color=style.colour("side", {side: _SIDES[side] for side in sides}),
    )
    layers = alt.layer(
        base.mark_rule(strokeWidth=2.5).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=65, filled=True, opacity=1).encode(
            x=alt.X("value:Q", title="test error (%)", scale=alt.Scale(zero=False)),
            shape=style.shape("side", sides),
            tooltip=_tips(),
        ),
    )
    return layers.properties(height=alt.Step(15, **{"for": "offset"})), labels + 20


def _figure(frame: pd.DataFrame, across: str, log: bool) -> tuple[Any, int]:
    """A line a series through ours; published values are diamonds. And the width of what stands beside."""
    names = list(dict.fromkeys(frame["series"]))
    controls = [name for name in names if name.startswith(("control", "without dropout"))]
    others = [name for name in names if name not in controls]
    x = style.numbers_axis("beside", across, list(frame["x"].unique()), log)
    shades = dict(zip(controls, style.ramp(("#6FB7E0", BLUE), len(controls), BLUE), strict=True))
    shades |= dict(zip(others, style.ramp(ORANGES, len(others), style.ORANGE), strict=True))
    base = alt.Chart(style.ROWS).encode(x=x, color=style.colour("series", shades, len(names) > 1))
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
    return alt.layer(*marks).properties(height=320), 60


def _upwards(frame: pd.DataFrame) -> alt.Y:
    """Test error upwards; logarithmic where the largest is many times the smallest."""
    ends = [float(frame[["value", "low", "high"]].min().min()), float(frame[["value", "low", "high"]].max().max())]
    if not style.is_log(ends):
        return alt.Y("value:Q", title="test error (%)", scale=alt.Scale(zero=False))
    return alt.Y("value:Q", title="test error (%, logarithmic)", **style.log_axis(*ends))


def _beside(frame: pd.DataFrame, log: bool) -> pd.Series[float]:
    """Where values stand across: published ones a little to the right of ours, each series beside the others."""
    names = list(dict.fromkeys(frame["series"]))
    steps = 0.006 * (frame["series"].map(names.index) - (len(names) - 1) / 2) + 0.02 * (frame["side"] == PUBLISHED)
    low, high = frame["x"].min(), frame["x"].max()
    moved: pd.Series[float] = frame["x"] + (high - low) * steps
    return frame["x"] * (high / low) ** steps if log else moved
