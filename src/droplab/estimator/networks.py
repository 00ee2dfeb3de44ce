"""Networks that are trained side by side for scikit-learn's face: their state, what they minimize, what they say.

R networks, B rows of a batch, F features, O outputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from droplab.estimator.rows import Batch
from droplab.model.general import General, Norm, folded
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer
from droplab.model.noise import Noise

Output = Literal["softmax", "logistic"]


@dataclass
class History:
    """How the training of one network went, in epochs; beside curves, what stopping and learning rate go on from.

    Attributes:
        losses: what was minimized, the mean over each epoch.
        scores: accuracy on the rows held out, after each epoch; empty without early stopping.
        held_out_losses: log-loss on the rows held out, likewise.
        rate: the learning rate as it is now.
        lowest: the lowest loss that stopping looked at.
        waited: epochs in a row without improvement.
        iterations: epochs of the last `fit`; with L-BFGS its iterations.
        best: the epoch of the last `fit` with the lowest log-loss on the rows held out; 0 before the first.
        final_loss: the last loss.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    rate: float = 0.0
    lowest: float = math.inf
    waited: int = 0
    iterations: int = 0
    best: int = 0
    final_loss: float = math.nan

    def add(self, loss: float) -> None:
        """Add an epoch.

        Raises:
            FloatingPointError: if its loss is not finite.
        """
        self.losses.append(loss)
        self.iterations += 1
        self.final_loss = loss
        if not math.isfinite(loss):
            raise FloatingPointError(f"a loss of {loss} in epoch {self.iterations}")


@dataclass
class Networks:
    """R networks of one shape, with all that their training goes on from; tensors and numbers alone.

    Attributes:
        seeds: of each; they fix initial weights, batch order and noise.
        units: features, units of each hidden layer, outputs.
        values: all that gradients are of, a row a network, shape (R, P): weights, biases, scales and shifts.
        running: means and variances of batch normalization, shape (2, R, hidden units); no units without it.
        histories: of each.
        first: Adam's first moments, or the velocities, shape (R, P).
        second: Adam's second moments, shape (R, P).
        updates: made since the moments were 0.
        epochs: done in all.
        seen: rows of all epochs, for the schedule `invscaling`.
    """

    seeds: tuple[int, ...]
    units: tuple[int, ...]
    values: Tensor
    running: Tensor
    histories: list[History]
    first: Tensor
    second: Tensor
    updates: int = 0
    epochs: int = 0
    seen: int = 0

    @classmethod
    def initial(
        cls, units: Sequence[int], seeds: Sequence[int], normalized: bool, dtype: torch.dtype, device: torch.device
    ) -> Networks:
        """Before the first step: all layers as `torch.nn.Linear` draws them.

        An output layer of 0 holds the hidden layers back: over 16 tables (docs/log.md) it ends 0.6 points lower.

        Args:
            units: features, units of each hidden layer, outputs.
            seeds: one a network.
            normalized: whether hidden layers have batch normalization.
            dtype: of weights and products.
            device: where they go.
        """
        features, *widths, outputs = units
        layers = initial_layers(features, widths, outputs, seeds, device)
        runs, hidden = len(seeds), sum(widths) if normalized else 0
        parts = [layer.weight.reshape(runs, -1) for layer in layers] + [layer.bias for layer in layers]
        scales = torch.ones(runs, hidden, dtype=dtype, device=device)
        values = torch.cat([part.to(dtype) for part in parts] + [scales, torch.zeros_like(scales)], dim=1)
        running = torch.stack([torch.zeros_like(scales), scales])
        histories = [History() for _ in seeds]
        moments = torch.zeros_like(values)
        return cls(tuple(seeds), tuple(units), values, running, histories, moments, moments.clone())

    def to(self, device: torch.device) -> Networks:
        """The same on another device."""
        tensors = ("values", "running", "first", "second")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and products."""
        return self.values.dtype

    @property
    def weights(self) -> Tensor:
        """The weights among the values, without biases, shape (R, weights); in place."""
        return self.values[:, : sum(i * o for i, o in pairwise(self.units))]

    @property
    def is_normalized(self) -> bool:
        """Whether hidden layers have batch normalization."""
        return self.running.shape[2] > 0

    def layers(self, values: Tensor) -> list[Layer]:
        """Weights of shapes (R, O, I) and biases of shape (R, O), as views of `values` or of what is laid out so."""
        inputs, outputs = self.units[:-1], self.units[1:]
        sizes = [i * o for i, o in zip(inputs, outputs, strict=True)]
        parts = torch.split(values, [*sizes, *outputs, values.shape[1] - sum(sizes) - sum(outputs)], dim=1)
        shapes = zip(outputs, inputs, strict=True)
        weights = [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=False)]
        return [Layer(*both) for both in zip(weights, parts[len(sizes) : -1], strict=True)]

    def norms(self, values: Tensor) -> list[Norm]:
        """Batch normalization of each hidden layer, likewise; its running statistics are this object's own."""
        if not self.is_normalized:
            return []
        hidden, widths = self.running.shape[2], list(self.units[1:-1])
        kinds = (*torch.split(values[:, -2 * hidden :], hidden, dim=1), *self.running)
        return [Norm(*each) for each in zip(*(torch.split(kind, widths, dim=1) for kind in kinds), strict=True)]

    def forget_moments(self) -> None:
        """Begin the optimizer anew."""
        self.first.zero_()
        self.second.zero_()
        self.updates = 0

    def keep(self, network: int) -> list[Tensor]:
        """A copy of all that one network is made of."""
        return [part[network].clone() for part in self._by_network]

    def restore(self, network: int, kept: Sequence[Tensor]) -> None:
        """Put back what `keep` gave."""
        for part, old in zip(self._by_network, kept, strict=True):
            part[network] = old

    @property
    def _by_network(self) -> tuple[Tensor, ...]:
        """All tensors, the networks first; in place."""
        return self.values, self.running.transpose(0, 1), self.first, self.second

    def check_finite(self) -> None:
        """Whether training has left numbers.

        Raises:
            FloatingPointError: if a weight is none, or what the optimizer keeps: an infinite second moment stops Adam.
        """
        if not all(part.isfinite().all() for part in (*self._by_network, *itertools.chain(*self.final()))):
            raise FloatingPointError("weights or moments that are not, after training")

    def final(self) -> list[Layer]:
        """The layers as they are used: batch normalization folded in."""
        return folded(self.layers(self.values), self.norms(self.values))

    def gradient(
        self, general: General, output: Output, batch: Batch, alpha: float, noise: Noise | None
    ) -> tuple[Tensor, Tensor]:
        """The objective of a batch, shape (R,), and its gradient for `values`, shape (R, P)."""
        with torch.enable_grad():
            leaf = self.values.detach().requires_grad_()
            losses = objective(general, output, self.layers(leaf), self.norms(leaf), batch, alpha, noise)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient


def objective(
    general: General,
    output: Output,
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    batch: Batch,
    alpha: float,
    noise: Noise | None,
) -> Tensor:
    """What each network minimizes on a batch, shape (R,): weighted mean cross-entropy, α/2 · Σw² / Σweights, penalties.

    That is scikit-learn's, in which the L2 term is divided by the rows, to which the regularizers add theirs.

    Args:
        general: how the networks compute.
        output: `softmax`, or `logistic` for outputs that say yes or no each by itself.
        layers: weights, shapes (R, O, I) and (R, O).
        norms: batch normalization of each hidden layer, whose running statistics this batch moves.
        batch: the rows.
        alpha: strength of the L2 term.
        noise: the random numbers of the step; `None` for nothing stochastic.
    """
    targets = batch.targets
    hidden, logits = general.forward(layers, batch.features, noise, norms, fresh=True)
    for entry, strengths in general.used:
        if entry.smooth is not None:
            classes = logits.shape[2] if output == "softmax" else 2
            truth = entry.smooth(strengths[0], classes)
            targets = targets * truth + (1 - targets) * ((1 - truth) / (classes - 1))
    each = cross_entropy(output, logits, targets)
    squares = torch.stack([layer.weight.square().sum(dim=(1, 2)) for layer in layers]).sum(dim=0)
    losses = (each * batch.shares).sum(dim=1) + alpha / 2 * squares * batch.inverse
    for entry, strengths in general.used:
        if entry.penalty is not None:
            losses = losses + torch.stack(
                [
                    entry.penalty([_one(layer, r) for layer in layers], [h[r : r + 1] for h in hidden], strengths)
                    for r in range(len(losses))
                ]
            )
    return losses


def cross_entropy(output: Output, logits: Tensor, targets: Tensor) -> Tensor:
    """Of each row, shape (R, B); of labels that are each true or not, their sum.

    Args:
        output: what the outputs are.
        logits: shape (R, B, O).
        targets: shape (R, B, O) or (B, O).
    """
    if output == "softmax":
        return -(targets * torch.log_softmax(logits, dim=2)).sum(dim=2)
    return binary_cross_entropy_with_logits(logits, targets.expand_as(logits), reduction="none").sum(dim=2)


def apply_by_network(networks: Networks, general: General, rates: Sequence[float], before: bool) -> None:
    """What regularizers do to the weights themselves, before an update or after it; `rates`: learning rates (R)."""
    for entry, strengths in general.used:
        for r, rate in enumerate(rates):
            layers = [_one(layer, r) for layer in networks.layers(networks.values)]
            if before and entry.before_update is not None:
                entry.before_update(layers, strengths, rate)
            if not before and entry.after_update is not None:
                entry.after_update(layers, strengths)


def outputs_of(general: General, layers: Sequence[Layer], features: Tensor, noise: Noise | None = None) -> Tensor:
    """What each network's output layer says of each row, shape (R, B, O).

    Args:
        general: how they compute.
        layers: as `Networks.final` gives them.
        features: shape (1, B, F), the same for all networks.
        noise: `None` for dropout off.
    """
    return general.forward(layers, features.expand(layers[0].weight.shape[0], -1, -1), noise)[1]


def _one(layer: Layer, network: int) -> Layer:
    """One network's part of a layer, as a view."""
    return Layer(layer.weight[network : network + 1], layer.bias[network : network + 1])
