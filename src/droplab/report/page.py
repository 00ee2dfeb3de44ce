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
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup

from droplab import __version__
from droplab.data.spreadsheet import csv_text
from droplab.report import cells, words
from droplab.report.answer import answer_of, is_of_dropout, is_of_levels
from droplab.report.cells import Table
from droplab.report.drawing import LIBRARY, PAGE
from droplab.report.paper import bibtex, latex_table, methods_words
from droplab.report.pictures import image_png, signed_grid_png
from droplab.report.post import agreement_words, figures_table, judged, post_times_table
from droplab.report.style import Figure
from droplab.study.origin import environments

if TYPE_CHECKING:
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin

_SUB = ("post-conclusions", "post-figures", "post-times")
"""Sections within others."""


@dataclass(frozen=True)
class _Drawn:
    """A figure as the page has it: its title, how to read it, an SVG, what draws it, and its numbers, also as CSV."""

    title: str
    caption: str
    svg: Markup
    spec: Markup
    numbers: Table
    csv: str


def render_page(
    findings: Findings,
    origin: Origin,
    figures: Mapping[str, Figure],
    exhibits: Exhibits | None = None,
    pictures: Mapping[str, bytes] | None = None,
    in_folder: bool = False,
) -> str:
    """Render the report as one HTML page that loads nothing.

    Charts are drawn in the browser, by one copy of Vega; without scripts, and on paper, their SVG is shown.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
        figures: of `figures.study_figures`.
        exhibits: of the network that valid chose, if they are shown.
        pictures: of the figures, of kind `PAGE`, as `drawing.draw` gives them; without them the page has no figures.
        in_folder: whether the figures lie as files beside the page, which then links to them.
    """
    plan, best, beside, measure = findings.plan, findings.best, findings.post, findings.measure
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pictures = pictures or {}
    library, script = pictures.get(LIBRARY, b"").decode(), _part("page.js")
    images, first_layers = _images(exhibits)
    shown = {name: _drawn(figure, name, pictures) for name, figure in figures.items() if pictures}
    modes, calibration = cells.modes_table(findings), cells.calibration_table(findings)
    titles = {
        "what-helps": "Which is better?" if findings.contrasts and is_of_levels(findings) else "What helps?",
        "learning": "How they learned",
        "inference": "Dropout left on at inference is not “no dropout”" if modes.rows else "",
        "the-post": "The post, claim by claim" if beside else "",
        "post-conclusions": "What it concludes" if beside else "",
        "post-figures": "Its accuracies and charts" if beside else "",
        "post-times": "Its times" if beside else "",
        "probabilities": "Can the probabilities be believed?" if calibration.rows else "",
        "mistakes": "What the best network gets wrong",
        "inside": "Inside the networks" if first_layers or "activations" in shown else "",
        "times": "Times",
        "methods": "Methods and data",
        "words": "Words used here",
    }
    titles = {name: title for name, title in titles.items() if title}
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
        titles=titles,
        contents=list(titles),
        sub=_SUB,
        in_folder=in_folder,
        answer=answer_of(findings, origin.command),
        missing=words.missing_words(findings),
        enough=words.enough_words(findings.states),
        sure=words.sure_words(findings),
        looks=words.looks_words(findings),
        notices=[one for one in (words.published_differences(plan.settings), *origin.findings, *origin.notices) if one],
        best_label=words.arm_label(findings, best),
        best_seed=findings.best_run.settings.seed,
        best_values=[cells.over_seeds(findings, best, "off", "valid"), cells.over_seeds(findings, best, "off")],
        measure=measure,
        sampling=words.sampling_words(findings),
        refit=words.refit_words(findings),
        compared_words=_compared_words(findings),
        control_table=cells.comparison_table(findings.contrasts),
        levels_table=cells.comparison_table(findings.levels),
        depth_table=cells.comparison_table(findings.deeper),
        ranking_table=cells.comparison_table(findings.ranking),
        trends=[words.trend_words(one, measure) for one in findings.trends],
        arms_table=cells.arms_table(findings),
        calibration_table=calibration,
        modes_table=modes,
        classes_table=cells.classes_table(findings),
        classes=origin.classes,
        post=beside and beside.post,
        post_agreement=beside and agreement_words(beside.figures),
        post_figures=beside and figures_table(beside.figures),
        post_times=beside and post_times_table(beside),
        judged=beside and judged(beside),
        figures=shown,
        exhibits=exhibits,
        images=images,
        first_layers=first_layers,
        times_table=cells.times_table(findings),
        device_words=words.device_words(findings),
        when_words=_when_words(origin),
        methods=methods_words(findings),
        latex=latex_table(findings),
        bibtex=bibtex(findings),
        settings_table=cells.settings_table(plan.settings),
        environments=environments(findings.records.values()),
        glossary=words.GLOSSARY,
    )


def _compared_words(findings: Findings) -> str:
    """What a row of the main table is, and why there may be fewer networks than one expects."""
    label = findings.measure.label
    if is_of_levels(findings):
        what = "Each row: networks at one level, beside the same at the baseline"
    elif is_of_dropout(findings):
        what = "Each row: networks trained with dropout, beside the same networks trained without it (the control)"
    else:
        what = "Each row: networks trained with a regularizer, beside the same trained without it (the control)"
    return f"{what}. Test {label}, dropout off at inference, mean over the seeds. {words.count_words(findings)}"


def _when_words(origin: Origin) -> str:
    started = origin.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if not origin.trained:
        return f"Nothing was trained for this page, which was made {started}."
    return f"{origin.trained} networks were trained from {started} in {words.duration_words(origin.seconds)}."


def _images(exhibits: Exhibits | None) -> tuple[dict[int, str], dict[str, str]]:
    """The pictures of mistakes by example, and those of first layers by what was trained, as URLs."""
    if exhibits is None or (shape := exhibits.image_shape) is None:
        return {}, {}
    images = {place: _data_url(image_png(image)) for place, image in exhibits.images.items()}
    return images, {name: _data_url(signed_grid_png(one, shape)) for name, one in exhibits.first_layers.items()}


def _drawn(figure: Figure, name: str, pictures: Mapping[str, bytes]) -> _Drawn:
    """The figure as the page has it."""
    spec = json.dumps(figure.spec, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    table = csv_text(pd.DataFrame(figure.numbers.rows, columns=list(figure.numbers.head)))
    return _Drawn(
        figure.title,
        figure.caption,
        Markup(_inlined(pictures[f"{name}.{PAGE}"].decode(), name)),
        Markup(spec.replace("<", "\\u003c")),  # so that no text in it ends the element that holds it
        figure.numbers,
        f"data:text/csv;charset=utf-8,{quote(table)}",
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
