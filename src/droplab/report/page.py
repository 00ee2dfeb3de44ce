"""The page: a study's answer, its evidence and where it comes from, as one HTML file and as one JSON document."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup

from droplab import __version__
from droplab.config import StudySettings, load_study
from droplab.report import tables
from droplab.report.statistics import Comparison, Verdict, p_words, points
from droplab.report.tables import ArmComparison
from droplab.train.outcome import Way

if TYPE_CHECKING:
    from droplab.study.plan import Plan
    from droplab.study.records import RunRecord

_SAID: dict[Verdict, str] = {
    "helps": "helps",
    "hurts": "hurts",
    "equivalent": "makes no difference that matters",
    "undecided": "is undecided",
    "does not apply": "does not apply",
}


@dataclass(frozen=True)
class Origin:
    """Where a report's numbers come from, beside the plan and its runs.

    Attributes:
        data: the data set's name.
        source: where its bytes came from, in words.
        classes: the name of each class.
        examples: how many, by split: `train`, `valid`, `test`.
        command: what repeats the study, as typed.
        notices: what did not go as asked: a batch clipped, a fallback.
        started: when the study was started, with its time zone.
        trained: how many networks were trained then; the others came from the store.
        seconds: what that took, start to end, in seconds.
    """

    data: str
    source: str
    classes: tuple[str, ...]
    examples: Mapping[str, int]
    command: str
    notices: tuple[str, ...]
    started: datetime
    trained: int
    seconds: float


@dataclass(frozen=True)
class Table:
    """A table as the page shows it: every cell already in words; the first column names the row."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def answer(comparisons: Sequence[ArmComparison]) -> str:
    """What the comparisons of dropout with its control come to, in one sentence.

    Args:
        comparisons: of `tables.control_comparisons`.
    """
    applicable = [one for one in comparisons if one.comparison.verdict != "does not apply"]
    if not comparisons:
        return "Nothing can be said yet: no network is finished both with dropout and without it."
    if not applicable:
        return "Dropout cannot act: the networks compared have no hidden layer."
    if all(one.comparison.seeds == 1 for one in applicable):
        return (
            "One seed cannot tell whether dropout helps: the difference in test accuracy it shows "
            f"({_range(applicable)} points) may be chance. Run at least three seeds."
        )
    parts = []
    for verdict, said in _SAID.items():
        mine = [one for one in comparisons if one.comparison.verdict == verdict]
        if mine:
            parts.append(f"{said} {_places(mine, comparisons)}{_how_much(verdict, mine)}")
    return f"Training with dropout {'; '.join(parts)}."


def published_differences(settings: StudySettings) -> str | None:
    """How the study departs from the published one that it names as its reference, in words; `None` if it does not."""
    if settings.reference is None:
        return None
    differences = settings.differences(load_study(settings.reference))
    if not differences:
        return None
    told = ", ".join(
        f"{name} {_value(here)} (published {_value(there)})" for name, (here, there) in differences.items()
    )
    return f"Differs from the published study {settings.reference!r}: {told}."


def study_document(plan: Plan, records: Mapping[str, RunRecord], origin: Origin) -> dict[str, Any]:
    """Everything about a study but its numbers by run: what `study.json` holds; strictly valid JSON.

    Args:
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where they come from.
    """
    results = tables.results_frame(plan, records)
    control, depth = tables.control_comparisons(plan, records), tables.depth_comparisons(plan, records)
    table = tables.arms_table(plan, records)
    runs = [
        {
            "key": run.key,
            "arms": [arm.name for arm in run.arms],
            "seed": run.settings.seed,
            **asdict(records[run.key].way),
            "finished": records[run.key].finished.isoformat(),
            "train_seconds": records[run.key].outcome.train_seconds,
            "evaluate_seconds": records[run.key].outcome.evaluate_seconds,
        }
        for run in plan.runs
        if run.key in records
    ]
    document = {
        "droplab": __version__,
        "settings": plan.settings.model_dump(mode="json"),
        "differs_from_published": published_differences(plan.settings),
        "data": {
            "name": origin.data,
            "source": origin.source,
            "fingerprint": plan.fingerprint,
            "classes": list(origin.classes),
            "examples": dict(origin.examples),
        },
        "complete": tables.runs_done(plan, records) == len(plan.runs),
        "answer": answer(control),
        "best_arm": tables.best_arm(plan, results).name,
        "verdicts": {"dropout_against_control": _verdicts(control), "deeper_against_shallower": _verdicts(depth)},
        "arms": table.to_dict("records"),
        "runs": runs,
        "environments": _environments(records.values()),
        "times": {
            "started": origin.started.isoformat(),
            "trained": origin.trained,
            "total_seconds": origin.seconds,
        },
        "notices": list(origin.notices),
        "command": origin.command,
    }
    return {name: _plain(value) for name, value in document.items()}


def render_page(plan: Plan, records: Mapping[str, RunRecord], origin: Origin, figures: Mapping[str, str]) -> str:
    """Render the report as one HTML page that loads nothing.

    Args:
        plan: the study's.
        records: the finished runs by content key, at least one.
        origin: where they come from.
        figures: SVG text by name, in the order of the page, as `charts.save_figures` writes it.
    """
    results = tables.results_frame(plan, records)
    control = tables.control_comparisons(plan, records)
    best = tables.best_arm(plan, results)
    arms = tables.arms_table(plan, records)
    best_row = next(row for row in arms.to_dict("records") if row["arm"] == best.name)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("droplab.report").joinpath("page.html.j2").read_text("utf-8"))
    return template.render(
        settings=plan.settings,
        origin=origin,
        version=__version__,
        fingerprint=plan.fingerprint,
        done=tables.runs_done(plan, records),
        planned=len(plan.runs),
        answer=answer(control),
        control_table=comparison_table(control),
        depth_table=comparison_table(tables.depth_comparisons(plan, records)),
        best=best.name,
        best_accuracies=[_spread(best_row, f"{split} accuracy", 100, 2) for split in ("valid", "test")],
        arms_table=arms_table(arms),
        modes_table=_modes_table(plan, arms),
        classes_table=_classes_table(plan, results, origin.classes),
        figures={name: Markup(_inlined(svg, name)) for name, svg in figures.items()},
        differs=published_differences(plan.settings),
        settings_table=Table(("setting", "value"), [(k, _value(v)) for k, v in plan.settings.model_dump().items()]),
        environments=_environments(records.values()),
        times_table=_times_table(records.values()),
        duration=_duration(origin.seconds),
        started=origin.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _places(mine: Sequence[ArmComparison], among: Sequence[ArmComparison]) -> str:
    """Where something holds: by depth, by rate, or by both, whatever tells the comparisons apart."""
    depths, rates = {one.arm.depth for one in among}, {one.arm.dropout for one in among}
    if len(rates) == 1 and len(depths) > 1:
        return "at depth " + _listed([str(one.arm.depth) for one in mine])
    if len(depths) == 1:
        return "at rate " + _listed([f"{one.arm.dropout:g}" for one in mine])
    by_depth: dict[int, list[str]] = {}
    for one in mine:
        by_depth.setdefault(one.arm.depth, []).append(f"{one.arm.dropout:g}")
    return "at " + ", ".join(f"depth {depth} with rate {_listed(names)}" for depth, names in by_depth.items())


def _how_much(verdict: Verdict, mine: Sequence[ArmComparison]) -> str:
    if verdict == "equivalent":
        return f" (within ±{100 * mine[0].comparison.margin:g} points)"
    if verdict == "undecided":
        return " (more seeds are needed)"
    if verdict == "does not apply":
        return " (no hidden layer)"
    return f" ({_range(mine)} points of test accuracy)"


def _range(comparisons: Sequence[ArmComparison]) -> str:
    """The smallest and the largest difference, once if they read the same."""
    seen = [one.comparison.difference for one in comparisons]
    return " to ".join(dict.fromkeys((points(min(seen)), points(max(seen)))))


def comparison_table(comparisons: Sequence[ArmComparison]) -> Table:
    """The comparisons in words, a row each; differences in percentage points of test accuracy."""
    rows = []
    for one in comparisons:
        found = one.comparison
        interval = "–" if found.low is None or found.high is None else f"{points(found.low)} to {points(found.high)}"
        difference = "–" if found.verdict == "does not apply" else points(found.difference)
        other = "control" if one.arm.depth == one.against.depth else f"depth {one.against.depth}"
        name = f"{one.arm.name} − {other}"
        better = "–" if found.probability_of_improvement is None else f"{100 * found.probability_of_improvement:.0f} %"
        needed = "–" if found.seeds_needed is None else f"{found.seeds_needed:,}"
        p_values = (p_words(found.p_value), p_words(found.p_adjusted))
        rows.append((name, _meaning(found), difference, interval, *p_values, better, str(found.seeds), needed))
    head = ("networks", "verdict", "difference (points)", "95 % interval", "p", "p, Holm", "better in", "seeds")
    return Table((*head, "seeds that would show it"), rows)


def _meaning(found: Comparison) -> str:
    """A verdict with what it rests on."""
    if found.verdict == "equivalent":
        return f"equivalent: within ±{100 * found.margin:g} points"
    if found.verdict == "undecided":
        return "undecided: one seed cannot tell" if found.seeds == 1 else "undecided: more seeds are needed"
    return "does not apply: one network serves both" if found.verdict == "does not apply" else found.verdict


def arms_table(arms: pd.DataFrame) -> Table:
    """`tables.arms_table` in words, a row an arm; accuracies in percent."""
    percents = ["test accuracy", "valid accuracy", "train accuracy", "test balanced accuracy", "test macro F1"]
    head = ("arm", "hidden widths", "seeds", *(f"{name} (%)" for name in percents), "test NLL (nats)", "training (s)")
    rows = [
        (
            row["arm"],
            row["widths"],
            str(row["seeds"]),
            *(_spread(row, name, 100, 2) for name in percents),
            _spread(row, "test nll", 1, 3),
            _spread(row, "train seconds", 1, 1),
        )
        for row in arms.to_dict("records")
    ]
    return Table(head, rows)


def _modes_table(plan: Plan, arms: pd.DataFrame) -> Table:
    """Test accuracy by inference mode of the arms with dropout, their control beside them."""
    rows_by_arm = {row["arm"]: row for row in arms.to_dict("records")}
    controls = {arm.widths: arm.name for arm in plan.arms if arm.is_control}
    columns = ("test accuracy", "test accuracy, on", "test accuracy, mc")
    rows = []
    for arm in plan.arms:
        row, control = rows_by_arm.get(arm.name), rows_by_arm.get(controls[arm.widths])
        if arm.is_control or row is None:
            continue
        without = "–" if control is None else _spread(control, "test accuracy", 100, 2)
        rows.append((arm.name, without, *(_spread(row, name, 100, 2) for name in columns)))
    masks = plan.settings.mc_samples
    return Table(
        (
            "arm",
            "control: trained without dropout (%)",
            "trained with dropout, off at inference (%)",
            "trained with dropout, left on at inference: one mask (%)",
            f"trained with dropout, mc: mean of {masks} masks (%)",
        ),
        rows,
    )


def _classes_table(plan: Plan, results: pd.DataFrame, classes: Sequence[str]) -> Table:
    """Test accuracy of each class, dropout off, mean over seeds."""
    chosen = results[(results["inference"] == "off") & (results["split"] == "test")]
    means = chosen.groupby(["metric", "arm"])["value"].mean()
    names = [arm.name for arm in plan.arms if (chosen["arm"] == arm.name).any()]
    rows = []
    for k, label in enumerate(classes):
        values = [means.get((f"accuracy_class_{k}", name), math.nan) for name in names]
        rows.append((label, *("–" if math.isnan(value) else f"{100 * value:.2f}" for value in values)))
    return Table(("class", *names), rows)


def _times_table(records: Iterable[RunRecord]) -> Table:
    groups: dict[tuple[str, Way], list[RunRecord]] = {}
    for record in records:
        device = str(record.outcome.environment.get("device", record.way.device))
        groups.setdefault((device, record.way), []).append(record)
    rows = []
    for (device, way), mine in groups.items():
        seconds = [record.outcome.train_seconds for record in mine]
        epochs = sum(record.settings.epochs for record in mine)
        evaluation = sum(record.outcome.evaluate_seconds for record in mine) / len(mine)
        cells = (f"{sum(seconds) / len(mine):.1f}", f"{sum(seconds) / epochs:.3f}", f"{evaluation:.1f}")
        rows.append((f"{device} ({way.device})", way.words, str(len(mine)), *cells))
    return Table(("device", "way", "runs", "training (s a run)", "training (s an epoch)", "evaluation (s a run)"), rows)


def _environments(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """The different environments of the runs, each with the number of its runs."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for record in records:
        environment = record.outcome.environment
        _, runs = found.get(repr(environment), (environment, 0))
        found[repr(environment)] = (environment, runs + 1)
    return [environment | {"runs": runs} for environment, runs in found.values()]


def _verdicts(comparisons: Sequence[ArmComparison]) -> list[dict[str, Any]]:
    return [
        {"arm": one.arm.name, "against": one.against.name, **asdict(one.comparison), "words": one.comparison.words}
        for one in comparisons
    ]


def _spread(row: Mapping[Hashable, Any], name: str, factor: float, digits: int) -> str:
    """Mean ± standard deviation, the latter where there is more than one seed."""
    mean, spread = factor * row[name], factor * row[f"{name} sd"]
    return f"{mean:.{digits}f}" if math.isnan(spread) else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _value(value: object) -> str:
    """A setting as it would be typed."""
    if isinstance(value, tuple | list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value == "" else str(value)


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _inlined(svg: str, name: str) -> str:
    """An SVG whose ids cannot meet those of another one on the page."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)


def _plain(value: Any) -> Any:
    """The value as strict JSON has it: no NaN, no infinity, only its own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
