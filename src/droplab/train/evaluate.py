"""Evaluation of a pack in the inference modes `off`, `on` and `mc`.

R runs, N examples of a part, B of a chunk, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.model.network import Layer, compute_layers, forward
from droplab.model.regularizers import Dropout
from droplab.train.examples import Part
from droplab.train.outcome import Inference, Split

_SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Evaluation(NamedTuple):
    """What R networks say of N examples.

    Attributes:
        accuracy: shape (R,), `float64`.
        nll: mean negative log-likelihood in nats, shape (R,), `float64`.
        predictions: the likeliest class, shape (R, N), `int64`.
    """

    accuracy: Tensor
    nll: Tensor
    predictions: Tensor


def evaluate(
    layers: Sequence[Layer],
    part: Part,
    split: Split,
    precision: str,
    inference: Inference = "off",
    dropout: Dropout | None = None,
    samples: int = 1,
) -> Evaluation:
    """Evaluate R networks on a part, in chunks.

    Args:
        layers: `float32` weights.
        part: the examples.
        split: which split they are; part of the masks' address.
        precision: `fp32` or `bf16`.
        inference: `off`: nothing dropped; `on`: one random mask; `mc`: the mean of the probabilities over masks.
        dropout: of each run; needed for `on` and `mc`.
        samples: masks that `mc` averages over.
    """
    masked = dropout if inference != "off" else None
    working = compute_layers(layers, precision, masked)
    runs = layers[0].weight.shape[0]
    correct = torch.zeros(runs, dtype=torch.int64, device=part.rows.device)
    nll = torch.zeros(runs, dtype=torch.float64, device=part.rows.device)
    # One tensor for all: small ones, made between the large ones of each chunk, keep glibc from reusing those.
    predictions = torch.empty(runs, len(part), dtype=torch.int64, device=part.rows.device)
    for start, stored, labels in part.chunks():
        inputs = stored.to(working[0].weight.dtype).mul_(part.scale).expand(runs, -1, -1)
        if masked is None:
            log_probabilities = torch.log_softmax(forward(working, inputs)[1], dim=2)
        else:
            count = samples if inference == "mc" else 1
            log_probabilities = _masked(working, inputs, masked, split, start, count)
        truth = labels.expand(runs, -1)
        nll -= log_probabilities.gather(2, truth.unsqueeze(2)).sum(dim=(1, 2), dtype=torch.float64)
        predicted = predictions[:, start : start + labels.shape[1]]
        torch.argmax(log_probabilities, dim=2, out=predicted)
        correct += (predicted == truth).sum(dim=1)
    return Evaluation(correct.double() / len(part), nll / len(part), predictions)


def _masked(
    working: Sequence[Layer], inputs: Tensor, dropout: Dropout, split: Split, start: int, samples: int
) -> Tensor:
    """Logarithm of the mean probabilities over `samples` masks, shape (R, B, C)."""
    total: Tensor | None = None
    for sample in range(samples):
        _, logits = forward(
            working,
            inputs,
            lambda layer, shape, sample=sample: dropout.inference_mask(  # type: ignore[misc]
                layer, _SPLITS.index(split), sample, start, shape, inputs.device
            ),
        )
        logs = torch.log_softmax(logits, dim=2)
        total = logs if total is None else torch.logaddexp(total, logs)
    assert total is not None
    return total - math.log(samples)
