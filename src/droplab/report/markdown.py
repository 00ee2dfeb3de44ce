"""A report as Markdown that fits in a pull request, and what it is made of: escaped text, tables, code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from droplab import __version__
from droplab.report.answer import answer_of
from droplab.report.cells import Table, arms_table, comparison_table
from droplab.report.post import agreement_words, figures_table, judged
from droplab.report.words import (
    arm_label,
    count_words,
    looks_words,
    missing_words,
    published_differences,
    regime_words,
    sampling_words,
    sure_words,
)

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin

MOST_CHARACTERS = 65_000
"""A comment on GitHub may have 65,536; whatever a study is named, asks and compares, a report has fewer than this."""

_LONGEST_TEXT, _LONGEST_COMMAND, _LONGEST_VERDICTS, _MOST_NOTES = 2_500, 8_000, 12_500, 20
_SIGNS = re.compile(r"([\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_]))")


def render_markdown(findings: Findings, origin: Origin) -> str:
    """Render question, answer, verdicts, arms and the command, in fewer than `MOST_CHARACTERS` characters.

    Rows that do not fit are left out, and how many is said.

    Args:
        findings: the study's; some runs may be missing, and it says so.
        origin: where they come from.
    """
    plan, told = findings.plan, answer_of(findings, origin.command)
    missing = missing_words(findings)
    notes = [f"{missing}." if missing else "", published_differences(plan.settings) or ""]
    notes += [*origin.findings, *origin.notices]
    shown = [f"- {escaped(note, 300 if i > 1 else _LONGEST_TEXT)}" for i, note in enumerate(notes) if note]
    start = [f"# {escaped(plan.settings.name)}"]
    if plan.settings.question:
        start.append(f"**Question.** {escaped(plan.settings.question)}")
    start.append(f"**Answer.** {escaped(told.title)}. {escaped(told.deck)}".rstrip())
    start += [
        escaped(words)
        for words in (regime_words(findings.states), sure_words(findings), looks_words(findings))
        if words
    ]
    if shown:
        more = [f"- … and {len(shown) - _MOST_NOTES} notes more"] if len(shown) > _MOST_NOTES else []
        start.append("\n".join(shown[:_MOST_NOTES] + more))
    if told.rows.rows:
        start += [
            "## What helps?",
            table(told.rows, _LONGEST_VERDICTS),
            f"Test {findings.measure.label}, dropout off at inference, mean over the seeds; difference with "
            f"the interval that the verdict is read from. {escaped(count_words(findings))}",
        ]
    if told.next is not None:
        start += [told.next.words, code(told.next.command)]
    if plan.settings.vary and findings.ranking:
        start += [
            "## Every arm against the best on valid",
            table(comparison_table(findings.ranking), _LONGEST_VERDICTS),
            f"In the order of the mean {findings.measure.label} on valid; the differences are on test.",
        ]
    if beside := findings.post:
        claims = "\n".join(
            f"- {escaped(one.conclusion.text)} **{one.judgement.capitalize()}.** {escaped(one.words)}"
            for one in judged(beside)
        )
        start += [
            "## The post, claim by claim",
            f"{escaped(beside.post.source)}. {escaped(agreement_words(beside.figures))}",
            table(figures_table(beside.figures)),
            claims,
        ]
    examples = ", ".join(f"{count:,} {split}" for split, count in origin.examples.items())
    end = [
        "Mean ± standard deviation over the seeds, dropout off at inference."
        + (f" Chosen on valid: {escaped(arm_label(findings, findings.best))}." if findings.done else "")
        + f" {escaped(sampling_words(findings))}".rstrip(),
        "## How to repeat it",
        code(origin.command),
        f"Data: {escaped(origin.data, 200)} ({examples}; {escaped(origin.source, 500)}), "
        f"fingerprint `{plan.fingerprint[:12]}`. droplab {__version__}.",
    ]
    room = MOST_CHARACTERS - sum(len(part) + 2 for part in (*start, *end)) - len("## Arms\n\n\n\n")
    return "\n\n".join([*start, "## Arms", table(arms_table(findings), room), *end]) + "\n"


def escaped(text: str, most: int = _LONGEST_TEXT) -> str:
    r"""The text in one line, as Markdown that shows it as it is; cut after `most` characters, before the escapes.

    >>> print(escaped("a|b <i>"))
    a\|b \<i\>
    """
    line = " ".join(text.split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    return _SIGNS.sub(r"\\\1", "".join(sign if sign.isprintable() else "�" for sign in line))


def table(shown: Table, room: int = MOST_CHARACTERS) -> str:
    """A Markdown table of at most `room` characters.

    Rows from the end on that do not fit are left out, and a line below says how many.

    Args:
        shown: what it shows; a `|` in it is escaped.
        room: enough for the head and for that line, at least.
    """
    lines = [_row(shown.head), _row(["---"] * len(shown.head))]
    left = room - sum(len(line) + 1 for line in lines) - 100  # for the line that says what is missing
    for row in shown.rows:
        line = _row([escaped(cell) for cell in row])
        left -= len(line) + 1
        if left < 0:
            break
        lines.append(line)
    missing = len(shown.rows) - (len(lines) - 2)
    return "\n".join(lines) + (f"\n\n… and {missing} rows more, for which there is no room here." if missing else "")


def code(text: str) -> str:
    """A block of code, whatever backticks are in it; one that is too long is only named."""
    if len(text) > _LONGEST_COMMAND:
        return "The command is too long to stand here; it is in `study.json`."
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    shown = "".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in text)
    return f"{fence}text\n{shown}\n{fence}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
