"""What is trained: networks, their data and the recipes they are trained by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from droplab.config import RunSettings, halving_widths

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam": {"optimizer": "adam", "learning_rate": 0.001},
    "adamw+batch_norm": {
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "regularizers": {"weight_decay": 0.01, "batch_norm": 1},
    },
    "max_norm+input_dropout": {"momentum": 0.9, "regularizers": {"max_norm": 3, "input_dropout": 0.2}},
    "papers": {
        "optimizer": "nesterov",
        "momentum": 0.95,
        "learning_rate": 0.1,
        "regularizers": {"max_norm": 2, "input_dropout": 0.2},
    },
}
"""What differs from the post's plain SGD at 0.05; `papers` is after table 2 of Srivastava et al. 2014."""

FOUR = ("sgd", "adam", "adamw+batch_norm", "max_norm+input_dropout")


RIVALS = ("plain", "tensors", "stacked", "jax")
"""The other programs, by their names on the command line."""


@dataclass(frozen=True)
class Case:
    """Networks that are timed together: their seconds are added up.

    Attributes:
        data: a name from the catalog, or a file.
        widths: hidden widths of each network.
        epochs: that droplab trains each network in a turn.
        rival_epochs: that the other programs do; an epoch costs them the same each time.
        batch_size: examples a step.
        dropouts: rates, each a comparison of its own.
        recipes: each a comparison of its own, unless others are asked for.
        copies: how many there are of each network, with other seeds.
        rival_copies: how many of these the other programs are timed with.
        pack: how many networks droplab trains together on a core; a GPU takes all.
    """

    data: str
    widths: tuple[tuple[int, ...], ...]
    epochs: int
    rival_epochs: int = 1
    batch_size: int = 1024
    dropouts: tuple[float, ...] = (0.5,)
    recipes: tuple[str, ...] = FOUR
    copies: int = 1
    rival_copies: int = 1
    pack: int = 1

    def networks(self, recipe: str, dropout: float, copies: int, epochs: int) -> list[RunSettings]:
        """Every network with the seeds 0 to `copies` − 1."""
        common = {"batch_size": self.batch_size, "mc_samples": 1, "dropout": dropout, "epochs": epochs}
        return [
            RunSettings.parse(common | RECIPES[recipe] | {"widths": widths, "seed": seed})
            for widths in self.widths
            for seed in range(copies)
        ]


_DEPTHS = tuple(halving_widths(depth, 512) for depth in (1, 2, 3, 4, 5))

CASES = {
    "five-layer": Case("mnist", _DEPTHS[-1:], epochs=5),
    "papers": Case("mnist", ((1024, 1024, 1024),), epochs=1, batch_size=128, recipes=("papers",)),
    "post": Case("mnist", _DEPTHS, epochs=3, dropouts=(0.5, 0.0), recipes=("sgd",)),
    "digits-100": Case(
        "digits", ((128, 64),), epochs=20, rival_epochs=20, batch_size=64, copies=100, rival_copies=3, pack=20
    ),
}
"""By the name that the command line has, the default first."""
