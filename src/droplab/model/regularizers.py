"""Dropout: which units a run keeps, as masks addressed by (seed, layer, epoch, step, example, unit).

A unit is dropped where its 16-bit random number lies below `rate · 65,536`. The number's high byte decides alone
wherever the threshold is a multiple of 1/256, so its low byte is made only for other rates. One number serves every
rate: what is dropped at 0.2 is dropped at 0.5 too (paired arms differ by what the rate changes and nothing else).

R runs, B examples, H units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.random import Purpose, key_tensor, random_bytes, stream_key

_LEVELS = 2**16
_Address = tuple[Purpose, int, int, int]


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
    def acts(self) -> bool:
        """Whether any run drops anything."""
        return any(self.thresholds)

    def scale(self, like: Tensor) -> Tensor:
        """1 / (1 − the rate really used), shape (R, 1, 1), with the dtype and device of `like`."""
        scales = [_LEVELS / (_LEVELS - threshold) for threshold in self.thresholds]
        return torch.tensor(scales, dtype=like.dtype, device=like.device).view(-1, 1, 1)

    def training_mask(self, layer: int, epoch: int, step: int, shape: tuple[int, int], device: torch.device) -> Tensor:
        """What is kept in one step.

        Args:
            layer: hidden layer, from 0.
            epoch: from 0.
            step: step of the epoch, from 0.
            shape: (examples, units).
            device: where the mask is made; it is the same everywhere.

        Returns:
            Shape (R, B, H), `uint8`, 1 where a unit is kept.
        """
        return self._mask((Purpose.MASK, layer, epoch, step), 0, shape, device)

    def inference_mask(
        self, layer: int, split: int, sample: int, start: int, shape: tuple[int, int], device: torch.device
    ) -> Tensor:
        """What is kept of examples `start` … of a split in the `sample`-th mask; as `training_mask`.

        Args:
            layer: hidden layer, from 0.
            split: 0 train, 1 valid, 2 test.
            sample: which of the masks that are averaged over.
            start: the first example, a multiple of 8, so that any chunks of a split get the same masks.
            shape: (examples, units).
            device: where the mask is made.
        """
        return self._mask((Purpose.INFERENCE_MASK, layer, split, sample), start * shape[1], shape, device)

    def _mask(
        self, address: tuple[Purpose, int, int, int], start: int, shape: tuple[int, int], device: torch.device
    ) -> Tensor:
        high = self._bytes(address, 0, start, shape[0] * shape[1], device)
        if all(threshold % 256 == 0 for threshold in self.thresholds):
            kept = high.ge_(self._column([threshold // 256 for threshold in self.thresholds], device))
        else:
            low = self._bytes(address, 1, start, shape[0] * shape[1], device)
            level = self._column([threshold // 256 for threshold in self.thresholds], device)
            rest = self._column([threshold % 256 for threshold in self.thresholds], device)
            kept = ((high > level) | ((high == level) & (low >= rest))).view(torch.uint8)
        return kept.view(len(self.seeds), *shape)

    def _bytes(self, address: _Address, part: int, start: int, count: int, device: torch.device) -> Tensor:
        keys = key_tensor([stream_key(seed, *address, part) for seed in self.seeds], device)
        return random_bytes(keys, count, start)

    def _column(self, values: list[int], device: torch.device) -> Tensor:
        return torch.tensor(values, dtype=torch.uint8, device=device).view(-1, 1)
