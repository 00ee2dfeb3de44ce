"""Charts of ours beside what others published: the blog post's accuracies, a paper's table or figure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.post import intervals_table
from droplab.report.style import GREEN, INK, PURPLE, QUIET, WIDTH, Figure
from droplab.stats.intervals import normal_interval
from droplab.study.post import PostFigure
from droplab.study.published import beside

if TYPE_CHECKING:
    from droplab.study.reproduction import Reproduced

OURS, PUBLISHED = "droplab, mean over seeds", "published"
_SIDES = {OURS: GREEN, PUBLISHED: QUIET}

_PANELS = {"off": "dropout off at inference", "on": "dropout left on: its “no dropout”"}
_AGREES = {"the post is within": GREEN, "the post is outside": PURPLE, "no interval": QUIET}
_ENDS = {"low:Q": "95 % interval from", "high:Q": "to"}
_TIPS = style.tips({"name:N": "row", "side:N": "value", "value:Q": "test error (%)"} | _ENDS, ".2f")


def post(figures: Sequence[PostFigure]) -> Figure:
    """Our mean − the post's figure, with the interval for one more seed of ours; the post is the zero line.

    Args:
        figures: of the post, at least one with ours beside it; the others are left out.
    """
    frame = _post_frame(figures)
    colours = {name: colour for name, colour in _AGREES.items() if (frame["agrees"] == name).any()}
    names = list(dict.fromkeys(frame["name"]))
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(grid=True, labelLimit=200))
    ends = {"low:Q": "one more seed − the post, from", "high:Q": "to"}
    tips = style.tips({"name:N": "figure", "theirs:Q": "the post (%)", "ours:Q": "ours (%)"}, ".2f")
    tips += style.tips({"difference:Q": "ours − the post (points)"} | ends, "+.3f")
    base = alt.Chart().encode(y=y, color=style.colour("agrees", colours))
    x = alt.X("difference:Q", title="ours − the post (points of accuracy)")
    marks = style.marks(base, x, "agrees", list(colours), tips, line=False)
    layers = alt.layer(alt.Chart().mark_rule(color=INK).encode(x=alt.datum(0)), *marks)
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
    within, outside, unknown = _AGREES
    rows = []
    for one in figures:
        if one.ours:
            low, high = one.interval or (np.nan, np.nan)
            values = {"theirs": one.theirs, "ours": fmean(one.ours), "difference": fmean(one.ours) - one.theirs}
            values |= {"low": low - one.theirs, "high": high - one.theirs}
            agrees = {True: within, False: outside, None: unknown}[one.agrees]
            names = {"panel": _PANELS[one.inference], "name": f"depth {one.depth}, {one.split}", "agrees": agrees}
            rows.append(names | {name: 100 * value for name, value in values.items()})
    return pd.DataFrame(rows)


def reproduction(reproduced: Reproduced) -> Figure:
    """Test error of every row with its 95 % interval; across for a figure, a line a row for a table.

    Args:
        reproduced: with at least one network finished.
    """
    frame = _frame(reproduced)
    what = reproduced.reproduction
    seeds = max(len(result.runs) for result in reproduced.rows)
    trained = f"{what.updates[reproduced.budget]:,} updates a network, {seeds} seed{'s' if seeds > 1 else ''}"
    bar = "bar: 95 % interval" if seeds > 1 else "one seed: its spread is not known"
    if what.across and (frame["side"] == PUBLISHED).any():
        bar += "; diamond, dashed: published"
    caption = f"Test error on {reproduced.dataset.name}; {trained}; {bar}. {what.source}"
    chart = _figure(frame, what.across, what.logarithmic) if what.across else _table(frame)
    columns = {"row": "{name}", "value": "{side}", "test error (%)": "{value:.2f}"}
    columns |= {"from": "{low:.2f}", "to": "{high:.2f}"}
    return Figure(what.title, caption, chart, style.numbers(frame, columns))


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


def _table(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """A line a row, ours above the published value."""
    sides = [side for side in _SIDES if (frame["side"] == side).any()]
    names = list(dict.fromkeys(frame["name"]))
    labels = style.text_width(names, 300)
    base = alt.Chart(style.ROWS).encode(
        y=alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=labels, grid=True)),
        yOffset=alt.YOffset("side:N", sort=sides, scale=alt.Scale(paddingInner=0.5, paddingOuter=0.5)),
        color=style.colour("side", {side: _SIDES[side] for side in sides}),
    )
    x = alt.X("value:Q", title="test error (%)", scale=alt.Scale(zero=False))
    marks = style.marks(base, x, "side", sides, _TIPS, line=False)
    height = alt.Step(15, **{"for": "offset"})
    layers = alt.layer(*marks).properties(width=WIDTH - labels - 20, height=height)
    return style.finished(layers, labels + 20, rows=frame)


def _figure(frame: pd.DataFrame, across: str, log: bool) -> alt.TopLevelMixin:
    """A line a series through ours; published values are diamonds."""
    names = list(dict.fromkeys(frame["series"]))
    controls = [name for name in names if name.startswith(("control", "without dropout"))]
    others = [name for name in names if name not in controls]
    x = style.numbers_axis("beside", across, list(frame["x"].unique()), log)
    base = alt.Chart(style.ROWS).encode(x=x, color=style.arms_colour("series", controls, others))
    ours, published = (base.transform_filter(alt.datum.side == side) for side in _SIDES)
    y = _upwards(frame)
    marks = style.marks(ours, y, "series", names, _TIPS)
    if (frame["side"] == PUBLISHED).any():
        seen = style.faded("series")
        diamonds = published.mark_point(size=90, filled=False, strokeWidth=2, shape="diamond")
        marks += [
            published.mark_rule(strokeWidth=1.5, strokeDash=[3, 3]).encode(y="low:Q", y2="high:Q", opacity=seen),
            diamonds.encode(y=y, tooltip=_TIPS, opacity=seen),
        ]
    layers = alt.layer(*marks).properties(width=WIDTH - 60, height=320)
    return style.finished(layers, 60, rows=frame.assign(beside=_beside(frame, log)))


def _upwards(frame: pd.DataFrame) -> alt.Y:
    """Test error upwards; logarithmic where the largest is many times the smallest."""
    values = frame[["value", "low", "high"]].to_numpy()
    ends = [float(np.nanmin(values)), float(np.nanmax(values))]
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
