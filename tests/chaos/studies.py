"""Six kinds of study of some seconds, how they are started, and what they leave behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

from study_help import stored_bits

PATIENCE = 300
"""Seconds after which a command is held to hang."""

_COMMON = 'data = "digits"\nbatch_size = 64\nlearning_rate = 0.1\nquestion = "Is it lost?"\n'
KINDS: dict[str, str] = {
    "stacked": "depths = [1, 2, 3]\nfirst_width = 32\ndropout = [0.5]\nmomentum = 0.9\nseeds = 3\nepochs = 60",
    "compiled": "depths = [2, 3]\nfirst_width = 512\ndropout = [0.5]\nseeds = 2\nepochs = 12",
    "general": 'widths = [32]\ndropout = [0.2]\noptimizer = "adam"\nseeds = 2\nepochs = 25\n'
    "regularizers = {batch_norm = 1, early_stopping = 5}",
    "refit": "widths = [32]\nseeds = 2\nepochs = 40\nmomentum = 0.9\n"
    '[vary]\nrate = [0.1, 0.5]\noptimizer = ["sgd", "nesterov"]',
    "mapped": "widths = [48, 24]\ndropout = [0.2, 0.5]\nseeds = 2\nepochs = 30",
    "table": "",
}
"""Each kind's settings; `table` is `droplab fit` on a CSV file."""

KINDS_OF_CLUSTERS = {
    "clustered": "depths = [2, 3, 4]\nfirst_width = 256\ndropout = [0.5]\nmomentum = 0.9\nseeds = 10\nepochs = 300",
    "briefly clustered": "widths = [256, 64]\ndropout = [0.5]\nmomentum = 0.9\nseeds = 4\nepochs = 1200",
    **{
        f"shared {number}": f"widths = [32]\ndropout = [0.5]\nepochs = 60\nsplit_seed = 0\n"
        f"seeds = [{', '.join(map(str, range(4 * number, 4 * number + 8)))}]"
        for number in range(6)
    },
}
"""Settings of studies that are trained on a cluster (of 60 and 8 networks), and of six that share half of theirs."""


@dataclass
class Said:
    """How a command ended: its exit code, below 0 for a signal, `None` if it had to be killed; and its last words."""

    code: int | None
    text: str

    def faults(self, *codes: int) -> list[str]:
        """What must not be, whatever happens; and any exit code but `codes`."""
        found = [f"exit code {self.code}: {self.text[-300:]!r}"] if self.code not in codes else []
        if "Traceback" in self.text:
            found.append(f"a traceback: {self.text[-300:]!r}")
        errors = [line for line in self.text.splitlines() if line.startswith("error: ")]
        if self.code == 1 and len(errors) != 1:
            found.append(f"{len(errors)} lines of error: {self.text[-300:]!r}")
        return found


class Study:
    """A study of one kind in a folder of its own.

    Args:
        kind: one of `KINDS`.
        folder: for its store and what it writes.
        cache: where compiled programs are; shared by all.
        notes: where what it says is kept; in its folder if `None`.
    """

    def __init__(self, kind: str, folder: Path, cache: Path, notes: Path | None = None) -> None:
        self.kind, self.folder, self.cache = kind, folder, cache
        self.out = folder / "out"
        self.store: Path | str = folder / "store.sqlite"
        self.more: list[object] = ["--workers", 2]
        self.notes = notes or folder
        self.filed = self.notes / "filed.txt"
        folder.mkdir(parents=True, exist_ok=True)
        self.notes.mkdir(exist_ok=True)
        if kind == "table":
            data = folder / "wine.csv"
            _wine().to_csv(data, index=False)
            training = ["--widths", "64,32", "--dropout", "0.5", "--epochs", "120", "--seeds", "4", "--force"]
            self.command = ["fit", data, "--target", "class", "--out", folder / "model.safetensors", *training]
            return
        text = (KINDS | KINDS_OF_CLUSTERS)[kind]
        if kind == "mapped":
            text = f'data = "{_mapped(folder / "arrays")}"\n' + text + "\n" + _COMMON.partition("\n")[2]
        else:
            text = _COMMON + text
        (folder / "mine.toml").write_text(text, "utf-8")
        self.command = ["study", folder / "mine.toml", "--out", self.out, *(["--refit"] if kind == "refit" else [])]

    @property
    def environment(self) -> dict[str, str]:
        own = {"DROPLAB_CACHE_DIR": str(self.cache), "HOME": str(self.folder), "CHAOS_FILED": str(self.filed)}
        search = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        compiling = {"CHAOS_COMPILING": "0"} if self.kind == "compiled" else {}
        return os.environ | own | compiling | {"PYTHONPATH": search, "COLUMNS": "200"}

    def start(self, *arguments: object, before: Sequence[object] = (), charts: bool = False) -> "Process":
        """Start `droplab` on its store: the study, or what `arguments` say; `before` comes before Python."""
        environment = self.environment | ({"CHAOS_CHARTS": "1"} if charts else {})
        words = arguments or (*self.command, *self.more)
        command = [*before, sys.executable, "-m", "chaos.program", *words, "--store", self.store]
        return Process([str(word) for word in command], environment, self.notes)

    def run(self, *arguments: object) -> Said:
        """Run it to its end."""
        return self.start(*arguments).end()

    def bits(self) -> dict[str, str]:
        """A hash of all that the store has of each network, weights and ledgers among it, by content key."""
        return stored_bits(self.store)

    def trainings(self) -> list[str]:
        """The key of each network that was trained, in all runs together."""
        return self.filed.read_text("ascii").split() if self.filed.exists() else []

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("store*checkpoints*/*.safetensors"))

    def finishes(self) -> list[str]:
        """What is wrong when it is run now and must come to what an uninterrupted one comes to."""
        found = self.run().faults(0)
        return found or self.differs()

    def expected(self) -> dict[str, str]:
        """The bits of an undisturbed study of its kind, by content key."""
        return reference(self.kind, self.cache)[0]

    @property
    def seconds(self) -> float:
        """How long an undisturbed one takes."""
        return reference(self.kind, self.cache)[1]

    def differs(self) -> list[str]:
        """What is wrong with what it left."""
        expected, found = self.expected(), self.bits()
        wrong = [key[:12] for key in expected if found.get(key) != expected[key]]
        complaints = [f"{len(wrong)} of {len(expected)} networks are others: {', '.join(wrong[:3])}"] if wrong else []
        if extra := found.keys() - expected.keys():
            complaints.append(f"{len(extra)} networks that are none of the study's")
        if left := [path.name for path in self.folder.rglob("*.part")]:
            complaints.append(f"left half-written: {', '.join(left[:3])}")
        written = self.folder / "model.safetensors" if self.kind == "table" else self.out / "results.csv"
        if not written.exists():
            complaints.append(f"there is no {written.name}")
        return complaints


class Process:
    """A command in a session of its own, so that all that it starts can be found."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.log = folder / f"said-{time.monotonic_ns()}.txt"
        with self.log.open("wb") as log:
            given: dict[str, Any] = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, "cwd": folder}
            self.popen = subprocess.Popen(command, env=environment, start_new_session=True, **given)

    def end(self, seconds: float = PATIENCE) -> Said:
        """Wait for its end; if that does not come, kill it and all that it started."""
        try:
            code: int | None = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
        return Said(code, self.log.read_text("utf-8", "replace") + ("" if code is not None else f"\nhangs {seconds} s"))

    def family(self) -> list[int]:
        """The processes that it started and that still live, itself among them."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text("utf-8", "replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z" and int(fields[3]) == self.popen.pid:
                found.append(int(status.parent.name))
        return found

    def leftovers(self, seconds: float = 10) -> list[str]:
        """What is wrong if some still live after so many seconds."""
        deadline = time.monotonic() + seconds
        while (living := self.family()) and time.monotonic() < deadline:
            time.sleep(0.1)
        names = [_name_of(pid) for pid in living]
        for pid in living:
            os.kill(pid, signal.SIGKILL)
        return [f"{len(names)} processes live {seconds:g} s later: {', '.join(names)}"] if names else []

    def wait_until(self, true: Callable[[], object], seconds: float = 120) -> bool:
        """Wait for something to become true while it runs; whether it did."""
        deadline = time.monotonic() + seconds
        while self.popen.poll() is None and time.monotonic() < deadline:
            if true():
                return True
            time.sleep(0.02)
        return False


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:60]
    except OSError:
        return "gone"


@cache
def _wine() -> pd.DataFrame:
    wine = load_wine(as_frame=True)
    frame: pd.DataFrame = wine.data.assign(**{"class": wine.target.map({0: "barolo", 1: "grignolino", 2: "barbera"})})
    return frame


def _mapped(folder: Path) -> Path:
    """A folder of four npy files, whose features stay there."""
    random, labels = np.random.default_rng(0), np.arange(2400) % 4
    folder.mkdir(exist_ok=True)
    features = (random.normal(size=(4, 64))[labels] + random.normal(size=(2400, 64))).astype(np.float32)
    for name, part in (("train", slice(0, 2000)), ("test", slice(2000, None))):
        np.save(folder / f"{name}_x.npy", features[part])
        np.save(folder / f"{name}_y.npy", labels[part])
    return folder


@cache
def _lock(kind: str) -> threading.Lock:
    return threading.Lock()


_references: dict[str, tuple[dict[str, str], float]] = {}


def whole(kind: str, cache: Path) -> Path:
    """The folder of an undisturbed study of a kind."""
    return cache.parent / f"whole-{kind}-{1 if kind == 'compiled' else 0}"


def reference(kind: str, cache: Path) -> tuple[dict[str, str], float]:
    """The bits of an undisturbed study, by content key, and its seconds; it is run when first asked for.

    Raises:
        RuntimeError: if not even that ends well.
    """
    with _lock(kind):
        for turn in range(0 if kind in _references else 2 if kind == "compiled" else 1):  # the second need not compile
            study = Study(kind, cache.parent / f"whole-{kind}-{turn}", cache)
            started = time.monotonic()
            if found := study.run().faults(0):
                raise RuntimeError(f"not even an undisturbed study ends well: {'; '.join(found)}")
            _references[kind] = study.bits(), time.monotonic() - started
        return _references[kind]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock of a database."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
