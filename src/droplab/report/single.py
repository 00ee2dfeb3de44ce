"""The page alone, without the files that a whole report has around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from droplab.data.disk import write_atomically
from droplab.report.figures import study_figures
from droplab.report.page import render_page

if TYPE_CHECKING:
    from droplab.report.exhibits import Exhibits
    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def write_page(
    path: Path,
    plan: Plan,
    records: Mapping[str, RunRecord],
    origin: Origin,
    exhibits: Exhibits | None = None,
    refits: Mapping[int, RunRecord] | None = None,
) -> None:
    """Write the HTML page, its figures inside it, and nothing else.

    Args:
        path: the file; it takes the place of an older one once it is complete.
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where the numbers come from.
        exhibits: of the network that valid chose, if they are shown.
        refits: that network trained again on train and valid, by seed.

    Raises:
        DataError: if no run is finished, or the file cannot be written.
    """
    page = render_page(plan, records, origin, study_figures(plan, records, exhibits), exhibits, refits)
    with write_atomically(path) as handle:
        handle.write(page.encode())
