"""The end of a study on the screen: question, answer, a row a comparison, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from droplab.cli.say import say
from droplab.cli.tables import print_table

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm
    from droplab.study.verdicts import ArmComparison

MOST_ROWS = 20
"""Most comparisons that are shown; the report has all."""

_FIRST_SEEDS = 3  # from which on there is a spread to judge by, with a seed to spare


def conclude(findings: Findings, command: Sequence[str]) -> None:
    """Say what the finished runs of a study come to.

    Args:
        findings: the study's, with at least one finished run.
        command: the words that repeat it.
    """
    from droplab.report.words import answer, refit_words, regime_words

    say(findings.plan.settings.question)
    say(answer(findings.contrasts))
    head, rows = comparison_rows(findings)
    if rows:
        print_table(head, rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        say(f"and {len(rows) - MOST_ROWS} more in the report")
    open_ones, following = further(findings, command)
    for words in (regime_words(findings.states), refit_words(findings), open_ones):
        if words:
            say(words)
    if following:
        typer.echo(f"  {following}")  # in one line, to be copied


def comparison_rows(findings: Findings) -> tuple[list[str], list[list[str]]]:
    """The head and a row a comparison: where, with what, test accuracy without and with it, difference, verdict.

    Accuracies in % and the difference in points, over the seeds that both arms were compared on; behind ± half of the
    interval that the verdict is read from.
    """
    from droplab.study.frames import by_seed
    from droplab.study.names import spaced, trained_words

    plan, contrasts = findings.plan, findings.contrasts
    trained = list(dict.fromkeys(trained_words(one.arm, plan) for one in contrasts))
    rows = []
    for one in contrasts:
        found = one.comparison
        mine, control = (by_seed(findings.results, arm, "off", "test", "accuracy") for arm in (one.arm, one.against))
        shared = [seed for seed in plan.settings.seeds if seed in mine.index and seed in control.index][: found.seeds]
        without = 100 * float(control[shared].mean())
        name = _network(findings, one.arm)
        if not one.against.is_control:
            name = f"{spaced(one.arm.name)} − {spaced(one.against.name)}"
        numbers = [f"{without:.2f}", "–", "–"]
        if found.verdict != "does not apply":
            numbers = [f"{without:.2f}", f"{without + 100 * found.difference:.2f}", _difference(one)]
        within = [trained_words(one.arm, plan)] if len(trained) > 1 else []
        rows.append([name, *within, *numbers, found.verdict])
    labels = ["control %", "with it %"] if len(trained) > 1 else ["control %", f"{''.join(trained)} %"]
    within = ["with"] if len(trained) > 1 else []
    return ["test accuracy", *within, *labels, "difference", ""], rows


def further(findings: Findings, command: Sequence[str]) -> tuple[str, str]:
    """What is undecided and what settles it in about which time, and the command for it; both empty where all is.

    A study that goes on by the same command, or that asks for the best arm and not for verdicts, needs no other.
    """
    from droplab.study.forecast import span_words

    plan = findings.plan
    undecided = [one for one in findings.contrasts if one.comparison.verdict == "undecided"]
    if not undecided or findings.done < findings.wanted or plan.settings.until == "best":
        return "", ""
    needed = [count for one in undecided if (count := _seeds_needed(one)) is not None]
    open_ones = f"{len(undecided)} of {len(findings.contrasts)} {'is' if len(undecided) == 1 else 'are'} undecided"
    if not needed:
        return f"{open_ones}, and no number of seeds that is worth its time would settle it.", ""
    seeds = max(needed)
    arms = {arm.name: arm for one in undecided for arm in (one.arm, one.against)}
    going = list(arms.values()) if plan.settings.until else plan.distinct
    time = span_words(_seconds_for(findings, going, seeds))
    return f"{open_ones}; {seeds} seeds may settle it, in about {time}:", shlex.join(with_seeds(command, seeds))


def with_seeds(command: Sequence[str], seeds: int) -> list[str]:
    """A command as typed, with another number of seeds.

    >>> with_seeds(["droplab", "study", "mnist-depth", "--seeds", "3", "--epochs=9"], 8)
    ['droplab', 'study', 'mnist-depth', '--epochs=9', '--seeds', '8']
    """
    words = iter(command)
    kept = []
    for word in words:
        if word == "--seeds":
            next(words, None)
        elif not word.startswith("--seeds="):
            kept.append(word)
    return [*kept, "--seeds", str(seeds)]


def _seeds_needed(one: ArmComparison) -> int | None:
    """How many seeds may settle a comparison; `None` where no number does that is worth its time."""
    if one.comparison.seeds < _FIRST_SEEDS:
        return _FIRST_SEEDS
    return one.comparison.seeds_needed.low if one.comparison.seeds_needed else None


def _seconds_for(findings: Findings, arms: Sequence[Arm], seeds: int) -> float:
    """About how long it takes until these arms have so many seeds, by what the finished networks took."""
    from droplab.study.limits import cores

    plan, records = findings.plan, findings.records
    done = sum(arm in run.arms for run in plan.runs if run.key in records for arm in arms)
    outcomes = [record.outcome for record in records.values()]
    each = sum(outcome.train_seconds + outcome.evaluate_seconds for outcome in outcomes) / len(outcomes)
    return each * max(seeds * len(arms) - done, 0) / (cores() if plan.runs[0].way.device == "cpu" else 1)


def _network(findings: Findings, arm: Arm) -> str:
    """What tells a comparison's networks from those of the others: their units, where only depth or nothing does."""
    from droplab.study.names import place_words, units_words

    if (arm.place and not arm.place.startswith("depth=")) or "," in arm.place:
        return place_words(arm)
    return units_words(findings.features, arm.widths, len(findings.card.classes))


def _difference(one: ArmComparison) -> str:
    from droplab.stats.compare import points

    found = one.comparison
    if found.low is None or found.high is None:
        return points(found.difference)
    return f"{points(found.difference)} ± {50 * (found.high - found.low):.2f}"
