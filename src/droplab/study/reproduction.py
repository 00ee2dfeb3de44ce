"""A reproduction: a paper's table or figure, row by row, and the networks that each row takes at a budget.

A file a reproduction lies in `presets/reproduce`. What the paper states and what it leaves open, and is chosen there
with a reason, are kept apart.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from droplab.config import RunSettings, Validated
from droplab.errors import ConfigError, did_you_mean
from droplab.model.regularizers import check
from droplab.presets import preset_names, read_preset, reproduction_names
from droplab.train.outcome import Inference

if TYPE_CHECKING:
    from droplab.data.dataset import DatasetCard
    from droplab.study.records import RunRecord
    from droplab.study.runner import Summary

Budget = Literal["smoke", "short", "paper"]
BUDGETS: tuple[Budget, ...] = ("smoke", "short", "paper")

ALIASES = {"mnist-depth": "post"}
"""Other names of reproductions."""


class Chosen(Validated):
    """A setting that the paper leaves open.

    Attributes:
        value: what is taken.
        why: for which reason.
    """

    value: Any
    why: str = Field(min_length=1)


class Row(Validated):
    """A row of the paper's table, or a point of its figure.

    Attributes:
        name: as the paper has it.
        error: published, in % of the test examples; `None` where the paper has none.
        error_sd: its standard error as published; `None` where none is given, and the binomial one is taken.
        settings: what the paper states of this row beside the settings of all.
        chosen: what it leaves open of this row.
        tried: the recipes among which valid chooses, each as what it has beside `settings`; none for no choice.
        x: where a figure has it.
        series: which line of the figure.
        inference: how the networks are asked.
        metric: which of a run's numbers is its accuracy, as `accuracy_k5` for the mean over five masks.
        extra: whether it is trained only when it is asked for.
    """

    name: str
    error: float | None = Field(None, gt=0, lt=100)
    error_sd: float | None = Field(None, gt=0)
    settings: dict[str, Any] = Field(default_factory=dict)
    chosen: dict[str, Chosen] = Field(default_factory=dict)
    tried: tuple[dict[str, Any], ...] = ()
    x: float | None = None
    series: str = ""
    inference: Inference = "off"
    metric: str = "accuracy"
    extra: bool = False


class Claim(Validated):
    """What the paper says of its rows; one of `lower`, `not_lower`, `alike` and `gain` is given.

    Attributes:
        text: the claim in a sentence.
        lower: pairs of rows; the error of the first is lower than that of the second, in every pair.
        not_lower: pairs of rows; the error of the first is not lower, or by less than `margin`.
        alike: rows whose errors differ by less than `margin`.
        gain: two pairs of rows; from the first to the second of a pair the error falls further in the first pair.
        margin: in points of test error.
    """

    text: str
    lower: tuple[tuple[str, str], ...] = ()
    not_lower: tuple[tuple[str, str], ...] = ()
    alike: tuple[str, ...] = ()
    gain: tuple[tuple[str, str], ...] = ()
    margin: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        given = [bool(kind) for kind in (self.lower, self.not_lower, self.alike, self.gain)]
        if given.count(True) != 1 or len(self.alike) == 1 or len(self.gain) not in (0, 2):
            raise ValueError("a claim is lower or not_lower (pairs), or alike (two rows or more), or gain (two pairs)")
        return self

    @property
    def rows(self) -> set[str]:
        """The rows that it is about."""
        return {*self.alike, *(name for pair in self.lower + self.not_lower + self.gain for name in pair)}


class Reproduction(Validated):
    """A paper's table or figure.

    Attributes:
        name: of the preset.
        title: what it shows.
        source: paper, year, table or figure.
        across: what a figure has across; empty for a table.
        logarithmic: whether that axis is.
        data: name of the data set.
        stated: settings of all rows that the paper states.
        chosen: settings of all rows that it leaves open.
        final: what the networks that the test split is for have beside that, and those that are chosen among have not.
        tried_why: why these recipes are tried, where rows have any.
        updates: of each network, by budget.
        rows: in the paper's order.
        claims: what the paper says of them.
        notes: what a reader must know.
    """

    name: str
    title: str
    source: str
    across: str = ""
    logarithmic: bool = False
    data: str = "mnist"
    stated: dict[str, Any]
    chosen: dict[str, Chosen]
    final: dict[str, Any] = Field(default_factory=dict)
    tried_why: str = ""
    updates: dict[Budget, int]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("every row needs a name of its own")
        if unknown := {name for claim in self.claims for name in claim.rows} - set(names):
            raise ValueError(f"claims are about rows; there is none named {', '.join(sorted(unknown))}")
        if set(self.updates) != set(BUDGETS):
            raise ValueError(f"updates needs {', '.join(BUDGETS)}")
        if both := self.stated.keys() & self.chosen.keys():
            raise ValueError(f"a setting is stated or chosen, not both: {', '.join(sorted(both))}")
        if self.across and any(row.x is None for row in self.rows):
            raise ValueError("every row of a figure needs an x")
        if any(row.tried for row in self.rows) != bool(self.tried_why):
            raise ValueError("tried_why is given where recipes are tried, and only there")
        return self

    def select(self, texts: Sequence[str]) -> Reproduction:
        """This reproduction with the rows asked for, and the claims that are about no others.

        Args:
            texts: rows' names, or parts of some; `all` for every row; none for all but the extra ones.

        Raises:
            ConfigError: if no row has one of them in its name.
        """
        if not texts:
            kept = [row for row in self.rows if not row.extra]
        else:
            wanted = {name for text in texts for name in self._named(text)}
            kept = [row for row in self.rows if row.name in wanted]
        known = {row.name for row in kept}
        claims = tuple(claim for claim in self.claims if claim.rows <= known)
        return self.model_copy(update={"rows": tuple(kept), "claims": claims})

    def _named(self, text: str) -> list[str]:
        """The rows that a text stands for: that of the name, or those with it in their name."""
        names = [row.name for row in self.rows]
        found = names if text == "all" else [text] if text in names else [name for name in names if text in name]
        if not found:
            told = "; ".join(names)
            raise ConfigError(f"--rows takes a row's name, a part of names, or all; found {text!r}. Rows: {told}.")
        return found

    def recipe(
        self, row: Row, seed: int, budget: Budget, examples: int, option: int = 0, final: bool = True
    ) -> RunSettings:
        """The settings of one network.

        Args:
            row: whose.
            seed: its replicate.
            budget: how many updates, rounded to whole epochs; where they are fewer than those of one, it is an epoch of
                only so many training examples.
            examples: training examples of the data set, those held out among them.
            option: which of the row's tried recipes, where it has any.
            final: whether it is trained for the test split, or only to be chosen among.

        Raises:
            ConfigError: if the settings cannot be.
        """
        chosen, own = ({name: one.value for name, one in found.items()} for found in (self.chosen, row.chosen))
        parts = [self.stated, chosen, row.settings, own]
        parts += [row.tried[option]] if row.tried else []
        parts += [self.final] if final else []
        values: dict[str, Any] = {}
        used: dict[str, Any] = {}
        for part in parts:
            used |= part.get("regularizers", {})
            values |= part
        origin = f"{self.name}, {row.name}"
        settings = RunSettings.parse(values | {"regularizers": used, "seed": seed}, origin)
        check(settings.regularizers, len(settings.widths))
        train, _ = settings.split_sizes(examples)
        steps, updates = math.ceil(train / settings.batch_size), self.updates[budget]
        length = {"epochs": max(1, round(updates / steps))}
        if updates < steps:
            length["train_examples"] = updates * settings.batch_size
        return RunSettings.parse(settings.model_dump() | length, origin)


@dataclass(frozen=True)
class RowResult:
    """What a row came to.

    Attributes:
        row: of the reproduction.
        tried: what was trained of each of its recipes to choose among them, in order, `None` for one that is not
            finished or could not be trained; empty where there is no choice.
        option: which of them valid chose; 0 where there is no choice, `None` where it is not made.
        runs: the networks that the test split is for, by seed; those that are finished.
    """

    row: Row
    tried: tuple[RunRecord | None, ...]
    option: int | None
    runs: dict[int, RunRecord]


@dataclass(frozen=True)
class Reproduced:
    """A reproduction with its results.

    Attributes:
        reproduction: with the rows that were asked for.
        budget: of each network.
        seeds: the replicates.
        rows: what each row came to.
        dataset: what is known of the data.
        summary: what was trained now, and what was said on the way.
    """

    reproduction: Reproduction
    budget: Budget
    seeds: tuple[int, ...]
    rows: tuple[RowResult, ...]
    dataset: DatasetCard
    summary: Summary

    @property
    def missing(self) -> str:
        """How many networks for the test split are there, in words; empty if all are."""
        wanted, there = len(self.rows) * len(self.seeds), sum(len(result.runs) for result in self.rows)
        return "" if there == wanted else f"{there} of {wanted} results are there"


def load_reproduction(name: str) -> Reproduction:
    """A reproduction by its name.

    Raises:
        ConfigError: if there is none, or it holds a fault.
    """
    names = reproduction_names()
    known = ALIASES.get(name, name)
    if known not in names and name in preset_names():
        raise ConfigError(f"{name} is a study, not a reproduction. Type: droplab study {name}")
    if known not in names:
        hint = did_you_mean(name, [*names, *ALIASES])
        raise ConfigError(f"a reproduction is one of {', '.join(names)}; found {name!r}.{hint}")
    return parse_reproduction(tomllib.loads(read_preset("reproduce", known)), known)


def parse_reproduction(values: Mapping[str, Any], name: str) -> Reproduction:
    """A reproduction from what its file holds.

    Raises:
        ConfigError: naming each fault.
    """
    try:
        return Reproduction.model_validate({"name": name} | dict(values))
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}".removeprefix(": ")
            for one in error.errors()
        )
        raise ConfigError(f"{name}: {'; '.join(faults)}.") from None
