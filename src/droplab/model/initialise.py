"""Initial weights, from addressed random numbers.

R runs, I inputs of a layer, O its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from droplab.config import InitialWeights
from droplab.model.network import Layer
from droplab.random import Purpose, key_tensor, normal, stream_key, uniform


def initial_layers(
    features: int,
    widths: Sequence[int],
    classes: int,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    scheme: InitialWeights = "pytorch",
    pieces: int = 1,
) -> list[Layer]:
    """The layers of R networks of one shape before training.

    A number depends on seed, layer and element alone, so networks of the same seed share a layer wherever its shape
    agrees.

    Args:
        features: inputs of the first layer.
        widths: units of each hidden layer.
        classes: outputs of the last layer.
        seeds: one a run.
        device: where the layers go; they are the same everywhere.
        scheme: `pytorch`: weights and biases uniform in ±1/√inputs, as `torch.nn.Linear` draws them (He et al. 2015
            with a = √5). Of the others biases are 0, and weights normal with standard deviation √(2/inputs) (`he`: He
            et al. 2015) or 1/√inputs (`fan_in`: LeCun et al. 1998), or uniform in ±√(6/(inputs + outputs)) (`glorot`:
            Glorot & Bengio 2010), outputs counted as units.
        pieces: products of a hidden unit; more than one for maxout.
    """
    sizes = [features, *widths, classes]
    layers = []
    for layer, (inputs, units) in enumerate(pairwise(sizes)):
        outputs = units * (pieces if layer < len(widths) else 1)
        count = outputs * inputs
        if scheme == "pytorch":
            bound = 1 / math.sqrt(inputs)
            weight, bias = (
                uniform(_keys(seeds, layer, part, device), numbers).mul_(2).sub_(1).mul_(bound)
                for part, numbers in enumerate((count, outputs))
            )
        else:
            weight = _weights(scheme, _keys(seeds, layer, 0, "cpu"), count, inputs, units).to(device)
            bias = torch.zeros(len(seeds), outputs, device=device)
        layers.append(Layer(weight.view(len(seeds), outputs, inputs), bias))
    return layers


def _weights(scheme: InitialWeights, keys: torch.Tensor, count: int, inputs: int, units: int) -> torch.Tensor:
    """Made on the CPU, whose logarithm and cosine are the same for every device."""
    if scheme == "glorot":
        return uniform(keys, count).mul_(2).sub_(1).mul_(math.sqrt(6 / (inputs + units)))
    return normal(keys, count).mul_(math.sqrt((2 if scheme == "he" else 1) / inputs))


def _keys(seeds: Sequence[int], layer: int, part: int, device: torch.device | str) -> torch.Tensor:
    return key_tensor([stream_key(seed, Purpose.INITIALISE, layer, part) for seed in seeds], device)
