"""The command line: what its commands print, write and refuse."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from droplab import __version__
from droplab.cli import doctor
from droplab.presets import preset_names
from droplab.study.store import Store
from study_help import WITHOUT_REPORT, Said, droplab, python, toy_npz, toy_spec

DROPLAB = Path(sys.executable).with_name("droplab")
COMMANDS = [
    ["study"],
    ["presets"],
    ["regularizers"],
    ["report"],
    ["reproduce"],
    ["fit"],
    ["train"],
    ["evaluate"],
    ["predict"],
    ["export"],
    ["doctor"],
    ["compare"],
    ["runs", "list"],
    ["runs", "show"],
    ["runs", "delete"],
    ["runs", "forget"],
    ["runs", "disk"],
    ["store", "copy"],
    ["store", "check"],
    ["data", "list"],
    ["data", "fetch"],
    ["data", "verify"],
    ["data", "inspect"],
    ["data", "export"],
]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return toy_spec(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return toy_npz(tmp_path / "toy.npz")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have tests of their own, and take seconds."""
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda *_, **__: [])


def trained_seeds(said: Said) -> list[int]:
    return sorted({int(seed) for seed in re.findall(r"^trained .* seed (\d+):", said.out, re.MULTILINE)})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_an_example_of_it(words: list[str]) -> None:
    for flag in ("--help", "-h"):
        said = droplab(*words, flag)
        assert (said.code, said.errors) == (0, "")
        assert f"Example: droplab {' '.join(words)}" in said.out


def test_these_are_all_the_commands() -> None:
    def listed(*group: str) -> set[str]:
        return set(re.findall(r"^  (\w+)  ", droplab(*group, "--help").out, re.MULTILINE))

    groups = {words[0] for words in COMMANDS if len(words) == 2}
    assert listed() == {words[0] for words in COMMANDS}
    assert {(group, name) for group in groups for name in listed(group)} == {
        tuple(words) for words in COMMANDS if len(words) == 2
    }


def test_droplab_alone_shows_what_to_type_first_and_commands_in_four_groups() -> None:
    alone = droplab()
    assert alone.out + alone.errors == droplab("--help").out
    assert (alone.code, "droplab --install-completion" in droplab("--help").out) == (2, True)
    shown = (alone.out + alone.errors).splitlines()
    first = [line.split("  ")[2] for line in shown if line.startswith("    droplab ")]
    assert [words.split()[1] for words in first] == ["study", "fit", "presets"]
    under: dict[str, list[str]] = {}
    for line in shown:
        if re.fullmatch(r"[A-Z].*:", line):
            under[line] = []
        elif found := re.match(r"  (\w+)  ", line):
            under[list(under)[-1]].append(found[1])
    assert [names for names in under.values() if names] == [
        ["study", "report", "reproduce", "compare", "presets"],
        ["fit", "predict", "evaluate", "train", "export"],
        ["regularizers", "data", "runs", "store"],
        ["doctor"],
    ]
    assert max(map(len, shown)) <= 80
    assert not any(line.endswith("...") for line in shown[1:])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["study", "mnist-depth-quick", "--until", "--seeds", "3"],
            "--until takes a value (decided|best); found --seeds",
        ),
        (["study", "mnist-depth-quick", "--until"], "--until takes a value (decided|best); found nothing behind it."),
        (["runs", "list", "--where"], "--where takes a value ('NAME OP VALUE'); found nothing behind it."),
        (["study", "mnist-depth-quick", "--epochs", "--dry-run"], "--epochs takes a value; found --dry-run behind it."),
    ],
)
def test_an_option_without_its_value_is_told_by_its_own_name(typed: list[str], said: str) -> None:
    found = droplab(*typed)
    assert found.code == 2
    assert f"\nError: {said}" in found.errors
    assert found.errors.startswith(f"Usage: droplab {typed[0]}")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("study mnist-d", ["mnist-depth", "mnist-depth-quick", "mnist-dropout.toml"]),
        ("report fam", ["families"]),
        ("reproduce srivastava-table", ["srivastava-table10", "srivastava-table2", "srivastava-table9"]),
        ("study families --data mn", ["mnist", "mnist.npz"]),
        (
            "study families --regularizers max_norm=3+l",
            ["max_norm=3+l2", "max_norm=3+l1", "max_norm=3+label_smoothing"],
        ),
        ("data fetch k", ["kmnist"]),
        ("data inspect wi", ["wine.csv"]),
        ("fit wi", ["wine.csv"]),
        ("evaluate m.safetensors --data di", ["digits"]),
        ("study nothing-like-it", []),
        ("study families --unt", ["--until"]),
        ("repro", ["reproduce"]),
    ],
)
def test_the_shell_completes_names_and_files(tmp_path: Path, typed: str, completed: list[str]) -> None:
    for name in ("wine.csv", "mnist.npz", "mnist-dropout.toml", "notes.txt"):
        (tmp_path / name).touch()
    words = ["droplab", *typed.split()]
    asked = {"_DROPLAB_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    said = subprocess.run([DROPLAB], env=os.environ | asked, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (said.stdout.split(), said.stderr) == (completed, "")


HEAVY = {"torch", "pandas", "pyarrow", "sklearn", "scipy", "altair", "sqlalchemy"}


def imported(tmp_path: Path, *arguments: str) -> tuple[str, set[str]]:
    """What a command says, and the heavy libraries that it imports for that."""
    code = (
        f"import atexit, sys; from droplab.cli import main; sys.argv[0] = 'droplab'; "
        f"atexit.register(lambda: print('imported', *({HEAVY | {'pydantic', 'numpy'}} & set(sys.modules)))); main()"
    )
    with python("-c", code, *arguments, cwd=tmp_path) as process:
        out, errors = process.communicate()
    said, _, names = out.rpartition("imported")
    return said + errors, set(names.split())


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    said, names = imported(tmp_path, "--help")
    assert "droplab study mnist-depth-quick" in said
    assert names == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["presets"], "mnist-depth-quick: 10 arms"),
        (["regularizers"], "max_norm"),
        (["study", "--help"], "Example: droplab study"),
        (["study", "mnist-depth-quick", "--epoch", "3"], "No such option: --epoch"),
        (["study", "mnist-depth-quick", "--depths", "3-1"], "ranges that go up"),
        (["study", "mnist-depht"], "Did you mean 'mnist-depth'?"),
        (["report", "mnist-depht"], "Did you mean 'mnist-depth'?"),
        (["reproduce", "srivastava-table99"], "Did you mean 'srivastava-table9'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_names_things_imports_no_library_that_trains_or_draws(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    said, names = imported(tmp_path, *arguments)
    assert words in said
    assert names & HEAVY == set()


def test_the_installed_script_tells_its_version() -> None:
    said = subprocess.run([DROPLAB, "--version"], capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == (f"{__version__}\n", "")


def test_presets_are_listed_with_what_they_ask() -> None:
    said = droplab("presets")
    assert said.code == 0
    for name in preset_names():
        assert re.search(
            rf"^{name}: \d+ arms, \d+ of them controls, × (up to )?\d+ seeds?, \d+ epochs on ", said.out, re.M
        )
    assert said.out.count("?") == len(preset_names())


def test_a_study_writes_every_file_of_the_design_and_plain_lines(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["study", "mnist-depth-quick", "--data", "digits", "--depths", "1,2", "--first-width", "32"]
    arguments += ["--epochs", "4", "--batch-size", "64", "--seeds", "2", "--workers", "1", "--out", str(out)]
    said = subprocess.run([DROPLAB, *arguments], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "results.csv",
        "runs.csv",
        "curves.csv",
        "curves.parquet",
        "study.json",
        "study.schema.json",
        "paper.tex",
        "paper.bib",
        "report.html",
        "report.md",
        "figures",
        "models",
        ".droplab-files",
    }
    results = pd.read_csv(out / "results.csv")
    assert list(results.columns)[:8] == ["arm", "seed", "depth", "dropout", "inference", "split", "metric", "value"]
    arms = {"depth=1,control", "depth=1,dropout=0.5", "depth=2,control", "depth=2,dropout=0.5"}
    assert set(results["arm"]) == set(pd.read_parquet(out / "curves.parquet")["arm"]) == arms
    assert "verdict" in json.dumps(json.loads((out / "study.json").read_text("utf-8")))
    models = {f"{arm},seed={seed}.safetensors" for arm in arms for seed in (0, 1)}
    assert {path.name for path in (out / "models").iterdir()} == models | {"best.safetensors", "MODEL_CARD.md"}
    lines = said.stdout.splitlines()
    assert all(cell.isprintable() for line in lines for cell in line.split("\t")), (
        "no colours and no control characters"
    )
    assert lines[1].startswith("Differs from the published study 'mnist-depth': epochs 4 (published 400), ")
    assert any(line.startswith("6 networks to train, 0 reused from the store") for line in lines)
    assert sum(line.startswith("trained depth=") for line in lines) == 6
    assert any(re.fullmatch(r"64→10\t\d+\.\d\d\t–\tdoes not apply: no hidden layer", line) for line in lines)
    assert any(re.fullmatch(r"64→32→10\t[\d.]+\t[\d.]+\tundecided: [+−][\d.]+ \[.*\]", line) for line in lines)
    assert lines[-1] == f"report: {out / 'report.html'}"


@pytest.mark.usefixtures("no_report")
def test_flags_override_the_file(spec: Path, tmp_path: Path) -> None:
    said = droplab("study", spec, "--out", tmp_path / "out", "--depths", "2", "--dropout", "0.2,0.4", "--seeds", "3")
    assert said.code == 0
    assert "9 networks to train" in said.out
    assert trained_seeds(said) == [0, 1, 2]
    assert {"control", "dropout=0.2", "dropout=0.4"} == set(re.findall(r"^trained (\S+) seed", said.out, re.M))


@pytest.mark.usefixtures("no_report")
def test_seeds_are_a_number_or_a_list(spec: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out", "--widths", "4"]
    assert trained_seeds(droplab("study", spec, *out, "--seeds", "3")) == [0, 1, 2]
    said = droplab("study", spec, *out, "--seeds", "0,4")
    assert trained_seeds(said) == [4]
    assert "2 networks to train, 2 reused from the store" in said.out


@pytest.mark.usefixtures("no_report")
def test_networks_that_diverge_are_an_error_at_the_end(spec: Path, tmp_path: Path) -> None:
    said = droplab("study", spec, "--out", tmp_path / "out", "--learning-rate", "1e30", "--depths", "2", "--seeds", "1")
    assert said.code == 1
    assert said.errors.startswith("error: 2 of 2 networks could not be trained, the others are kept. ")
    assert said.errors.count("\n") == 1
    assert "failed: control seed 0: the loss must stay a finite number; with widths=[8]" in said.out


def test_a_ctrl_c_that_stops_at_once_says_how_to_go_on(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("droplab.study.sequence.run_all", interrupted)
    said = droplab("study", spec, "--out", tmp_path / "out")
    assert (said.code, said.errors) == (130, "")
    assert "every finished network is kept; the same command goes on from there" in said.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_a_training_ends_a_command_as_ctrl_c_does(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr("droplab.presets.preset_names", lambda: signal.raise_signal(number))
    said = droplab("presets")
    assert (said.code, "Traceback" in said.errors) == (128 + number, False)
    assert signal.getsignal(number) is before


def test_libraries_do_with_one_thread_where_no_more_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr("threading.Thread.start", refuse)
    assert droplab("presets").code == 0
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_report_writes_from_the_store_alone(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr("droplab.api.StudyResult.write", lambda _, out, *__, **___: written.append(out))
    said = droplab("report", spec, "--out", tmp_path / "early")
    assert (said.code, written) == (1, [])
    assert "there must be a store to report from" in said.errors
    assert droplab("study", spec, "--out", tmp_path / "a").code == 0
    monkeypatch.setattr("droplab.study.sequence.run_all", None)
    assert droplab("report", spec, "--out", tmp_path / "b").code == 0
    assert written == [tmp_path / "a", tmp_path / "b"]


def test_a_trained_network_evaluates_to_its_recorded_metrics(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    flags = ["--widths", "16,8", "--dropout", "0.3", "--epochs", "4", "--batch-size", "32", "--seed", "5"]
    trained = droplab("train", "--data", data, *flags, "--out", model, "--mc-samples", "7")
    assert (trained.code, trained.errors) == (0, "")
    recorded = dict(re.findall(r"^test accuracy, dropout (\w+): (\S+)$", trained.out, re.M))
    recorded_nll = dict(re.findall(r"^test nll, dropout (\w+): (\S+)$", trained.out, re.M))
    said = droplab("evaluate", model, "--data", data, "--seed", "5", "--samples", "7")
    assert (said.code, said.errors) == (0, "")
    found = re.findall(r"^test, dropout (\w+): accuracy (\S+), nll (\S+)$", said.out, re.M)
    assert {mode: accuracy for mode, accuracy, _ in found} == recorded
    assert {mode: nll for mode, _, nll in found} == recorded_nll
    assert set(recorded) == {"off", "on", "mc"}
    with Store() as store:
        (summary,) = store.summaries()
        assert f"{summary.test_accuracy:.4f}" == recorded["off"]
    again = droplab("train", "--data", data, *flags, "--out", tmp_path / "again", "--mc-samples", "7")
    assert "0 networks to train, 1 reused from the store" in again.out
    assert (tmp_path / "again").read_bytes() == model.read_bytes()


def test_doctor_tells_the_machine_and_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_seconds_an_epoch", lambda _: 0.125)
    said = droplab("doctor", "--offline")
    assert (said.code, said.errors) == (0, "")
    assert re.match(rf"droplab {__version__}, Python 3", said.out)
    for part in (
        r"^cpu: .*bf16 units: ",
        "^cuda: ",
        r"fp32, one thread: 0\.125$",
        "^data cache: ",
        "^store: .*, not there yet$",
    ):
        assert re.search(part, said.out, re.MULTILINE), part


def on_terminal(*arguments: object, columns: int = 100) -> str:
    """What a study shows on a terminal, with the sequences that move the cursor taken out."""
    controller, terminal = pty.openpty()
    env = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    os.environ.update(COLUMNS=str(columns), LINES="40", TERM="xterm")
    with python("-c", WITHOUT_REPORT, *arguments, **env) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the end of a terminal that its last process has left
            while part := os.read(controller, 9999):
                shown += part
        os.close(controller)
        assert process.wait() == 0
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode()).replace("\r", "")


def test_on_a_terminal_a_live_table_shows_a_line_an_arm(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES", "TERM"):
        monkeypatch.setenv(name, "")  # and so to what it was, afterwards
    shown = on_terminal("study", spec, "--out", tmp_path / "out", "--epochs", "400", "--workers", "1")
    head = r"arm +networks +seed +epoch +train loss +valid % +vs control"
    assert re.search(head, shown)
    last = shown[[match.start() for match in re.finditer(head, shown)][-1] :]
    assert "depth=1,dropout=0.5" not in shown, "without a hidden layer it is its control"
    for arm in ("depth=1,control", "depth=2,control", "depth=2,dropout=0.5"):
        against = "" if arm.endswith("control") else r"(0.00|[+−]\d+\.\d\d)"
        row = rf"^{arm} +2/2 +[01] +400/400 +\d\.\d{{4}} +\d+\.\d\d +{against} *$"
        assert len(re.findall(row, last, re.M)) == 1, last
    assert re.search(r"^\d+% done, \d+:\d\d passed, about \d+:\d\d left", shown, re.MULTILINE)
    assert "100% done" in last


@pytest.mark.usefixtures("no_report")
def test_refit_trains_once_more_and_says_what_it_came_to(spec: Path, tmp_path: Path) -> None:
    said = droplab("study", spec, "--out", tmp_path / "out", "--refit")
    assert (said.code, said.errors) == (0, "")
    assert re.search(r"^valid chose depth=\d,\S+: it is trained again on train and valid together$", said.out, re.M)
    assert re.search(r"^trained depth=\d,\S+.* seed 1: train accuracy 0\.\d+", said.out, re.MULTILINE)
    assert re.search(r"^Trained again on train and valid together .*, 2 seeds: test accuracy", said.out, re.M)


@pytest.mark.parametrize("command", [["train", "--widths", "4", "--data"], ["fit", "--dropout", "0"]], ids=" ".join)
def test_a_quiet_training_says_what_it_came_to_and_nothing_else(data: Path, tmp_path: Path, command: list[str]) -> None:
    said = droplab(*command, data, "--epochs", "1", "--out", tmp_path / "m.safetensors", "--quiet")
    assert said.code == 0
    assert all(
        line.partition(":")[0].split()[0] in ("train", "valid", "test", "network", "model", "card")
        for line in said.out.splitlines()
    )
    assert "networks to train" not in said.errors


def test_a_network_with_other_regularizers_evaluates_to_its_recorded_metrics(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    recipe = ["--activation", "maxout", "--pieces", "2", "--optimizer", "adam", "--learning-rate", "0.01"]
    recipe += ["--regularizers", "input-dropout + max_norm=3 + batch_norm", "--dropout", "0.2", "--epochs", "2"]
    said = droplab("train", "--data", data, "--widths", "8", "--batch-size", "32", *recipe, "--out", model)
    assert (said.code, said.errors) == (0, "")
    again = droplab("evaluate", model, "--data", data)
    for mode in ("off", "on", "mc"):
        accuracy = re.search(rf"^test accuracy, dropout {mode}: (\S+)$", said.out, re.M)
        nll = re.search(rf"^test nll, dropout {mode}: (\S+)$", said.out, re.M)
        assert accuracy is not None
        assert nll is not None
        assert f"test, dropout {mode}: accuracy {accuracy[1]}, nll {nll[1]}" in again.out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("max_nrom=3", "Did you mean 'max_norm'"),
        ("max_norm=big", "must be a number, or one a layer as 0.2/0.5; found 'big'"),
        ("max_norm=", "takes NAME=STRENGTH with \\+ between"),
        ("label_smoothing=2", "must lie between 0 and 0.99; found 2"),
    ],
)
def test_a_mistyped_regularizer_is_one_error(data: Path, tmp_path: Path, typed: str, message: str) -> None:
    said = droplab("train", "--data", data, "--widths", "8", "--regularizers", typed, "--out", tmp_path / "m")
    assert said.code in (1, 2)
    assert re.search(message, said.errors)
    assert not (tmp_path / "m").exists()


@pytest.mark.usefixtures("no_report")
def test_a_study_file_may_name_regularizers_for_all_its_networks(spec: Path, tmp_path: Path) -> None:
    spec.write_text(spec.read_text("utf-8") + "\n[regularizers]\nmax_norm = 2\nlabel_smoothing = 0.1\n", "utf-8")
    said = droplab("study", spec, "--out", tmp_path / "out")
    assert (said.code, said.errors) == (0, "")
    listed = droplab("runs", "--where", "regularizers=label_smoothing=0.1+max_norm=2")
    assert len(listed.out.splitlines()) == 7
    assert len(droplab("runs", "--where", "regularizers=none").out.splitlines()) == 1
