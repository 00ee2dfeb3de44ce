"""The post: what the blog post has that droplab began from, and what a study that repeats it says of each part of it.

They lie in `presets/published`, away from the presets, which can be trained.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from droplab.config import StudySettings, Validated, load_study, parse
from droplab.presets import read_preset
from droplab.stats.compare import Comparison
from droplab.stats.family import judge_each
from droplab.stats.intervals import next_seed_interval
from droplab.stats.measure import ACCURACY
from droplab.study.frames import finished_runs
from droplab.study.names import hidden_words
from droplab.study.verdicts import ERROR

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm
    from droplab.study.records import RunRecord
    from droplab.study.verdicts import ArmComparison
    from droplab.train.outcome import Inference, Split

Accuracy = Annotated[float, Field(ge=0, le=1)]
Judgement = Literal["holds", "holds in part", "does not hold", "not shown", "cannot be told from this study"]

INFERENCES: tuple[Inference, ...] = ("off", "on")
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

_MAY_DIFFER = {"depths", "dropout", "mc_samples"}
"""Settings that make other networks beside the post's, or other evaluations, and change none of the post's."""


class SplitAccuracies(Validated):
    """Accuracies of one network, as fractions, by split."""

    train: Accuracy
    valid: Accuracy
    test: Accuracy


class PostNetwork(Validated):
    """One network of the post.

    Attributes:
        depth: its weight layers.
        seconds: of its training on the GPU.
        seconds_without_gpu: of the same without one; `None` where the post has no such time.
        off: its accuracies with dropout off at inference.
        on: with dropout left on.
    """

    depth: int = Field(ge=1)
    seconds: float = Field(gt=0)
    seconds_without_gpu: float | None = Field(None, gt=0)
    off: SplitAccuracies
    on: SplitAccuracies

    @property
    def gap(self) -> float:
        """How much more accurate on test it is with dropout off than with dropout left on, as a fraction."""
        return self.off.test - self.on.test


class Conclusion(Validated):
    """What the post concludes.

    Attributes:
        kind: what decides it: `labels` (what its two ways to measure are called), `better` (dropout, on test),
            `overfitting`, `falls` (test accuracy by depth), `large` (its gap between the two), `faster` (on a GPU);
            `open` for what no study decides.
        text: translated, in a sentence.
        original: in the post's own words.
        note: what must be known before any number; empty for nothing.
        epochs: of `faster`, as many on the GPU are faster than the recipe's without one; 0 for all others.
    """

    kind: Literal["labels", "better", "overfitting", "falls", "large", "faster", "open"]
    text: str = Field(min_length=1)
    original: str = Field(min_length=1)
    note: str = ""
    epochs: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.kind == "faster") != bool(self.epochs):
            raise ValueError(f"epochs belong to the kind faster, and only there; found {self.kind}, {self.epochs=}")
        if self.kind == "open" and not self.note:
            raise ValueError("a conclusion that no study decides needs a note that says why")
        return self


class Post(Validated):
    """What the post has.

    Attributes:
        title: its own.
        author: as the post names itself.
        date: of it.
        preset: the study that is its recipe.
        decimals: to which its accuracies are rounded.
        networks: in its order.
        conclusions: in its order.
    """

    title: str
    author: str
    date: datetime.date
    preset: str
    decimals: int = Field(ge=1)
    networks: tuple[PostNetwork, ...] = Field(min_length=1)
    conclusions: tuple[Conclusion, ...]

    @model_validator(mode="after")
    def _names_each_network_once(self) -> Self:
        depths = [network.depth for network in self.networks]
        if len(set(depths)) < len(depths):
            raise ValueError(f"every depth may stand once; found {depths}")
        return self

    @property
    def recipe(self) -> StudySettings:
        """The preset that is its recipe, of one rate."""
        return load_study(self.preset)

    @property
    def source(self) -> str:
        """Author, title and date, as one cites them."""
        return f"{self.author}, {self.title}, blog post, {self.date.day} {self.date:%B %Y}"


def load_post() -> Post:
    """The post, from its file."""
    text = read_preset("published", "mnist-depth")
    return parse_post(tomllib.loads(text))


def parse_post(values: Mapping[str, Any]) -> Post:
    """The post from what its file holds.

    Raises:
        ConfigError: naming each fault.
    """
    return parse(Post, values, "the post")


def repeated_post(settings: StudySettings) -> Post | None:
    """The post, if the study trains networks of it on its data by its recipe; else `None`.

    That is so where at most seeds, depths, rates and the masks of `mc` are not those of the post's preset, and at least
    one of its depths and its rate are among the study's.

    Args:
        settings: the study's.
    """
    post = load_post()
    theirs = post.recipe
    alike = settings.differences(theirs).keys() <= _MAY_DIFFER
    shared = set(settings.depths) & set(theirs.depths) and set(theirs.dropout) <= set(settings.dropout)
    return post if alike and shared else None


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
        return f"{hidden_words(self.depth)}, {self.inference}, {self.split}"

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


class Narrower(NamedTuple):
    """How much narrower dropout makes the gap between accuracy on train and on test, at one depth; as fractions.

    Attributes:
        depth: weight layers.
        without: that gap of the control, the mean over the seeds.
        with_it: that of the arm with dropout, likewise.
        comparison: `without` − `with_it`, over the seeds, under Holm's correction for all depths.
    """

    depth: int
    without: float
    with_it: float
    comparison: Comparison


@dataclass(frozen=True, eq=False)
class PostBeside:
    """The post, and the study that repeats it.

    Attributes:
        post: its figures, times and conclusions.
        findings: the study's.
        arms: by depth, the arm that is trained as the post's network; without the depths that the study lacks.
    """

    post: Post
    findings: Findings
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
            asked = (self.findings.plan.control_of(arm), "off") if control else (arm, inference)
            ours = tuple(map(float, self.findings.replicates.by_seed(*asked, split, "accuracy")))
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
            for one in self.findings.contrasts
            if one.arm == self.arms.get(one.arm.depth) and one.comparison.verdict != "does not apply"
        ]

    @cached_property
    def labelled(self) -> list[tuple[PostFigure, PostFigure]]:
        """What the post calls “no dropout” on test: beside ours with dropout left on, and beside our control.

        Where dropout can act, and both are finished.
        """
        hidden = [one for one in self.post.networks if one.depth > 1]
        both = [(self.figure(one, "on", "test"), self.figure(one, "on", "test", control=True)) for one in hidden]
        return [(on, control) for on, control in both if on.ours and control.ours]

    @property
    def could_be(self) -> list[tuple[bool, bool]]:
        """Whether each of these could be one more seed of ours left on, and of our control; where that is known."""
        known = [(on, control) for on, control in self.labelled if on.interval and control.interval]
        return [(bool(on.agrees), bool(control.agrees)) for on, control in known]

    @cached_property
    def narrower(self) -> list[Narrower]:
        """What dropout does to the gap between train and test, for each of `against_control`."""
        by_seed, gaps, differences = self.findings.replicates.by_seed, [], []
        for one in self.against_control:
            without, with_it = (
                by_seed(arm, "off", "train", "accuracy") - by_seed(arm, "off", "test", "accuracy")
                for arm in (one.against, one.arm)
            )
            found = (without - with_it).dropna()
            gaps.append((one.arm.depth, float(without[found.index].mean()), float(with_it[found.index].mean())))
            differences.append(np.asarray(found, np.float64))
        judged = judge_each(differences, ACCURACY.margin, ERROR)
        return [Narrower(*gap, comparison) for gap, comparison in zip(gaps, judged, strict=True)]

    @cached_property
    def deeper(self) -> list[ArmComparison]:
        """The study's comparisons of each of the post's depths with the next shallower one, with dropout."""
        compared = [one for one in self.findings.deeper if one.against.depth in self.arms]
        return [one for one in compared if one.arm == self.arms.get(one.arm.depth)]

    def seconds(self, depth: int) -> dict[str, float]:
        """Mean seconds of training a network of a depth, by device: `cpu`, `cuda`."""
        found: dict[str, list[float]] = {}
        for record in self.trained(depth):
            found.setdefault(record.way.device, []).append(record.outcome.train_seconds)
        return {device: fmean(mine) for device, mine in found.items()}

    def judgement(self, conclusion: Conclusion) -> Judgement:
        """Whether a conclusion of the post holds, by the study's own comparisons; one seed cannot tell.

        Args:
            conclusion: of the post.
        """
        yes, no = self.sides(conclusion)
        if not yes:
            return "cannot be told from this study"
        if any(yes):
            return "holds" if all(yes) else "holds in part"
        return "does not hold" if any(no) else "not shown"

    def sides(self, conclusion: Conclusion) -> tuple[Sequence[bool], Sequence[bool]]:
        """Whether each comparison bears a conclusion out, and whether it denies it; both are empty for none.

        Args:
            conclusion: of the post.
        """
        kind = conclusion.kind
        if kind == "labels":
            return [it and not on for on, it in self.could_be], [on and not it for on, it in self.could_be]
        if kind == "large":
            gaps = {network.depth: network.gap for network in self.post.networks}
            sure = [(gaps[one.arm.depth], one.comparison) for one in self.against_control if one.comparison.seeds > 1]
            yes = [one.low is not None and one.low >= gap for gap, one in sure]
            return yes, [one.high is not None and one.high < gap for gap, one in sure]
        if kind == "faster":
            times = [self.seconds(one.depth) for one in self.post.networks if one.seconds_without_gpu is not None]
            longer = conclusion.epochs / self.post.recipe.epochs
            yes = [one["cuda"] * longer < one["cpu"] for one in times if len(one) > 1]
            return yes, [not one for one in yes]
        found = {
            "better": [one.comparison for one in self.against_control],
            "overfitting": [one.comparison for one in self.narrower],
            "falls": [one.comparison for one in self.deeper],
        }.get(kind, [])
        verdicts = [one.verdict for one in found if one.seeds > 1]
        helps, hurts = ([one == verdict for one in verdicts] for verdict in ("helps", "hurts"))
        return (hurts, helps) if kind == "falls" else (helps, [one in ("hurts", "equivalent") for one in verdicts])

    def trained(self, depth: int) -> list[RunRecord]:
        """The finished networks of the arm of a depth, seed by seed."""
        arm = self.arms.get(depth)
        return [record for one, _, record in finished_runs(self.findings.plan, self.findings.records) if one == arm]


def post_beside(findings: Findings) -> PostBeside | None:
    """The post beside a study that repeats it; `None` for any other study.

    Args:
        findings: the study's; some runs may be missing.
    """
    post = repeated_post(findings.plan.settings)
    if post is None:
        return None
    depths, (rate,) = {network.depth for network in post.networks}, post.recipe.dropout
    arms = {arm.depth: arm for arm in findings.plan.arms if arm.dropout == rate and arm.depth in depths}
    return PostBeside(post, findings, arms)
