"""Published: what networks came to beside what a paper has, and what its claims come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from droplab.stats.compare import Comparison, compare_differences, p_words, points
from droplab.stats.family import judge_each
from droplab.stats.intervals import binomial_error, difference_interval, normal_interval, t_interval
from droplab.stats.measure import ACCURACY
from droplab.study.verdicts import ERROR

if TYPE_CHECKING:
    from droplab.study.reproduction import Claim, Reproduced, RowResult

Reading = Literal["agrees", "higher", "lower", ""]
Finding = Literal["holds", "does not hold", "cannot be told"]

RESULT_COLUMNS = ["row", "purpose", "recipe", "seed", "valid_error", "test_error", "train_seconds", "run"]


@dataclass(frozen=True)
class Beside:
    """A row's test error beside the published one; all in %, or percentage points.

    Attributes:
        seeds: how many networks.
        error: their mean; `None` without any.
        low: lower end of the 95 % t interval for it; `None` for fewer than two seeds, or seeds that agree by chance.
        high: its upper end.
        published: the paper's; `None` where it has none.
        published_sd: standard error of that, as printed, or else binomial.
        is_printed: whether the paper has printed it.
        difference: ours − published.
        difference_low: lower end of its 95 % interval, which counts the errors of both.
        difference_high: its upper end.
    """

    seeds: int
    error: float | None = None
    low: float | None = None
    high: float | None = None
    published: float | None = None
    published_sd: float | None = None
    is_printed: bool = False
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None

    @property
    def reading(self) -> Reading:
        """What the interval of the difference says; nothing where there is none."""
        if self.difference_low is None or self.difference_high is None:
            return ""
        return "higher" if self.difference_low > 0 else "lower" if self.difference_high < 0 else "agrees"


@dataclass(frozen=True)
class Told:
    """What a claim came to.

    Attributes:
        claim: the paper's.
        finding: whether it holds.
        words: a sentence.
    """

    claim: Claim
    finding: Finding
    words: str


def accuracies(result: RowResult) -> dict[int, float]:
    """Test accuracy of each of a row's networks, as the row asks them, by seed."""
    row = result.row
    return {seed: run.outcome.metric(row.inference, "test", row.metric) for seed, run in result.runs.items()}


def results_frame(reproduced: Reproduced) -> pd.DataFrame:
    """A row a network, errors in %; `purpose` is `choice` or `test`, and only the latter has a test error.

    Returns:
        `RESULT_COLUMNS`; `recipe` is the place of the recipe among those tried, from 1 on, or 0 where there is no
        choice; `valid_error` is with nothing dropped, and missing where nothing was held out; `run` is the content key.
    """
    rows: list[tuple[Any, ...]] = []
    for result in reproduced.rows:
        chosen = result.option + 1 if result.tried and result.option is not None else 0
        found = [("choice", place, record, None) for place, record in enumerate(result.tried, 1) if record is not None]
        tested = zip(result.runs.values(), accuracies(result).values(), strict=True)
        for purpose, place, record, error in [*found, *(("test", chosen, one, 100 * (1 - a)) for one, a in tested)]:
            settings, outcome = record.settings, record.outcome
            valid = 100 * (1 - record.valid_accuracy) if settings.valid_fraction else None
            where = (result.row.name, purpose, place, settings.seed)
            rows.append((*where, valid, error, outcome.train_seconds, record.key))
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)


def beside(result: RowResult, test_examples: int) -> Beside:
    """A row's mean test error beside the published one.

    The published value's standard error is that printed, or binomial. Our interval is t over the seeds; for a single
    network, or seeds without any spread, that of the difference takes the binomial one in its place.

    Args:
        result: of the row.
        test_examples: N.
    """
    published, printed = result.row.error, result.row.error_sd
    sd = None if published is None else printed or _binomial(published, test_examples)
    errors = np.array([100 * (1 - accuracy) for accuracy in accuracies(result).values()])
    if not len(errors):
        return Beside(0, published=published, published_sd=sd, is_printed=printed is not None)
    mean, ours = float(errors.mean()), t_interval(errors)
    low, high = (None, None) if ours is None else (max(ours.low, 0.0), ours.high)
    found = Beside(len(errors), mean, low, high, published, sd, printed is not None)
    if published is None or sd is None:
        return found
    mine = ours or normal_interval(mean, _binomial(mean, test_examples))
    both = difference_interval(mine, normal_interval(published, sd))
    return replace(found, difference=both.value, difference_low=both.low, difference_high=both.high)


def claims_told(reproduced: Reproduced) -> list[Told]:
    """What each claim comes to, over the seeds that its rows share, paired.

    `lower` and `gain` rest on t tests, under Holm's correction over all claims; `alike` and `not_lower` on intervals of
    their own.
    """
    by_row = {result.row.name: accuracies(result) for result in reproduced.rows}
    claims = reproduced.reproduction.claims
    differences = [_differences(claim, by_row) for claim in claims]
    tested = [one for claim, some in zip(claims, differences, strict=True) if _is_tested(claim) for one in some]
    judged = iter(judge_each(tested, ACCURACY.margin, ERROR))
    told = []
    for claim, some in zip(claims, differences, strict=True):
        if _is_tested(claim):
            mine = [next(judged) for _ in some]
        else:
            mine = [compare_differences(one, margin=claim.margin / 100) for one in some]
        told.append(Told(claim, finding := _finding(claim, mine), _words(claim, mine, finding, reproduced)))
    return told


def _binomial(error: float, examples: int) -> float:
    """The standard error of a single network's error, both in %."""
    return 100 * binomial_error(error / 100, examples)


def _is_tested(claim: Claim) -> bool:
    """Whether it says that something is better, which chance may feign."""
    return bool(claim.lower or claim.gain)


def _differences(claim: Claim, by_row: Mapping[str, Mapping[int, float]]) -> list[NDArray[np.float64]]:
    """Those that a claim rests on; none where its rows share no seed. A positive difference speaks for `lower`."""
    shared = set.intersection(*(set(by_row[name]) for name in claim.rows))
    if not shared:
        return []

    def of(name: str) -> NDArray[np.float64]:
        return np.array([by_row[name][seed] for seed in sorted(shared)])

    if claim.gain:
        (a, b), (c, d) = claim.gain
        return [(of(b) - of(a)) - (of(d) - of(c))]
    pairs = claim.lower or claim.not_lower or tuple(combinations(claim.alike, 2))
    return [of(first) - of(second) for first, second in pairs]


def _finding(claim: Claim, compared: Sequence[Comparison]) -> Finding:
    """A claim holds if every comparison says so, and does not if one says the contrary."""
    if not compared:
        return "cannot be told"
    margin = claim.margin / 100
    if claim.alike:
        yes = [one.verdict == "equivalent" for one in compared]
        no = [_above(one, margin) or _below(one, -margin) for one in compared]
    elif claim.not_lower:
        yes = [one.verdict in ("hurts", "equivalent") or _below(one, margin) for one in compared]
        no = [_above(one, margin) for one in compared]
    else:
        yes = [_lower(one) for one in compared]
        no = [one.verdict == "hurts" for one in compared]
    return "holds" if all(yes) else "does not hold" if any(no) else "cannot be told"


def _above(one: Comparison, bound: float) -> bool:
    return one.low is not None and one.low > bound


def _below(one: Comparison, bound: float) -> bool:
    return one.high is not None and one.high < bound


def _lower(one: Comparison) -> bool:
    """Whether the error is lower for certain, however little."""
    return _above(one, 0.0)


def _words(claim: Claim, compared: Sequence[Comparison], finding: Finding, reproduced: Reproduced) -> str:
    budget = reproduced.budget
    length = f"the {budget} budget ({reproduced.reproduction.updates[budget]:,} updates a network)"
    if not compared:
        return f"Cannot be told at {length}: its networks are not finished."
    said = {
        "holds": "Holds" if budget == "paper" else f"Holds at {length}",
        "does not hold": "Does not hold" if budget == "paper" else f"Is not seen at {length}",
        "cannot be told": f"Cannot be told at {length}",
    }[finding]
    seeds = f"{compared[0].seeds} seed{'s' if compared[0].seeds > 1 else ''}"
    what = "the first gain exceeds the second by" if claim.gain else "the first errs less than the second by"
    each = ", pair by pair," if len(compared) > 1 else ""
    tested = _is_tested(claim)
    return f"{said}: {what}{each} {'; '.join(_interval(one, tested) for one in compared)} ({seeds})."


def _interval(one: Comparison, tested: bool) -> str:
    """The difference in points with its interval, and the p-value where it is that of a test."""
    if one.low is None or one.high is None:
        return f"{points(one.difference)} points"
    p_value = one.p_value if one.p_adjusted is None else one.p_adjusted
    p_told = f", Holm p {p_words(p_value)}" if tested else ""
    return f"{points(one.difference)} points [{points(one.low)}, {points(one.high)}]{p_told}"
