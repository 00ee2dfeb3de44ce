"""A study in short, already in words: the answer, the verdicts and the arms, for whatever shows it beside the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplab.report import cells
from droplab.report.words import answer, looks_words, regime_words

if TYPE_CHECKING:
    from droplab.study.findings import Findings


@dataclass(frozen=True)
class Headline:
    """A study in short.

    Attributes:
        answer: one sentence.
        heading: of the verdicts.
        verdicts: arms against their control, a row a comparison.
        ranking: every arm against the one that is best on valid; `None` where only depth and rate vary.
        arms: means and spreads, a row an arm that has a finished run.
        best: name of the arm that valid chose; `None` where no run is finished.
        missing: how many networks of how many are finished, in words; `None` if all are.
        looks: at what the study was looked at, in words; `None` for one that is looked at once.
        regime: in what state training was when it stopped, in words; `None` where no verdict suffers from it.
    """

    answer: str
    heading: str
    verdicts: cells.Table
    ranking: cells.Table | None
    arms: cells.Table
    best: str | None
    missing: str | None
    looks: str | None
    regime: str | None


def headline(findings: Findings) -> Headline:
    """Say what the finished runs of a study come to.

    Args:
        findings: the study's; one without a finished run is no error.
    """
    plan, comparisons = findings.plan, findings.contrasts
    done, wanted = findings.done, findings.wanted
    return Headline(
        answer=answer(findings.contrasts),
        heading="Every arm against its control" if plan.settings.vary else "Dropout against its control",
        verdicts=cells.comparison_table(comparisons),
        ranking=cells.comparison_table(findings.ranking) if plan.settings.vary else None,
        arms=cells.arms_table(findings.arms),
        best=findings.best.name if done else None,
        missing=None if done == wanted else f"{done} of {wanted} networks are finished",
        looks=looks_words(findings),
        regime=regime_words(findings.states),
    )
