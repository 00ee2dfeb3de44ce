"""Writing a report: every file of a study's output folder but the models."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from droplab.data.disk import write_atomically
from droplab.errors import DataError
from droplab.report import tables
from droplab.report.document import study_document
from droplab.report.figures import study_figures
from droplab.report.markdown import render_markdown
from droplab.report.page import render_page

if TYPE_CHECKING:
    import altair as alt

    from droplab.report.exhibits import Exhibits
    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def write_report(
    out: Path,
    plan: Plan,
    records: Mapping[str, RunRecord],
    origin: Origin,
    exhibits: Exhibits | None = None,
    refits: Mapping[int, RunRecord] | None = None,
) -> list[Path]:
    """Write `results.csv`, `curves.parquet`, `figures/`, `report.html`, `report.md` and, last, `study.json`.

    Each file takes the place of an older one only once it is complete.

    Args:
        out: the folder; made where it is not there.
        plan: the study's.
        records: the finished runs by content key; some may be missing, and the page says so.
        origin: where the numbers come from.
        exhibits: of the network that valid chose, if they are shown.
        refits: that network trained again on train and valid, by seed.

    Returns:
        The files written.

    Raises:
        DataError: if no run is finished, or `out` or a file in it cannot be written.
    """
    figures = study_figures(plan, records, exhibits)
    results, curves = tables.results_frame(plan, records), tables.curves_frame(plan, records)
    make_folder(out / "figures")
    with write_atomically(out / "results.csv") as handle:
        handle.write(results.to_csv(index=False, lineterminator="\n").encode())
    with write_atomically(out / "curves.parquet") as handle:
        curves.to_parquet(handle, index=False)
    saved = save_figures({name: figure.chart for name, figure in figures.items()}, out / "figures")
    with write_atomically(out / "report.html") as handle:
        handle.write(render_page(plan, records, origin, figures, exhibits, refits).encode())
    with write_atomically(out / "report.md") as handle:
        handle.write(render_markdown(plan, records, origin).encode())
    document = study_document(plan, records, origin)
    with write_atomically(out / "study.json") as handle:
        handle.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode())
    texts = [out / "report.html", out / "report.md", out / "study.json"]
    return [out / "results.csv", out / "curves.parquet", *saved, *texts]


def make_folder(folder: Path) -> None:
    """Make a folder of the output, and those above it.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: the output must be a folder that can be written; {error.strerror}. Name another one."
        ) from None


def save_figures(charts: Mapping[str, alt.TopLevelMixin], folder: Path) -> list[Path]:
    """Write each chart as `NAME.svg`, as `NAME.png` at twice its size and as `NAME.pdf`; nothing is fetched for it.

    Args:
        charts: by file name.
        folder: where to; it must be there.

    Returns:
        The files written.

    Raises:
        DataError: if a file cannot be written; nothing half-written is left behind.
    """
    paths = []
    formats: tuple[tuple[Literal["svg", "png", "pdf"], int], ...] = (("svg", 1), ("png", 2), ("pdf", 1))
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
