"""A function called in several fresh processes at the same time, each with one thread, as workers of a study are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from droplab.errors import TrainingError

_T = TypeVar("_T")
Wait = Callable[[], object]
"""Returns when all processes have called it."""

PATIENCE = 60
"""Seconds until a process ends that waits for the others: one of them, or the one that began them, may be gone."""


def in_processes(count: int, function: Callable[..., _T], *arguments: Any) -> list[_T]:
    """What `function(wait, *arguments)` returns in each of `count` new processes.

    Raises:
        TrainingError: if one of them died.
    """
    from droplab.study.backends.processes import spawning  # here, so that the new processes start without it

    context = multiprocessing.get_context("spawn")
    wait = partial(context.Barrier(count).wait, PATIENCE)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_call, args=(sender, function, wait, *arguments), daemon=True) for _, sender in pipes
    ]
    try:
        with spawning():
            for process, (_, sender) in zip(processes, pipes, strict=True):
                process.start()
                sender.close()
        return [receiver.recv() for receiver, _ in pipes]
    except EOFError:
        raise TrainingError(
            f"the {count} processes that measure must live until they have; one died, most likely for want of memory. "
            "Try fewer with --workers."
        ) from None
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()
        for receiver, _ in pipes:
            receiver.close()


def _call(sender: Connection, function: Callable[..., _T], wait: Wait, *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    sender.send(function(wait, *arguments))
