"""Noise: addressed random numbers of one pass through networks side by side, for whatever disturbs them.

R networks, B examples, U units or features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from droplab.model.regularizers import Dropout, Dropping
from droplab.random import Purpose, key_tensor, normal, stream_key


def share_kept(rate: float) -> float:
    """The share of the units that a mask of that rate keeps, the rate honoured to 1/65,536."""
    return 1 - round(rate * 2**16) / 2**16


@dataclass(frozen=True)
class Noise:
    """The numbers of one pass; the same address always has the same ones, in any pack and after any resume.

    Attributes:
        seeds: of each network.
        address: in training (epoch, step); at inference (split, sample).
        training: which of the two.
        device: where they are made.
        first: the example that the pass begins with.
        scaled: whether masks scale up what they keep.
    """

    seeds: tuple[int, ...]
    address: tuple[int, int]
    training: bool
    device: torch.device
    first: int = 0
    scaled: bool = True

    def each(self) -> list[Noise]:
        """The numbers of each network by itself."""
        return [replace(self, seeds=(seed,)) for seed in self.seeds]

    def mask(self, place: int, rate: float, examples: int, units: int, dtype: torch.dtype) -> Tensor:
        """What units are multiplied by: 0 where one is dropped, else 1, or 1 / (1 − rate) where masks are scaled.

        Arguments and shape as `kept`, and `dtype`.
        """
        kept = self.kept(place, rate, examples, units).to(dtype)
        return kept / share_kept(rate) if self.scaled else kept

    def kept(self, place: int, rate: float, examples: int, units: int) -> Tensor:
        """1 where a unit is kept and 0 where it is dropped, shape (R, B, U), `float32`; the masks of `Dropout`.

        Args:
            place: of a hidden layer, or `families.INPUT`.
            rate: share dropped, above 0, honoured to 1/65,536.
            examples: B.
            units: U.
        """
        thresholds = Dropout.of(self.seeds, [rate] * len(self.seeds))
        purpose = Purpose.MASK if self.training else Purpose.INFERENCE_MASK
        level = torch.tensor(thresholds.thresholds, dtype=torch.float32, device=self.device).view(-1, 1, 1)
        dropping = Dropping(self._keys(purpose, place)[None], level, thresholds.mask_bytes, self.first)
        return dropping.kept(0, examples, units).to(torch.float32)

    def normal(self, place: int, examples: int, units: int) -> Tensor:
        """Standard normal numbers, shape (R, B, U), `float32`."""
        purpose = Purpose.NOISE if self.training else Purpose.INFERENCE_NOISE
        return normal(self._keys(purpose, place), examples * units, self.first * units).view(-1, examples, units)

    def _keys(self, purpose: Purpose, place: int) -> Tensor:
        return key_tensor([stream_key(seed, purpose, place, *self.address) for seed in self.seeds], self.device)
