"""The page: a study's answer, its evidence and where it comes from, as one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from droplab import __version__
from droplab.report import cells, tables, words
from droplab.report.document import environments

if TYPE_CHECKING:
    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def render_page(plan: Plan, records: Mapping[str, RunRecord], origin: Origin, figures: Mapping[str, str]) -> str:
    """Render the report as one HTML page that loads nothing.

    Args:
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where they come from.
        figures: SVG text by name, in the order of the page, as `charts.save_figures` writes it.
    """
    results = tables.results_frame(plan, records)
    control = tables.control_comparisons(plan, records)
    best = tables.best_arm(plan, results)
    arms = tables.arms_table(plan, records)
    best_row = next(row for row in arms.to_dict("records") if row["arm"] == best.name)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("droplab.report").joinpath("page.html.j2").read_text("utf-8"))
    return template.render(
        settings=plan.settings,
        origin=origin,
        version=__version__,
        fingerprint=plan.fingerprint,
        done=tables.runs_done(plan, records),
        planned=len(plan.runs),
        answer=words.answer(control),
        control_table=cells.comparison_table(control),
        depth_table=cells.comparison_table(tables.depth_comparisons(plan, records)),
        trends=[words.trend_words(one) for one in tables.depth_trends(plan, results)],
        best=best.name,
        best_accuracies=[cells.mean_and_spread(best_row, f"{split} accuracy", 100, 2) for split in ("valid", "test")],
        arms_table=cells.arms_table(arms),
        modes_table=cells.modes_table(plan, arms),
        classes_table=cells.classes_table(plan, results, origin.classes),
        figures={name: Markup(_inlined(svg, name)) for name, svg in figures.items()},
        differs=words.published_differences(plan.settings),
        settings_table=cells.settings_table(plan.settings),
        environments=environments(records.values()),
        times_table=cells.times_table(records.values()),
        duration=words.duration_words(origin.seconds),
        started=origin.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _inlined(svg: str, name: str) -> str:
    """An SVG whose ids cannot meet those of another one on the page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)
