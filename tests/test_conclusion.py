"""The end of a study on the screen: the answer before any figure, a row a comparison, and what to type next."""

import webbrowser
from pathlib import Path

import pytest

from droplab.cli.conclusion import MOST_ROWS, conclude
from droplab.report.answer import Next, answer_of, contrast_rows
from droplab.stats.compare import points
from report_data import findings_of, made_up_study
from study_help import droplab, toy_spec

COMMAND = "droplab study mnist-depth --seeds 3"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return toy_spec(tmp_path)


def next_of(**values: object) -> Next | None:
    return answer_of(findings_of(*made_up_study(**values)), COMMAND).next


def test_a_row_a_comparison_names_networks_by_their_units_and_holds_the_numbers_compared() -> None:
    findings = findings_of(*made_up_study(seeds=3))
    head, rows = answer_of(findings).rows.head, answer_of(findings).rows.rows
    assert head == ("network", "without dropout (%)", "with dropout (%)", "verdict: difference (points)")
    assert [row[0] for row in rows[:3]] == ["784→10", "784→512→10", "784→512→256→10"]
    assert rows[0][2:] == ("–", "does not apply: no hidden layer")
    for row, one in zip(rows[1:], findings.contrasts[1:], strict=True):
        found = one.comparison
        assert float(row[2]) - float(row[1]) == pytest.approx(100 * found.difference, abs=0.011)
        assert row[3] == f"{found.verdict}: {points(found.difference)} [{points(found.low)}, {points(found.high)}]"


def test_where_rates_or_more_vary_each_row_says_with_what() -> None:
    rates = contrast_rows(findings_of(*made_up_study(depths=[2], dropout=[0.2, 0.5]))).rows
    assert [row[0] for row in rates] == ["dropout 0.2", "dropout 0.5"]
    several = contrast_rows(findings_of(*made_up_study(depths=[2], vary={"batch_size": [16, 32]}))).rows
    assert [row[0] for row in several] == ["batch_size 16, dropout 0.5", "batch_size 32, dropout 0.5"]


def test_what_is_undecided_says_how_many_seeds_and_which_command_in_about_which_time() -> None:
    values = {"depths": [2], "noise": 0.002, "seeds": 3}
    (one,) = findings_of(*made_up_study(**values)).contrasts
    needed = one.comparison.seeds_needed.low
    found = next_of(**values)
    assert found.words.startswith(f"1 is undecided; {needed} seeds may settle it, in about ")
    assert found.command == f"droplab study mnist-depth --seeds {needed}"


def test_one_seed_is_told_to_become_three() -> None:
    found = next_of(depths=[2, 3], seeds=1)
    assert found.words.startswith("2 are undecided; 3 seeds may settle most")
    assert found.command == "droplab study mnist-depth --seeds 3"


def test_nothing_follows_where_all_is_decided_or_the_same_command_goes_on() -> None:
    assert next_of(depths=[3], noise=1e-5, seeds=5) is None
    assert next_of(missing=2, depths=[2, 3], noise=0.01, seeds=3) is None


def test_of_many_comparisons_the_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    findings = findings_of(*made_up_study(depths=[2], seeds=2, vary={"batch_size": list(range(1, MOST_ROWS + 4))}))
    conclude(findings, COMMAND)
    shown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("batch_size ") for line in shown) == MOST_ROWS
    assert "and 3 more in the report" in shown


def test_the_answer_is_said_before_the_report_is_written(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda *_, **__: print("WRITING"))
    lines = droplab("study", spec, "--out", tmp_path / "out").out.splitlines()
    end = lines[lines.index("Does it?") :]
    places = [next(k for k, line in enumerate(end) if words in line) for words in ("ropout", "20→8→4", "WRITING")]
    assert places == sorted(places)
    assert end[places[2] - 1] == "drawing the figures and writing the report …"
    assert end[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert len(end) <= 12


def test_a_quiet_study_says_its_end_alone(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda *_, **__: [])
    said = droplab("study", spec, "-q", "--out", tmp_path / "out")
    lines = said.out.splitlines()
    assert (lines[0], lines[-1]) == ("Does it?", f"report: {tmp_path / 'out' / 'report.html'}")
    assert not any(line.startswith(("trained", "plan", "drawing")) for line in lines)
    assert "networks to train" not in said.errors


@pytest.mark.parametrize("opens", [True, False])
def test_the_report_opens_in_the_browser_if_asked_to(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda *_, **__: [])
    monkeypatch.setattr(webbrowser, "open", lambda page: opened.append(page) or opens)
    said = droplab("study", spec, "--out", tmp_path / "out", "--open")
    assert said.code == 0
    assert opened == [(tmp_path / "out" / "report.html").resolve().as_uri()]
    assert ("no browser could be opened" in said.errors) != opens
    assert droplab("report", spec, "--out", tmp_path / "out").code == 0
    assert len(opened) == 1, "nothing is opened unasked"
