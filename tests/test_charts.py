"""The charts of a study, whatever it varies: what is drawn, where, in which colour, and in what words."""

import io
import json
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data.output import Folder
from droplab.errors import DataError
from droplab.report import charts, drawing, style
from droplab.report.answer import difference_words
from droplab.report.drawing import draw, with_title
from droplab.report.figures import FIGURES, study_figures
from droplab.report.layout import Layout
from droplab.report.write import save_figures
from droplab.stats.compare import points
from droplab.study.frames import Replicates
from report_data import findings_of, made_up_study
from study_help import toy_plan

ONE = {"depths": [], "widths": [8, 4]}
OWN = {
    "small": {"widths": [4], "learning_rate": 0.3},
    "small, held": {"widths": [4], "learning_rate": 0.3, "dropout": 0.5},
    "wide, with Adam": {"width": 16, "optimizer": "adam", "dropout": 0.1},
}
STUDIES: dict[str, tuple[dict[str, Any], str]] = {
    "the post's": ({}, "difference control inference"),
    "one seed": ({"seeds": 1}, "difference control inference"),
    "one depth": ({"depths": [3]}, "difference inference"),
    "three rates": ({**ONE, "dropout": [0.2, 0.5, 0.8]}, "difference control inference"),
    "two depths, three rates": ({"depths": [2, 3], "dropout": [0.2, 0.5, 0.8]}, "difference axes control inference"),
    "no hidden layer": ({"depths": [1]}, "difference"),
    "controls only": ({"dropout": []}, "difference control"),
    "one epoch": ({"depths": [2], "epochs": 1}, "difference inference"),
    "forty arms": (
        {"depths": [2, 3, 4, 5], "dropout": [k / 20 for k in range(1, 11)]},
        "difference axes control inference",
    ),
    "names": (
        {**ONE, "vary": {"regularizer": ["dropout", "l2"], "activation": ["relu", "tanh"]}},
        "difference inference",
    ),
    "names and numbers": (
        {**ONE, "vary": {"regularizer": ["dropout", "l2"], "batch_size": [8, 16, 32]}},
        "difference control inference",
    ),
    "a strength": ({**ONE, "dropout": [], "vary": {"l2": [1e-6, 1e-4, 1e-2]}}, "difference control"),
    "two strengths": (
        {**ONE, "dropout": [], "vary": {"l2": [1e-6, 1e-4], "max_norm": [1, 2]}},
        "difference axes control",
    ),
    "levels beside a baseline": (
        {
            **ONE,
            "dropout": [],
            "vary": {"optimizer": ["adam", "sgd", "adamw"]},
            "baseline": "optimizer=adam",
        },
        "difference",
    ),
    "levels of its own": ({**ONE, "vary": {"method": OWN}}, "difference inference"),
}


@cache
def study(name: str):
    return made_up_study(**({"epochs": 12} | STUDIES[name][0]))


@cache
def figures_of(name: str):
    return study_figures(findings_of(*study(name)))


def rows_of(figure: style.Figure) -> list[dict[str, Any]]:
    """The data inside a chart's definition."""
    return [row for data in figure.chart.to_dict()["datasets"].values() for row in data]


def parts(spec: Any, key: str) -> Iterator[Any]:
    """Every value of a key within a definition, its data aside."""
    for name, value in spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ():
        if name == key:
            yield value
        if name != "datasets":
            yield from parts(value, key)


def colours_of(figure: style.Figure) -> dict[str, str]:
    coloured = [one for one in parts(figure.chart.to_dict(), "color") if isinstance(one, dict)]
    scales = [one["scale"] for one in coloured if one.get("type") == "nominal"]
    return {name: colour for one in scales for name, colour in zip(one["domain"], one["range"], strict=True)}


@pytest.mark.parametrize("name", STUDIES)
def test_every_kind_of_study_has_its_figures(name):
    figures = figures_of(name)
    assert list(figures) == [*STUDIES[name][1].split(), "loss", "overfitting"]
    assert set(figures) <= set(FIGURES)
    for figure in figures.values():
        assert figure.title
        assert figure.caption.endswith(".")
        assert figure.numbers.rows
        assert "title" not in figure.chart.to_dict()
        picture = io.StringIO()
        figure.titled.save(picture, format="svg")
        ET.fromstring(picture.getvalue())


@pytest.mark.parametrize("name", STUDIES)
def test_a_colour_has_one_meaning_in_all_charts(name):
    for title, figure in figures_of(name).items():
        for words, colour in colours_of(figure).items():
            if "control" in words or words == "baseline":
                assert colour == style.BLUE, (title, words)
            elif "left on" in words:
                assert colour == style.PURPLE, (title, words)
            else:
                assert colour == style.ORANGE or colour in style.ramp(style.ORANGES, len(colours_of(figure)) - 1, "")


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_has_its_row_with_both_means_every_seed_and_the_comparisons_words(name):
    plan, records = study(name)
    results = findings_of(plan, records).results
    rows = rows_of(figures_of(name)["difference"])
    compared = findings_of(plan, records).contrasts
    assert {row["arm"] for row in rows} == {one.arm.name for one in compared}
    for one in compared:
        mine = [row for row in rows if row["arm"] == one.arm.name]
        (said,) = [row for row in mine if "verdict" in row]
        found = one.comparison
        assert said["verdict"] == found.verdict
        sides = [
            Replicates(results).by_seed(arm, "off", "test", "accuracy")
            for arm in ((one.against,) if found.verdict == "does not apply" else (one.against, one.arm))
        ]
        seeds = sorted(row["told"] for row in mine if row.get("told") is not None)
        assert seeds == pytest.approx(sorted(100 * value for side in sides for value in side), rel=1e-5)
        means = [row["mean"] for row in mine if "side" in row and row.get("mean") is not None]
        assert means == pytest.approx([100 * side.mean() for side in sides], rel=1e-5)
        if found.verdict == "does not apply":
            assert said["numbers"] == ""
            assert said["said"] == ("it never acted" if one.arm.widths else "no hidden layer: dropout cannot act")
            assert said["short"] == "does not apply"
        else:
            assert said["said"] == found.verdict
            assert said["numbers"] == difference_words(one)
            assert said["short"] == f"{points(found.difference)} {found.verdict}"
            assert said["difference"] == pytest.approx(100 * found.difference, rel=1e-4)
            if found.low is not None:
                assert [said["low"], said["high"]] == pytest.approx([100 * found.low, 100 * found.high], rel=1e-4)


def test_levels_without_regularizers_stand_beside_their_baseline():
    figure = figures_of("levels beside a baseline")["difference"]
    assert {row["arm"] for row in rows_of(figure)} == {"optimizer=sgd,control", "optimizer=adamw,control"}
    assert colours_of(figure) == {"baseline": style.BLUE, "the row’s level": style.ORANGE}
    assert {row["row"].split("\t")[0] for row in rows_of(figure)} == {"optimizer sgd", "optimizer adamw"}


def test_one_seed_has_no_interval_and_the_caption_says_so():
    figure = figures_of("one seed")["difference"]
    assert "low" not in json.dumps(rows_of(figure))
    assert "one seed gives no interval" in figure.caption


def test_rows_are_named_by_what_tells_them_apart():
    def labels(name: str) -> list[str]:
        plan, _ = study(name)
        keys, order = Layout(plan, 784, 10).rows(arm.name for arm in plan.arms if not arm.is_control)
        assert set(keys.values()) <= set(order)
        return [key.split("\t")[0] for key in order]

    assert labels("the post's")[:3] == [
        "no hidden layer\n784→10",
        "1 hidden layer\n784→512→10",
        "2 hidden layers\n784→512→256→10",
    ]
    assert labels("one depth") == ["2 hidden layers\n784→512→256→10"]
    assert labels("three rates") == ["dropout 0.2", "dropout 0.5", "dropout 0.8"]
    assert labels("two depths, three rates")[:3] == ["1 hidden layer", "dropout 0.2", "dropout 0.5"]
    assert labels("names")[:3] == ["activation relu", "dropout 0.5", "l2 0.0001"]
    assert labels("levels of its own") == ["small, held", "wide, with Adam"]
    assert labels("two strengths")[0] == "l2 1e-06, max norm 1"


def some(*values: object) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


RATES = some(0.1, 0.2, 0.5, 0.75)
AXES = {
    "regularizer": some("dropout", "l2", "max_norm=2", "dropout=0.25+l2=0.1"),
    "activation": some("relu", "tanh"),
    "train_examples": some(50, 100, 150),
    "batch_size": some(8, 16, 32),
    "l2": RATES,
    "method": st.just(OWN),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(AXES)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: AXES[name] for name in names})
    ),
    RATES,
)
def test_the_rows_of_any_small_study_have_names_of_their_own(vary, rates):
    plan = toy_plan(**ONE, dropout=rates, **({"vary": vary} if vary else {}))
    keys, order = Layout(plan, 784, 10).rows(arm.name for arm in plan.arms if not arm.is_control)
    assert len(set(keys.values())) == len(keys) == sum(not arm.is_control for arm in plan.arms)
    assert len(set(order)) == len(order)
    heads = [order[: order.index(key)] for key in keys.values()]
    named = [
        (next((one for one in reversed(head) if one.endswith("\t")), ""), key.split("\t")[0])
        for head, key in zip(heads, keys.values(), strict=True)
    ]
    assert len(set(named)) == len(named), "a label is unique within its place"


def test_a_strength_runs_along_the_axis_and_its_control_is_a_level_band():
    rows = rows_of(figures_of("a strength")["control"])
    assert {row["across"] for row in rows if row["series"] == "l2"} == {1e-6, 1e-4, 1e-2}
    assert [row["across"] for row in rows if row["series"] == "control"] == [None] * 3
    spec = figures_of("a strength")["control"].chart.to_dict()
    assert "log" in list(parts(spec, "type"))


def test_depths_run_along_the_axis_as_hidden_layers_and_show_every_seed_on_every_split():
    plan, records = study("the post's")
    results = findings_of(plan, records).results
    rows = rows_of(figures_of("the post's")["control"])
    assert {row["across"] for row in rows} == {0, 1, 2, 3, 4}
    assert len(rows) == 10 * 3
    (row,) = [row for row in rows if (row["arm"], row["split"]) == ("depth=5,dropout=0.5", "test")]
    seen = 100 * Replicates(results).by_seed(plan.arms[9], "off", "test", "accuracy")
    assert [row["low"], row["mean"], row["high"]] == pytest.approx([seen.min(), seen.mean(), seen.max()], rel=1e-5)


def test_the_axis_of_train_spans_a_point_at_least_and_those_of_valid_and_test_what_there_is():
    rows = rows_of(figures_of("a strength")["control"])
    ends = {(row["least"], row["most"]) for row in rows if row["split"] == "train"}
    assert ends == {(99, 100)}
    assert {(row["least"], row["most"]) for row in rows if row["split"] != "train"} == {(None, None)}


def test_two_axes_of_numbers_make_a_heat_map():
    figure = figures_of("two depths, three rates")["axes"]
    cells = {(row["across"], row["upwards"]) for row in rows_of(figure)}
    assert cells == {(layers, rate) for layers in (1, 2) for rate in (0, 0.2, 0.5, 0.8)}
    assert "rect" in [mark["type"] for mark in parts(figure.chart.to_dict(), "mark")]


@pytest.mark.parametrize("name", [name for name in STUDIES if "inference" in STUDIES[name][1]])
def test_dropout_left_on_is_shown_beside_off_and_the_control_wherever_an_arm_has_it(name):
    plan, _ = study(name)
    rows = rows_of(figures_of(name)["inference"])
    assert {row["arm"] for row in rows} == {arm.name for arm in plan.arms if arm.dropout and arm.widths}
    for arm in {row["arm"] for row in rows}:
        mine = [row for row in rows if row["arm"] == arm]
        assert len({row["side"] for row in mine}) == 3
        assert [row["split"] for row in mine] == ["train", "valid", "test"] * 3


def test_the_posts_numbers_are_there_within_the_noise():
    rows = {
        (row["arm"], row["side"], row["split"]): row["mean"] for row in rows_of(figures_of("the post's")["inference"])
    }
    arm = "depth=3,dropout=0.5"
    assert rows[arm, "dropout left on at inference", "test"] == pytest.approx(97.11, abs=0.15)
    assert rows[arm, "dropout off at inference", "test"] == pytest.approx(98.21, abs=0.15)


def test_charts_stay_light_with_400_epochs_10_arms_and_5_seeds():
    figures = study_figures(findings_of(*made_up_study(seeds=5)))
    rows = {name: len(rows_of(figure)) for name, figure in figures.items()}
    assert rows["loss"] <= 9 * charts.MOST_POINTS  # nine different networks
    assert rows["overfitting"] <= 9 * 2 * charts.MOST_POINTS
    assert max(count for name, count in rows.items() if name not in ("loss", "overfitting")) <= 200
    assert len(json.dumps(figures["loss"].chart.to_dict())) < 800_000
    epochs = {row["epoch"] for row in rows_of(figures["loss"])}
    assert len(epochs) == charts.MOST_POINTS
    assert {min(epochs), max(epochs)} == {1, 400}


def test_a_chart_of_many_lines_has_fewer_points_a_line():
    plan, records = made_up_study(depths=[2, 3, 4, 5], dropout=[k / 16 for k in range(1, 16)], seeds=1, epochs=400)
    curves = findings_of(plan, records).curves
    for draws in (charts.loss, charts.overfitting):
        assert len(rows_of(draws(Layout(plan, 784, 10), curves))) <= 1.1 * charts.MOST_VALUES


def test_the_band_of_the_loss_is_the_spread_of_the_seeds():
    plan, records = study("the post's")
    curves = findings_of(plan, records).curves
    where = (curves["arm"] == "depth=2,control") & (curves["split"] == "train_as_trained") & (curves["epoch"] == 12)
    seen = curves[where]["value"]
    (row,) = (
        row
        for row in rows_of(figures_of("the post's")["loss"])
        if (row["arm"], row["split"], row["epoch"]) == ("depth=2,control", "train_as_trained", 12)
    )
    assert (row["place"], row["trained"]) == ("1 hidden layer", "no dropout (control)")
    assert [row["low"], row["mean"], row["high"]] == pytest.approx([seen.min(), seen.mean(), seen.max()], rel=1e-5)


def test_a_loss_of_zero_does_not_break_the_logarithmic_scale():
    plan, records = made_up_study(depths=[2], epochs=20)
    curves = findings_of(plan, records).curves
    curves.loc[(curves["epoch"] > 10) & (curves["dropout"] == 0), "value"] = 0.0
    assert min(row["low"] for row in rows_of(charts.loss(Layout(plan, 784, 10), curves))) == 1e-7
    charts.loss(Layout(plan, 784, 10), curves.assign(value=0.0)).chart.save(io.StringIO(), format="svg")


def test_a_figure_is_drawn_once_and_its_files_are_that_drawing_with_its_title(tmp_path):
    figure = figures_of("the post's")["difference"]
    paths = save_figures({"difference": figure}, Folder(tmp_path))
    assert [path.name for path in paths] == ["difference.svg", "difference.png"]
    svg = ET.parse(paths[0]).getroot()
    content = paths[1].read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert width == pytest.approx(2 * float(svg.attrib["width"]), abs=2)
    assert height == pytest.approx(2 * float(svg.attrib["height"]), abs=2)
    assert float(svg.attrib["width"]) == pytest.approx(style.WIDTH, abs=30), "the text width of a paper"
    drawn = draw({"difference": figure.drawing}, ("page",), pytest.fail)
    page = drawn["difference.page"].decode()
    assert figure.title not in page
    assert paths[0].read_text("utf-8") == with_title(page, figure.title)


def test_the_pages_library_is_made_once_and_only_what_is_known_is_taken_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    library = draw({}, ("page",), pytest.fail)["library.js"]
    (kept,) = (tmp_path / "charts").iterdir()
    assert kept.read_bytes() == library, "the hash of the pinned version stands in drawing.py"
    monkeypatch.setattr(drawing, "_in_child", lambda job: {"library.js": b"anew"} if job["library"] else {})
    assert draw({}, ("page",), pytest.fail) == {"library.js": library}
    kept.write_bytes(library + b"alert(1)")
    assert draw({}, ("page",), pytest.fail) == {"library.js": b"anew"}


def test_a_long_title_is_broken_into_lines_and_stays_text():
    svg = '<svg version="1.1" width="200" height="50" viewBox="0 0 200 50"><g>chart</g></svg>'
    titled = ET.fromstring(with_title(svg, "Dropout <helps> & " + "helps " * 12))
    lines = [one.text for one in titled if one.tag.endswith("text")]
    assert len(lines) > 2
    assert " ".join(lines).startswith("Dropout <helps> & helps")
    assert float(titled.attrib["height"]) > 50 + 14 * len(lines)


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path):
    (tmp_path / "figures").touch()
    with pytest.raises(DataError, match="must be a folder that can be written"):
        save_figures({"difference": figures_of("the post's")["difference"]}, Folder(tmp_path))
