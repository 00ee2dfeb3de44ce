"""The live view: it goes on when more runs begin."""

import io

from rich.console import Console

from droplab.cli.live import View
from droplab.train.engine import Progress
from study_help import toy_plan


def test_a_second_beginning_counts_its_own_runs() -> None:
    shown = View(Console(file=io.StringIO()))
    first, second = toy_plan(seeds=1).runs, toy_plan(seeds=2).runs[-1:]
    shown.begin(first, first)
    for run in first:
        shown.progress(run, Progress(0, run.settings.epochs, 0.1, 0.9))
    shown.begin(second, second)
    assert shown.line().startswith("0% done")
    shown.progress(second[0], Progress(0, second[0].settings.epochs, 0.1, None))
    assert shown.line().startswith("100% done")
