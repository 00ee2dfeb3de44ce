"""One update of a pack: the loss of a batch, its gradients, the new weights.

Plain tensor operations, so that the same lines run one by one or compiled into one program (`train/program.py`).

R runs, B examples, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.model.network import Layer, backward, compute_layers, forward
from droplab.model.regularizers import Dropping
from droplab.train.optimizers import SGD


class StepInputs(NamedTuple):
    """All that a step takes beside weights and velocities.

    Attributes:
        features: as stored, shape (R, B, F), `uint8` or a float type.
        labels: shape (R, B), `int64`.
        scale: what a stored feature is multiplied by, shape ().
        number: of the step within its epoch, from 0, shape (), `int64`.
        optimizer: of each run.
        dropping: the masks of the epoch, if anything is dropped.
    """

    features: Tensor
    labels: Tensor
    scale: Tensor
    number: Tensor
    optimizer: SGD
    dropping: Dropping | None

    def tensors(self) -> list[Tensor]:
        """All tensors in it, in a fixed order."""
        momenta = [] if self.optimizer.momenta is None else [self.optimizer.momenta]
        masks = [] if self.dropping is None else [self.dropping.keys, self.dropping.thresholds]
        return [*self[:4], self.optimizer.learning_rates, *momenta, *masks]

    def with_tensors(self, tensors: Sequence[Tensor]) -> StepInputs:
        """The same with others in the places of `tensors`."""
        features, labels, scale, number, learning_rates, *rest = tensors
        momenta = None if self.optimizer.momenta is None else rest.pop(0)
        dropping = None if self.dropping is None else self.dropping._replace(keys=rest[0], thresholds=rest[1])
        return StepInputs(features, labels, scale, number, SGD(learning_rates, momenta), dropping)


Step = Callable[[Sequence[Layer], Sequence[Layer], StepInputs], Tensor]
"""`train_step` with its precision settled."""


def plain_step(precision: str) -> Step:
    """The step as its operations one by one: what every compiled one is held against."""
    return partial(train_step, precision=precision)


def train_step(layers: Sequence[Layer], velocities: Sequence[Layer], inputs: StepInputs, precision: str) -> Tensor:
    """Update `layers` and `velocities` in place by one batch.

    Args:
        layers: `float32` master weights, shapes (R, O, I) and (R, O) each.
        velocities: the optimizer's state, shaped as `layers`; empty without momentum.
        inputs: examples, masks and rates.
        precision: `fp32` or `bf16`.

    Returns:
        The mean loss of the batch before the update, in nats, shape (R,), `float32`.
    """
    dropping = None if inputs.dropping is None else inputs.dropping.at(inputs.number)
    working = compute_layers(layers, precision, dropping)
    seen, logits = forward(working, scaled(inputs.features, inputs.scale, working[0].weight.dtype), dropping)
    loss, grad_logits = cross_entropy(logits, inputs.labels)
    gradients = backward(working, seen, grad_logits, dropping)
    inputs.optimizer.update(layers, velocities, gradients)
    return loss


def scaled(features: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Stored features as the first layer takes them: multiplied by `scale`, with `dtype`."""
    if torch.compiler.is_compiling():
        return (features.to(scale.dtype) * scale).to(dtype)
    return features.to(dtype, copy=True).mul_(scale)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of each run, and its gradient.

    Args:
        logits: shape (R, B, C), `float32`.
        labels: shape (R, B), `int64`.

    Returns:
        The loss in nats, shape (R,), and its gradient for the logits: (softmax − one-hot) / B, shape (R, B, C).
    """
    log_probabilities = torch.log_softmax(logits, dim=2)
    one_hot = (labels.unsqueeze(2) == torch.arange(logits.shape[2], device=labels.device)).to(logits.dtype)
    loss = (log_probabilities * one_hot).sum(dim=(1, 2)).neg_().div_(labels.shape[1])
    return loss, log_probabilities.exp_().sub_(one_hot).div_(labels.shape[1])
