"""Charts of what networks do: whether they can be believed, how many masks it takes, what they confuse, how sparse.

A `layout` is where the study's arms stand; frames are those of `reliability_frame`, `samples_frame`, `confusion_frame`
and `activation_frames`, with at least one row.
"""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.cells import Table
from droplab.report.layout import Layout
from droplab.report.style import INK, LINE, MOST_PANELS, PURPLES, QUIET, WIDTH, Figure

MOST_LINES, MOST_CLASSES = 12, 20
"""Networks whose masks are drawn, since more lines cannot be told apart; classes that a chart has room for."""

_TRUE_PREDICTED = {"true": "{true:.4g}", "predicted": "{predicted:.4g}", "predicted − true": "{off:+.4g}"}
MOST_DOTS = 500
"""Test examples that are drawn one by one, evenly chosen."""

_MEASURES = {"accuracy": "error (%)", "nll": "NLL (nats)", "ece": "calibration error, ECE (%)"}
_STATES = {False: "as trained", True: "temperature scaled"}


def reliability(layout: Layout, curves: pd.DataFrame) -> Figure:
    """Accuracy − confidence from the least sure examples to the surest, a panel a place, a colour a regularizer.

    The usual diagram has confidence as its axis, on which nearly all examples of a good network lie at one end.
    """
    grouped = curves.groupby(["arm", "calibrated", "bin"], sort=False)[["confidence", "accuracy", "examples"]]
    means = grouped.mean().reset_index()
    means[["confidence", "accuracy"]] *= 100
    bins = int(means["bin"].max()) + 1
    means = means.assign(
        bin=means["bin"] + 1,
        across=100 * (means["bin"] + 0.5) / bins,
        gap=means["accuracy"] - means["confidence"],
        state=means["calibrated"].map(_STATES),
    )
    frame = layout.placed(layout.distinct(means), "place", "trained")
    frame, places, left_out = style.first(frame, "place", MOST_PANELS, "panels")
    ends = alt.Axis(values=[0, 50, 100], labelFlush=True)
    states = [state for state in _STATES.values() if (frame["state"] == state).any()]
    tips = style.tips({"trained:N": "trained with", "state:N": "temperature"})
    tips += style.tips({"confidence:Q": "mean confidence (%)", "accuracy:Q": "right (%)"}, ".2f")
    base = alt.Chart().encode(
        x=alt.X("across:Q", title="least sure to surest (%)", scale=alt.Scale(domain=[0, 100]), axis=ends),
        y=alt.Y("gap:Q", title="right − confidence (points)", scale=alt.Scale(nice=False, padding=6)),
        color=style.arms_colour("trained", [layout.control], layout.trained),
        detail="state:N",
        opacity=style.faded("trained"),
    )
    layers = alt.layer(
        alt.Chart().mark_rule(color=INK).encode(y=alt.datum(0)),
        base.mark_line(strokeWidth=style.LINE_WIDTH).encode(strokeDash=style.dash("state", states)),
        base.mark_circle(size=18).encode(tooltip=tips).add_params(style.picked("trained")),
    )
    columns = {"arm": "{arm}", "temperature": "{state}", "bin": "{bin}", "mean confidence (%)": "{confidence:.2f}"}
    return Figure(
        "Right − confidence, from the least sure examples to the surest",
        f"Test, dropout off, {bins} bins of equal mass; mean over {style.seeds(curves)}. Below zero a network is surer "
        f"than it is right.{left_out}",
        style.panels(layers, frame, "place", places),
        style.numbers(means, columns | {"right (%)": "{accuracy:.2f}", "examples": "{examples:.0f}"}),
    )


def samples(layout: Layout, samples: pd.DataFrame) -> Figure:
    """Error, NLL and calibration error against the number of masks, beside weight scaling (figure 11 of the paper)."""
    means = samples.groupby(["arm", "masks", "metric"], sort=False)["value"].mean().reset_index()
    value = means["value"].where(means["metric"] != "accuracy", 1 - means["value"])
    means = means.assign(shown=value.where(means["metric"] == "nll", 100 * value), what=means["metric"].map(_MEASURES))
    frame = layout.placed(layout.distinct(means), "place", "trained")
    frame, names, left_out = style.first(frame.assign(network=_networks(frame)), "network", MOST_LINES, "networks")
    masks = "masks averaged (0: dropout off)"
    tips = style.tips({"network:N": "network", "masks:N": masks, "shown:Q": "value"}, ".4~g")
    greens = style.ramp(style.GREENS, len(names), style.GREEN)
    base = alt.Chart().encode(color=style.colour("network", dict(zip(names, greens, strict=True))))
    x = alt.X("masks:Q", title="masks averaged", **style.log_axis(1, int(frame["masks"].max())))
    y = alt.Y("shown:Q", title=None, scale=style.close())
    columns = {"arm": "{arm}", masks: "{masks}", "error (%)": "{accuracy:.2f}"}
    columns |= {"NLL (nats)": "{nll:.4f}", "ECE (%)": "{ece:.2f}"}
    none = base.mark_rule(strokeDash=[5, 3], strokeWidth=1.5).encode(y, opacity=style.faded("network"), tooltip=tips)
    some = base.encode(x=x).transform_filter("datum.masks > 0")
    layers = alt.layer(
        none.transform_filter("datum.masks === 0"),
        *style.marks(some, y, "network", names, tips, bars=False),
    )
    return Figure(
        "How many masks it takes",
        "Test, dropout left on at inference, the mean over so many masks (points) against dropout off (dashed); mean "
        f"over {style.seeds(samples)}.{left_out}",
        style.panels(layers, frame, "what", list(_MEASURES.values()), 10, 30),
        style.numbers(means.pivot(index=["arm", "masks"], columns="metric", values="shown").reset_index(), columns),
    )


def _networks(placed: pd.DataFrame) -> pd.Series[str]:
    """What tells the networks apart: the place, the regularizers, or both."""
    if placed["place"].nunique() == 1:
        return placed["trained"]
    return placed["place"] if placed["trained"].nunique() == 1 else placed["place"] + ", " + placed["trained"]


def predicted(frame: pd.DataFrame, network: str) -> Figure:
    """What the best network says against the targets of test: on the line it is right. `network` names it."""
    drawn = frame.iloc[np.linspace(0, len(frame) - 1, min(len(frame), MOST_DOTS)).round().astype(int)]
    ends = [float(min(frame.min())), float(max(frame.max()))]
    scale = alt.Scale(domain=ends, nice=True, zero=False)
    line = pd.DataFrame({"true": ends, "predicted": ends})
    seen = {"true:Q": "true", "predicted:Q": "predicted"}
    layers = alt.layer(
        alt.Chart(alt.NamedData("line")).mark_line(color=QUIET, strokeWidth=1).encode(x="true:Q", y="predicted:Q"),
        alt.Chart(style.ROWS)
        .mark_circle(size=24, color=style.GREEN, opacity=0.5)
        .encode(
            x=alt.X("true:Q", title="true", scale=scale),
            y=alt.Y("predicted:Q", title="predicted", scale=scale),
            tooltip=style.tips(seen, ".4~g"),
        ),
    ).properties(width=WIDTH // 2, height=WIDTH // 2)
    some = "" if len(drawn) == len(frame) else f" {len(drawn):,} of {len(frame):,} are drawn."
    rows = style.numbers(drawn.assign(off=drawn["predicted"] - drawn["true"]), _TRUE_PREDICTED)
    caption = f"{network}: a dot a test example, dropout off; on the line it is right.{some}"
    chart = style.finished(layers, 60, rows=drawn, line=line)
    return Figure("What the best network says, and what is true", caption, chart, rows)


def confusion(frame: pd.DataFrame, network: str) -> Figure:
    """True classes down, predicted ones across; only what is wrong is coloured.

    Of more than `MOST_CLASSES` classes those most often mistaken are drawn. `network` names it.
    """
    everyone = list(dict.fromkeys(frame["true"]))
    counts = frame.pivot(index="true", columns="predicted", values="examples").loc[everyone, everyone]
    wrong = frame[frame["true"] != frame["predicted"]]
    mistaken = wrong.groupby("true")["examples"].sum().add(wrong.groupby("predicted")["examples"].sum(), fill_value=0)
    chosen = set(mistaken.nlargest(MOST_CLASSES).index)
    classes = [name for name in everyone if name in chosen]
    drawn = frame[frame["true"].isin(classes) & frame["predicted"].isin(classes)]
    percent = 100 * drawn["share"]
    drawn = drawn.assign(percent=percent, wrong=percent.where(drawn["true"] != drawn["predicted"]))
    seen = {"true:N": "true class", "predicted:N": "predicted class"}
    base = alt.Chart(style.ROWS).encode(
        x=alt.X("predicted:N", sort=classes, title="predicted class", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("true:N", sort=classes, title="true class"),
        tooltip=style.tips(seen | {"examples:N": "test examples", "percent:Q": "of the true class (%)"}, ".2f"),
    )
    scale = alt.Scale(range=list(PURPLES), domain=[0, float(drawn["wrong"].fillna(0).max()) or 1.0])
    legend = alt.Legend(title="of the true class (%)", orient="right", format=".2~f")
    colour = alt.Color("wrong:Q", scale=scale, legend=legend)
    fill = alt.condition("isValid(datum.wrong) && datum.examples > 0", colour, alt.value("white"))
    cells = base.mark_rect(stroke=LINE, strokeWidth=0.5).encode(color=fill)
    ink = alt.condition("isValid(datum.wrong)", alt.value("black"), alt.value("#777777"))
    numbers = base.mark_text(fontSize=11).encode(text="examples:Q", color=ink).transform_filter("datum.examples > 0")
    side = min(36 * len(classes), WIDTH - 180)
    others = "" if len(classes) == len(everyone) else f" The {len(classes)} classes most often mistaken."
    return Figure(
        "What the best network takes for what",
        f"{network}: number of test examples, dropout off; grey on the diagonal is right.{others}",
        style.finished(alt.layer(cells, numbers).properties(width=side, height=side), 180, rows=drawn),
        Table(("true class ↓, predicted →", *counts), [(name, *map(str, row)) for name, *row in counts.itertuples()]),
    )


def activations(sparsity: pd.DataFrame, histogram: pd.DataFrame, examples: int) -> Figure:
    """Left the share of active units by layer, right how strong the activations of the first layer are.

    Activations are counted over so many `examples` of test, at most.
    """
    sparsity = sparsity.assign(percent=100 * sparsity["active"], never=100 * sparsity["dead"])
    names = list(dict.fromkeys(sparsity["trained"]))
    controls = [name for name in names if "control" in name]
    colour = style.arms_colour("trained", controls, [name for name in names if name not in controls])
    seen = {"trained:N": "trained with", "seed:N": "seed", "layer:N": "hidden layer"}
    x = alt.X("layer:O", title="hidden layer", axis=alt.Axis(labelAngle=0))
    y = alt.Y("percent:Q", title="units active for an example (%)", scale=alt.Scale(nice=False, padding=8))
    base = alt.Chart(style.ROWS).encode(x=x, color=colour)
    tips = style.tips(seen | {"percent:Q": "units active (%)", "mean:Q": "mean activation"}, ".3~f")
    left = alt.layer(
        base.mark_line(strokeWidth=style.LINE_WIDTH).encode(y="mean(percent):Q", opacity=style.faded("trained")),
        *style.marks(base, y, "trained", names, tips, bars=False, line=False),
    )
    shares = histogram[histogram["share"] > 0]
    shares = shares.assign(percent=100 * shares["share"])
    logarithmic = style.log_axis(float(shares["percent"].min()), float(shares["percent"].max()))
    strengths = alt.Chart(alt.NamedData("shares")).mark_line(interpolate="step-after", strokeWidth=style.LINE_WIDTH)
    right = strengths.encode(
        x=alt.X("low:Q", title="activation, first hidden layer"),
        y=alt.Y("percent:Q", title="share of activations (%)", **logarithmic),
        color=colour,
        opacity=style.faded("trained"),
    )
    width = (WIDTH - 134) // 2
    panels = alt.hconcat(*(one.properties(width=width, height=210) for one in (left, right)), spacing=style.GAP)
    means = sparsity.groupby(["trained", "layer"], sort=False)[["percent", "never", "mean"]].mean().reset_index()
    columns = {"trained with": "{trained}", "hidden layer": "{layer}", "units active (%)": "{percent:.2f}"}
    return Figure(
        "How sparse the hidden layers are",
        f"On test (the first {examples:,} examples), dropout off at inference. Left: point, one seed; line, mean. "
        "Right: all seeds, zeros in the first bin; the scale is logarithmic.",
        style.finished(panels, 10, 55, rows=sparsity, shares=shares),
        style.numbers(means, columns | {"never active (%)": "{never:.2f}", "mean activation": "{mean:.3f}"}),
    )
