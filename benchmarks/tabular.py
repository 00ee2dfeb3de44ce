"""`make bench-tabular`: droplab's estimators beside other programs on real tables, by cross-validation.

    make bench-tabular ARGS="--tables letter,attrition --programs DropoutMLPClassifier,MLPClassifier"

Every program is fitted on the same folds, on one thread. What is measured goes line by line into a file a program, and
what stands there is not measured again: delete the file of a program that has changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

from benchmarks.__main__ import count, some_of
from benchmarks.programs import Task, classes, numbers
from benchmarks.tables import Table
from benchmarks.turns import markdown_head, markdown_row, timed
from droplab.stats.intervals import Interval, corrected_interval, t_interval

OUT = Path("droplab-out/bench-tabular")

Figures = NDArray[np.float64]
"""Of a program, shape (tables, folds, 3): both scores, and processor seconds of the fit."""


def main(words: Sequence[str], out: Path = OUT) -> int:
    """Measure what `words` ask for and is not in `out`, and print the tables of the page, in Markdown."""
    task = numbers() if "--regression" in words else classes("--tuning" in words)
    asked = _parser(task).parse_args(words)
    tables = {name: task.tables[name]() for name in asked.tables}
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 epochs are few for MLPClassifier, that a category is new
        results = {name: _measured(task, name, tables, asked.folds, out / f"{name}.jsonl") for name in asked.programs}
    print("\n".join(page(task, results, tables)))
    return 0


def _parser(task: Task) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-tabular", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name, known in (("--tables", task.tables), ("--programs", task.programs)):
        parser.add_argument(name, type=some_of(known), default=tuple(known), help=f"some of {', '.join(known)}")
    parser.add_argument("--folds", type=count, default=5, help="of the cross-validation")
    parser.add_argument("--tuning", action="store_true", help="the tables on which defaults are chosen")
    parser.add_argument("--regression", action="store_true", help="tables whose target is a number")
    return parser


def _measured(task: Task, name: str, tables: Mapping[str, Table], folds: int, file: Path) -> Figures:
    """Of one program; `file` is read, and gets a line a fit."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    known = {(table, of, fold): figures for table, of, fold, *figures in map(json.loads, lines)}
    program, warm = task.programs[name], False
    for table, (features, target) in tables.items():
        for fold, (train, test) in enumerate(task.folds(folds).split(features, target)):
            if (table, folds, fold) in known:
                continue
            if not warm:  # what is imported and compiled costs once
                program(0).fit(*load_iris(return_X_y=True, as_frame=True))
                warm = True
            model = program(fold)
            took = timed(partial(model.fit, features.iloc[train], target[train]))
            scores = task.scores(model, Table(features.iloc[test], target[test]))
            known[table, folds, fold] = [*scores, took.cpu]
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps([table, folds, fold, *known[table, folds, fold]]) + "\n")
            print(name, table, f"fold {fold + 1} of {folds}:", _cell(task, known[table, folds, fold]), file=sys.stderr)
    return np.array([[known[table, folds, fold] for fold in range(folds)] for table in tables])


def page(task: Task, results: Mapping[str, Figures], tables: Mapping[str, Table]) -> Iterator[str]:
    """What was measured, a row a table and their mean; then how far droplab's programs are from the others."""
    yield from markdown_head([f"table: {', '.join(task.units)}, seconds", *results])
    means = {name: figures.mean(axis=1) for name, figures in results.items()}
    for number, (name, (features, _)) in enumerate(tables.items()):
        cells = [_cell(task, of_table[number]) for of_table in means.values()]
        yield markdown_row([f"{name} {len(features):,} × {features.shape[1]}", *cells])
    yield markdown_row(["**mean**", *(_cell(task, of_table.mean(axis=0)) for of_table in means.values())])
    for own in (name for name in results if name.startswith("Dropout")):
        for score, unit in enumerate(task.units):
            rivals = [name for name in results if name != own]
            differences = {name: (results[own] - results[name])[..., score] for name in rivals}
            yield from ("", f"### {own}: difference in {unit}", "")
            yield from markdown_head(["table", *(f"− {name}" for name in rivals)])
            for number, name in enumerate(tables):
                found = [corrected_interval(of_rival[number], of_rival.shape[1]) for of_rival in differences.values()]
                yield markdown_row([name, *(_difference(task, score, interval) for interval in found)])
            over = [of_rival.mean(axis=1) for of_rival in differences.values()]
            spans = [t_interval(values) or Interval(float(values.mean()), np.nan) for values in over]
            yield markdown_row(["**mean**", *(_difference(task, score, interval) for interval in spans)])


def _cell(task: Task, figures: Iterable[float]) -> str:
    first, second, seconds = figures
    return f"{first:{task.digits[0]}} / {second:{task.digits[1]}} / {seconds:.{1 if seconds < 10 else 0}f}"


def _difference(task: Task, score: int, interval: Interval) -> str:
    """`+0.50 (−0.10 … +1.10)`; the interval is left out where there is none, of a single table."""
    value, low, high = (
        f"{v:+{task.digits[score]}}".replace("-", "−") for v in (interval.value, interval.low, interval.high)
    )
    return value if np.isnan(interval.reach) else f"{value} ({low} … {high})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
