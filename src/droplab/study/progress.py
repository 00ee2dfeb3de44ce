"""Progress in a notebook: a bar for what is being trained, and what must be known in lines above it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from droplab.errors import DroplabError
from droplab.study.forecast import Forecast
from droplab.study.packs import work
from droplab.study.plan import Run
from droplab.train.outcome import Trained
from droplab.train.state import Progress


def in_notebook() -> bool:
    """Whether this is a notebook, or IPython's own terminal: there someone looks on."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


class Bar:
    """The observer of a study in a notebook: a bar, in which every network has a part as large as its work."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._work: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._finished = 0

    def planned(self, forecast: Forecast) -> None:
        """Say what lies ahead."""
        self.notice(forecast.words)

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        """A bar for what has to be trained; none where that is nothing."""
        if not todo:
            return
        whole = sum(map(work, todo))
        self._work = {run.key: work(run) / whole for run in todo}
        self._done, self._finished = dict.fromkeys(self._work, 0.0), 0
        form = "{desc} {percentage:3.0f}% |{bar}| {elapsed} passed, about {remaining} left"
        self._bar = _tqdm()(total=1.0, bar_format=form, file=sys.stdout)
        self._say()

    def progress(self, run: Run, progress: Progress) -> None:
        """Take in how far a run is."""
        self._reached(run, progress.epoch / run.settings.epochs)

    def finished(self, run: Run, result: Trained | DroplabError) -> None:
        """Take in a finished run; the last one ends the bar."""
        if isinstance(result, DroplabError):
            self.notice(f"failed: {' = '.join(arm.name for arm in run.arms)} seed {run.settings.seed}: {result}")
        self._finished += 1
        self._reached(run, 1.0)
        self._say()
        if self._finished == len(self._work):
            self._bar.close()

    def looked(self, text: str) -> None:
        """Say what a look takes, or came to."""
        self.notice(text)

    def notice(self, text: str) -> None:
        """Say what must be known, above the bar."""
        _tqdm().write(text)

    def _reached(self, run: Run, share: float) -> None:
        self._done[run.key] = share
        done = sum(self._work[key] * part for key, part in self._done.items())
        self._bar.update(min(done, 1.0) - self._bar.n)

    def _say(self) -> None:
        self._bar.set_description_str(f"{self._finished} of {len(self._work)} networks")


def _tqdm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets it is a bar of text, which is as good
        from tqdm.auto import tqdm
    return tqdm
