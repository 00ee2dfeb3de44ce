"""The forward pass of any network: what `network.forward` is to the fast step, with every activation and regularizer.

R networks side by side (in a study 1: there such a network is trained by itself), B examples, F features, U units of a
hidden layer, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from droplab.config import Recipe, RunSettings
from droplab.model.activations import Activate, activation_of
from droplab.model.families import TABLE, Regularizer, Strengths, strengths_of
from droplab.model.network import Layer
from droplab.model.noise import Noise

EPSILON, RUNNING = 1e-5, 0.1
"""Of batch normalization, as PyTorch has it: what is added to a variance; a batch's share in the running statistics."""


class Norm(NamedTuple):
    """Batch normalization of a hidden layer's products; each of shape (R, outputs)."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class General:
    """How a network computes, beside its weights.

    Attributes:
        activate: of the hidden layers.
        used: the regularizers with a strength, each with its strengths.
        dropout: rate on every hidden layer, or one a hidden layer.
        precision: of the products of hidden layers; all else is `float32`.
    """

    activate: Activate
    used: tuple[tuple[Regularizer, Strengths], ...]
    dropout: float | Strengths
    precision: str

    @classmethod
    def of(cls, recipe: Recipe, dropout: float | Strengths, precision: str) -> General:
        """What a run's settings say."""
        used = tuple((TABLE[name], strengths_of(value)) for name, value in recipe.regularizers)
        return cls(activation_of(recipe.activation, recipe.pieces), used, dropout, precision)

    def forward(
        self,
        layers: Sequence[Layer],
        inputs: Tensor,
        noise: Noise | None,
        norms: Sequence[Norm] = (),
        fresh: bool = False,
    ) -> tuple[list[Tensor], Tensor]:
        """Activations of each hidden layer before anything disturbs them, and the logits.

        Args:
            layers: `float32` weights; of maxout, the pieces of a unit are neighbours.
            inputs: features as scaled, shape (R, B, F), of the weights' dtype.
            noise: the random numbers of the pass; `None` for dropout off, when nothing is disturbed.
            norms: batch normalization of each hidden layer; none where there is none, or where it is folded.
            fresh: whether it takes the statistics of this batch, and moves the running ones; else the running ones.
        """
        here = inputs
        if noise is not None:
            for entry, strengths in self.used:
                if entry.on_input is not None:
                    each = zip(torch.split(here, 1), noise.each(), strict=True)
                    here = _stacked([entry.on_input(one, strengths, its) for one, its in each])
        hidden = []
        for k, layer in enumerate(layers[:-1]):
            products = product(here, layer, self.precision)
            if norms:
                products = normalized(products, norms[k], fresh)
            here = self.activate(products)
            hidden.append(here)
            if noise is not None:
                here = self._disturbed(here, k, noise)
        return hidden, product(here, layers[-1], "fp32")

    def _disturbed(self, hidden: Tensor, k: int, noise: Noise) -> Tensor:
        rate = self.dropout[k] if isinstance(self.dropout, tuple) else self.dropout
        if rate:
            hidden = hidden * noise.mask(k, rate, hidden.shape[1], hidden.shape[2], hidden.dtype)
        for entry, strengths in self.used:
            if entry.on_hidden is not None:
                each = zip(torch.split(hidden, 1), noise.each(), strict=True)
                hidden = _stacked([entry.on_hidden(one, k, strengths, its) for one, its in each])
        return hidden

    @property
    def is_noisy(self) -> bool:
        """Whether inference with dropout on differs from inference with it off."""
        return bool(self.dropout) or any(entry.is_noise for entry, _ in self.used)


def general_of(settings: RunSettings, precision: str) -> General | None:
    """How a run computes, where the fast step cannot train it; else `None`."""
    return None if settings.is_plain else General.of(settings, settings.dropout, precision)


def product(inputs: Tensor, layer: Layer, precision: str) -> Tensor:
    """A layer's products, shape (R, B, outputs), of the bias's dtype."""
    weight, here = layer.weight, inputs
    if precision == "bf16":
        weight, here = weight.bfloat16(), here.bfloat16()
    # One network's are of matrices, since a stack of one takes thrice as long.
    products = torch.bmm(here, weight.mT) if len(weight) > 1 else linear(here.squeeze(0), weight.squeeze(0))[None]
    return products.to(layer.bias.dtype) + layer.bias[:, None]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """What was made of each network's by itself, side by side again."""
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def normalized(products: Tensor, norm: Norm, fresh: bool) -> Tensor:
    """Batch normalization (Ioffe & Szegedy 2015), shape as `products`, (R, B, outputs)."""
    mean, variance = norm.mean, norm.variance
    if fresh:
        mean, variance = products.mean(dim=1), products.var(dim=1, correction=0)
        count = products.shape[1]
        with torch.no_grad():
            norm.mean.lerp_(mean, RUNNING)
            norm.variance.lerp_(variance * (count / max(count - 1, 1)), RUNNING)
    scale = norm.scale * torch.rsqrt(variance + EPSILON)
    return (products - mean[:, None]) * scale[:, None] + norm.shift[:, None]


def folded(layers: Sequence[Layer], norms: Sequence[Norm]) -> list[Layer]:
    """The layers of the network without normalization that says the same, by the running statistics."""
    made = []
    for layer, norm in zip(layers, norms, strict=False):
        scale = norm.scale * torch.rsqrt(norm.variance + EPSILON)
        made.append(Layer(layer.weight * scale[..., None], (layer.bias - norm.mean) * scale + norm.shift))
    return [*made, *layers[len(made) :]]
