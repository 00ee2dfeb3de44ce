"""The post: what the blog post has that droplab began from, and the findings of a study that repeats it beside it.

They lie in `presets/published`, away from the presets, which can be trained.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from droplab.config import StudySettings, Validated, load_study, parse
from droplab.presets import read_preset
from droplab.stats.intervals import next_seed_interval
from droplab.study.frames import by_seed, finished_runs
from droplab.study.names import hidden_words

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm
    from droplab.study.records import RunRecord
    from droplab.study.verdicts import ArmComparison
    from droplab.train.outcome import Inference, Split

Accuracy = Annotated[float, Field(ge=0, le=1)]

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
            ours = tuple(map(float, by_seed(self.findings.results, *asked, split, "accuracy")))
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
