"""A result in a notebook: what its fragment of HTML shows, and its charts."""

import pytest

from droplab.errors import ConfigError, DataError
from droplab.report import notebook
from droplab.report.answer import Answer
from droplab.report.cells import Table
from droplab.report.figures import study_figures
from droplab.report.notebook import StudyCharts, html_fragment
from report_data import findings_of, made_up_study
from test_page import HOSTILE, Seen


def studied(missing=0, **values):
    return made_up_study(missing, **{"epochs": 5} | values)


def test_the_fragment_has_the_answer_the_verdicts_and_the_arms() -> None:
    seen = Seen(html_fragment(findings_of(*studied(name="mine"))))
    assert seen.text.startswith("Dropout helps with 3 hidden layers; is undecided")
    assert [row[0].count("→") for row in seen.rows if len(row) == 5 and row[0] != "network"] == [1, 2, 3, 4, 5]
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
