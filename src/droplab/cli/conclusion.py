"""The end of a study on the screen: question, answer, a row a comparison, and what to type next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from droplab.cli.say import say
from droplab.cli.tables import print_table

if TYPE_CHECKING:
    from droplab.study.findings import Findings

MOST_ROWS = 20
"""Most comparisons that are shown; the report has all."""


def conclude(findings: Findings, command: str) -> None:
    """Say what the finished runs of a study come to.

    Args:
        findings: the study's, with at least one finished run.
        command: what repeats it.
    """
    from droplab.report.answer import answer_of
    from droplab.report.words import missing_words, refit_words, regime_words, sampling_words

    told = answer_of(findings, command)
    say(findings.plan.settings.question)
    if missing := missing_words(findings):
        say(f"{missing}:")
    say(f"{told.title}. {told.deck}".rstrip())
    if told.rows.rows:
        print_table(told.rows.head, told.rows.rows[:MOST_ROWS])
    if len(told.rows.rows) > MOST_ROWS:
        say(f"and {len(told.rows.rows) - MOST_ROWS} more in the report")
    for words in (sampling_words(findings), regime_words(findings.states), refit_words(findings)):
        if words:
            say(words)
    if told.next is not None:
        say(told.next.words)
        typer.echo(f"  {told.next.command}")  # in one line, to be copied
