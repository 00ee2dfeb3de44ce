"""The live view: what it shows of each arm, how long it says that is left, and that it fits its terminal."""

import io
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from rich.console import Console

from droplab.cli import live
from droplab.cli.live import View, watch
from droplab.errors import TrainingError
from droplab.stats.measure import MEASURES
from droplab.study.forecast import Forecast
from droplab.study.plan import Run
from droplab.train.state import Progress
from study_help import toy_plan


def forecast(seconds: float | None) -> Forecast:
    return Forecast(runs=4, stored=0, packs=1, workers=1, seconds=seconds, memory=1e6, disk=1e6)


def trained(accuracy: float) -> SimpleNamespace:
    """What the view asks of a finished network."""
    return SimpleNamespace(outcome=SimpleNamespace(metric=lambda *_: accuracy, train_seconds=1.0))


def view_of(runs: Sequence[Run], width: int = 80, height: int = 24) -> View:
    """A view on a terminal of that size, of a study that begins."""
    view = View(Console(file=io.StringIO(), force_terminal=True, width=width, height=height))
    view.begin(runs, runs)
    return view


def shown(view: View) -> list[str]:
    """Its lines, as a terminal would have them."""
    with view.console.capture() as captured:
        view.console.print(view.render())
    return [live.Text.from_ansi(line).plain.rstrip() for line in captured.get().splitlines()]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, to be set."""
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    return clock


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


def test_time_left_is_the_forecasts_until_a_tenth_is_done_and_then_follows_from_what_passed(
    passed: list[float],
) -> None:
    (run,) = toy_plan(seeds=1, depths=[2], dropout=0, epochs=100).runs
    view = View(Console(file=io.StringIO()))
    view.planned(forecast(60))
    view.begin([run], [run])
    passed[0] += 20  # of which most went to compiling
    view.progress(run, Progress(0, 1, 0.1, None))
    assert view.line() == "1% done, 0:20 passed, about 0:40 left"
    passed[0] += 10
    view.progress(run, Progress(0, 50, 0.1, None))
    assert view.line() == "50% done, 0:30 passed, about 0:30 left"
    passed[0] += 10
    view.progress(run, Progress(0, 100, 0.1, None))
    assert view.line() == "100% done, 0:40 passed, about 0:00 left, 1.5 networks a minute"


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_without_a_forecast_that_can_be_time_left_follows_from_what_passed(
    passed: list[float], seconds: float | None
) -> None:
    (run,) = toy_plan(seeds=1, depths=[2], dropout=0, epochs=100).runs
    view = View(Console(file=io.StringIO()))
    view.planned(forecast(seconds))
    view.begin([run], [run])
    passed[0] += 10
    view.progress(run, Progress(0, 5, 0.1, None))
    assert view.line() == "5% done, 0:10 passed, about 3:10 left"


def test_an_arms_difference_from_its_control_is_over_the_seeds_that_both_finished() -> None:
    runs = toy_plan(seeds=3, depths=[2]).runs
    view = view_of(runs)
    accuracies = {("control", 0): 0.90, ("control", 1): 0.92, ("dropout=0.5", 0): 0.91, ("dropout=0.5", 2): 0.99}
    for run in runs:
        if accuracy := accuracies.get((run.arms[0].name, run.settings.seed)):
            view.finished(run, trained(accuracy))
    control, dropout = (line.split() for line in shown(view)[1:3])
    assert (control[:2], dropout[:2], dropout[-1]) == (["control", "2/3"], ["dropout=0.5", "2/3"], "+1.00")
    assert control[-1] == "2/3", "a control has no difference from itself"


def test_a_view_fits_80_columns_and_shortens_no_number() -> None:
    runs = toy_plan(seeds=10, depths=[2], epochs=1000, vary={"batch_size": [16, 32], "learning_rate": [0.1, 0.2]}).runs
    view = view_of(runs)
    for run in runs:
        view.progress(run, Progress(0, 1000, 12.3456, 1.0))
        view.finished(run, trained(1.0))
    lines = shown(view)
    assert max(map(len, lines)) <= 80
    arms = [line for line in lines if "…" in line]
    assert len(arms) == 8, "long names are cut"
    assert all("10/10" in line and "1000/1000    12.3456  100.00" in line for line in arms)
    assert [line.split()[0].endswith(",dropout=0.5") for line in arms[:2]] == [False, True], (
        "their ends tell them apart"
    )
    assert arms[1].endswith(" 0.00")


def test_the_view_is_of_the_metric_in_question() -> None:
    runs = toy_plan(seeds=1, depths=[2]).runs
    view = View(Console(file=io.StringIO(), width=80), asked=MEASURES["nll"])
    view.begin(runs, runs)
    for run, nll in zip(runs, (0.5, 0.25), strict=True):
        found = {"nll": nll, "accuracy": 0.9}
        metric = SimpleNamespace(metric=lambda mode, split, name, found=found: found[name], train_seconds=1.0)
        view.finished(run, SimpleNamespace(outcome=metric))
    assert "valid NLL 0.2500" in view.console.file.getvalue()
    assert "NLL vs control" in shown(view)[0]
    assert {line.split()[-1] for line in shown(view)[1:3]} & {"−0.2500", "0.2500", "+0.2500"}


def test_a_low_terminal_shows_the_arms_under_way_and_how_many_more_there_are() -> None:
    runs = toy_plan(seeds=1, depths=[2], vary={"batch_size": [8, 16, 32, 64, 128, 256]}).runs
    view = view_of(runs, height=9)
    later = next(run for run in runs if run.arms[0].name == "batch_size=256,dropout=0.5")
    view.progress(later, Progress(0, 1, 0.1, 0.9))
    lines = shown(view)
    assert len(lines) <= 9
    assert any(line.startswith("batch_s") and "256,dropout=0.5" in line and "0.1000" in line for line in lines)
    assert "and 7 more" in lines


def test_a_quiet_view_says_what_must_be_known_to_stderr_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = toy_plan(seeds=1, depths=[2], dropout=0).runs
    with watch(quiet=True) as view:
        view.planned(forecast(1))
        view.begin([run], [run])
        view.progress(run, Progress(0, 1, 0.1, 0.9))
        view.looked("look at 3 seeds")
        view.notice("3 images of test are in train, too")
        view.finished(run, TrainingError("the loss must stay a finite number"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "3 images of test are in train, too",
        "failed: control seed 0: the loss must stay a finite number",
    ]
