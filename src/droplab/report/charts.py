"""Charts: one function a figure, from tidy frames to Altair definitions that hold few, already averaged points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from droplab.report.tables import ArmComparison

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
"""Okabe and Ito's colours, which the colour-blind can tell apart."""

MOST_POINTS = 200
"""Points of a line that are drawn; more cannot be seen."""

_SPLITS = ["train", "valid", "test"]
_LEAST_LOSS = 1e-7
"""Smaller losses, zero among them, are drawn here: `float32` tells no probability from 1 that is closer to it."""

_LEFT_ON, _OFF = "dropout left on at inference", "dropout off at inference"
_INK = "#333333"


def all_charts(
    results: pd.DataFrame, curves: pd.DataFrame, comparisons: Sequence[ArmComparison]
) -> dict[str, alt.TopLevelMixin]:
    """Every figure of a report, by file name.

    Args:
        results: of `tables.results_frame`, with at least one row.
        curves: of `tables.curves_frame`.
        comparisons: of `tables.control_comparisons`; where there is none, there is no difference to draw.
    """
    difference = {"difference": difference_chart(comparisons)} if comparisons else {}
    return difference | {
        "control": control_chart(results),
        "inference": inference_chart(results),
        "splits": splits_chart(results),
        "loss": loss_chart(curves),
        "overfitting": overfitting_chart(curves),
    }


def difference_chart(comparisons: Sequence[ArmComparison]) -> alt.TopLevelMixin:
    """Dropout − control on test with its interval, the zero line and the margin.

    Args:
        comparisons: of `tables.control_comparisons`, at least one.
    """
    rows = [
        {
            "depth": one.arm.depth,
            "dropout": one.arm.dropout,
            "verdict": one.comparison.verdict,
            "difference": None if one.comparison.verdict == "does not apply" else 100 * one.comparison.difference,
            "low": None if one.comparison.low is None else 100 * one.comparison.low,
            "high": None if one.comparison.high is None else 100 * one.comparison.high,
        }
        for one in comparisons
    ]
    frame = pd.DataFrame(rows)
    margin = 100 * comparisons[0].comparison.margin
    along = _along(frame)
    y = alt.Y("difference:Q", title="test accuracy, dropout − control (points)", scale=alt.Scale(padding=28))
    base = alt.Chart().encode(x=_x(along))
    marks = [
        alt.Chart().mark_rect(color="#eeeeee", opacity=1).encode(y=alt.datum(-margin), y2=alt.datum(margin)),
        alt.Chart().mark_rule(color=_INK).encode(y=alt.datum(0)),
        base.mark_rule(strokeWidth=2.5, color=BLUE).encode(y="low:Q", y2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1, color=BLUE).encode(y=y),
        base.mark_text(fontSize=12, color=_INK).encode(y=alt.value(12), text="verdict:N"),
    ]
    seeds = max(one.comparison.seeds for one in comparisons)
    interval = "bar: 95 % interval over seeds" if seeds > 1 else "one seed: no interval can be given"
    layers = alt.layer(*marks).properties(width=max(240, 96 * frame[along].nunique()), height=280)
    titled = _title(
        "What training with dropout changes",
        f"Point: mean difference on test, dropout off at inference; {interval}.",
        f"Grey: the margin of equivalence, ±{margin:g} points.",
    )
    if along == "depth":
        return _finished(layers.properties(data=_data(frame)), titled)
    return _finished(_panels(layers, frame, "panel", _depth_names(frame)), titled)


def control_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """The honest comparison: networks trained with dropout against networks trained without, a panel a split.

    Args:
        results: of `tables.results_frame`, with at least one row.
    """
    frame = _accuracies(results)
    frame = frame[frame["inference"] == "off"].copy()
    along = _along(frame)
    names = _trained if along == "depth" else _with_or_without
    frame["trained"] = frame["dropout"].map(names)
    kinds = list(dict.fromkeys(frame.sort_values("dropout")["trained"]))
    means = _spread(frame, ["split", "depth", "dropout", "trained"])
    points = frame[["split", "depth", "dropout", "trained", "percent"]]
    base = alt.Chart().encode(x=_x(along), color=_colour("trained", kinds, None))
    if along == "depth":
        base = base.encode(xOffset=alt.XOffset("trained:N", sort=kinds, scale=alt.Scale(paddingOuter=1)))
    line = base.mark_line() if along == "depth" else base.encode(color=alt.value("#999999")).mark_line()
    seed = base.mark_point(size=45, filled=True, opacity=0.8).encode(shape=_shape("trained", kinds))
    layers = alt.layer(
        line.encode(y=_percent("mean")).transform_filter("isValid(datum.mean)"),
        seed.encode(y=_percent("percent")).transform_filter("isValid(datum.percent)"),
    ).properties(width=230, height=260)
    titled = _title(
        "Trained with dropout against trained without it",
        f"Dropout off at inference in both. Point: one seed; line: mean; {_seeds(results)}.",
    )
    panels = _panels(layers, pd.concat([means, points]), "split", _SPLITS, rows=_in_rows(frame, along))
    return _finished(panels.resolve_scale(y="independent"), titled)


def inference_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """Networks trained with dropout, a panel an inference mode, a line a split.

    Args:
        results: of `tables.results_frame`, with at least one row.
    """
    return _modes_chart(
        results,
        panels=("mode", [_LEFT_ON, _OFF]),
        lines=("split", _SPLITS, [ORANGE, GREEN, PURPLE]),
        y="shared",
        title="The same trained networks, with dropout left on and off at inference",
    )


def splits_chart(results: pd.DataFrame) -> alt.TopLevelMixin:
    """Networks trained with dropout, a panel a split, a line an inference mode.

    Args:
        results: of `tables.results_frame`, with at least one row.
    """
    return _modes_chart(
        results,
        panels=("split", _SPLITS),
        lines=("mode", [_OFF, _LEFT_ON], [VERMILLION, SKY]),
        y="independent",
        title="Dropout left on at inference against dropout off",
    )


def loss_chart(curves: pd.DataFrame) -> alt.TopLevelMixin:
    """How the loss of every network fell as it was trained; a panel a depth.

    Args:
        curves: of `tables.curves_frame`, with at least one row.
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
        curves: of `tables.curves_frame`, with at least one row.
    """
    return _loss_panels(
        curves,
        kinds={"train": "train", "valid": "valid"},
        title="Overfitting: the gap between train and valid",
        words="Dropout off for both, the same training examples each time: the gap is overfitting and nothing else.",
    )


def _loss_panels(curves: pd.DataFrame, kinds: Mapping[str, str], title: str, words: str) -> alt.TopLevelMixin:
    """Loss over epochs, a panel a depth, a colour a rate, a dash for each of `kinds` (split → its name)."""
    frame = curves[(curves["quantity"] == "loss") & curves["split"].isin(list(kinds))]
    frame = frame[(frame["depth"] > 1) | (frame["dropout"] == 0)]  # without a hidden layer one run serves both arms
    frame = _thinned(frame).assign(percent=lambda rows: rows["value"])
    spread = _spread(frame, ["split", "depth", "dropout", "epoch"])
    spread[["mean", "low", "high"]] = spread[["mean", "low", "high"]].clip(lower=_LEAST_LOSS)
    spread = spread.assign(kind=spread["split"].map(kinds), trained=spread["dropout"].map(_trained))
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickMinStep=1)),
        color=_colour("trained", _rates(frame), "trained with"),
    )
    if len(kinds) > 1:
        names = list(kinds.values())
        dashes = alt.Scale(domain=names, range=[[1, 0], [5, 3]])
        base = base.encode(strokeDash=alt.StrokeDash("kind:N", title="loss on", sort=names, scale=dashes))
    band = alt.Chart().encode(x="epoch:Q", color="trained:O", detail="kind:N")
    scale = alt.Scale(type="log", nice=False)
    axis = alt.Axis(format="~g", values=_decades(float(spread["low"].min()), float(spread["high"].max())))
    few = spread["epoch"].nunique() < 10
    layers = alt.layer(
        base.mark_line(strokeWidth=1.8, point=few).encode(
            y=alt.Y("mean:Q", title="loss (nats)", scale=scale, axis=axis)
        ),
        band.mark_area(opacity=0.25).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
    ).properties(width=250, height=200)
    titled = _title(
        title, f"Line: mean over seeds; band: smallest to largest; {_seeds(curves)}. The scale is logarithmic.", words
    )
    panels = _panels(layers, spread, "panel", _depth_names(spread))
    return _finished(panels.resolve_axis(x="independent"), titled)


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
    spread = _spread(frame, ["split", "mode", "depth", "dropout"])
    base = alt.Chart().encode(
        x=_x(along),
        color=alt.Color(f"{field}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=colours)),
    )
    layers = alt.layer(
        base.mark_rule(strokeWidth=1.5).encode(y=_percent("low"), y2="high:Q"),
        base.mark_line().encode(y=_percent("mean")),
        base.mark_point(size=55, filled=True, opacity=1).encode(y="mean:Q", shape=_shape(field, names)),
    ).properties(width=230 if len(panels[1]) == 3 else 320, height=260)
    words = "Networks trained with dropout" if along == "depth" else "Rate 0 is the control, trained without dropout"
    titled = _title(
        title,
        f"{words}. Line: mean over seeds; bar: smallest to largest; {_seeds(results)}.",
        "Leaving dropout on at inference is not training without it: for that, see the control.",
    )
    faceted = _panels(layers, spread, *panels, rows=_in_rows(spread, along))
    return _finished(faceted.resolve_scale(y=y), titled)


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
    parts = []
    for _, part in curves.groupby("split"):
        epochs = np.sort(part["epoch"].unique())
        chosen = np.linspace(0, len(epochs) - 1, min(len(epochs), MOST_POINTS)).round().astype(int)
        parts.append(part[part["epoch"].isin(epochs[chosen])])
    return pd.concat(parts)


def _decades(low: float, high: float) -> list[float]:
    """Where a logarithmic axis has its ticks: at the powers of ten, and between them if these are few."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high < 100 * low else (1,)
    return [float(f"{step}e{power}") for power in powers for step in steps]


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


def _colour(field: str, names: list[str], title: str | None) -> alt.Color:
    """A colour a name; beyond what Okabe and Ito offer, a scheme that grows darker evenly."""
    colours = [BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY]
    scale = alt.Scale(domain=names, range=colours[: len(names)])
    if len(names) > len(colours):
        scale = alt.Scale(domain=names, scheme="viridis")
    return alt.Color(f"{field}:O", title=title, sort=names, scale=scale)


def _shape(field: str, names: list[str]) -> alt.Shape:
    """A shape a name, in the legend of its colour; shapes repeat where colours do the telling."""
    shapes = ["circle", "triangle-up", "square", "diamond", "triangle-down", "cross"]
    cycle = [shapes[i % len(shapes)] for i in range(len(names))]
    return alt.Shape(f"{field}:N", title=None, sort=names, scale=alt.Scale(domain=names, range=cycle))


def _panels(layers: Any, frame: pd.DataFrame, field: str, names: list[str], rows: bool = False) -> Any:
    """A panel for each of `names`, three a line; or a column for each, and a row for each depth."""
    header = alt.Header(title=None, labelFontSize=13, labelFontWeight="bold", labelColor=_INK)
    data = _data(frame.assign(panel="depth " + frame["depth"].astype(str)))
    if rows:
        column = alt.Column(f"{field}:N", sort=names, header=header)
        row = alt.Row("panel:N", sort=_depth_names(frame), header=header)
        return layers.facet(data=data, column=column, row=row)
    if len(names) <= 3:
        return layers.facet(data=data, column=alt.Column(f"{field}:N", sort=names, header=header))
    return layers.facet(data=data, facet=alt.Facet(f"{field}:N", sort=names, header=header), columns=3)


def _data(frame: pd.DataFrame) -> alt.InlineData:
    """The rows as they go into a chart: six digits a number, nothing for NaN."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    values = [{str(k): float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return alt.InlineData(values=values)


def _finished(chart: Any, title: alt.TitleParams) -> alt.TopLevelMixin:
    """The chart with its title, its legend on top and quiet lines."""
    finished: alt.TopLevelMixin = (
        chart.properties(title=title)
        .configure(background="white", font="sans-serif", padding=12, aria=False)
        .configure_legend(
            orient="top",
            labelFontSize=12,
            titleFontSize=12,
            labelLimit=300,
            symbolOpacity=1,
            padding=8,
            columns=4,
        )
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridColor="#e6e6e6", domain=False)
        .configure_view(stroke="#cccccc")
    )
    return finished


def _title(text: str, *lines: str) -> alt.TitleParams:
    return alt.TitleParams(
        text, subtitle=list(lines), anchor="start", fontSize=16, subtitleFontSize=12, subtitleColor="#555555", offset=12
    )


def _depth_names(frame: pd.DataFrame) -> list[str]:
    return [f"depth {depth}" for depth in sorted(frame["depth"].unique())]


def _trained(rate: float) -> str:
    return f"dropout {rate:g}" if rate else "no dropout (control)"


def _with_or_without(rate: float) -> str:
    return "with dropout" if rate else _trained(rate)


def _rates(frame: pd.DataFrame) -> list[str]:
    return [_trained(rate) for rate in sorted(frame["dropout"].unique())]


def _seeds(frame: pd.DataFrame) -> str:
    seeds = frame["seed"].nunique()
    return f"{seeds} seeds" if seeds > 1 else "one seed, so their spread is not known"
