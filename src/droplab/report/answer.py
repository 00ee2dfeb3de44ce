"""The answer: what a study comes to in one clause, in two plain sentences, in a row a network, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from droplab.report.cells import Table
from droplab.report.words import (
    arm_label,
    duration_words,
    is_of_dropout_alone,
    listed,
    places_words,
    range_words,
    row_label,
)
from droplab.stats.compare import Verdict, percent, points
from droplab.study.limits import cores
from droplab.study.names import spaced
from droplab.study.verdicts import ERROR, ArmComparison

if TYPE_CHECKING:
    from droplab.study.findings import Findings

_LONGEST = 90  # characters of a title that names where what holds
_MOST_SEEDS = 100

_ONE: dict[Verdict, str] = {
    "helps": "helps",
    "hurts": "hurts",
    "equivalent": "makes no difference that matters",
    "undecided": "is undecided",
}
_MANY: dict[Verdict, str] = {
    "helps": "help",
    "hurts": "hurt",
    "equivalent": "make no difference that matters",
    "undecided": "are undecided",
}


class Next(NamedTuple):
    """What would tell more: a command, and about how many seconds it takes, `None` where that is not known."""

    command: str
    seconds: float | None

    @property
    def words(self) -> str:
        """The time in words."""
        return "" if self.seconds is None else f"about {duration_words(max(self.seconds, 1.0))}"


@dataclass(frozen=True)
class Answer:
    """What a study comes to.

    Attributes:
        title: in one clause.
        deck: the same in two sentences of plain words.
        rows: a row an arm and what it is compared with: network, the accuracies of both in %, difference, verdict.
        next: what would tell more; `None` where all is decided.
    """

    title: str
    deck: str
    rows: Table
    next: Next | None


def answer_of(findings: Findings, command: str = "") -> Answer:
    """Say what a study comes to.

    Args:
        findings: the study's; one without a finished run is no error.
        command: what repeats it, as typed; empty where that is not known.
    """
    return Answer(_title(findings), _deck(findings), contrast_rows(findings), _next(findings, command))


def contrast_rows(findings: Findings) -> Table:
    """A row an arm and what it is compared with; accuracies on test with dropout off, in %, means over the seeds."""
    means = {row["arm"]: 100 * row["test accuracy"] for row in findings.arms.to_dict("records")}
    rows = []
    for one in findings.contrasts:
        found, theirs = one.comparison, f"{means[one.against.name]:.2f}"
        if found.verdict == "does not apply":
            reason = "no hidden layer" if not one.arm.widths else "it never acted"
            rows.append((row_label(findings, one.arm), theirs, "–", "–", f"does not apply: {reason}"))
            continue
        ours = f"{means[one.arm.name]:.2f}"
        rows.append((row_label(findings, one.arm), theirs, ours, difference_words(one), found.verdict))
    if findings.contrasts and is_of_levels(findings):
        return Table(("network", "baseline (%)", "this (%)", "difference (points)", "verdict"), rows)
    kinds = ("without dropout", "with dropout") if is_of_dropout(findings) else ("control", "with it")
    return Table(("network", *(f"{kind} (%)" for kind in kinds), "difference (points)", "verdict"), rows)


def difference_words(one: ArmComparison) -> str:
    """A difference in points, with the interval that its verdict is read from."""
    found = one.comparison
    ends = "" if found.low is None or found.high is None else f" [{points(found.low)}, {points(found.high)}]"
    return f"{points(found.difference)}{ends}"


def is_of_dropout(findings: Findings) -> bool:
    """Whether nothing but dropout, and perhaps depth, is compared."""
    return bool(findings.contrasts) and all(is_of_dropout_alone(one.arm) for one in findings.contrasts)


def is_of_levels(findings: Findings) -> bool:
    """Whether no regularizer is compared, but levels with a baseline."""
    return all(one.against.name != one.arm.control or one.arm.is_control for one in findings.contrasts)


def _title(findings: Findings) -> str:
    contrasts = findings.contrasts
    acting = [one for one in contrasts if one.comparison.verdict != "does not apply"]
    if not contrasts:
        return "Nothing can be said yet"
    if is_of_levels(findings):
        return _title_of_levels(findings, acting) if acting else "What varies never acted: the networks are the same"
    what = "Dropout" if is_of_dropout(findings) else "What is compared"
    if not acting:
        return f"{what} cannot act in these networks"
    if all(one.comparison.seeds == 1 for one in acting):
        return f"One seed cannot tell whether {what[0].lower()}{what[1:]} helps"
    if not is_of_dropout(findings):
        return _title_of_many(acting)
    found = {verdict: [one for one in acting if one.comparison.verdict == verdict] for verdict in _ONE}
    found = {verdict: mine for verdict, mine in found.items() if mine}
    if len(found) == 1:
        ((verdict, mine),) = found.items()
        if verdict == "undecided":
            return "Whether dropout helps is not decided yet"
        by = f", by {range_words(mine, signed=False)} points of test accuracy"
        return f"Dropout {_ONE[verdict]}{by if verdict in ('helps', 'hurts') else ''}"
    told = f"Dropout {'; '.join(f'{_ONE[verdict]} {places_words(mine, contrasts)}' for verdict, mine in found.items())}"
    return told if len(told) <= _LONGEST else f"Dropout: {_counts(acting, 'networks')}"


def _title_of_many(acting: Sequence[ArmComparison]) -> str:
    """Of several regularizers: the one that helps most, and how many the others are."""
    best = max(acting, key=lambda one: (one.comparison.verdict == "helps", one.comparison.difference))
    if len(acting) == 1:
        (one,) = acting
        size = f": {points(one.comparison.difference)} points" if one.comparison.verdict in ("helps", "hurts") else ""
        return f"{_capital(spaced(one.arm.trained))} {_ONE[one.comparison.verdict]}{size}"
    if best.comparison.verdict != "helps":
        return f"None is shown to help: {_counts(acting, 'arms')}"
    name = _capital(spaced(best.arm.name))
    return f"{name} helps most, by {points(best.comparison.difference).lstrip('+')} points; {_counts(acting, 'arms')}"


def _title_of_levels(findings: Findings, acting: Sequence[ArmComparison]) -> str:
    """Of levels: the winner, or of an ordered axis what to take."""
    if (ordered := _ordered(findings)) is not None:
        return f"Take {ordered}"
    if all(one.comparison.seeds == 1 for one in acting):
        return "One seed cannot tell which is best"
    helps = [one for one in acting if one.comparison.verdict == "helps"]
    if helps:
        best = max(helps, key=lambda one: one.comparison.difference)
        winner, loser = (arm_label(findings, one) for one in (best.arm, best.against))
        return f"{_capital(winner)} beats {loser}, by {points(best.comparison.difference).lstrip('+')} points"
    return f"None is shown to be better than the baseline: {_counts(acting, 'arms')}"


def _ordered(findings: Findings) -> str | None:
    """Where one axis of numbers varies and nothing else: the value that valid recommends, in words."""
    axes = [axis for axis in findings.plan.axes if len(axis.levels) > 1]
    if len(axes) != 1 or not axes[0].is_numeric or len(axes[0].levels) < 3 or not findings.done:
        return None
    return arm_label(findings, findings.best)


def _counts(acting: Sequence[ArmComparison], things: str) -> str:
    """How many help, hurt and so on, of all."""
    found = Counter(one.comparison.verdict for one in acting)
    told = [f"{found[v]} {(_ONE if found[v] == 1 else _MANY)[v]}" for v in _ONE if found[v]]
    return f"of {len(acting)} {things} {listed(told)}"


def _deck(findings: Findings) -> str:
    acting = [one for one in findings.contrasts if one.comparison.verdict != "does not apply"]
    if not acting:
        return ""
    shown = next((one for one in acting if one.arm == findings.best), None)
    shown = shown or max(acting, key=lambda one: abs(one.comparison.difference))
    return f"{_example(findings, shown)} {_sure(findings, acting)}"


def _example(findings: Findings, one: ArmComparison) -> str:
    """A difference as counts of examples."""
    means = {row["arm"]: row["test accuracy"] for row in findings.arms.to_dict("records")}
    theirs, ours = means[one.against.name], means[one.arm.name]
    of = next((of for of in (100, 1000) if round(of * theirs) != round(of * ours)), 10_000)
    where = f" (in {row_label(findings, one.arm)})" if len(findings.contrasts) > 1 else ""
    without, with_it = "without dropout", "with it"
    if is_of_levels(findings):
        without, with_it = (f"with {arm_label(findings, arm)}" for arm in (one.against, one.arm))
        where = ""
    elif not is_of_dropout(findings):
        without, with_it = "without it", f"with {spaced(one.arm.trained)}"
        where = f" ({spaced(one.arm.place)})" if one.arm.place else ""
    return (
        f"{_capital(without)} {round(of * theirs):,} of {of:,} test examples are classified rightly, {with_it} "
        f"{round(of * ours):,}{where}."
    )


def _sure(findings: Findings, acting: Sequence[ArmComparison]) -> str:
    """How sure that is; of what is undecided, which way it leans."""
    most = max(one.comparison.seeds for one in acting)
    if most == 1:
        return "Each was trained once, so this may be chance; three random starts are the least that can tell."
    undecided = [one for one in acting if one.comparison.verdict == "undecided"]
    if undecided and len(undecided) == len(acting):
        one = max(undecided, key=lambda one: abs(one.comparison.difference))
        leans = "helping" if one.comparison.difference > 0 else "hurting"
        return f"It leans towards {leans} ({difference_words(one)} points), but chance could make as much."
    recommended = _ordered(findings)
    if recommended is not None:
        return f"Held-out examples recommend {recommended}: the simplest within one standard error of the best."
    return (
        f"Each was trained {most} times from different random starts; chance alone would make such a study find an "
        f"effect in {percent(ERROR)} of cases at most."
    )


def _next(findings: Findings, command: str) -> Next | None:
    """The command with as many seeds as would settle most of what is undecided, but no more than are worth it."""
    undecided = [one for one in findings.contrasts if one.comparison.verdict == "undecided"]
    if not undecided or not command:
        return None
    have = len(findings.plan.settings.seeds)
    needed = [one.comparison.seeds_needed for one in undecided]
    lows = sorted(one.low for one in needed if one is not None and one.low is not None)
    if findings.done < findings.wanted:
        return Next(command, _seconds(findings, findings.wanted - findings.done))
    if all(one.comparison.seeds == 1 for one in undecided):
        wanted = 3
    elif not lows:
        return None
    else:
        wanted = max(lows[len(lows) // 2], have + 1)
    if wanted > _MOST_SEEDS:
        return None
    more = (wanted - have) * len(findings.plan.distinct)
    return Next(with_seeds(command, wanted), _seconds(findings, more))


def _seconds(findings: Findings, networks: int) -> float | None:
    """About how long so many more networks take on this machine, as those that are finished did."""
    done = [record.outcome for record in findings.records.values()]
    if not done or any(record.way.device != "cpu" for record in findings.records.values()):
        return None
    return networks * sum(one.train_seconds + one.evaluate_seconds for one in done) / len(done) / cores()


def with_seeds(command: str, seeds: int) -> str:
    """A command with another number of seeds.

    >>> with_seeds("droplab study mine.toml --seeds 3 --epochs 9", 8)
    'droplab study mine.toml --epochs 9 --seeds 8'
    """
    try:
        words, kept = iter(shlex.split(command)), []
    except ValueError:  # no command of a shell's
        return f"{command} --seeds {seeds}"
    for word in words:
        if word == "--seeds":
            next(words, None)
        elif not word.startswith("--seeds="):
            kept.append(word)
    return f"{shlex.join(kept)} --seeds {seeds}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
