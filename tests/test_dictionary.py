"""README.md of a study's folder: every file, column and metric is described, and nothing else; its code runs."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from droplab.api import Study
from droplab.config import StudySettings
from droplab.data.output import LIST, Folder
from droplab.report import drawing
from droplab.report.dictionary import COLUMNS, FILES, METRICS, columns_of, metrics_of, render_dictionary
from droplab.report.write import REPORT, write_dictionary, write_tables
from report_data import ORIGIN, findings_of, made_up_study
from study_help import Watcher, toy_spec

VARIED = {"depths": [2], "vary": {"max_norm": [2, 3], "batch_size": [8, 16], "method": {"=a": {"momentum": 0.5}}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's whole folder, figures aside."""
    folder = tmp_path_factory.mktemp("study")

    def refuse(*_: object, **__: object) -> None:
        raise OSError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.subprocess, "run", refuse)
        study = Study.preset(str(toy_spec(folder)), batch_size=64)
        where = {"store": folder / "s.sqlite", "device": "cpu", "precision": "fp32", "workers": 1}
        result = study.run(**where, observer=Watcher(), refit=True)
        result.write(folder / "out", "droplab study mine.toml", probabilities=True, notify=lambda _: None)
    return folder / "out"


def frames_of(found) -> dict[str, pd.DataFrame]:
    return {"results.csv": found.results, "runs.csv": found.runs, "curves.csv": found.curves}


def test_every_column_written_is_described_and_no_description_is_left_over(folder: Path) -> None:
    for name, described in COLUMNS.items():
        of_numbers = {column for column in described if "_rmse_" in column}  # of other studies
        assert set(pd.read_csv(folder / name).columns) == set(described) - of_numbers, name


def test_every_metric_written_is_described_and_no_description_is_left_over(folder: Path) -> None:
    of_numbers = {"rmse", "mae", "r2"}  # of other studies
    found = metrics_of(pd.read_csv(folder / "results.csv"))
    assert found == {name: one for name, one in METRICS.items() if name not in of_numbers}
    assert of_numbers < METRICS.keys()


def test_every_file_written_is_described_and_no_description_is_left_over(folder: Path) -> None:
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {LIST}
    may_be = written | set(REPORT)
    assert all(any(fnmatch(name, pattern) for pattern in FILES) for name in may_be)
    assert all(any(fnmatch(name, pattern) for name in may_be) for pattern in FILES)
    listed = re.findall(r"^\| (\S+[./]\S+) \|", (folder / "README.md").read_text("utf-8"), re.M)
    assert [name.replace("\\", "") for name in listed] == [name for name in FILES if name != "figures/*"]


def test_what_a_study_varies_is_a_column_that_is_described() -> None:
    plan, records = made_up_study(epochs=3, seeds=2, **VARIED)
    found = findings_of(plan, records)
    for name, frame in frames_of(found).items():
        described = columns_of(name, frame, plan.axes)
        assert list(described) == list(frame.columns)
        assert set(described) - set(COLUMNS[name]) == (
            set() if name == "curves.csv" else {"max_norm", "batch_size", "method"}
        )
    described = columns_of("runs.csv", found.runs, plan.axes)
    assert described["max_norm"] == ("strength of max_norm: c; 0 for a control", "as set", "2, 3")
    assert described["batch_size"].values == "8, 16"
    text = render_dictionary(found, ORIGIN, ["results.csv"])
    assert "| method | the arm's method |  | =a |" in text


def test_a_column_that_is_described_nowhere_is_no_secret() -> None:
    with pytest.raises(KeyError, match="unheard"):
        columns_of("runs.csv", pd.DataFrame({"unheard": [1]}), [])


def test_the_code_for_pandas_runs_as_it_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", Path("README.md").read_text("utf-8"), re.S)
    found: dict[str, pd.DataFrame] = {}
    for block in blocks:
        exec(block, found)
    assert len(blocks) == 3
    assert found["accuracy"].shape == (2, 4)
    assert found["loss"].shape == (2, 4)
    assert set(found["joined"]["run"]) == set(found["runs"]["run"])


def test_runs_have_a_row_a_network_and_its_key_once(folder: Path) -> None:
    runs, results = pd.read_csv(folder / "runs.csv"), pd.read_csv(folder / "results.csv")
    assert list(runs["arm"]) == ["depth=1,control", "depth=2,control", "depth=2,dropout=0.5"] * 2
    assert list(runs["also"].fillna("")) == ["depth=1,dropout=0.5", "", ""] * 2
    assert runs["run"].is_unique
    assert runs["run"].str.fullmatch("[0-9a-f]{64}").all()
    assert not results.map(lambda cell: cell in set(runs["run"])).any(axis=None)
    joined = results.merge(runs, on=["arm", "seed"])
    chosen = joined.query("metric == 'accuracy' and split == 'test' and inference == 'on'")
    assert (chosen["value"] == chosen["test_accuracy_on"]).all()
    assert len(chosen) == len(runs)


def test_a_study_may_vary_something_named_like_a_column() -> None:
    levels = {"a": {"momentum": 0.5}, "b": {"momentum": 0.9}}
    plan, records = made_up_study(epochs=2, seeds=1, depths=[2], vary={"run": levels, "device": levels})
    runs = findings_of(plan, records).runs
    assert runs["run"].str.fullmatch("[0-9a-f]{64}").all()
    assert not runs.columns.duplicated().any()


def test_curves_csv_is_curves_parquet(folder: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_csv(folder / "curves.csv"), pd.read_parquet(folder / "curves.parquet"))


@pytest.mark.parametrize("raw", [False, True])
def test_no_table_has_a_cell_that_a_spreadsheet_runs_unless_it_is_raw(tmp_path: Path, raw: bool) -> None:
    found = findings_of(*made_up_study(epochs=2, seeds=1, **VARIED))
    write_tables(Folder(tmp_path), found, ORIGIN, raw)
    for name in ("results.csv", "runs.csv"):
        assert set(pd.read_csv(tmp_path / name)["method"]) == {"=a" if raw else "'=a"}


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    settings = StudySettings.parse({"depths": [1, 2], "question": "a|b\n```<script>"})
    plan, records = made_up_study(epochs=2, seeds=1, question=settings.question)
    text = write_dictionary(Folder(tmp_path), findings_of(plan, records), ORIGIN).read_text("utf-8")
    assert r"a\|b \`\`\`\<script\>" in text
