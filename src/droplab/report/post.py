"""The post beside ours: its figures and times, and what a study that repeats it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

import pandas as pd

from droplab.report import tables
from droplab.report.cells import Table
from droplab.stats.compare import points
from droplab.stats.intervals import CONFIDENCE, next_seed_interval
from droplab.study.post import Post, PostNetwork, repeated_post
from droplab.study.verdicts import ArmComparison

if TYPE_CHECKING:
    from droplab.study.plan import Arm, Plan
    from droplab.study.records import RunRecord
    from droplab.train.outcome import Inference, Split

INFERENCES: tuple[Inference, ...] = ("off", "on")
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

MARKS: dict[bool | None, str] = {True: "✓", False: "✗", None: ""}
"""Whether a figure of the post is one that another seed of ours may give, as tables show it."""


@dataclass(frozen=True)
class PostFigure:
    """An accuracy of the post beside ours; all as fractions.

    Attributes:
        depth: weight layers.
        inference: how the post asked its network: dropout `off`, or left `on`.
        split: of which examples.
        theirs: the post's, of one network.
        rounding: how far its print may be off: half a unit of the last decimal.
        ours: of our networks, seed by seed; empty where none is finished.
    """

    depth: int
    inference: Inference
    split: Split
    theirs: float
    rounding: float
    ours: tuple[float, ...]

    @property
    def name(self) -> str:
        """In words."""
        return f"depth {self.depth}, {self.inference}, {self.split}"

    @property
    def difference(self) -> float | None:
        """The mean of ours − the post's; `None` without ours."""
        return fmean(self.ours) - self.theirs if self.ours else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where one more seed of ours would fall, but not beyond 0 and 1; `None` where their spread is not known."""
        found = next_seed_interval(self.ours)
        return found and (max(found[0], 0.0), min(found[1], 1.0))

    @property
    def agrees(self) -> bool | None:
        """Whether the post's, up to its rounding, lies in that interval; `None` where there is none."""
        if self.interval is None:
            return None
        low, high = self.interval
        return low - self.rounding <= self.theirs <= high + self.rounding


@dataclass(frozen=True, eq=False)
class PostBeside:
    """The post, and the study that repeats it.

    Attributes:
        post: its figures, times and conclusions.
        plan: the study's.
        records: its finished runs by content key.
        results: of `tables.results_frame`.
        arms: by depth, the arm that is trained as the post's network; without the depths that the study lacks.
    """

    post: Post
    plan: Plan
    records: Mapping[str, RunRecord]
    results: pd.DataFrame
    arms: Mapping[int, Arm]

    def figure(self, network: PostNetwork, inference: Inference, split: Split, control: bool = False) -> PostFigure:
        """One of the post's accuracies beside those of its arm, asked in the same way.

        Args:
            network: of the post.
            inference: how the post asked it.
            split: of which examples.
            control: whether it stands beside the arm's true control instead, which has no dropout to leave on.
        """
        arm = self.arms.get(network.depth)
        ours: tuple[float, ...] = ()
        if arm is not None:
            asked = (self.plan.control_of(arm), "off") if control else (arm, inference)
            ours = tuple(map(float, tables.by_seed(self.results, *asked, split, "accuracy")))
        theirs = getattr(getattr(network, inference), split)
        return PostFigure(network.depth, inference, split, theirs, 0.5 * 10.0**-self.post.decimals, ours)

    @cached_property
    def figures(self) -> list[PostFigure]:
        """All accuracies of the post, dropout off first."""
        networks = self.post.networks
        return [self.figure(one, mode, split) for mode in INFERENCES for one in networks for split in SPLITS]

    @cached_property
    def against_control(self) -> list[ArmComparison]:
        """The study's comparisons of the post's networks with their control, where dropout can act."""
        return [
            one
            for one in tables.control_comparisons(self.plan, self.records)
            if one.arm == self.arms.get(one.arm.depth) and one.comparison.verdict != "does not apply"
        ]

    def trained(self, depth: int) -> list[RunRecord]:
        """The finished networks of the arm of a depth, seed by seed."""
        arm = self.arms.get(depth)
        return [record for one, _, record in tables.finished_runs(self.plan, self.records) if one == arm]


def post_beside(plan: Plan, records: Mapping[str, RunRecord]) -> PostBeside | None:
    """The post beside a study that repeats it; `None` for any other study.

    Args:
        plan: the study's.
        records: the finished runs by content key; some may be missing.
    """
    post = repeated_post(plan.settings)
    if post is None:
        return None
    depths, (rate,) = {network.depth for network in post.networks}, post.recipe.dropout
    arms = {arm.depth: arm for arm in plan.arms if arm.dropout == rate and arm.depth in depths}
    return PostBeside(post, plan, records, tables.results_frame(plan, records), arms)


def agreement_words(figures: Sequence[PostFigure]) -> str:
    """How many figures of the post another seed of ours may give, and which is farthest from ours, in sentences."""
    there = [(abs(one.difference), one) for one in figures if one.difference is not None]
    if not there:
        return "No network of the post is finished here."
    _, farthest = max(there, key=lambda pair: pair[0])
    far = f"The largest difference, ours − the post: {points(farthest.difference or 0)} points ({farthest.name})."
    known = [one.agrees for one in figures if one.agrees is not None]
    if not known:
        return f"{len(there)} of the post's {len(figures)} figures stand beside ours. {far} One seed gives no interval."
    return (
        f"Of {len(known)} figures of the post with an interval beside them, {sum(known)} lie where one more seed of "
        f"ours would fall with probability {100 * CONFIDENCE:.0f} %; by chance alone one in "
        f"{1 / (1 - CONFIDENCE):.0f} lies outside. {far}"
    )


def figures_table(figures: Sequence[PostFigure]) -> Table:
    """The post's accuracies beside our means, in %, and the differences in points, with a mark for `agrees`.

    A row is a network in one inference mode, with three columns a split.
    """
    rows: dict[str, list[str]] = {}
    for one in figures:
        cells = rows.setdefault(f"depth {one.depth}, {one.inference}", [])
        ours = "–" if not one.ours else f"{100 * fmean(one.ours):.2f}"
        difference = "–" if one.difference is None else f"{points(one.difference)} {MARKS[one.agrees]}".rstrip()
        cells += [f"{100 * one.theirs:.2f}", ours, difference]
    head = [f"{split}: {what}" for split in SPLITS for what in ("post", "ours", "difference")]
    return Table(("network", *head), [(name, *cells) for name, cells in rows.items()])


def intervals_table(figures: Sequence[PostFigure]) -> Table:
    """Every figure of the post by itself, with the interval for one more seed of ours."""
    rows = []
    for one in figures:
        ours, interval = ("–", "–") if not one.ours else (f"{100 * fmean(one.ours):.2f}", "–")
        if one.interval is not None:
            interval = " to ".join(f"{100 * end:.2f}" for end in one.interval)
        difference = "–" if one.difference is None else points(one.difference)
        theirs = f"{100 * one.theirs:.2f}"
        rows.append((one.name, theirs, ours, str(len(one.ours)), difference, interval, MARKS[one.agrees] or "–"))
    head = ("figure", "post (%)", "ours (%)", "seeds", "ours − post (points)", "one more seed, 95 % (%)", "post within")
    return Table(head, rows)


def post_times_table(beside: PostBeside) -> Table:
    """Seconds of training a network: the post's with and without a GPU, and ours, a column a device and way."""
    seconds: dict[str, dict[int, list[float]]] = {}
    for network in beside.post.networks:
        for record in beside.trained(network.depth):
            device = record.outcome.environment.get("device", record.way.device)
            column = f"ours: {device} ({record.way.device}), {record.way.words} (s)"
            mine = seconds.setdefault(column, {}).setdefault(network.depth, [])
            mine.append(record.outcome.train_seconds)
    rows = []
    for network in beside.post.networks:
        without = "–" if network.seconds_without_gpu is None else f"{network.seconds_without_gpu:.0f}"
        ours = [f"{fmean(mine[network.depth]):.0f}" if network.depth in mine else "–" for mine in seconds.values()]
        rows.append((f"depth {network.depth}", f"{network.seconds:.0f}", without, *ours))
    return Table(("network", "post: GPU (s)", "post: no GPU (s)", *seconds), rows)
