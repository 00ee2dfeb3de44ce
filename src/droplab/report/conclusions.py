"""Conclusions: what the post concludes, and what the comparisons of a study that repeats it say of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from droplab.report.cells import Table
from droplab.report.words import answer
from droplab.stats.compare import Comparison, percent, points
from droplab.stats.family import judge_each
from droplab.study.frames import by_seed
from droplab.study.names import hidden_words
from droplab.study.post import PostBeside
from droplab.study.verdicts import ERROR, MARGIN

if TYPE_CHECKING:
    from droplab.study.names import hidden_words
from droplab.study.post import Conclusion, PostNetwork

Judgement = Literal["holds", "holds in part", "does not hold", "not shown", "cannot be told from this study"]

_NOTHING = "Nothing can be said yet: no network is finished both with dropout and without it."


@dataclass(frozen=True)
class Judged:
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


class _Found(NamedTuple):
    """What our data say: whether each comparison bears a conclusion out, and whether it denies it; empty for none."""

    yes: Sequence[bool] = ()
    no: Sequence[bool] = ()
    words: str = ""
    numbers: Table | None = None

    @property
    def judgement(self) -> Judgement:
        if not self.yes:
            return "cannot be told from this study"
        if any(self.yes):
            return "holds" if all(self.yes) else "holds in part"
        return "does not hold" if any(self.no) else "not shown"


def judged(beside: PostBeside) -> list[Judged]:
    """Every conclusion of the post, judged by the study's own comparisons; one seed cannot tell.

    Args:
        beside: the post and the study.
    """
    found = [(one, _JUDGES[one.kind](beside, one)) for one in beside.post.conclusions]
    return [Judged(one, said.judgement, f"{one.note} {said.words}".strip(), said.numbers) for one, said in found]


def _labels(beside: PostBeside, _: Conclusion) -> _Found:
    """Whether what is called "no dropout" could be a seed of the control, or of dropout left on."""
    networks = _hidden(beside)
    ours = (beside.figure(one, "on", "test") for one in networks)
    controls = (beside.figure(one, "on", "test", control=True) for one in networks)
    both = [(on, control) for on, control in zip(ours, controls, strict=True) if on.ours and control.ours]
    if not both:
        return _Found(words=_NOTHING)
    rows = [
        ("the post: “no dropout”", *(f"{100 * on.theirs:.2f}" for on, _ in both)),
        ("ours: dropout left on", *(f"{100 * fmean(on.ours):.2f}" for on, _ in both)),
        ("ours: the control, without dropout", *(f"{100 * fmean(control.ours):.2f}" for _, control in both)),
    ]
    numbers = Table(("test accuracy (%)", *(hidden_words(on.depth) for on, _ in both)), rows)
    known = [(bool(on.agrees), bool(control.agrees)) for on, control in both if on.interval and control.interval]
    if not known:
        return _Found(words="One seed gives no interval that a figure could lie in.", numbers=numbers)
    like_on, like_control = (sum(agree) for agree in zip(*known, strict=True))
    words = (
        f"Of {len(known)} such figures on test, {like_on} could be another seed of our networks with dropout left on, "
        f"{like_control} of our control, trained without dropout (95 % intervals for one more seed)."
    )
    yes, no = [control and not on for on, control in known], [on and not control for on, control in known]
    return _Found(yes, no, words, numbers)


def _better(beside: PostBeside, _: Conclusion) -> _Found:
    """Dropout against the true control on test."""
    compared = beside.against_control
    found = {hidden_words(one.arm.depth): one.comparison for one in compared}
    return _verdicts(found, answer(compared), "dropout − control", [])


def _large(beside: PostBeside, _: Conclusion) -> _Found:
    """The gap that the post sees between `off` and `on`, against what dropout changes from the control."""
    found = {one.arm.depth: one.comparison for one in beside.against_control}
    networks = [one for one in _hidden(beside) if one.depth in found]
    if not networks:
        return _Found(words=_NOTHING)
    gaps = {one.depth: one.off.test - one.on.test for one in networks}
    ours = [[fmean(beside.figure(one, mode, "test").ours) for mode in ("off", "on")] for one in networks]
    rows = [
        ("the post: off − left on", *map(points, gaps.values())),
        ("ours: off − left on", *(points(off - on) for off, on in ours)),
    ]
    sure = [(gaps[depth], one.low, one.high) for depth, one in found.items() if one.seeds > 1]
    no = [high is not None and high < gap for gap, _, high in sure]
    words = "The difference of one seed from its control may be chance."
    if sure:
        words = (
            "What training with dropout changes from the true control is less than this gap, by its whole interval, "
            f"at {sum(no)} of {len(sure)} depths."
        )
    yes = [low is not None and low >= gap for gap, low, _ in sure]
    by_depth = {hidden_words(depth): one for depth, one in found.items()}
    return _Found(yes, no, words, _numbers(by_depth, "ours: dropout − control", rows))


def _overfitting(beside: PostBeside, _: Conclusion) -> _Found:
    """How much narrower dropout makes the gap between train and test, over the seeds, under Holm's correction."""
    gaps: list[tuple[float, float]] = []
    narrower: dict[str, NDArray[np.float64]] = {}
    for one in beside.against_control:
        without, with_it = (
            by_seed(beside.findings.results, arm, "off", "train", "accuracy")
            - by_seed(beside.findings.results, arm, "off", "test", "accuracy")
            for arm in (one.against, one.arm)
        )
        differences = (without - with_it).dropna()
        gaps.append((float(without[differences.index].mean()), float(with_it[differences.index].mean())))
        narrower[hidden_words(one.arm.depth)] = np.asarray(differences, np.float64)
    found = dict(zip(narrower, judge_each(list(narrower.values()), MARGIN, ERROR), strict=True))
    rows = [
        ("train − test, without dropout", *(points(without) for without, _ in gaps)),
        ("train − test, with dropout", *(points(with_it) for _, with_it in gaps)),
    ]
    words = f"That the gap between train and test accuracy is narrower with dropout: {_by_verdict(found)}."
    return _verdicts(found, words if found else _NOTHING, "narrower by", rows)


def _falls(beside: PostBeside, _: Conclusion) -> _Found:
    """Each depth against the next shallower one: with dropout, which decides, and without."""
    depths = {one.depth: one for one in beside.post.networks}
    compared = [one for one in beside.findings.deeper if {one.arm.depth, one.against.depth} <= beside.arms.keys()]
    with_it = [one for one in compared if one.arm == beside.arms[one.arm.depth]]
    if not with_it:
        return _Found(words="No two depths are finished with dropout.")
    found, controls = (
        {f"{one.against.depth} → {one.arm.depth} layers": one.comparison for one in some}
        for some in (with_it, [one for one in compared if one.arm.is_control])
    )
    ends = [(depths[one.against.depth], depths[one.arm.depth]) for one in with_it]
    rows = [
        ("the post: dropout off", *(points(deeper.off.test - one.off.test) for one, deeper in ends)),
        ("the post: dropout left on", *(points(deeper.on.test - one.on.test) for one, deeper in ends)),
        ("ours: without dropout", *(points(controls[step].difference) if step in controls else "–" for step in found)),
    ]
    networks = beside.post.networks
    rises = sum(deeper.off.test > one.off.test for one, deeper in pairwise(networks))
    rises_on = sum(deeper.on.test > one.on.test for one, deeper in pairwise(networks))
    words = (
        f"In the post itself test accuracy rises in {rises} of {len(networks) - 1} steps with dropout off, in "
        f"{rises_on} with dropout left on. That a layer more helps here, with dropout: {_by_verdict(found)}."
    )
    sure = [one.verdict for one in found.values() if one.seeds > 1]
    numbers = _numbers(found, "ours: with dropout", rows)
    return _Found([one == "hurts" for one in sure], [one == "helps" for one in sure], words, numbers)


def _faster(beside: PostBeside, conclusion: Conclusion) -> _Found:
    """Training times of the same networks on both kinds of device, where the study has them."""
    usual = beside.post.recipe.epochs
    words, yes = [], []
    for network in beside.post.networks:
        without = network.seconds_without_gpu
        if without is None:
            continue
        on_gpu = network.seconds * conclusion.epochs / usual
        words.append(
            f"The post, {network.depth} layers: {on_gpu:.0f} s for {conclusion.epochs:,} epochs on its GPU; "
            f"{without:.0f} s, {without / on_gpu:.1f} times as long, for {usual:,} without one."
        )
        ours: dict[str, list[float]] = {}
        for record in beside.trained(network.depth):
            ours.setdefault(record.way.device, []).append(record.outcome.train_seconds)
        if ours:
            told = ", ".join(f"{fmean(seconds):.0f} s ({device})" for device, seconds in ours.items())
            words.append(f"Ours, {usual:,} epochs: {told}.")
        if len(ours) > 1:
            yes.append(fmean(ours["cuda"]) * conclusion.epochs / usual < fmean(ours["cpu"]))
        else:
            words.append("Only networks trained on both kinds of device could tell; droplab doctor times each.")
    return _Found(yes, [not one for one in yes], " ".join(words))


_JUDGES: Mapping[str, Callable[[PostBeside, Conclusion], _Found]] = {
    "labels": _labels,
    "better": _better,
    "overfitting": _overfitting,
    "falls": _falls,
    "large": _large,
    "faster": _faster,
    "open": lambda _, __: _Found(),
}


def _hidden(beside: PostBeside) -> list[PostNetwork]:
    """The post's networks in which dropout can act."""
    return [network for network in beside.post.networks if network.depth > 1]


def _verdicts(found: Mapping[str, Comparison], words: str, name: str, rows: Sequence[Sequence[str]]) -> _Found:
    """Borne out where something helps, denied where it hurts or makes no difference that matters."""
    sure = [one.verdict for one in found.values() if one.seeds > 1]
    yes, no = [one == "helps" for one in sure], [one in ("hurts", "equivalent") for one in sure]
    return _Found(yes, no, words, _numbers(found, name, rows))


def _numbers(found: Mapping[str, Comparison], name: str, rows: Sequence[Sequence[str]]) -> Table | None:
    """Below `rows` the differences with intervals and verdicts, all in points; a column a comparison."""
    if not found:
        return None
    intervals = [
        "–" if one.low is None or one.high is None else f"{points(one.low)} to {points(one.high)}"
        for one in found.values()
    ]
    verdicts = [one.verdict if one.seeds > 1 else "one seed" for one in found.values()]
    differences = [points(one.difference) for one in found.values()]
    levels = {percent(one.confidence) for one in found.values() if one.low is not None}
    kind = f"{levels.pop()} interval" if len(levels) == 1 else "interval"
    own = [(name, *differences), (kind, *intervals), ("verdict", *verdicts)]
    return Table(("accuracy (points)", *found), [*rows, *own])


def _by_verdict(found: Mapping[str, Comparison]) -> str:
    """The differences in points, verdict by verdict."""
    told: dict[str, list[str]] = {}
    for where, one in found.items():
        verdict = one.verdict if one.seeds > 1 else "one seed cannot tell"
        told.setdefault(verdict, []).append(f"{where} ({points(one.difference)})")
    return "; ".join(f"{verdict}: {', '.join(places)}" for verdict, places in told.items())
