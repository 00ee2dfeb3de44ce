"""The post beside ours, in words and cells: its figures and times, and what a study that repeats it came to."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from droplab.report.cells import Table
from droplab.stats.compare import points
from droplab.stats.intervals import CONFIDENCE
from droplab.study.names import hidden_words
from droplab.study.post import SPLITS, PostBeside, PostFigure

MARKS: dict[bool | None, str] = {True: "✓", False: "✗", None: ""}
"""Whether a figure of the post is one that another seed of ours may give, as tables show it."""


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
        cells = rows.setdefault(f"{hidden_words(one.depth)}, {one.inference}", [])
        ours = "–" if not one.ours else f"{100 * fmean(one.ours):.2f}"
        difference = "–" if one.difference is None else f"{points(one.difference)} {MARKS[one.agrees]}".rstrip()
        cells += [f"{100 * one.theirs:.2f}", ours, difference]
    head = [f"{split}: {what}" for split in SPLITS for what in ("post", "ours", "difference")]
    return Table(("network", *head), [(name, *cells) for name, cells in rows.items()])


def intervals_table(figures: Sequence[PostFigure]) -> Table:
    """Every figure of the post by itself, with the interval for one more seed of ours."""
    rows = []
    for one in figures:
        ours, interval = ("–", "–") if not one.ours else (f"{100 * fmean(one.ours):.2f}", "–")
        if one.interval is not None:
            interval = " to ".join(f"{100 * end:.2f}" for end in one.interval)
        difference = "–" if one.difference is None else points(one.difference)
        theirs = f"{100 * one.theirs:.2f}"
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
