"""Evaluation of stacked runs in the inference modes `off`, `on` and `mc`.

R runs, N examples of a part, B of a chunk, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.model.general import General
from droplab.model.network import Layer, compute_layers, forward, hidden_units
from droplab.model.noise import Noise
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
        kept: log-probabilities of the first n examples, shape (R, n, C), by the number of masks that they are the mean
            over, 0 where nothing is dropped; empty unless asked for.
        single: mean over the masks of the entropy under each, in nats, shape (R, n); `None` without masks or unasked.
    """

    accuracy: Tensor
    nll: Tensor
    predictions: Tensor
    kept: Mapping[int, Tensor] = {}
    single: Tensor | None = None


def evaluate(
    layers: Sequence[Layer],
    part: Part,
    split: Split,
    precision: str,
    modes: Collection[Inference] = OFF_ONLY,
    dropout: Dropout | None = None,
    samples: int = 1,
    keep: int = 0,
    general: General | None = None,
    first: int = 0,
) -> dict[Inference, Evaluation]:
    """Evaluate R networks on a part, in chunks, in all `modes` at once.

    Args:
        layers: `float32` weights.
        part: the examples.
        split: which split they are; part of the masks' address.
        precision: `fp32` or `bf16`.
        modes: `off`: nothing dropped; `on`: one random mask; `mc`: the mean of the probabilities over masks, of which
            that of `on` is the first. Where nothing is dropped the three are one.
        dropout: of each run; needed for `on` and `mc`.
        samples: masks that `mc` averages over.
        keep: of how many examples, the first ones, probabilities are kept; in `mc` also after the first `mc_points`
            masks.
        general: how a network computes that the fast step cannot train; R is 1 then.
        first: the number of the first example, by which masks are addressed, where the part is a piece of one.
    """
    device = part.rows.device
    count = (samples if "mc" in modes else 1) if {"on", "mc"} & set(modes) else 0
    rates = Dropout((), ()) if dropout is None else dropout
    passes: _Fast | _General
    if general is None:
        passes = _Fast(layers, precision, rates, _SPLITS.index(split), count, device)
    else:
        passes = _General(layers, general, rates, _SPLITS.index(split), count, device)
    masks, points = passes.masks, mc_points(samples)
    scale = torch.tensor(part.scale, dtype=torch.float32, device=device)
    runs = layers[0].weight.shape[0]
    tallies = {mode: _Tally(runs, len(part), device) for mode in (modes if masks else OFF_ONLY)}
    kept = _Kept(runs, min(keep, len(part)), layers[-1].weight.shape[1], device)
    for start, stored, labels in part.chunks():
        truth = labels.expand(runs, -1)
        passes.begin(stored, scale, first + start)
        if "off" in tallies:
            logs = passes.off()
            tallies["off"].add(start, logs, truth)
            kept.add("off", 0, start, logs)
        total: Tensor | None = None
        for count in range(1, masks + 1):
            logs = passes.masked(count - 1)
            if total is None and "on" in tallies:
                tallies["on"].add(start, logs, truth)
                kept.add("on", 1, start, logs)
            total = logs if total is None else torch.logaddexp(total, logs)
            if "mc" in tallies:
                kept.add_entropy(start, logs, masks)
                if count in points:
                    kept.add("mc", count, start, total - math.log(count))
        if total is not None and "mc" in tallies:
            tallies["mc"].add(start, total - math.log(masks), truth)
    said = {
        mode: tally.evaluation()._replace(kept=kept.of(mode), single=kept.single if mode == "mc" else None)
        for mode, tally in tallies.items()
    }
    return {mode: said.get(mode) or said["off"] for mode in modes}


def mc_points(samples: int) -> list[int]:
    """The numbers of masks at which probabilities are kept: about even steps on a logarithmic axis, 1 and all.

    >>> mc_points(20)
    [1, 2, 3, 5, 7, 10, 15, 20]
    """
    steps = (1, 1.5, 2, 3, 5, 7)
    counts = {int(step * 10**power) for power in range(len(str(samples))) for step in steps}
    return sorted({count for count in counts if count < samples} | {samples})


class _Fast:
    """The passes of networks with dropout alone; log-probabilities have the shape (R, B, C).

    Nothing is dropped from the input, so the product of the first layer is made once for all masks.
    """

    def __init__(
        self, layers: Sequence[Layer], precision: str, dropout: Dropout, split: int, samples: int, device: torch.device
    ) -> None:
        each = [dropout.inference(len(layers) - 1, split, sample, device) for sample in range(samples)]
        self._drops = [dropping for dropping in each if dropping is not None]
        self._working = compute_layers(layers, precision)
        self._scaled = compute_layers(layers, precision, self._drops[0]) if self._drops else self._working
        self.masks = len(self._drops)

    def begin(self, stored: Tensor, scale: Tensor, start: int) -> None:
        """Take up a chunk."""
        first, runs = self._working[0], self._working[0].weight.shape[0]
        inputs = scaled(stored, scale, first.weight.dtype).expand(runs, -1, -1)
        self._first = hidden_units(first, inputs) if len(self._working) > 1 else inputs
        self._start = start

    def off(self) -> Tensor:
        """With nothing dropped."""
        _, logits = forward(self._working[1:] or self._working, self._first)
        return torch.log_softmax(logits, dim=2)

    def masked(self, sample: int) -> Tensor:
        """Under one mask."""
        here = self._drops[sample]._replace(first=self._start)
        dropped = here.drop(0, self._first.clone())
        return torch.log_softmax(forward(self._scaled[1:], dropped, here.after_first_layer())[1], dim=2)


class _General:
    """The passes of a network that is trained by itself; log-probabilities have the shape (1, B, C)."""

    def __init__(
        self,
        layers: Sequence[Layer],
        general: General,
        dropout: Dropout,
        split: int,
        samples: int,
        device: torch.device,
    ) -> None:
        self._layers, self._general, self._split, self._device = layers, general, split, device
        self._seed = dropout.seeds[0] if dropout.seeds else 0
        self.masks = samples if general.is_noisy else 0

    def begin(self, stored: Tensor, scale: Tensor, start: int) -> None:
        """Take up a chunk."""
        self._inputs, self._start = scaled(stored, scale, torch.float32), start

    def off(self) -> Tensor:
        """With nothing disturbed."""
        return torch.log_softmax(self._general.forward(self._layers, self._inputs, None)[1], dim=2)

    def masked(self, sample: int) -> Tensor:
        """Under the `sample`-th noise."""
        noise = Noise((self._seed,), (self._split, sample), False, self._device, self._start)
        return torch.log_softmax(self._general.forward(self._layers, self._inputs, noise)[1], dim=2)


class _Kept:
    """Log-probabilities of the first examples, and the entropy of single masks, as they are computed."""

    def __init__(self, runs: int, examples: int, classes: int, device: torch.device) -> None:
        self._shape, self._device = (runs, examples, classes), device
        self._tables: dict[tuple[Inference, int], Tensor] = {}
        self.single: Tensor | None = None

    def add(self, mode: Inference, masks: int, start: int, log_probabilities: Tensor) -> None:
        """Keep those of a chunk that begins at example `start`."""
        if count := self._room(start, log_probabilities):
            table = self._tables.setdefault((mode, masks), torch.empty(self._shape, device=self._device))
            table[:, start : start + count] = log_probabilities[:, :count]

    def add_entropy(self, start: int, log_probabilities: Tensor, masks: int) -> None:
        """Add what one of `masks` masks has to the mean entropy."""
        if count := self._room(start, log_probabilities):
            if self.single is None:
                self.single = torch.zeros(self._shape[:2], device=self._device)
            logs = log_probabilities[:, :count]
            self.single[:, start : start + count] -= (logs.exp() * logs).sum(dim=2) / masks

    def of(self, mode: Inference) -> dict[int, Tensor]:
        """What was kept of a mode, by the number of masks."""
        return {masks: table for (kept, masks), table in self._tables.items() if kept == mode}

    def _room(self, start: int, log_probabilities: Tensor) -> int:
        return max(min(self._shape[1] - start, log_probabilities.shape[1]), 0)


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
