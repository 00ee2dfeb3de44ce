"""The data dictionary: what each file of a study's folder is, and each column of its tables."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from droplab import __version__
from droplab.model.regularizers import TABLE
from droplab.report.cells import Table
from droplab.report.markdown import code, escaped, table

if TYPE_CHECKING:
    import pandas as pd

    from droplab.study.axes import Axis
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin


class Meaning(NamedTuple):
    """What a column or a metric holds; `unit` is empty for words."""

    words: str
    unit: str
    values: str


def _meanings(words: Mapping[str, list[str]]) -> dict[str, Meaning]:
    return {name: Meaning(*one) for name, one in words.items()}


_WORDS = tomllib.loads(resources.files("droplab.report").joinpath("dictionary.toml").read_text("utf-8"))

FILES: Mapping[str, str] = _WORDS["files"]
"""What a study's folder may hold, by patterns of paths."""

COLUMNS = {name: _meanings(_WORDS["everywhere"] | own) for name, own in _WORDS["columns"].items()}
"""The columns of each table, but for those of what a study itself varies."""

METRICS = _meanings(_WORDS["metrics"])
"""The metrics of `results.csv`; K stands for a number."""


def columns_of(name: str, frame: pd.DataFrame, axes: Collection[Axis]) -> dict[str, Meaning]:
    """What each column of a table holds, in the table's order.

    Args:
        name: of its file.
        frame: the table.
        axes: what the study varies.

    Raises:
        KeyError: if a column is described nowhere.
    """
    varied = {axis.name: axis_meaning(axis) for axis in axes}
    known = varied | COLUMNS[name]
    return {str(column): known[str(column)] for column in frame.columns}


def axis_meaning(axis: Axis) -> Meaning:
    """What the column of something that a study varies holds."""
    if axis.name in TABLE:
        words = f"strength of {axis.name}: {TABLE[axis.name].meaning}; 0 for a control"
    else:
        words = f"the arm's {axis.name}"
    values = ", ".join(dict.fromkeys(f"{one.value:g}" if axis.is_numeric else str(one.value) for one in axis.levels))
    return Meaning(
        words, "as set" if axis.is_numeric else "", values if len(values) < 200 else "as the study varies it"
    )


def metrics_of(results: pd.DataFrame) -> dict[str, Meaning]:
    """What each metric of `results.csv` is; K stands for a number.

    Raises:
        KeyError: if one is described nowhere.
    """
    names = dict.fromkeys(re.sub(r"(_class_|_k)\d+$", r"\1K", name) for name in results["metric"].unique())
    return {name: METRICS[name] for name in METRICS if name in names} | {name: METRICS[name] for name in names}


def render_dictionary(findings: Findings, origin: Origin, files: Collection[str]) -> str:
    """Render `README.md`: what the files of a study's folder are, and how to read and to repeat them.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
        files: those that were written, by their paths in the folder.
    """
    plan = findings.plan
    tables = {"results.csv": findings.results, "runs.csv": findings.runs, "curves.csv": findings.curves}
    listed = [(pattern, what) for pattern, what in FILES.items() if any(fnmatch(name, pattern) for name in files)]
    parts = [
        f"# The files of {escaped(plan.settings.name)}",
        escaped(plan.settings.question),
        table(Table(("file", "what it is"), listed)),
        "Text that a spreadsheet would take for a formula has an apostrophe before it in the CSV files; `--raw` leaves "
        "it as it is. A cell without a value is empty. Numbers have a point, columns a comma between them, text is "
        "UTF-8.",
    ]
    for name, frame in tables.items():
        parts += [f"## {name}", f"{FILES[name].capitalize()}.", _table("column", columns_of(name, frame, plan.axes))]
        if name == "results.csv":
            parts += ["The metrics:", _table("metric", metrics_of(frame))]
        read, usual = _WORDS["read"][name], plan.settings.usual.name
        parts += [f"```python\n{read['pandas']}```".replace("accuracy", usual)]
        parts += [f"```r\n{read['r']}```".replace("accuracy", usual)]
    parts += ["## How to repeat it", code(origin.command), f"Written by droplab {__version__}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: str, meanings: Mapping[str, Meaning]) -> str:
    return table(Table((head, "meaning", "unit", "values"), [(name, *one) for name, one in meanings.items()]))
