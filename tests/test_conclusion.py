"""The end of a study on the screen: the answer before any figure, a row a comparison, and what to type next."""

import re
import webbrowser
from pathlib import Path

import pytest

from droplab.cli import study
from report_data import findings_of, made_up_study
from study_help import droplab, toy_spec

COMMAND = "droplab study mnist-depth --seeds 3"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return toy_spec(tmp_path)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have tests of their own, and take seconds."""
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda *_, **__: print("WRITING"))


def test_question_answer_and_a_row_a_comparison_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    study._say_answer(findings_of(*made_up_study(question="Does dropout help?")), COMMAND)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Does dropout help?"
    assert lines[1].startswith("Dropout ")
    rows = [line.split("\t") for line in lines if "→" in line and "\t" in line]
    assert [row[0] for row in rows[:3]] == ["784→10", "784→512→10", "784→512→256→10"]
    assert rows[0][-1] == "does not apply"
    for _, without, with_it, difference, verdict in rows[1:]:
        told = float(difference.split()[0].replace("−", "-"))
        assert float(with_it) - float(without) == pytest.approx(told, abs=0.02)
        assert verdict in ("helps", "hurts", "equivalent", "undecided")
    assert len(lines) <= 12


def test_what_is_undecided_is_followed_by_a_command_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    study._say_answer(findings_of(*made_up_study(depths=[2, 3], seeds=1)), COMMAND)
    *_, before, command = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"To settle more, about .*:", before)
    assert command == "  droplab study mnist-depth --seeds 3"


def test_of_many_comparisons_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = list(range(1, study.MOST_ROWS + 4))
    study._say_answer(findings_of(*made_up_study(depths=[2], seeds=2, vary={"batch_size": sizes})), COMMAND)
    shown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("batch_size ") for line in shown) == study.MOST_ROWS
    assert "and 3 more in the report" in shown


@pytest.mark.usefixtures("no_report")
def test_the_answer_is_said_before_the_report_is_written(spec: Path, tmp_path: Path) -> None:
    lines = droplab("study", spec, "--out", tmp_path / "out").out.splitlines()
    end = lines[lines.index("Does it?") :]
    order = [next(k for k, line in enumerate(end) if words in line) for words in ("ropout", "20→8→4\t", "WRITING")]
    assert order == sorted(order)
    assert end[order[-1] - 1] == "drawing the figures and writing the report …"
    assert end[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert len(end) <= 12


@pytest.mark.usefixtures("no_report")
def test_a_quiet_study_says_its_end_alone(spec: Path, tmp_path: Path) -> None:
    said = droplab("study", spec, "-q", "--out", tmp_path / "out")
    lines = said.out.splitlines()
    assert (lines[0], lines[-1]) == ("Does it?", f"report: {tmp_path / 'out' / 'report.html'}")
    assert not any(line.startswith(("trained", "plan", "drawing")) for line in lines)
    assert "networks to train" not in said.errors


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("opens", [True, False])
def test_the_report_opens_in_the_browser_if_asked_to(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda page: opened.append(page) or opens)
    said = droplab("study", spec, "--out", tmp_path / "out", "--open")
    assert said.code == 0
    assert opened == [(tmp_path / "out" / "report.html").resolve().as_uri()]
    assert ("no browser could be opened" in said.errors) != opens
    assert droplab("report", spec, "--out", tmp_path / "out").code == 0
    assert len(opened) == 1, "nothing is opened unasked"
