"""Who trains what: a plan is claimed with a lease, so that the same study twice at once trains each network once.

A lease is renewed while its owner lives, and void once its owner is seen to be dead or has not renewed it.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from droplab.errors import StoreError

LEASE_SECONDS = 60.0
"""How long a claim holds that is not renewed: its owner's machine is gone, or cannot reach the store."""


@dataclass(frozen=True)
class Owner:
    """A process that trains.

    Attributes:
        host: its machine.
        pid: its number there.
        started: when it was started there, in the machine's ticks; 0 where that cannot be known.
        token: tells several studies of a process apart.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started: int = field(default_factory=lambda: _started(os.getpid()))
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def text(self) -> str:
        """As the store keeps it."""
        return f"{self.host}/{self.pid}/{self.started}/{self.token}"

    @classmethod
    def of(cls, text: str) -> Owner:
        """That of a `text`.

        Raises:
            ValueError: if it is none.
        """
        host, pid, started, token = text.rsplit("/", 3)
        return cls(host, int(pid), int(started), token)

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be: of this machine, and no longer there."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # another user's
            pass
        return _started(self.pid) not in (0, self.started)


@contextmanager
def renewed(renew: Callable[[], None]) -> Iterator[None]:
    """Have leases renewed by a thread as long as the block lasts; a store that is busy then is asked again."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(LEASE_SECONDS / 4):
            with suppress(StoreError):
                renew()

    thread = threading.Thread(target=keep, daemon=True)
    with suppress(RuntimeError):  # where no thread can be started, a lease may end, and a network be trained twice
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()


def _started(pid: int) -> int:
    """When a process was started; −1 for one that is over and not yet buried, 0 where that cannot be known."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if state in (b"Z", b"X") else int(numbers[18])
    except (OSError, ValueError, IndexError):
        return 0
