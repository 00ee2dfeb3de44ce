"""The data dictionary: what each file of a study's folder is, and each column of its tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from typing import TYPE_CHECKING, NamedTuple

from droplab import __version__
from droplab.model.families import TABLE
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


FILES = {
    "README.md": "this page",
    "report.html": "the report with its figures, one page that loads nothing from elsewhere",
    "report.md": "the report in short, as Markdown for a pull request",
    "results.csv": "every metric of every network, a row a value",
    "runs.csv": "the networks, a row each: settings, accuracies, times, where it was trained, content key",
    "curves.csv": "how the networks learned, a row a value",
    "curves.parquet": "the same as curves.csv, typed and smaller",
    "study.json": "everything about the study but its numbers by network: settings, data, verdicts, versions",
    "study.schema.json": "the JSON Schema (draft 2020-12) of study.json",
    "paper.tex": "a table of the verdicts and a paragraph on methods, for LaTeX",
    "paper.bib": "BibTeX entries of droplab and of what that paragraph cites",
    "figures/*": "each figure of the report as SVG, PNG and PDF",
    "models/MODEL_CARD.md": "the card of the best network",
    "models/*.safetensors": "the networks by arm and seed; best is what the valid split chose, refit the same trained "
    "again on train and valid together",
    "probabilities/*.parquet": "what each network says of each example of valid and test: split, example, label, "
    "predicted, and p_CLASS, the probability of each class (0 … 1)",
}
"""What a study's folder may hold, by patterns of paths."""

_SHARE, _COUNT = ("fraction", "0 … 1"), ("number", "≥ 0")
_ARM = {
    "arm": Meaning("the setting under comparison, by what varies in the study", "", "text"),
    "seed": Meaning("the replicate; arms with the same seed share split, batch order and masks", "number", "≥ 0"),
    "depth": Meaning("layers of weights: hidden layers + 1", "number", "≥ 1"),
}
_WIDTHS = Meaning("units of the hidden layers", "", "512-256, or linear for none")
_INFERENCE = "off: dropout off; on: one random mask; mc: mean probability over masks"

COLUMNS: Mapping[str, Mapping[str, Meaning]] = {
    "results.csv": {
        **_ARM,
        "dropout": Meaning("drop probability that the arm stands for", "fraction", "0 … < 1, 0 for a control"),
        "inference": Meaning(_INFERENCE, "", "off, on, mc"),
        "split": Meaning("the examples that the metric is of", "", "train, valid, test"),
        "metric": Meaning("name of the metric, as below", "", "text"),
        "value": Meaning("its value", "as below", "as below"),
        "widths": _WIDTHS,
    },
    "runs.csv": {
        **_ARM,
        "widths": _WIDTHS,
        "dropout": Meaning("drop probability that acted", "fraction", "0 … < 1, 0 without a hidden layer"),
        **{
            f"{split}_accuracy_{mode}": Meaning(f"accuracy on {split}, inference mode {mode}", *_SHARE)
            for mode in ("off", "on", "mc")
            for split in (("train", "valid", "test") if mode != "mc" else ("test",))
        },
        "train_seconds": Meaning("time in training steps", "seconds", "≥ 0"),
        "evaluate_seconds": Meaning("time in evaluation, curves included", "seconds", "≥ 0"),
        "device": Meaning("processor or GPU that trained it", "", "text"),
        "way": Meaning("precision, whether compiled, whether stacked with others", "", "text"),
        "finished": Meaning("when it was saved", "UTC", "ISO 8601"),
        "also": Meaning(
            "other arms that the same network serves; its rows in results.csv stand there, too", "", "text"
        ),
        "run": Meaning(
            "content key: hash of settings, data, precision and numerics version", "", "64 hexadecimal signs"
        ),
    },
    "curves.csv": {
        **_ARM,
        "dropout": Meaning("drop probability that the arm stands for", "fraction", "0 … < 1, 0 for a control"),
        "epoch": Meaning("passes over the training part so far", "number", "≥ 1"),
        "quantity": Meaning("what the value is", "", "loss, accuracy"),
        "split": Meaning(
            "train_as_trained: mean of the epoch, dropout on; train (a fixed part of it) and valid: dropout off",
            "",
            "train_as_trained, train, valid",
        ),
        "value": Meaning("loss in nats an example, or accuracy", "nats, fraction", "≥ 0; 0 … 1"),
        "place": Meaning("where the arm stands but for its regularizers, in words", "", "text"),
        "trained": Meaning("the regularizers that it is compared for, in words", "", "text"),
    },
}
"""The columns of each table, but for those of what a study itself varies."""

METRICS = {
    "accuracy": Meaning("share of the examples that are classified rightly", *_SHARE),
    "nll": Meaning("mean negative log-likelihood of the true class", "nats", "≥ 0"),
    "balanced_accuracy": Meaning("mean of the classes' accuracies", *_SHARE),
    "macro_f1": Meaning("mean of the classes' F1 scores", *_SHARE),
    "accuracy_class_K": Meaning("accuracy (recall) of class K, counted from 0", *_SHARE),
    "brier": Meaning("Brier's score: mean squared distance of the probabilities from the truth", "number", "0 … 2"),
    "ece": Meaning("expected calibration error over 15 bins of equal mass", *_SHARE),
    "entropy": Meaning("mean entropy of the probabilities", "nats", "≥ 0"),
    "entropy_right": Meaning("the same over what is classified rightly", "nats", "≥ 0"),
    "entropy_wrong": Meaning("the same over what is classified wrongly", "nats", "≥ 0"),
    "mutual_information": Meaning("what the networks under the masks disagree about", "nats", "≥ 0"),
    "mutual_information_right": Meaning("the same over what is classified rightly", "nats", "≥ 0"),
    "mutual_information_wrong": Meaning("the same over what is classified wrongly", "nats", "≥ 0"),
    "accuracy_kK": Meaning("accuracy of the mean over the first K masks", *_SHARE),
    "nll_kK": Meaning("nll of the mean over the first K masks", "nats", "≥ 0"),
    "ece_kK": Meaning("ece of the mean over the first K masks", *_SHARE),
    "temperature": Meaning("divides the logits; fitted on valid", "number", "0.05 … 20"),
    "nll_calibrated": Meaning("nll at that temperature", "nats", "≥ 0"),
    "ece_calibrated": Meaning("ece at that temperature", *_SHARE),
}
"""The metrics of `results.csv`; K stands for a number."""

_READ = {
    "results.csv": (
        "results = pd.read_csv(\"results.csv\").query(\"metric == 'accuracy' and split == 'test'\")\n"
        'accuracy = results[results["inference"] == "off"].pivot(index="seed", columns="arm", values="value")',
        'results <- read.csv("results.csv")\n'
        'accuracy <- subset(results, metric == "accuracy" & split == "test" & inference == "off")',
    ),
    "runs.csv": (
        'runs = pd.read_csv("runs.csv")\n'
        'joined = pd.read_csv("results.csv").merge(runs[["arm", "seed", "run"]], on=["arm", "seed"])',
        'runs <- read.csv("runs.csv")\njoined <- merge(read.csv("results.csv"), runs[c("arm", "seed", "run")])',
    ),
    "curves.csv": (
        "curves = pd.read_csv(\"curves.csv\").query(\"quantity == 'loss' and split == 'valid'\")\n"
        'loss = curves.groupby(["arm", "epoch"])["value"].mean().unstack("arm")',
        'curves <- subset(read.csv("curves.csv"), quantity == "loss" & split == "valid")\n'
        "loss <- aggregate(value ~ arm + epoch, curves, mean)",
    ),
}
"""How to read each table, in pandas and in R."""


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
    known = varied | dict(COLUMNS[name])
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
    plan, tables = findings.plan, {"results.csv": findings.results, "runs.csv": findings.runs}
    listed = [(pattern, what) for pattern, what in FILES.items() if any(fnmatch(name, pattern) for name in files)]
    parts = [
        f"# The files of {escaped(plan.settings.name)}",
        escaped(plan.settings.question),
        table(Table(("file", "what it is"), listed)),
        "Text that a spreadsheet would take for a formula has an apostrophe before it in the CSV files; `--raw` leaves "
        "it as it is. A cell without a value is empty. Numbers have a point, columns a comma between them, text is "
        "UTF-8.",
    ]
    for name, frame in (tables | {"curves.csv": findings.curves}).items():
        parts += [f"## {name}", f"{FILES[name].capitalize()}.", _table("column", columns_of(name, frame, plan.axes))]
        if name == "results.csv":
            parts += ["The metrics:", _table("metric", metrics_of(frame))]
        pandas, r = _READ[name]
        parts += [f"```python\nimport pandas as pd\n{pandas}\n```", f"```r\n{r}\n```"]
    parts += ["## How to repeat it", code(origin.command), f"Written by droplab {__version__}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: str, meanings: Mapping[str, Meaning]) -> str:
    return table(Table((head, "meaning", "unit", "values"), [(name, *one) for name, one in meanings.items()]))
