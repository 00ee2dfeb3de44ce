"""One update of a pack: the loss of a batch, its gradients, the new weights.

R runs, B examples, F features, C classes. A faster step takes this one's place behind the same call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from droplab.model.network import Layer, backward, compute_layers, forward
from droplab.model.regularizers import Dropout
from droplab.train.optimizers import SGD


def train_step(
    layers: Sequence[Layer],
    state: Sequence[Layer],
    inputs: Tensor,
    labels: Tensor,
    dropout: Dropout,
    optimizer: SGD,
    precision: str,
    address: tuple[int, int],
) -> Tensor:
    """Update `layers` and `state` in place by one batch.

    Args:
        layers: `float32` master weights.
        state: the optimizer's.
        inputs: scaled features, shape (R, B, F), `float32` or, under `bf16`, `bfloat16`.
        labels: shape (R, B), `int64`.
        dropout: of each run.
        optimizer: of each run.
        precision: `fp32` or `bf16`.
        address: (epoch, step), both from 0; with the seeds it decides the masks.

    Returns:
        The mean loss of the batch before the update, in nats, shape (R,), `float32`.
    """
    acting = dropout if dropout.acts else None
    working = compute_layers(layers, precision, acting)
    if acting is None:
        seen, logits = forward(working, inputs)
    else:
        seen, logits = forward(
            working, inputs, lambda layer, shape: dropout.training_mask(layer, *address, shape, inputs.device)
        )
    loss, grad_logits = cross_entropy(logits, labels)
    gradients = backward(working, seen, grad_logits, acting)
    optimizer.update(layers, state, gradients)
    return loss


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of each run, and its gradient.

    Args:
        logits: shape (R, B, C), `float32`.
        labels: shape (R, B), `int64`.

    Returns:
        The loss in nats, shape (R,), and its gradient for the logits: (softmax − one-hot) / B, shape (R, B, C).
    """
    log_probabilities = torch.log_softmax(logits, dim=2)
    picked = log_probabilities.gather(2, labels.unsqueeze(2))
    loss = picked.mean(dim=(1, 2)).neg_()
    grad = log_probabilities.exp_()
    grad.scatter_add_(2, labels.unsqueeze(2), torch.full_like(picked, -1.0))
    return loss, grad.div_(labels.shape[1])
