"""Addressed random numbers: each is a function of (seed, purpose, address, element) and of nothing else.

A stream is named by a 64-bit key; its numbers are SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators") evaluated at any element, in integer arithmetic that is the same on every device.
Nothing has a state, so a resume needs none, and no pack, worker or thread count can change a number.

Shapes: R runs (one key each), N elements.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

_MASK64 = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


class Purpose(IntEnum):
    """What a stream is for; streams of different purpose are independent."""

    INITIALISE = 1
    ORDER = 2
    MASK = 3
    INFERENCE_MASK = 4


def stream_key(seed: int, purpose: Purpose, *address: int) -> int:
    """The key of one stream, 0 … 2⁶⁴ − 1.

    Args:
        seed: the run's.
        purpose: what the numbers are for.
        address: whatever else tells the stream apart: layer, epoch, step …, each at least 0.
    """
    key = 0
    for part in (seed, int(purpose), *address):
        key = _mix((key + (part + 1) * _GOLDEN) & _MASK64)
    return key


def key_tensor(keys: list[int], device: torch.device | str = "cpu") -> Tensor:
    """Keys of R streams as a tensor of shape (R,), `int64` with the same 64 bits."""
    return torch.tensor([_signed(key) for key in keys], dtype=torch.int64, device=device)


def words(keys: Tensor, count: int, start: int = 0) -> Tensor:
    """Elements `start` … `start + count − 1` of each stream.

    Args:
        keys: shape (R,), `int64`.
        count: numbers a stream.
        start: the first element.

    Returns:
        Shape (R, count), `int64`: 64 random bits each.
    """
    z = torch.arange(start + 1, start + count + 1, dtype=torch.int64, device=keys.device).mul_(_signed(_GOLDEN))
    z = z + keys[:, None]
    z.bitwise_xor_(_shift_right(z, 30)).mul_(_signed(_MIX1))
    z.bitwise_xor_(_shift_right(z, 27)).mul_(_signed(_MIX2))
    return z.bitwise_xor_(_shift_right(z, 31))


def random_bytes(keys: Tensor, count: int, start: int = 0) -> Tensor:
    """Uniform bytes, eight from each word.

    Args:
        keys: shape (R,), `int64`.
        count: bytes a stream.
        start: the first byte, a multiple of 8.

    Returns:
        Shape (R, count), `uint8`, a view of freshly made memory that the caller may overwrite.
    """
    assert start % 8 == 0, "bytes are addressed by whole words"
    return words(keys, -(-count // 8), start // 8).view(torch.uint8)[:, :count]


def uniform(keys: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1), multiples of 2⁻²⁴; shape (R, count), `float32`, the same bits on every device."""
    return _shift_right(words(keys, count), 40).to(torch.float32) * 2.0**-24


def permutation(keys: Tensor, count: int) -> Tensor:
    """A random order of 0 … count − 1 for each stream; shape (R, count), `int64`."""
    return words(keys, count).argsort(dim=1, stable=True)


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MIX1) & _MASK64
    z = ((z ^ (z >> 27)) * _MIX2) & _MASK64
    return z ^ (z >> 31)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _shift_right(z: Tensor, bits: int) -> Tensor:
    return (z >> bits).bitwise_and_(2 ** (64 - bits) - 1)
