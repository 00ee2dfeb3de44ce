"""What is trained in a comparison: presets of networks, data and recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from droplab.config import RunSettings, halving_widths
from droplab.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Group:
    """Networks that are timed together: their seconds are added up.

    Attributes:
        name: what they share: `dropout 0.5`.
        networks: each once; their seeds and epochs are set when they are trained.
    """

    name: str
    networks: tuple[RunSettings, ...]


@dataclass(frozen=True)
class Case:
    """A preset of `droplab bench`.

    Attributes:
        name: as the command line has it.
        title: what it is, in words.
        data: a name from the catalog, or a file.
        groups: of one batch size and one split.
        epochs: that droplab trains each network in a turn.
        copies: how often each network of a group counts, with another seed each time.
        rival_epochs: that the other programs train each network in a turn; an epoch costs them the same each time.
        rival_copies: of how many copies they are timed, the rest being reckoned: they train one after another.
    """

    name: str
    title: str
    data: str
    groups: tuple[Group, ...]
    epochs: int
    copies: int = 1
    rival_epochs: int = 1
    rival_copies: int = 1

    @property
    def batch_size(self) -> int:
        """Examples a step."""
        return self.groups[0].networks[0].batch_size


def network(widths: tuple[int, ...], dropout: float, **values: Any) -> RunSettings:
    """One network of a case with the recipe of the post (plain SGD without momentum), single settings replaced."""
    return RunSettings(widths=widths, dropout=dropout, **values)


_DEPTHS = tuple(halving_widths(depth, 512) for depth in (1, 2, 3, 4, 5))

CASES = (
    Case(
        name="post",
        title="the post's networks of 1 to 5 layers, 784-10 to 784-512-256-128-64-10",
        data="mnist",
        groups=(
            Group("dropout 0.5", tuple(network(widths, 0.5) for widths in _DEPTHS)),
            Group("no dropout", tuple(network(widths, 0.0) for widths in _DEPTHS)),
        ),
        epochs=4,
    ),
    Case(
        name="five-layer",
        title="784-512-256-128-64-10",
        data="mnist",
        groups=(Group("dropout 0.5", (network(_DEPTHS[-1], 0.5),)),),
        epochs=10,
    ),
    Case(
        name="digits-100",
        title="100 small networks of one shape, 64-128-64-10",
        data="digits",
        groups=(Group("dropout 0.5", (network((128, 64), 0.5, batch_size=64),)),),
        epochs=20,
        copies=100,
        rival_epochs=20,
        rival_copies=3,
    ),
    Case(
        name="wide",
        title="784-2048-2048-2048-10",
        data="mnist",
        groups=(Group("dropout 0.5", (network((2048, 2048, 2048), 0.5),)),),
        epochs=1,
    ),
)
"""The presets, the default first."""


def find_case(name: str) -> Case:
    """The preset of that name.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    names = [case.name for case in CASES]
    if name not in names:
        hint = did_you_mean(name, names)
        raise ConfigError(f"a preset of bench is one of {', '.join(names)}; found {name!r}.{hint}")
    return CASES[names.index(name)]
