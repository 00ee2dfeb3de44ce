"""A study in short, already in words: the answer, the verdicts and the arms, for whatever shows it beside the cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from droplab.report import cells, tables
from droplab.report.regimes import arm_states
from droplab.report.words import answer, looks_words, regime_words

if TYPE_CHECKING:
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


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


def headline(plan: Plan, records: Mapping[str, RunRecord]) -> Headline:
    """Say what the finished runs of a study come to.

    Args:
        plan: the study's.
        records: the finished runs by content key; none is no error.
    """
    results = tables.results_frame(plan, records)
    comparisons = tables.control_comparisons(plan, records)
    done, wanted = tables.runs_done(plan, records), tables.runs_wanted(plan, records)
    return Headline(
        answer=answer(comparisons),
        heading="Every arm against its control" if plan.settings.vary else "Dropout against its control",
        verdicts=cells.comparison_table(comparisons),
        ranking=cells.comparison_table(tables.ranking(plan, records)) if plan.settings.vary else None,
        arms=cells.arms_table(tables.arms_table(plan, records)),
        best=tables.best_arm(plan, results).name if done else None,
        missing=None if done == wanted else f"{done} of {wanted} networks are finished",
        looks=looks_words(plan, comparisons),
        regime=regime_words(arm_states(plan, records)),
    )
