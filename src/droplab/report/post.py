"""The post beside ours, in words and cells: its figures and times, and what its conclusions come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from droplab.report.cells import Table
from droplab.stats.compare import Comparison, percent, points
from droplab.stats.intervals import CONFIDENCE
from droplab.study.names import hidden_words
from droplab.study.post import SPLITS, Conclusion, Judgement, PostBeside, PostFigure

MARKS: dict[bool | None, str] = {True: "✓", False: "✗", None: ""}
"""Whether a figure of the post is one that another seed of ours may give, as tables show it."""

_NOTHING = "Nothing can be said yet: no network is finished both with dropout and without it."


class Judged(NamedTuple):
    """A conclusion of the post with what our data say.

    Attributes:
        conclusion: the post's.
        judgement: whether it holds.
        words: what this rests on, in short.
        numbers: the same in numbers, a column a depth or a step between depths; `None` for none.
    """

    conclusion: Conclusion
    judgement: Judgement
    words: str
    numbers: Table | None


def agreement_words(figures: Sequence[PostFigure]) -> str:
    """How many figures of the post another seed of ours may give, and which is farthest from ours, in sentences."""
    there = [(abs(one.difference), one) for one in figures if one.difference is not None]
    if not there:
        return "No network of the post is finished here."
    _, farthest = max(there, key=lambda pair: pair[0])
    far = f"The largest difference, ours − the post: {points(farthest.difference or 0)} points ({farthest.name})."
    known = [one.agrees for one in figures if one.agrees is not None]
    if not known:
        return f"{len(there)} of the post's {len(figures)} figures stand beside ours. {far} One seed gives no interval."
    return (
        f"Of {len(known)} figures of the post with an interval beside them, {sum(known)} lie where one more seed of "
        f"ours would fall with probability {100 * CONFIDENCE:.0f} %; by chance alone one in "
        f"{1 / (1 - CONFIDENCE):.0f} lies outside. {far}"
    )


def figures_table(figures: Sequence[PostFigure]) -> Table:
    """The post's accuracies beside our means, in %, and the differences in points, with a mark for `agrees`.

    A row is a network in one inference mode, with three columns a split.
    """
    rows: dict[str, list[str]] = {}
    for one in figures:
        theirs, ours, difference = _cells(one)
        cells = rows.setdefault(f"{hidden_words(one.depth)}, {one.inference}", [])
        cells += [theirs, ours, f"{difference} {MARKS[one.agrees]}".rstrip()]
    head = [f"{split}: {what}" for split in SPLITS for what in ("post", "ours", "difference")]
    return Table(("network", *head), [(name, *cells) for name, cells in rows.items()])


def intervals_table(figures: Sequence[PostFigure]) -> Table:
    """Every figure of the post by itself, with the interval for one more seed of ours."""
    rows = []
    for one in figures:
        theirs, ours, difference = _cells(one)
        interval = " to ".join(f"{100 * end:.2f}" for end in one.interval or ()) or "–"
        rows.append((one.name, theirs, ours, str(len(one.ours)), difference, interval, MARKS[one.agrees] or "–"))
    head = ("figure", "post (%)", "ours (%)", "seeds", "ours − post (points)", "one more seed, 95 % (%)", "post within")
    return Table(head, rows)


def post_times_table(beside: PostBeside) -> Table:
    """Seconds of training a network: the post's with and without a GPU, and ours, a column a device and way."""
    seconds: dict[str, dict[int, list[float]]] = {}
    for network in beside.post.networks:
        for record in beside.trained(network.depth):
            device = record.outcome.environment.get("device", record.way.device)
            column = f"ours: {device} ({record.way.device}), {record.way.words} (s)"
            mine = seconds.setdefault(column, {}).setdefault(network.depth, [])
            mine.append(record.outcome.train_seconds)
    rows = []
    for network in beside.post.networks:
        without = "–" if network.seconds_without_gpu is None else f"{network.seconds_without_gpu:.0f}"
        ours = [f"{fmean(mine[network.depth]):.0f}" if network.depth in mine else "–" for mine in seconds.values()]
        rows.append((hidden_words(network.depth), f"{network.seconds:.0f}", without, *ours))
    return Table(("network", "post: GPU (s)", "post: no GPU (s)", *seconds), rows)


def judged(beside: PostBeside) -> list[Judged]:
    """Every conclusion of the post, as `PostBeside.judgement` judges it, in words and numbers.

    Args:
        beside: the post and the study.
    """
    told = []
    for one in beside.post.conclusions:
        words, numbers = _TOLD[one.kind](beside, one)
        told.append(Judged(one, beside.judgement(one), f"{one.note} {words}".strip(), numbers))
    return told


def _labels(beside: PostBeside, conclusion: Conclusion) -> tuple[str, Table | None]:
    """Whether what is called "no dropout" could be a seed of the control, or of dropout left on."""
    both = beside.labelled
    if not both:
        return _NOTHING, None
    rows = [
        ("the post: “no dropout”", *(_cells(on)[0] for on, _ in both)),
        ("ours: dropout left on", *(_cells(on)[1] for on, _ in both)),
        ("ours: the control, without dropout", *(_cells(control)[1] for _, control in both)),
    ]
    numbers = Table(("test accuracy (%)", *(hidden_words(on.depth) for on, _ in both)), rows)
    if not beside.could_be:
        return "One seed gives no interval that a figure could lie in.", numbers
    on, control = (sum(agree) for agree in zip(*beside.could_be, strict=True))
    words = (
        f"Of {len(beside.could_be)} such figures on test, {on} could be another seed of our networks with dropout left "
        f"on, {control} of our control, trained without dropout (95 % intervals for one more seed)."
    )
    return words, numbers


def _better(beside: PostBeside, _: Conclusion) -> tuple[str, Table | None]:
    """Dropout against the true control on test."""
    found = _by_depth(beside)
    words = f"Against the true control, on test: {_by_verdict(found)}." if found else _NOTHING
    return words, _numbers(found, "dropout − control")


def _large(beside: PostBeside, conclusion: Conclusion) -> tuple[str, Table | None]:
    """The gap that the post sees between `off` and `on`, against what dropout changes from the control."""
    found = _by_depth(beside)
    networks = [one for one in beside.post.networks if hidden_words(one.depth) in found]
    if not networks:
        return _NOTHING, None
    ours = [[fmean(beside.figure(one, mode, "test").ours) for mode in ("off", "on")] for one in networks]
    rows = {
        "the post: off − left on": [one.gap for one in networks],
        "ours: off − left on": [off - on for off, on in ours],
    }
    _, no = beside.sides(conclusion)
    words = (
        "What training with dropout changes from the true control is less than this gap, by its whole interval, "
        f"at {sum(no)} of {len(no)} depths."
    )
    numbers = _numbers(found, "ours: dropout − control", rows)
    return words if no else "The difference of one seed from its control may be chance.", numbers


def _overfitting(beside: PostBeside, _: Conclusion) -> tuple[str, Table | None]:
    """How much narrower dropout makes the gap between train and test."""
    found = {hidden_words(one.depth): one.comparison for one in beside.narrower}
    rows = {
        "train − test, without dropout": [one.without for one in beside.narrower],
        "train − test, with dropout": [one.with_it for one in beside.narrower],
    }
    words = f"That the gap between train and test accuracy is narrower with dropout: {_by_verdict(found)}."
    return words if found else _NOTHING, _numbers(found, "narrower by", rows)


def _falls(beside: PostBeside, _: Conclusion) -> tuple[str, Table | None]:
    """Each depth against the next shallower one: with dropout, which decides, and without."""
    if not beside.deeper:
        return "No two depths are finished with dropout.", None
    networks = {one.depth: one for one in beside.post.networks}
    ends = [(networks[one.against.depth], networks[one.arm.depth]) for one in beside.deeper]
    found = {f"{one.against.depth} → {one.arm.depth} layers": one.comparison for one in beside.deeper}
    steps = {(one.against.depth, one.arm.depth): one for one in beside.findings.deeper if one.arm.is_control}
    controls = [steps.get((shallow.depth, deep.depth)) for shallow, deep in ends]
    rows: dict[str, list[float | None]] = {
        "the post: dropout off": [deep.off.test - shallow.off.test for shallow, deep in ends],
        "the post: dropout left on": [deep.on.test - shallow.on.test for shallow, deep in ends],
        "ours: without dropout": [None if one is None else one.comparison.difference for one in controls],
    }
    steps_of_post = list(pairwise(beside.post.networks))
    rises = sum(deep.off.test > shallow.off.test for shallow, deep in steps_of_post)
    rises_on = sum(deep.on.test > shallow.on.test for shallow, deep in steps_of_post)
    words = (
        f"In the post itself test accuracy rises in {rises} of {len(steps_of_post)} steps with dropout off, in "
        f"{rises_on} with dropout left on. That a layer more helps here, with dropout: {_by_verdict(found)}."
    )
    return words, _numbers(found, "ours: with dropout", rows)


def _faster(beside: PostBeside, conclusion: Conclusion) -> tuple[str, None]:
    """Training times of the same networks on both kinds of device, where the study has them."""
    usual, words = beside.post.recipe.epochs, []
    for network in beside.post.networks:
        without, ours = network.seconds_without_gpu, beside.seconds(network.depth)
        if without is None:
            continue
        on_gpu = network.seconds * conclusion.epochs / usual
        words.append(
            f"The post, {network.depth} layers: {on_gpu:.0f} s for {conclusion.epochs:,} epochs on its GPU; "
            f"{without:.0f} s, {without / on_gpu:.1f} times as long, for {usual:,} without one."
        )
        if ours:
            told = ", ".join(f"{seconds:.0f} s ({device})" for device, seconds in ours.items())
            words.append(f"Ours, {usual:,} epochs: {told}.")
        if len(ours) < 2:
            words.append("Only networks trained on both kinds of device could tell; droplab doctor times each.")
    return " ".join(words), None


_TOLD: Mapping[str, Callable[[PostBeside, Conclusion], tuple[str, Table | None]]] = {
    "labels": _labels,
    "better": _better,
    "overfitting": _overfitting,
    "falls": _falls,
    "large": _large,
    "faster": _faster,
    "open": lambda _, __: ("", None),
}


def _cells(one: PostFigure) -> tuple[str, str, str]:
    """The post's figure and our mean in %, and the difference in points."""
    ours, difference = f"{100 * fmean(one.ours or [0]):.2f}", points(one.difference or 0)
    return (f"{100 * one.theirs:.2f}", *((ours, difference) if one.ours else ("–", "–")))


def _by_depth(beside: PostBeside) -> dict[str, Comparison]:
    return {hidden_words(one.arm.depth): one.comparison for one in beside.against_control}


def _numbers(
    found: Mapping[str, Comparison], name: str, rows: Mapping[str, Sequence[float | None]] | None = None
) -> Table | None:
    """Below `rows` the differences with intervals and verdicts, all in points; a column a comparison."""
    if not found:
        return None
    compared = found.values()
    ends = [(one.low, one.high) for one in compared]
    levels = {percent(one.confidence) for one in compared if one.low is not None}
    above = [(row, *("–" if one is None else points(one) for one in values)) for row, values in (rows or {}).items()]
    own = [
        (name, *(points(one.difference) for one in compared)),
        (
            f"{levels.pop()} interval" if len(levels) == 1 else "interval",
            *("–" if low is None or high is None else f"{points(low)} to {points(high)}" for low, high in ends),
        ),
        ("verdict", *(one.verdict if one.seeds > 1 else "one seed" for one in compared)),
    ]
    return Table(("accuracy (points)", *found), [*above, *own])


def _by_verdict(found: Mapping[str, Comparison]) -> str:
    """The differences in points, verdict by verdict."""
    told: dict[str, list[str]] = {}
    for where, one in found.items():
        verdict = one.verdict if one.seeds > 1 else "one seed cannot tell"
        told.setdefault(verdict, []).append(f"{where} ({points(one.difference)})")
    return "; ".join(f"{verdict}: {', '.join(places)}" for verdict, places in told.items())
