"""Charts of what networks do: whether they can be believed, how many masks it takes, what they confuse, how sparse."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.cells import Table
from droplab.report.charts import placed_once
from droplab.report.layout import Layout
from droplab.report.style import INK, MOST_PANELS, PURPLES, WIDTH, Figure

MOST_LINES, MOST_CLASSES = 12, 20
"""Networks whose masks are drawn, since more lines cannot be told apart; classes that a chart has room for."""

_TITLES = {"accuracy": "error (%)", "nll": "NLL (nats)", "ece": "calibration error, ECE (%)"}
_STATES = {False: "as trained", True: "temperature scaled"}


def reliability(layout: Layout, curves: pd.DataFrame) -> Figure:
    """Accuracy − confidence from the least sure examples to the surest, a panel a place, a colour a regularizer.

    The usual diagram has confidence as its axis, on which nearly all examples of a good network lie at one end.

    Args:
        layout: where the study's arms stand.
        curves: of `reliability_frame`, with at least one row.
    """
    frame = placed_once(layout, curves)
    places = list(dict.fromkeys(frame["place"]))
    grouped = frame[frame["place"].isin(places[:MOST_PANELS])].groupby(
        ["place", "trained", "calibrated", "bin"], sort=False
    )
    means = grouped[["confidence", "accuracy"]].mean().mul(100).reset_index()
    bins = int(means["bin"].max()) + 1
    means = means.assign(
        gap=means["accuracy"] - means["confidence"],
        across=100 * (means["bin"] + 0.5) / bins,
        state=means["calibrated"].map(_STATES),
    )
    pick = style.picked("trained")
    ends = alt.Axis(grid=False, values=[0, 50, 100], labelFlush=True)
    states = [state for state in _STATES.values() if (means["state"] == state).any()]
    base = alt.Chart().encode(
        x=alt.X("across:Q", title="least sure to surest (%)", scale=alt.Scale(domain=[0, 100]), axis=ends),
        y=alt.Y("gap:Q", title="right − confidence (points)", scale=alt.Scale(nice=False, padding=6)),
        color=style.arms_colour("trained", [layout.control], layout.trained),
        detail="state:N",
        tooltip=[
            style.tip("trained:N", "trained with"),
            style.tip("state:N", "temperature"),
            style.tip("confidence:Q", "mean confidence (%)", ".2f"),
            style.tip("accuracy:Q", "right (%)", ".2f"),
        ],
    )
    layers = alt.layer(
        alt.Chart().mark_rule(color=INK).encode(y=alt.datum(0)),
        base.mark_line(strokeWidth=1.6).encode(opacity=style.faded(pick), strokeDash=style.dash("state", states)),
        base.mark_circle(size=18).encode(opacity=style.faded(pick, 0.9)).add_params(pick),
    )
    return Figure(
        "Whether the probabilities can be believed",
        f"Test, dropout off, {bins} bins of equal mass, from the least sure examples to the surest; mean over "
        f"{style.seeds(curves)}. Below zero a network is surer than it is right."
        + style.listed(len(places), MOST_PANELS, "panels"),
        style.panels(layers, means, "place", places[:MOST_PANELS]),
        _reliability_table(curves),
    )


def samples(layout: Layout, samples: pd.DataFrame) -> Figure:
    """Error, NLL and calibration error against the number of masks, beside weight scaling (figure 11 of the paper).

    Args:
        layout: where the study's arms stand.
        samples: of `samples_frame`, with at least one row.
    """
    placed = placed_once(layout, samples)
    frame = placed.assign(
        shown=np.select(
            [placed["metric"] == "accuracy", placed["metric"] == "ece"],
            [100 * (1 - placed["value"]), 100 * placed["value"]],
            placed["value"],
        ),
        what=placed["metric"].map(_TITLES),
        network=_networks(placed),
    )
    names = list(dict.fromkeys(frame["network"]))
    means = (
        frame[frame["network"].isin(names[:MOST_LINES])]
        .groupby(["network", "what", "masks"], sort=False)["shown"]
        .mean()
        .reset_index()
    )
    most = int(means["masks"].max())
    ticks = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5) if step * 10**power <= most]
    pick = style.picked("network")
    colours = dict(zip(names, style.ramp(style.GREENS, len(names[:MOST_LINES]), style.GREEN), strict=False))
    base = alt.Chart().encode(
        y=alt.Y("shown:Q", title=None, scale=alt.Scale(zero=False, nice=False, padding=6)),
        color=style.colour("network", colours),
        tooltip=[
            style.tip("network:N", "network"),
            style.tip("masks:Q", "masks averaged (0: dropout off)"),
            style.tip("shown:Q", "value", ".4~g"),
        ],
    )
    x = alt.X(
        "masks:Q",
        title="masks averaged",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=ticks, grid=False),
    )
    sampled = base.encode(x=x).transform_filter("datum.masks > 0")
    layers = alt.layer(
        base.mark_rule(strokeDash=[5, 3], strokeWidth=1.5)
        .encode(opacity=style.faded(pick))
        .transform_filter("datum.masks === 0"),
        sampled.mark_line(strokeWidth=1.6).encode(opacity=style.faded(pick)),
        sampled.mark_point(size=30, filled=True)
        .encode(shape=style.shape("network", list(colours)), opacity=style.faded(pick, 0.9))
        .add_params(pick),
    )
    chart = style.panels(layers, means, "what", list(_TITLES.values()), 10, 30)
    return Figure(
        "How many masks it takes",
        "Test, dropout left on at inference, the mean over so many masks (points) against dropout off (dashed); mean "
        f"over {style.seeds(samples)}." + style.listed(len(names), MOST_LINES, "networks"),
        chart,
        _samples_table(samples),
    )


def _networks(placed: pd.DataFrame) -> pd.Series[str]:
    """What tells the networks apart: the place, the regularizers, or both."""
    if placed["trained"].nunique() == 1 and placed["place"].nunique() > 1:
        return placed["place"]
    both = placed["place"] + ", " + placed["trained"]
    return both if placed["place"].nunique() > 1 else placed["trained"]


def confusion(frame: pd.DataFrame, network: str) -> Figure:
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
    base = alt.Chart(style.ROWS).encode(
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
    scale = alt.Scale(range=list(PURPLES), domain=[0, most or 1.0])
    legend = alt.Legend(title="of the true class (%)", orient="right", format=".2~f")
    cells = base.mark_rect(stroke="#cccccc", strokeWidth=0.5).encode(
        color=alt.condition(
            "isValid(datum.wrong) && datum.examples > 0",
            alt.Color("wrong:Q", scale=scale, legend=legend),
            alt.value("white"),
        )
    )
    ink = alt.condition("isValid(datum.wrong)", alt.value("black"), alt.value("#777777"))
    numbers = base.mark_text(fontSize=11).encode(text="examples:Q", color=ink).transform_filter("datum.examples > 0")
    side = min(36 * len(classes), WIDTH - 180)
    others = "" if len(chosen) == frame["true"].nunique() else f" The {len(classes)} classes most often mistaken."
    return Figure(
        "What the best network takes for what",
        f"{network}: number of test examples, dropout off; grey on the diagonal is right.{others}",
        style.finished(alt.layer(cells, numbers).properties(width=side, height=side), 180, rows=drawn),
        _confusion_table(frame),
    )


def activations(sparsity: pd.DataFrame, histogram: pd.DataFrame, examples: int) -> Figure:
    """Left the share of active units by layer, right how strong the activations of the first layer are.

    Args:
        sparsity: the first of `activation_frames`.
        histogram: the second.
        examples: of test, over which activations are counted, at most.
    """
    sparsity = sparsity.assign(percent=100 * sparsity["active"])
    names = list(dict.fromkeys(sparsity["trained"]))
    controls = [name for name in names if "control" in name]
    colours = style.arms_colour("trained", controls, [name for name in names if name not in controls])
    pick = style.picked("trained")
    base = alt.Chart(style.ROWS).encode(
        x=alt.X("layer:O", title="hidden layer", axis=alt.Axis(labelAngle=0, grid=False)),
        y=alt.Y("percent:Q", title="units active for an example (%)", scale=alt.Scale(nice=False, padding=8)),
        color=colours,
    )
    left = alt.layer(
        base.mark_line().encode(y="mean(percent):Q", opacity=style.faded(pick)),
        base.mark_point(size=40, filled=True)
        .encode(
            opacity=style.faded(pick, 0.8),
            shape=style.shape("trained", names),
            tooltip=[
                style.tip("trained:N", "trained with"),
                style.tip("seed:Q", "seed"),
                style.tip("layer:O", "hidden layer"),
                style.tip("percent:Q", "units active (%)", ".1f"),
                style.tip("mean:Q", "mean activation", ".3f"),
            ],
        )
        .add_params(pick),
    )
    shares = histogram[histogram["share"] > 0]
    shares = shares.assign(percent=100 * shares["share"])
    logarithmic = style.log_axis(float(shares["percent"].min()), float(shares["percent"].max()))
    right = (
        alt.Chart(alt.NamedData("shares"))
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            x=alt.X("low:Q", title="activation, first hidden layer", axis=alt.Axis(grid=False)),
            y=alt.Y("percent:Q", title="share of activations (%)", **logarithmic),
            color=colours,
            opacity=style.faded(pick),
        )
    )
    width = (WIDTH - 134) // 2
    panels = alt.hconcat(*(one.properties(width=width, height=210) for one in (left, right)), spacing=style.GAP)
    return Figure(
        "How sparse the hidden layers are",
        f"On test (the first {examples:,} examples), dropout off at inference. Left: point, one seed; line, mean. "
        "Right: all seeds, zeros in the first bin; the scale is logarithmic.",
        style.finished(panels, 10, 55, rows=sparsity, shares=shares),
        _activations_table(sparsity),
    )


def _reliability_table(curves: pd.DataFrame) -> Table:
    means = curves.groupby(["arm", "calibrated", "bin"], sort=False)[["confidence", "accuracy", "examples"]].mean()
    rows = [
        (arm, "scaled" if calibrated else "as trained", str(place + 1), *_percents(*shares), f"{examples:.0f}")
        for arm, calibrated, place, *shares, examples in means.reset_index().itertuples(index=False)
    ]
    return Table(("arm", "temperature", "bin", "mean confidence (%)", "right (%)", "examples"), rows)


def _samples_table(samples: pd.DataFrame) -> Table:
    means = samples.groupby(["arm", "masks", "metric"], sort=False)["value"].mean().unstack("metric")
    rows = [
        (arm, str(masks) if masks else "dropout off", *_percents(1 - accuracy), f"{nll:.4f}", *_percents(ece))
        for (arm, masks), accuracy, nll, ece in zip(
            means.index, *(means.get(name, []) for name in ("accuracy", "nll", "ece")), strict=True
        )
    ]
    return Table(("arm", "masks averaged", "error (%)", "NLL (nats)", "ECE (%)"), rows)


def _confusion_table(frame: pd.DataFrame) -> Table:
    classes = list(dict.fromkeys(frame["true"]))
    counts = frame.set_index(["true", "predicted"])["examples"]
    rows = [(str(true), *(str(counts[true, predicted]) for predicted in classes)) for true in classes]
    return Table(("true class ↓, predicted →", *map(str, classes)), rows)


def _activations_table(sparsity: pd.DataFrame) -> Table:
    means = sparsity.groupby(["trained", "layer"], sort=False)[["active", "dead", "mean"]].mean().reset_index()
    rows = [
        (trained, str(int(layer)), *_percents(active, dead), f"{mean:.3f}")
        for trained, layer, active, dead, mean in means.itertuples(index=False)
    ]
    return Table(("trained with", "hidden layer", "units active (%)", "never active (%)", "mean activation"), rows)


def _percents(*shares: float) -> list[str]:
    return [f"{100 * share:.2f}" for share in shares]
