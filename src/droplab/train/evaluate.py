"""Evaluation of stacked runs in the inference modes `off`, `on` and `mc`.

R runs, N examples of a part, B of a chunk, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.model.network import Layer, compute_layers, forward, hidden_units
from droplab.model.regularizers import Dropout
from droplab.train.examples import Part
from droplab.train.outcome import Inference, Split
from droplab.train.step import scaled

OFF_ONLY: tuple[Inference, ...] = ("off",)
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
    modes: Collection[Inference] = OFF_ONLY,
    dropout: Dropout | None = None,
    samples: int = 1,
) -> dict[Inference, Evaluation]:
    """Evaluate R networks on a part, in chunks, in all `modes` at once.

    Nothing is dropped from the input, so the product of the first layer is made once for all masks.

    Args:
        layers: `float32` weights.
        part: the examples.
        split: which split they are; part of the masks' address.
        precision: `fp32` or `bf16`.
        modes: `off`: nothing dropped; `on`: one random mask; `mc`: the mean of the probabilities over masks, of which
            that of `on` is the first. Where nothing is dropped the three are one.
        dropout: of each run; needed for `on` and `mc`.
        samples: masks that `mc` averages over.
    """
    device, hidden = part.rows.device, len(layers) - 1
    count = (samples if "mc" in modes else 1) if {"on", "mc"} & set(modes) else 0
    masks = Dropout((), ()) if dropout is None else dropout
    each = [masks.inference(hidden, _SPLITS.index(split), sample, device) for sample in range(count)]
    drops = [dropping for dropping in each if dropping is not None]
    working = compute_layers(layers, precision)
    masked = compute_layers(layers, precision, drops[0]) if drops else working
    scale = torch.tensor(part.scale, dtype=torch.float32, device=device)
    runs = layers[0].weight.shape[0]
    tallies = {mode: _Tally(runs, len(part), device) for mode in (modes if drops else ["off"])}
    for start, stored, labels in part.chunks():
        inputs = scaled(stored, scale, working[0].weight.dtype).expand(runs, -1, -1)
        truth = labels.expand(runs, -1)
        first = hidden_units(working[0], inputs) if hidden else inputs
        if "off" in tallies:
            tallies["off"].add(start, _log_probabilities(working, first), truth)
        total: Tensor | None = None
        for dropping in drops:
            here = dropping._replace(first=start)
            dropped = here.drop(0, first.clone())
            logs = torch.log_softmax(forward(masked[1:], dropped, here.after_first_layer())[1], dim=2)
            if total is None and "on" in tallies:
                tallies["on"].add(start, logs, truth)
            total = logs if total is None else torch.logaddexp(total, logs)
        if total is not None and "mc" in tallies:
            tallies["mc"].add(start, total - math.log(len(drops)), truth)
    said = {mode: tally.evaluation() for mode, tally in tallies.items()}
    return {mode: said.get(mode) or said["off"] for mode in modes}


def _log_probabilities(working: Sequence[Layer], first: Tensor) -> Tensor:
    """Of the classes, shape (R, B, C), from what the first layer gives (the inputs, where that is the output layer)."""
    _, logits = forward(working[1:] or working, first)
    return torch.log_softmax(logits, dim=2)


class _Tally:
    """Sums over the chunks of a part."""

    def __init__(self, runs: int, examples: int, device: torch.device) -> None:
        self.correct = torch.zeros(runs, dtype=torch.int64, device=device)
        self.nll = torch.zeros(runs, dtype=torch.float64, device=device)
        # One tensor for all: small ones, made between the large ones of each chunk, keep glibc from reusing those.
        self.predictions = torch.empty(runs, examples, dtype=torch.int64, device=device)

    def add(self, start: int, log_probabilities: Tensor, truth: Tensor) -> None:
        self.nll -= log_probabilities.gather(2, truth.unsqueeze(2)).sum(dim=(1, 2), dtype=torch.float64)
        predicted = self.predictions[:, start : start + truth.shape[1]]
        torch.argmax(log_probabilities, dim=2, out=predicted)
        self.correct += (predicted == truth).sum(dim=1)

    def evaluation(self) -> Evaluation:
        count = self.predictions.shape[1]
        return Evaluation(self.correct.double() / count, self.nll / count, self.predictions)
