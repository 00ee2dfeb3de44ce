"""The card of a model that `droplab fit` made: one network, or some that are averaged, outside any study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from droplab.report.card import any_limits, data_words, network_rows, versions_rows, weakest_class
from droplab.report.cells import Table
from droplab.report.markdown import code, escaped, table
from droplab.stats.calibration import BINS, calibration_error, reliability
from droplab.stats.compare import percent, points
from droplab.stats.intervals import CONFIDENCE, Estimate
from droplab.stats.metrics import classification_metrics
from droplab.study.origin import Origin

if TYPE_CHECKING:
    from droplab.model.file import ModelInfo
    from droplab.study.plan import Run
    from droplab.study.rates import Rates
    from droplab.study.records import RunRecord


def render_fitted_card(
    runs: Sequence[Run],
    records: Sequence[RunRecord],
    origin: Origin,
    info: ModelInfo,
    weights: str,
    labels: NDArray[np.int64],
    log_probabilities: NDArray[np.float32],
    metrics: Sequence[Estimate],
    data: str,
    file: str,
    grouped: bool = False,
    rates: Rates | None = None,
) -> str:
    """Render the card of a model as Markdown.

    Args:
        runs: its networks, alike but for their seeds.
        records: what came of each.
        origin: where the data and the numbers come from.
        info: what its file says beside its weights.
        weights: their SHA-256, as `model.file.weights_hash` gives it.
        labels: of the test examples, shape (N,).
        log_probabilities: what the model says of them with dropout off, shape (N, classes).
        metrics: how good that is.
        data: the data as they were asked for.
        file: the name of its file.
        grouped: whether the splits were not to part groups.
        rates: the dropout rates that valid chose among; `None` where the rate was given.
    """
    settings, several = runs[0].settings, len(runs) > 1
    seeds = ", ".join(str(run.settings.seed) for run in runs)
    predictions = log_probabilities.argmax(axis=1)
    by_class = classification_metrics(labels, predictions, len(info.classes))
    holds = (
        f"{len(runs)} fully-connected classifiers, whose probabilities are averaged"
        if several
        else "a fully-connected classifier"
    )
    untried = _NO_CONTROL if rates is None else _OTHER_SETTINGS
    limits = (*any_limits(info.classes), _calibration(labels, log_probabilities), untried)
    settled = (
        "given, and compared with nothing" if rates is None else "given, but for the dropout rate, which valid chose"
    )
    parts = [
        f"# Model card: {escaped(file)}",
        f"`{file}` holds {holds}. The settings that it was trained with were {settled}. "
        f"The SHA-256 of its weights is `{weights}`; the file names this card by its own.",
        "## Data",
        data_words(origin, info, data, _split(origin, settings.split_seed, grouped)),
        "## Network and training",
        table(Table(("setting", "value"), network_rows(runs[0], info, seeds))),
        *(() if rates is None else ("## Whether dropout earned its place", *_chosen(rates))),
        "## Metrics",
        table(
            Table(
                ("test, dropout off at inference", "value", f"{100 * CONFIDENCE:g} % interval"),
                [_row(one) for one in metrics],
            )
        ),
        f"The intervals are for this model on other {len(labels):,} examples from where these come from: Wilson's for "
        "accuracy, of the bootstrap over examples for the others. How much another seed would differ "
        + (_seeds(records) if several else "is not known: `--seeds 5` averages five, and says."),
        weakest_class({int(k.rsplit("_", 1)[1]): v for k, v in by_class.items() if "class" in k}, info.classes),
        "## What this says nothing about",
        "\n".join(f"- {line}" for line in limits),
        "## How to use it",
        f"`droplab predict {file} FILE` says the class of new rows; `droplab export {file} --to onnx --check FILE` "
        "writes an ONNX file.",
        "## How to repeat it",
        code(origin.command),
        "## Versions",
        table(Table(("where it was trained", ""), versions_rows(records[0]))),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


_NO_CONTROL = (
    "Whether dropout, or any other setting, helps on these data: nothing was trained without it. `droplab study` does, "
    "and says which differences are real."
)

_OTHER_SETTINGS = (
    "Whether any other setting than the dropout rate helps on these data. `droplab study` compares what you vary, and "
    "says which differences are real."
)


def _chosen(rates: Rates) -> tuple[str, ...]:
    """The comparison on valid: in words, as a table, and what it is worth."""
    found = next(iter(rates.against_none.values()))
    rows = [("none", f"{100 * rates.accuracies[0.0]:.2f}", "–", "–")]
    for rate, one in rates.against_none.items():
        ends = "– (no spread)" if one.low is None or one.high is None else f"{points(one.low)} to {points(one.high)}"
        rows.append((f"{rate:g}", f"{100 * rates.accuracies[rate]:.2f}", points(one.difference), ends))
    interval = f"{percent(found.confidence)} interval"
    seeds = "one seed" if found.seeds == 1 else f"the same {found.seeds} seeds"
    return (
        rates.words,
        table(Table(("dropout", "valid accuracy (%)", "against none (points)", interval), rows)),
        f"Networks of {seeds} each, compared on {found.examples:,} training examples that were held out; the model was "
        f"then trained with dropout {rates.chosen:g} on all of them. The accuracy on valid is that of a winner and "
        "therefore flatters. The intervals hold for all rates together.",
    )


def _split(origin: Origin, split_seed: int, grouped: bool) -> str:
    train, valid, test = (origin.examples[split] for split in ("train", "valid", "test"))
    held = f", {valid:,} {origin.held_out(split_seed)}," if valid else ""
    apart = " No group is on two sides of a split." if grouped else ""
    return f"{train:,} examples were trained on{held} and {test:,} are the test split, which chose nothing.{apart}"


def _row(one: Estimate) -> tuple[str, str, str]:
    factor, digits, unit = (100.0, 2, " (%)") if one.is_share else (1.0, 4, " (nats)" if one.name == "NLL" else "")
    low, value, high = (f"{factor * number:.{digits}f}" for number in (one.low, one.value, one.high))
    return f"{one.name}{unit}", value, "not known: no spread" if np.isnan(one.low) else f"{low} to {high}"


def _seeds(records: Sequence[RunRecord]) -> str:
    each = [100 * record.outcome.metric("off", "test", "accuracy") for record in records]
    return f"is seen in the single networks: their test accuracies are {min(each):.2f} to {max(each):.2f} %."


def _calibration(labels: NDArray[np.int64], log_probabilities: NDArray[np.float32]) -> str:
    error = calibration_error(reliability(log_probabilities, labels))
    return (
        f"Probabilities on other data. On test their expected calibration error is {100 * error:.2f} % ({BINS} bins of "
        "equal mass)."
    )
