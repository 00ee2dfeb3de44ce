import io
import json
import struct
import xml.etree.ElementTree as ET

import pytest

from droplab.errors import DataError
from droplab.report import charts
from droplab.report.folder import Folder
from droplab.report.write import save_figures
from droplab.study.frames import by_seed
from report_data import findings_of, made_up_study

STUDIES = {
    "the post's": {},
    "one seed": {"seeds": 1},
    "one depth": {"depths": [3]},
    "one network, three rates": {"depths": [], "widths": [800, 800], "dropout": [0.2, 0.5, 0.8]},
    "two depths, three rates": {"depths": [2, 3], "dropout": [0.2, 0.5, 0.8], "seeds": 2},
    "no hidden layer": {"depths": [1]},
    "controls only": {"dropout": []},
    "one epoch": {"depths": [2], "epochs": 1},
    "eight rates": {"depths": [2], "dropout": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]},
}


def charts_of(missing=0, **values):
    plan, records = made_up_study(missing, **values)
    results = findings_of(plan, records).results
    comparisons = findings_of(plan, records).contrasts
    return charts.all_charts(results, findings_of(plan, records).curves, comparisons)


def rows_of(chart):
    """The data inside a chart's definition."""
    return [row for data in chart.to_dict()["datasets"].values() for row in data]


@pytest.fixture(scope="module")
def post():
    return charts_of(seeds=5)


@pytest.mark.parametrize("study", STUDIES)
def test_every_kind_of_study_gives_every_figure(study):
    made = charts_of(**{"epochs": 20} | STUDIES[study])
    expected = {"control", "inference", "splits", "loss", "overfitting"}
    expected |= {"difference"} if study != "controls only" else set()
    assert set(made) == expected
    for chart in made.values():
        picture = io.StringIO()
        chart.save(picture, format="svg")
        ET.fromstring(picture.getvalue())


def test_charts_stay_light_with_400_epochs_10_arms_and_5_seeds(post):
    rows = {name: len(rows_of(chart)) for name, chart in post.items()}
    assert rows["loss"] <= 9 * charts.MOST_POINTS  # nine different networks
    assert rows["overfitting"] <= 9 * 3 * charts.MOST_POINTS  # train, valid, and the gap between them
    assert max(count for name, count in rows.items() if name not in ("loss", "overfitting")) <= 200
    assert len(json.dumps(post["loss"].to_dict())) < 800_000


def test_a_chart_of_many_lines_has_fewer_points_a_line():
    many = charts_of(depths=[2, 3, 4, 5], dropout=[k / 16 for k in range(1, 16)], seeds=1, epochs=400)
    for name in ("loss", "overfitting"):
        assert len(rows_of(many[name])) <= 1.6 * charts.MOST_ROWS, name  # and the gaps


def test_thinned_curves_keep_their_first_and_last_epoch(post):
    epochs = {row["epoch"] for row in rows_of(post["loss"]) if row["split"] == "train_as_trained"}
    assert len(epochs) == charts.MOST_POINTS
    assert {min(epochs), max(epochs)} == {1, 400}


def test_the_band_of_the_loss_is_the_spread_of_the_seeds(post):
    plan, records = made_up_study(seeds=5)
    curves = findings_of(plan, records).curves
    where = (curves["arm"] == "depth=2,control") & (curves["split"] == "train_as_trained") & (curves["epoch"] == 400)
    seen = curves[where]["value"]
    (row,) = (
        row
        for row in rows_of(post["loss"])
        if (row["place"], row["trained"], row["split"], row["epoch"])
        == ("1 hidden layer", "no dropout (control)", "train_as_trained", 400)
    )
    assert [row["low"], row["mean"], row["high"]] == pytest.approx([seen.min(), seen.mean(), seen.max()], rel=1e-5)


def test_the_posts_panels_show_the_posts_numbers_within_the_noise(post):
    means = {(row["mode"], row["split"], row["depth"]): row["mean"] for row in rows_of(post["inference"])}
    assert means["dropout left on at inference", "test", 3] == pytest.approx(97.11, abs=0.15)
    assert means["dropout off at inference", "test", 3] == pytest.approx(98.21, abs=0.15)
    assert {row["dropout"] for row in rows_of(post["inference"])} == {0.5}
    assert rows_of(post["splits"]) == rows_of(post["inference"])


def test_the_honest_comparison_is_between_trainings_with_dropout_off_at_inference(post):
    plan, records = made_up_study(seeds=5)
    results = findings_of(plan, records).results
    seen = [row for row in rows_of(post["control"]) if row["percent"] is not None]
    assert len(seen) == 10 * 3 * 5
    ours = sorted(row["percent"] for row in seen if (row["depth"], row["dropout"], row["split"]) == (5, 0.5, "test"))
    off = by_seed(results, plan.arms[9], "off", "test", "accuracy")
    assert ours == pytest.approx(sorted(100 * off))


def test_the_difference_has_its_interval_and_none_where_it_does_not_apply(post):
    plan, records = made_up_study(seeds=5)
    compared = findings_of(plan, records).contrasts
    rows = {row["depth"]: row for row in rows_of(post["difference"])}
    assert rows[1]["difference"] is rows[1]["low"] is None
    assert rows[1]["verdict"] == "does not apply"
    found = compared[3].comparison
    expected = [100 * found.difference, 100 * found.low, 100 * found.high]
    assert [rows[4]["difference"], rows[4]["low"], rows[4]["high"]] == pytest.approx(expected, rel=1e-5)


def test_one_seed_has_no_interval_and_the_figure_says_so():
    chart = charts_of(seeds=1, depths=[2])["difference"]
    assert rows_of(chart)[0]["low"] is None
    assert "One seed: no interval" in json.dumps(chart.to_dict()["title"])


@pytest.mark.parametrize(
    ("study", "x"),
    [("the post's", "depth"), ("one network, three rates", "dropout"), ("two depths, three rates", "dropout")],
)
def test_rates_run_along_the_axis_where_there_are_several(study, x):
    made = charts_of(**{"epochs": 5} | STUDIES[study])
    for name in ("control", "inference", "splits", "difference"):
        assert f'"field": "{x}", "title"' in json.dumps(made[name].to_dict()), name


def test_a_loss_of_zero_does_not_break_the_logarithmic_scale():
    plan, records = made_up_study(depths=[2], epochs=20)
    curves = findings_of(plan, records).curves
    curves.loc[(curves["epoch"] > 10) & (curves["dropout"] == 0), "value"] = 0.0
    rows = rows_of(charts.loss_chart(curves))
    assert min(row["low"] for row in rows) == 1e-7
    charts.loss_chart(curves.assign(value=0.0)).save(io.StringIO(), format="svg")


def test_figures_are_saved_as_svg_as_png_at_twice_the_size_and_as_pdf(tmp_path, post):
    paths = save_figures({"difference": post["difference"]}, Folder(tmp_path))
    assert [path.name for path in paths] == ["difference.svg", "difference.png", "difference.pdf"]
    svg = ET.parse(paths[0]).getroot()
    content = paths[1].read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert width == pytest.approx(2 * float(svg.attrib["width"]), abs=2)
    assert 700 < width < 2400
    assert 500 < height < 2400
    assert paths[2].read_bytes().startswith(b"%PDF-")
    assert sorted((tmp_path / "figures").iterdir()) == sorted(paths)


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path, post):
    (tmp_path / "figures").touch()
    with pytest.raises(DataError, match="must be a folder that can be written"):
        save_figures({"difference": post["difference"]}, Folder(tmp_path))
