"""The page alone, without the files that a whole report has around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from droplab.report.drawing import PAGE, draw
from droplab.report.figures import study_figures
from droplab.report.page import render_page

if TYPE_CHECKING:
    from droplab.report.exhibits import Exhibits
    from droplab.report.folder import Folder
    from droplab.report.origin import Origin
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord


def write_page(
    folder: Folder,
    plan: Plan,
    records: Mapping[str, RunRecord],
    origin: Origin,
    exhibits: Exhibits | None = None,
    refits: Mapping[int, RunRecord] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the HTML page, its figures inside it, and nothing else.

    Args:
        folder: of the output, which gets `report.html`.
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where the numbers come from.
        exhibits: of the network that valid chose, if they are shown.
        refits: that network trained again on train and valid, by seed.
        notify: told that figures could not be drawn, if so.

    Raises:
        DataError: if no run is finished, or the file cannot be written.
    """
    figures = study_figures(plan, records, exhibits)
    pictures = draw({name: figure.drawing for name, figure in figures.items()}, (PAGE,), notify)
    page = render_page(plan, records, origin, figures, exhibits, refits, pictures)
    return folder.write("report.html", page.encode())
