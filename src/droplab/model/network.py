"""A fully-connected classifier as pure functions over stacked parameters.

R runs of one shape, B examples, I inputs of a layer, O its outputs, H units of a hidden layer, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.model.regularizers import Dropout


class Layer(NamedTuple):
    """One weight layer of R networks: `weight` of shape (R, O, I), `bias` of shape (R, O)."""

    weight: Tensor
    bias: Tensor


Mask = Callable[[int, tuple[int, int]], Tensor]
"""(hidden layer, (B, H)) → what is kept, shape (R, B, H), `uint8`."""


def layers_of(weights: Mapping[str, NDArray[np.float32]]) -> list[Layer]:
    """One network's layers (R = 1) from `layers.K.weight` and `layers.K.bias`, as a model file holds them."""
    return [
        Layer(*(torch.tensor(weights[f"layers.{index}.{name}"])[None] for name in Layer._fields))
        for index in range(len(weights) // 2)
    ]


def compute_layers(layers: Sequence[Layer], precision: str) -> list[Layer]:
    """The layers as products use them: under `bf16` the hidden ones are rounded to `bfloat16`.

    The output layer stays `float32` in either precision: its product is small, and a logit needs more than 8 bits.
    """
    if precision == "fp32":
        return list(layers)
    return [Layer(*(part.to(torch.bfloat16) for part in layer)) for layer in layers[:-1]] + [layers[-1]]


def forward(
    layers: Sequence[Layer], inputs: Tensor, dropout: Dropout | None = None, mask: Mask | None = None
) -> tuple[list[Tensor], Tensor]:
    """What each layer sees, and the logits.

    Args:
        layers: as `compute_layers` gives them.
        inputs: shape (R, B, I), of the first layer's dtype (`float32` where that is the output layer).
        dropout: gives the scale of kept units; needed where `mask` is given.
        mask: what is kept; without it nothing is dropped and nothing scaled (inference mode `off`).

    Returns:
        The input of every layer, shape (R, B, I) each, and the logits, shape (R, B, C).
    """
    seen = [inputs]
    for index, layer in enumerate(layers[:-1]):
        hidden = torch.baddbmm(layer.bias.unsqueeze(1), seen[-1], layer.weight.mT).relu_()
        if dropout is not None and mask is not None:
            kept = mask(index, (hidden.shape[1], hidden.shape[2])).to(hidden.dtype)
            hidden.mul_(kept.mul_(dropout.scale(hidden)))
        seen.append(hidden)
    output = layers[-1]
    logits = torch.baddbmm(output.bias.unsqueeze(1), seen[-1].to(output.weight.dtype), output.weight.mT)
    return seen, logits


def backward(layers: Sequence[Layer], seen: Sequence[Tensor], grad_logits: Tensor, scale: Tensor | None) -> list[Layer]:
    """Gradients of every layer by hand, from the gradient of the logits.

    A hidden unit's gradient passes where its activation is above 0: there neither ReLU nor the mask stopped it, and it
    was scaled by `scale`.

    Args:
        layers: those of `forward`.
        seen: what `forward` returned.
        grad_logits: shape (R, B, C).
        scale: the scale of kept units, shape (R, 1, 1), or `None` where nothing was dropped.

    Returns:
        Gradients shaped as `layers`, of the output layer's dtype.
    """
    gradients: list[Layer] = []
    master = layers[-1].weight.dtype
    grad = grad_logits
    for index in range(len(layers) - 1, -1, -1):
        inputs = seen[index].to(grad.dtype)
        gradients.append(Layer(torch.bmm(grad.mT, inputs).to(master), grad.sum(1).to(master)))
        if index > 0:
            grad = torch.bmm(grad, layers[index].weight).to(seen[index].dtype)
            grad = torch.ops.aten.threshold_backward(grad, seen[index], 0)
            if scale is not None:
                grad.mul_(scale.to(grad.dtype))
    return gradients[::-1]
