"""Where networks are trained: what there is of cores and memory, and the backend that trains there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from droplab.study.backends.base import Backend
from droplab.study.backends.in_process import InProcess
from droplab.study.backends.processes import Crew, LocalProcesses
from droplab.study.limits import cores, room_for_workers
from droplab.study.packs import free_memory
from droplab.train.device import resolve_way
from droplab.train.examples import Examples
from droplab.train.outcome import Way


class Site(ABC):
    """A place of training, as a context.

    Attributes:
        most_seconds: of work, about, that a pack is to have at most; a single run may have more.
        is_here: whether it is this machine: only here are idle cores known, and little work done in this process.
    """

    most_seconds: float = math.inf
    is_here: bool = True

    @property
    def notices(self) -> list[str]:
        """What must be known of it."""
        return []

    @abstractmethod
    def resolve(self, device: str, precision: str) -> Way:
        """Decide how runs are executed: `train.device.resolve_way` for what is there.

        Raises:
            DeviceError: if what is asked for is not there.
        """

    @abstractmethod
    def workers(self, way: Way, asked: int | None, runs: int) -> int:
        """How many packs are trained at once.

        Args:
            way: how the runs are executed.
            asked: for how many; `None` for as many as there is room for.
            runs: how many there are; never more workers than these.
        """

    @abstractmethod
    def memory(self, device: str, examples: Examples, workers: int) -> float:
        """Bytes of memory that each of so many workers may take."""

    @abstractmethod
    def compiles(self) -> bool:
        """Whether a program that is compiled on this machine runs there."""

    @abstractmethod
    def backend(self, way: Way, workers: int) -> Backend:
        """What trains there, by so many workers; 0 for none beside this process, where that is here."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing running."""


class Here(Site):
    """This machine: this process for a GPU and for little work, else a process a core.

    On a CPU processes of one thread train more than one process with as many threads (docs/decisions/002), and a
    network whose products are its own comes out the same however many processes there are. They stay from one training
    to the next.
    """

    def __init__(self) -> None:
        self.crew = Crew()

    def resolve(self, device: str, precision: str) -> Way:
        """As the contract says."""
        return resolve_way(device, precision)

    def workers(self, way: Way, asked: int | None, runs: int) -> int:
        """One for a GPU; else one a core, as far as the memory has room for them."""
        return 1 if way.device == "cuda" else max(1, min(asked or min(cores(), room_for_workers()), runs))

    def memory(self, device: str, examples: Examples, workers: int) -> float:
        """What is free, less what the data and the workers will take."""
        return free_memory(device, examples, workers)

    def compiles(self) -> bool:
        """It does."""
        return True

    def backend(self, way: Way, workers: int) -> Backend:
        """As the contract says."""
        return InProcess() if way.device == "cuda" or not workers else LocalProcesses(workers, self.crew)

    def __exit__(self, *_: object) -> None:
        self.crew.__exit__()
