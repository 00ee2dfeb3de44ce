"""The live view of a study: overall progress and a line an arm; plain lines where there is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from droplab.errors import DroplabError
from droplab.study.forecast import Forecast
from droplab.study.packs import work
from droplab.study.plan import Run
from droplab.train.engine import Progress
from droplab.train.outcome import Split, Trained

LINE_SECONDS = 10
"""Without a terminal, how often a line of overall progress is printed, at most."""


@dataclass
class _ArmState:
    """What one arm's line shows."""

    runs: int = 0
    done: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    accuracy: float | None = None
    seed: int | None = None


class View:
    """Follows a study; `render` gives it as a picture, `line` as a line of text."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._arms: dict[str, _ArmState] = {}
        self._reused = 0
        self._work: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._started = time.monotonic()
        self._said = time.monotonic()

    def planned(self, forecast: Forecast) -> None:
        """Say what lies ahead."""
        self.console.print(forecast.words)

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """Count what has to be done."""
        keys = {run.key for run in todo}
        self._reused = len(runs) - len(todo)
        self._work, self._share = {run.key: work(run) for run in todo}, {}
        for run in runs:
            for arm in run.arms:
                state = self._arms.setdefault(arm.name, _ArmState())
                state.runs += 1
                state.done += run.key not in keys
        self._started = time.monotonic()
        way = runs[0].way
        self.console.print(
            f"{len(todo)} networks to train, {self._reused} reused from the store; {way.device}, {way.precision}"
        )

    def progress(self, run: Run, progress: Progress) -> None:
        """Take in how far a run is."""
        self._share[run.key] = progress.epoch / run.settings.epochs
        for arm in run.arms:
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
        for arm in run.arms:
            self._arms[arm.name].done += 1
        name = " = ".join(arm.name for arm in run.arms)
        if isinstance(result, DroplabError):
            self.console.print(f"failed: {name} seed {run.settings.seed}: {result}")
        elif not self.console.is_terminal:
            split: Split = "valid" if run.settings.valid_fraction else "train"
            accuracy = result.outcome.metric("off", split, "accuracy")
            self.console.print(
                f"trained {name} seed {run.settings.seed}: {split} accuracy {accuracy:.4f}, "
                f"{result.outcome.train_seconds:.1f} s"
            )

    def looked(self, text: str) -> None:
        """Say what a look takes, or came to."""
        self.console.print(text)

    def notice(self, text: str) -> None:
        """Say what the user must know."""
        self.console.print(text)

    def line(self) -> str:
        """Overall progress in words."""
        share, left = self._overall()
        return f"{share:.0%} done, {_clock(time.monotonic() - self._started)} passed, about {_clock(left)} left"

    def render(self) -> RenderableType:
        """Overall progress, and a line an arm."""
        if not self._arms:
            return Text("")
        table = Table(box=None, pad_edge=False)
        for title in ("arm", "networks", "seed", "epoch", "train loss", "valid accuracy"):
            table.add_column(title, justify="left" if title == "arm" else "right")
        for name, state in self._arms.items():
            table.add_row(
                name,
                f"{state.done}/{state.runs}",
                "" if state.seed is None else str(state.seed),
                "" if state.seed is None else f"{state.epoch}/{state.epochs}",
                "" if state.loss is None else f"{state.loss:.4f}",
                "" if state.accuracy is None else f"{state.accuracy:.4f}",
            )
        share, _ = self._overall()
        return Group(table, Text(self.line()), ProgressBar(total=1.0, completed=share, width=60))

    def _overall(self) -> tuple[float, float]:
        """Share of the work that is done, and seconds left as far as one can tell."""
        total = sum(self._work.values())
        if not total:
            return 1.0, 0.0
        share = sum(self._work[key] * part for key, part in self._share.items()) / total
        passed = time.monotonic() - self._started
        return share, passed * (1 - share) / share if share else float("nan")


@contextmanager
def watch() -> Iterator[View]:
    """A view of one study, drawn four times a second where there is a terminal."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # a path may hold [/anything]
    view = View(console)
    if not console.is_terminal:
        yield view
        return
    with Live(get_renderable=view.render, console=console, refresh_per_second=4):
        yield view


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
