"""Uncertainty: whether probabilities can be believed, and how many masks it takes; frames and their charts."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.charts import MOST_PANELS

MOST_LINES = 12
"""Networks whose masks are drawn: more lines cannot be told apart."""

_TITLES = {"accuracy": "error (%)", "nll": "NLL (nats)", "ece": "calibration error, ECE (%)"}
_STATES = {False: "as trained", True: "temperature scaled"}


def uncertainty_charts(curves: pd.DataFrame, samples: pd.DataFrame) -> dict[str, alt.TopLevelMixin]:
    """The figures there are, by file name; of the frames of these names."""
    drawn = {} if curves.empty else {"reliability": reliability_chart(curves)}
    return drawn if samples.empty else drawn | {"samples": samples_chart(samples)}


def reliability_chart(curves: pd.DataFrame) -> alt.TopLevelMixin:
    """Accuracy − confidence from the least sure examples to the surest, a panel a depth and state, a colour a rate.

    The usual diagram has confidence as its axis, on which nearly all examples of a good network lie at one end.

    Args:
        curves: of `reliability_frame`, with at least one row.
    """
    frame = curves[(curves["depth"] > 1) | (curves["dropout"] == 0)]  # without a hidden layer one run serves both arms
    places, names = style.places(frame)[:MOST_PANELS], style.kinds(frame)
    grouped = frame[frame["place"].isin(places)].groupby(["place", "trained", "calibrated", "bin"], sort=True)
    means = grouped[["confidence", "accuracy"]].mean().mul(100).reset_index()
    bins = int(means["bin"].max()) + 1
    means = means.assign(
        gap=means["accuracy"] - means["confidence"],
        across=100 * (means["bin"] + 0.5) / bins,
        state=means["calibrated"].map(_STATES),
    )
    pick = style.picked("trained")
    base = alt.Chart().encode(
        x=alt.X(
            "across:Q",
            title="least sure to surest (%)",
            scale=alt.Scale(domain=[0, 100]),
            axis=alt.Axis(grid=False, values=[0, 25, 50, 75, 100]),
        ),
        y=alt.Y("gap:Q", title="right − confidence (points)"),
        color=style.colour("trained", names, None),
        tooltip=[
            style.tip("trained:N", "trained with"),
            style.tip("confidence:Q", "mean confidence (%)", ".2f"),
            style.tip("accuracy:Q", "right (%)", ".2f"),
        ],
    )
    layers = alt.layer(
        alt.Chart().mark_rule(color=style.INK).encode(y=alt.datum(0)),
        base.mark_line(strokeWidth=1.5).encode(opacity=style.faded(pick)),
        base.mark_point(size=35, filled=True)
        .encode(shape=style.shape("trained", names), opacity=style.faded(pick, 0.9))
        .add_params(pick),
    ).properties(width=190 if len(places) <= 3 else 135, height=170)
    titled = style.title(
        "Whether the probabilities can be believed",
        f"Test, dropout off, {bins} bins of equal mass; mean over {style.seeds(curves)}.",
        "Across: examples from the least sure to the surest. Below zero a network is surer than it is right.",
    )
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold", labelColor=style.INK)
    panels = layers.facet(
        data=style.data(means),
        column=alt.Column("place:N", sort=places, header=header),
        row=alt.Row("state:N", sort=list(_STATES.values()), header=header),
    )
    return style.finished(panels, titled)


def samples_chart(samples: pd.DataFrame) -> alt.TopLevelMixin:
    """Error, NLL and calibration error against the number of masks, beside weight scaling (figure 11 of the paper).

    Args:
        samples: of `samples_frame`, with at least one row.
    """
    frame = samples.assign(
        shown=np.select(
            [samples["metric"] == "accuracy", samples["metric"] == "ece"],
            [100 * (1 - samples["value"]), 100 * samples["value"]],
            samples["value"],
        ),
        what=samples["metric"].map(_TITLES),
        network=samples["place"] + ", " + samples["trained"],
    )
    names = list(dict.fromkeys(frame.sort_values(["depth", "dropout"])["network"]))[:MOST_LINES]
    means = (
        frame[frame["network"].isin(names)]
        .groupby(["network", "what", "masks"], sort=False)["shown"]
        .mean()
        .reset_index()
    )
    most = int(means["masks"].max())
    ticks = [step * 10**power for power in range(len(str(most))) for step in (1, 2, 5) if step * 10**power <= most]
    pick = style.picked("network")
    base = alt.Chart().encode(color=style.colour("network", names, None))
    tips = [
        style.tip("network:N", "network"),
        style.tip("masks:Q", "masks averaged (0: dropout off)"),
        style.tip("shown:Q", "value", ".4~g"),
    ]
    y = alt.Y("shown:Q", title=None, scale=alt.Scale(zero=False))
    x = alt.X(
        "masks:Q",
        title="masks averaged",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(values=ticks, grid=False),
    )
    sampled, off = "datum.masks > 0", "datum.masks === 0"
    layers = alt.layer(
        base.mark_rule(strokeDash=[5, 3], strokeWidth=1.5)
        .encode(y=y, tooltip=tips, opacity=style.faded(pick))
        .transform_filter(off),
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, opacity=style.faded(pick)).transform_filter(sampled),
        base.mark_point(size=40, filled=True)
        .encode(x=x, y=y, shape=style.shape("network", names), tooltip=tips, opacity=style.faded(pick, 0.9))
        .transform_filter(sampled)
        .add_params(pick),
    ).properties(width=230, height=230)
    titled = style.title(
        "How many masks it takes",
        "Test, dropout left on at inference, the mean over so many masks (points) against dropout off (dashed);",
        f"mean over {style.seeds(samples)}.",
    )
    panels = style.panels(layers, means, "what", list(_TITLES.values()))
    return style.finished(panels.resolve_scale(y="independent"), titled)
