"""Contests of whole commands, from the shell's point of view: start-up, data, evaluation and report included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.turns import Contest, Sample

STUDY = """
data = "digits"
widths = [128, 64]
dropout = [0.5]
batch_size = 64
epochs = 10
seeds = 20
"""
"""40 networks: each seed with dropout and without."""

LARGE = ["--data", "mnist", "--widths", "2048,2048,2048", "--dropout", "0.5", "--epochs", "1"]


def study(device: str = "auto") -> Iterator[Contest]:
    """`droplab study` of 40 small networks, with its report, in an empty store."""
    about = "64-128-64-10, 20 seeds with dropout and without, 10 epochs, batch 64; report included"
    words = ["study", "SPEC", "--device", device, "--out", "out"]
    yield Contest("droplab study, 40 digits networks", "a command", {"droplab study": lambda: command(words)}, 1, about)


def cores() -> Iterator[Contest]:
    """`droplab train` of one large network on all cores, and on one."""
    every = sorted(os.sched_getaffinity(0))
    words = ["train", "--device", "cpu", "--out", "model.safetensors", *LARGE]
    programs: dict[str, Callable[[], Sample]] = {
        f"droplab train, {len(one)} core{'s' * (len(one) > 1)}": partial(command, words, one)
        for one in (every[:2], every[:1])
    }
    yield Contest("droplab train, one network of 3 × 2048", "a command", programs, 1, " ".join(LARGE))


def command(words: Sequence[str], cores: Sequence[int] | None = None) -> Sample:
    """What `droplab` with these words takes, in a new folder with the study's file `SPEC` and a new store.

    Args:
        words: the command.
        cores: that it may use; `None` for all of this process.

    Raises:
        RuntimeError: if it fails.
    """
    before = os.sched_getaffinity(0) if cores else ()
    with tempfile.TemporaryDirectory(prefix="droplab-bench-") as folder:
        (Path(folder) / "SPEC.toml").write_text(STUDY, "utf-8")
        spelled = [word.replace("SPEC", "SPEC.toml") for word in words]
        settings = os.environ | {"DROPLAB_STORE": f"sqlite:///{folder}/store.db"}
        started = time.perf_counter()
        if cores:
            os.sched_setaffinity(0, cores)  # a process begins with its parent's
        try:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("droplab"), *spelled, "--quiet"],
                cwd=folder,
                env=settings,
                stdout=subprocess.DEVNULL,
            )
        finally:
            if cores:
                os.sched_setaffinity(0, before)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"droplab {' '.join(words)} ended with {process.returncode}; what it said is above")
    return Sample(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss << (10 if sys.platform == "linux" else 0))
