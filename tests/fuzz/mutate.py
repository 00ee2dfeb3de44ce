"""Damage to bytes: what disks, transfers, other programs and enemies make of a file."""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

LONGEST = 65_536
"""No damaged file is longer: what is small must be enough to show a fault."""

_INTEGERS = (
    0,
    1,
    2,
    3,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
)
_WORDS = ("", "x", "é\u0000", "\U0010ffff", "=1+1", "../../x", "nan", "inf", "1e999", "9" * 400, "A" * 3000, "\ud800")


def damaged(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`content` with one to four kinds of damage; `others` are files that it may be spliced with."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(_DAMAGE)(random, content, others or (content,))
    return content[:LONGEST]


def flipped(random: Random, content: bytes) -> bytes:
    """`content` with one to three bits flipped, never back to what it was."""
    there = bytearray(content)
    for bit in random.sample(range(8 * len(content)), min(random.choice((1, 1, 2, 3)), 8 * len(content))):
        there[bit // 8] ^= 1 << bit % 8
    return bytes(there)


def odd_number(random: Random) -> int | float:
    """A number at which code is wrong more often than elsewhere."""
    return random.choice(
        (*_INTEGERS, -1, -(2**63), 10**30, 0.5, -0.0, 1e-320, 1e155, 1e300, float("nan"), float("inf"))
    )


def odd_text(random: Random) -> str:
    """A text at which code is wrong more often than elsewhere."""
    return random.choice(_WORDS)


def odd_value(random: Random, deep: int = 2) -> Any:
    """Any value that JSON can hold."""
    kind = random.randrange(8 if deep else 5)
    if kind < 2:
        return odd_number(random)
    if kind < 4:
        return odd_text(random)
    if kind == 4:
        return random.choice((None, True, False))
    if kind < 7:
        return [odd_value(random, deep - 1) for _ in range(random.randrange(4))]
    return {odd_text(random): odd_value(random, deep - 1) for _ in range(random.randrange(3))}


def edited(random: Random, value: Any) -> Any:
    """A JSON value with one of its parts, at any depth, dropped, doubled or replaced."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key, changed = random.choice(list(value)), dict(value)
        what = random.randrange(6)
        if what == 0:
            del changed[key]
        elif what == 1:
            changed[odd_text(random)] = changed[key]
        else:
            changed[key] = edited(random, changed[key])
        return changed
    if isinstance(value, list) and value and random.random() < 0.8:
        place, copied = random.randrange(len(value)), list(value)
        what = random.randrange(4)
        if what == 0:
            del copied[place]
        elif what == 1:
            copied.insert(place, copied[place])
        else:
            copied[place] = edited(random, copied[place])
        return copied
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.4:
        return value + random.choice((1, -1, 0.5, 1e9))
    return odd_value(random)


def safetensors_edited(random: Random, content: bytes) -> bytes:
    """A safetensors file whose JSON header is edited, and its length right."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(edited(random, json.loads(content[8 : 8 + length]))).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def png_edited(random: Random, content: bytes) -> bytes:
    """A PNG with a chunk's bytes damaged and its checksum right, or with a chunk dropped or doubled."""
    chunks, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += length + 12
    picked = random.randrange(len(chunks))
    name, body = chunks[picked]
    if name == b"IDAT" and random.random() < 0.5:
        body = zlib.compress(damaged(random, zlib.decompress(body)))
    else:
        body = damaged(random, body) if body else bytes([random.randrange(256)])
    chunks[picked : picked + 1] = random.choice(([(name, body)], [(name, body)], [], [(name, body), chunks[picked]]))
    parts = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return content[:8] + b"".join(parts)


def _flip(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    return flipped(random, content) if content else b"\0"


def overwritten(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """`content` with some bytes overwritten, as long as it was."""
    for _ in range(random.choice((1, 1, 3, 9))):
        content = random.choice((_overwrite, _integer))(random, content, others)[: len(content)]
    return content


def _overwrite(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    start = _place(random, content)
    new = random.choice((b"\0", b"\xff", random.randbytes(1))) * random.choice((1, 2, 8, 40))
    return content[:start] + new + content[start + len(new) :]


def _integer(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    width, start = random.choice((1, 2, 4, 8)), _place(random, content)
    new = (random.choice(_INTEGERS) % 256**width).to_bytes(width, random.choice(("little", "big")))
    return content[:start] + new + content[start + width :]


def _cut(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _drop(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    start = _place(random, content)
    return content[:start] + content[start + random.choice((1, 1, 4, 30)) :]


def _double(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    start, length = _place(random, content), random.choice((1, 4, 30, 300))
    return (
        content[: start + length]
        + content[start : start + length] * random.choice((1, 2, 20))
        + content[start + length :]
    )


def _insert(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    start = _place(random, content)
    return content[:start] + random.randbytes(random.choice((1, 2, 8, 64))) + content[start:]


def _splice(random: Random, content: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


_DAMAGE: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    *(_flip, _overwrite, _integer, _cut, _drop, _double, _insert, _splice),
)


def _place(random: Random, content: bytes) -> int:
    """Somewhere in it, in half of all cases near its beginning or its end, where formats say what follows."""
    end = max(len(content), 1)
    return random.choice(
        (
            random.randrange(end),
            random.randrange(min(end, 64)),
            max(end - 1 - random.randrange(64), 0),
            random.randrange(end),
        )
    )
