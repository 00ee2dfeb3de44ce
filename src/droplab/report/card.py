"""The model card: what a saved network was trained on, how it was chosen, what it can do, and what nobody looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from droplab import __version__
from droplab.data.catalog import CATALOG
from droplab.data.images import shape_words
from droplab.report.cells import Table
from droplab.report.markdown import code, escaped, table
from droplab.stats.intervals import CONFIDENCE, t_interval
from droplab.study.frames import by_seed
from droplab.study.origin import Origin

if TYPE_CHECKING:
    import pandas as pd

    from droplab.model.file import ModelInfo
    from droplab.study.findings import Findings
    from droplab.study.plan import Arm, Plan, Run
    from droplab.study.records import RunRecord

_SHARES = ("accuracy", "balanced accuracy", "macro F1")


def render_card(findings: Findings, origin: Origin, info: ModelInfo, file: str) -> str:
    """Render the card of a study's best network as Markdown.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
        info: what its model file says beside its weights.
        file: the name of that file.
    """
    plan, results, arm, best = findings.plan, findings.results, findings.best, findings.best_run
    record = findings.records[best.key]
    seeds = by_seed(results, arm, "off", "valid", "accuracy").index.to_list()
    weakest = weakest_class(_by_class(record), info.classes)
    parts = [
        f"# Model card: {escaped(plan.settings.name)}, {escaped(arm.name)}, seed {best.settings.seed}",
        f"`{file}` holds a fully-connected classifier, the best network of a droplab study. "
        + (f"The study asked: {escaped(plan.settings.question)}" if plan.settings.question else ""),
        "## Data",
        data_words(origin, info, plan.settings.data, _split(plan, origin)),
        "## Network and training",
        table(Table(("setting", "value"), network_rows(best, info, str(best.settings.seed)))),
        "## How it was chosen",
        _choice(findings, seeds),
        "## Metrics",
        table(Table(_metrics_head(best, seeds), _metrics(results, arm, best))),
        _metrics_words(seeds),
        f"{weakest} All classes are in `report.html` and `results.csv`." if weakest else "",
        "## What this says nothing about",
        "\n".join(f"- {line}" for line in _limits(findings, info)),
        "## How to repeat it",
        code(origin.command),
        f"To evaluate the file on data of its shape: `droplab evaluate {file} --data PATH`.",
        "## Versions",
        table(Table(("where it was trained", ""), versions_rows(record))),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def data_words(origin: Origin, info: ModelInfo, name: str, split: str) -> str:
    """What a network was trained and tested on.

    Args:
        origin: where the data come from.
        info: what the network is.
        name: as the data were asked for.
        split: how they were split, a sentence.
    """
    entry = CATALOG.get(name)
    licence = f" Licence of the data: {escaped(entry.licence)}." if entry else ""
    source = escaped(origin.source) or "a source that is not known"
    made = f" {escaped(info.preprocessing.words)}" if info.preprocessing else ""
    counts = f" Examples a class: {escaped(origin.counts)}." if origin.counts else ""
    form = f" (images of {shape_words(info.image_shape)})" if info.image_shape else ""
    found = "\n\nA first look found:\n" if origin.findings else ""
    found += "".join(f"\n- {escaped(finding)}" for finding in origin.findings)
    return (
        f"{escaped(origin.data)}, from {source}: {split} "
        f"{len(info.classes)} classes; {info.features} features{form}, multiplied by {info.scale:g} before the first "
        f"layer.{made}{counts} Fingerprint `{info.fingerprint}`.{licence}{found}"
    )


def _split(plan: Plan, origin: Origin) -> str:
    train, valid, test = (origin.examples[split] for split in ("train", "valid", "test"))
    groups = f", in whole groups of {escaped(plan.settings.groups)}" if plan.settings.groups else ""
    held = origin.held_out(plan.settings.split_seed, groups)
    return f"{train:,} examples were trained on, {valid:,} {held}, and {test:,} are the test split."


def network_rows(run: Run, info: ModelInfo, seeds: str) -> list[tuple[str, str]]:
    """A network and how it was trained, setting by setting; `seeds` in words."""
    settings = run.settings
    units = (info.features, *settings.widths, len(info.classes))
    rest = {name: value for name, value in settings.told().items() if name not in ("widths", "seed")}
    return [
        ("units, layer by layer", " → ".join(map(str, units))),
        (
            "hidden layers",
            f"{len(settings.widths)}" + (f", {settings.activation}" if settings.widths else ": a linear classifier"),
        ),
        ("parameters", f"{info.parameters:,}"),
        ("loss", "cross-entropy"),
        *((name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in rest.items()),
        ("seed" if info.networks == 1 else "seeds", seeds),
        ("way", f"{run.way.device}, {run.way.words}"),
        ("key" if info.networks == 1 else "keys", info.key.replace(",", ", ")),
    ]


def _choice(findings: Findings, seeds: Sequence[int]) -> str:
    plan, records, arm, best = findings.plan, findings.records, findings.best, findings.best_run
    arms = {one.name for run in plan.runs if run.key in records for one in run.arms}
    listed = ", ".join(map(str, seeds)) if len(seeds) <= 20 else f"{seeds[0]} … {seeds[-1]}"
    text = (
        f"On valid, never on test. Of {_count(len(arms), 'arm')} {escaped(arm.name)} is the simplest whose mean "
        "accuracy on valid, dropout off at inference, is within one standard error of the highest; of its "
        f"{_count(len(seeds), 'seed')} ({listed}), seed {best.settings.seed} has the highest. The test split decided "
        "nothing: "
        "each network was evaluated on it once, when its training was done. The accuracy on valid is that of a winner "
        "and therefore flatters; that on test does not, as long as nobody chooses by it."
    )
    if findings.done < findings.wanted:
        text += f" Only {findings.done} of the study's {findings.wanted} networks were finished when this was written."
    return text


def _metrics_head(best: Run, seeds: Sequence[int]) -> tuple[str, ...]:
    head = ("dropout off at inference", f"this network, seed {best.settings.seed}")
    return (
        (*head, f"mean of {len(seeds)} seeds", f"{100 * CONFIDENCE:g} % interval for the mean")
        if len(seeds) > 1
        else head
    )


def _metrics(results: pd.DataFrame, arm: Arm, best: Run) -> list[tuple[str, ...]]:
    """A row a metric: this network, the mean over the arm's seeds, and the interval for it."""
    kinds = [("test", name) for name in (*_SHARES, "nll")] + [("valid", "accuracy"), ("train", "accuracy")]
    rows = []
    for split, name in kinds:
        values = by_seed(results, arm, "off", split, name.replace(" ", "_").lower())
        if values.empty:
            continue
        share = name in _SHARES
        factor, digits = (100.0, 2) if share else (1.0, 4)
        row = [f"{split} {name} (%)" if share else f"{split} NLL (nats)"]
        row.append(f"{factor * float(values.loc[best.settings.seed]):.{digits}f}")
        if len(values) > 1:
            found = t_interval(values.to_numpy())
            ends = () if found is None else (max(found.low, 0.0), min(found.high, 1.0) if share else found.high)
            row.append(f"{factor * float(values.mean()):.{digits}f}")
            row.append(" to ".join(f"{factor * end:.{digits}f}" for end in ends) or "– (no spread)")
        rows.append(tuple(row))
    return rows


def _metrics_words(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return "One seed: how much another would differ is not known. Run the study with at least three."
    return (
        f"The interval is Student's t for the mean over {len(seeds)} seeds, cut at what a share can be. It is for the "
        "recipe, which another seed repeats, and not for this one network."
    )


def weakest_class(accuracies: Mapping[int, float], classes: Sequence[str]) -> str:
    """The class with the lowest of these test accuracies, in words; nothing where none is known."""
    known = {k: value for k, value in accuracies.items() if not math.isnan(value)}
    if not known:
        return ""
    weakest = min(known, key=lambda k: (known[k], k))
    return (
        f"Its weakest class on test is {escaped(classes[weakest], 200)}: {100 * known[weakest]:.2f} % of its examples "
        "are classified rightly."
    )


def _by_class(record: RunRecord) -> dict[int, float]:
    """Test accuracy with dropout off, class by class."""
    return {
        int(metric.name.removeprefix("accuracy_class_")): metric.value
        for metric in record.outcome.metrics
        if (metric.inference, metric.split) == ("off", "test") and metric.name.startswith("accuracy_class_")
    }


def any_limits(classes: Sequence[str]) -> tuple[str, ...]:
    """What the card of any classifier must say that nobody looked at."""
    return (
        "Data from elsewhere. The test split comes from the same collection as the training data; other sources, other "
        "preprocessing, noise, shifts and inputs made to deceive were not tried.",
        f"What belongs to no class: whatever it is given, it answers with one of the {len(classes)} classes.",
        "Groups within the data, of people or things, other than the classes.",
    )


def _limits(findings: Findings, info: ModelInfo) -> list[str]:
    arm = findings.best
    compared = [
        f"{one.arm.name} against {one.against.name}: {one.comparison.words}"
        for one in findings.contrasts
        if arm in (one.arm, one.against)
    ]
    return [
        *any_limits(info.classes),
        _calibration(findings.results, arm, findings.best_run),
        "Another split. Seeds vary initial weights, batch order and masks; the examples of train, valid and test are "
        "the same for all.",
        "Whether this arm is better than the others: valid chose it, and chance may decide that. What test says "
        f"on the study's question, whatever was chosen: {escaped(' '.join(compared)) or 'nothing yet.'}",
    ]


def _calibration(results: pd.DataFrame, arm: Arm, best: Run) -> str:
    """Whether the network's probabilities can be believed."""
    kinds = {"brier": "test", "ece": "test", "temperature": "valid", "ece_calibrated": "test"}
    found = {name: by_seed(results, arm, "off", split, name) for name, split in kinds.items()}
    seed = best.settings.seed
    if any(seed not in values.index for values in found.values()):
        return "Whether its probabilities can be believed: nothing was kept of that. NLL alone depends on them here."
    brier, ece, temperature, calibrated = (float(values.loc[seed]) for values in found.values())
    return (
        f"Probabilities on other data. On test their expected calibration error is {100 * ece:.2f} % (15 bins of equal "
        f"mass) and Brier's score {brier:.4f}. The file gives them as trained; dividing its logits by the temperature "
        f"{temperature:.3f}, fitted on valid, would make that error {100 * calibrated:.2f} %."
    )


def versions_rows(record: RunRecord) -> list[tuple[str, str]]:
    """Where and with what a network was trained, and what wrote this."""
    return [
        *((name, str(value)) for name, value in record.outcome.environment.items()),
        ("card by droplab", __version__),
    ]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
