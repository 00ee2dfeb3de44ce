"""Charts that follow a study's axes: a curve for numbers, groups for names, a heat map for two axes of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.charts import MOST_PANELS, bar_words
from droplab.stats.intervals import t_interval
from droplab.study.frames import by_seed
from droplab.study.names import spaced
from droplab.study.verdicts import ArmComparison

if TYPE_CHECKING:
    from droplab.study.axes import Axis
    from droplab.study.plan import Arm, Plan

_LOG_FROM = 10
"""The largest value over the smallest from which an axis is logarithmic."""

_SIGNS = {"helps": "▲", "hurts": "▼", "equivalent": "=", "undecided": "?", "does not apply": "–"}


@dataclass(frozen=True)
class _Layout:
    """Which axes a chart has across and upwards, if any; the others are series and panels."""

    across: Axis | None
    upwards: Axis | None

    @classmethod
    def of(cls, plan: Plan) -> _Layout:
        numeric = [axis for axis in plan.axes if axis.is_numeric and len(axis.levels) > 1]
        across, upwards = [*numeric, None, None][:2]
        return cls(across, upwards)

    def place(self, arm: Arm, plan: Plan) -> dict[str, object]:
        """Where an arm is drawn: its value `across` and `upwards`, its `series`, and its `panel`."""
        shown = {axis.name for axis in (self.across, self.upwards) if axis}
        levels = dict(arm.levels)
        series, panel = [], []
        for axis in plan.axes:
            if axis.name not in shown:
                value = levels[axis.name]
                words = spaced(next((one.label for one in axis.levels if one.value == value), str(value)))
                if axis.is_of_regularizers:
                    series.append("control" if value in (0.0, "control") else words)
                else:
                    panel.append(words)
        return {
            "arm": arm.name,
            "across": levels[self.across.name] if self.across else None,
            "upwards": levels[self.upwards.name] if self.upwards else None,
            "series": ", ".join(dict.fromkeys(series)) or _alone(arm, self),
            "panel": ", ".join(panel),
        }


def _alone(arm: Arm, layout: _Layout) -> str:
    """The series of an arm that no other axis tells from others."""
    shown = [axis for axis in (layout.across, layout.upwards) if axis is not None]
    return "" if any(axis.is_of_regularizers for axis in shown) else spaced(arm.trained)


def axes_charts(
    plan: Plan, results: pd.DataFrame, comparisons: Sequence[ArmComparison]
) -> dict[str, alt.TopLevelMixin]:
    """The figures of a study that varies more than depth and rate, by file name.

    Args:
        plan: the study's.
        results: of `frames.results_frame`, with at least one row.
        comparisons: of `Findings.contrasts`; where there is none, there is no difference to draw.
    """
    drawn = {"difference": difference_chart(plan, comparisons)} if comparisons else {}
    return drawn | {"axes": accuracy_chart(plan, results)}


def accuracy_chart(plan: Plan, results: pd.DataFrame) -> alt.TopLevelMixin:
    """Test accuracy of every arm with its 95 % interval over seeds, dropout off at inference.

    Args:
        plan: the study's.
        results: of `frames.results_frame`, with at least one row.
    """
    layout, rows = _Layout.of(plan), []
    for arm in plan.arms:
        values = 100 * by_seed(results, arm, "off", "test", "accuracy").to_numpy()
        if len(values):
            found = t_interval(values)
            ends = (np.nan, np.nan) if found is None else (max(found.low, 0.0), min(found.high, 100.0))
            shown = {"value": values.mean(), "low": ends[0], "high": ends[1]}
            rows.append(layout.place(arm, plan) | shown)
    seeds = style.seeds(results)
    titled = style.title(
        f"Test accuracy by {_words(plan)}",
        f"Dropout off at inference. {'Mean' if layout.upwards else 'Point: mean; bar: 95 % interval for it'}; {seeds}.",
    )
    return _drawn(layout, pd.DataFrame(rows), "test accuracy (%)", titled, None)


def difference_chart(plan: Plan, comparisons: Sequence[ArmComparison]) -> alt.TopLevelMixin:
    """Every arm − its control on test with its interval, the zero line and the margin.

    Args:
        plan: the study's.
        comparisons: of `Findings.contrasts`, at least one.
    """
    layout = _Layout.of(plan)
    rows = [
        layout.place(one.arm, plan)
        | {
            "value": 100 * one.comparison.difference,
            "low": np.nan if one.comparison.low is None else 100 * one.comparison.low,
            "high": np.nan if one.comparison.high is None else 100 * one.comparison.high,
            "same_low": np.nan if one.comparison.same_low is None else 100 * one.comparison.same_low,
            "same_high": np.nan if one.comparison.same_high is None else 100 * one.comparison.same_high,
            "verdict": one.comparison.verdict,
            "sign": _SIGNS[one.comparison.verdict],
        }
        for one in comparisons
    ]
    margin = 100 * comparisons[0].comparison.margin
    several = max(one.comparison.seeds for one in comparisons) > 1
    signs = ", ".join(
        f"{sign} {verdict}" for verdict, sign in _SIGNS.items() if verdict in {r["verdict"] for r in rows}
    )
    titled = style.title(
        "What the regularizers change",
        f"Mean difference from the control, test accuracy, dropout off at inference; {signs}.",
        ("" if layout.upwards else f"{bar_words(comparisons)}. ")
        if several
        else "One seed: no interval can be given. ",
        f"{'M' if layout.upwards else 'Grey: the m'}argin of equivalence: ±{margin:g} points.",
    )
    return _drawn(layout, pd.DataFrame(rows), "difference from control (points)", titled, margin)


def _drawn(
    layout: _Layout, frame: pd.DataFrame, value: str, titled: alt.TitleParams, margin: float | None
) -> alt.TopLevelMixin:
    """The frame's `value`, `low` and `high` as the layout has it, a panel for each of `panel`."""
    names = list(dict.fromkeys(frame["panel"]))
    frame = frame[frame["panel"].isin(names[:MOST_PANELS])]
    if layout.across is None:
        layers = _groups(frame, value, margin)
    elif layout.upwards is None:
        frame = frame.assign(beside=_beside(frame))
        layers = _curves(frame, layout.across.name, value, margin)
    else:
        layers = _heat_map(frame, layout.across.name, layout.upwards.name, value, margin)
        frame = frame.assign(
            panel=[", ".join(filter(None, pair)) for pair in zip(frame["panel"], frame["series"], strict=True)]
        )
        names = list(dict.fromkeys(frame["panel"]))
    if len(names) == 1:
        return style.finished(layers.properties(data=style.data(frame)), titled)
    return style.finished(style.panels(layers, frame, "panel", names[:MOST_PANELS]), titled)


def _tips(value: str) -> list[alt.Tooltip]:
    return [
        style.tip("arm:N", "arm"),
        style.tip("value:Q", value, ".3f"),
        style.tip("low:Q", "interval from", ".3f"),
        style.tip("high:Q", "to", ".3f"),
    ]


def _level(margin: float | None, axis: str) -> list[alt.Chart]:
    """The margin and the zero line of a difference; nothing where values are no differences."""
    if margin is None:
        return []
    ends = {axis: alt.datum(-margin), f"{axis}2": alt.datum(margin)}
    return [
        alt.Chart().mark_rect(color=style.SHADE, opacity=1).encode(**ends),
        alt.Chart().mark_rule(color=style.INK).encode(**{axis: alt.datum(0)}),
    ]


def _curves(frame: pd.DataFrame, across: str, value: str, margin: float | None) -> Any:
    """A curve a series, with an interval at each point."""
    log = _is_log(frame)
    axis = alt.Axis(grid=False, labelAngle=0, labelOverlap=True, format=".6~g", values=sorted(frame["across"].unique()))
    x = alt.X(
        "beside:Q",
        title=f"{across} (logarithmic)" if log else across,
        scale=alt.Scale(type="log" if log else "linear", nice=False, zero=False, padding=14),
        axis=axis,
    )
    names = list(dict.fromkeys(frame["series"]))
    pick = style.picked("series")
    colour = style.colour("series", names, None) if len(names) > 1 else alt.value(style.BLUE)
    base = alt.Chart().encode(x=x, color=colour)
    y = alt.Y("value:Q", title=value, scale=alt.Scale(zero=False))
    point = base.mark_point(size=55, filled=True).encode(y=y, opacity=style.faded(pick), tooltip=_tips(value))
    if len(names) > 1:
        point = point.encode(shape=style.shape("series", names))
    marks = [
        *_level(margin, "y"),
        *(
            []
            if margin is None
            else [
                base.mark_rule(strokeWidth=5).encode(y="same_low:Q", y2="same_high:Q", opacity=style.faded(pick, 0.5))
            ]
        ),
        base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q", opacity=style.faded(pick, 0.7)),
        base.mark_line(strokeWidth=1.5).encode(y=y, opacity=style.faded(pick)),
        point.add_params(pick),
    ]
    if margin is not None and len(names) == 1:
        marks.append(
            base.mark_text(fontSize=12, color=style.INK, baseline="top").encode(
                y=alt.value(4), text="sign:N", color=alt.value(style.INK)
            )
        )
    several = frame["panel"].nunique() > 1
    return alt.layer(*marks).properties(width=250 if several else 520, height=220 if several else 300)


def _is_log(frame: pd.DataFrame) -> bool:
    return bool(frame["across"].min() > 0 and frame["across"].max() >= _LOG_FROM * frame["across"].min())


def _beside(frame: pd.DataFrame) -> pd.Series[float]:
    """Where the points of each series stand across, a little beside those of the others."""
    names = list(dict.fromkeys(frame["series"]))
    steps = 0.008 * (frame["series"].map(names.index) - (len(names) - 1) / 2)
    low, high = frame["across"].min(), frame["across"].max()
    moved: pd.Series[float] = frame["across"] + (high - low) * steps
    return frame["across"] * (high / low) ** steps if _is_log(frame) else moved


def _groups(frame: pd.DataFrame, value: str, margin: float | None) -> Any:
    """A line a series, the highest first."""
    several = frame["panel"].nunique() > 1
    order = list(frame.groupby("series")["value"].mean().sort_values(ascending=False).index)
    y = alt.Y("series:N", title=None, sort=order, axis=alt.Axis(labelLimit=260, grid=True, labelFontSize=12))
    base = alt.Chart().encode(y=y)
    x = alt.X("value:Q", title=value, scale=alt.Scale(zero=False))
    marks = [
        *_level(margin, "x"),
        *(
            []
            if margin is None
            else [base.mark_rule(strokeWidth=6, color=style.BLUE, opacity=0.5).encode(x="same_low:Q", x2="same_high:Q")]
        ),
        base.mark_rule(strokeWidth=2, color=style.BLUE).encode(x="low:Q", x2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1, color=style.BLUE).encode(x=x, tooltip=_tips(value)),
    ]
    if margin is not None:
        marks.append(
            base.mark_text(fontSize=12, color=style.INK, align="left", dx=8).encode(
                x=alt.value("width"), text="sign:N" if several else "verdict:N"
            )
        )
    return alt.layer(*marks).properties(width=230 if several else 560, height=alt.Step(30))


def _heat_map(frame: pd.DataFrame, across: str, upwards: str, value: str, margin: float | None) -> Any:
    """A cell for each pair of values, its number in it."""
    order = (
        [f"{one:.6g}" for one in sorted(frame["across"].unique())],
        [f"{one:.6g}" for one in sorted(frame["upwards"].unique(), reverse=True)],
    )
    base = (
        alt.Chart()
        .transform_calculate(x="format(datum.across, '.6~g')", y="format(datum.upwards, '.6~g')")
        .encode(
            x=alt.X("x:N", title=across, sort=order[0], axis=alt.Axis(labelAngle=0)),
            y=alt.Y("y:N", title=upwards, sort=order[1]),
        )
    )
    if margin is None:
        scale = alt.Scale(scheme="blues", domain=[float(frame["value"].min()), float(frame["value"].max())])
        middle = float(frame["value"].min() + frame["value"].max()) / 2
        dark = f"datum.value > {middle:g}"
        label = "format(datum.value, '.2f')"
    else:
        most = float(max(frame["value"].abs().max(), margin))
        scale = alt.Scale(domain=[-most, 0, most], range=[style.VERMILLION, "#f7f7f7", style.BLUE])
        dark = f"abs(datum.value) > {0.6 * most:g}"
        label = "format(datum.value, '+.2f') + ' ' + datum.sign"
    return alt.layer(
        base.mark_rect().encode(color=alt.Color("value:Q", title=value, scale=scale), tooltip=_tips(value)),
        base.transform_calculate(label=label)
        .mark_text(fontSize=11)
        .encode(text="label:N", color=alt.condition(dark, alt.value("white"), alt.value("#222222"))),
    ).properties(width=alt.Step(58), height=alt.Step(34))


def _words(plan: Plan) -> str:
    names = [axis.name for axis in plan.axes]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names) or "arm"
