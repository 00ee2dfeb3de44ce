"""Words: what a study comes to, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from droplab.config import StudySettings, load_study
from droplab.stats.compare import Verdict, percent, points
from droplab.study.findings import DepthTrend, Findings
from droplab.study.names import hidden_words, place_words, spaced
from droplab.study.regimes import ArmState
from droplab.study.verdicts import ERROR, ArmComparison

if TYPE_CHECKING:
    from droplab.study.plan import Arm

_SAID: dict[Verdict, str] = {
    "helps": "helps",
    "hurts": "hurts",
    "equivalent": "makes no difference that matters",
    "undecided": "is undecided",
    "does not apply": "does not apply",
}


_VERDICTS: dict[Verdict, str] = {
    "helps": "Helps",
    "hurts": "Hurts",
    "equivalent": "Makes no difference that matters",
    "undecided": "Undecided",
    "does not apply": "Does not apply",
}
_MOST_NAMED = 6


def answer(comparisons: Sequence[ArmComparison]) -> str:
    """What the comparisons of regularizers with their control come to, in one sentence.

    Args:
        comparisons: of `Findings.contrasts`.
    """
    if any(not _is_of_dropout_alone(one.arm) for one in comparisons):
        return _answer_by_arm(comparisons)
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
    return f"Training with dropout {'; '.join(parts)}.{_beyond(comparisons)}"


def _is_of_dropout_alone(arm: Arm) -> bool:
    return all(name in ("depth", "dropout") for name, _ in arm.levels)


def _answer_by_arm(comparisons: Sequence[ArmComparison]) -> str:
    """Verdict by verdict, the arms with the largest differences first."""
    if all(one.comparison.seeds == 1 for one in comparisons):
        return (
            "One seed cannot tell which regularizers help: the differences in test accuracy from control "
            f"({_range(comparisons)} points) may be chance. Run at least three seeds."
        )
    parts = []
    for verdict, said in _VERDICTS.items():
        mine = [one for one in comparisons if one.comparison.verdict == verdict]
        mine.sort(key=lambda one: -abs(one.comparison.difference))
        if mine:
            named = [f"{spaced(one.arm.name)} ({points(one.comparison.difference)})" for one in mine]
            parts.append(f"{said}: {_named(named)}")
    return f"Against control, in points of test accuracy. {'. '.join(parts)}."


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
    planned = f"Looks at this study are planned at {_listed([str(seeds) for seeds in looks])} seeds"
    if plan.settings.until == "best":
        return f"{planned}; an arm that is surely worse on valid than the best gets no more. {error}"
    return f"{planned}; an arm that is decided gets no more. Decided: {_listed(told) or 'none'}{open_ones}. {error}"


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
        who, whose = f"Of the controls, {_listed([place_words(arm) for arm in fitting][:_MOST_NAMED])} had", "the"
    else:
        who, whose = ("The controls had", "their") if len(controls) > 1 else ("The control had", "its")
    return (
        f"{who} not overfitted when training stopped ({whose} loss on train is not clearly below that on valid): there "
        "was little for a regularizer to do."
    )


def trend_words(found: DepthTrend) -> str:
    """How test accuracy goes with depth among the arms of one rate: its slope, or where no line fits, what it does."""
    along = f"Among {found.among}, {hidden_words(found.depths[0])} to {hidden_words(found.depths[-1])}, test accuracy"
    top = f"highest with {hidden_words(round(found.trend.highest))} ({100 * found.trend.top:.2f} %)"
    if found.trend.is_straight is False:
        return f"{along} {found.trend.shape}, {top}; no straight line fits ({_seeds(found.trend.seeds)})."
    ends = found.trend.low, found.trend.high
    if ends[0] is None or ends[1] is None:
        interval = "one seed: no interval" if found.trend.seeds == 1 else "no spread over the seeds: no interval"
    else:
        interval = f"95 % interval {points(ends[0])} to {points(ends[1])}"
    if found.trend.is_straight is None:
        unsure = f" It is {top}; whether a straight line fits cannot be told."
    else:
        unsure = " Two seeds hardly tell whether a straight line fits." if found.trend.seeds == 2 else ""
    return (
        f"{along} changes by {points(found.trend.slope)} points a layer ({interval}; {_seeds(found.trend.seeds)})."
        f"{unsure}"
    )


def published_differences(settings: StudySettings) -> str | None:
    """How the study departs from the published one that it names as its reference, in words; `None` if it does not."""
    if settings.reference is None:
        return None
    differences = settings.differences(load_study(settings.reference))
    if not differences:
        return None

    def words(name: str, value: object) -> str:
        return "all" if name == "train_examples" and not value else value_words(value)

    told = ", ".join(
        f"{name} {words(name, here)} (published {words(name, there)})" for name, (here, there) in differences.items()
    )
    return f"Differs from the published study {settings.reference!r}: {told}."


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


def _places(mine: Sequence[ArmComparison], among: Sequence[ArmComparison]) -> str:
    """Where something holds: by depth, by rate, or by both, whatever tells the comparisons apart."""
    depths, rates = {one.arm.depth for one in among}, {one.arm.dropout for one in among}
    if len(rates) == 1 and len(depths) > 1:
        return _with_hidden([one.arm.depth for one in mine])
    if len(depths) == 1:
        return "at rate " + _listed([f"{one.arm.dropout:g}" for one in mine])
    by_depth: dict[int, list[str]] = {}
    for one in mine:
        by_depth.setdefault(one.arm.depth, []).append(f"{one.arm.dropout:g}")
    return ", ".join(f"{_with_hidden([depth])} at rate {_listed(names)}" for depth, names in by_depth.items())


def _with_hidden(depths: Sequence[int]) -> str:
    """Depths as hidden layers: `with 1, 2 and 3 hidden layers`, `without a hidden layer`."""
    none = ["without a hidden layer"] if 1 in depths else []
    deeper = [depth - 1 for depth in depths if depth > 1]
    some = [f"with {_listed(list(map(str, deeper)))} hidden layer{'s' if deeper != [1] else ''}"] if deeper else []
    return _listed([*none, *some])


def _beyond(comparisons: Sequence[ArmComparison]) -> str:
    """Which of the effects are sure for new test examples, too; nothing where there is none or it is not known."""
    effects = [one for one in comparisons if one.comparison.verdict in ("helps", "hurts") and one.new_examples]
    holds = [one for one in effects if one.new_examples and one.new_examples.verdict == one.comparison.verdict]
    if not effects:
        return ""
    if not holds:
        return " This is about these test examples; for new ones none of these effects is sure."
    if len(holds) == len(effects):
        return " What is said to help or hurt does so for new test examples, too."
    return f" For new test examples, too, this is sure {_places(holds, comparisons)}."


def refit_words(findings: Findings) -> str:
    """What the network that valid chose came to when it was trained again; empty where it was not."""
    if not findings.refits:
        return ""
    examples = findings.examples["train"] + findings.examples["valid"]
    accuracies = [100 * record.outcome.metric("off", "test", "accuracy") for record in findings.refits.values()]
    spread = f" ± {np.std(accuracies, ddof=1):.2f}" if len(accuracies) > 1 else ""
    return (
        f"Trained again on train and valid together ({examples:,} examples), {_seeds(len(accuracies))}: test accuracy "
        f"{np.mean(accuracies):.2f}{spread} % (models/refit.safetensors)."
    )


def _how_much(verdict: Verdict, mine: Sequence[ArmComparison]) -> str:
    if verdict == "equivalent":
        return f" (within ±{100 * mine[0].comparison.margin:g} points)"
    if verdict == "undecided":
        return " (more seeds are needed)"
    if verdict == "does not apply":
        return " (it never acted)" if any(one.arm.widths for one in mine) else " (it cannot act)"
    return f" ({_range(mine)} points of test accuracy)"


def _range(comparisons: Sequence[ArmComparison]) -> str:
    """The smallest and the largest difference, once if they read the same."""
    seen = [one.comparison.difference for one in comparisons]
    return " to ".join(dict.fromkeys((points(min(seen)), points(max(seen)))))


def _named(names: Sequence[str]) -> str:
    """So many names as can be read, and how many more there are."""
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return "; ".join([*names[:_MOST_NAMED], *more])


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
