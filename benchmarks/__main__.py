"""The command: `make bench ARGS="PRESET …"`, or `python -m benchmarks PRESET …` where droplab is installed."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import commands
from benchmarks.cases import CASES, RECIPES, RIVALS
from benchmarks.turns import Contest, Result, take_turns
from droplab.errors import DroplabError

BUSY = 0.25
"""Load a core, from which on a machine is not quiet."""

LOUD = 0.05
"""Share of the cores in other hands from which on a measurement is not to be trusted."""

OTHERS = {
    "study": "the whole command, 40 digits networks",
    "cores": "one network of 3 × 2048 by train, two cores against one",
    "classifier": "DropoutMLPClassifier beside MLPClassifier, time to fit and to predict",
}


def main(words: Sequence[str]) -> int:
    """Measure what `words` ask for, and print a table a contest, in Markdown."""
    asked = _parser().parse_args(words)
    load = os.getloadavg()[0]
    if load > BUSY * (os.cpu_count() or 1):
        _say(f"other programs keep this machine busy (load {load:.1f}): wait until it is quiet")
    started, results = datetime.now(UTC).isoformat(timespec="seconds"), []
    for contest in _contests(asked):
        results.append(take_turns(contest, asked.turns, _say))
        print("\n".join(results[-1].lines()), flush=True)
    for line in _warning(results):
        print(line)
    from benchmarks.measure import machine  # last: what it imports would count as memory of the commands

    print("\n" + "; ".join(f"{name} {value}" for name, value in machine().items()))
    if asked.json:
        told: dict[str, Any] = {"command": shlex.join(["benchmarks", *words]), "started": started, "machine": machine()}
        told |= {"contests": [result.to_json() for result in results]}
        asked.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    shown = [
        f"{name}: {', '.join('-'.join(map(str, one)) or 'linear' for one in case.widths)}"
        for name, case in CASES.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["presets:", *(f"  {line}" for line in (*shown, *map(": ".join, OTHERS.items())))]),
    )
    parser.add_argument("preset", nargs="?", default="five-layer", choices=[*CASES, *OTHERS], metavar="PRESET")
    parser.add_argument("--turns", type=count, default=3, help="how often each program has its turn")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", type=Path, help="write everything measured there, too")
    training = parser.add_argument_group("training")
    training.add_argument("--recipe", type=some_of(RECIPES), default=(), help=f"some of {', '.join(RECIPES)}")
    training.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of droplab")
    training.add_argument("--epochs", type=count, help="that droplab trains each network in a turn")
    training.add_argument("--seeds", type=count, help="of each network, for droplab")
    training.add_argument(
        "--steps", type=some_of(("compiled", "uncompiled")), default=("compiled",), help="compiled,uncompiled"
    )
    training.add_argument("--against", type=some_of(RIVALS), default=("plain",), help=f"some of {', '.join(RIVALS)}")
    training.add_argument("--alone", dest="against", action="store_const", const=(), help="no other program")
    training.add_argument("--threads", type=count, help="of the other PyTorch programs; one a core if not given")
    return parser


def _contests(asked: argparse.Namespace) -> Iterator[Contest]:
    if asked.preset == "study":
        return commands.study(asked.device)
    if asked.preset == "cores":
        return commands.cores()
    if asked.preset == "classifier":
        from benchmarks.classifier import classifier

        return classifier()
    import torch

    from benchmarks.training import Effort, training

    torch.set_num_threads(asked.threads or torch.get_num_threads())
    effort = Effort(asked.device, asked.precision, asked.epochs, asked.seeds, asked.steps, asked.against)
    return training(asked.preset, asked.recipe, effort, _say)


def _warning(results: Sequence[Result]) -> Iterator[str]:
    """What must be known of a machine that was not quiet."""
    known = [share for result in results for share in result.elsewhere if share is not None]
    if known and max(known) > LOUD:
        yield f"\nNot to be trusted: other processes took up to {100 * max(known):.0f} % of the cores."
        yield "Programs of several threads suffer most by the clock. Measure again when the machine is quiet."


def count(text: str) -> int:
    """A parser of numbers from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; found {text}")
    return number


def some_of(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """A parser of `a,b`."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(text.split(",")))
        if not set(words) <= set(known):
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(known)}, with commas between; found {text!r}")
        return words

    return parse


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DroplabError as fault:
        sys.exit(str(fault))
