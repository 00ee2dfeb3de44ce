"""What this process may take of its machine: cores and memory, as its control groups and its own limits say.

A control group (cgroup) is what containers, clusters and service managers hold a process by. Its limits hold together
with those of all groups that it lies in; version 1 has a tree of groups for each kind of limit, version 2 one for all.
"""

from __future__ import annotations

import math
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

WORKER_MEMORY = 250e6
"""About what a worker process takes before it trains anything, in bytes."""

_SYSTEM = Path("/")
_WATCHED_SECONDS = 0.1
_NOT_BUSY = (3, 4)  # columns of /proc/stat: idle, iowait (man 5 proc)


def cores(root: Path = _SYSTEM) -> int:
    """How many processor cores this process may use: at least one, and whole ones only of what its groups allow.

    Args:
        root: of the file system, for tests; likewise below.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([there, *_quotas(root)])))


def idle_cores() -> int:
    """How many of `cores` no other program uses just now: at least one; it looks for a tenth of a second."""
    share = watch_others()
    time.sleep(_WATCHED_SECONDS)
    return max(1, int(cores() * (1 - (share() or 0.0)) + 0.25))  # a quarter of one goes to whatever runs now and then


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


def free_memory(root: Path = _SYSTEM) -> float:
    """Bytes of memory that this process and its workers may take together: what is free of the machine and its groups'.

    What the system keeps of files and can drop at once counts as free.
    """
    try:
        lines = (root / "proc/meminfo").read_text("utf-8").splitlines()
        free = 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0.0, min([free, *_spaces(root)]))


def free_addresses() -> float:
    """Bytes that a process such as this one may still take of its own (`ulimit -v`); infinite without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    try:
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        pages = 0
    return max(0.0, float(limit - pages * os.sysconf("SC_PAGE_SIZE")))


def room_for_workers(root: Path = _SYSTEM) -> int:
    """How many worker processes the free memory has room for."""
    return int(free_memory(root) / WORKER_MEMORY)


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


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each group allows: processor time in each period of time."""
    for group, version in _groups(root, "cpu"):
        names = ("cpu.max", "cpu.max") if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = _number(group / names[0]), _number(group / names[1], version - 1)
        if period > 0:
            yield quota / period if period < math.inf else math.inf


def _spaces(root: Path) -> Iterator[float]:
    """Bytes that each group has left."""
    for group, version in _groups(root, "memory"):
        if version == 2:
            most, used, kept = min(map(_number, (group / "memory.max", group / "memory.high"))), "memory.current", ""
        else:
            most, used, kept = _number(group / "memory.limit_in_bytes"), "memory.usage_in_bytes", "total_"
        if most < math.inf:
            taken = _number(group / used)
            droppable = _number(group / "memory.stat", after=f"{kept}inactive_file")
            yield most - (taken if taken < math.inf else 0.0) + (droppable if droppable < math.inf else 0.0)


def _groups(root: Path, kind: str) -> Iterator[tuple[Path, int]]:
    """The folders of the groups that this process lies in, from its own outwards, and the version of their tree."""
    own = dict[str, str]()
    for _, kinds, path in (line.split(":", 2) for line in _lines(root / "proc/self/cgroup") if line.count(":") > 1):
        own |= dict.fromkeys(kinds.split(","), path)
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, system = (part.split() for part in line.partition(" - "))
        if len(mount) < 5 or len(system) < 3 or system[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if system[0] == "cgroup2" else 1
        name = "" if version == 2 else kind
        if name not in own or (name and name not in system[2].split(",")):
            continue
        top = root / _plain(mount[4]).lstrip("/")
        group = Path(own[name])
        inside = group.relative_to(_plain(mount[3])) if group.is_relative_to(_plain(mount[3])) else Path()
        inside = Path() if ".." in inside.parts else inside  # a group outside of what can be seen from here
        yield from (
            (folder, version) for folder in (top / inside, *(top / inside).parents) if folder.is_relative_to(top)
        )


def _number(path: Path, place: int = 0, after: str = "") -> float:
    """A number of a file: the word at a place, or after a name; infinite where there is none ("max", -1)."""
    try:
        words = path.read_text("utf-8").split()
        value = float(words[words.index(after) + 1 if after else place])
    except (OSError, ValueError, IndexError):
        return math.inf
    return value if value >= 0 else math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _plain(path: str) -> str:
    """A path of mountinfo, in which blanks are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)
