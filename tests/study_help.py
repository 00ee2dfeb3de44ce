"""What the tests of studies share: toy data, small plans, the bits of a network, and processes that can be killed."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
import torch

from droplab import cli
from droplab.config import StudySettings
from droplab.data.npz import write_npz
from droplab.errors import TrainingError
from droplab.study import packs
from droplab.study.backends import Here, InProcess
from droplab.study.backends.base import Result
from droplab.study.forecast import Forecast
from droplab.study.plan import Plan, Run, plan_study
from droplab.study.runner import Summary, run_all
from droplab.study.store import Store
from droplab.train.loop import train_pack
from droplab.train.outcome import Outcome, Trained, Way
from droplab.train.state import Progress
from toy import toy_dataset, toy_examples

FP32 = Way("cpu", "fp32")
SMALL = {"depths": [1, 2, 3], "first_width": 16, "seeds": 2, "epochs": 3, "batch_size": 64, "learning_rate": 0.1}
LONG = 1_000_000
"""Epochs that no test waits for."""


def toy_npz(path: Path, **shape: int) -> Path:
    """The toy data as a file."""
    write_npz(toy_dataset(**shape), path)
    return path


def toy_spec(folder: Path) -> Path:
    """A study file of the toy data: 6 networks of 2 epochs."""
    path = folder / "mine.toml"
    lines = [f'data = "{toy_npz(folder / "toy.npz")}"', 'question = "Does it?"', "depths = [1, 2]", "first_width = 8"]
    path.write_text("\n".join([*lines, "epochs = 2", "seeds = 2"]), "utf-8")
    return path


def toy_plan(**values: object) -> Plan:
    """A small study of the toy data in fp32; `values` are settings."""
    return plan_study(StudySettings.parse(SMALL).override(**values), toy_dataset().fingerprint, FP32)


class Watcher:
    """An observer that remembers what it was told, and may do something at each progress."""

    def __init__(self, at_progress: Callable[[Run, Progress], object] = lambda run, progress: None) -> None:
        self.at_progress = at_progress
        self.todo: list[Run] = []
        self.progressed: list[tuple[Run, Progress]] = []
        self.results: list[tuple[Run, Trained | TrainingError]] = []
        self.notices: list[str] = []
        self.looks: list[str] = []

    def planned(self, forecast: Forecast) -> None:
        self.forecast = forecast

    def begin(self, runs: Sequence[Run], todo: Sequence[Run]) -> None:
        self.todo = list(todo)

    def progress(self, run: Run, progress: Progress) -> None:
        self.progressed.append((run, progress))
        self.at_progress(run, progress)

    def finished(self, run: Run, result: Trained | TrainingError) -> None:
        self.results.append((run, result))

    def looked(self, text: str) -> None:
        self.looks.append(text)

    def notice(self, text: str) -> None:
        self.notices.append(text)


def run_toy(
    store: Path, watcher: Watcher | None = None, workers: int | None = None, stacked: bool = False, **values: object
) -> Summary:
    """Run a small study of the toy data in a store, each run in a pack of its own unless `stacked`."""
    with Store(store) as opened, pytest.MonkeyPatch.context() as patch:
        if not stacked:
            patch.setattr(packs, "STACKED_PRODUCTS", 0)
        return run_all(toy_plan(**values).runs, toy_dataset(), opened, watcher or Watcher(), workers)


def bits(trained: Trained) -> str:
    """A hash of everything about a network but where and how long it was trained."""
    return _hash(trained.outcome, [trained.weights[name].tobytes() for name in sorted(trained.weights)])


def one_by_one(results: Iterable[Result]) -> Iterator[tuple[Run, Trained | TrainingError]]:
    """Each run with its result, of packs with their answers."""
    for pack, answer in results:
        yield from zip(pack, answer, strict=True)


def direct_bits(runs: Sequence[Run]) -> dict[str, str]:
    """What `train_pack` makes of each run when it is called directly, by content key."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    examples = toy_examples()
    results = {run.key: train_pack([run.settings], examples, run.way, lambda _: None)[0] for run in runs}
    torch.set_num_threads(threads)
    return {key: bits(result) for key, result in results.items()}


def stored_bits(store: Path | str) -> dict[str, str]:
    """The same for every run of a store, by content key; the weights are checked on the way."""
    with Store(store) as opened:
        records = opened.load([summary.key for summary in opened.summaries()])
        weights = {key: opened.read_weights(record)[0] for key, record in records.items()}
    return {key: bits(Trained(record.outcome, weights[key])) for key, record in records.items()}


def _hash(outcome: Outcome, parts: list[bytes]) -> str:
    digest = hashlib.sha256(repr(outcome.metrics).encode())
    curves, ledger = outcome.curves, outcome.ledger
    classes = [ledger[split] for split in sorted(ledger)]
    arrays = (curves.train_loss, curves.points, curves.losses, curves.accuracies, *classes)
    for part in (*(array.tobytes() for array in arrays), *parts):
        digest.update(part)
    return digest.hexdigest()


class Said(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    errors: str


def droplab(*arguments: object) -> Said:
    """`droplab …` as the installed script runs it, but in this process and without worker processes."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["droplab", *map(str, arguments)]),
        mock.patch.object(Here, "backend", return_value=InProcess()),
        redirect_stdout(out),
        redirect_stderr(errors),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Said(code, out.getvalue(), errors.getvalue())


WITHOUT_REPORT = """
from droplab.api import StudyResult
from droplab.cli import main
StudyResult.write = lambda *_, **__: []
main()
"""
"""`droplab …` as code for `python`; reports have tests of their own, and take seconds."""


@contextmanager
def python(*arguments: object, **options: object) -> Iterator[subprocess.Popen]:
    """Python in a process group of its own, which does not outlive the block; it can import this module."""
    command = [sys.executable, *map(str, arguments)]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True} | options
    search = filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(search)}
    with subprocess.Popen(command, env=env, **given) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(true: Callable[[], object], seconds: float = 60, what: str = "it") -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text("utf-8").split()]
