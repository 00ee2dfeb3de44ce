"""What a fully-connected network computes, written once: forward pass, noise, loss, penalties, for R networks at once.

Plain tensor operations: the gradient is derived from them, and they run one by one or as part of a compiled program.

R networks, B examples, F features, U units of a hidden layer, O outputs of a layer, I its inputs, C classes, K rows of
strengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from droplab.config import Recipe, RunSettings
from droplab.model.activations import activation_of
from droplab.model.losses import Loss, Output, of_classes, of_labels, of_numbers, output_of
from droplab.model.noise import LEVELS, Noise, is_fine, level_of
from droplab.model.regularizers import DROPOUT, TABLE, Regularizer, strengths_of

EPSILON, RUNNING = 1e-5, 0.1
"""Of batch normalization, as PyTorch has it: what is added to a variance; a batch's share in the running statistics."""

ADAMW_DECAY = 0.01
"""Weight decay of `adamw` where none is given: PyTorch's."""


class Layer(NamedTuple):
    """One weight layer of R networks: `weight` of shape (R, O, I), `bias` of shape (R, O)."""

    weight: Tensor
    bias: Tensor


class Norm(NamedTuple):
    """Batch normalization of a hidden layer's products; each of shape (R, O)."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor


class Batch(NamedTuple):
    """Examples that R networks make a step with.

    Attributes:
        features: shape (R, B, F), of the weights' dtype.
        targets: classes, shape (R, B), `int64`; of `logistic` outputs 0 … 1 for each, shape (R, B, C); of all others
            numbers, shape (R, B, T), of the weights' dtype.
        shares: the weight of each example in the mean, shape (R, B); `None` for the plain mean.
    """

    features: Tensor
    targets: Tensor
    shares: Tensor | None = None


@dataclass(frozen=True)
class Network:
    """What networks of one kind compute, but for their weights and strengths.

    Attributes:
        sizes: features, units of each hidden layer, outputs.
        activation: of the hidden layers.
        pieces: products of a hidden unit; more than 1 for maxout.
        output: what the outputs stand for.
        loss: what they are trained by where they are numbers; probabilities are by cross-entropy.
        levels: of the quantiles, ascending, where the loss is theirs.
        precision: `fp32`, or `bf16` for the products of hidden layers; all else is of the weights' dtype.
        regularizers: the names of those in use, in order.
        fine: as `Noise` has it.
        scaled: whether masks scale up what they keep, in training.
    """

    sizes: tuple[int, ...]
    activation: str = "relu"
    pieces: int = 1
    output: Output = "softmax"
    loss: Loss = "squared_error"
    levels: tuple[float, ...] = ()
    precision: str = "fp32"
    regularizers: tuple[str, ...] = ()
    fine: bool = False
    scaled: bool = True

    @classmethod
    def of(cls, runs: Sequence[RunSettings], features: int, classes: int, precision: str) -> Network:
        """What runs compute that may differ in strengths, rates and seeds; `classes` counts the outputs."""
        first = runs[0]
        numbers = {} if first.loss == "cross_entropy" else {"loss": first.loss, "output": output_of(first.loss)}
        return cls.using(
            [used_by(run) for run in runs],
            sizes=(features, *first.widths, classes),
            activation=first.activation,
            pieces=pieces_of(first),
            precision=precision,
            scaled=first.dropout_scaling == "training",
            **numbers,
        )

    @classmethod
    def using(cls, runs: Sequence[Mapping[str, Sequence[float]]], **how: Any) -> Network:
        """With the regularizers of runs, strengths by name; what one has, all have.

        Dropout comes first, the others by name, whatever the runs and their order: noises one after the other do not
        commute.
        """
        names = sorted({name for one in runs for name in one}, key=lambda name: (name != DROPOUT.name, name))
        noise = [s for one in runs for name, each in one.items() if entry_of(name).is_noise for s in each]
        return cls(regularizers=tuple(names), fine=is_fine(noise), **how)

    @cached_property
    def used(self) -> list[tuple[Regularizer, slice]]:
        """The regularizers, each with its rows of the strengths."""
        found, start = [], 0
        for entry in map(entry_of, self.regularizers):
            rows = {"hidden": len(self.sizes) - 2, "weights": len(self.sizes) - 1}.get(entry.by_layer, 1)
            if rows:
                found.append((entry, slice(start, start + rows)))
            start += rows
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in vars(self).items() if name != "used"
        }  # made anew: functions do not travel

    @property
    def rows(self) -> int:
        """K: how many strengths a network has."""
        return max((rows.stop for _, rows in self.used), default=0)

    def strengths(self, runs: Sequence[Mapping[str, Sequence[float]]]) -> Tensor:
        """The strengths of networks, 0 for a regularizer that one lacks; shape (K, R), `float64`.

        Args:
            runs: of each network strengths by name, one for all layers or one a layer.
        """
        table = torch.zeros(self.rows, len(runs), dtype=torch.float64)
        for entry, rows in self.used:
            for r, used in enumerate(runs):
                table[rows, r] = torch.tensor(used.get(entry.name, (0.0,)), dtype=torch.float64)
        return table

    @property
    def is_normalized(self) -> bool:
        """Whether hidden layers have batch normalization."""
        return "batch_norm" in self.regularizers and len(self.sizes) > 2

    @property
    def disturbs_input(self) -> bool:
        """Whether there is noise on the input; else the first layer's products are the same under all."""
        return any(entry.on_input is not None for entry, _ in self.used)

    def objective(
        self, layers: Sequence[Layer], norms: Sequence[Norm], batch: Batch, noise: Noise, strengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, and what is minimized: with smoothed labels and penalties; each (R,).

        Args:
            layers: weights.
            norms: batch normalization of each hidden layer, whose running statistics this batch moves.
            batch: the examples.
            noise: the random numbers of the step.
            strengths: of the regularizers, shape (K, R).
        """
        features, seen = self.disturbed(batch.features, noise, strengths), layers
        if norms:  # they take a bias away again; the gradient that rounding leaves of it would be all that Adam follows
            seen = [*(Layer(weight, torch.zeros_like(bias)) for weight, bias in layers[:-1]), layers[-1]]
        hidden, logits = self.after_first(seen, self.first(seen, features), noise, strengths, norms, fresh=True)
        truth = self._truth(logits.shape[2], strengths)
        loss = _mean(self.losses(logits, batch.targets), batch.shares)
        aim = loss if truth is None else _mean(self.losses(logits, batch.targets, truth), batch.shares)
        for entry, rows in self.used:
            if entry.penalty is not None:
                aim = aim + entry.penalty(layers, hidden, tuple(strengths[rows]))
        return loss, aim

    def _truth(self, classes: int, strengths: Tensor) -> Tensor | None:
        """The probability of the true class that the loss aims at, shape (R, 1, 1); `None` for 1."""
        count, truth = classes if self.output == "softmax" else 2, None
        for entry, rows in self.used:
            if entry.smooth is not None:
                truth = entry.smooth(strengths[rows][0], count).view(-1, 1, 1)
        return truth

    def losses(self, outputs: Tensor, targets: Tensor, truth: Tensor | None = None) -> Tensor:
        """Of each example, shape (R, B).

        Args:
            outputs: of the output layer, shape (R, B, C).
            targets: as a batch has them.
            truth: the probability that the true class is to have, shape (R, 1, 1); `None` for 1.
        """
        if self.output == "softmax":
            return of_classes(outputs, targets, truth)
        if self.output == "logistic":
            return of_labels(outputs, targets, truth)
        return of_numbers(self.loss, outputs, targets, self.levels)

    def disturbed(self, features: Tensor, noise: Noise, strengths: Tensor) -> Tensor:
        """Features (R, B, F) with the noise on the input."""
        for entry, rows in self.used:
            if entry.on_input is not None:
                features = entry.on_input(features, tuple(strengths[rows]), noise.of(entry.name))
        return features

    def first(self, layers: Sequence[Layer], features: Tensor) -> Tensor:
        """The first layer's products, shape (R, B, O)."""
        return self._product(features, layers, 0)

    def after_first(
        self,
        layers: Sequence[Layer],
        products: Tensor,
        noise: Noise | None = None,
        strengths: Tensor | None = None,
        norms: Sequence[Norm] = (),
        fresh: bool = False,
    ) -> tuple[list[Tensor], Tensor]:
        """Activations of each hidden layer before anything disturbs them, and the logits.

        Args:
            layers: weights; of maxout, the pieces of a unit are neighbours.
            products: what `first` gave.
            noise: the random numbers of the pass; `None` for dropout off, when nothing is disturbed.
            strengths: shape (K, R); needed with noise.
            norms: batch normalization of each hidden layer; none where there is none, or where it is folded.
            fresh: whether it takes the statistics of this batch, and moves the running ones; else the running ones.
        """
        hidden, activate = [], activation_of(self.activation, self.pieces)
        for k in range(len(layers) - 1):
            here = activate(_normalized(products, norms[k], fresh) if norms else products)
            hidden.append(here)
            if noise is not None:
                assert strengths is not None
                here = self._disturbed_units(here, k, noise, strengths)
            products = self._product(here, layers, k + 1)
        return hidden, products

    def _disturbed_units(self, hidden: Tensor, k: int, noise: Noise, strengths: Tensor) -> Tensor:
        for entry, rows in self.used:
            if entry.on_hidden is not None:
                hidden = entry.on_hidden(hidden, k, tuple(strengths[rows]), noise.of(entry.name))
        return hidden

    def _product(self, inputs: Tensor, layers: Sequence[Layer], k: int) -> Tensor:
        """A layer's products; the output layer's are never rounded: a logit needs more than 8 bits."""
        weight, bias = layers[k]
        if self.precision != "bf16" or k == len(layers) - 1:
            if weight.shape[0] == 1:  # a stack of one takes thrice as long
                return linear(inputs.squeeze(0), weight.squeeze(0), bias.squeeze(0))[None]
            return torch.baddbmm(bias[:, None], inputs, weight.mT)
        weight, inputs = weight.bfloat16(), inputs.bfloat16()
        products = (
            torch.bmm(inputs, weight.mT) if weight.shape[0] > 1 else linear(inputs.squeeze(0), weight.squeeze(0))[None]
        )
        return products.to(bias.dtype) + bias[:, None]

    def gradients(self, gradients: Sequence[Tensor], strengths: Tensor) -> Sequence[Tensor]:
        """What regularizers make of the gradients, each with R first."""
        for entry, rows in self.used:
            if entry.on_gradient is not None:
                gradients = entry.on_gradient(gradients, tuple(strengths[rows]))
        return gradients

    def update(self, layers: Sequence[Layer], strengths: Tensor, rate: Tensor | None) -> None:
        """What regularizers do to the weights themselves: before an update at learning rates (R,), or after it."""
        for entry, rows in self.used:
            if rate is not None and entry.before_update is not None:
                entry.before_update(layers, tuple(strengths[rows]), rate)
            if rate is None and entry.after_update is not None:
                entry.after_update(layers, tuple(strengths[rows]))

    def shares_kept(self, strengths: Tensor) -> list[Tensor]:
        """The share of its inputs that masks leave each weight layer in training, shape (R,) each."""
        shares = [torch.ones_like(strengths[0]) for _ in self.sizes[1:]]
        for entry, rows in self.used:
            if entry.drops:
                for k, rate in enumerate(strengths[rows], start=entry.on_input is None):
                    shares[k] = shares[k] * (1 - level_of(rate) / LEVELS)
        return shares


def _mean(each: Tensor, shares: Tensor | None) -> Tensor:
    return each.mean(dim=1) if shares is None else (each * shares).sum(dim=1)


def _normalized(products: Tensor, norm: Norm, fresh: bool) -> Tensor:
    """Batch normalization (Ioffe & Szegedy 2015), shape as `products`, (R, B, O)."""
    mean, variance = norm.mean, norm.variance
    if fresh:
        mean, count = products.mean(dim=1), products.shape[1]
    centred = products - mean[:, None]
    if fresh:
        variance = centred.square().mean(dim=1)
        with torch.no_grad():
            norm.mean.lerp_(mean, RUNNING)
            norm.variance.lerp_(variance * (count / max(count - 1, 1)), RUNNING)
    scale = norm.scale * torch.rsqrt(variance + EPSILON)
    return torch.addcmul(norm.shift[:, None], centred, scale[:, None])


def folded(layers: Sequence[Layer], norms: Sequence[Norm]) -> list[Layer]:
    """The layers of the network without normalization that says the same, by the running statistics.

    Biases in front of a normalization are not in use.
    """
    made = []
    for layer, norm in zip(layers, norms, strict=False):
        scale = norm.scale * torch.rsqrt(norm.variance + EPSILON)
        made.append(Layer(layer.weight * scale[..., None], norm.shift - norm.mean * scale))
    return [*made, *layers[len(made) :]]


def layers_of(weights: Mapping[str, NDArray[np.float32]]) -> list[Layer]:
    """One network's layers (R = 1) from `layers.K.weight` and `layers.K.bias`, as a model file holds them."""
    return [
        Layer(*(torch.tensor(weights[f"layers.{index}.{name}"])[None] for name in Layer._fields))
        for index in range(len(weights) // 2)
    ]


def entry_of(name: str) -> Regularizer:
    """A regularizer by name, dropout among them."""
    return DROPOUT if name == DROPOUT.name else TABLE[name]


def used_by(run: RunSettings) -> dict[str, tuple[float, ...]]:
    """The strengths of what a run uses, by name: dropout, its regularizers, and what its optimizer brings along."""
    used = {DROPOUT.name: run.rates} if any(run.rates) else {}
    used |= {name: strengths_of(value) for name, value in run.regularizers}
    used.pop("early_stopping", None)  # no part of what is computed
    used |= {"weight_decay": (ADAMW_DECAY,)} if run.optimizer == "adamw" and "weight_decay" not in used else {}
    return acting(used, len(run.widths))


def acting(used: Mapping[str, tuple[float, ...]], hidden_layers: int) -> dict[str, tuple[float, ...]]:
    """Regularizers without those that have no layer to act on."""
    return {name: each for name, each in used.items() if hidden_layers or entry_of(name).by_layer != "hidden"}


def is_noisy(run: RunSettings) -> bool:
    """Whether inference of a run with dropout on differs from inference with it off."""
    return any(entry_of(name).is_noise and any(strengths) for name, strengths in used_by(run).items())


def pieces_of(recipe: Recipe) -> int:
    """How many products a hidden unit takes."""
    return recipe.pieces if recipe.activation == "maxout" else 1
