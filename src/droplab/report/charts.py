"""Charts of a study: its verdicts, what they rest on, how its networks learned; one layout whatever it varies.

All take a `layout`, where the study's arms stand, and `results` or `curves` of `Findings`, with at least one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.answer import difference_words
from droplab.report.cells import Table, comparison_table
from droplab.report.layout import Layout
from droplab.report.style import BLUE, GREENS, INK, MOST_PANELS, MOST_ROWS, ORANGE, PURPLE, QUIET, SHADE, WIDTH, Figure
from droplab.report.words import interval_kinds
from droplab.stats.measure import Measure
from droplab.study.verdicts import ArmComparison

MOST_POINTS, MOST_VALUES, LEAST_POINTS = 100, 4000, 10
"""Points of a line that are drawn, since more cannot be seen; and of all lines of a chart, but so many of each."""

_MOST_EPOCHS = 20
"""Of a table of curves, evenly chosen."""

_LEAST_LOSS = 1e-7
"""Smaller losses, zero among them, are drawn here: `float32` tells no probability from 1 that is closer to it."""

_FIVE_TICKS = alt.Axis(tickCount=5, tickMinStep=0.01)

_LEAST_RANGE = 1.0
"""Points of accuracy on train that its axis spans at least: what is all but perfect looks so."""


def difference(layout: Layout, results: pd.DataFrame, comparisons: Sequence[ArmComparison], title: str) -> Figure:
    """Every arm beside its control, a row each, with their difference, its intervals, the margin and the verdict.

    `comparisons` are of `Findings.contrasts`, and at least one; `title` is what they come to.
    """
    shown = list(comparisons[:MOST_ROWS])
    keys, order = layout.rows(one.arm.name for one in shown)
    measure, told = layout.measure, _values(results, layout.measure)
    test = told[(told["split"] == "test") & (told["inference"] == "off")]
    values = {arm: mine.set_index("seed")["told"] for arm, mine in test.groupby("arm")}
    against, named = layout.control, "with the row’s regularizers"
    if shown[0].arm.is_control:  # levels of what is no regularizer, beside a baseline
        against, named = "baseline", "the row’s level"
    elif len(layout.trained) == 1:
        (named,) = layout.trained
    dots, rows = [], []
    for one in shown:
        found, acts = one.comparison, one.comparison.verdict != "does not apply"
        mine, theirs = values[one.arm.name], values[one.against.name]
        both = mine.index.intersection(theirs.index)
        row: dict[str, object] = {"row": keys[one.arm.name], "arm": one.arm.name}
        for side, single in ((against, theirs[both]), (named, mine[both])):
            if acts or side == against:
                dots += [row | {"side": side, "seed": seed, "told": value} for seed, value in single.items()]
                dots.append(row | {"side": side, "mean": float(single.mean())})
        row |= _row_words(one)
        if acts:
            ends = {name: getattr(found, name) for name in ("difference", "low", "high", "same_low", "same_high")}
            row |= {name: measure.factor * value for name, value in ends.items() if value is not None}
            row |= {"control": float(theirs[both].mean()), "mean": float(mine[both].mean())}
        rows.append(row)
    frame, margin = pd.DataFrame(rows), shown[0].comparison.margin
    axis, labels, height = _rows(order)
    aside = round(5.4 * frame["numbers"].str.len().max()) + 4
    words = max(aside + 74, round(5.4 * frame["said"].str.len().max()))
    views = [("accuracy", _dumbbells(measure, frame, axis, order, {against: BLUE, named: ORANGE}))]
    how = f"{_capital(measure.headed(f'test {measure.label}'))}, dropout off at inference; large dots: means, "
    how += "pale dots: single seeds."
    if "difference" in frame:
        views.append(("interval", _intervals(measure, frame, order, margin)))
        unit = f" in {measure.points}" if measure.points else ""
        how += f" Numbers: the difference{unit}. Where there is room it is drawn, too; {_bars(shown)}; grey: the "
        how += f"margin of equivalence, ±{measure.margin_words(margin)}."
    views.append(("verdict", _said(order, aside, words)))
    left = labels + words + 22 + 12 * (len(views) - 1)
    widths = {"accuracy": (0.6 if len(views) == 3 else 1) * (WIDTH - left), "interval": 0.4 * (WIDTH - left)}
    chart = alt.hconcat(
        *(view.properties(name=name, width=round(widths.get(name, words)), height=height) for name, view in views),
        data=style.ROWS,
        spacing=12,
    ).resolve_scale(y="shared")
    chart = style.finished(chart, left, rows=frame, points=pd.DataFrame(dots))
    how += style.listed(len(comparisons), MOST_ROWS, "rows")
    return Figure(title, how, chart, comparison_table(comparisons))


def _row_words(one: ArmComparison) -> dict[str, str]:
    """The difference with its interval, and the verdict, or why there is none; `short` for a phone."""
    found = one.comparison
    if found.verdict == "does not apply":
        said = "it never acted" if one.arm.widths else "no hidden layer: dropout cannot act"
        return {"verdict": found.verdict, "numbers": "", "said": said, "short": found.verdict}
    short = f"{found.measure.change(found.difference)} {found.verdict}"
    return {"verdict": found.verdict, "numbers": difference_words(one), "said": found.verdict, "short": short}


def _bars(comparisons: Sequence[ArmComparison]) -> str:
    """What the bars of differences are: the intervals that verdicts are read from."""
    if max(one.comparison.seeds for one in comparisons) == 1:
        return "one seed gives no interval"
    decides, same = interval_kinds(comparisons)
    return f"thin bar: {decides}, all arms at once; thick: {same}"


def _dumbbells(measure: Measure, frame: pd.DataFrame, y: alt.Y, order: list[str], colours: dict[str, str]) -> Any:
    """Of each row the means of both sides with a line between them, and below them the single seeds."""
    named = {"arm:N": "network", "side:N": "trained with"}
    dots = alt.Chart(alt.NamedData("points")).encode(y=y, color=style.colour("side", colours))
    x = alt.X("mean:Q", title=measure.headed(f"test {measure.label}"), scale=style.close(12), axis=style.FEW_TICKS)
    between = alt.Chart().mark_rule(color="#999999").encode(y=y, x=x, x2="control:Q")
    seeds = dots.mark_circle(size=24).encode(
        y=alt.Y("row:N", sort=order, bandPosition=0.72),
        x="told:Q",
        opacity=style.faded("side", 0.45),
        tooltip=style.tips(named | {"seed:N": "seed", "told:Q": measure.headed(f"test {measure.label}")}, measure.form),
    )
    tips = style.tips(named | {"mean:Q": measure.headed("mean")}, measure.form)
    means = dots.mark_circle(size=80).encode(x=x, opacity=style.faded("side"), tooltip=tips)
    return alt.layer(
        *([between] if "mean" in frame else []),
        seeds.transform_filter("isValid(datum.told)"),
        means.transform_filter("isValid(datum.mean)").add_params(style.picked("side")),
    )


def _intervals(measure: Measure, frame: pd.DataFrame, order: list[str], margin: float) -> Any:
    """Of each row the difference with both its intervals, the zero line, and the margin."""
    base = alt.Chart().encode(y=alt.Y("row:N", sort=order, axis=None))
    named, room = measure.headed("difference", measure.points), measure.factor * margin
    x = alt.X("difference:Q", title=named, scale=style.close(), axis=style.FEW_TICKS)
    ends = {"difference:Q": named, "low:Q": "interval from", "high:Q": "to"}
    tips = style.tips({"arm:N": "network", "verdict:N": "verdict"} | ends, "+.3f")
    bars = [
        base.mark_rule(strokeWidth=6, color=ORANGE, opacity=0.45).encode(x="same_low:Q", x2="same_high:Q"),
        base.mark_rule(strokeWidth=1.5, color=ORANGE).encode(x="low:Q", x2="high:Q"),
    ]
    return alt.layer(
        alt.Chart().mark_rect(color=SHADE, opacity=1).encode(x=alt.datum(-room), x2=alt.datum(room)),
        alt.Chart().mark_rule(color=INK).encode(x=alt.datum(0)),
        *(bars if "low" in frame else []),
        base.mark_circle(size=60, color=ORANGE, opacity=1).encode(x=x, tooltip=tips),
    )


def _said(order: list[str], aside: int, words: int) -> Any:
    """Of each row the difference in numbers, right-aligned, and the verdict; or why there is none."""
    base = alt.Chart().encode(y=alt.Y("row:N", sort=order, axis=None))
    found, none = (base.transform_filter(f"datum.numbers {sign} ''") for sign in ("!==", "==="))
    verdict = found.mark_text(align="left", fontWeight="bold", color=INK, fontSize=11.5)
    numbers = found.mark_text(align="right", color=INK, fontSize=11.5)
    reason = none.mark_text(align="right", color=QUIET, fontSize=11.5)
    return alt.layer(
        verdict.encode(x=alt.value(aside + 8), text="said:N"),
        numbers.encode(x=alt.value(aside), text="numbers:N"),
        reason.encode(x=alt.value(words), text="said:N"),
        view=alt.ViewBackground(stroke=None),
    )


def control(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """The metric along the study's first axis of numbers, dropout off at inference; `None` without such an axis.

    A line a regularizer, and the controls'; where the axis is of a regularizer's strength, they are a level line. A
    panel a split; of a study with several other places, a panel a place, on test.
    """
    if layout.across is None:
        return None
    measure, means = layout.measure, _means(results, layout.measure, "off")
    frame = layout.placed(means, "panel", "series", "across")
    field, where = "split", "on train, valid and test"
    if frame["panel"].nunique() > 1:
        field, where = "panel", "on test"
        frame = frame[frame["split"] == "test"]
    frame, panels, left_out = style.first(frame, field, MOST_PANELS, "panels")
    frame = _with_range(frame) if measure.is_share else frame
    others = [name for name in dict.fromkeys(frame["series"]) if name != layout.control]
    ticks = list(frame["across"].dropna().unique())
    colour = style.arms_colour("series", [layout.control], others)
    x = style.numbers_axis("across", layout.across_title, ticks, style.is_log(ticks))
    base = alt.Chart().encode(x=x, color=colour)
    y = alt.Y("mean:Q", title=measure.headed(measure.label), scale=style.close(), axis=_FIVE_TICKS)
    along = base.transform_filter("isValid(datum.across)")
    marks = style.marks(along, y, "series", [layout.control, *others], _measured(measure))
    if measure.is_share:
        marks.append(alt.Chart().mark_rule(opacity=0).encode(y="least:Q", y2="most:Q"))
    if frame["across"].isna().any():
        flat = alt.Chart().encode(color=colour).transform_filter("!isValid(datum.across)")
        marks[:0] = [
            flat.mark_rect().encode(y="low:Q", y2="high:Q", opacity=style.faded("series", 0.15)),
            flat.mark_rule(strokeWidth=1.8).encode(y="mean:Q", opacity=style.faded("series")),
        ]
    return Figure(
        f"{_capital(measure.label)} {where} by {layout.across_title}",
        f"Dropout off at inference. Line: mean over {style.seeds(results)}; bar or band: smallest to largest."
        + left_out,
        style.panels(alt.layer(*marks), frame, field, panels, 20, 50),
        _means_table(means, measure),
    )


def _with_range(means: pd.DataFrame) -> pd.DataFrame:
    """The frame with `least` and `most` of the train panel's axis, `_LEAST_RANGE` apart or more; nothing for others."""
    train = means["split"] == "train"
    low, high = means.loc[train, "low"].min(), means.loc[train, "high"].max()
    most = min(100.0, high + max(0.0, _LEAST_RANGE - (high - low)) / 2)
    least = min(low, most - _LEAST_RANGE)
    return means.assign(least=np.where(train, least, np.nan), most=np.where(train, most, np.nan))


def inference(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """The same networks with dropout off and left on at inference, beside their control; a panel a split, a row an arm.

    `None` where no network has dropout.
    """
    measure = layout.measure
    frame = _values(results, measure).pivot(index=["arm", "seed", "split"], columns="inference", values="told")
    if not {"on", "off"} <= set(frame):
        return None
    acts = set(frame[frame["on"] != frame["off"]].index.get_level_values("arm"))
    arms = [arm for arm in layout.plan.arms if arm.name in acts]
    if not arms:
        return None
    keys, order = layout.rows(arm.name for arm in arms[:MOST_ROWS])
    means = _means(results, measure, "off", "on")
    found = dict(iter(means.groupby(["arm", "inference"], sort=False)))
    off, left_on = "dropout off at inference", "dropout left on at inference"
    parts = []
    for arm in arms[:MOST_ROWS]:
        sides = [(arm.name, "off", off), (arm.name, "on", left_on), (arm.control, "off", layout.control)]
        for name, mode, side in sides[: 2 if arm.is_control else 3]:
            if (name, mode) in found:
                parts.append(found[name, mode].assign(row=keys[arm.name], arm=arm.name, side=side))
    rows = pd.concat(parts)
    colours = {layout.control: BLUE, off: ORANGE, left_on: PURPLE}
    y, labels, height = _rows(order)
    base = alt.Chart().encode(y=y, color=style.colour("side", colours))
    x = alt.X("mean:Q", title=measure.headed(measure.label), scale=style.close(), axis=style.FEW_TICKS)
    tips = [*style.tips({"side:N": "which"}), *_measured(measure)]
    marks = style.marks(base, x, "side", list(colours), tips, line=False)
    splits = list(dict.fromkeys(rows["split"]))
    return Figure(
        "The same trained networks with dropout left on at inference, and off",
        f"Point: mean over {style.seeds(results)}; bar: smallest to largest. Leaving dropout on at inference is not "
        "training without it: that is the control." + style.listed(len(arms), MOST_ROWS, "rows"),
        style.panels(alt.layer(*marks), rows, "split", splits, labels + 30, 0, height, free_x=True),
        _means_table(means, measure),
    )


def axes(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """The metric on test over two axes of numbers as a heat map, a panel a place; `None` without two such axes."""
    if layout.across is None or layout.upwards is None:
        return None
    measure, means = layout.measure, _means(results, layout.measure, "off")
    cells = layout.placed(means[means["split"] == "test"], "across", "upwards", "panel").fillna({"across": 0.0})
    cells, panels, left_out = style.first(cells, "panel", MOST_PANELS, "panels")
    low, high = float(cells["mean"].min()), float(cells["mean"].max())
    axis = alt.Axis(labelAngle=0, labelExpr=style.NUMBER)
    base = alt.Chart().encode(
        x=alt.X("across:O", title=layout.across_title, axis=axis),
        y=alt.Y("upwards:O", title=layout.upwards_title, axis=axis, sort="descending"),
    )
    shades = ["#E8F4EF", GREENS[1]][:: measure.sign]  # what is better is darker
    colour = alt.Color("mean:Q", scale=alt.Scale(range=shades, domain=[low, high]), legend=None)
    beyond = ">" if measure.sign > 0 else "<"
    ink = alt.condition(f"datum.mean {beyond} {(low + high) / 2:g}", alt.value("#fefefe"), alt.value(INK))
    number = alt.Text("mean:Q", format=".1f" if measure.is_share and high - low >= 10 else measure.form)
    size = 11 if cells["across"].nunique() * min(3, len(panels)) <= 14 else 8
    layers = alt.layer(
        base.mark_rect().encode(color=colour, tooltip=_measured(measure)),
        base.mark_text(fontSize=size).encode(text=number, color=ink),
    )
    return Figure(
        f"Test {measure.label} by {layout.across_title} and {layout.upwards_title}",
        f"{_capital(measure.headed(measure.label))}, mean over {style.seeds(results)}, dropout off at inference; 0: "
        f"the control.{left_out}",
        style.panels(layers, cells, "panel", panels, height=alt.Step(26)),
        _means_table(means, measure),
    )


def loss(layout: Layout, curves: pd.DataFrame) -> Figure:
    """How the loss of every network fell as it was trained; a panel a place."""
    words = "It is the mean of an epoch’s batches, with dropout on where the network has it."
    kinds = {"train_as_trained": "train, as trained"}
    return _learning(layout, curves, kinds, "Loss of every network, epoch by epoch", words)


def overfitting(layout: Layout, curves: pd.DataFrame) -> Figure:
    """The loss on train and on valid, both with dropout off; a panel a place."""
    words = "Dropout off for both, the same training examples each time: the gap is overfitting, nothing else."
    kinds = {"valid": "valid", "train": "train"}
    return _learning(layout, curves, kinds, "Overfitting: the gap between train and valid", words)


def _learning(layout: Layout, curves: pd.DataFrame, kinds: Mapping[str, str], title: str, words: str) -> Figure:
    """Loss over epochs, a panel a place, a colour a regularizer, a dash for each of `kinds` (split → its name)."""
    chosen = curves[(curves["quantity"] == "loss") & curves["split"].isin(list(kinds))]
    means = _spread(chosen.assign(kind=chosen["split"].map(kinds)), ["arm", "split", "kind", "epoch"], "value")
    frame = layout.placed(layout.distinct(means), "place", "trained")
    frame, places, left_out = style.first(frame, "place", MOST_PANELS, "panels")
    frame = _thinned(frame)
    frame[["mean", "low", "high"]] = frame[["mean", "low", "high"]].clip(lower=_LEAST_LOSS)
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1, tickCount=5)),
        color=style.arms_colour("trained", [layout.control], layout.trained),
        detail="kind:N",
    )
    line = base.encode(strokeDash=style.dash("kind", list(kinds.values()))) if len(kinds) > 1 else base
    logarithmic = style.log_axis(float(frame["low"].min()), float(frame["high"].max()))
    y = alt.Y("mean:Q", title="loss (nats)", **logarithmic)
    shade = style.faded("trained", 0.2 if len(layout.trained) < 4 else 0.08)
    seen = style.faded("trained") if frame["epoch"].nunique() < 10 else alt.value(0)
    tips = [*style.tips({"kind:N": "loss on", "epoch:N": "epoch"}), *_tips("trained:N", "loss", ".3~g")]
    layers = alt.layer(
        base.mark_area().encode(y=alt.Y("low:Q", **logarithmic), y2="high:Q", opacity=shade),
        line.mark_line(strokeWidth=style.LINE_WIDTH).encode(y=y, opacity=style.faded("trained")),
        base.mark_circle(size=24).encode(y=y, tooltip=tips, opacity=seen).add_params(style.picked("trained")),
    )
    return Figure(
        title,
        f"Line: mean over {style.seeds(curves)}; band: smallest to largest; the scale is logarithmic. {words}"
        + left_out,
        style.panels(layers, frame, "place", places, 92),
        _losses_table(means),
    )


def _values(results: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """The rows of the metric with dropout on or off at inference, as they are told."""
    chosen = results[(results["metric"] == measure.name) & results["inference"].isin(["on", "off"])]
    columns = ["arm", "seed", "inference", "split"]
    return chosen[columns].assign(told=measure.factor * chosen["value"])


def _means(results: pd.DataFrame, measure: Measure, *modes: str) -> pd.DataFrame:
    """The metric over the seeds, of each arm on each split, in these modes of inference."""
    values = _values(results, measure)
    return _spread(values[values["inference"].isin(modes)], ["arm", "inference", "split"], "told")


def _spread(frame: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    """Mean, smallest and largest value over the seeds, and how many these are."""
    grouped = frame.groupby(keys, sort=False)[column]
    return grouped.agg(mean="mean", low="min", high="max", seeds="size").reset_index()


def _thinned(means: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` epochs of each kind of line, evenly chosen, the first and the last among them."""
    lines = means.groupby(["split", "arm"]).ngroups
    most = max(min(MOST_POINTS, MOST_VALUES // max(lines, 1)), LEAST_POINTS)
    parts = []
    for _, part in means.groupby("split", sort=False):
        epochs = np.sort(part["epoch"].unique())
        chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), most)).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[chosen])])
    return pd.concat(parts)


def _rows(order: list[str]) -> tuple[alt.Y, int, alt.Step]:
    """Rows as `Layout.rows` has them, those above others bold; the width of their labels, and the height of a row."""
    two_lines = any("\n" in key for key in order)
    width = style.text_width([key.split("\t")[0] for key in order])
    bold: Any = {"condition": {"test": "split(datum.value, '\\t')[1] === ''", "value": "bold"}, "value": "normal"}
    axis = alt.Axis(
        labelExpr="split(split(datum.value, '\\t')[0], '\\n')",
        labelFontWeight=bold,
        labelLimit=width,
        labelFontSize=11.5,
        labelLineHeight=14,
        labelOffset=-7 if two_lines else 0,  # the middle of two lines beside the row
        ticks=False,
        grid=True,
    )
    y = alt.Y("row:N", title=None, sort=order, axis=axis, scale=alt.Scale(domain=order))
    return y, width, alt.Step(36 if two_lines else 26 if len(order) <= 20 else 20)


def _tips(who: str, what: str, form: str = ".2f") -> list[alt.Tooltip]:
    """What is said of a mean over seeds."""
    named = {who: "network" if who == "arm:N" else "trained with"}
    return style.tips(named | {"mean:Q": f"mean {what}", "low:Q": "smallest", "high:Q": "largest"}, form)


def _measured(measure: Measure) -> list[alt.Tooltip]:
    return _tips("arm:N", measure.headed(measure.label), measure.form)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _means_table(means: pd.DataFrame, measure: Measure) -> Table:
    form = measure.form.replace("~", "")
    columns = {"arm": "{arm}", "dropout at inference": "{inference}", "split": "{split}"}
    told = {"mean": "mean", "smallest": "low", "largest": "high"}
    spread = {measure.headed(name): f"{{{column}:{form}}}" for name, column in told.items()} | {"seeds": "{seeds}"}
    return style.numbers(means.replace({"inference": {"on": "left on"}}), columns | spread)


def _losses_table(means: pd.DataFrame) -> Table:
    epochs = sorted(means["epoch"].unique())
    step = max(1, -(-len(epochs) // _MOST_EPOCHS))
    columns = {"arm": "{arm}", "loss on": "{kind}", "epoch": "{epoch}"}
    spread = {"mean (nats)": "{mean:.3g}", "smallest": "{low:.3g}", "largest": "{high:.3g}"}
    return style.numbers(means[means["epoch"].isin([*epochs[step - 1 :: step], epochs[-1]])], columns | spread)
