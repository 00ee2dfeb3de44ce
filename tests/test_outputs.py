"""Outputs: never over inputs or the store, over what is there only by force; tables that a spreadsheet runs not."""

import csv
import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from droplab.api import Study
from droplab.cli import outputs
from droplab.cli.tables import print_table
from droplab.data.spreadsheet import csv_text
from droplab.errors import DroplabError
from droplab.report import drawing
from study_help import droplab, toy_npz, toy_spec


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROPLAB_STORE", str(tmp_path / "s.db"))
    return tmp_path


def refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(DroplabError) as caught:
        outputs.check_file(*arguments, **options)
    return str(caught.value)


def test_an_input_is_found_by_whatever_spelling_or_link() -> None:
    Path("in.csv").touch()
    os.link("in.csv", "hard.csv")
    Path("soft.csv").symlink_to("in.csv")
    Path("sub").mkdir()
    Path("sub/x.csv").touch()
    Path("link").symlink_to("sub")
    for out in ("in.csv", "./in.csv", "sub/../in.csv", "hard.csv", "soft.csv", Path.cwd() / "in.csv"):
        for given in ("in.csv", "other.csv,in.csv", "in.csv,other.csv", Path("in.csv")):
            assert "must not be what is read" in refusal(Path(out), True, (None, given))
    for folder in ("sub", "sub/", "link", "."):
        assert "must not be what is read" in refusal(Path("sub/x.csv"), True, (folder,))
    outputs.check_file(Path("sub/new.csv"), False, ("sub",))
    assert sorted(path.name for path in Path.cwd().rglob("*")) == [
        "hard.csv",
        "in.csv",
        "link",
        "soft.csv",
        "sub",
        "x.csv",
    ]


def test_the_store_and_what_lies_beside_it_are_never_outputs() -> None:
    for base in ("s", "mine"):
        for name in (f"{base}.db", f"{base}.db-wal", f"{base}-weights/ab/x", f"{base}-checkpoints/x"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            given = None if base == "s" else "mine.db"
            assert "nor the store" in refusal(Path(name), True, (), given), "also where it is not made yet"
    outputs.check_file(Path("s-notes.csv"), False, ())
    with pytest.raises(DroplabError, match="nor the store"):
        outputs.open_folder(Path("s-weights"), (), True, (), None)


@pytest.mark.parametrize("name", ["x" * 250, "no/such/folder/x", "file/x"])
def test_where_nothing_can_be_written_is_said_before(name: str) -> None:
    Path("file").touch()
    assert "a folder that can be written" in refusal(Path(name), True, ())
    with pytest.raises(DroplabError, match="can be written"):
        outputs.open_folder(Path("file/x"), ("a",), True, (), None)


def test_every_command_that_writes_a_file_keeps_what_is_there(here: Path) -> None:
    data = toy_npz(here / "toy.npz")
    train = ("train", "--data", data, "--epochs", "1", "--out")
    assert droplab(*train, "m.safetensors").code == 0
    commands = [
        train,
        ("predict", "m.safetensors", data, "--format", "csv", "--out"),
        ("export", "m.safetensors", "--to", "safetensors", "--out"),
        ("data", "export", "digits"),
    ]
    for command in commands:
        Path("there.npz").write_bytes(b"mine")
        said = droplab(*command, "there.npz")
        assert (said.code, Path("there.npz").read_bytes()) == (1, b"mine"), command
        assert "is there already, and is kept" in said.errors
        for out in ("s.db", *(["m.safetensors"] if command[0] in ("predict", "export") else [])):
            before = Path(out).read_bytes()
            assert droplab(*command, out, "--force").code == 1, command
            assert Path(out).read_bytes() == before
        empty = droplab(*command, "")
        assert (empty.code, "found an empty text" in empty.errors) == (2, True), command
        if command[0] in ("predict", "data"):
            assert droplab(*command, "there.npz", "--force").code == 0, command
            assert Path("there.npz").read_bytes() != b"mine"
    assert "must not be what is read" in droplab(*commands[1], data, "--force").errors


ODD = ["w/o momentum", "../../../PWNED", "x" * 300, "=1+1", "con", "Case", "case"]


def test_a_study_of_odd_names_writes_within_its_folder_and_takes_away_only_its_own(here: Path) -> None:
    toy_npz(here / "toy.npz")
    vary = {"method": {name: {"momentum": k / 10} for k, name in enumerate(ODD)}}
    Path("odd.toml").write_text("\n".join(['data = "toy.npz"', "widths = [4]", "dropout = []", "epochs = 1"]), "utf-8")
    study = Study.preset("odd.toml", vary=vary)
    result = study.run(observer=Quiet())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.subprocess, "run", refuse)
        notices: list[str] = []
        paths = result.write(here / "a/b/out", "droplab study", probabilities=True, notify=notices.append)
    assert len(notices) == 1
    assert "figures could not be drawn, all else is written" in notices[0]
    assert all(path.is_file() and path.is_relative_to(here / "a/b/out") for path in paths)
    assert {path.relative_to(here / "a/b/out").as_posix() for path in paths} <= set(study.files(probabilities=True))
    assert len(list((here / "a/b/out/models").glob("*,seed=0.safetensors"))) == len(ODD)
    assert len(list((here / "a/b/out/probabilities").iterdir())) == len(ODD)
    frame = pd.read_csv(here / "a/b/out/results.csv")
    assert set(frame["method"]) == {*ODD, "'=1+1"} - {"=1+1"}
    assert not list(here.rglob("*PWNED.*"))
    (here / "a/b/out/models/mine.safetensors").write_bytes(b"mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.subprocess, "run", refuse)
        result.write(here / "a/b/out", "droplab study", raw=True, notify=notices.append)
    assert not (here / "a/b/out/probabilities").exists()
    assert (here / "a/b/out/models/mine.safetensors").read_bytes() == b"mine"
    assert set(pd.read_csv(here / "a/b/out/results.csv")["method"]) == set(ODD)


class Quiet:
    """An observer that says nothing."""

    def __getattr__(self, _: str) -> object:
        return lambda *_: None


def refuse(*_: object, **__: object) -> None:
    raise OSError("no process can be made")


def test_a_folder_with_the_users_files_is_refused_before_training_and_a_dry_run_makes_nothing(here: Path) -> None:
    spec = toy_spec(here)
    before = {path.name for path in here.iterdir()}
    assert droplab("study", spec, "--out", "new/er", "--dry-run").code == 0
    assert {path.name for path in here.iterdir()} == before
    for name in ("results.csv", "models/best.safetensors", "figures/loss.png"):
        Path("out", name).parent.mkdir(parents=True, exist_ok=True)
        Path("out", name).write_bytes(b"mine")
        for dry in ([], ["--dry-run"]):
            said = droplab("study", spec, "--out", "out", *dry)
            assert (said.code, said.out) == (1, ""), name
            assert f"out/{name} is not as droplab wrote it, and is kept" in said.errors
        assert droplab("study", spec, "--out", "out", "--dry-run", "--force").code == 0
        assert Path("out", name).read_bytes() == b"mine"
        Path("out", name).unlink()
    assert droplab("study", spec, "--out", "").code == 2
    assert not Path("s.db").exists()


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-", "'-"),
        *((same, same) for same in ("-1", "+1.5e3", "-.5", "1", "a=b", "", "w/o", " =1")),
    ],
)
def test_text_that_a_spreadsheet_would_run_has_an_apostrophe_and_numbers_have_none(cell: str, written: str) -> None:
    frame = pd.DataFrame({cell or "x": [cell], "value": [-1.5], "none": [None]})
    for raw, expected in ((False, written), (True, cell)):
        head, row = csv.reader(io.StringIO(csv_text(frame, raw), newline=""))
        assert (head[0], row) == (expected or "x", [expected, "-1.5", ""])


def test_options_that_cannot_act_say_so(here: Path) -> None:
    data = toy_npz(here / "toy.npz")
    assert droplab("train", "--data", data, "--epochs", "1", "--out", "m.safetensors").code == 0
    for options in (["--samples", "3"], ["--seed", "1"], ["--raw"], ["--force"]):
        said = droplab("predict", "m.safetensors", data, *options)
        assert (said.code, said.out) == (1, ""), options
        assert options[0] in said.errors
    said = droplab("evaluate", "m.safetensors", "--data", data, "--samples", "3")
    assert said.code == 0
    assert "do nothing: this network has no dropout or noise" in said.errors
    for samples in (0, -1, 10**6, 10**30):
        assert droplab("evaluate", "m.safetensors", "--data", data, "--samples", samples).code == 2
    assert "--raw" in droplab("report", "mnist-depth", "--format", "md", "--raw").errors


def test_the_child_that_draws_may_die(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    (here / "dies.py").write_text("import os; os.abort()")
    monkeypatch.setattr(drawing, "__file__", str(here / "dies.py"))
    notices: list[str] = []
    assert drawing.draw({}, ("svg",), notices.append) == {}
    assert "(signal 6, as where memory is too small)" in notices[0]


@pytest.mark.parametrize("columns", [10, 40, 60, 80, 100, 130, 200])
def test_no_word_of_a_table_is_cut_however_narrow_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rows = [("0123456789ab", "some words that may be folded where they end", "f" * 64), ("x", "", "/a/long/path")]
    print_table(("key", "what it is", "hash"), rows)
    said = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    words = {word for row in rows for cell in row for word in cell.split()}
    lines = said.splitlines()
    assert words <= set(said.split())
    assert max(map(len, lines)) <= columns or len(lines) == 4, "where the words do not fit, a row is one line"


def test_on_a_terminal_heads_are_broken_before_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "56")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    row = ("784→512→10", "88.91", "+1.45 [+0.86, +2.03]", "helps")
    print_table(("network", "without dropout (%)", "difference (points)", "verdict"), [row])
    assert any(all(cell in line for cell in row) for line in capsys.readouterr().out.splitlines())
