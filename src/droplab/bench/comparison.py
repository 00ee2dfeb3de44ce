"""What is compared, and what its turns gave."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from droplab.bench.cases import Group
from droplab.bench.measure import Alone, Whole
from droplab.bench.memory import Memory
from droplab.bench.roofline import Product
from droplab.study.plan import Run
from droplab.train.outcome import Way


class Spread(NamedTuple):
    """A figure over the turns."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a turn."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Turn:
    """What one turn gave. Seconds are for an epoch of all networks of the group.

    Attributes:
        rivals: of each other program, by key.
        training: of droplab training alone.
        study: of droplab's whole study.
        products: that one core, or the GPU, spends in the matrix products alone.
        alone: the training as measured.
        whole: the study as measured.
        timed: seconds of each product.
        elsewhere: share of the cores that other programs than the compared ones took meanwhile, if it is known.
    """

    rivals: dict[str, float]
    training: float
    study: float
    products: float
    alone: Alone
    whole: Whole
    timed: dict[Product, float]
    elsewhere: float | None


@dataclass(frozen=True)
class Comparison:
    """One group on one device in one precision of droplab.

    Attributes:
        group: what is trained.
        way: device and precision of droplab.
        titles: of the other programs, by key.
        runs: that droplab trains in a turn.
        workers: that train them.
        copies: how often each network counts.
        steps: of an epoch, the last, smaller one as its part of one.
        products: of one step of each network.
        framework: memory of a process that only uses the framework.
        turns: what they gave.
    """

    group: Group
    way: Way
    titles: dict[str, str]
    runs: Sequence[Run]
    workers: int
    copies: int
    steps: float
    products: Sequence[Product]
    framework: Memory | None
    turns: list[Turn] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """That droplab trains each network in a turn."""
        return self.runs[0].settings.epochs

    @property
    def seeds(self) -> int:
        """How many of each network droplab trains."""
        return len(self.runs) // len(self.group.networks)

    @property
    def networks(self) -> int:
        """How many networks the seconds are for."""
        return len(self.group.networks) * self.copies

    @property
    def operations(self) -> float:
        """Multiplications and additions in the products of an epoch."""
        return sum(product.operations for product in self.products) * self.steps * self.copies

    def add(
        self,
        rivals: dict[str, float],
        alone: Alone,
        whole: Whole,
        timed: dict[Product, float],
        elsewhere: float | None = None,
    ) -> Turn:
        """Reckon a turn for one epoch of the group, and keep it.

        Args:
            rivals: seconds an epoch of the group, by key.
            alone: droplab's training.
            whole: droplab's study.
            timed: seconds of each product, and maybe of others.
            elsewhere: as `Turn` has it.
        """
        once = self.copies / self.seeds / self.epochs
        products = sum(timed[product] for product in self.products) * self.steps * self.copies
        own = {product: timed[product] for product in self.products}
        turn = Turn(rivals, alone.seconds * once, whole.seconds * once, products, alone, whole, own, elsewhere)
        self.turns.append(turn)
        return turn

    def training_ratio(self, rival: str) -> Spread:
        """How many times as fast as a rival droplab trains, turn by turn."""
        return Spread.of([turn.rivals[rival] / turn.training for turn in self.turns])

    def study_ratio(self, rival: str) -> Spread:
        """How many times as fast as a rival's training droplab's whole study is, turn by turn."""
        return Spread.of([turn.rivals[rival] / turn.study for turn in self.turns])

    def roofline_share(self) -> Spread:
        """Time of the products alone over that of droplab's training."""
        return Spread.of([turn.products / self.workers / turn.training for turn in self.turns])

    def product_rate(self) -> Spread:
        """Operations a second of the products alone, on one core or the GPU."""
        return Spread.of([self.operations / turn.products for turn in self.turns])
