"""Checkpoints inside a run: written every so many seconds, whole or not at all; a killed study goes on from there.

A checkpoint is in safetensors form: `float32` weights and velocities, the position, the curves so far; and a hash of
all that, since a damaged one that can be read would make another network. Random numbers are addressed, so it holds no
generator. It takes 4 bytes a weight and run, 8 with momentum, 12 with Adam, and 4 more with early stopping.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from torch import Tensor

from droplab.errors import DroplabError
from droplab.train.outcome import CheckpointCost, Way
from droplab.train.state import State

EVERY_SECONDS = 10.0
"""Time from one checkpoint to the next, and to the first: a shorter training writes none."""

MOST_SHARE = 0.02
"""Writing takes at most about this share of the time: large networks are written less often."""


class Place(Protocol):
    """Where one checkpoint is kept. It can be pickled, so that a process may train what another has planned."""

    @property
    def name(self) -> str:
        """What the checkpoint is called: it stands for the runs of the pack."""

    def read(self) -> bytes | None:
        """What was written last; `None` if nothing was, or it cannot be read."""

    def write(self, content: bytes) -> None:
        """Keep that instead, whole or not at all.

        Raises:
            DroplabError: if it cannot be kept; what was there stays.
        """


@dataclass
class Checkpoint:
    """The checkpoint of a pack.

    Attributes:
        place: where it is kept.
        way: how the pack is executed; on a CPU it goes on only in the way that it was begun in.
        every: seconds between two.
        cost: what has been written so far.
    """

    place: Place
    way: Way
    every: float = field(default_factory=lambda: EVERY_SECONDS)
    cost: CheckpointCost = field(default_factory=CheckpointCost)
    _last: float | None = None

    def offer(self, states: Sequence[State]) -> None:
        """Write a checkpoint if one is due. A full disk costs it, not the training; `cost.fault` says so."""
        now, cost = time.perf_counter(), self.cost
        if self._last is None:
            self._last = now
        if now - self._last < max(self.every, cost.seconds_each / MOST_SHARE):
            return
        fault = None
        try:
            size = self.write(states)
        except (DroplabError, OSError) as error:
            size, fault = 0, str(error)
        self._last = time.perf_counter()
        spent = cost.seconds + self._last - now
        self.cost = CheckpointCost(cost.count + (fault is None), max(cost.bytes, size), spent, fault or cost.fault)

    def write(self, states: Sequence[State]) -> int:
        """Write a checkpoint now; return its bytes.

        Raises:
            DroplabError: if it cannot be written; the one before stays.
        """
        from safetensors.torch import save

        named = {f"{index}.{name}": t for index, state in enumerate(states) for name, t in state.tensors().items()}
        about = {"pack": self.place.name, "way": json.dumps(asdict(self.way))}
        content = save(named, about | {"digest": _digest_of(named, about)})
        self.place.write(content)
        return len(content)

    def read(self, states: Sequence[State]) -> bool:
        """Bring `states` to where the checkpoint left them; `False` if there is none, or none that can be used.

        A checkpoint of another device is used, as the user has chosen to change it; one of the same device only if the
        step was compiled, stacked and threaded alike, so that no network is made in two ways.
        """
        content = self.place.read()
        found = None if content is None else _read(content, self.place.name)
        if found is None or not self._same_way(found[1].get("way", "")):
            return False
        named = found[0]
        parts = [
            {name.removeprefix(f"{index}."): t for name, t in named.items() if name.startswith(f"{index}.")}
            for index in range(len(states))
        ]
        try:
            for state, part in zip(states, parts, strict=True):
                state.restore(part)
        except ValueError:
            return False
        return True

    def _same_way(self, text: str) -> bool:
        try:
            before = json.loads(text)
        except ValueError:
            return False
        if not isinstance(before, dict):
            return False
        return before == asdict(self.way) or before.get("device") != self.way.device


def is_checkpoint(content: bytes, name: str) -> bool:
    """Whether a place of that name holds a checkpoint as it was written."""
    return _read(content, name) is not None


def _read(content: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """The tensors of a checkpoint and what is said of them; `None` if it is damaged, or another's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        named, about = load(content), _about(content)
    except (SafetensorError, UnicodeError, ValueError):
        return None
    if about.get("pack") != name or about.pop("digest", None) != _digest_of(named, about):
        return None
    return named, about


def _about(content: bytes) -> dict[str, str]:
    """What a file in safetensors form says beside its tensors: its header is JSON behind eight bytes of its length."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header.get("__metadata__", {}))


def _digest_of(named: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """SHA-256 of everything in a checkpoint, in hexadecimal."""
    found = hashlib.sha256(json.dumps(sorted(about.items())).encode())
    for name, tensor in sorted(named.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().data)
    return found.hexdigest()
