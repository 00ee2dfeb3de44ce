"""Charts: one function a figure, from tidy frames to Altair definitions that hold few, already averaged points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd

from droplab.report import style
from droplab.report.words import interval_kinds
from droplab.study.verdicts import ArmComparison

MOST_POINTS, MOST_ROWS, LEAST_POINTS = 100, 4000, 10
"""Points of a line that are drawn, since more cannot be seen; and of all lines of a chart, but so many of each."""

MOST_PANELS = 12
"""Of a chart with a panel for each place in a study."""

_SPLITS = ["train", "valid", "test"]
_LEAST_LOSS = 1e-7
"""Smaller losses, zero among them, are drawn here: `float32` tells no probability from 1 that is closer to it."""

_DASHES = alt.Legend(symbolType="stroke", symbolStrokeColor=style.INK, symbolSize=400, symbolStrokeWidth=2)
"""How a legend shows dashes: as strokes, long enough to tell them."""

_LEFT_ON, _OFF = "dropout left on at inference", "dropout off at inference"


def all_charts(
    results: pd.DataFrame, curves: pd.DataFrame, comparisons: Sequence[ArmComparison]
) -> dict[str, alt.TopLevelMixin]:
    """Every figure of a report on depths and rates, by file name.

    Args:
        results: of `frames.results_frame`, with at least one row.
        curves: of `frames.curves_frame`.
        comparisons: of `Findings.contrasts`; where there is none, there is no difference to draw.
    """
    difference = {"difference": difference_chart(comparisons)} if comparisons else {}
    return difference | {
        "control": control_chart(results),
        "inference": inference_chart(results),
        "splits": splits_chart(results),
        **curve_charts(curves),
    }


def curve_charts(curves: pd.DataFrame) -> dict[str, alt.TopLevelMixin]:
    """The figures of how networks learned, by file name.

    Args:
        curves: of `frames.curves_frame`, with at least one row.
    """
    return {"loss": loss_chart(curves), "overfitting": overfitting_chart(curves)}


def difference_chart(comparisons: Sequence[ArmComparison]) -> alt.TopLevelMixin:
    """Dropout − control on test with its interval, the zero line and the margin.

    Args:
        comparisons: of `Findings.contrasts`, at least one.
    """
    rows = [
        {
            "arm": one.arm.name,
            "depth": one.arm.depth,
            "dropout": one.arm.dropout,
            "verdict": one.comparison.verdict,
            "difference": None if one.comparison.verdict == "does not apply" else 100 * one.comparison.difference,
            "low": None if one.comparison.low is None else 100 * one.comparison.low,
            "high": None if one.comparison.high is None else 100 * one.comparison.high,
            "same_low": None if one.comparison.same_low is None else 100 * one.comparison.same_low,
            "same_high": None if one.comparison.same_high is None else 100 * one.comparison.same_high,
        }
        for one in comparisons
    ]
    frame = pd.DataFrame(rows)
    margin = 100 * comparisons[0].comparison.margin
    along = _along(frame)
    y = alt.Y("difference:Q", title="test accuracy, dropout − control (points)", scale=alt.Scale(padding=60))
    base = alt.Chart().encode(x=_x(along))
    tips = [
        style.tip("arm:N", "network"),
        style.tip("verdict:N", "verdict"),
        style.tip("difference:Q", "difference (points)", "+.3f"),
        style.tip("low:Q", "interval from", "+.3f"),
        style.tip("high:Q", "to", "+.3f"),
    ]
    marks = [
        alt.Chart().mark_rect(color=style.SHADE, opacity=1).encode(y=alt.datum(-margin), y2=alt.datum(margin)),
        alt.Chart().mark_rule(color=style.INK).encode(y=alt.datum(0)),
        base.mark_rule(strokeWidth=6, color=style.BLUE, opacity=0.5).encode(y="same_low:Q", y2="same_high:Q"),
        base.mark_rule(strokeWidth=2, color=style.BLUE).encode(y="low:Q", y2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1, color=style.BLUE).encode(y=y, tooltip=tips),
        base.mark_text(fontSize=12, color=style.INK, lineBreak=" ", baseline="top").encode(
            y=alt.value(5), text="verdict:N"
        ),
    ]
    seeds = max(one.comparison.seeds for one in comparisons)
    interval = bar_words(comparisons) if seeds > 1 else "One seed: no interval can be given"
    layers = alt.layer(*marks).properties(width=max(240, 96 * frame[along].nunique()), height=280)
    titled = style.title(
        "What training with dropout changes",
        f"Point: mean difference on test, dropout off at inference. {interval}.",
        f"Grey: the margin of equivalence, ±{margin:g} points.",
    )
    if along == "depth":
        return style.finished(layers.properties(data=style.data(frame)), titled)
    return style.finished(style.panels(layers, style.by_depth(frame), "panel", style.depth_names(frame)), titled)


def bar_words(comparisons: Sequence[ArmComparison]) -> str:
    """What the bars of differences are: the intervals that verdicts are read from."""
    decides, same = interval_kinds(comparisons)
    return f"Thin bar: {decides}, all arms at once; thick: {same}"


def control_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """The honest comparison: networks trained with dropout against networks trained without, a panel a split.

    Args:
        results: of `frames.results_frame`, with at least one row.
    """
    frame = _accuracies(results)
    frame = frame[frame["inference"] == "off"].copy()
    along = _along(frame)
    names = style.trained if along == "depth" else _with_or_without
    frame["trained"] = frame["dropout"].map(names)
    kinds = list(dict.fromkeys(frame.sort_values("dropout")["trained"]))
    means = _spread(frame, ["split", "depth", "dropout", "trained"])
    points = frame[["split", "depth", "dropout", "trained", "seed", "percent"]]
    base = alt.Chart().encode(x=_x(along), color=style.colour("trained", kinds, None))
    if along == "depth":
        base = base.encode(xOffset=alt.XOffset("trained:N", sort=kinds, scale=alt.Scale(paddingOuter=1)))
    pick = style.picked("trained")
    line = base.mark_line() if along == "depth" else base.encode(color=alt.value("#999999")).mark_line()
    seed = base.mark_point(size=45, filled=True).encode(
        shape=style.shape("trained", kinds),
        opacity=style.faded(pick, 0.8),
        tooltip=[
            style.tip("trained:N", "trained with"),
            style.tip("depth:O", "depth"),
            style.tip("seed:Q", "seed"),
            style.tip("percent:Q", "accuracy (%)", ".2f"),
        ],
    )
    layers = alt.layer(
        line.encode(y=_percent("mean"), opacity=style.faded(pick)).transform_filter("isValid(datum.mean)"),
        seed.encode(y=_percent("percent")).transform_filter("isValid(datum.percent)").add_params(pick),
    ).properties(width=230, height=260)
    titled = style.title(
        "Trained with dropout against trained without it",
        f"Dropout off at inference in both. Point: one seed; line: mean; {style.seeds(results)}.",
    )
    panels = style.panels(
        layers, style.by_depth(pd.concat([means, points])), "split", _SPLITS, rows=_in_rows(frame, along)
    )
    return style.finished(panels.resolve_scale(y="independent"), titled)


def inference_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """Networks trained with dropout, a panel an inference mode, a line a split.

    Args:
        results: of `frames.results_frame`, with at least one row.
    """
    return _modes_chart(
        results,
        panels=("mode", [_LEFT_ON, _OFF]),
        lines=("split", _SPLITS, [style.ORANGE, style.GREEN, style.PURPLE]),
        y="shared",
        title="The same trained networks, with dropout left on and off at inference",
    )


def splits_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """Networks trained with dropout, a panel a split, a line an inference mode.

    Args:
        results: of `frames.results_frame`, with at least one row.
    """
    return _modes_chart(
        results,
        panels=("split", _SPLITS),
        lines=("mode", [_OFF, _LEFT_ON], [style.VERMILLION, style.SKY]),
        y="independent",
        title="Dropout left on at inference against dropout off",
    )


def loss_chart(curves: pd.DataFrame) -> alt.TopLevelMixin:
    """How the loss of every network fell as it was trained; a panel a depth.

    Args:
        curves: of `frames.curves_frame`, with at least one row.
    """
    return _loss_panels(
        curves,
        kinds={"train_as_trained": "train, as trained"},
        title="Loss of every network, epoch by epoch",
        words="It is the mean of an epoch's batches, with dropout on where the network has it.",
    )


def overfitting_chart(curves: pd.DataFrame) -> alt.TopLevelMixin:
    """The loss on train and on valid, both with dropout off; a panel a depth.

    Args:
        curves: of `frames.curves_frame`, with at least one row.
    """
    return _loss_panels(
        curves,
        kinds={"train": "train", "valid": "valid"},
        title="Overfitting: the gap between train and valid",
        words="Dropout off for both, the same training examples each time: the pale gap is overfitting, nothing else.",
    )


def _loss_panels(curves: pd.DataFrame, kinds: Mapping[str, str], title: str, words: str) -> alt.TopLevelMixin:
    """Loss over epochs, a panel a depth, a colour a rate, a dash for each of `kinds` (split → its name)."""
    frame = curves[(curves["quantity"] == "loss") & curves["split"].isin(list(kinds))]
    frame = frame[(frame["depth"] > 1) | (frame["dropout"] == 0)]  # without a hidden layer one run serves both arms
    places, names_of_arms = style.places(frame), style.kinds(frame)
    frame = _thinned(frame[frame["place"].isin(places[:MOST_PANELS])])
    spread = _spread(frame, ["split", "place", "trained", "epoch"], "value")
    spread[["mean", "low", "high"]] = spread[["mean", "low", "high"]].clip(lower=_LEAST_LOSS)
    spread = spread.assign(kind=spread["split"].map(kinds))
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickMinStep=1)),
        color=style.colour("trained", names_of_arms, "trained with"),
    )
    names = list(kinds.values())
    dashes = alt.Scale(domain=names, range=[[1, 0], [5, 3]])
    dash = alt.StrokeDash("kind:N", title="loss on", sort=names, scale=dashes, legend=_DASHES)
    dashed = {"strokeDash": dash} if len(kinds) > 1 else {}
    band = alt.Chart().encode(x="epoch:Q", color="trained:O", detail="kind:N")
    scale = alt.Scale(type="log", nice=False)
    axis = alt.Axis(format="~g", values=style.decades(float(spread["low"].min()), float(spread["high"].max())))
    few = spread["epoch"].nunique() < 10
    pick = style.picked("trained")
    tips = [
        style.tip("trained:N", "trained with"),
        style.tip("kind:N", "loss on"),
        style.tip("epoch:Q", "epoch"),
        style.tip("mean:Q", "mean loss (nats)", ".3~g"),
        style.tip("low:Q", "smallest", ".3~g"),
        style.tip("high:Q", "largest", ".3~g"),
    ]
    y = alt.Y("mean:Q", title="loss (nats)", scale=scale, axis=axis)
    low = alt.Y("low:Q", scale=scale)
    gaps, drawn = [], spread
    if len(kinds) == 2:
        shade = band.mark_area().encode(y=low, y2="high:Q", opacity=style.faded(pick, 0.12))
        gaps, drawn = [shade.transform_filter("datum.kind === 'gap'")], pd.concat([spread, _gap(spread, names)])
    lines = "datum.kind !== 'gap'"
    base = base.transform_filter(lines)
    layers = alt.layer(
        *gaps,
        base.mark_line(strokeWidth=1.8).encode(y=y, opacity=style.faded(pick), **dashed).add_params(pick),
        band.mark_area().encode(y=low, y2="high:Q", opacity=style.faded(pick, 0.25)).transform_filter(lines),
        base.mark_point(size=40, filled=True).encode(
            y=y, detail="kind:N", tooltip=tips, opacity=style.faded(pick) if few else alt.value(0)
        ),
    ).properties(width=250, height=200)
    titled = style.title(
        title,
        f"Line: mean over seeds; band: smallest to largest; {style.seeds(curves)}. The scale is logarithmic.",
        words + (f" The first {MOST_PANELS} of {len(places)} panels." if len(places) > MOST_PANELS else ""),
    )
    panels = style.panels(layers, drawn, "place", places[:MOST_PANELS])
    return style.finished(panels.resolve_axis(x="independent"), titled)


def _gap(spread: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Where the two `kinds` of loss lie, mean to mean, as rows of the kind `gap`."""
    keys = ["place", "trained", "epoch"]
    first, second = (spread[spread["kind"] == kind].set_index(keys)["mean"] for kind in kinds)
    both = pd.concat([first.rename("low"), second.rename("high")], axis=1, join="inner").reset_index()
    return both.assign(kind="gap")


def _modes_chart(
    results: pd.DataFrame,
    panels: tuple[str, list[str]],
    lines: tuple[str, list[str], list[str]],
    y: Literal["shared", "independent"],
    title: str,
) -> alt.TopLevelMixin:
    """Accuracy by inference mode and split, one of them in panels and the other in colours."""
    frame = _accuracies(results)
    along = _along(frame)
    if along == "depth" and (frame["dropout"] > 0).any():
        frame = frame[frame["dropout"] > 0]
    field, names, colours = lines
    pick = style.picked(field)
    tips = [
        style.tip("split:N", "split"),
        style.tip("mode:N", "mode"),
        style.tip("depth:O", "depth"),
        style.tip("dropout:Q", "rate in training"),
        style.tip("mean:Q", "mean accuracy (%)", ".2f"),
        style.tip("low:Q", "smallest", ".2f"),
        style.tip("high:Q", "largest", ".2f"),
    ]
    spread = _spread(frame, ["split", "mode", "depth", "dropout"])
    base = alt.Chart().encode(
        x=_x(along),
        color=alt.Color(f"{field}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=colours)),
    )
    layers = alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(y=_percent("low"), y2="high:Q", opacity=style.faded(pick)),
        base.mark_line().encode(y=_percent("mean"), opacity=style.faded(pick)),
        base.mark_point(size=55, filled=True)
        .encode(y="mean:Q", shape=style.shape(field, names), opacity=style.faded(pick), tooltip=tips)
        .add_params(pick),
    ).properties(width=230 if len(panels[1]) == 3 else 320, height=260)
    words = "Networks trained with dropout" if along == "depth" else "Rate 0 is the control, trained without dropout"
    titled = style.title(
        title,
        f"{words}. Line: mean over seeds; bar: smallest to largest; {style.seeds(results)}.",
        "Leaving dropout on at inference is not training without it: for that, see the control.",
    )
    faceted = style.panels(layers, style.by_depth(spread), *panels, rows=_in_rows(spread, along))
    return style.finished(faceted.resolve_scale(y=y), titled)


def _accuracies(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of accuracy with dropout on or off at inference, in percent, the mode in words."""
    chosen = results[(results["metric"] == "accuracy") & results["inference"].isin(["on", "off"])]
    return chosen.assign(percent=100 * chosen["value"], mode=chosen["inference"].map({"on": _LEFT_ON, "off": _OFF}))


def _spread(frame: pd.DataFrame, keys: list[str], column: str = "percent") -> pd.DataFrame:
    """Mean, smallest and largest value over the seeds."""
    grouped = frame.groupby(keys, sort=True)[column]
    return grouped.agg(mean="mean", low="min", high="max").reset_index()


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` epochs of each kind of line, evenly chosen, the first and the last among them."""
    lines = curves.groupby(["split", "place", "trained"]).ngroups
    most = max(min(MOST_POINTS, MOST_ROWS // max(lines, 1)), LEAST_POINTS)
    parts = []
    for _, part in curves.groupby("split"):
        epochs = np.sort(part["epoch"].unique())
        chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), most)).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[chosen])])
    return pd.concat(parts)


def _along(frame: pd.DataFrame) -> Literal["depth", "dropout"]:
    """What the x axis shows: depth; but with several rates, or a single network, the rate."""
    rates = frame.loc[frame["dropout"] > 0, "dropout"].nunique()
    return "depth" if rates <= 1 and frame["depth"].nunique() > 1 else "dropout"


def _in_rows(frame: pd.DataFrame, along: Literal["depth", "dropout"]) -> bool:
    """Whether the depths need a row each."""
    return along == "dropout" and frame["depth"].nunique() > 1


def _x(along: Literal["depth", "dropout"]) -> alt.X:
    title = "depth (layers of weights)" if along == "depth" else "dropout rate in training"
    return alt.X(f"{along}:O", title=title, axis=alt.Axis(labelAngle=0, grid=False, ticks=False, labelPadding=8))


def _percent(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title="accuracy (%)", scale=alt.Scale(zero=False))


def _with_or_without(rate: float) -> str:
    return "with dropout" if rate else style.trained(rate)
