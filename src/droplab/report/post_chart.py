"""The chart of the post beside ours: whether each of its figures is one that another seed of ours may give."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.study.names import hidden_words
from droplab.study.post import PostFigure

_PANELS = {"off": "dropout off at inference", "on": "dropout left on: its “no dropout”"}
_WITHIN, _OUTSIDE, _UNKNOWN = "the post is within", "the post is outside", "no interval"


def post_chart(figures: Sequence[PostFigure]) -> alt.TopLevelMixin:
    """Our mean − the post's figure, with the interval for one more seed of ours; the post is the zero line.

    Args:
        figures: of the post, at least one with ours beside it; the others are left out.
    """
    frame = _frame(figures)
    names = [name for name in (_WITHIN, _OUTSIDE, _UNKNOWN) if (frame["agrees"] == name).any()]
    y = alt.Y("name:N", title=None, sort=list(dict.fromkeys(frame["name"])), axis=alt.Axis(grid=True, labelLimit=200))
    base = alt.Chart().encode(y=y, color=style.colour("agrees", names, None))
    tips = [
        style.tip("name:N", "figure"),
        style.tip("theirs:Q", "the post (%)", ".2f"),
        style.tip("ours:Q", "ours (%)", ".3f"),
        style.tip("difference:Q", "ours − the post (points)", "+.3f"),
        style.tip("low:Q", "one more seed − the post, from", "+.3f"),
        style.tip("high:Q", "to", "+.3f"),
    ]
    layers = alt.layer(
        alt.Chart().mark_rule(color=style.INK).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2.5, opacity=0.7).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            x=alt.X("difference:Q", title="ours − the post (points of accuracy)"),
            shape=style.shape("agrees", names),
            tooltip=tips,
        ),
    ).properties(width=330, height=alt.Step(19))
    title = style.title(
        "The post’s figures beside ours",
        "Zero line: the post. Point: our mean over the seeds minus the post’s figure.",
        "Bar: where one more seed of ours would fall (95 %); where it meets the zero line, the two agree.",
    )
    panels = [name for name in _PANELS.values() if (frame["panel"] == name).any()]
    return style.finished(style.panels(layers, frame, "panel", panels), title)


def _frame(figures: Sequence[PostFigure]) -> pd.DataFrame:
    """A row a figure: `panel, name, agrees, theirs, ours` in %, `difference, low, high` in points."""
    rows = []
    for one in figures:
        if one.ours:
            low, high = one.interval or (np.nan, np.nan)
            agrees = {True: _WITHIN, False: _OUTSIDE, None: _UNKNOWN}[one.agrees]
            rows.append(
                {
                    "panel": _PANELS[one.inference],
                    "name": f"{hidden_words(one.depth)}, {one.split}",
                    "agrees": agrees,
                    "theirs": 100 * one.theirs,
                    "ours": 100 * fmean(one.ours),
                    "difference": 100 * (fmean(one.ours) - one.theirs),
                    "low": 100 * (low - one.theirs),
                    "high": 100 * (high - one.theirs),
                }
            )
    return pd.DataFrame(rows)
