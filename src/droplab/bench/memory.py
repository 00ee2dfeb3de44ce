"""How much memory a worker takes, and how much of it is the framework's own. Known on Linux; `None` elsewhere."""

from __future__ import annotations

import multiprocessing
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from droplab.bench.together import Wait, in_processes


class Memory(NamedTuple):
    """Of one process, in bytes.

    Attributes:
        peak: the most that was ever resident, everything counted: code, heap, and `shared`.
        shared: what is resident now of memory shared between processes: the data table, which all workers share.
    """

    peak: int
    shared: int


def memory_of(process: int | str = "self") -> Memory | None:
    """What a living process takes, from `/proc` (man 5 proc): `getrusage` would count its parent's memory, too.

    A child's `ru_maxrss` begins at what the parent held when it was started.
    """
    try:
        text = Path(f"/proc/{process}/status").read_text("utf-8")
    except OSError:
        return None
    found = dict(re.findall(r"^(VmHWM|RssShmem):\s*(\d+) kB$", text, re.MULTILINE))
    return Memory(int(found["VmHWM"]) << 10, int(found["RssShmem"]) << 10) if len(found) == 2 else None


def largest_child() -> Memory | None:
    """Of this process's workers the one with the highest peak."""
    known = [memory for child in multiprocessing.active_children() if (memory := memory_of(child.pid or 0))]
    return max(known, default=None)


@cache
def framework_memory(precision: str) -> Memory | None:
    """What a fresh process takes that has imported PyTorch and computed one product."""
    return in_processes(1, _framework, precision)[0]


def _framework(_: Wait, precision: str) -> Memory | None:
    import torch

    operand = torch.ones(64, 64, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    torch.mm(operand, operand)
    return memory_of()
