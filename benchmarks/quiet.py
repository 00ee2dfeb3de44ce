"""Whether other programs use the cores meanwhile: they slow programs of several threads down the most."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LOUD = 0.05
"""Share of the cores in other hands from which on a measurement is not to be trusted."""

_NOT_BUSY = (3, 4)  # columns of /proc/stat: idle, iowait (man 5 proc)


def watch_others() -> Callable[[], float | None]:
    """Begin to look; the function returned says what share of the cores others have taken since, 0 to 1.

    Others are all processes but this one and those that it has started and seen end. `None` where the system does not
    tell.
    """
    began, wall, own = _busy_seconds(), time.perf_counter(), sum(os.times()[:4])

    def share() -> float | None:
        now = _busy_seconds()
        if began is None or now is None:
            return None
        cores, before = now[0], began[1]
        taken = now[1] - before - (sum(os.times()[:4]) - own)
        return min(1.0, max(0.0, taken / (cores * (time.perf_counter() - wall))))

    return share


def _busy_seconds() -> tuple[int, float] | None:
    """The cores this process may use, and how many seconds they have been busy, with whatever, since the start."""
    try:
        lines = [line.split() for line in Path("/proc/stat").read_text("utf-8").splitlines()]
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        tick = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return None
    busy = [
        sum(int(ticks) for column, ticks in enumerate(line[1:9]) if column not in _NOT_BUSY) / tick
        for line in lines
        if line[0] in mine
    ]
    return (len(busy), sum(busy)) if busy else None
