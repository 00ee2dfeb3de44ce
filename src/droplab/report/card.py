"""The model card: what a kept model was trained on, how it was chosen, what it can do, and what nobody looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from droplab import __version__
from droplab.data.catalog import CATALOG
from droplab.data.images import shape_words
from droplab.report.cells import Table
from droplab.report.markdown import code, escaped, table
from droplab.report.words import sampling_words, seeds_words
from droplab.stats.calibration import BINS
from droplab.stats.compare import percent, points
from droplab.stats.intervals import CONFIDENCE, Estimate, t_interval
from droplab.stats.measure import MEASURES
from droplab.study.origin import Origin

if TYPE_CHECKING:
    from droplab.model.file import Calibration, ModelInfo
    from droplab.study.findings import Findings
    from droplab.study.plan import Run
    from droplab.study.rates import Rates
    from droplab.study.records import RunRecord

_SHARES = ("accuracy", "balanced accuracy", "macro F1")
_KINDS = [*(("test", name) for name in (*_SHARES, "nll")), ("valid", "accuracy"), ("train", "accuracy")]
_OF_NUMBERS = [*(("test", name) for name in ("rmse", "mae", "r2")), ("valid", "rmse"), ("train", "rmse")]
_CLASS = "accuracy_class_"
_INTERVAL = f"{100 * CONFIDENCE:g} % interval"
_BINS = f"{BINS} bins of equal mass"


def render_card(findings: Findings, origin: Origin, info: ModelInfo, file: str) -> str:
    """Render the card of a study's best network as Markdown.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
        info: what its model file says beside its weights.
        file: the name of that file.
    """
    settings, best = findings.plan.settings, findings.best_run
    record, seed = findings.records[best.key], best.settings.seed
    seeds = findings.by_seed(findings.best, "off", "valid").index.to_list()
    found = {one.name: one.value for one in record.outcome.metrics if (one.inference, one.split) == ("off", "test")}
    weakest = _weakest_class(found, info.classes)
    groups = f", in whole groups of {escaped(settings.groups)}" if settings.groups else ""
    head = ["dropout off at inference", f"this network, seed {seed}"]
    words = "One seed: how much another would differ is not known. Run the study with at least three."
    if len(seeds) > 1:
        head += [f"mean of {len(seeds)} seeds", f"{_INTERVAL} for the mean"]
        words = (
            f"The interval is Student's t for the mean over {len(seeds)} seeds, cut at what the metric can be. It is "
            "for the recipe, which another seed repeats, and not for this one network."
        )
    what = "classifier" if info.classes else "network that gives a number"
    opening = f"`{file}` holds a fully-connected {what}, the best of a droplab study. " + (
        f"The study asked: {escaped(settings.question)}" if settings.question else ""
    )
    sections = {
        "Data": [_data(origin, info, settings.data, f"{_split(origin, settings.split_seed, groups)}.")],
        "Network and training": [_network(best, info, str(seed))],
        "How it was chosen": [_choice(findings, seeds)],
        "Metrics": [
            table(Table(head, _metrics(findings))),
            words,
            escaped(sampling_words(findings)),
            weakest and f"{weakest} All classes are in `report.html` and `results.csv`.",
        ],
        "What this says nothing about": [bullets(filter(None, [*_unseen(info.classes), *_limits(findings)]))],
        "How to repeat it": [
            code(origin.command),
            f"To evaluate the file on data of its shape: `droplab evaluate {file} --data PATH`.",
        ],
    }
    return _card(f"{escaped(settings.name)}, {escaped(findings.best.name)}, seed {seed}", opening, sections, record)


def render_fitted_card(
    runs: Sequence[Run],
    records: Sequence[RunRecord],
    origin: Origin,
    info: ModelInfo,
    weights: str,
    metrics: Sequence[Estimate],
    by_class: Mapping[str, float],
    calibration_error: float | None,
    data: str,
    file: str,
    grouped: bool = False,
    rates: Rates | None = None,
) -> str:
    """Render the card of a model that `droplab fit` made, outside any study, as Markdown.

    Args:
        runs: its networks, alike but for their seeds.
        records: what came of each.
        origin: where the data and the numbers come from.
        info: what its file says beside its weights.
        weights: their SHA-256, as `model.file.weights_hash` gives it.
        metrics: how good it is on test with dropout off.
        by_class: the same as `stats.metrics.classification_metrics` has it, class by class; empty of numbers.
        calibration_error: of its probabilities there, a fraction; `None` of numbers.
        data: the data as they were asked for.
        file: the name of its file.
        grouped: whether the splits were not to part groups.
        rates: the dropout rates that valid chose among; `None` where the rate was given.
    """
    measure, several = runs[0].settings.usual, len(runs) > 1
    single = sorted(one.outcome.metric("off", "test", measure.name) for one in records)
    kind, answers = ("network", "numbers") if info.is_of_numbers else ("classifier", "probabilities")
    holds, spread = f"a fully-connected {kind}", "is not known: `--seeds 5` averages five, and says."
    if several:
        holds = f"{len(runs)} fully-connected {kind}s, whose {answers} are averaged"
        ends = f"{measure.value(single[0])} to {measure.value_words(single[-1])}"
        spread = f"is seen in the single networks: their {measure.label} on test is {ends}."
    said = "number" if info.is_of_numbers else "class"
    if rates is None:
        settled = "given, and compared with nothing"
        untried = "Whether dropout, or any other setting, helps on these data: nothing was trained without it. "
        untried += "`droplab study` does, and says which differences are real."
    else:
        settled = "given, but for the dropout rate, which valid chose"
        untried = "Whether any other setting than the dropout rate helps on these data. `droplab study` compares what "
        untried += "you vary, and says which differences are real."
    calibration = info.calibration
    believed = [] if calibration_error is None else [f"{_calibration(calibration_error)}."]
    apart = (
        f" Another {calibration.rows:,} were set apart to calibrate {'intervals' if info.is_of_numbers else 'sets'}."
        if calibration
        else ""
    )
    apart += " No group is on two sides of a split." if grouped else ""
    split = f"{_split(origin, runs[0].settings.split_seed)}, which chose nothing.{apart}"
    opening = (
        f"`{file}` holds {holds}. The settings that it was trained with were {settled}. The SHA-256 of its weights is "
        f"`{weights}`; the file names this card by its own."
    )
    sections = {
        "Data": [_data(origin, info, data, split)],
        "Network and training": [_network(runs[0], info, ", ".join(str(run.settings.seed) for run in runs))],
        "Whether dropout earned its place": _chosen(rates) if rates else [],
        "Metrics": [
            table(Table(("test, dropout off at inference", "value", _INTERVAL), [_row(one) for one in metrics])),
            f"The intervals are for this model on other {origin.examples['test']:,} examples from where these come "
            f"from: Wilson's for {'' if info.is_of_numbers else 'accuracy and '}coverage, of the bootstrap over "
            f"examples for the others. How much another seed would differ {spread}",
            _weakest_class(by_class, info.classes),
        ],
        "Answers that hold the truth": [_sets(calibration, file, info)] if calibration else [],
        "What this says nothing about": [
            bullets([*_unseen(info.classes), *believed, untried]),
        ],
        "How to use it": [
            f"`droplab predict {file} FILE` says the {said} of new rows; `droplab export {file} --to onnx --check "
            "FILE` writes an ONNX file."
        ],
        "How to repeat it": [code(origin.command)],
    }
    return _card(escaped(file), opening, sections, records[0])


def _card(title: str, opening: str, sections: Mapping[str, Sequence[str]], record: RunRecord) -> str:
    """A card; a section without paragraphs is left out, and so is a paragraph without words."""
    environment = [(name, str(value)) for name, value in record.outcome.environment.items()]
    versions = table(Table(("where it was trained", ""), [*environment, ("card by droplab", __version__)]))
    parts = [f"# Model card: {title}", opening]
    for heading, paragraphs in (dict(sections) | {"Versions": [versions]}).items():
        parts += [f"## {heading}", *paragraphs] if paragraphs else []
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def bullets(lines: Iterable[str]) -> str:
    """Lines as a list in Markdown; they are not escaped."""
    return "\n".join(f"- {line}" for line in lines)


def _data(origin: Origin, info: ModelInfo, name: str, split: str) -> str:
    """What a network was trained and tested on; `name` as the data were asked for, `split` a sentence."""
    entry = CATALOG.get(name)
    targets = f"{len(info.classes)} classes" if info.classes else "Targets are numbers"
    licence = f" Licence of the data: {escaped(entry.licence)}." if entry else ""
    source = escaped(origin.source) or "a source that is not known"
    made = f" {escaped(info.preprocessing.words)}" if info.preprocessing else ""
    counts = f" Examples a class: {escaped(origin.counts)}." if origin.counts else ""
    form = f" (images of {shape_words(info.image_shape)})" if info.image_shape else ""
    found = f"\n\nA first look found:\n\n{bullets(map(escaped, origin.findings))}" if origin.findings else ""
    return (
        f"{escaped(origin.data)}, from {source}: {split} "
        f"{targets}; {info.features} features{form}, multiplied by {info.scale:g} before the first "
        f"layer.{made}{counts} Fingerprint `{info.fingerprint}`.{licence}{found}"
    )


def _split(origin: Origin, split_seed: int, groups: str = "") -> str:
    """How many examples were for what; the sentence is not ended."""
    train, valid, test = (origin.examples[split] for split in ("train", "valid", "test"))
    held = f", {valid:,} {origin.held_out(split_seed, groups)}," if valid else ""
    return f"{train:,} examples were trained on{held} and {test:,} are the test split"


def _network(run: Run, info: ModelInfo, seeds: str) -> str:
    """A network and how it was trained, setting by setting, as a table; `seeds` in words."""
    settings, many = run.settings, "" if info.networks == 1 else "s"
    hidden = f"{len(settings.widths)}, {settings.activation}" if settings.widths else "0: a linear classifier"
    rest = {name: value for name, value in settings.told().items() if name not in ("widths", "seed", "loss")}
    rows = {
        "units, layer by layer": " → ".join(map(str, (info.features, *settings.widths, info.outputs))),
        "hidden layers": hidden,
        "parameters": f"{info.parameters:,}",
        "loss": "cross-entropy" if info.classes else f"{settings.loss.replace('_', ' ')} of standardized targets",
        **{name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in rest.items()},
        f"seed{many}": seeds,
        "way": f"{run.way.device}, {run.way.words}",
        f"key{many}": info.key.replace(",", ", "),
    }
    return table(Table(("setting", "value"), list(rows.items())))


def _choice(findings: Findings, seeds: Sequence[int]) -> str:
    arms = len({one.name for run in findings.plan.runs if run.key in findings.records for one in run.arms})
    label = findings.measure.label
    listed = ", ".join(map(str, seeds)) if len(seeds) <= 20 else f"{seeds[0]} … {seeds[-1]}"
    text = (
        f"On valid, never on test. Of {arms} arm{'s' * (arms != 1)} {escaped(findings.best.name)} is the simplest "
        f"whose mean {label} on valid, dropout off at inference, is within one standard error of the best; of its "
        f"{seeds_words(len(seeds))} ({listed}), seed {findings.best_run.settings.seed} has the best. The test "
        f"split decided nothing: each network was evaluated on it once, when its training was done. The {label} on "
        "valid is that of a winner and therefore flatters; that on test does not, as long as nobody chooses by it."
    )
    if findings.done < findings.wanted:
        text += f" Only {findings.done} of the study's {findings.wanted} networks were finished when this was written."
    return text


def _chosen(rates: Rates) -> list[str]:
    """The comparison of dropout rates on valid: in words, as a table, and what it is worth."""
    found = next(iter(rates.against_none.values()))
    measure = rates.measure
    rows = [("none", measure.value(rates.values[0.0]), "–", "–")]
    for rate, one in rates.against_none.items():
        ends = "– (no spread)" if one.low is None or one.high is None else f"{points(one.low)} to {points(one.high)}"
        rows.append((f"{rate:g}", measure.value(rates.values[rate]), points(one.difference), ends))
    head = (
        "dropout",
        measure.headed(f"valid {measure.label}"),
        f"against none ({rates.unit})",
        f"{percent(found.confidence)} interval",
    )
    seeds = "one seed" if found.seeds == 1 else f"the same {found.seeds} seeds"
    return [
        rates.words,
        table(Table(head, rows)),
        f"Networks of {seeds} each, compared on {found.examples:,} training examples that were held out; the model was "
        f"then trained with dropout {rates.chosen:g} on all of them. The {measure.label} on valid is that of a winner "
        "and therefore flatters. The intervals hold for all rates together.",
    ]


def _metrics(findings: Findings) -> list[list[str]]:
    """A row a metric: the best network, the mean over its arm's seeds, and the interval for it."""
    rows = []
    for split, name in _KINDS if findings.card.classes else _OF_NUMBERS:
        values = findings.replicates.by_seed(findings.best, "off", split, name.replace(" ", "_").lower())
        if values.empty:
            continue
        measure = next(one for one in MEASURES.values() if one.name == name.replace(" ", "_").lower())
        row = [measure.headed(f"{split} {measure.label}")]
        row.append(measure.value(float(values.loc[findings.best_run.settings.seed])))
        if len(values) > 1:
            found, share = t_interval(values.to_numpy()), measure.is_share
            lowest = -math.inf if name == "r2" else 0.0
            ends = () if found is None else (max(found.low, lowest), min(found.high, 1.0) if share else found.high)
            row += [measure.value(float(values.mean())), " to ".join(map(measure.value, ends)) or "– (no spread)"]
        rows.append(row)
    return rows


def _row(one: Estimate) -> tuple[str, str, str]:
    unit = " (%)" if one.is_share else " (nats)" if one.name == "NLL" else ""
    low, value, high = map(one.told, (one.low, one.value, one.high))
    return f"{one.name}{unit}", value, "not known: no spread" if math.isnan(one.low) else f"{low} to {high}"


def _told(share: bool, *numbers: float) -> list[str]:
    return [f"{100 * number:.2f}" if share else f"{number:.4f}" for number in numbers]


def _sets(calibration: Calibration, file: str, info: ModelInfo) -> str:
    """What a model's sets of classes, or intervals of numbers, promise, and on what conditions."""
    share, within = percent(calibration.confidence), " within each class" if len(calibration.bounds) > 1 else ""
    flag, kind, parts = ("--sets", "a set of classes", "sets")
    if info.is_of_numbers:
        flag, kind, parts = ("--interval", "an interval", "intervals")
    empty = "" if info.is_of_numbers else " A set may be empty: no class is likely enough."
    return (
        f"`droplab predict {file} FILE {flag}` says {kind} for each row. However good the model is, the {parts} "
        f"hold the truth of at least {share} of rows{within}, as long as these come from where the "
        f"{calibration.rows:,} rows come from that were set apart for that (split conformal prediction; Vovk, "
        "Gammerman & Shafer 2005; Lei et al. 2018). It holds on average over such rows, not for each single one; how "
        f"often it held on test is among the metrics.{empty}"
    )


def _weakest_class(metrics: Mapping[str, float], classes: Sequence[str]) -> str:
    """The class with the lowest of the test accuracies among metrics, in words; nothing where none is known."""
    by_class = {int(name.removeprefix(_CLASS)): value for name, value in metrics.items() if name.startswith(_CLASS)}
    known = [(value, k) for k, value in by_class.items() if not math.isnan(value)]
    if not known:
        return ""
    accuracy, weakest = min(known)
    return (
        f"Its weakest class on test is {escaped(classes[weakest], 200)}: {100 * accuracy:.2f} % of its examples "
        "are classified rightly."
    )


def _unseen(classes: Sequence[str]) -> tuple[str, ...]:
    """What the card of any network must say that nobody looked at."""
    beyond = (
        f"What belongs to no class: whatever it is given, it answers with one of the {len(classes)} classes."
        if classes
        else "What lies beyond the targets of training: it answers whatever it is given, with a number."
    )
    return (
        "Data from elsewhere. The test split comes from the same collection as the training data; other sources, other "
        "preprocessing, noise, shifts and inputs made to deceive were not tried.",
        beyond,
        f"Groups within the data, of people or things{', other than the classes' if classes else ''}.",
    )


def _limits(findings: Findings) -> tuple[str, ...]:
    """What else the card of a study's best network must say."""
    kinds = {"brier": "test", "ece": "test", "temperature": "valid", "ece_calibrated": "test"}
    found = [findings.replicates.by_seed(findings.best, "off", split, name) for name, split in kinds.items()]
    seed = findings.best_run.settings.seed
    believed = "Whether its probabilities can be believed: nothing was kept of that. NLL alone depends on them here."
    if not findings.card.classes:
        believed = ""
    elif all(seed in values.index for values in found):
        brier, ece, temperature, calibrated = (float(values.loc[seed]) for values in found)
        believed = (
            f"{_calibration(ece)} and Brier's score {brier:.4f}. The file gives them as trained; dividing its logits "
            f"by the temperature {temperature:.3f}, fitted on valid, would make that error {100 * calibrated:.2f} %."
        )
    compared = " ".join(
        f"{one.arm.name} against {one.against.name}: {one.comparison.words}"
        for one in findings.contrasts
        if findings.best in (one.arm, one.against)
    )
    return (
        believed,
        "Another split. Seeds vary initial weights, batch order and masks; the examples of train, valid and test are "
        "the same for all.",
        "Whether this arm is better than the others: valid chose it, and chance may decide that. What test says "
        f"on the study's question, whatever was chosen: {escaped(compared) or 'nothing yet.'}",
    )


def _calibration(error: float) -> str:
    """By what fraction the probabilities are off; the sentence is not ended."""
    return f"Probabilities on other data. On test their expected calibration error is {100 * error:.2f} % ({_BINS})"
