"""The answer: what a study comes to in one clause, in two plain sentences, in a row a network, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from droplab.data.given import IN_MEMORY
from droplab.report.cells import Table
from droplab.report.words import (
    arm_label,
    is_of_dropout_alone,
    listed,
    places_words,
    row_label,
)
from droplab.stats.compare import Verdict, percent
from droplab.stats.measure import ACCURACY
from droplab.study.forecast import span_words
from droplab.study.limits import cores
from droplab.study.names import spaced
from droplab.study.verdicts import ERROR, ArmComparison

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm

_LONGEST = 90  # characters of a title that names where what holds
_FIRST_SEEDS = 3  # from which on there is a spread to judge by, with a seed to spare

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
    """What would tell more.

    Attributes:
        undecided: how many comparisons are.
        seeds: that may settle them.
        command: for it.
        seconds: that it takes, about.
    """

    undecided: int
    seeds: int
    command: str
    seconds: float

    @property
    def words(self) -> str:
        """Before the command, in words."""
        more = f"{self.undecided} {'is' if self.undecided == 1 else 'are'} undecided"
        what = "it" if self.undecided == 1 else "most"
        return f"{more}; {self.seeds} seeds may settle {what}, in about {span_words(self.seconds)}:"


@dataclass(frozen=True)
class Answer:
    """What a study comes to.

    Attributes:
        title: in one clause.
        deck: the same in two sentences of plain words.
        rows: a row an arm and what it is compared with: network, the metric of both, verdict and difference.
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
    """A row an arm and what it is compared with; the metric on test with dropout off, means over the seeds."""
    measure = findings.measure
    rows: list[tuple[str, ...]] = []
    inactive: set[Arm] = set()  # one network may serve several rates
    several = len({one.against for one in findings.contrasts}) > 1 and is_of_levels(findings)
    for one in findings.contrasts:
        found, label = one.comparison, row_label(findings, one.arm)
        label += f" against {row_label(findings, one.against)}" if several else ""
        theirs, ours = (measure.value(value) for value in _values(findings, one))
        if found.verdict == "does not apply":
            reason = "no hidden layer" if not one.arm.widths else "it never acted"
            if one.against not in inactive:
                rows.append((label, theirs, "–", f"does not apply: {reason}"))
            inactive.add(one.against)
            continue
        rows.append((label, theirs, ours, f"{found.verdict}: {difference_words(one)}"))
    if findings.contrasts and is_of_levels(findings):
        kinds = ("baseline", "this")
    else:
        kinds = ("without dropout", "with dropout") if is_of_dropout(findings) else ("control", "with it")
    difference = measure.headed("verdict: difference", measure.points)
    return Table(("network", *map(measure.headed, kinds), difference), rows)


def _values(findings: Findings, one: ArmComparison) -> tuple[float, float]:
    """The metric on test of what an arm is compared with, and its own, over the seeds that they were compared on."""
    mine, theirs = (findings.by_seed(arm, "off", "test") for arm in (one.arm, one.against))
    seeds = [seed for seed in findings.plan.settings.seeds if seed in mine.index and seed in theirs.index]
    base = float(theirs[seeds[: one.comparison.seeds]].mean())
    return base, base + one.comparison.difference


def difference_words(one: ArmComparison) -> str:
    """A difference without its unit, with the interval that its verdict is read from."""
    found, change = one.comparison, one.comparison.measure.change
    ends = "" if found.low is None or found.high is None else f" [{change(found.low)}, {change(found.high)}]"
    return f"{change(found.difference)}{ends}"


def is_of_dropout(findings: Findings) -> bool:
    """Whether nothing but dropout, and perhaps depth, is compared."""
    return bool(findings.contrasts) and all(is_of_dropout_alone(one.arm) for one in findings.contrasts)


def is_of_levels(findings: Findings) -> bool:
    """Whether no regularizer is compared, but levels with a baseline."""
    return all(one.against.name != one.arm.control or one.arm.is_control for one in findings.contrasts)


def _title(findings: Findings) -> str:
    contrasts = findings.contrasts
    acting = [one for one in contrasts if one.comparison.verdict != "does not apply"]
    if not acting and findings.done < findings.wanted:
        return "Nothing can be said yet"
    if not contrasts:
        return "Nothing is compared: all networks are alike but for their seeds"
    if is_of_levels(findings):
        return _title_of_levels(findings, acting) if acting else "What varies never acted: the networks are the same"
    dropout = is_of_dropout(findings)
    if not acting:
        never = "What is compared never acted: the networks are those of the control"
        return "Dropout cannot act in these networks" if dropout else never
    if all(one.comparison.seeds == 1 for one in acting):
        return f"One seed cannot tell {'whether dropout helps' if dropout else 'which regularizers help'}"
    if not dropout:
        return _title_of_many(acting)
    found = {verdict: [one for one in acting if one.comparison.verdict == verdict] for verdict in _ONE}
    found = {verdict: mine for verdict, mine in found.items() if mine}
    if len(found) == 1:
        ((verdict, mine),) = found.items()
        if verdict == "undecided":
            return "Whether dropout helps is not decided yet"
        by = f", by {_range_words(mine)}"
        return f"Dropout {_ONE[verdict]}{by if verdict in ('helps', 'hurts') else ''}"
    told = f"Dropout {'; '.join(f'{_ONE[verdict]} {places_words(mine, contrasts)}' for verdict, mine in found.items())}"
    return told if len(told) <= _LONGEST else f"Dropout: {_counts(acting, 'networks')}"


def _title_of_many(acting: Sequence[ArmComparison]) -> str:
    """Of several regularizers: the one that helps most, and how many the others are."""
    best = max(acting, key=lambda one: (one.comparison.verdict == "helps", one.comparison.gain))
    if len(acting) == 1:
        (one,) = acting
        found = one.comparison
        size = f": {found.measure.change_words(found.difference)}" if found.verdict in ("helps", "hurts") else ""
        return f"{_capital(spaced(one.arm.trained))} {_ONE[one.comparison.verdict]}{size}"
    if best.comparison.verdict != "helps":
        return f"None is shown to help: {_counts(acting, 'arms')}"
    name = _capital(spaced(best.arm.name))
    return f"{name} helps most, by {_size_words(best)}; {_counts(acting, 'arms')}"


def _title_of_levels(findings: Findings, acting: Sequence[ArmComparison]) -> str:
    """Of levels: the winner, or of an ordered axis what to take."""
    if all(one.comparison.seeds == 1 for one in acting):
        return "One seed cannot tell which is best"
    if all(one.comparison.verdict == "undecided" for one in acting):
        return "Which is best is not decided yet"
    if findings.done == findings.wanted and _is_ordered(findings):
        return f"Take {arm_label(findings, findings.best)}"
    if sum(len(axis.levels) > 1 for axis in findings.plan.axes) > 1:
        name = _capital(arm_label(findings, findings.best))
        return f"{name} is best on held-out examples; against the baselines {_counts(acting, 'comparisons')}"
    helps = [one for one in acting if one.comparison.verdict == "helps"]
    if helps:
        best = max(helps, key=lambda one: one.comparison.gain)
        winner, loser = (arm_label(findings, one) for one in (best.arm, best.against))
        return f"{_capital(winner)} beats {loser}, by {_size_words(best)}"
    return f"None is shown to be better than the baseline: {_counts(acting, 'arms')}"


def _is_ordered(findings: Findings) -> bool:
    """Whether one axis of at least three numbers varies, and nothing else."""
    axes = findings.plan.axes
    return len(axes) == 1 and axes[0].is_numeric and len(axes[0].levels) >= 3


def _counts(acting: Sequence[ArmComparison], things: str) -> str:
    """How many help, hurt and so on, of all."""
    found = Counter(one.comparison.verdict for one in acting)
    told = [f"{found[v]} {(_ONE if found[v] == 1 else _MANY)[v]}" for v in _ONE if found[v]]
    return f"of {len(acting)} {things} {listed(told)}"


def _deck(findings: Findings) -> str:
    acting = [one for one in findings.contrasts if one.comparison.verdict != "does not apply"]
    if not acting:
        return ""
    decided = [one for one in acting if one.comparison.verdict not in ("undecided", "equivalent")] or acting
    chosen = [one for one in decided if one.arm == findings.best]
    shown = max(chosen or decided, key=lambda one: abs(one.comparison.difference))
    return f"{_example(findings, shown)} {_sure(findings, acting)}"


def _example(findings: Findings, one: ArmComparison) -> str:
    """A difference as counts of examples, where the metric is such a count; else as it is."""
    measure, (theirs, ours) = findings.measure, _values(findings, one)
    where = f" (in {row_label(findings, one.arm)})" if len(findings.contrasts) > 1 else ""
    without, with_it = "without dropout", "with it"
    if is_of_levels(findings):
        without, with_it = (f"with {arm_label(findings, arm)}" for arm in (one.against, one.arm))
        where = ""
    elif not is_of_dropout(findings):
        without, with_it = "without it", f"with {spaced(one.arm.trained)}"
        where = f" ({spaced(one.arm.place)})" if one.arm.place else ""
    if measure != ACCURACY:
        better = " (less is better)" if measure.sign < 0 else ""
        return (
            f"{_capital(without)}, {measure.label} on test{better} is {measure.value_words(theirs)}; {with_it}, "
            f"{measure.value_words(ours)}{where}."
        )
    of = next((of for of in (100, 1000) if round(of * theirs) != round(of * ours)), 10_000)
    return (
        f"{_capital(without)}, {round(of * theirs):,} of {of:,} test examples are classified rightly; {with_it}, "
        f"{round(of * ours):,}{where}."
    )


def _sure(findings: Findings, acting: Sequence[ArmComparison]) -> str:
    """How sure that is; of what is undecided, which way it leans."""
    most = max(one.comparison.seeds for one in acting)
    if most == 1:
        return "Each was trained once, so this may be chance; three random starts are the least that can tell."
    if findings.done < findings.wanted:
        return "The study is not finished, so this may change."
    undecided = [one for one in acting if one.comparison.verdict == "undecided"]
    if undecided and len(undecided) == len(acting):
        one = max(undecided, key=lambda one: abs(one.comparison.difference))
        leans = "helping" if one.comparison.gain > 0 else "hurting"
        size = f"{difference_words(one)} {findings.measure.points}".rstrip()
        return f"It leans towards {leans} ({size}), but chance could make as much."
    if _is_ordered(findings):
        return f"Held-out examples recommend {arm_label(findings, findings.best)}: {_rule(findings)}."
    return (
        f"Each was trained {most} times from different random starts; chance alone would make such a study find an "
        f"effect in {percent(ERROR)} of cases at most."
    )


def _rule(findings: Findings) -> str:
    """Why an arm is the best on valid."""
    if len({(arm.widths, arm.dropout) for arm in findings.plan.arms}) > 1:
        return "the simplest within one standard error of the best"
    return f"the best {findings.measure.label} on them"


def _next(findings: Findings, command: str) -> Next | None:
    """The command with as many seeds as may settle half of what is undecided, but no more than are worth it.

    A study that was stopped goes on by the same command; one that asks for the best arm, and not for verdicts, needs no
    other.
    """
    plan = findings.plan
    undecided = [one for one in findings.contrasts if one.comparison.verdict == "undecided"]
    typable = command and not plan.settings.data.endswith(IN_MEMORY)
    if not undecided or not typable or findings.done < findings.wanted or plan.settings.until == "best":
        return None
    needed = sorted(count for one in undecided if (count := _seeds_needed(one)) is not None)
    if not needed:
        return None
    seeds = needed[len(needed) // 2]
    arms = {arm.name: arm for one in undecided for arm in (one.arm, one.against)}
    going = list(arms.values()) if plan.settings.until else plan.distinct
    typed = with_seeds(command, _seed_words(plan.settings.seeds, seeds))
    return Next(len(undecided), seeds, typed, _seconds(findings, going, seeds))


def _seeds_needed(one: ArmComparison) -> int | None:
    """How many seeds may settle a comparison; `None` where no number does that is worth its time."""
    if one.comparison.seeds < _FIRST_SEEDS:
        return _FIRST_SEEDS
    return one.comparison.seeds_needed.low if one.comparison.seeds_needed else None


def _seconds(findings: Findings, arms: Sequence[Arm], seeds: int) -> float:
    """About how long it takes until these arms have so many seeds, by what the finished networks took."""
    plan, records = findings.plan, findings.records
    wanted = set(arms)
    done = sum(len(wanted.intersection(run.arms)) for run in plan.runs if run.key in records)
    outcomes = [record.outcome for record in records.values()]
    each = sum(outcome.train_seconds + outcome.evaluate_seconds for outcome in outcomes) / len(outcomes)
    return each * max(seeds * len(arms) - done, 0) / (cores() if plan.runs[0].way.device == "cpu" else 1)


def with_seeds(command: str, seeds: str) -> str:
    """A command with other seeds.

    >>> with_seeds("droplab study mine.toml --seeds 3 --epochs 9", "8")
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


def _seed_words(have: Sequence[int], wanted: int) -> str:
    """So many seeds as one types them: a count where they begin at 0, else those there are and the ones after them."""
    if list(have) == list(range(len(have))):
        return str(wanted)
    more = range(max(have) + 1, max(have) + 1 + wanted - len(have))
    return ",".join(map(str, (*have, *more)))


def _size_words(one: ArmComparison) -> str:
    """How large a difference is, in the metric's unit; of which metric, where it is not accuracy."""
    measure = one.comparison.measure
    return (
        f"{measure.size_words(one.comparison.difference)}{'' if measure == ACCURACY else f' of test {measure.label}'}"
    )


def _range_words(comparisons: Sequence[ArmComparison]) -> str:
    """The smallest and the largest of differences as sizes, once if they read the same."""
    measure = comparisons[0].comparison.measure
    sizes = sorted(abs(one.comparison.difference) for one in comparisons)
    told = " to ".join(dict.fromkeys(measure.change(one).lstrip("+") for one in (sizes[0], sizes[-1])))
    return f"{told} {measure.points}".rstrip() + f" of test {measure.label}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
