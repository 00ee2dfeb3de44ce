"""Activations: how sparse the hidden layers of trained networks are, with dropout and without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import altair as alt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from droplab.config import RunSettings
from droplab.model.general import General
from droplab.model.network import layers_of
from droplab.report import style

MOST_EXAMPLES = 2000
"""Test examples, the first ones, over which activations are counted."""

_BINS = 40


def activation_frames(
    networks: Iterable[tuple[str, RunSettings, Mapping[str, NDArray[np.float32]]]], features: NDArray[np.float32]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How many hidden units are active, and how strongly, with dropout off.

    Args:
        networks: what it is trained with, settings and weights (`layers.K.weight`, `layers.K.bias`) of each.
        features: as networks see them, shape (examples, features).

    Returns:
        A frame with `trained, seed, layer, active, dead, mean`: of hidden layer 1, 2, …, the share of activations above
        0, the share of units that are 0 for all examples, and the mean activation. And one with `trained, low, high,
        share`: the activations of the first hidden layer, all seeds together, in bins of one width for all networks.
    """
    rows = []
    first: dict[str, list[NDArray[np.float32]]] = {}
    inputs = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))[None]
    for trained, settings, weights in networks:
        with torch.inference_mode():
            seen, _ = General.of(settings, settings.dropout, "fp32").forward(layers_of(weights), inputs, None)
        for layer, hidden in enumerate(seen, start=1):
            units = hidden[0].numpy()
            active = units > 0
            rows.append((trained, settings.seed, layer, active.mean(), (~active.any(axis=0)).mean(), units.mean()))
        first.setdefault(trained, []).append(seen[0][0].numpy())
    top = max(float(np.quantile(np.stack(units), 0.9999)) for units in first.values())
    edges = np.linspace(0, top or 1.0, _BINS + 1)
    bins = [
        (trained, low, high, share)
        for trained, units in first.items()
        for low, high, share in zip(
            edges, edges[1:], np.histogram(np.stack(units), edges)[0] / np.stack(units).size, strict=False
        )
    ]
    return (
        pd.DataFrame(rows, columns=["trained", "seed", "layer", "active", "dead", "mean"]),
        pd.DataFrame(bins, columns=["trained", "low", "high", "share"]),
    )


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
