"""The page alone, without the files that a whole report has around it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from droplab.data.disk import write_atomically
from droplab.report import charts, page, tables
from droplab.report.write import save_figures

if TYPE_CHECKING:
    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def write_page(path: Path, plan: Plan, records: Mapping[str, RunRecord], origin: Origin) -> None:
    """Write the HTML page, its figures inside it, and nothing else.

    Args:
        path: the file; it takes the place of an older one once it is complete.
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where the numbers come from.

    Raises:
        DataError: if no run is finished, or the file cannot be written.
    """
    results = tables.results_frame(plan, records)
    drawn = charts.all_charts(results, tables.curves_frame(plan, records), tables.control_comparisons(plan, records))
    with tempfile.TemporaryDirectory() as folder:
        svgs = {
            file.stem: file.read_text("utf-8") for file in save_figures(drawn, Path(folder)) if file.suffix == ".svg"
        }
    with write_atomically(path) as handle:
        handle.write(page.render_page(plan, records, origin, svgs).encode())
