"""Cells: a study's tables in words, cell by cell, for whatever shows them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplab.config import StudySettings
from droplab.report.words import arm_label, interval_kinds, value_words
from droplab.stats.compare import Comparison, p_words, points
from droplab.study.names import hidden_words
from droplab.study.verdicts import ArmComparison
from droplab.train.outcome import Way

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.records import RunRecord


@dataclass(frozen=True)
class Table:
    """A table as it is shown: every cell already in words; the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def comparison_table(comparisons: Sequence[ArmComparison]) -> Table:
    """The comparisons in words, a row each; differences in percentage points of test accuracy."""
    rows = []
    for one in comparisons:
        found = one.comparison
        difference = "–" if found.verdict == "does not apply" else points(found.difference)
        name = f"{one.arm.name} − {_other(one)}"
        better = "–" if found.probability_of_improvement is None else f"{100 * found.probability_of_improvement:.0f} %"
        needed = found.seeds_needed.words if found.seeds_needed else "–"
        intervals = _ends(found.low, found.high), _ends(found.same_low, found.same_high)
        p_values = (p_words(found.p_value), p_words(found.p_adjusted))
        seeds = str(found.seeds) if found.look is None else f"{found.seeds} (look {found.look})"
        wider = "–" if one.new_examples is None else _ends(one.new_examples.low, one.new_examples.high)
        rows.append((name, _meaning(found), difference, *intervals, *p_values, better, seeds, needed, wider))
    kinds = interval_kinds(comparisons)
    head = ("networks", "verdict", "difference (points)", *kinds, "p", "p, all at once", "better in", "seeds")
    return Table((*head, "seeds to settle it", "interval, new examples, too"), rows)


def arms_table(findings: Findings) -> Table:
    """Means and spreads of every arm, a row an arm; accuracies in percent."""
    percents = ["test accuracy", "valid accuracy", "train accuracy", "test balanced accuracy", "test macro F1"]
    head = ("network", "arm", "seeds", *(f"{name} (%)" for name in percents), "test NLL (nats)", "training (s)")
    rows = [
        (
            label,
            row["arm"],
            str(row["seeds"]),
            *(mean_and_spread(row, name, 100, 2) for name in percents),
            mean_and_spread(row, "test nll", 1, 3),
            mean_and_spread(row, "train seconds", 1, 1),
        )
        for label, row in _labelled(findings)
    ]
    return Table(head, rows)


def calibration_table(findings: Findings) -> Table:
    """Whether the probabilities of each arm can be believed; arms whose runs did not keep that are left out."""
    columns: dict[str, tuple[str, float, int]] = {
        "NLL (nats)": ("test nll", 1, 3),
        "ECE (%)": ("test ECE", 100, 2),
        "Brier": ("test Brier", 1, 3),
        "temperature": ("temperature", 1, 2),
        "NLL at it": ("test nll, calibrated", 1, 3),
        "ECE at it (%)": ("test ECE, calibrated", 100, 2),
        "NLL, mc": ("test nll, mc", 1, 3),
        "ECE, mc (%)": ("test ECE, mc", 100, 2),
    }
    rows = [
        (label, *("–" if math.isnan(row[where[0]]) else mean_and_spread(row, *where) for where in columns.values()))
        for label, row in _labelled(findings)
        if not math.isnan(row["test ECE"])
    ]
    return Table(("network", *columns), rows)


def modes_table(findings: Findings) -> Table:
    """Test accuracy by inference mode of the arms with dropout, their control beside them."""
    plan, rows_by_arm = findings.plan, {row["arm"]: row for row in findings.arms.to_dict("records")}
    columns = ("test accuracy", "test accuracy, on", "test accuracy, mc")
    rows = []
    for arm in plan.distinct:
        row, control = rows_by_arm.get(arm.name), rows_by_arm.get(arm.control)
        if not arm.dropout or row is None:
            continue
        without = "–" if control is None else mean_and_spread(control, "test accuracy", 100, 2)
        rows.append((arm_label(findings, arm), without, *(mean_and_spread(row, name, 100, 2) for name in columns)))
    head = ("network", "control, no dropout (%)", "dropout: off at inference (%)", "left on: one mask (%)")
    return Table((*head, f"mc: mean of {plan.settings.mc_samples} masks (%)"), rows)


def classes_table(findings: Findings) -> Table:
    """Test accuracy of each class, dropout off, mean over seeds."""
    results, names = findings.results, dict(_labelled_names(findings))
    chosen = results[(results["inference"] == "off") & (results["split"] == "test")]
    means = chosen.groupby(["metric", "arm"])["value"].mean()
    rows = []
    for k, label in enumerate(findings.card.classes):
        values = [means.get((f"accuracy_class_{k}", name), math.nan) for name in names]
        rows.append((label, *("–" if math.isnan(value) else f"{100 * value:.2f}" for value in values)))
    return Table(("class", *names.values()), rows)


def times_table(findings: Findings) -> Table:
    """What the runs took, a row a device and way."""
    groups: dict[tuple[str, Way], list[RunRecord]] = {}
    for record in findings.records.values():
        device = str(record.outcome.environment.get("device", record.way.device))
        groups.setdefault((device, record.way), []).append(record)
    rows = []
    for (device, way), mine in groups.items():
        seconds = [record.outcome.train_seconds for record in mine]
        epochs = sum(record.settings.epochs for record in mine)
        rate = f"{epochs / sum(seconds):.3g}" if sum(seconds) else "–"
        evaluation = sum(record.outcome.evaluate_seconds for record in mine) / len(mine)
        cells = (f"{sum(seconds) / len(mine):.1f}", f"{sum(seconds) / epochs:.3g}", rate, f"{evaluation:.1f}")
        rows.append((f"{device} ({way.device})", way.words, str(len(mine)), *cells))
    head = ("device", "way", "runs", "training (s a run)", "training (s an epoch)", "network-epochs a second")
    return Table((*head, "evaluation (s a run)"), rows)


def settings_table(settings: StudySettings) -> Table:
    """Every setting, as it would be typed."""
    return Table(("setting", "value"), [(name, value_words(value)) for name, value in settings.told().items()])


def mean_and_spread(row: Mapping[Hashable, Any], name: str, factor: float, digits: int) -> str:
    """Mean ± standard deviation; the latter, where there is more than one seed, with two significant digits.

    Args:
        row: of `Findings.arms`.
        name: of the column with the mean.
        factor: what both are multiplied by.
        digits: of the mean where there is no spread; one more at most where there is.
    """
    mean, spread = factor * row[name], factor * row[f"{name} sd"]
    if math.isnan(spread):
        return f"{mean:.{digits}f}"
    needed = 1 - math.floor(math.log10(spread)) if spread > 0 else digits
    shown = min(max(needed, 0), digits + 1)
    return f"{mean:.{shown}f} ± {spread:.{shown}f}"


def _labelled(findings: Findings) -> list[tuple[str, dict[Hashable, Any]]]:
    """The rows of the arms that have a finished run, each with its label."""
    names = dict(_labelled_names(findings))
    return [(names[row["arm"]], row) for row in findings.arms.to_dict("records")]


def _labelled_names(findings: Findings) -> list[tuple[str, str]]:
    """Name and label of the arms that have a finished run."""
    there = set(findings.arms["arm"]) if findings.done else set()
    return [(arm.name, arm_label(findings, arm)) for arm in findings.plan.distinct if arm.name in there]


def _other(one: ArmComparison) -> str:
    """The arm compared with, by what tells it from the other."""
    if one.against.name == one.arm.control and one.against.name != one.arm.name:
        return "control"
    alike = one.arm.trained == one.against.trained and one.arm.depth != one.against.depth
    return hidden_words(one.against.depth) if alike else one.against.name


def _ends(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{points(low)} to {points(high)}"


def _meaning(found: Comparison) -> str:
    """A verdict with what it rests on."""
    if found.verdict == "equivalent":
        return f"equivalent: within ±{100 * found.margin:g} points"
    if found.verdict == "undecided":
        return "undecided: one seed cannot tell" if found.seeds == 1 else "undecided: more seeds are needed"
    return "does not apply: the networks are the same" if found.verdict == "does not apply" else found.verdict
