"""The post: the figures, times and conclusions of the blog post that droplab began from, and which studies repeat it.

They lie in `presets/published`, away from the presets, which can be trained.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from droplab.config import StudySettings, Validated, load_study, parse
from droplab.presets import read_preset

Accuracy = Annotated[float, Field(ge=0, le=1)]

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
