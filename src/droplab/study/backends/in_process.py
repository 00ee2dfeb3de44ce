"""Training in this process, a pack after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence

import torch

from droplab.study.backends.base import Backend, OutOfMemoryError, Pack, Result, train
from droplab.study.plan import Run
from droplab.train.engine import Progress
from droplab.train.examples import Examples


class _StoppedError(Exception):
    """The user asked to stop; raised between two epochs."""


class InProcess(Backend):
    """One process that trains everything: the way for a GPU."""

    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> Generator[Result, None, None]:
        """As the contract says, for at least one pack; one that does not fit into memory is trained in halves.

        On a CPU there is one thread, so that the bits are those of a worker process.
        """

        def forward_progress(progress: Progress) -> None:
            if stopping():
                raise _StoppedError
            on_progress(pack[progress.run], progress)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            left = deque(packs)
            way = left[0][0].way
            there = examples.to(torch.device(way.device))
            while left:
                pack = left.popleft()
                try:
                    trained = train([run.settings for run in pack], there, way, forward_progress)
                except OutOfMemoryError as error:
                    if len(pack) == 1:
                        yield pack[0], error
                        continue
                    notify(f"{len(pack)} networks do not fit into memory together; they are trained in smaller packs")
                    half = len(pack) // 2
                    left.extendleft((pack[half:], pack[:half]))
                    continue
                yield from zip(pack, trained, strict=True)
        except _StoppedError:
            return
        finally:
            torch.set_num_threads(threads)
