"""Where the networks of a study are trained: one contract, several places."""

from __future__ import annotations

from droplab.study.backends.base import Backend
from droplab.study.backends.in_process import InProcess
from droplab.study.backends.processes import Crew, LocalProcesses
from droplab.study.limits import cores, room_for_workers
from droplab.train.outcome import Way

__all__ = ["Backend", "Crew", "InProcess", "LocalProcesses", "choose_backend", "cores", "worker_count"]


def choose_backend(way: Way, workers: int, crew: Crew | None = None) -> Backend:
    """The backend for this machine: this process for a GPU and for little work, else a process a core.

    On a CPU processes of one thread train more than one process with as many threads (docs/decisions/002), and a
    network whose products are its own comes out the same however many processes there are.

    Args:
        way: how the runs are executed.
        workers: processes on a CPU; 0 for this one alone.
        crew: where these come from and stay, if they do.
    """
    return InProcess() if way.device == "cuda" or not workers else LocalProcesses(workers, crew)


def worker_count(way: Way, workers: int | None, runs: int) -> int:
    """How many packs are trained at once.

    Args:
        way: how the runs are executed.
        workers: processes asked for; `None` for one a core, as far as the memory has room for them.
        runs: how many there are; never more workers than these.
    """
    return 1 if way.device == "cuda" else max(1, min(workers or min(cores(), room_for_workers()), runs))
