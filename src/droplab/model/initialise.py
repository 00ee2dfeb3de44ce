"""Initial weights: PyTorch's default distribution, from addressed random numbers.

R runs, I inputs of a layer, O its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from droplab.model.network import Layer
from droplab.random import Purpose, key_tensor, stream_key, uniform


def initial_layers(
    features: int, widths: Sequence[int], classes: int, seeds: Sequence[int], device: torch.device | str = "cpu"
) -> list[Layer]:
    """The layers of R networks of one shape before training.

    Weights and biases are uniform in ±1/√inputs, as `torch.nn.Linear` draws them (He et al. 2015 with a = √5). A number
    depends on seed, layer and element alone, so networks of the same seed share a layer wherever its shape agrees.

    Args:
        features: inputs of the first layer.
        widths: units of each hidden layer.
        classes: outputs of the last layer.
        seeds: one a run.
        device: where the layers are made; they are the same everywhere.
    """
    sizes = [features, *widths, classes]
    layers = []
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = 1 / math.sqrt(inputs)
        weight, bias = (
            uniform(_keys(seeds, layer, part, device), count).mul_(2).sub_(1).mul_(bound)
            for part, count in enumerate((outputs * inputs, outputs))
        )
        layers.append(Layer(weight.view(len(seeds), outputs, inputs), bias))
    return layers


def _keys(seeds: Sequence[int], layer: int, part: int, device: torch.device | str) -> torch.Tensor:
    return key_tensor([stream_key(seed, Purpose.INITIALISE, layer, part) for seed in seeds], device)
