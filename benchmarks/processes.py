"""A function called in several fresh processes at the same time, each with one thread, as workers of a study are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
Wait = Callable[[], int]
"""Returns when all processes have called it: the number of this one, from 0."""

PATIENCE = 60
"""Seconds until a process ends that waits for the others: one of them, or the one that began them, may be gone."""


def in_processes(count: int, function: Callable[..., T], *arguments: Any) -> list[T]:
    """What `function(wait, *arguments)` returns in each of `count` new processes.

    Raises:
        RuntimeError: if one of them died.
    """
    context = multiprocessing.get_context("spawn")
    wait = partial(context.Barrier(count).wait, PATIENCE)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_call, args=(sender, function, wait, *arguments), daemon=True) for _, sender in pipes
    ]
    try:
        for process, (_, sender) in zip(processes, pipes, strict=True):
            process.start()
            sender.close()
        return [receiver.recv() for receiver, _ in pipes]
    except EOFError:
        raise RuntimeError(f"one of the {count} processes that measure died; what it said is above") from None
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()
        for receiver, _ in pipes:
            receiver.close()


def _call(sender: Connection, function: Callable[..., T], wait: Wait, *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    sender.send(function(wait, *arguments))
