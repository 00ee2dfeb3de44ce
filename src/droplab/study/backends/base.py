"""The contract of a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence

import torch

from droplab.config import RunSettings
from droplab.errors import TrainingError
from droplab.study.plan import Run
from droplab.train.engine import Progress, train_pack
from droplab.train.examples import Examples
from droplab.train.outcome import Trained, Way

Pack = tuple[Run, ...]
"""Runs that one worker trains together: one way, one shape, one number of epochs and batch size."""

Result = tuple[Run, Trained | TrainingError]


class Backend(ABC):
    """Trains packs somewhere.

    A backend yields each run as soon as it is trained, in any order, exactly once. It gives the same network bit for
    bit as any other backend on the same device. A run that cannot be trained is yielded as its error; the others go on.
    """

    @abstractmethod
    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> Generator[Result, None, None]:
        """Train `packs`.

        Args:
            packs: in the order they are best begun.
            examples: on the CPU; a backend brings them to where it trains.
            on_progress: called now and then in the caller's thread with how far a run is.
            notify: called with whatever the user must know, a worker that died for one.
            stopping: asked often; once it is true the backend yields what is finished, drops the rest and returns.
                Closing the generator drops everything at once.

        Raises:
            TrainingError: if the backend itself cannot go on.
            DataError: if a mapped file of the examples is no longer what it was.
        """


class OutOfMemoryError(TrainingError):
    """A pack does not fit into memory."""


def train(
    settings: Sequence[RunSettings], examples: Examples, way: Way, on_progress: Callable[[Progress], None]
) -> list[Trained | TrainingError]:
    """As `train_pack`, with want of memory told apart from a fault of the program.

    Raises:
        OutOfMemoryError: if the pack does not fit.
    """
    try:
        return train_pack(settings, examples, way, on_progress)
    except (MemoryError, RuntimeError) as error:
        # On a CPU, PyTorch has no class of its own for it.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "can't allocate memory" not in str(error):
            raise
    first = settings[0]
    raise OutOfMemoryError(
        f"a network must fit into the memory of the {way.device}; with widths={list(first.widths)} and "
        f"batch_size={first.batch_size} it does not. Use smaller ones."
    )
