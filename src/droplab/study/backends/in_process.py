"""Training in this process, a pack after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence

import torch

from droplab.errors import TrainingError
from droplab.study.backends.base import Backend, OutOfMemoryError, Result, checkpoint_of, cramped, halves, train
from droplab.study.packs import Pack
from droplab.study.plan import Run
from droplab.train.checkpoint import Place
from droplab.train.examples import Examples
from droplab.train.loop import StoppedError
from droplab.train.state import Progress


class InProcess(Backend):
    """One process that trains everything: the way for a GPU."""

    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
        checkpoints: Callable[[str], Place] | None = None,
    ) -> Generator[Result, None, None]:
        """As the contract says, for at least one pack."""

        def forward_progress(progress: Progress) -> None:
            on_progress(pack[progress.run], progress)

        threads = torch.get_num_threads()
        try:
            left = deque(packs)
            there = None if stopping() else _brought(examples, left[0][0].way.device)
            while left and there is not None and not stopping():
                pack = left.popleft()
                settings, checkpoint = [run.settings for run in pack], checkpoint_of(pack, checkpoints)
                try:
                    answer = train(settings, there, pack[0].way, forward_progress, checkpoint, stopping)
                except OutOfMemoryError as error:
                    if len(pack) == 1:
                        yield pack, [error]
                        continue
                    notify(cramped(pack))
                    left.extendleft(reversed(halves(pack)))
                    continue
                yield pack, answer
        except StoppedError:
            return
        finally:
            torch.set_num_threads(threads)


def _brought(examples: Examples, device: str) -> Examples:
    """The examples on that device.

    Raises:
        TrainingError: if they do not fit into its memory.
    """
    try:
        return examples.to(torch.device(device))
    except torch.OutOfMemoryError:
        size = examples.train.features.numel() * examples.train.features.element_size()
        raise TrainingError(
            f"the data must fit into the memory of the GPU; they take {size / 1e9:.1f} GB. Use --device cpu."
        ) from None
