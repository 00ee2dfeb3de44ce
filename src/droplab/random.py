"""Addressed random numbers: each is a function of (seed, purpose, address, element) and of nothing else.

A stream is named by a 64-bit key; its numbers are SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators") evaluated at any element, in integer arithmetic that is the same on every device.
Nothing has a state, so a resume needs none, and no pack, worker or thread count can change a number.

Everything but `stream_key` is made of tensor operations alone, so that it can stand inside a compiled program.

Shapes: R runs (one key each), N elements.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

_MASK64 = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_GOLDEN_INVERSE = pow(_GOLDEN, -1, 2**64)
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB


class Purpose(IntEnum):
    """What a stream is for; streams of different purpose are independent."""

    INITIALISE = 1
    ORDER = 2
    NOISE = 5
    INFERENCE_NOISE = 6


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


def fold(keys: Tensor, part: Tensor | int) -> Tensor:
    """Keys of the streams whose address goes on with `part`: `stream_key` with one part more.

    Args:
        keys: of any shape, `int64`.
        part: the next part of the address, at least 0; a number, or an `int64` tensor that broadcasts.
    """
    if isinstance(part, int):
        return _mix_in_place(keys + _signed((part + 1) * _GOLDEN & _MASK64))
    return _mix_in_place(keys + (part + 1) * _signed(_GOLDEN))


def apart(keys: Tensor, part: int) -> Tensor:
    """As `fold`, in one operation: other parts of the streams' own sequence, too far apart to meet.

    Args:
        keys: that `fold` has made.
        part: a number, at least 0. Those of droplab's own regularizers in 64 layers lie at least 2⁴⁷ elements apart.
    """
    return keys + _signed((part + 1) * _MIX1 & _MASK64)


def words(keys: Tensor, count: int, start: int = 0) -> Tensor:
    """Elements `start` … `start + count − 1` of each stream.

    Args:
        keys: shape (R,), `int64`.
        count: numbers a stream.
        start: the first element.

    Returns:
        Shape (R, count), `int64`: 64 random bits each.
    """
    # key + element · γ, as (key / γ + element) · γ: of a loop's counter times a constant of 64 bits a C++ compiler
    # assumes that it does not overflow, and ends the loop after the first word.
    element = torch.arange(start + 1, start + count + 1, dtype=torch.int64, device=keys.device)
    return _mix_in_place((element + (keys * _signed(_GOLDEN_INVERSE))[:, None]).mul_(_signed(_GOLDEN)))


def random_bytes(keys: Tensor, rows: int, columns: int, first: int = 0) -> Tensor:
    """A table of uniform bytes. Each row begins with a new word, so a byte is addressed by its row and column.

    Args:
        keys: shape (R,), `int64`.
        rows: of the table.
        columns: of the table.
        first: the row that the table begins with.

    Returns:
        Shape (R, rows, columns), `uint8`, a view of freshly made memory that the caller may overwrite.
    """
    across = -(-columns // 8)
    made = words(keys, rows * across, first * across).view(torch.uint8)
    return made.view(keys.shape[0], rows, across * 8)[..., :columns]


def uniform(keys: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1), multiples of 2⁻²⁴; shape (R, count), `float32`, the same bits on every device."""
    return _shift_right(words(keys, count), 40).to(torch.float32) * 2.0**-24


def normal(keys: Tensor, count: int, start: int = 0) -> Tensor:
    """Standard normal numbers, elements `start` … of each stream; shape (R, count), `float32`.

    Box and Muller (1958), one of each word. Logarithm and cosine may differ in the last bit between devices.
    """
    bits = words(keys, count, start)
    radius = ((_shift_right(bits, 40).to(torch.float32) + 1) * 2.0**-24).log_().mul_(-2).sqrt_()
    angle = (_shift_right(bits, 16) & (2**24 - 1)).to(torch.float32) * (2 * math.pi * 2.0**-24)
    return radius * angle.cos_()


def permutation(keys: Tensor, count: int) -> Tensor:
    """A random order of 0 … count − 1 for each stream; shape (R, count), `int64`."""
    return words(keys, count).argsort(dim=1, stable=True)


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * _MIX1) & _MASK64
    z = ((z ^ (z >> 27)) * _MIX2) & _MASK64
    return z ^ (z >> 31)


def _mix_in_place(z: Tensor) -> Tensor:
    z.bitwise_xor_(_shift_right(z, 30)).mul_(_signed(_MIX1))
    z.bitwise_xor_(_shift_right(z, 27)).mul_(_signed(_MIX2))
    return z.bitwise_xor_(_shift_right(z, 31))


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _shift_right(z: Tensor, bits: int) -> Tensor:
    return (z >> bits).bitwise_and_(2 ** (64 - bits) - 1)
