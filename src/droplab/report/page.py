"""The page: a study's answer, its evidence and where it comes from, as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from droplab import __version__
from droplab.report import cells, words
from droplab.report.cells import Table
from droplab.report.conclusions import judged
from droplab.report.document import environments
from droplab.report.drawing import LIBRARY, PAGE
from droplab.report.pictures import image_png, signed_grid_png
from droplab.report.post import agreement_words, figures_table, post_times_table
from droplab.report.style import Figure

if TYPE_CHECKING:
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin


@dataclass(frozen=True)
class _Drawn:
    """A figure as the page has it: its title and caption, an SVG, what draws it, and its numbers."""

    title: str
    caption: str
    svg: Markup
    spec: Markup
    numbers: Table


def render_page(
    findings: Findings,
    origin: Origin,
    figures: Mapping[str, Figure],
    exhibits: Exhibits | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """Render the report as one HTML page that loads nothing.

    Charts are drawn in the browser, by one copy of Vega; without scripts, and on paper, their SVG is shown.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
        figures: of `figures.study_figures`.
        exhibits: of the network that valid chose, if they are shown.
        pictures: of the figures, of kind `PAGE`, as `drawing.draw` gives them; without them the page has no figures.
    """
    plan, records, control = findings.plan, findings.records, findings.contrasts
    best, arms = findings.best, findings.arms
    best_row = next(row for row in arms.to_dict("records") if row["arm"] == best.name)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    beside = findings.post
    pictures = pictures or {}
    library, script = pictures.get(LIBRARY, b"").decode(), _part("page.js")
    images, first_layers = {}, {}
    if exhibits is not None:
        images = {place: _data_url(image_png(image)) for place, image in exhibits.images.items()}
    if exhibits is not None and exhibits.image_shape is not None:
        shape = exhibits.image_shape
        first_layers = {name: _data_url(signed_grid_png(units, shape)) for name, units in exhibits.first_layers.items()}
    return environment.from_string(_part("page.html.j2")).render(
        css=Markup(_part("page.css")),
        library=Markup(library),
        script=Markup(script),
        # Vega compiles the expressions of a chart, for which it needs eval; nothing but these two scripts may run.
        script_sources=Markup(f"'unsafe-eval' {_source(library)} {_source(script)}"),
        settings=plan.settings,
        origin=origin,
        version=__version__,
        fingerprint=plan.fingerprint,
        done=findings.done,
        planned=findings.wanted,
        answer=words.answer(control),
        regime=words.regime_words(findings.states),
        looks=words.looks_words(findings),
        control_table=cells.comparison_table(control),
        depth_table=cells.comparison_table(findings.deeper),
        ranking_table=cells.comparison_table(findings.ranking) if plan.settings.vary else None,
        trends=[words.trend_words(one) for one in findings.trends],
        best=best.name,
        best_accuracies=[cells.mean_and_spread(best_row, f"{split} accuracy", 100, 2) for split in ("valid", "test")],
        refit=words.refit_words(findings),
        arms_table=cells.arms_table(arms),
        calibration_table=cells.calibration_table(arms),
        modes_table=cells.modes_table(plan, arms),
        classes_table=cells.classes_table(plan, findings.results, origin.classes),
        classes=origin.classes,
        post=beside and beside.post,
        post_agreement=beside and agreement_words(beside.figures),
        post_figures=beside and figures_table(beside.figures),
        post_times=beside and post_times_table(beside),
        judged=beside and judged(beside),
        figures={name: _drawn(figure, name, pictures) for name, figure in figures.items() if pictures},
        exhibits=exhibits,
        images=images,
        first_layers=first_layers,
        differs=words.published_differences(plan.settings),
        settings_table=cells.settings_table(plan.settings),
        environments=environments(records.values()),
        times_table=cells.times_table(records.values()),
        duration=words.duration_words(origin.seconds),
        started=origin.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _drawn(figure: Figure, name: str, pictures: Mapping[str, bytes]) -> _Drawn:
    spec = json.dumps(figure.spec, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _Drawn(
        figure.title,
        figure.caption,
        Markup(_inlined(pictures[f"{name}.{PAGE}"].decode(), name)),
        Markup(spec.replace("<", "\\u003c")),  # so that no text in it ends the element that holds it
        figure.numbers,
    )


def _inlined(svg: str, name: str) -> str:
    """An SVG whose ids cannot meet those of another one on the page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)


def _part(name: str) -> str:
    return resources.files("droplab.report").joinpath(name).read_text("utf-8")


def _source(script: str) -> str:
    """What allows a script by its content in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
