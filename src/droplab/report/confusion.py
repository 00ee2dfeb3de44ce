"""Confusion: which classes a network takes for which, as a frame and as a chart."""

from __future__ import annotations

import altair as alt
import pandas as pd

from droplab.report import style

MOST_CLASSES = 20
"""Classes that a chart has room for."""


def confusion_chart(frame: pd.DataFrame, network: str) -> alt.TopLevelMixin:
    """True classes down, predicted ones across; only what is wrong is coloured.

    Args:
        frame: of `confusion_frame`; of more than `MOST_CLASSES` classes those most often mistaken are drawn.
        network: names it.
    """
    wrong = frame[frame["true"] != frame["predicted"]]
    mistaken = wrong.groupby("true")["examples"].sum().add(wrong.groupby("predicted")["examples"].sum(), fill_value=0)
    chosen = set(mistaken.nlargest(MOST_CLASSES).index)
    classes = [name for name in dict.fromkeys(frame["true"]) if name in chosen]
    drawn = frame[frame["true"].isin(classes) & frame["predicted"].isin(classes)]
    percent = 100 * drawn["share"]
    drawn = drawn.assign(percent=percent, wrong=percent.where(drawn["true"] != drawn["predicted"]))
    base = alt.Chart(style.data(drawn)).encode(
        x=alt.X("predicted:N", sort=classes, title="predicted class", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("true:N", sort=classes, title="true class"),
        tooltip=[
            style.tip("true:N", "true class"),
            style.tip("predicted:N", "predicted class"),
            style.tip("examples:Q", "test examples"),
            style.tip("percent:Q", "of the true class (%)", ".2f"),
        ],
    )
    most = float(drawn["wrong"].max()) if drawn["wrong"].notna().any() else 0.0
    colour = alt.Color(
        "wrong:Q",
        title="of the true class (%)",
        scale=alt.Scale(range=["#fdf1e3", style.ORANGE], domain=[0, most or 1.0]),
        legend=alt.Legend(orient="right", format=".2~f"),
    )
    cells = base.mark_rect(stroke="#cccccc", strokeWidth=0.5).encode(
        color=alt.condition("isValid(datum.wrong) && datum.examples > 0", colour, alt.value("white"))
    )
    numbers = (
        base.mark_text(fontSize=11)
        .encode(
            text="examples:Q", color=alt.condition("isValid(datum.wrong)", alt.value("black"), alt.value("#777777"))
        )
        .transform_filter("datum.examples > 0")
    )
    side = 36 * len(classes)
    others = "" if len(chosen) == frame["true"].nunique() else f" The {len(classes)} classes most often mistaken."
    titled = style.title(
        "What the best network takes for what",
        f"{network}: number of test examples, dropout off; grey on the diagonal is right.{others}",
    )
    return style.finished(alt.layer(cells, numbers).properties(width=side, height=side), titled)
