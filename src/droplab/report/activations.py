"""Activations: how sparse the hidden layers of trained networks are, with dropout and without."""

from __future__ import annotations

import altair as alt
import pandas as pd

from droplab.report import style
from droplab.study.exhibits import MOST_EXAMPLES


def activation_chart(sparsity: pd.DataFrame, histogram: pd.DataFrame) -> alt.TopLevelMixin:
    """Left the share of active units by layer, right how strong the activations of the first layer are.

    Args:
        sparsity: the first of `activation_frames`.
        histogram: the second.
    """
    sparsity = sparsity.assign(percent=100 * sparsity["active"])
    names = list(dict.fromkeys(sparsity["trained"]))
    base = alt.Chart(style.data(sparsity)).encode(
        x=alt.X("layer:O", title="hidden layer", axis=alt.Axis(labelAngle=0, grid=False)),
        y=alt.Y("percent:Q", title="units active for an example (%)", scale=alt.Scale(zero=True)),
        color=style.colour("trained", names, None),
    )
    pick = style.picked("trained")
    line = base.mark_line().encode(y="mean(percent):Q", opacity=style.faded(pick))
    seed = base.mark_point(size=45, filled=True).encode(
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
    shares = histogram[histogram["share"] > 0]
    shares = shares.assign(percent=100 * shares["share"])
    steps = (
        alt.Chart(style.data(shares))
        .mark_line(interpolate="step-after", strokeWidth=1.8)
        .encode(
            opacity=style.faded(pick),
            x=alt.X("low:Q", title="activation, first hidden layer", axis=alt.Axis(grid=False)),
            y=alt.Y(
                "percent:Q",
                title="share of activations (%)",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(
                    format="~g", values=style.decades(float(shares["percent"].min()), float(shares["percent"].max()))
                ),
            ),
            color=style.colour("trained", names, None),
        )
    )
    panels = alt.hconcat(
        (line + seed.add_params(pick)).properties(width=300, height=240), steps.properties(width=300, height=240)
    )
    titled = style.title(
        "How sparse the hidden layers are",
        f"On test (the first {MOST_EXAMPLES:,} examples), dropout off at inference. Left: point, one seed; line, mean.",
        "Right: all seeds, zeros in the first bin; the scale is logarithmic.",
    )
    return style.finished(panels, titled)
