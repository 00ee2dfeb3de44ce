"""`droplab data`: what each command prints, and which errors it leaves to the main program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from droplab.cli.data import app
from droplab.data import fetch, idx
from droplab.data.catalog import CATALOG
from droplab.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", ["list", "fetch", "verify", "inspect", "export"])
def test_every_help_shows_an_example(command: str) -> None:
    assert f"Example: droplab data {command}" in " ".join(run(command, "--help").split())


def test_list_names_every_data_set_with_nothing_cached(cache: Path) -> None:
    lines = [line.split("\t") for line in run("list").splitlines()]
    assert lines[0] == ["name", "title", "examples", "features", "classes", "licence", "cached"]
    assert [line[0] for line in lines[1:]] == list(CATALOG)
    assert {line[0]: line[-1] for line in lines[1:]} == dict.fromkeys(CATALOG, "no") | {"digits": "built in"}
    assert not cache.exists()


def test_fetch_says_how_many_examples_and_where_from() -> None:
    output = run("fetch", "digits")
    assert "digits: 1,437 train and 360 test examples." in output
    assert "source: scikit-learn's load_digits" in output
    assert f"fingerprint: {fetch.load('digits').fingerprint}" in output


def test_verify_fails_when_files_are_missing_or_damaged(cache: Path) -> None:
    (cache / "mnist").mkdir(parents=True)
    (cache / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"")
    result = CliRunner().invoke(app, ["verify", "mnist"])
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == ("mnist: all 4 files must be sound; 4 are not. Run: droplab data fetch mnist")
    assert "train-images-idx3-ubyte: not in the cache" in result.output
    assert "empty file" in result.output


def test_verify_has_nothing_to_do_for_digits() -> None:
    assert "nothing to verify" in run("verify", "digits")


def test_inspect_prints_shape_range_and_counts(tmp_path: Path) -> None:
    idx.write(tmp_path / "labels", np.array([0, 1, 1], np.uint8), compress=True)
    lines = run("inspect", tmp_path / "labels").splitlines()
    assert lines[0].endswith("labels: IDX, gzip")
    assert lines[2].split("\t") == ["labels", "uint8", "3", "0 … 1", "2", "0: 1, 1: 2"]


def test_export_writes_what_inspect_reads(tmp_path: Path) -> None:
    assert "wrote" in run("export", "digits", tmp_path / "digits.npz")
    lines = run("inspect", tmp_path / "digits.npz").splitlines()
    assert lines[2].split("\t")[:4] == ["train_x", "float32", "1437 × 8 × 8", "0 … 1"]


@pytest.mark.parametrize("words", [("fetch", "minst"), ("verify", "minst"), ("export", "minst", "a.npz")])
def test_a_wrong_name_is_left_to_the_main_program_with_the_nearest(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, list(words))
    assert isinstance(result.exception, ConfigError)
    assert "Did you mean 'mnist'?" in str(result.exception)


def test_export_writes_npz_only(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", "digits", str(tmp_path / "digits.csv")])
    assert isinstance(result.exception, ConfigError)
    assert "must end in .npz" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from droplab.cli.data import list_

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    list_()
    output = capsys.readouterr().out
    assert "─" in output
    assert all(name in output for name in CATALOG)


def test_what_a_file_holds_cannot_drive_the_terminal(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", words=np.array(["\x1b[2J", "[red]"]))
    output = run("inspect", tmp_path / "a.npz")
    assert "\x1b" not in output
    assert "[red]: 1" in output
