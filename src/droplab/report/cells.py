"""Cells: a study's tables in words, cell by cell, for whatever shows them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from droplab.config import StudySettings
from droplab.report.words import arm_label, interval_kinds, value_words
from droplab.stats.compare import Comparison, p_words
from droplab.stats.measure import ACCURACY, mean_and_deviation
from droplab.study.names import hidden_words
from droplab.study.verdicts import ArmComparison
from droplab.train.outcome import Way

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm
    from droplab.study.records import RunRecord
    from droplab.train.outcome import Inference, Split


@dataclass(frozen=True)
class Table:
    """A table as it is shown: every cell already in words; the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def comparison_table(comparisons: Sequence[ArmComparison]) -> Table:
    """The comparisons in words, a row each; differences are on test, in the metric's unit."""
    rows, measure = [], comparisons[0].comparison.measure if comparisons else ACCURACY
    for one in comparisons:
        found = one.comparison
        difference = "–" if found.verdict == "does not apply" else measure.change(found.difference)
        name = f"{one.arm.name} − {_other(one)}"
        better = "–" if found.probability_of_improvement is None else f"{100 * found.probability_of_improvement:.0f} %"
        needed = found.seeds_needed.words if found.seeds_needed else "–"
        intervals = _ends(found, "low", "high"), _ends(found, "same_low", "same_high")
        p_values = (p_words(found.p_value), p_words(found.p_adjusted))
        seeds = str(found.seeds) if found.look is None else f"{found.seeds} (look {found.look})"
        wider = "–" if one.new_examples is None else _ends(one.new_examples, "low", "high")
        rows.append((name, _meaning(found), difference, *intervals, *p_values, better, seeds, needed, wider))
    kinds = interval_kinds(comparisons)
    difference = measure.headed("difference", measure.points)
    head = ("networks", "verdict", difference, *kinds, "p", "p, all at once", "better in", "seeds")
    return Table((*head, "seeds to settle it", "interval, new examples, too"), rows)


def arms_table(findings: Findings) -> Table:
    """Means and spreads of every arm, a row an arm, and where the metric in question may be on other test examples."""
    measure = findings.measure
    percents = ["test accuracy", "valid accuracy", "train accuracy", "test balanced accuracy", "test macro F1"]
    known = measure.headed(f"test {measure.label}, other examples")
    head = ("network", "arm", "seeds", known, *(f"{name} (%)" for name in percents), "test NLL (nats)", "training (s)")
    rows = [
        (
            label,
            row["arm"],
            str(row["seeds"]),
            " to ".join(map(measure.value, findings.sampling.get(row["arm"], ()))) or "–",
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
    """The metric on test by inference mode of the arms with dropout, their control beside them."""
    plan, headed = findings.plan, findings.measure.headed
    rows = []
    for arm in plan.distinct:
        modes = [over_seeds(findings, arm, mode) for mode in ("off", "on", "mc")]
        if arm.dropout and modes[0] != "–":
            rows.append((arm_label(findings, arm), over_seeds(findings, plan.control_of(arm), "off"), *modes))
    head = ("control, no dropout", "dropout: off at inference", "left on: one mask")
    return Table(("network", *map(headed, (*head, f"mc: mean of {plan.settings.mc_samples} masks"))), rows)


def over_seeds(findings: Findings, arm: Arm, inference: Inference, split: Split = "test") -> str:
    """Mean ± standard deviation over the seeds of the study's metric; a dash where there is none."""
    values = findings.by_seed(arm, inference, split)
    return "–" if values.empty else findings.measure.spread(float(values.mean()), float(values.std(ddof=1)))


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
    return mean_and_deviation(factor * row[name], factor * row[f"{name} sd"], digits)


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


def _ends(found: Comparison, *names: str) -> str:
    ends = [getattr(found, name) for name in names]
    return "–" if None in ends else " to ".join(map(found.measure.change, ends))


def _meaning(found: Comparison) -> str:
    """A verdict with what it rests on."""
    if found.verdict == "equivalent":
        return f"equivalent: within ±{found.measure.margin_words(found.margin)}"
    if found.verdict == "undecided":
        return "undecided: one seed cannot tell" if found.seeds == 1 else "undecided: more seeds are needed"
    return "does not apply: the networks are the same" if found.verdict == "does not apply" else found.verdict
