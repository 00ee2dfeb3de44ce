"""What a Ray cluster on this machine costs beside worker processes, turn by turn.

    make bench-cluster ARGS="--runs 10 100 1000 10000"

First packs of about 20 s, on each side twice as many as there are cores; then trivial networks, each a pack of its
own; then what the data take on the way to a node. Without other work on the machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.measure import examples_of, machine
from droplab.config import RunSettings
from droplab.errors import TrainingError
from droplab.study.backends import Backend, LocalProcesses
from droplab.study.backends.processes import Crew
from droplab.study.backends.ray import Cluster, OnRay
from droplab.study.limits import cores
from droplab.study.packs import Pack
from droplab.study.plan import plan_run
from droplab.train.examples import Examples
from droplab.train.outcome import Way

WAY = Way("cpu", "fp32")
LONG = RunSettings(widths=(512, 256, 128, 64), dropout=0.5, batch_size=128, learning_rate=0.1, epochs=20)
TRIVIAL = RunSettings(widths=(8,), dropout=0.0, batch_size=512, epochs=1, mc_samples=1)


def main(words: Sequence[str]) -> int:
    """Print what was measured, in Markdown."""
    parser = argparse.ArgumentParser(prog="make bench-cluster", description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[10, 100, 1000], help="trivial networks")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a pack")
    parser.add_argument("--turns", type=int, default=2, help="of long packs")
    asked = parser.parse_args(words)
    examples, count = examples_of("digits"), cores()
    Cluster("local")
    print(f"{', '.join(machine().values())}; {count} packs at once.\n")
    print("| packs | what | local, s | Ray, s | Ray over local |\n| ---: | --- | ---: | ---: | ---: |")
    with Crew() as crew:
        sides = {"local": LocalProcesses(count, crew), "ray": OnRay(count)}
        for side in sides.values():  # workers start, and import PyTorch
            _seconds(side, _packs(TRIVIAL, count), examples)
        each = _seconds(sides["local"], _packs(LONG, count), examples) / LONG.epochs
        long = LONG.model_copy(update={"epochs": max(1, round(asked.seconds / each))})
        for turn in range(asked.turns):
            took = {
                name: _seconds(side, _packs(long, 2 * count, turn), examples)
                for name, side in (sides.items() if turn % 2 == 0 else reversed(sides.items()))
            }
            _row(2 * count, f"of about {asked.seconds:.0f} s", took)
        for runs in asked.runs:
            packs = _packs(TRIVIAL, runs)
            _row(runs, "trivial", {name: _seconds(side, packs, examples) for name, side in sides.items()})
    size = sum(part.features.numel() * part.features.element_size() for part in (examples.train, examples.test))
    print(f"\nThe data, once to a node: {size:,} bytes of features.")
    return 0


def _packs(settings: RunSettings, count: int, first: int = 0) -> list[Pack]:
    seeds = range(100 * first, 100 * first + count)
    runs = [plan_run(settings.model_copy(update={"seed": seed}), "0" * 64, WAY) for seed in seeds]
    return [(run,) for run in runs]


def _seconds(side: Backend, packs: Sequence[Pack], examples: Examples) -> float:
    """How long packs take, until the last answer is here."""
    said: list[str] = []
    notify: Callable[[str], None] = said.append
    started = time.perf_counter()
    for _, answer in side.execute(packs, examples, lambda *_: None, notify, lambda: False):
        assert not isinstance(answer[0], TrainingError), answer[0]
    assert not said, said
    return time.perf_counter() - started


def _row(packs: int, what: str, took: dict[str, float]) -> None:
    local, there = took["local"], took["ray"]
    print(f"| {packs:,} | {what} | {local:.2f} | {there:.2f} | {100 * (there / local - 1):+.1f} % |", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
