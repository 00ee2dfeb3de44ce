"""Noise: the random numbers of one pass through networks side by side, for whoever disturbs them.

A number is addressed by (seed, purpose, epoch and step or split and sample, place, user of the place, example, unit):
two users of one place are independent, and no pack, worker or thread count can change one. A unit is dropped where its
16-bit number lies below `rate · 65,536`; the high byte decides alone wherever that is a multiple of 256, so the low
byte is made only for other rates. One number serves every rate: what is dropped at 0.2 is dropped at 0.5, too.

R networks, S steps, B examples, U units or features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from droplab.random import Purpose, apart, fold, key_tensor, normal, random_bytes, stream_key

LEVELS = 2**16


class Noise(NamedTuple):
    """The numbers of one pass.

    Attributes:
        keys: the stream of each network's pass, shape (R,), `int64`.
        user: number of who asks.
        fine: whether a rate lies between 256ths, so that a unit takes two random bytes.
        scaled: whether masks scale up what they keep.
        first: the example that the pass begins with.
        made: what `mask` gives for dropout at each hidden place, where masks of many passes were made in one go.
    """

    keys: Tensor
    user: int = 0
    fine: bool = True
    scaled: bool = True
    first: int = 0
    made: Sequence[Tensor] = ()

    def of(self, user: str) -> Noise:
        """The numbers of one user, by name."""
        return self._replace(user=_number_of(user))

    def mask(self, place: int, rate: Tensor, examples: int, units: int, dtype: torch.dtype) -> Tensor:
        """What units are multiplied by: 0 where one is dropped, else 1, or 1 / (1 − rate) where masks are scaled.

        Arguments and shape as `kept`, and `dtype`.
        """
        if place < len(self.made) and self.user == _number_of("dropout"):
            return self.made[place]
        level = level_of(rate)
        kept = self._above(place, level, examples, units).to(dtype)
        return kept * (LEVELS / (LEVELS - level.to(dtype))) if self.scaled else kept

    def kept(self, place: int, rate: Tensor, examples: int, units: int) -> Tensor:
        """1 where a unit is kept and 0 where it is dropped, shape (R, B, U), `float32`.

        Args:
            place: of a hidden layer, or `regularizers.INPUT`.
            rate: share dropped, in [0, 1), honoured to 1/65,536; shape (R, 1, 1), or any that broadcasts.
            examples: B.
            units: U.
        """
        return self._above(place, level_of(rate), examples, units)

    def normal(self, place: int, examples: int, units: int) -> Tensor:
        """Standard normal numbers, shape (R, B, U), `float32`."""
        return normal(self._keys(place, 2), examples * units, self.first * units).view(-1, examples, units)

    def _above(self, place: int, level: Tensor, examples: int, units: int) -> Tensor:
        number = random_bytes(self._keys(place, 0), examples, units, self.first).float()
        if self.fine:
            number = number * 256 + random_bytes(self._keys(place, 1), examples, units, self.first)
        # Compared as floats: compiled code handles truth values of bytes one by one, twenty times slower.
        return (number - ((level if self.fine else level / 256) - 1)).clamp(0, 1)

    def _keys(self, place: int, kind: int) -> Tensor:
        return apart(self.keys, place << 34 | self.user << 2 | kind)


def level_of(rate: Tensor) -> Tensor:
    """Below which of 65,536 numbers a unit is dropped at that rate."""
    return (rate * LEVELS).round().clamp(max=LEVELS - 1)


def is_fine(rates: Sequence[float]) -> bool:
    """Whether one of these rates lies between 256ths."""
    return any(min(round(rate * LEVELS), LEVELS - 1) % 256 for rate in rates)


def training_keys(seeds: Sequence[int], epoch: int, steps: int, device: torch.device) -> Tensor:
    """Keys of the passes of an epoch, shape (S, R)."""
    keys = key_tensor([stream_key(seed, Purpose.NOISE, epoch) for seed in seeds], device)
    return fold(keys, torch.arange(steps, device=device)[:, None])


def inference_keys(seeds: Sequence[int], split: int, sample: int, device: torch.device) -> Tensor:
    """Keys of the `sample`-th pass over a split (0 train, 1 valid, 2 test), shape (R,)."""
    return key_tensor([stream_key(seed, Purpose.INFERENCE_NOISE, split, sample) for seed in seeds], device)


@cache
def _number_of(user: str) -> int:
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:4], "big") >> 1
