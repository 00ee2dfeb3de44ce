"""Dropout: which units a run keeps, as masks addressed by (seed, layer, epoch, step, example, unit).

A unit is dropped where its 16-bit random number lies below `rate · 65,536`. The number's high byte decides alone
wherever the threshold is a multiple of 256, so its low byte is made only for other rates. One number serves every
rate: what is dropped at 0.2 is dropped at 0.5 too (paired arms differ by what the rate changes and nothing else).

R runs, L hidden layers, B examples, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.random import Purpose, fold, key_tensor, random_bytes, stream_key

_LEVELS = 2**16


@dataclass(frozen=True)
class Dropout:
    """The dropout of R runs side by side (Srivastava et al. 2014, inverted: kept units are scaled up in training).

    Attributes:
        seeds: of each run.
        thresholds: the drop rate of each run in units of 1/65,536; this is the rate that is really used.
    """

    seeds: tuple[int, ...]
    thresholds: tuple[int, ...]

    @classmethod
    def of(cls, seeds: Sequence[int], rates: Sequence[float]) -> Dropout:
        """Dropout at `rates`, each in [0, 1) and honoured to 1/65,536."""
        return cls(tuple(seeds), tuple(min(round(rate * _LEVELS), _LEVELS - 1) for rate in rates))

    @property
    def mask_bytes(self) -> int:
        """Random bytes that a unit takes: 0 where no run drops anything, 1, or 2 for rates between 256ths."""
        if not any(self.thresholds):
            return 0
        return 2 if any(threshold % 256 for threshold in self.thresholds) else 1

    def training(self, hidden_layers: int, epoch: int, device: torch.device) -> Dropping | None:
        """What is dropped in an epoch, once `Dropping.at` has said in which step; `None` where nothing is.

        Args:
            hidden_layers: how many there are.
            epoch: from 0.
            device: where masks are made; they are the same everywhere.
        """
        return self._dropping(Purpose.MASK, hidden_layers, (epoch,), device)

    def inference(self, hidden_layers: int, split: int, sample: int, device: torch.device) -> Dropping | None:
        """What the `sample`-th mask drops of a split; `None` where nothing is.

        Args:
            hidden_layers: how many there are.
            split: 0 train, 1 valid, 2 test.
            sample: which of the masks that are averaged over.
            device: where masks are made; they are the same everywhere.
        """
        return self._dropping(Purpose.INFERENCE_MASK, hidden_layers, (split, sample), device)

    def _dropping(
        self, purpose: Purpose, hidden_layers: int, address: tuple[int, ...], device: torch.device
    ) -> Dropping | None:
        if not self.mask_bytes or not hidden_layers:
            return None
        keys = [stream_key(seed, purpose, layer, *address) for layer in range(hidden_layers) for seed in self.seeds]
        return Dropping(
            key_tensor(keys, device).view(hidden_layers, -1),
            torch.tensor(self.thresholds, dtype=torch.float32, device=device).view(-1, 1, 1),
            self.mask_bytes,
        )


class Dropping(NamedTuple):
    """The masks of one pass through a network, made where they are used and never kept.

    Attributes:
        keys: the stream of each hidden layer and run, shape (L, R), `int64`.
        thresholds: the rate of each run in units of 1/65,536, shape (R, 1, 1), `float32`.
        mask_bytes: random bytes a unit, 1 or 2; 1 is enough where every threshold is a multiple of 256.
        first: the example that the pass begins with.
    """

    keys: Tensor
    thresholds: Tensor
    mask_bytes: int
    first: int = 0

    def at(self, step: Tensor | int) -> Dropping:
        """The masks of one step of the epoch that the keys stand for."""
        return self._replace(keys=fold(self.keys, step))

    def after_first_layer(self) -> Dropping:
        """The masks of the hidden layers but the first."""
        return self._replace(keys=self.keys[1:])

    def scale(self, dtype: torch.dtype) -> Tensor:
        """1 / (1 − the rate really used), shape (R, 1, 1)."""
        return _LEVELS / (_LEVELS - self.thresholds.to(dtype))

    def drop(self, layer: int, hidden: Tensor) -> Tensor:
        """Set what is dropped to 0, in place; `hidden` has the shape (R, B, H)."""
        return hidden.mul_(self.kept(layer, hidden.shape[1], hidden.shape[2]).to(hidden.dtype))

    def kept(self, layer: int, examples: int, units: int) -> Tensor:
        """What is kept of a hidden layer: 1 where a unit is, 0 where not; shape (R, B, H), any number type."""
        high = random_bytes(fold(self.keys[layer], 0), examples, units, self.first)
        low = random_bytes(fold(self.keys[layer], 1), examples, units, self.first) if self.mask_bytes == 2 else None
        if torch.compiler.is_compiling():
            # Compared as floats: compiled code handles truth values of bytes one by one, twenty times slower.
            number = high.float() if low is None else high.float() * 256 + low.float()
            level = self.thresholds / 256 if low is None else self.thresholds
            return (number - (level - 1)).clamp(0, 1)
        level = (self.thresholds / 256).floor().to(torch.uint8)
        if low is None:
            return high.ge_(level)
        rest = (self.thresholds % 256).to(torch.uint8)
        return (high > level) | ((high == level) & (low >= rest))
