"""Evaluation of stacked runs in the inference modes `off`, `on` and `mc`.

R runs, N examples of a part, B of a chunk, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.model.losses import Unit, numbers_of
from droplab.model.network import Layer, Network
from droplab.model.noise import Noise, inference_keys
from droplab.train.examples import Part
from droplab.train.outcome import Inference, Split

OFF_ONLY: tuple[Inference, ...] = ("off",)
_SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Evaluation(NamedTuple):
    """What R networks say of N examples.

    Attributes:
        score: accuracy, or of numbers the root of the mean squared error, in their own unit; shape (R,), `float64`.
        loss: mean negative log-likelihood in nats, or of numbers the mean loss that they are trained by, in the unit
            that they are trained in; shape (R,), `float64`.
        loss_error: its standard error over the examples, shape (R,), `float64`.
        predictions: the likeliest class, shape (R, N), `int64`; of numbers these, `float32`.
        kept: log-probabilities of the first n examples, shape (R, n, C), by the number of masks that they are the mean
            over, 0 where nothing is dropped; empty unless asked for.
        single: mean over the masks of the entropy under each, in nats, shape (R, n); `None` without masks or unasked.
    """

    score: Tensor
    loss: Tensor
    loss_error: Tensor
    predictions: Tensor
    kept: Mapping[int, Tensor] = {}
    single: Tensor | None = None


def evaluate(
    network: Network,
    layers: Sequence[Layer],
    part: Part,
    strengths: Tensor,
    modes: Collection[Inference] = OFF_ONLY,
    seeds: Sequence[int] = (),
    split: Split = "test",
    samples: int = 1,
    keep: int = 0,
    first: int = 0,
    unit: Unit | None = None,
) -> dict[Inference, Evaluation]:
    """Evaluate R networks on a part, in chunks, in all `modes` at once.

    Args:
        network: what they compute.
        layers: their weights, normalization folded in.
        part: the examples.
        strengths: shape (K, R).
        modes: `off`: nothing disturbed; `on`: one random mask; `mc`: the mean of the probabilities, or numbers, over
            masks, of which that of `on` is the first. Where nothing is random the three are one.
        seeds: of each network; needed for `on` and `mc`.
        split: which split the examples are; part of the masks' address.
        samples: masks that `mc` averages over.
        keep: of how many examples, the first ones, probabilities are kept; in `mc` also after the first `mc_points`
            masks.
        first: the number of the first example, by which masks are addressed, where the part is a piece of one.
        unit: what numbers are trained in; without it that is their own.
    """
    of_numbers = network.output != "softmax"
    device, dtype = part.rows.device, layers[0].weight.dtype
    noisy = any(entry.is_noise for entry, _ in network.used)
    masks = (samples if "mc" in modes else 1) if noisy and {"on", "mc"} & set(modes) else 0
    keys = [inference_keys(seeds, _SPLITS.index(split), sample, device) for sample in range(masks)]
    points = mc_points(samples)
    scale = torch.tensor(part.scale, dtype=dtype, device=device)
    runs = layers[0].weight.shape[0]
    tallies: dict[Inference, _Tally] = {
        mode: _NumbersTally(runs, len(part), device, network, unit or Unit(0.0, 1.0))
        if of_numbers
        else _Tally(runs, len(part), device)
        for mode in (modes if masks else OFF_ONLY)
    }
    kept = _Kept(runs, 0 if of_numbers else min(keep, len(part)), layers[-1].weight.shape[1], device)
    for start, stored, labels in part.chunks():
        truth = labels.expand(runs, -1)
        features = (stored.to(dtype) * scale).expand(runs, -1, -1)
        products = network.first(layers, features)

        def passed(noise: Noise | None, features: Tensor = features, products: Tensor = products) -> Tensor:
            if noise is not None and network.disturbs_input:
                products = network.first(layers, network.disturbed(features, noise, strengths))
            outputs = network.after_first(layers, products, noise, strengths)[1]
            return numbers_of(network.output, outputs) if of_numbers else torch.log_softmax(outputs, dim=2)

        def mean(total: Tensor, count: int) -> Tensor:
            return total / count if of_numbers else total - math.log(count)

        if "off" in tallies:
            logs = passed(None)
            tallies["off"].add(start, logs, truth)
            kept.add("off", 0, start, logs)
        total: Tensor | None = None
        for count in range(1, masks + 1):
            logs = passed(Noise(keys[count - 1], fine=network.fine, first=first + start))
            if total is None and "on" in tallies:
                tallies["on"].add(start, logs, truth)
                kept.add("on", 1, start, logs)
            total = logs if total is None else total + logs if of_numbers else _log_of_sum(total, logs)
            if "mc" in tallies:
                kept.add_entropy(start, logs, masks)
                if count in points:
                    kept.add("mc", count, start, mean(total, count))
        if total is not None and "mc" in tallies:
            tallies["mc"].add(start, mean(total, masks), truth)
    said = {
        mode: tally.evaluation()._replace(kept=kept.of(mode), single=kept.single if mode == "mc" else None)
        for mode, tally in tallies.items()
    }
    return {mode: said.get(mode) or said["off"] for mode in modes}


def _log_of_sum(one: Tensor, other: Tensor) -> Tensor:
    """The logarithm of the sum of what two tensors are logarithms of.

    Not `torch.logaddexp`, which computes the last few numbers of a tensor otherwise than the rest: so they depended on
    how many networks a pack has.
    """
    return torch.logsumexp(torch.stack((one, other)), dim=0)


def mc_points(samples: int) -> list[int]:
    """The numbers of masks at which probabilities are kept: about even steps on a logarithmic axis, 1 and all.

    >>> mc_points(20)
    [1, 2, 3, 5, 7, 10, 15, 20]
    """
    steps = (1, 1.5, 2, 3, 5, 7)
    counts = {int(step * 10**power) for power in range(len(str(samples))) for step in steps}
    return sorted({count for count in counts if count < samples} | {samples})


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
        self.scored, self.loss, self.squares = torch.zeros(3, runs, dtype=torch.float64, device=device)
        # One tensor for all: small ones, made between the large ones of each chunk, keep glibc from reusing those.
        self.predictions = torch.empty(runs, examples, dtype=self._kind, device=device)

    _kind = torch.int64

    def add(self, start: int, log_probabilities: Tensor, truth: Tensor) -> None:
        """Count a chunk that begins at example `start`."""
        self._lost(-log_probabilities.gather(2, truth.unsqueeze(2)).squeeze(2))
        predicted = self.predictions[:, start : start + truth.shape[1]]
        torch.argmax(log_probabilities, dim=2, out=predicted)
        self.scored += (predicted == truth).sum(dim=1)

    def _lost(self, losses: Tensor) -> None:
        self.loss += losses.sum(dim=1, dtype=torch.float64)
        self.squares += losses.square().sum(dim=1, dtype=torch.float64)

    def evaluation(self) -> Evaluation:
        """What the chunks come to."""
        count = self.predictions.shape[1]
        loss = self.loss / count
        error = ((self.squares / count - loss**2).clamp(min=0) / max(count - 1, 1)).sqrt()
        return Evaluation(self._score(self.scored / count), loss, error, self.predictions)

    def _score(self, mean: Tensor) -> Tensor:
        return mean


class _NumbersTally(_Tally):
    """The same of numbers, whose loss is that of `network` in `unit`."""

    _kind = torch.float32

    def __init__(self, runs: int, examples: int, device: torch.device, network: Network, unit: Unit) -> None:
        super().__init__(runs, examples, device)
        self._network, self._unit = network, unit

    def add(self, start: int, numbers: Tensor, truth: Tensor) -> None:
        """Count a chunk, of numbers of shape (R, B, 1)."""
        self.predictions[:, start : start + truth.shape[1]] = numbers.squeeze(2)
        self.scored += (numbers.squeeze(2).double() - truth).square().sum(dim=1)
        inside, aims = self._unit.inside(numbers.double()), self._unit.inside(truth).unsqueeze(2)
        outputs = inside.clamp(min=1e-300).log() if self._network.output == "exp" else inside
        self._lost(self._network.losses(outputs, aims))

    def _score(self, mean: Tensor) -> Tensor:
        return mean.sqrt()
