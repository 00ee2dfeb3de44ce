"""The command line, used wrongly: one error that says what to do, and nothing is begun."""

import re
from pathlib import Path

import pytest

from study_help import WITHOUT_REPORT, Said, droplab, python, toy_npz, toy_spec


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return toy_spec(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return toy_npz(tmp_path / "toy.npz")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_all(*_: object) -> None:
        raise AssertionError("training was begun")

    monkeypatch.setattr("droplab.study.sequence.run_all", run_all)
    monkeypatch.setattr("droplab.api.run_all", run_all)
    monkeypatch.setattr("droplab.study.runner.run_all", run_all)


BAD_RECIPE_FLAGS = [
    ("--epochs", "0"),
    ("--epochs", "many"),
    ("--epochs", "1.5"),
    ("--batch-size", "0"),
    ("--learning-rate", "0"),
    ("--learning-rate", "nan"),
    ("--learning-rate", "fast"),
    ("--momentum", "1"),
    ("--valid-fraction", "1"),
    ("--split-seed", "-1"),
    ("--mc-samples", "0"),
    ("--widths", "0"),
    ("--widths", "8;4"),
    ("--dropout", "1"),
    ("--dropout", "nan"),
    ("--dropout", "half"),
    ("--data", "mnits"),
    ("--data", "nothing.npz"),
    ("--device", "gpu"),
    ("--precision", "fp16"),
    ("--store", "FOLDER"),
    ("--store", ""),
    ("--store", "/"),
    ("--store", "mysql://host/db"),
    ("--store", "FILE/store.sqlite"),
    ("--nonsense", "1"),
]
BAD_STUDY_FLAGS = [
    ("--depths", "0"),
    ("--depths", "2,two"),
    ("--depths", "2,2"),
    ("--depths", ""),
    ("--depths", "20"),
    ("--first-width", "0"),
    ("--seeds", "0"),
    ("--seeds", "-1"),
    ("--seeds", "0,0"),
    ("--seeds", "1.5"),
    ("--seeds", "2000000000"),
    ("--workers", "0"),
    ("--out", "FILE"),
    ("--out", "FILE/out"),
    ("--out", "/proc/out"),
]
BAD_TRAIN_FLAGS = [
    ("--seed", "-1"),
    ("--seed", "x"),
    ("--out", "FOLDER"),
    ("--out", "FILE/model"),
    ("--out", "no/such/folder/m"),
    ("--out", "/dev/null"),
]


def refused(said: Said) -> bool:
    """Whether there is one error and nothing else: droplab's own line, or Typer's after its usage."""
    usage = r"Usage: droplab .*\nTry 'droplab .*\n\nError: .*\n"
    return said.code in (1, 2) and bool(re.fullmatch(rf"error: .+\n|{usage}", said.errors))


def placed(value: str, folder: Path) -> str:
    """`FOLDER` and `FILE` as ones that exist."""
    (folder / "file").touch()
    return value.replace("FOLDER", str(folder)).replace("FILE", str(folder / "file"))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("flag", "value"), BAD_RECIPE_FLAGS + BAD_STUDY_FLAGS)
def test_a_bad_flag_of_study_is_one_error(spec: Path, tmp_path: Path, flag: str, value: str) -> None:
    out = [] if flag == "--out" else ["--out", tmp_path / "out"]
    said = droplab("study", spec, *out, flag, placed(value, tmp_path))
    assert refused(said), said


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("flag", "value"), BAD_RECIPE_FLAGS + BAD_TRAIN_FLAGS)
def test_a_bad_flag_of_train_is_one_error(data: Path, tmp_path: Path, flag: str, value: str) -> None:
    out = [] if flag == "--out" else ["--out", tmp_path / "model.safetensors"]
    said = droplab("train", "--data", data, *out, flag, placed(value, tmp_path))
    assert refused(said), said
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.usefixtures("no_training")
def test_a_device_or_precision_that_is_not_there_is_refused(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = droplab("study", spec, "--out", tmp_path / "out", "--device", "cuda")
    assert refused(said)
    assert "device=cuda needs an NVIDIA GPU" in said.errors
    monkeypatch.setattr("droplab.train.device.has_bf16_units", lambda _: False)
    said = droplab("study", spec, "--out", tmp_path / "out", "--device", "cpu", "--precision", "bf16")
    assert refused(said)
    assert "Use --precision fp32" in said.errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("faulty", ["epoch = 3", "depths = [0]", "depths = [2", "depths = [2]\ndropout = nan"])
def test_a_bad_study_file_is_one_error(tmp_path: Path, faulty: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(faulty, "utf-8")
    said = droplab("study", path, "--out", tmp_path / "out")
    assert refused(said)
    assert said.errors.startswith(f"error: {path}: ")


def test_an_error_is_one_line_whatever_a_path_holds() -> None:
    said = droplab("study", "two\nlines\x1b[31m.toml")
    assert refused(said)
    assert said.errors.count("\n") == 1
    assert "\x1b" not in said.errors


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"features": 9}, "a network fits data of its own features, 20; other has 9. It was trained on toy."),
        (
            {"classes": 5},
            "test examples must be of the classes 0, 1, 2, 3; found '4' in row 4. Leave such examples out.",
        ),
    ],
)
def test_a_model_of_other_data_is_refused(data: Path, tmp_path: Path, shape: dict[str, int], words: str) -> None:
    model = tmp_path / "model.safetensors"
    assert droplab("train", "--data", data, "--epochs", "1", "--out", model).code == 0
    said = droplab("evaluate", model, "--data", toy_npz(tmp_path / "other.npz", **shape))
    assert refused(said)
    assert words in said.errors


def test_output_that_nothing_can_be_written_to_is_one_error() -> None:
    with Path("/dev/full").open("w") as full, python("-c", WITHOUT_REPORT, "presets", stdout=full) as process:
        said = Said(process.wait(), "", process.stderr.read())
    assert refused(said)


def test_what_is_no_model_is_refused(data: Path, tmp_path: Path) -> None:
    for path in (data, tmp_path, tmp_path / "nothing"):
        assert refused(droplab("evaluate", path, "--data", data))


@pytest.mark.parametrize("nested", [False, True])
def test_what_nobody_foresaw_is_one_line_and_a_traceback_on_demand(
    nested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr("droplab.presets.preset_names", broken)
    said = droplab("presets")
    assert refused(said)
    assert "KeyError: 'two\\nlines'. Please report it, with what --debug shows." in said.errors
    if nested:
        said = droplab("presets", "--debug")
    else:
        monkeypatch.setenv("DROPLAB_DEBUG", "1")
        said = droplab("presets")
    assert said.code == 1
    assert said.errors.startswith("Traceback")
    assert "in broken" in said.errors


def test_more_seeds_than_can_be_are_refused_by_every_command(data: Path) -> None:
    for command in (["reproduce", "post"], ["fit", data], ["study", "mnist-depth-quick"]):
        assert refused(droplab(*command, "--seeds", 10**23)), command


def test_an_empty_store_in_the_environment_is_not_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPLAB_STORE", "")
    said = droplab("runs", "list")
    assert refused(said)
    assert "found an empty text" in said.errors


def test_a_study_file_that_is_nested_without_end_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    for text in (f"depths = {'[' * 5000}{']' * 5000}", f"depths = [{'9' * 5000}]"):
        path.write_text(text, "utf-8")
        said = droplab("study", path, "--out", tmp_path / "out")
        assert refused(said), said
        assert str(path) in said.errors
