"""A study in a notebook: what its fragments of HTML show, its charts without a network, its progress."""

import json
import re
from pathlib import Path

import altair as alt
import pytest
import vl_convert

import droplab
from droplab.api import Study, StudyResult
from droplab.errors import ConfigError, DataError, TrainingError
from droplab.report import notebook
from droplab.report.answer import Answer
from droplab.report.cells import Table
from droplab.report.figures import study_figures
from droplab.report.notebook import VEGA_LITE, Comparisons, StudyCharts, html_fragment, settings_fragment
from droplab.stats.compare import points
from droplab.study.lab import Lab, Warn
from droplab.study.progress import Bar
from droplab.train.state import Progress
from report_data import findings_of, made_up_study
from study_help import toy_plan
from test_page import HOSTILE, Seen


def studied(missing=0, **values):
    return made_up_study(missing, **{"epochs": 5} | values)


def test_the_fragment_has_the_answer_the_verdicts_and_the_arms() -> None:
    seen = Seen(html_fragment(findings_of(*studied(name="mine"))))
    assert seen.text.startswith("Dropout helps with 3 hidden layers; is undecided")
    assert [row[0].count("→") for row in seen.rows if len(row) == 4 and row[0] != "network"] == [1, 2, 3, 4, 5]
    assert sum(row[1].startswith("depth=") for row in seen.rows) == 9
    assert "chosen on valid: 784→512→256→128→10, dropout 0.5" in seen.text
    assert "are finished" not in seen.text


def test_the_fragment_stands_in_any_page() -> None:
    seen = Seen(html_fragment(findings_of(*studied())))
    assert set(seen.tags) == {"div", "p", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert seen.attributes == [("div", "class", "droplab")]


def test_a_fragment_of_hostile_names_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = Answer(HOSTILE, HOSTILE, Table((HOSTILE,), [(HOSTILE,)]), None)
    monkeypatch.setattr(notebook, "answer_of", lambda *_: hostile)
    seen = Seen(html_fragment(findings_of(*studied())))
    assert not {"script", "img"} & set(seen.tags)
    assert seen.text.count(HOSTILE) == 4


def test_an_unfinished_study_says_how_far_it_is() -> None:
    assert "23 of 27 networks are finished." in Seen(html_fragment(findings_of(*studied(missing=4)))).text
    nothing = Seen(html_fragment(findings_of(studied()[0], {})))
    assert nothing.text == ("Nothing can be said yet 0 of 27 networks are finished.Nothing was compared.")


def test_each_chart_is_a_method_and_an_entry() -> None:
    drawn = StudyCharts(findings_of(*studied(depths=[1, 2])))
    assert len(drawn) == len(dict(drawn)) == 5
    for name, chart in drawn.items():
        assert getattr(drawn, name)().to_dict() == chart.to_dict()
        assert name in dir(drawn)
    assert drawn.depth().to_dict() == drawn["difference"].to_dict()
    assert repr(drawn) == "<charts of study: difference, control, inference, loss, overfitting>"


def test_charts_are_drawn_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(notebook, "study_figures", lambda *study: calls.append(1) or study_figures(*study))
    drawn = StudyCharts(findings_of(*studied(depths=[1, 2])))
    assert calls == []
    drawn.loss()
    drawn.difference()
    assert calls == [1]


def test_a_chart_by_depth_needs_depths() -> None:
    with pytest.raises(ConfigError, match=r"of several depths; found only depth 2\. Take charts\.difference\(\)"):
        StudyCharts(findings_of(*studied(widths=[8], depths=[]))).depth()


def test_what_cannot_be_drawn_is_an_error_that_says_why() -> None:
    plan, records = studied(missing=1, widths=[8], depths=[], seeds=1)
    drawn = StudyCharts(findings_of(plan, records))
    with pytest.raises(DataError, match="finished both with dropout and without it, with the same seed; found none"):
        drawn.difference()
    assert "difference" not in list(drawn)
    for name in ("control", "reliability", "samples", "confusion", "activations"):
        with pytest.raises(DataError, match=f"the chart '{name}' needs .*; found none"):
            getattr(drawn, name)()
    with pytest.raises(KeyError):
        _ = drawn["nonsense"]
    with pytest.raises(DataError, match="at least one finished run; found none"):
        StudyCharts(findings_of(plan, {}))


def test_a_study_shows_what_it_asks_and_its_arms() -> None:
    study = Study.of("digits", dropout=[0.2, 0.5], depths=[2], question="Which rate?", seeds=4)
    seen = Seen(study._repr_html_())
    assert seen.text.startswith("digits Which rate?Data: digits; 3 arms, 4 seeds each; 100 epochs.")
    assert [row[0] for row in seen.rows[1:]] == ["control", "dropout=0.2", "dropout=0.5"]
    assert {row[1] for row in seen.rows[1:]} == {"512"}
    told = Seen(Study.of("digits", name="x", until="decided", seeds=1, question=HOSTILE)._repr_html_())
    assert "at most 1 seed each" in told.text
    assert HOSTILE in told.text
    assert settings_fragment(study.settings) == study._repr_html_()


def test_comparisons_are_a_list_and_a_table() -> None:
    findings = findings_of(*studied())
    result = StudyResult(findings, None, Lab())
    for compared in (result.comparisons(), result.compare("dropout=0.5"), result.ranking()):
        assert isinstance(compared, Comparisons)
    assert result.comparisons() == findings.contrasts
    seen = Seen(result.comparisons()._repr_html_())
    first = findings.contrasts[1].comparison
    assert seen.rows[0] == ["networks", "verdict", "difference (points)", seen.rows[0][3], "seeds"]
    assert "interval" in seen.rows[0][3]
    assert seen.rows[2][2:4] == [points(first.difference), f"{points(first.low)} to {points(first.high)}"]
    assert Seen(Comparisons()._repr_html_()).text == ""
    assert [row[0] for row in seen.rows[1:]] == [f"depth={depth},dropout=0.5 − control" for depth in range(1, 6)]


def test_a_study_of_ones_own_needs_a_name_of_data_alone() -> None:
    assert Study.of().settings.data == "mnist"
    assert droplab.study("digits", seeds=2).settings == Study.of("digits", seeds=2).settings
    settings = Study.of(Path("my data/wine (1).csv"), target="class", widths=[8], dropout=[0.1], seeds=[3, 5]).settings
    assert (settings.data, settings.widths, settings.depths) == ("my data/wine (1).csv", (8,), ())
    assert (settings.seeds, settings.momentum, settings.epochs, settings.batch_size) == ((3, 5), 0.9, 100, 100)
    assert settings.name == "wine-1-.csv"
    assert Study.of("digits", optimizer="adam", learning_rate=0.001).settings.momentum == 0
    assert Study.of("digits", vary={"depth": [3, 4]}).settings.depths == (3, 4)
    with pytest.raises(ConfigError, match=r"dropuot.*did you mean 'dropout'"):
        Study.of("digits", dropuot=0.5)
    with pytest.raises(ConfigError, match="give either depths"):
        Study.of("digits", depths=[2], widths=[8])


def served(text: str) -> list[str]:
    """The addresses in what is shown, but for names of formats, which nothing is fetched from."""
    return [
        found for found in re.findall(r"https?://[^\s\"'<>]+", text) if not re.match(r"http://www\.w3\.org/", found)
    ]


def test_a_chart_is_shown_without_a_network_as_what_notebooks_draw_and_as_a_picture() -> None:
    chart = StudyCharts(findings_of(*studied(depths=[1, 2]))).difference()
    shown = chart._repr_mimebundle_()
    assert list(shown) == [VEGA_LITE, "image/svg+xml"]
    assert shown["image/svg+xml"].startswith("<svg")
    assert chart.to_dict()["title"]["text"] in shown["image/svg+xml"]
    assert served(shown["image/svg+xml"]) == []
    assert served(json.dumps(shown[VEGA_LITE])) == ["https://vega.github.io/schema/vega-lite/v5.json"]
    assert shown[VEGA_LITE] | {"$schema": 0} == chart.to_dict() | {"$schema": 0}


@pytest.mark.parametrize("values", [{"depths": [1, 2]}, {"widths": [8], "depths": [], "vary": {"epochs": [5, 6]}}])
def test_every_chart_is_one_that_the_vega_lite_of_notebooks_draws(values: dict[str, object]) -> None:
    for name, chart in StudyCharts(findings_of(*studied(**values))).items():
        picture = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version="5.20")
        assert picture.count("<path") >= 0.9 * vl_convert.vegalite_to_svg(chart.to_dict()).count("<path"), name


def test_a_chart_is_altairs_own_in_all_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn = StudyCharts(findings_of(*studied(depths=[1, 2])))
    loss = drawn.loss()
    assert isinstance(loss, alt.TopLevelMixin)
    assert loss.properties(title="Mine").to_dict()["title"] == "Mine"
    loss.save(str(tmp_path / "loss.svg"))
    assert isinstance(loss.copy()._repr_mimebundle_(), dict)
    with alt.renderers.enable("json"):
        assert "application/json" in loss._repr_mimebundle_()[0]
    monkeypatch.setattr(notebook, "draw", lambda *_: {})
    assert list(loss._repr_mimebundle_()) == [VEGA_LITE]


def test_a_bar_has_a_part_a_network_as_large_as_its_work(capsys: pytest.CaptureFixture[str]) -> None:
    runs, bar = toy_plan(seeds=2).runs, Bar()
    bar.begin(runs, runs[:2])
    for share, done in ((0.5, 0), (1.0, 0)):
        bar.progress(runs[0], Progress(0, int(share * runs[0].settings.epochs), 0.1, None))
        assert bar._finished == done
    assert 0 < bar._bar.n < 1
    bar._work[runs[1].key] *= 1 + 1e-12  # rounding: tqdm warns of more than all
    bar.notice("must be known")
    bar.finished(runs[0], None)
    bar.finished(runs[1], TrainingError("too large"))
    assert bar._bar.n == 1.0
    bar.begin(runs, [])
    said = capsys.readouterr()
    assert "2 of 2 networks 100% |" in said.out
    assert "must be known" in said.out
    assert f"seed {runs[1].settings.seed}: too large" in said.out
    assert said.err == ""


def test_only_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Lab().watcher, Warn)
    monkeypatch.setattr("droplab.study.lab.in_notebook", lambda: True)
    assert isinstance(Lab().watcher, Bar)
    mine = Warn()
    assert Lab(observer=mine).watcher is mine


CELLS = [
    "import droplab as dl\nstudy = dl.study('digits', widths=[16], epochs=3, seeds=2)\nstudy",
    "result = study.run(workers=1)\nresult",
    "result.comparisons()",
    "result.charts.difference()",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_notebook_is_run_and_shows_all_of_it_without_a_network(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(page, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    kinds = [[kind for output in cell.outputs for kind in output.get("data", {})] for cell in page.cells]
    assert [VEGA_LITE in each for each in kinds] == [False, False, False, True]
    assert ["text/html" in each for each in kinds] == [True, True, True, False]
    said = "".join(output.text for output in page.cells[1].outputs if output.output_type == "stream")
    assert "4 of 4 networks 100%" in said
    streams = [output for cell in page.cells for output in cell.outputs if output.output_type == "stream"]
    assert {output.name for output in streams} == {"stdout"}  # nothing in red
    shown = "".join(str(output.get("data", "")) for cell in page.cells for output in cell.outputs)
    assert set(served(shown)) <= {"https://vega.github.io/schema/vega-lite/v5.json"}
