"""Writing a report: every file of a study's output folder but the models."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from droplab.data.spreadsheet import csv_text
from droplab.errors import ConfigError, DataError
from droplab.report.dictionary import render_dictionary
from droplab.report.document import SCHEMA_FILE, document_schema, study_document
from droplab.report.drawing import FILES, PAGE, draw
from droplab.report.figures import FIGURES, study_figures
from droplab.report.markdown import render_markdown
from droplab.report.page import render_page
from droplab.report.paper import bibtex, paper_tex

if TYPE_CHECKING:
    from droplab.data.output import Folder
    from droplab.report.style import Figure
    from droplab.study.exhibits import Exhibits
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin

MORE_FILES = ("pdf",)
"""The kinds of files of a figure that are drawn if they are asked for."""

REPORT = (
    *("README.md", "results.csv", "runs.csv", "curves.csv", "curves.parquet", "study.json", SCHEMA_FILE),
    *("paper.tex", "paper.bib", "report.html", "report.md"),
    *(f"figures/{name}.{kind}" for name in FIGURES for kind in (*FILES, *MORE_FILES)),
)
"""The files that a report may have, models and probabilities aside."""


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise unless figures can be drawn as files of these kinds.

    Raises:
        ConfigError: if there is no such kind.
    """
    if odd := [kind for kind in kinds if kind not in MORE_FILES]:
        raise ConfigError(
            f"figures are always SVG and PNG, and {', '.join(MORE_FILES)} if asked for; found {', '.join(odd)}."
        )


def write_tables(folder: Folder, findings: Findings, origin: Origin, raw: bool = False) -> list[Path]:
    """Write the tables, `study.json` with its schema, and what a paper takes; no figure is needed for them.

    Args:
        folder: of the output.
        findings: the study's, with at least one finished run.
        origin: where the numbers come from.
        raw: whether text goes into CSV as it is, as `csv_text` has it.

    Returns:
        The files written.

    Raises:
        DataError: if no run is finished, or a file cannot be written.
    """
    curves = io.BytesIO()
    if not findings.done:
        raise DataError("a report needs at least one finished run; found none. Run the study first.")
    findings.curves.to_parquet(curves, index=False)
    documents = {"study.json": study_document(findings, origin), SCHEMA_FILE: document_schema()}
    frames = {"results.csv": findings.results, "runs.csv": findings.runs, "curves.csv": findings.curves}
    return [
        *(folder.write(name, csv_text(frame, raw).encode()) for name, frame in frames.items()),
        folder.write("curves.parquet", curves.getvalue()),
        *(
            folder.write(name, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode())
            for name, document in documents.items()
        ),
        folder.write("paper.tex", paper_tex(findings).encode()),
        folder.write("paper.bib", bibtex(findings).encode()),
    ]


def write_dictionary(folder: Folder, findings: Findings, origin: Origin) -> Path:
    """Write `README.md`, which says what the files written before it are; arguments as those of `write_tables`.

    Raises:
        DataError: if it cannot be written.
    """
    files = [*folder.written, "README.md"]
    return folder.write("README.md", render_dictionary(findings, origin, files).encode())


@contextmanager
def drawn(
    figures: Mapping[str, Figure], kinds: tuple[str, ...], notify: Callable[[str], None]
) -> Iterator[Future[dict[str, bytes]]]:
    """Figures, by file name, being drawn by other processes while this one goes on; arguments as those of `draw`."""
    specs = {name: figure.drawing for name, figure in figures.items()}
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(draw, specs, kinds, notify)


def write_report(
    folder: Folder,
    findings: Findings,
    origin: Origin,
    exhibits: Exhibits | None,
    figures: Mapping[str, Figure],
    pictures: Mapping[str, bytes],
) -> list[Path]:
    """Write `figures/`, `report.html` and `report.md`.

    Args:
        folder: of the output.
        findings: the study's, with at least one finished run; some may be missing, and the page says so.
        origin: where the numbers come from.
        exhibits: of the network that valid chose, if they are shown.
        figures: of `figures.study_figures`.
        pictures: of these, of the kind `PAGE` and of those of files, as `drawing.draw` gives them.

    Returns:
        The files written.

    Raises:
        DataError: if a file cannot be written.
    """
    page = render_page(findings, origin, figures, exhibits, pictures, in_folder=True)
    return [
        *_save(pictures, folder),
        folder.write("report.html", page.encode()),
        folder.write("report.md", render_markdown(findings, origin).encode()),
    ]


def write_page(
    folder: Folder,
    findings: Findings,
    origin: Origin,
    exhibits: Exhibits | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the HTML page, its figures inside it, and nothing else.

    Args:
        folder: of the output.
        findings: the study's, with at least one finished run.
        origin: where the numbers come from.
        exhibits: of the network that valid chose, if they are shown.
        notify: told that figures could not be drawn, if so.

    Raises:
        DataError: if no run is finished, or the file cannot be written.
    """
    figures = study_figures(findings, exhibits)
    pictures = draw({name: figure.drawing for name, figure in figures.items()}, (PAGE,), notify)
    return folder.write("report.html", render_page(findings, origin, figures, exhibits, pictures).encode())


def save_figures(
    figures: Mapping[str, Figure], folder: Folder, notify: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Write each figure as `figures/NAME.svg` and, at twice its size, as `NAME.png`.

    Args:
        figures: by file name.
        folder: of the output.
        notify: told that they could not be drawn, if so.

    Returns:
        The files written.

    Raises:
        DataError: if a file cannot be written; nothing half-written is left behind.
    """
    return _save(draw({name: figure.drawing for name, figure in figures.items()}, FILES, notify), folder)


def _save(pictures: Mapping[str, bytes], folder: Folder) -> list[Path]:
    ends = tuple(f".{kind}" for kind in (*FILES, *MORE_FILES))
    files = {name: content for name, content in pictures.items() if name.endswith(ends)}
    return [folder.write(f"figures/{name}", content) for name, content in files.items()]
