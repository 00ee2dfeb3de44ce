"""A fully-connected classifier as pure functions over stacked parameters.

R runs of one shape, B examples, I inputs of a layer, O its outputs, H units of a hidden layer, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.model.regularizers import Dropping


class Layer(NamedTuple):
    """One weight layer of R networks: `weight` of shape (R, O, I), `bias` of shape (R, O)."""

    weight: Tensor
    bias: Tensor


def layers_of(weights: Mapping[str, NDArray[np.float32]]) -> list[Layer]:
    """One network's layers (R = 1) from `layers.K.weight` and `layers.K.bias`, as a model file holds them."""
    return [
        Layer(*(torch.tensor(weights[f"layers.{index}.{name}"])[None] for name in Layer._fields))
        for index in range(len(weights) // 2)
    ]


def compute_layers(layers: Sequence[Layer], precision: str, dropping: Dropping | None = None) -> list[Layer]:
    """The layers as products use them: scaled where their inputs are dropped, and rounded under `bf16`.

    Dropout scales what is kept by 1 / (1 − rate). Here the weights that follow take the scale: the product is the same,
    they are fewer than the activations, and under `bf16` each is rounded once, after an exact scale, where a rounded
    scale would be wrong for every unit in the same direction. The output layer stays `float32` in either precision: its
    product is small, and a logit needs more than 8 bits.

    Args:
        layers: `float32` master weights.
        precision: `fp32` or `bf16`.
        dropping: what is going to be dropped, if anything.
    """
    scaled = list(layers)
    if dropping is not None:
        scale = dropping.scale(layers[0].weight.dtype)
        scaled[1:] = [Layer(layer.weight * scale, layer.bias) for layer in layers[1:]]
    if precision == "fp32":
        return scaled
    return [Layer(*(part.to(torch.bfloat16) for part in layer)) for layer in scaled[:-1]] + [scaled[-1]]


def hidden_units(layer: Layer, inputs: Tensor) -> Tensor:
    """What a hidden layer makes of (R, B, I) before anything is dropped, shape (R, B, O)."""
    return torch.baddbmm(layer.bias.unsqueeze(1), inputs, layer.weight.mT).relu_()


def forward(layers: Sequence[Layer], inputs: Tensor, dropping: Dropping | None = None) -> tuple[list[Tensor], Tensor]:
    """What each layer sees, and the logits.

    Args:
        layers: as `compute_layers` gives them.
        inputs: shape (R, B, I), of the first layer's dtype (`float32` where that is the output layer).
        dropping: what is dropped; without it nothing is (inference mode `off`).

    Returns:
        The input of every layer, shape (R, B, I) each, and the logits, shape (R, B, C).
    """
    seen = [inputs]
    for index, layer in enumerate(layers[:-1]):
        hidden = hidden_units(layer, seen[-1])
        seen.append(hidden if dropping is None else dropping.drop(index, hidden))
    output = layers[-1]
    logits = torch.baddbmm(output.bias.unsqueeze(1), seen[-1].to(output.weight.dtype), output.weight.mT)
    return seen, logits


def backward(
    layers: Sequence[Layer], seen: Sequence[Tensor], grad_logits: Tensor, dropping: Dropping | None = None
) -> list[Layer]:
    """Gradients of the master weights by hand, from the gradient of the logits.

    A hidden unit's gradient passes where its activation is above 0: there neither ReLU nor the mask stopped it.

    Args:
        layers: those of `forward`.
        seen: what `forward` returned.
        grad_logits: shape (R, B, C).
        dropping: what `compute_layers` was given.

    Returns:
        Gradients shaped as `layers`, of the output layer's dtype.
    """
    gradients: list[Layer] = []
    master = layers[-1].weight.dtype
    grad = grad_logits
    for index in range(len(layers) - 1, -1, -1):
        inputs = seen[index].to(grad.dtype)
        weight = torch.bmm(grad.mT, inputs).to(master)
        if index > 0 and dropping is not None:
            weight.mul_(dropping.scale(weight.dtype))
        gradients.append(Layer(weight, grad.sum(1).to(master)))
        if index > 0:
            grad = torch.bmm(grad, layers[index].weight).to(seen[index].dtype)
            grad = torch.ops.aten.threshold_backward(grad, seen[index], 0)
    return gradients[::-1]
