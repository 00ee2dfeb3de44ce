"""Writing a report: every file of a study's output folder but the models."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from droplab.data.disk import write_atomically
from droplab.errors import DataError
from droplab.report import charts, page, tables
from droplab.report.document import study_document
from droplab.report.markdown import render_markdown

if TYPE_CHECKING:
    import altair as alt

    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def write_report(out: Path, plan: Plan, records: Mapping[str, RunRecord], origin: Origin) -> list[Path]:
    """Write `results.csv`, `curves.parquet`, `figures/`, `report.html`, `report.md` and, last, `study.json`.

    Each file takes the place of an older one only once it is complete.

    Args:
        out: the folder; made where it is not there.
        plan: the study's.
        records: the finished runs by content key; some may be missing, and the page says so.
        origin: where the numbers come from.

    Returns:
        The files written.

    Raises:
        DataError: if no run is finished, or `out` or a file in it cannot be written.
    """
    results = tables.results_frame(plan, records)
    if results.empty:
        raise DataError("a report needs at least one finished run; found none. Run the study first.")
    curves = tables.curves_frame(plan, records)
    comparisons = tables.control_comparisons(plan, records)
    _make_folder(out / "figures")
    with write_atomically(out / "results.csv") as handle:
        handle.write(results.to_csv(index=False, lineterminator="\n").encode())
    with write_atomically(out / "curves.parquet") as handle:
        curves.to_parquet(handle, index=False)
    figures = save_figures(charts.all_charts(results, curves, comparisons), out / "figures")
    svgs = {path.stem: path.read_text("utf-8") for path in figures if path.suffix == ".svg"}
    with write_atomically(out / "report.html") as handle:
        handle.write(page.render_page(plan, records, origin, svgs).encode())
    with write_atomically(out / "report.md") as handle:
        handle.write(render_markdown(plan, records, origin).encode())
    document = study_document(plan, records, origin)
    with write_atomically(out / "study.json") as handle:
        handle.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode())
    texts = [out / "report.html", out / "report.md", out / "study.json"]
    return [out / "results.csv", out / "curves.parquet", *figures, *texts]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: the output must be a folder that can be written; {error.strerror}. Name another one."
        ) from None


def save_figures(charts: Mapping[str, alt.TopLevelMixin], folder: Path) -> list[Path]:
    """Write each chart as `NAME.svg` and as `NAME.png` at twice its size; nothing is fetched for it.

    Args:
        charts: by file name.
        folder: where to; it must be there.

    Returns:
        The files written.

    Raises:
        DataError: if a file cannot be written; nothing half-written is left behind.
    """
    paths = []
    formats: tuple[tuple[Literal["svg", "png"], int], ...] = (("svg", 1), ("png", 2))
    for name, chart in charts.items():
        for kind, scale in formats:
            path = folder / f"{name}.{kind}"
            picture = io.StringIO() if kind == "svg" else io.BytesIO()
            chart.save(picture, format=kind, scale_factor=scale)
            content = picture.getvalue()
            with write_atomically(path) as handle:
                handle.write(content.encode() if isinstance(content, str) else content)
            paths.append(path)
    return paths
