"""The live view of a study: overall progress and a line an arm; plain lines where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from droplab.errors import DroplabError
from droplab.stats.measure import ACCURACY, Measure
from droplab.study.forecast import Forecast
from droplab.study.packs import work
from droplab.study.plan import Arm, Run
from droplab.train.outcome import Split, Trained
from droplab.train.state import Progress

LINE_SECONDS = 10
"""Without a terminal, how often a line of overall progress is printed, at most."""

FORETOLD_SHARE = 0.1
"""Up to which share of the work the time left is that of the forecast: a compilation or a start is no measure."""

STARTED_SHARE = 0.01
"""Up to which share what has passed is no measure of what is left, however long it was."""

_BELOW = 4  # lines of the view beside those of arms: the heads, overall progress and its bar, and what is left out
_ARM_LEAST = 12  # letters of an arm's name that are shown in any case
_OTHER_COLUMNS = 47  # letters of a line beside the arm's name and its gain


@dataclass
class _ArmState:
    """What one arm's line shows; `finished` is the metric in question on valid, by seed, of what was trained now."""

    control: str
    runs: int = 0
    done: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    seed: int | None = None
    finished: dict[int, float] = field(default_factory=dict)

    @property
    def is_under_way(self) -> bool:
        """Whether a network of it is being trained, as far as is known."""
        return self.seed is not None and self.done < self.runs


class View:
    """Follows a study; `render` gives it as a picture, `line` as a line of text.

    Args:
        console: where progress is shown.
        notices: where that is printed which the user must know, also where progress is not shown.
        asked: the metric in question; `None` for the usual one, which is also that of networks under way.
    """

    def __init__(self, console: Console, notices: Console | None = None, asked: Measure | None = None) -> None:
        self.console, self.notices, self._asked = console, notices or console, asked
        self._arms: dict[str, _ArmState] = {}
        self._seconds: float | None = None
        self._reused, self._measure = 0, ACCURACY
        self._work: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._started = time.monotonic()
        self._said = time.monotonic()

    def planned(self, forecast: Forecast) -> None:
        """Say what lies ahead."""
        self._seconds = forecast.seconds
        self.console.print(forecast.words)

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """Count what has to be done."""
        keys = {run.key for run in todo}
        self._reused = len(runs) - len(todo)
        self._work, self._share = {run.key: work(run) for run in todo}, {}
        for run in runs:
            for arm in _shown(run):
                state = self._arms.setdefault(arm.name, _ArmState(arm.control))
                state.runs += 1
                state.done += run.key not in keys
        self._started = time.monotonic()
        way, self._measure = runs[0].way, runs[0].settings.usual
        self.console.print(
            f"{len(todo)} networks to train, {self._reused} reused from the store; {way.device}, {way.precision}"
        )

    def progress(self, run: Run, progress: Progress) -> None:
        """Take in how far a run is."""
        self._share[run.key] = progress.epoch / run.settings.epochs
        for arm in _shown(run):
            state = self._arms[arm.name]
            state.epoch, state.epochs = progress.epoch, run.settings.epochs
            state.loss, state.seed = progress.loss, run.settings.seed
            state.accuracy = progress.accuracy
        if not self.console.is_terminal and time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self.console.print(self.line())

    def finished(self, run: Run, result: Trained | DroplabError) -> None:
        """Take in a finished run."""
        self._share[run.key] = 1.0
        states = [self._arms[arm.name] for arm in _shown(run)]
        for state in states:
            state.done += 1
        name = " = ".join(arm.name for arm in run.arms)
        if isinstance(result, DroplabError):
            self.notices.print(f"failed: {name} seed {run.settings.seed}: {result}")
            return
        split: Split = "valid" if run.settings.valid_fraction else "train"
        measure = self._asked if self._asked and split == "valid" else run.settings.usual
        value = result.outcome.metric("off", split, measure.name)
        if split == "valid":
            for state in states:
                state.finished[run.settings.seed] = value
        if not self.console.is_terminal:
            told = f"{value:.4g}" if run.settings.is_of_numbers else f"{value:.4f}"
            self.console.print(
                f"trained {name} seed {run.settings.seed}: {split} {measure.label} {told}, "
                f"{result.outcome.train_seconds:.1f} s"
            )

    def looked(self, text: str) -> None:
        """Say what a look takes, or came to."""
        self.console.print(text)

    def notice(self, text: str) -> None:
        """Say what the user must know."""
        self.notices.print(text)

    def line(self) -> str:
        """Overall progress in words; and how many networks a minute, wherever they are trained, once there is one."""
        share, left = self._overall()
        passed, trained = time.monotonic() - self._started, sum(self._share.values())
        speed = f", {60 * trained / passed:.3g} networks a minute" if trained >= 1 and passed else ""
        return f"{share:.0%} done, {_clock(passed)} passed, about {_clock(left)} left{speed}"

    def render(self) -> RenderableType:
        """Overall progress, and a line an arm: of those under way first where the terminal is too low for all."""
        if not self._arms:
            return Text("")
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        gain = f"{self._asked.label} vs control" if self._asked else "vs control"
        widest = max(_ARM_LEAST, self.console.width - _OTHER_COLUMNS - len(gain))
        table.add_column("arm", no_wrap=True)
        valid = f"valid {self._measure.unit or self._measure.label}"
        for title in ("networks", "seed", "epoch", "train loss", valid, gain):
            table.add_column(title, justify="right", no_wrap=True)
        room = max(1, self.console.height - _BELOW)
        by_need = sorted(self._arms, key=lambda name: not self._arms[name].is_under_way)
        shown = set(by_need[:room])
        for name, state in self._arms.items():
            if name in shown:
                table.add_row(_shortened(name, widest), *self._cells(name, state))
        share, _ = self._overall()
        left_out = len(self._arms) - len(shown)
        parts = [table, Text(f"and {left_out} more")] if left_out else [table]
        return Group(*parts, Text(self.line()), ProgressBar(total=1.0, completed=share, width=60))

    def _cells(self, name: str, state: _ArmState) -> tuple[str, ...]:
        """What stands behind an arm's name; its difference from its control is over the seeds that both finished."""
        control = self._arms[state.control].finished if state.control in self._arms else {}
        gains = [state.finished[seed] - control[seed] for seed in state.finished if seed in control]
        return (
            f"{state.done}/{state.runs}",
            "" if state.seed is None else str(state.seed),
            "" if state.seed is None else f"{state.epoch}/{state.epochs}",
            "" if state.loss is None else f"{state.loss:.4f}",
            "" if state.accuracy is None else self._measure.value(state.accuracy),
            (self._asked or self._measure).change(fmean(gains)) if gains and name != state.control else "",
        )

    def _overall(self) -> tuple[float, float]:
        """Share of the work that is done, and seconds left as far as one can tell."""
        total = sum(self._work.values())
        if not total:
            return 1.0, 0.0
        share = sum(self._work[key] * part for key, part in self._share.items()) / total
        passed = time.monotonic() - self._started
        if share < FORETOLD_SHARE and self._seconds is not None and passed < self._seconds:
            return share, self._seconds - passed
        if share < STARTED_SHARE and self._seconds is not None:
            return share, self._seconds
        return share, passed * (1 - share) / share if share else float("nan")


@contextmanager
def watch(quiet: bool = False, asked: Measure | None = None) -> Iterator[View]:
    """A view of one study, drawn four times a second where there is a terminal.

    Args:
        quiet: whether only that is said which the user must know, and to stderr.
        asked: as that of `View`.
    """
    if quiet:
        yield View(Console(quiet=True), _console(stderr=True))
        return
    console = _console()
    view = View(console, asked=asked)
    if not console.is_terminal:
        yield view
        return
    with Live(get_renderable=view.render, console=console, refresh_per_second=4):
        yield view


def _console(stderr: bool = False) -> Console:
    """A console that breaks lines between words on a terminal, and nowhere else; a path may hold [/anything]."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def _shown(run: Run) -> list[Arm]:
    """The arms that a network serves, without those whose control it is, too: dropout without a hidden layer."""
    names = {arm.name for arm in run.arms}
    return [arm for arm in run.arms if arm.is_control or arm.control not in names]


def _shortened(name: str, most: int) -> str:
    """A name of at most so many letters, without some before its end, which tells arms apart best.

    >>> _shortened("learning_rate=0.05,batch_norm=1", 24)
    'learning…05,batch_norm=1'
    """
    if len(name) <= most:
        return name
    head = most // 3
    return f"{name[:head]}…{name[len(name) - (most - head - 1) :]}"


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
