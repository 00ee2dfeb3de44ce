"""Activations: how sparse the hidden layers of trained networks are, with dropout and without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from droplab.config import RunSettings
from droplab.model.general import General
from droplab.model.network import layers_of

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
