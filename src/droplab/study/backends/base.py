"""The contract of a backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import torch

from droplab.config import RunSettings
from droplab.errors import TrainingError
from droplab.study.packs import Pack, pack_name, with_way
from droplab.study.plan import Run
from droplab.train.checkpoint import Checkpoint, Place
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Trained, Way
from droplab.train.state import Progress

Answer = list[Trained | TrainingError]
"""What became of each run of a pack."""

Result = tuple[Pack, Answer]


class Backend(ABC):
    """Trains packs somewhere.

    A backend yields each pack as soon as it is trained, in any order, exactly once; one that does not fit into memory
    is trained, and yielded, in halves. It gives the same networks bit for bit as any other backend on the same device.
    A run that cannot be trained is yielded as its error; the others go on.
    """

    @abstractmethod
    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
        checkpoints: Callable[[str], Place] | None = None,
    ) -> Generator[Result, None, None]:
        """Train `packs`.

        Args:
            packs: in the order they are best begun.
            examples: on the CPU; a backend brings them to where it trains.
            on_progress: called now and then in the caller's thread with how far a run is.
            notify: called with whatever the user must know, a worker that died for one.
            stopping: asked often; once it is true, or the generator is closed, what is under way is left after its step
                with a last checkpoint, in some seconds at most. The backend yields what is finished and returns.
            checkpoints: where that of a pack is kept, by its name, from which it goes on; without it there are none.

        Raises:
            TrainingError: if the backend itself cannot go on.
            DataError: if a mapped file of the examples is no longer what it was.
        """


class OutOfMemoryError(TrainingError):
    """A pack does not fit into memory."""


def checkpoint_of(pack: Pack, checkpoints: Callable[[str], Place] | None) -> Checkpoint | None:
    """The checkpoint of a pack, where there are any."""
    return None if checkpoints is None else Checkpoint(checkpoints(pack_name(pack)), pack[0].way)


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """A pack of at least two runs as two; nothing is compiled for them, since one may be of another kind than both."""
    middle = len(pack) // 2
    way = replace(pack[0].way, compiled=False)
    first, second = (
        with_way(half, replace(way, stacked=way.stacked and len(half) > 1)) for half in (pack[:middle], pack[middle:])
    )
    return first, second


def cramped(pack: Pack) -> str:
    """What to say of a pack that does not fit into memory."""
    return f"{len(pack)} networks do not fit into memory together; they are trained in smaller packs"


def train(
    settings: Sequence[RunSettings],
    examples: Examples,
    way: Way,
    on_progress: Callable[[Progress], None],
    checkpoint: Checkpoint | None,
    stopping: Callable[[], bool],
) -> Answer:
    """As `train_pack` with the threads of `way`, and with want of memory told apart from a fault of the program.

    Raises:
        OutOfMemoryError: if the pack does not fit.
        StoppedError: once `stopping` is true.
    """
    torch.set_num_threads(way.threads)
    try:
        return train_pack(settings, examples, way, on_progress, checkpoint, stopping)
    except (MemoryError, RuntimeError) as error:
        # On a CPU, and in a compiled step on a GPU, PyTorch has no class of its own for it.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in ("can't allocate memory", "out of memory")):
            raise
    first = settings[0]
    raise OutOfMemoryError(
        f"a network must fit into the memory of the {way.device}; with widths={list(first.widths)} and "
        f"batch_size={first.batch_size} it does not. Use smaller ones."
    )
