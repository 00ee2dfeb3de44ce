"""`droplab runs`: what is printed on a terminal and without one, and that nothing is deleted unasked."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from droplab.cli import runs as cli
from droplab.errors import ConfigError, StoreError
from droplab.study.store import Store
from droplab.train.outcome import Way
from store_help import make_dataset, make_run, make_trained, pack_name, plan_pack, save_many

KEYS = [make_run(seed).key for seed in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Store(tmp_path / "store.sqlite") as store:
        save_many(store, range(3))
    return tmp_path / "store.sqlite"


def invoke(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), input=answer, catch_exceptions=False)


def cells(result: Result) -> list[list[str]]:
    assert result.exit_code == 0
    return [line.split("\t") for line in result.output.splitlines()]


def finished(path: Path) -> set[str]:
    with Store(path) as store:
        return store.finished(KEYS)


def on_terminal(*arguments: str, answer: str = "") -> tuple[str, int]:
    """Run the command on a terminal of 200 columns; what it shows, and the exit code."""
    controller, terminal = pty.openpty()
    code = "from droplab.cli.runs import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(terminal)
    os.write(controller, answer.encode())
    shown = b""
    with suppress(OSError):  # the end of a terminal that its last process has left
        while part := os.read(controller, 9999):
            shown += part
    os.close(controller)
    return shown.decode().replace("\r\n", "\n"), process.wait()


def test_without_a_terminal_the_list_is_one_tab_separated_line_a_run(path: Path) -> None:
    header, *lines = cells(invoke("list", "--store", str(path)))
    named = [dict(zip(header, line, strict=True)) for line in lines]
    assert [line["key"] for line in named] == [key[:12] for key in KEYS]
    assert [line["seed"] for line in named] == ["0", "1", "2"]
    assert named[0] | {"finished": "", "key": ""} == {
        "key": "",
        "data": "toy",
        "depth": "2",
        "widths": "3",
        "dropout": "0.5",
        "seed": "0",
        "epochs": "3",
        "precision": "fp32",
        "accuracy/RMSE": "0.3333",
        "seconds": "1.8",
        "finished": "",
    }


def seeds_listed(*arguments: str) -> list[str]:
    header, *lines = cells(invoke(*arguments))
    return [dict(zip(header, line, strict=True))["seed"] for line in lines]


@pytest.mark.parametrize(
    ("conditions", "seeds"),
    [
        (["seed!=1"], ["0", "2"]),
        (["seed>0", "seed<2"], ["1"]),
        (["depth=2", "data=toy", "test_accuracy>=0.3", "widths=3"], ["0", "1", "2"]),
    ],
)
def test_only_runs_that_meet_every_condition_are_listed(path: Path, conditions: list[str], seeds: list[str]) -> None:
    where = [word for condition in conditions for word in ("--where", condition)]
    assert seeds_listed("list", "--store", str(path), *where) == seeds
    assert seeds_listed(*where, "--store", str(path)) == seeds, "without a command, too"


def test_options_without_a_command_list(path: Path) -> None:
    assert seeds_listed("--store", str(path)) == ["0", "1", "2"]


def test_conditions_that_no_run_meets_leave_the_header_and_a_word_beside_the_output(path: Path) -> None:
    result = invoke("list", "--store", str(path), "--where", "seed=9")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert result.stderr == "none of the 3 runs of the store meets every condition\n"


def test_a_condition_that_cannot_be_is_refused_before_the_store_is_looked_for(tmp_path: Path) -> None:
    for words in (["list"], []):
        with pytest.raises(ConfigError, match="Did you mean 'depth'"):
            invoke(*words, "--where", "deph=2", "--store", str(tmp_path / "typo.sqlite"))


@pytest.mark.parametrize(("option", "value"), [("--where", "seed=1"), ("--store", "some.sqlite")])
def test_an_option_before_a_command_is_never_passed_over(path: Path, option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"found {option} before delete. Type: droplab runs delete"):
        invoke(option, value, "delete", KEYS[0], "--yes", "--store", str(path))
    assert finished(path) == set(KEYS)


def test_runs_alone_is_help() -> None:
    assert "checkpoints" in invoke().output


def test_a_data_set_of_any_name_keeps_its_line_and_the_terminal_alone(path: Path) -> None:
    run = make_run(7)
    with Store(path) as store:
        store.save(run, make_dataset("a\tb\n\x1b[31m[bold]ü"), make_trained(run))
    header, *lines = cells(invoke("list", "--store", str(path)))
    assert len(lines) == 4
    assert dict(zip(header, lines[-1], strict=True))["data"] == "a�b��[31m[bold]ü"


def test_on_a_terminal_the_list_is_a_table(path: Path) -> None:
    shown, code = on_terminal("list", "--store", str(path))
    assert code == 0
    assert "\t" not in shown
    assert "─" in shown
    for key in KEYS:
        (line,) = [line for line in shown.splitlines() if key[:12] in line]
        assert "0.3333" in line


@pytest.mark.parametrize(("answer", "left"), [("y\n", 2), ("n\n", 3), ("\n", 3)])
def test_on_a_terminal_deleting_asks_first(path: Path, answer: str, left: int) -> None:
    shown, code = on_terminal("delete", KEYS[0], "--store", str(path), answer=answer)
    assert f"Delete 1 run ({KEYS[0][:12]})?" in shown
    assert len(finished(path)) == left
    assert (code == 0) == (left == 2)


def test_show_tells_settings_metrics_times_environment_and_where_the_weights_lie(path: Path) -> None:
    told = {(of, name): value for of, name, value in cells(invoke("show", KEYS[1][:9], "--store", str(path)))}
    assert told["run", "key"] == KEYS[1]
    assert Path(told["run", "weights"]).stat().st_size == int(told["run", "weights bytes"])
    assert told["settings", "epochs"] == "3"
    assert told["settings", "widths"] == "[3]"
    assert told["test, dropout off", "accuracy"] == "0.333333"
    assert told["times", "train seconds"] == "1.50"
    assert told["environment", "threads"] == "2"
    assert told["way", "precision"] == "fp32"
    assert (told["way", "compiled"], told["way", "stacked"]) == ("False", "False")


def test_show_tells_what_was_compiled_and_stacked(path: Path) -> None:
    run = make_run(7, way=Way("cuda", "bf16", compiled=True, stacked=True))
    with Store(path) as store:
        store.save(run, make_dataset(), make_trained(run))
    told = {name: value for of, name, value in cells(invoke("show", run.key, "--store", str(path))) if of == "way"}
    assert told == {"device": "cuda", "precision": "bf16", "compiled": "True", "stacked": "True", "threads": "1"}


def test_disk_counts_runs_and_bytes(path: Path) -> None:
    plan(path)
    told = {what: rest for what, *rest in cells(invoke("disk", "--store", str(path)))[1:]}
    folder = path.parent
    assert told["runs"][::2] == ["3", str(path)]
    assert int(told["runs"][1]) >= path.stat().st_size
    assert int(told["weights"][1]) > 0
    assert told["planned runs"] == ["2", "", str(path)]
    assert told["checkpoints"] == ["1", "5", str(folder / "store-checkpoints")]
    assert told["weights and checkpoints that nothing needs"] == ["1", "3", ""]


def plan(path: Path) -> tuple[Path, Path]:
    """Two runs of a pack with a checkpoint, and the checkpoint of a pack that nothing plans."""
    with Store(path) as store:
        plan_pack(store, 1, range(10, 12))
        files = store.files.path("checkpoints", pack_name(1)), store.files.path("checkpoints", pack_name(2))
    files[0].write_bytes(b"12345")
    files[1].write_bytes(b"123")
    os.utime(files[1], (0, 0))
    return files


def planned(path: Path) -> int:
    with Store(path) as store:
        return store.disk_use().planned


def test_nothing_is_forgotten_without_a_terminal_unless_yes_is_said(path: Path) -> None:
    files = plan(path)
    with pytest.raises(ConfigError, match=r"must be confirmed; found no terminal to ask on\. Add --yes"):
        invoke("forget", "--store", str(path), answer="y\n")
    assert (planned(path), *(file.exists() for file in files)) == (2, True, True)
    result = invoke("forget", "--yes", "--store", str(path))
    assert result.output == "forgot 2 planned runs and 1 checkpoint\n"
    assert (planned(path), *(file.exists() for file in files)) == (0, False, False)
    assert finished(path) == set(KEYS)


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_on_a_terminal_forgetting_says_how_much_and_asks_first(path: Path, answer: str, left: int) -> None:
    plan(path)
    shown, code = on_terminal("forget", "--store", str(path), answer=answer)
    assert "Forget 2 planned runs and 1 checkpoint (5 bytes)?" in shown
    assert planned(path) == left
    assert (code == 0) == (left == 0)


def test_nothing_is_deleted_without_a_terminal_unless_yes_is_said(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be confirmed; found no terminal to ask on\. Add --yes"):
        invoke("delete", KEYS[0][:12], "--store", str(path), answer="y\n")
    assert finished(path) == set(KEYS)
    result = invoke("delete", KEYS[0][:12], KEYS[1], KEYS[0], "--yes", "--store", str(path))
    assert result.output == "deleted 2 runs\n"
    assert finished(path) == {KEYS[2]}


def test_one_unknown_key_deletes_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match="found no key that begins with '0123456789'"):
        invoke("delete", KEYS[0], "0123456789", "--yes", "--store", str(path))
    assert finished(path) == set(KEYS)


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "ab"], ["delete", "ab", "--yes"], ["forget", "--yes"], ["disk"]]
)
def test_looking_into_a_store_that_is_not_there_makes_none(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(StoreError, match="there must be a store to look into; found none"):
        invoke(*arguments, "--store", str(tmp_path / "typo.sqlite"))
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPLAB_STORE", str(path))
    assert len(cells(invoke("list"))) == 4


@pytest.mark.parametrize("command", ["list", "show", "delete", "forget", "disk"])
def test_each_help_shows_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"droplab runs {command}" in result.output


def test_the_help_does_not_wait_for_the_database_library() -> None:
    code = "import sys, droplab.cli.runs; sys.exit(bool({'sqlalchemy', 'numpy', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
