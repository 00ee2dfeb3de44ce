"""Objective and gradient by hand, for networks with dropout and L2 alone: autograd's own work is most of a small step.

R networks, S steps, B rows of a batch, F features, U units of a hidden layer, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from droplab.estimator.networks import Networks, Output
from droplab.estimator.rows import Batch
from droplab.model.network import Layer
from droplab.model.regularizers import Dropout
from droplab.random import fold

_MASKED_AT_ONCE = 2**22
"""Units whose masks are made in one go: many small steps share the calls, large ones do not need to."""

Masks = Sequence[Tensor | None]

_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "identity": (lambda products: products, lambda grad, _: grad),
    "relu": (torch.relu_, lambda grad, hidden: torch.ops.aten.threshold_backward(grad, hidden, 0)),
    "logistic": (torch.sigmoid_, torch.ops.aten.sigmoid_backward),
    "tanh": (torch.tanh_, torch.ops.aten.tanh_backward),
}
"""What a hidden layer makes of its products, in place; and the gradient of these from that of the activations."""


def epoch_masks(networks: Networks, rates: Sequence[float], sizes: Sequence[int]) -> Iterator[Masks]:
    """What each hidden layer's units are multiplied by, step after step of the epoch under way; the masks of `Noise`.

    Args:
        networks: whose seeds and epoch they are for.
        rates: share dropped, of each hidden layer.
        sizes: rows of each of the epoch's batches, the first as large as any.

    Returns:
        For each step, of each hidden layer shape (R, B, U), 0 or 1 / (1 − rate); `None` where nothing is dropped.
    """
    units, device = networks.units[1:-1], networks.values.device
    together = max(_MASKED_AT_ONCE // max(sizes[0] * sum(units) * len(networks.seeds), 1), 1)
    for start in range(0, len(sizes), together):
        steps = torch.arange(start, min(start + together, len(sizes)), device=device)
        made = [_masks(networks, rate, layer, steps, sizes[0]) if rate else None for layer, rate in enumerate(rates)]
        for step in range(len(steps)):
            rows = sizes[start + step]
            yield [None if table is None else table[:, step, :rows] for table in made]


def _masks(networks: Networks, rate: float, layer: int, steps: Tensor, rows: int) -> Tensor:
    """The masks of one layer in some steps, shape (R, S, B, U)."""
    seeds, units, dtype = networks.seeds, networks.units[layer + 1], networks.dtype
    dropping = Dropout.of(seeds, [rate] * len(seeds)).training(layer + 1, networks.epochs, steps.device)
    assert dropping is not None
    keys = fold(dropping.keys[layer][:, None], steps).reshape(1, -1)
    thresholds = dropping.thresholds.repeat_interleave(len(steps), dim=0)
    kept = dropping._replace(keys=keys, thresholds=thresholds).kept(0, rows, units)
    return kept.to(dtype).mul_(dropping.scale(dtype)[0]).view(len(seeds), len(steps), rows, units)


class Gradient:
    """`networks.objective` and its gradient, for steps of one epoch; tensors are made once."""

    def __init__(self, networks: Networks, activation: str, output: Output, alpha: float) -> None:
        self._activate, self._slope = _ACTIVATIONS[activation]
        self._output, self._alpha = output, alpha
        self.values = torch.zeros_like(networks.values)
        self._single = len(networks.values) == 1
        self._layers, self._gradients = (
            [Layer(*(self._plain(part) for part in layer)) for layer in networks.layers(values)]
            for values in (networks.values, self.values)
        )
        self._weights = networks.weights
        self._decay = self.values[:, : self._weights.shape[1]]

    def _plain(self, part: Tensor) -> Tensor:
        """One network's by itself: a stack of one takes thrice as long as a matrix."""
        return part.squeeze(0) if self._single else part

    def __call__(self, batch: Batch, masks: Masks) -> Tensor:
        """The losses of a batch, shape (R,); `values`, shape (R, P), is then its gradient.

        Args:
            batch: the rows.
            masks: of each hidden layer, as `epoch_masks` gives them.
        """
        layers, weights = self._layers, self._weights
        features, targets, shares = (self._plain(part) for part in batch[:3])
        masks = [None if mask is None else self._plain(mask) for mask in masks]
        shares = shares.unsqueeze(-1)
        add: Callable[..., Tensor] = torch.addmm if self._single else torch.baddbmm

        seen, hidden = [features], []
        for layer, mask in zip(layers[:-1], masks, strict=True):
            hidden.append(self._activate(add(layer.bias.unsqueeze(-2), seen[-1], layer.weight.mT)))
            seen.append(hidden[-1] if mask is None else hidden[-1] * mask)
        logits = add(layers[-1].bias.unsqueeze(-2), seen[-1], layers[-1].weight.mT)

        if self._output == "softmax":
            # along the rows of the transpose: ten times as fast on a CPU as along a few columns (docs/log.md)
            logs = torch.log_softmax(logits.mT.contiguous(), dim=-2).mT
            each, grad = logs * targets, logs.exp()
        else:
            each = -binary_cross_entropy_with_logits(logits, targets, reduction="none")
            grad = torch.sigmoid(logits)
        losses: Tensor = torch.linalg.vecdot(weights, weights).mul_(batch.inverse).mul_(self._alpha / 2)
        losses.sub_(each.mul_(shares).sum(dim=(-2, -1)))

        grad = grad.sub_(targets).mul_(shares)
        for k in range(len(layers) - 1, -1, -1):
            torch.sum(grad, dim=-2, out=self._gradients[k].bias)
            torch.matmul(grad.mT, seen[k], out=self._gradients[k].weight)
            if k:
                mask, grad = masks[k - 1], grad @ layers[k].weight
                grad = self._slope(grad if mask is None else grad.mul_(mask), hidden[k - 1])
        self._decay.addcmul_(weights, batch.inverse[:, None], value=self._alpha)
        return losses
