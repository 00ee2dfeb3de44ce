"""Activations: what a hidden layer makes of its products, by name.

R runs, B examples, H units of a hidden layer, P pieces of a maxout unit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Activate = Callable[[Tensor], Tensor]


def activation_of(name: str, pieces: int) -> Activate:
    """The activation of that name, from (R, B, outputs of the layer) to (R, B, H).

    Args:
        name: `identity`; `relu`; `logistic`, 1 / (1 + e⁻ᶻ); `tanh`; `gelu`, z·Φ(z) (Hendrycks & Gimpel 2016); or
            `maxout`, the largest of P products (Goodfellow et al. 2013), of which a unit has P neighbours in its
            layer's outputs.
        pieces: P.
    """
    named: dict[str, Activate] = {
        "identity": lambda products: products,
        "relu": torch.relu,
        "logistic": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": torch.nn.functional.gelu,
        "maxout": lambda products: products.view(*products.shape[:-1], -1, pieces).amax(dim=-1),
    }
    return named[name]
