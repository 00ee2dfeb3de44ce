"""`droplab store`: what is printed, with which exit code, and that nothing is mended unasked."""

from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from droplab.cli import store as cli
from droplab.errors import ConfigError, StoreError
from droplab.study.schema import runs_table
from droplab.study.store import Store
from store_help import check_whole, make_run, raw, save_many

KEYS = [make_run(seed).key for seed in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store(tmp_path / "store.sqlite") as store:
        save_many(store, range(3))
    return tmp_path / "store.sqlite"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)


def damage(path: Path) -> None:
    with raw(path) as connection:
        connection.execute(update(runs_table).where(runs_table.c.key == KEYS[0]).values(seed=99))


def test_a_copy_says_what_came_over_and_what_was_there(path: Path, tmp_path: Path) -> None:
    for line in ("runs\t3\t0", "runs\t0\t3"):
        result = invoke("copy", path, tmp_path / "other.sqlite", "--files", tmp_path / "shared")
        assert (result.exit_code, line in result.output.splitlines()) == (0, True)
    damage(path)
    result = invoke("copy", path, tmp_path / "third.sqlite")
    assert result.exit_code == 1
    assert KEYS[0][:12] in result.output
    with Store(tmp_path / "third.sqlite") as store:
        assert check_whole(store) == set(KEYS[1:])


def test_a_check_mends_only_when_it_is_told_to(path: Path) -> None:
    result = invoke("check", "--store", path)
    assert (result.exit_code, result.output) == (0, f"nothing is wrong with {path}\n")
    damage(path)
    result = invoke("check", "--store", path)
    assert result.exit_code == 1
    assert result.output.splitlines()[1].split("\t")[:3] == ["damaged runs", "1", f"run {KEYS[0][:12]}"]
    with pytest.raises(ConfigError, match="confirmed"):
        invoke("check", "--store", path, "--mend")
    result = invoke("check", "--store", path, "--mend", "--yes")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "mended 1 damaged runs")
    with Store(path) as store:
        assert check_whole(store) == set(KEYS[1:])


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found none"):
        invoke("copy", tmp_path / "a.sqlite", tmp_path / "b.sqlite")
    assert not list(tmp_path.iterdir())


def test_files_in_memory_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["copy", str(tmp_path / "a"), str(tmp_path / "b"), "--files", "memory://lab"])
    assert done.exit_code == 2
    assert "must outlive the command; found 'memory://lab'" in done.output
