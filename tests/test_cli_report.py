"""`droplab report`: the whole folder, or one format of it."""

import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from droplab.cli.study import typed_command
from study_help import Said, droplab, toy_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's file, its finished runs in `store.sqlite` and its report in `out`."""
    folder = tmp_path_factory.mktemp("study")
    where = ["--store", folder / "store.sqlite", "--out", folder / "out"]
    said = droplab("study", toy_spec(folder), *where, "--precision", "fp32")
    assert (said.code, said.errors) == (0, "")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(folder: Path, *arguments: object) -> Said:
    return droplab("report", folder / "mine.toml", "--store", folder / "store.sqlite", *arguments)


@pytest.mark.parametrize("option", [["--format", "md"], ["--format=md"]])
def test_markdown_goes_to_the_screen_with_the_command_of_the_study(folder: Path, here: Path, option: list[str]) -> None:
    said = report(folder, *option)
    assert (said.code, said.errors) == (0, "")
    assert said.out.startswith("# mine\n\n**Question.** Does it?\n\n**Answer.** ")
    command = shlex.join(["droplab", "study", str(folder / "mine.toml"), "--store", str(folder / "store.sqlite")])
    assert f"\n{command}\n" in said.out
    assert list(here.iterdir()) == [], "no file is written"


def test_the_folder_has_the_same_markdown_but_for_the_command(folder: Path) -> None:
    written = (folder / "out" / "report.md").read_text("utf-8")
    printed = report(folder, "--format", "md").out
    assert written.replace(f" --out {folder / 'out'} --precision fp32", "") == printed


def test_csv_is_what_the_folder_has(folder: Path, here: Path) -> None:
    said = report(folder, "--format", "csv")
    assert (said.code, said.errors) == (0, "")
    assert said.out == (folder / "out" / "results.csv").read_text("utf-8")
    assert list(here.iterdir()) == []


def test_html_writes_the_page_and_nothing_else(folder: Path, here: Path) -> None:
    said = report(folder, "--format", "html", "--out", "page")
    assert (said.code, said.out, said.errors) == (0, f"report: {Path('page/report.html')}\n", "")
    assert {path.name for path in (here / "page").iterdir()} == {"report.html", ".droplab-files"}
    page = (here / "page/report.html").read_text("utf-8")
    assert page.count("<svg") == (folder / "out/report.html").read_text("utf-8").count("<svg") > 0
    assert "--format" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "pdf"], "--format must be html, md or csv; found 'pdf'"),
        (["--format", ""], "--format must be html, md or csv; found ''"),
        (["--format", "md", "--out", "x"], "--format md goes to the screen"),
        (["--format", "csv", "--out", "x"], "--format csv goes to the screen"),
        (["--format", "md", "--open"], "--open is of the page"),
        (["--format", "md", "--epochs", "9"], "found none. Train them first"),
        (["--format", "html", "--epochs", "9"], "found none. Train them first"),
    ],
)
def test_what_cannot_be_is_one_error_and_no_output(folder: Path, here: Path, arguments: list[str], said: str) -> None:
    found = report(folder, *arguments)
    assert (found.code, found.out, found.errors.count("\n")) == (1, "", 1)
    assert said in found.errors
    assert not (here / "x").exists()


def test_a_damaged_run_is_named_and_left_out(folder: Path, here: Path) -> None:
    copy = here / "copy.sqlite"
    shutil.copy(folder / "store.sqlite", copy)
    with closing(sqlite3.connect(copy)) as database, database:
        (key,) = database.execute("SELECT key FROM runs ORDER BY key LIMIT 1").fetchone()
        database.execute("UPDATE runs SET test_accuracy = 1 WHERE key = ?", (key,))
    said = droplab("report", folder / "mine.toml", "--store", copy, "--format", "csv")
    assert said.code == 0
    assert said.errors.startswith("warning: ")
    assert said.errors.count(key[:12]) == 2
    assert key not in said.out
    assert said.out


def test_the_command_that_repeats_a_study_says_nothing_of_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["droplab", "report", "mine.toml", "--format=md", "-q", "--open", "--seeds", "3"])
    assert typed_command() == "droplab study mine.toml --seeds 3"


def test_the_command_that_repeats_a_study_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for store, told in (
        ("postgresql+psycopg://me:s3cr@host/db", "postgresql+psycopg://me@host/db"),
        ("postgres:///db?host=h&user=me&password=s3cr%40", "postgres:///db?host=h&user=me&"),
    ):
        monkeypatch.setattr("sys.argv", ["droplab", "study", "mine.toml", "--store", store, f"--store={store}"])
        assert shlex.split(typed_command())[3:] == ["--store", told, f"--store={told}"]


def test_figures_are_pdf_too_if_asked_for_and_of_no_other_kind(folder: Path, tmp_path: Path) -> None:
    said = report(folder, "--out", tmp_path / "out", "--figures", "pdf")
    assert said.code == 0
    files = sorted((tmp_path / "out" / "figures").iterdir())
    drawn = {path.stem for path in files}
    assert {path.name for path in files} == {f"{name}.{kind}" for name in drawn for kind in ("svg", "png", "pdf")}
    assert (tmp_path / "out" / "figures" / "difference.pdf").read_bytes().startswith(b"%PDF-")
    odd = report(folder, "--out", tmp_path / "out", "--figures", "jpg")
    assert odd.code == 1
    assert odd.errors == "error: figures are always SVG and PNG, and pdf if asked for; found jpg.\n"
