"""A store of many runs: what filling it takes, planning a resume, a listing and a report, and how large it is.

    make bench-scaling ARGS="10000 100000 1000000 --store postgresql+psycopg://USER@HOST/DATABASE"

The runs are those of a study's own plan: 1,000 arms, as many seeds as it takes. Nothing is trained for them but one
network, of which each made-up run is a variation; they are filed as a study files its packs. A store that
has some of them already gets the others. What asks it anything is the command line, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import examples_of, machine
from benchmarks.turns import Sample
from droplab.config import StudySettings, load_study
from droplab.data.dataset import Dataset
from droplab.errors import TrainingError
from droplab.study.lab import Lab, Warn
from droplab.study.plan import Run, plan_study
from droplab.study.store import Store
from droplab.train.loop import train_pack
from droplab.train.outcome import Metric, Trained

ARMS, REPORTED, PACK = 1_000, 30, 1_000
SPEC = """
name = "scaling"
data = "digits"
widths = [8]
epochs = 5
dropout = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
seeds = {seeds}
[vary]
learning_rate = [0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.2, 0.3, 0.5, 0.8]
momentum = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
"""
"""A hundred recipes, each with nine rates of dropout and a control."""


def main(words: Sequence[str]) -> int:
    """Fill a store step by step, and print a row of what each size takes, in Markdown."""
    asked = _parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="droplab-scaling-", dir=asked.folder) as folder:
        location = asked.store or f"{folder}/store.sqlite"
        print("| runs | what | seconds | processor seconds | most memory, MB | a run |")
        print("| ---: | --- | ---: | ---: | ---: | ---: |")
        with Store(location) as store:
            done = store.disk_use().runs
        for runs in sorted(asked.runs):
            if done < runs:
                filled = _fill(location, folder, done, runs)
                _tell(
                    runs, f"insert the last {runs - done:,}", filled, f"{1e6 * filled.seconds / (runs - done):.0f} µs"
                )
            for line in _sizes(location, runs):
                print(line, flush=True)
            for what, sample, each in _questions(location, folder, runs):
                _tell(runs, what, sample, f"{1e6 * sample.seconds / each:.0f} µs")
            done = max(done, runs)
    print("\n" + "; ".join(f"{name} {value}" for name, value in machine().items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=int, default=[10_000, 100_000], help="sizes, in thousands of runs")
    parser.add_argument("--store", help="a new one; a temporary file if not given")
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    return parser


def _fill(location: str, folder: str, done: int, runs: int) -> Sample:
    """File the made-up runs from `done` to `runs`, a seed of every arm at a time; what the filing alone takes."""
    ready = Lab(device="cpu", precision="fp32", observer=Warn(lambda _: None)).read("digits")
    taken = Sample(0.0)
    plan = plan_study(_settings(folder, range(done // ARMS, runs // ARMS)), ready.dataset.fingerprint, ready.way)
    (real,) = train_pack([plan.runs[0].settings], examples_of("digits"), ready.way, lambda _: None)
    if isinstance(real, TrainingError):
        raise real
    with Store(location) as store:
        for start in range(0, len(plan.runs), PACK):
            results = list(_made_up(plan.runs[start : start + PACK], real, ready.dataset))
            cpu, started = time.process_time(), time.perf_counter()
            store.save_pack(results, ready.dataset)
            spent = Sample(time.perf_counter() - started, time.process_time() - cpu)
            taken = Sample(taken.seconds + spent.seconds, taken.cpu + spent.cpu)
            told = f"{done + start + len(results):,} runs, the last {len(results):,} in {spent.seconds:.2f} s"
            print(told, file=sys.stderr, flush=True)
    return Sample(*taken[:2], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


def _settings(folder: str, seeds: Sequence[int] | int) -> StudySettings:
    path = Path(folder, "scaling.toml")
    path.write_text(SPEC.format(seeds=list(seeds) if isinstance(seeds, Sequence) else seeds), "utf-8")
    return load_study(str(path))


def _made_up(runs: Sequence[Run], real: Trained, dataset: Dataset) -> Iterator[tuple[Run, Trained]]:
    """Each run with what training it might have left: the ledger, and every metric, of a real one with more faults."""
    random = np.random.default_rng(runs[0].settings.seed)
    test, classes, outcome = dataset.test_y, len(dataset.classes), real.outcome
    for run in runs:
        wrong = random.random(len(test)) < 0.02 + 0.1 * abs(run.settings.rates[0] - 0.2) + 0.02 * random.random()
        said = np.where(wrong, random.integers(0, classes, len(test)), test).astype(outcome.ledger["test"].dtype)
        share = float(np.mean(said == test))
        noise = random.normal(1.0, 0.02, len(outcome.metrics)).tolist()
        metrics = tuple(
            Metric(*one[:3], share if one[:3] == ("off", "test", "accuracy") else min(one.value * by, 1.0))
            for one, by in zip(outcome.metrics, noise, strict=True)
        )
        weights = {
            name: value + np.float32(0.01) * random.standard_normal(value.shape, np.float32)
            for name, value in real.weights.items()
        }
        yield run, Trained(replace(outcome, metrics=metrics, ledger=outcome.ledger | {"test": said}), weights)


def _sizes(location: str, runs: int) -> Iterator[str]:
    """What the store takes on disk."""
    with Store(location) as store:
        size = store.disk_use()
    for what, count in (("database", size.database_bytes), ("weights", size.weights_bytes)):
        yield f"| {runs:,} | {what}: {count / 1e6:,.0f} MB | | | | {count / runs:,.0f} bytes |"


def _questions(location: str, folder: str, runs: int) -> Iterator[tuple[str, Sample, int]]:
    """Each question with what it took, and of how many runs it is."""
    seeds = runs // ARMS
    few = min(REPORTED, seeds)
    # One seed more than there is, so that there is something to plan.
    planning = ("study", "SPEC", "--precision", "fp32", "--dry-run")
    yield f"plan a resume of {runs:,}", _asked(location, folder, seeds + 1, *planning), runs
    yield f"plan a resume of {few * ARMS:,}", _asked(location, folder, few, *planning), few * ARMS
    words = ("runs", "list", "--where", "dropout<0.2", "--where", "seed=3")
    yield "runs list --where", _asked(location, folder, few, *words), runs
    for form in ("md", "html"):
        target = ("--out", f"out-{runs}") if form == "html" else ()
        told = f"report of {few * ARMS:,}, --format {form}"
        yield told, _asked(location, folder, few, "report", "SPEC", "--format", form, *target), few * ARMS


def _asked(location: str, folder: str, seeds: int, *words: str) -> Sample:
    """What `droplab` with these words takes.

    Raises:
        RuntimeError: if it fails.
    """
    _settings(folder, seeds)
    command = [str(Path(sys.executable).with_name("droplab")), *(w.replace("SPEC", "scaling.toml") for w in words)]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--store", location],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"droplab {' '.join(words)} ended with {process.returncode}; what it said is above")
    return Sample(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


def _tell(runs: int, what: str, sample: Sample, each: str) -> None:
    took = f"{sample.seconds:.1f} | {sample.cpu:.1f} | {sample.peak / 1e6:,.0f}"
    print(f"| {runs:,} | {what} | {took} | {each} |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
