"""Charts of a study: its verdicts, what they rest on, how its networks learned; one layout whatever it varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.answer import difference_words
from droplab.report.cells import Table, comparison_table
from droplab.report.layout import Layout, Spot
from droplab.report.style import BLUE, GREENS, INK, MOST_PANELS, ORANGE, PURPLE, QUIET, SHADE, WIDTH, Figure
from droplab.report.words import interval_kinds
from droplab.study.verdicts import ArmComparison

MOST_POINTS, MOST_VALUES, LEAST_POINTS = 100, 4000, 10
"""Points of a line that are drawn, since more cannot be seen; and of all lines of a chart, but so many of each."""

MOST_ROWS = 60
"""Of a chart with a row an arm."""

_MOST_EPOCHS = 20
"""Epochs of a table of curves, evenly chosen."""

_SPLITS = ["train", "valid", "test"]
_LEAST_LOSS = 1e-7
"""Smaller losses, zero among them, are drawn here: `float32` tells no probability from 1 that is closer to it."""

_WITH, _LEFT_ON = "with the row’s regularizers", "dropout left on at inference"


def difference(
    layout: Layout,
    results: pd.DataFrame,
    comparisons: Sequence[ArmComparison],
    title: str,
) -> Figure:
    """Every arm beside its control, a row each, with their difference, its intervals, the margin and the verdict.

    Args:
        layout: where the study's arms stand.
        results: of `Findings`.
        comparisons: of `Findings.contrasts`, at least one.
        title: what they come to.
    """
    shown = list(comparisons[:MOST_ROWS])
    keys, order = layout.rows(one.arm.name for one in shown)
    accuracies = _accuracies(results)
    test = accuracies[(accuracies["split"] == "test") & (accuracies["inference"] == "off")]
    values = {arm: mine.set_index("seed")["percent"] for arm, mine in test.groupby("arm")}
    against, named = layout.control, layout.trained[0] if len(layout.trained) == 1 else _WITH
    if shown[0].arm.is_control:  # levels of what is no regularizer, beside a baseline
        against, named = "baseline", "the row’s level"
    points, rows = [], []
    for one in shown:
        found = one.comparison
        row: dict[str, object] = {"row": keys[one.arm.name], "arm": one.arm.name}
        acts = found.verdict != "does not apply"
        mine, theirs = values[one.arm.name], values[one.against.name]
        both = mine.index.intersection(theirs.index)
        for side, percents in {against: theirs[both], **({named: mine[both]} if acts else {})}.items():
            points += [row | {"side": side, "seed": seed, "percent": value} for seed, value in percents.items()]
            points.append(row | {"side": side, "mean": float(percents.mean())})
        numbers, said = _row_words(one)
        row |= {"verdict": found.verdict, "numbers": numbers, "said": said}
        if acts:
            ends = {name: getattr(found, name) for name in ("difference", "low", "high", "same_low", "same_high")}
            row |= {name: 100 * value for name, value in ends.items() if value is not None}
            row |= {"control": float(theirs[both].mean()), "mean": float(mine[both].mean())}
        rows.append(row)
    frame, margin = pd.DataFrame(rows), 100 * shown[0].comparison.margin
    labels = style.text_width([key.split("\t")[0] for key in order])
    aside = round(5.4 * frame["numbers"].str.len().max()) + 4
    words = max(aside + 74, round(5.4 * frame["said"].str.len().max()))
    views = [("accuracy", _dumbbells(frame, order, labels, {against: BLUE, named: ORANGE}))]
    how = "Test accuracy, dropout off at inference; large dots: means, pale dots: single seeds."
    if "difference" in frame:
        views.append(("interval", _intervals(frame, order, margin)))
        how += f" Right: the difference in points; {_bars(shown)}; grey: the margin of equivalence, "
        how += f"±{margin:g} points."
    views.append(("verdict", _said(frame, order, aside, words)))
    left = labels + words + 22 + 12 * (len(views) - 1)
    widths = {"accuracy": (0.6 if len(views) == 3 else 1) * (WIDTH - left), "interval": 0.4 * (WIDTH - left)}
    height = alt.Step(36 if any("\n" in key for key in order) else 26 if len(order) <= 20 else 20)
    chart = alt.hconcat(
        *(view.properties(name=name, width=round(widths.get(name, words)), height=height) for name, view in views),
        data=style.ROWS,
        spacing=12,
    ).resolve_scale(y="shared")
    how += style.listed(len(comparisons), MOST_ROWS, "rows")
    return Figure(
        title, how, style.finished(chart, left, rows=frame, points=pd.DataFrame(points)), comparison_table(comparisons)
    )


def _bars(comparisons: Sequence[ArmComparison]) -> str:
    """What the bars of differences are: the intervals that verdicts are read from."""
    if max(one.comparison.seeds for one in comparisons) == 1:
        return "one seed gives no interval"
    decides, same = interval_kinds(comparisons)
    return f"thin bar: {decides}, all arms at once; thick: {same}"


def _dumbbells(frame: pd.DataFrame, order: list[str], labels: int, colours: dict[str, str]) -> Any:
    """Of each row the means of both sides with a line between them, and below them the single seeds."""
    y, pick = _rows_axis(order, labels), style.picked("side")
    tips = [style.tip("arm:N", "network"), style.tip("side:N", "trained with")]
    dots = alt.Chart(alt.NamedData("points")).encode(y=y, color=style.colour("side", colours))
    x = alt.X("mean:Q", title="test accuracy (%)", scale=alt.Scale(zero=False, nice=False, padding=12), axis=_across())
    between = alt.Chart().mark_rule(color="#999999").encode(y=y, x=x, x2="control:Q")
    seeds = (
        dots.mark_circle(size=24)
        .encode(
            y=alt.Y("row:N", sort=order, bandPosition=0.72),
            x="percent:Q",
            opacity=style.faded(pick, 0.45),
            tooltip=[*tips, style.tip("seed:Q", "seed"), style.tip("percent:Q", "test accuracy (%)", ".2f")],
        )
        .transform_filter("isValid(datum.percent)")
    )
    means = (
        dots.mark_circle(size=80)
        .encode(x=x, opacity=style.faded(pick), tooltip=[*tips, style.tip("mean:Q", "mean (%)", ".2f")])
        .transform_filter("isValid(datum.mean)")
        .add_params(pick)
    )
    return alt.layer(*([between] if "mean" in frame else []), seeds, means)


def _intervals(frame: pd.DataFrame, order: list[str], margin: float) -> Any:
    """Of each row the difference with both its intervals, the zero line, and the margin."""
    base = alt.Chart().encode(y=alt.Y("row:N", sort=order, axis=None))
    scale = alt.Scale(nice=False, padding=8)
    tips = [
        style.tip("arm:N", "network"),
        style.tip("verdict:N", "verdict"),
        style.tip("difference:Q", "difference (points)", "+.3f"),
        style.tip("low:Q", "interval from", "+.3f"),
        style.tip("high:Q", "to", "+.3f"),
    ]
    bars = [
        base.mark_rule(strokeWidth=6, color=ORANGE, opacity=0.45).encode(x="same_low:Q", x2="same_high:Q"),
        base.mark_rule(strokeWidth=1.5, color=ORANGE).encode(x="low:Q", x2="high:Q"),
    ]
    return alt.layer(
        alt.Chart().mark_rect(color=SHADE, opacity=1).encode(x=alt.datum(-margin), x2=alt.datum(margin)),
        alt.Chart().mark_rule(color=INK).encode(x=alt.datum(0)),
        *(bars if "low" in frame else []),
        base.mark_circle(size=60, color=ORANGE, opacity=1).encode(
            x=alt.X("difference:Q", title="difference (points)", scale=scale, axis=_across()), tooltip=tips
        ),
    )


def _said(frame: pd.DataFrame, order: list[str], aside: int, words: int) -> Any:
    """Of each row the difference in numbers, right-aligned, and the verdict; or why there is none."""
    base = alt.Chart().encode(y=alt.Y("row:N", sort=order, axis=None))
    found, none = (base.transform_filter(f"datum.numbers {sign} ''") for sign in ("!==", "==="))
    return alt.layer(
        found.mark_text(align="left", fontWeight="bold", color=INK, fontSize=11.5).encode(
            x=alt.value(aside + 8), text="said:N"
        ),
        found.mark_text(align="right", color=INK, fontSize=11.5).encode(x=alt.value(aside), text="numbers:N"),
        none.mark_text(align="right", color=QUIET, fontSize=11.5).encode(x=alt.value(words), text="said:N"),
        view=alt.ViewBackground(stroke=None),
    )


def control(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """Accuracy along the study's first axis of numbers, dropout off at inference; `None` without such an axis.

    A line a regularizer, and the controls'; where the axis is of a regularizer's strength, they are a level line. A
    panel a split; of a study with several other places, a panel a place, on test.

    Args:
        layout: where the study's arms stand.
        results: of `Findings`.
    """
    if layout.across is None:
        return None
    frame = _placed(layout, _accuracies(results))
    frame = frame[frame["inference"] == "off"]
    places = list(dict.fromkeys(frame["panel"]))
    field, panels = ("panel", places[:MOST_PANELS]) if len(places) > 1 else ("split", _SPLITS)
    frame = frame[(frame["split"] == "test") & frame["panel"].isin(panels)] if len(places) > 1 else frame
    spread = _spread(frame, [field, "arm", "across", "series"])
    others = [name for name in dict.fromkeys(frame["series"]) if name != layout.control]
    names = [layout.control, *others]
    level = spread["across"].isna()
    ticks = list(spread["across"].dropna().unique())
    pick = style.picked("series")
    base = alt.Chart().encode(
        x=style.numbers_axis("across", layout.across_title, ticks, style.is_log(ticks)),
        color=style.arms_colour("series", [layout.control], others),
        tooltip=_tips("arm", "accuracy (%)", ".2f"),
    )
    y = alt.Y(
        "mean:Q",
        title="accuracy (%)",
        scale=alt.Scale(zero=False, nice=False, padding=8),
        axis=alt.Axis(tickCount=5, tickMinStep=0.01),
    )
    lines = base.transform_filter("isValid(datum.across)")
    flat = (
        alt.Chart()
        .encode(color=style.arms_colour("series", [layout.control], others))
        .transform_filter("!isValid(datum.across)")
    )
    marks = [
        lines.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q", opacity=style.faded(pick, 0.6)),
        lines.mark_line(strokeWidth=1.8).encode(y=y, opacity=style.faded(pick)),
        lines.mark_point(size=40, filled=True)
        .encode(y=y, opacity=style.faded(pick), **({"shape": style.shape("series", names)} if others else {}))
        .add_params(pick),
    ]
    if level.any():
        marks[:0] = [
            flat.mark_rect().encode(y="low:Q", y2="high:Q", opacity=style.faded(pick, 0.15)),
            flat.mark_rule(strokeWidth=1.8).encode(y="mean:Q", opacity=style.faded(pick)),
        ]
    chart = style.panels(alt.layer(*marks), spread, field, panels, 20, 50)
    where = "on test" if len(places) > 1 else "on train, valid and test"
    return Figure(
        f"Accuracy {where} by {layout.across_title}",
        f"Dropout off at inference. Line: mean over {style.seeds(results)}; bar or band: smallest to largest."
        + style.listed(len(places), MOST_PANELS, "panels"),
        chart,
        accuracy_table(results, ["off"]),
    )


def inference(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """The same networks with dropout off and left on at inference, beside their control; a panel a split, a row an arm.

    `None` where no network has dropout.

    Args:
        layout: where the study's arms stand.
        results: of `Findings`.
    """
    frame = _accuracies(results)
    keyed = frame.pivot_table(index=["arm", "seed", "split"], columns="inference", values="percent")
    if not {"on", "off"} <= set(keyed):
        return None
    acts = set(keyed[keyed["on"] != keyed["off"]].index.get_level_values("arm"))
    arms = [arm for arm in layout.plan.arms if arm.name in acts]
    if not arms:
        return None
    keys, order = layout.rows(arm.name for arm in arms[:MOST_ROWS])
    off = "dropout off at inference"
    parts = []
    for arm in arms[:MOST_ROWS]:
        mine = frame[frame["arm"] == arm.name]
        theirs = frame[(frame["arm"] == arm.control) & (frame["inference"] == "off")]
        sides = [(mine[mine["inference"] == "off"], off), (mine[mine["inference"] == "on"], _LEFT_ON)]
        for part, side in [*sides, *([] if arm.is_control else [(theirs, layout.control)])]:
            parts.append(_spread(part, ["split"]).assign(row=keys[arm.name], arm=arm.name, side=side))
    pick = style.picked("side")
    names = {layout.control: BLUE, off: ORANGE, _LEFT_ON: PURPLE}
    labels = style.text_width([key.split("\t")[0] for key in order], 170)
    base = alt.Chart().encode(y=_rows_axis(order, labels), color=style.colour("side", names))
    x = alt.X("mean:Q", title="accuracy (%)", scale=alt.Scale(zero=False, nice=False, padding=8), axis=_across())
    layers = alt.layer(
        base.mark_rule(strokeWidth=3).encode(x="low:Q", x2="high:Q", opacity=style.faded(pick, 0.35)),
        base.mark_point(size=50, filled=True)
        .encode(
            x=x,
            shape=style.shape("side", list(names)),
            opacity=style.faded(pick),
            tooltip=[style.tip("side:N", "which"), *_tips("arm", "accuracy (%)", ".2f")],
        )
        .add_params(pick),
    )
    step = alt.Step(34 if any("\n" in key for key in order) else 22)
    chart = style.panels(layers, pd.concat(parts), "split", _SPLITS, labels + 30, 0, step, free_x=True)
    return Figure(
        "The same trained networks with dropout left on at inference, and off",
        f"Point: mean over {style.seeds(results)}; bar: smallest to largest. Leaving dropout on at inference is not "
        "training without it: that is the control." + style.listed(len(arms), MOST_ROWS, "rows"),
        chart,
        accuracy_table(results, ["off", "on"]),
    )


def axes(layout: Layout, results: pd.DataFrame) -> Figure | None:
    """Test accuracy over two axes of numbers as a heat map, a panel a place; `None` without two such axes.

    Args:
        layout: where the study's arms stand.
        results: of `Findings`.
    """
    if layout.across is None or layout.upwards is None:
        return None
    frame = _accuracies(results)
    frame = _placed(layout, frame[(frame["split"] == "test") & (frame["inference"] == "off")])
    cells = _spread(frame.assign(across=frame["across"].fillna(0.0)), ["arm", "across", "upwards", "panel"])
    panels = list(dict.fromkeys(cells["panel"]))
    cells = cells[cells["panel"].isin(panels[:MOST_PANELS])]
    across, upwards = (sorted(cells[name].unique(), reverse=name == "upwards") for name in ("across", "upwards"))
    cells = cells.assign(x=cells["across"].map("{:.6g}".format), y=cells["upwards"].map("{:.6g}".format))
    low, high = float(cells["mean"].min()), float(cells["mean"].max())
    base = alt.Chart().encode(
        x=alt.X("x:N", title=layout.across_title, sort=[f"{one:.6g}" for one in across], axis=alt.Axis(labelAngle=0)),
        y=alt.Y("y:N", title=layout.upwards_title, sort=[f"{one:.6g}" for one in upwards]),
    )
    scale = alt.Scale(range=["#E8F4EF", GREENS[1]], domain=[low, high])
    ink = alt.condition(f"datum.mean > {(low + high) / 2:g}", alt.value("#fefefe"), alt.value(INK))
    layers = alt.layer(
        base.mark_rect().encode(
            color=alt.Color("mean:Q", scale=scale, legend=None), tooltip=_tips("arm", "test accuracy (%)", ".2f")
        ),
        base.mark_text(fontSize=11 if len(across) * min(3, len(panels)) <= 14 else 8).encode(
            text=alt.Text("mean:Q", format=".2f" if high - low < 10 else ".1f"), color=ink
        ),
    )
    chart = style.panels(layers, cells, "panel", panels[:MOST_PANELS], height=alt.Step(26))
    return Figure(
        f"Test accuracy by {layout.across_title} and {layout.upwards_title}",
        f"Accuracy in %, mean over {style.seeds(results)}, dropout off at inference; 0: the control."
        + style.listed(len(panels), MOST_PANELS, "panels"),
        chart,
        accuracy_table(results, ["off"]),
    )


def loss(layout: Layout, curves: pd.DataFrame) -> Figure:
    """How the loss of every network fell as it was trained; a panel a place.

    Args:
        layout: where the study's arms stand.
        curves: of `Findings`, with at least one row.
    """
    return _learning(
        layout,
        curves,
        kinds={"train_as_trained": "train, as trained"},
        title="Loss of every network, epoch by epoch",
        words="It is the mean of an epoch’s batches, with dropout on where the network has it.",
    )


def overfitting(layout: Layout, curves: pd.DataFrame) -> Figure:
    """The loss on train and on valid, both with dropout off; a panel a place.

    Args:
        layout: where the study's arms stand.
        curves: of `Findings`, with at least one row.
    """
    return _learning(
        layout,
        curves,
        kinds={"valid": "valid", "train": "train"},
        title="Overfitting: the gap between train and valid",
        words="Dropout off for both, the same training examples each time: the gap is overfitting, nothing else.",
    )


def _learning(layout: Layout, curves: pd.DataFrame, kinds: Mapping[str, str], title: str, words: str) -> Figure:
    """Loss over epochs, a panel a place, a colour a regularizer, a dash for each of `kinds` (split → its name)."""
    chosen = curves[(curves["quantity"] == "loss") & curves["split"].isin(list(kinds))]
    frame = placed_once(layout, chosen)
    places = list(dict.fromkeys(frame["place"]))
    frame = _thinned(frame[frame["place"].isin(places[:MOST_PANELS])])
    spread = _spread(frame, ["split", "place", "trained", "arm", "epoch"], "value")
    spread[["mean", "low", "high"]] = spread[["mean", "low", "high"]].clip(lower=_LEAST_LOSS)
    spread = spread.assign(kind=spread["split"].map(kinds))
    pick = style.picked("trained")
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickMinStep=1, tickCount=5)),
        color=style.arms_colour("trained", [layout.control], layout.trained),
        detail="kind:N",
    )
    logarithmic = style.log_axis(float(spread["low"].min()), float(spread["high"].max()))
    y = alt.Y("mean:Q", title="loss (nats)", **logarithmic)
    line = base.encode(strokeDash=style.dash("kind", list(kinds.values()))) if len(kinds) > 1 else base
    few = spread["epoch"].nunique() < 10
    layers = alt.layer(
        base.mark_area().encode(
            y=alt.Y("low:Q", **logarithmic),
            y2="high:Q",
            opacity=style.faded(pick, 0.2 if len(layout.trained) < 4 else 0.08),
        ),
        line.mark_line(strokeWidth=1.6).encode(y=y, opacity=style.faded(pick)).add_params(pick),
        base.mark_circle(size=24).encode(
            y=y,
            tooltip=[style.tip("kind:N", "loss on"), style.tip("epoch:Q", "epoch"), *_tips("trained", "loss", ".3~g")],
            opacity=style.faded(pick) if few else alt.value(0),
        ),
    )
    chart = style.panels(layers, spread, "place", places[:MOST_PANELS], 92)
    return Figure(
        title,
        f"Line: mean over {style.seeds(curves)}; band: smallest to largest; the scale is logarithmic. {words}"
        + style.listed(len(places), MOST_PANELS, "panels"),
        chart,
        _losses_table(chosen, kinds),
    )


def placed_once(layout: Layout, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `place` and `trained` of its arms; of arms that one run serves the control stands for all."""
    twins = layout.plan.twins
    doubled = {one.name for one in layout.plan.arms if not one.is_control and (one.name, one.control) in twins}
    return _placed(layout, frame[~frame["arm"].isin(doubled)])


def _placed(layout: Layout, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with columns that say where its arms stand."""
    names = [one.name for one in fields(Spot) if one.name != "arm"]
    said = {name: {arm: getattr(spot, name) for arm, spot in layout.spots.items()} for name in names}
    return frame.assign(**{name: frame["arm"].map(said[name]) for name in names})


def _accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of accuracy with dropout on or off at inference, in percent."""
    chosen = results[(results["metric"] == "accuracy") & results["inference"].isin(["on", "off"])]
    columns = ["arm", "seed", "inference", "split"]
    return chosen[columns].assign(percent=100 * chosen["value"])


def _spread(frame: pd.DataFrame, keys: list[str], column: str = "percent") -> pd.DataFrame:
    """Mean, smallest and largest value over the seeds."""
    grouped = frame.groupby(keys, sort=False, dropna=False)[column]
    return grouped.agg(mean="mean", low="min", high="max").reset_index()


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` epochs of each kind of line, evenly chosen, the first and the last among them."""
    lines = curves.groupby(["split", "arm"]).ngroups
    most = max(min(MOST_POINTS, MOST_VALUES // max(lines, 1)), LEAST_POINTS)
    parts = []
    for _, part in curves.groupby("split", sort=False):
        epochs = np.sort(part["epoch"].unique())
        chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), most)).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[chosen])])
    return pd.concat(parts)


def _row_words(one: ArmComparison) -> tuple[str, str]:
    """The difference with its interval, and the verdict; nothing and why where it does not apply."""
    found = one.comparison
    if found.verdict == "does not apply":
        return "", "it never acted" if one.arm.widths else "no hidden layer: dropout cannot act"
    return difference_words(one), found.verdict


def _rows_axis(order: list[str], width: int) -> alt.Y:
    """Rows as `Layout.rows` has them: of each key its label, of rows above others bold."""
    label = "split(split(datum.value, '\\t')[0], '\\n')"
    bold: Any = {"condition": {"test": "split(datum.value, '\\t')[1] === ''", "value": "bold"}, "value": "normal"}
    offset = -7 if any("\n" in key for key in order) else 0  # the middle of two lines beside the row
    axis = alt.Axis(
        labelExpr=label,
        labelFontWeight=bold,
        labelLimit=width,
        labelFontSize=11.5,
        labelLineHeight=14,
        labelOffset=offset,
        ticks=False,
        grid=True,
    )
    return alt.Y("row:N", title=None, sort=order, axis=axis, scale=alt.Scale(domain=order))


def _across() -> alt.Axis:
    return alt.Axis(tickCount=4, grid=False, labelFlush=False)


def _tips(field: str, what: str, form: str) -> list[alt.Tooltip]:
    """What is said of a mean over seeds."""
    return [
        style.tip(f"{field}:N", "network" if field == "arm" else "trained with"),
        style.tip("mean:Q", f"mean {what}", form),
        style.tip("low:Q", "smallest", form),
        style.tip("high:Q", "largest", form),
    ]


def accuracy_table(results: pd.DataFrame, modes: list[str]) -> Table:
    """Mean and spread of every arm's accuracy on each split, in these modes of inference."""
    chosen = results[(results["metric"] == "accuracy") & results["inference"].isin(modes)]
    spread = _spread(chosen, ["arm", "inference", "split"], "value")
    counts = chosen.groupby(["arm", "inference", "split"], sort=False)["value"].size()
    rows = [
        (arm, {"on": "left on"}.get(mode, mode), split, *(f"{100 * value:.2f}" for value in values), str(seeds))
        for (arm, mode, split, *values), seeds in zip(spread.itertuples(index=False), counts, strict=True)
    ]
    return Table(("arm", "dropout at inference", "split", "mean (%)", "smallest (%)", "largest (%)", "seeds"), rows)


def _losses_table(chosen: pd.DataFrame, kinds: Mapping[str, str]) -> Table:
    epochs = sorted(chosen["epoch"].unique())
    step = max(1, -(-len(epochs) // _MOST_EPOCHS))
    spread = _spread(
        chosen[chosen["epoch"].isin([*epochs[step - 1 :: step], epochs[-1]])], ["arm", "split", "epoch"], "value"
    )
    rows = [
        (arm, kinds[split], str(epoch), *(f"{value:.3g}" for value in values))
        for arm, split, epoch, *values in spread.itertuples(index=False)
    ]
    return Table(("arm", "loss on", "epoch", "mean (nats)", "smallest", "largest"), rows)
