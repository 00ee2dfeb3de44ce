"""Words: what a study comes to, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from droplab.config import StudySettings, load_study, strength_words
from droplab.stats.compare import percent
from droplab.stats.measure import ACCURACY, Measure
from droplab.study.findings import DepthTrend, Findings
from droplab.study.names import hidden_words, place_words, spaced, units_words
from droplab.study.regimes import ArmState
from droplab.study.verdicts import ERROR, ArmComparison

if TYPE_CHECKING:
    from droplab.study.plan import Arm

_MOST_NAMED = 6


def arm_label(findings: Findings, arm: Arm) -> str:
    """How tables and charts call an arm.

    By its units where depth varies and nothing else but dropout: `784→512→10, dropout 0.5`; else by what varies.
    """
    settings = findings.plan.settings
    if settings.vary:
        compares = any(not one.is_control for one in findings.plan.arms)
        return spaced(arm.name if compares else arm.place or arm.name)
    trained = "control" if arm.is_control else spaced(arm.trained)
    if len(settings.architectures) == 1:
        return trained
    units = units_words(findings.features, arm.widths, findings.card.outputs)
    return f"{units}, {trained}" if arm.widths else units


def row_label(findings: Findings, arm: Arm) -> str:
    """How a row is called that has an arm beside its control: as `arm_label`, without what the columns say."""
    settings = findings.plan.settings
    if settings.vary or len(settings.architectures) == 1 or sum(map(bool, settings.dropout)) > 1:
        return arm_label(findings, arm)
    return units_words(findings.features, arm.widths, findings.card.outputs)


def is_of_dropout_alone(arm: Arm) -> bool:
    """Whether an arm differs from others in depth and dropout's rate alone."""
    return all(name in ("depth", "dropout") for name, _ in arm.levels)


def looks_words(findings: Findings) -> str | None:
    """At what the study was looked at, and what each look decided; `None` for one that is looked at once, at first.

    Args:
        findings: the study's.
    """
    plan, comparisons = findings.plan, findings.contrasts
    looks = plan.settings.looks
    error = f"All looks together say “helps” or “hurts” wrongly in {percent(ERROR)} of studies at most."
    if len(looks) == 1:
        number = plan.look_numbers[0]
        return f"This is look {number} at this study. {error}" if number > 1 else None
    acting = [one.comparison for one in comparisons if one.comparison.verdict != "does not apply"]
    decided = Counter(one.seeds for one in acting if one.verdict != "undecided")
    told = [f"{count} at {seeds}" for seeds, count in sorted(decided.items())]
    left = len(acting) - sum(decided.values())
    open_ones = f"; {left} {'is' if left == 1 else 'are'} not decided yet" if left else ""
    planned = f"Looks at this study are planned at {listed([str(seeds) for seeds in looks])} seeds"
    if plan.settings.until == "best":
        return f"{planned}; an arm that is surely worse on valid than the best gets no more. {error}"
    return f"{planned}; an arm that is decided gets no more. Decided: {listed(told) or 'none'}{open_ones}. {error}"


def interval_kinds(comparisons: Sequence[ArmComparison]) -> tuple[str, str]:
    """What the two intervals of comparisons are called: that of `helps` and `hurts`, and that of `equivalent`."""
    levels = {round(1 - one.comparison.confidence, 6) for one in comparisons if one.comparison.low is not None}
    if len(levels) != 1:
        return "interval of its look", "for “equivalent”"
    (level,) = levels
    return f"{percent(1 - level)} interval", f"{percent(1 - 2 * level)}, for “equivalent”"


def regime_words(states: Sequence[ArmState]) -> str | None:
    """In what state training was when it stopped, where a verdict suffers from it; two sentences at most.

    The most important first: networks that came to nothing; arms that longer training would have made better; controls
    that left a regularizer nothing to do.

    Args:
        states: of `regimes.arm_states`.

    Returns:
        `None` where all was finished and the controls had overfitted, or nothing can be told.
    """
    by_arm = {state.arm: state.networks.keys() for state in states}
    states = [one for one in states if one.arm == one.control or by_arm.get(one.control) != one.networks.keys()]
    networks = {key: one for state in states for key, one in state.networks.items()}
    diverged = sum(one.regime == "diverged" for one in networks.values())
    sentences = []
    if diverged:
        arms = [state.arm for state in states if any(one.regime == "diverged" for one in state.networks.values())]
        everywhere = diverged == len(networks)
        who = "All networks" if everywhere else f"{diverged} of {len(networks)} networks"
        where = "" if everywhere else f" ({_named([spaced(arm.name) for arm in arms])})"
        sentences.append(
            f"{who} diverged or learned nothing{where}: the loss at the end is no better than a guess, so try another "
            "learning rate."
        )
    live = [state for state in states if not state.has_diverged]
    sentences += [said for said in (_improving_words(live), _not_overfitted_words(live)) if said]
    return " ".join(sentences[:2]) or None


def enough_words(states: Sequence[ArmState]) -> str:
    """Whether training was long enough; arguments as those of `regime_words`."""
    if told := regime_words(states):
        return told
    known = [one.regime for state in states for one in state.networks.values()]
    if not known or None in known:
        return "Not known: too little was held out, or too few epochs were evaluated, to tell."
    fitted = any(state.arm == state.control and state.has_overfitted for state in states)
    return f"Yes: when training stopped the networks had levelled off{', and a control had overfitted' * fitted}."


def _improving_words(states: Sequence[ArmState]) -> str:
    improving = [state for state in states if state.is_improving]
    if improving and len(improving) == len(states):
        told = {one.regime for state in states for one in state.networks.values()}
        who = "All networks were" if told == {"improving"} else "In every arm most networks were"
        return f"{who} still improving when training stopped: this says nothing about finished training."
    if not improving:
        return ""
    settled = {state.arm for state in states if not state.is_improving}
    alone = [state for state in improving if state.control in settled]
    named = _named([spaced(state.arm.name) for state in alone or improving])
    one = len(alone or improving) == 1
    who = "this arm was" if one else "these arms were"
    unlike = f"Unlike {'its control' if one else 'their controls'}, {who}" if alone else who.capitalize()
    return f"{unlike} still improving when training stopped, and may do better than is said here: {named}."


def _not_overfitted_words(states: Sequence[ArmState]) -> str:
    """Of the controls that some other network is compared with."""
    by_arm = {state.arm: state for state in states}
    compared = [state.control for state in states if state.arm != state.control and state.control in by_arm]
    controls = dict.fromkeys(compared)
    fitting = [control for control in controls if not by_arm[control].has_overfitted]
    if not fitting:
        return ""
    if len(fitting) < len(controls):
        who, whose = f"Of the controls, {listed([place_words(arm) for arm in fitting][:_MOST_NAMED])} had", "the"
    else:
        who, whose = ("The controls had", "their") if len(controls) > 1 else ("The control had", "its")
    return (
        f"{who} not overfitted when training stopped ({whose} loss on train is not clearly below that on valid): there "
        "was little for a regularizer to do."
    )


def trend_words(found: DepthTrend, measure: Measure) -> str:
    """How the test metric goes with depth among the arms of one rate: its slope, or its shape where no line fits."""
    ladder = f"Among {found.among}, {hidden_words(found.depths[0])} to {hidden_words(found.depths[-1])}"
    along = f"{ladder}, test {measure.label}"
    top = f"highest with {hidden_words(round(found.trend.highest))} ({measure.value_words(found.trend.top)})"
    if found.trend.is_straight is False:
        return f"{along} {found.trend.shape}, {top}; no straight line fits ({seeds_words(found.trend.seeds)})."
    ends = found.trend.low, found.trend.high
    if ends[0] is None or ends[1] is None:
        interval = "one seed: no interval" if found.trend.seeds == 1 else "no spread over the seeds: no interval"
    else:
        interval = f"95 % interval {measure.change(ends[0])} to {measure.change(ends[1])}"
    if found.trend.is_straight is None:
        unsure = f" It is {top}; whether a straight line fits cannot be told."
    else:
        unsure = " Two seeds hardly tell whether a straight line fits." if found.trend.seeds == 2 else ""
    return (
        f"{along} changes by {measure.change_words(found.trend.slope)} a layer ({interval}; "
        f"{seeds_words(found.trend.seeds)})."
        f"{unsure}"
    )


def published_differences(settings: StudySettings) -> str | None:
    """How the study departs from the published one that it names as its reference, in words; `None` if it does not."""
    if settings.reference is None:
        return None
    differences = settings.differences(load_study(settings.reference))
    if not differences:
        return None

    def words(name: str, value: Any) -> str:
        if name == "dropout":
            return ", ".join(map(strength_words, value)) or "none"
        return "all" if name == "train_examples" and not value else value_words(value)

    told = ", ".join(
        f"{name} {words(name, here)} (published {words(name, there)})" for name, (here, there) in differences.items()
    )
    return f"Differs from the published study {settings.reference!r}: {told}."


def missing_words(findings: Findings) -> str | None:
    """How many networks of how many are finished; `None` if all are."""
    if findings.done == findings.wanted:
        return None
    return f"{findings.done} of {findings.wanted} networks are finished"


def count_words(findings: Findings) -> str:
    """How many networks there are, and why that is fewer than arms times seeds, where it is."""
    plan, settings = findings.plan, findings.plan.settings
    count = f"{findings.done} networks"
    twins = len(plan.arms) - len(plan.distinct)
    each = f"{len(plan.distinct)} settings, {seeds_words(len(settings.seeds))} each"
    if settings.until is not None:
        leaves = "is decided" if settings.until == "decided" else "is surely worse on valid than the best"
        each = f"{len(plan.distinct)} settings, and an arm that {leaves} gets no more seeds"
    elif findings.done < findings.wanted:
        each = "the others are not finished, or could not be trained"
    if not twins:
        return f"{count}: {each}."
    return (
        f"{count}: {each}. Where dropout cannot act, without a hidden layer, one network stands for both, with it and "
        "without."
    )


def sure_words(findings: Findings) -> str:
    """How far verdicts can be trusted: seeds, looks, and how often chance alone would make one."""
    acting = [one for one in findings.contrasts if one.comparison.verdict != "does not apply"]
    seeds = sorted({one.comparison.seeds for one in acting})
    if not seeds:
        return "Nothing was compared."
    if seeds == [1]:
        return "Not at all: with one seed (one random start) a difference may be chance. Three are the least that tell."
    told = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    chance = f"Chance alone makes a study say “helps” or “hurts” in {percent(ERROR)} of cases at most."
    trained = f"Each network was trained with {told} seeds (random starts), in pairs."
    return f"{trained} {chance} {beyond_words(findings.contrasts)}".strip()


def device_words(findings: Findings) -> str:
    """On what the networks were trained, where one would look for a GPU."""
    if any(record.way.device == "cuda" for record in findings.records.values()):
        return ""
    return "All networks were trained on the CPU; nothing is known here of times on a GPU."


GLOSSARY = {
    "arm": "One setting that is compared: a network, its regularizers, and how it is trained.",
    "control": "The same network, trained in the same way, without the regularizers that are compared.",
    "dropout rate": "The probability with which a unit is silenced at a training step (1 − the papers’ retention).",
    "epoch": "One pass over the training examples.",
    "depth": "The number of layers of weights: hidden layers and one. 784→512→10 has depth 2: 784 inputs, a hidden "
    "layer of 512 units, and 10 classes.",
    "equivalent": "The difference is shown to be smaller than the margin (of accuracy "
    f"{ACCURACY.margin_words(ACCURACY.margin)}).",
    "inference": "Using a trained network. Dropout is then off (as usual), left on (one random mask), or mc: the mean "
    "of the probabilities over several masks.",
    "interval": "The differences that these results leave possible.",
    "look": "One evaluation of the verdicts while a study grows; planned before, so that looking often finds no more.",
    "NLL": "Negative log-likelihood, the loss: how improbable the true classes were to the network, in nats.",
    "points": "Percentage points of accuracy: from 97 % to 98 % is one point.",
    "seed": "One random start: it fixes initial weights, order of examples and masks. Arms are compared seed by seed.",
    "train, valid, test": "Examples that a network learns from, that choices are made by, and that decide nothing.",
    "undecided": "The results leave room for no difference and for one that matters; more seeds would tell.",
}
"""Terms of the report, each in a sentence or two."""


def value_words(value: object) -> str:
    """A setting as it would be typed."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {value_words(one)}" for name, one in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(value_words, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value == "" else str(value)


def duration_words(seconds: float) -> str:
    """A time span in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def places_words(mine: Sequence[ArmComparison], among: Sequence[ArmComparison]) -> str:
    """Where something holds: by depth, by rate, or by both, whatever tells the comparisons apart."""
    depths, rates = {one.arm.depth for one in among}, {one.arm.dropout for one in among}
    if len(rates) == 1 and len(depths) > 1:
        return _with_hidden([one.arm.depth for one in mine])
    if len(depths) == 1:
        return "at rate " + listed([strength_words(one.arm.dropout) for one in mine])
    by_depth: dict[int, list[str]] = {}
    for one in mine:
        by_depth.setdefault(one.arm.depth, []).append(strength_words(one.arm.dropout))
    return ", ".join(f"{_with_hidden([depth])} at rate {listed(names)}" for depth, names in by_depth.items())


def _with_hidden(depths: Sequence[int]) -> str:
    """Depths as hidden layers: `with 1, 2 and 3 hidden layers`, `without a hidden layer`."""
    none = ["without a hidden layer"] if 1 in depths else []
    deeper = [depth - 1 for depth in depths if depth > 1]
    some = [f"with {listed(list(map(str, deeper)))} hidden layer{'s' if deeper != [1] else ''}"] if deeper else []
    return listed([*none, *some])


def beyond_words(comparisons: Sequence[ArmComparison]) -> str:
    """Which of the effects are sure for new test examples, too; nothing where there is none or it is not known."""
    effects = [one for one in comparisons if one.comparison.verdict in ("helps", "hurts") and one.new_examples]
    holds = [one for one in effects if one.new_examples and one.new_examples.verdict == one.comparison.verdict]
    if not effects:
        return ""
    if not holds:
        return "This is about these test examples; for new ones none of these effects is sure."
    if len(holds) == len(effects):
        return "What is said to help or hurt does so for new test examples, too."
    where = places_words(holds, comparisons)
    if not all(is_of_dropout_alone(one.arm) for one in comparisons):
        arms = [one.arm for one in holds]
        where = f"of {_named([spaced(arm.place if arm.is_control else arm.name) for arm in arms])}"
    return f"For new test examples, too, this is sure {where}."


def refit_words(findings: Findings) -> str:
    """What the network that valid chose came to when it was trained again; empty where it was not."""
    if not findings.refits:
        return ""
    examples = findings.examples["train"] + findings.examples["valid"]
    measure = findings.measure
    values = [record.outcome.metric("off", "test", measure.name) for record in findings.refits.values()]
    told = measure.spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)
    return (
        f"Trained again on train and valid together ({examples:,} examples), {seeds_words(len(values))}: test "
        f"{measure.label} {f'{told} {measure.unit}'.rstrip()} (models/refit.safetensors)."
    )


def sampling_words(findings: Findings) -> str:
    """How far the test examples let the metric of the chosen network be known, in a sentence; empty where unknown."""
    ends = findings.sampling.get(findings.best.name) if findings.done else None
    if ends is None:
        return ""
    measure, count = findings.measure, findings.examples["test"]
    return (
        f"On {count:,} other test examples the {measure.label} of {arm_label(findings, findings.best)} could as well "
        f"be {measure.value(ends[0])} to {measure.value_words(ends[1])} (95 % interval for the choice of the examples)."
    )


def _named(names: Sequence[str]) -> str:
    """So many names as can be read, and how many more there are."""
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return "; ".join([*names[:_MOST_NAMED], *more])


def seeds_words(count: int) -> str:
    """So many seeds in words."""
    return f"{count} seed{'' if count == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
