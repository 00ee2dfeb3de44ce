"""Where the networks of a study are trained: one contract, several places."""

from __future__ import annotations

import os

from droplab.study.backends.base import Backend
from droplab.study.backends.in_process import InProcess
from droplab.study.backends.processes import LocalProcesses
from droplab.train.outcome import Way

__all__ = ["Backend", "InProcess", "LocalProcesses", "choose_backend", "cores"]


def choose_backend(way: Way, workers: int | None, packs: int) -> Backend:
    """The backend for this machine: this process for a GPU, else a single-threaded process a core.

    On a CPU processes of one thread train more than one process with as many threads (docs/decisions/002), and a
    network comes out the same however many there are.

    Args:
        way: how the runs are executed.
        workers: processes asked for; `None` for one a core, never more than packs.
        packs: how many packs there are to train.
    """
    if way.device == "cuda":
        return InProcess()
    return LocalProcesses(max(1, min(workers or cores(), packs)))


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
