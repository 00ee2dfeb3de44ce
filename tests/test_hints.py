"""What is mistyped, missing or of another kind is said to be so, with what to type instead: in Python, too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from droplab.config import StudySettings, load_study, whole_numbers
from droplab.data.files import load_dataset
from droplab.errors import ConfigError, DataError, did_you_mean, no_such_file
from droplab.study.reproduction import load_reproduction


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table, a study and something that is neither."""
    monkeypatch.chdir(tmp_path)
    Path("wine.csv").write_text("acid,class\n1,a\n2,b\n", "utf-8")
    Path("mine.toml").write_text("depths = [1]\n", "utf-8")
    Path("pictures").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("read", "name", "said"),
    [
        (load_study, "wine.csv", "droplab fit wine.csv, of a table with --target COLUMN"),
        (load_study, "wine.csv", 'study them by a TOML file that says data = "wine.csv"'),
        (load_study, "pictures", "If it holds data, train on them: droplab fit pictures"),
        (load_study, "wien.csv", "wien.csv: no such file. Did you mean 'wine.csv'?"),
        (load_study, "nothing.toml", "nothing.toml: no such file. Check the path."),
        (load_study, "folder/nothing", "folder/nothing: no such file. Check the path."),
        (load_study, "mnist-depht", "found 'mnist-depht'. Did you mean 'mnist-depth'?"),
        (load_study, "mine", "found 'mine'. Did you mean 'mine.toml'?"),
        (load_study, "mnist", "each is had on other data with --data"),
        (
            load_study,
            "srivastava-table10",
            "is a reproduction, not a study. Type: droplab reproduce srivastava-table10",
        ),
        (
            load_reproduction,
            "mnist-depth-quick",
            "is a study, not a reproduction. Type: droplab study mnist-depth-quick",
        ),
        (load_dataset, "mnist-depth-quick", "is a study, not a data set. Type: droplab study mnist-depth-quick"),
        (load_dataset, "post", "is a reproduction, not a data set. Type: droplab reproduce post"),
        (load_dataset, "mine.toml", "is a study, and data are wanted. Type: droplab study mine.toml"),
        (load_dataset, "wien.csv", "wien.csv: no such file. Did you mean 'wine.csv'?"),
        (load_dataset, "MNITS", "found 'MNITS'. Did you mean 'mnist'?"),
    ],
)
def test_a_name_of_another_kind_is_told_with_what_to_type(read: Callable[[str], object], name: str, said: str) -> None:
    with pytest.raises((ConfigError, DataError)) as caught:
        read(name)
    assert said in str(caught.value)
    assert str(caught.value).count(". ") < 4, "an error is no lecture"


def test_a_missing_file_is_told_with_the_whole_path_of_its_neighbour(here: Path) -> None:
    assert no_such_file(here / "mein.toml").endswith(f"no such file. Did you mean {str(here / 'mine.toml')!r}?")
    assert no_such_file(here / "nowhere" / "mein.toml").endswith("no such file. Check the path.")


def test_a_nearest_name_is_found_whatever_its_case_and_told_in_its_own() -> None:
    assert did_you_mean("CLAS", ["Class", "price"]) == " Did you mean 'Class'?"
    assert did_you_mean("xyz", ["Class", "price"]) == ""


@pytest.mark.parametrize(
    ("text", "numbers"), [("1-3", (1, 2, 3)), ("1,3-5", (1, 3, 4, 5)), (" 2 , 4 - 4", (2, 4)), ("", ()), ("7,", (7,))]
)
def test_ranges_of_whole_numbers_hold_both_their_ends(text: str, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(text) == numbers


@pytest.mark.parametrize("text", ["3-1", "1-", "-3", "1-9999", "1--3", "1-2-3", "1;2", "1.5", "one", "9" * 5000])
def test_what_is_no_range_is_one_error(text: str) -> None:
    with pytest.raises(ValueError, match="whole numbers, or ranges that go up and have 1000 numbers at most"):
        whole_numbers(text)
    with pytest.raises(ConfigError, match="depths: must be whole numbers") as caught:
        StudySettings.parse({"depths": text})
    assert str(caught.value).count("must be") == 1


def test_a_study_takes_ranges_as_text_in_its_file_and_in_python() -> None:
    Path("mine.toml").write_text('depths = "1-3"\nseeds = "0,4-6"\n', "utf-8")
    settings = load_study("mine.toml")
    assert (settings.depths, settings.seeds) == ((1, 2, 3), (0, 4, 5, 6))
    assert settings.override(widths="16,8").architectures == ((16, 8),)


def test_a_fault_of_many_values_is_told_once() -> None:
    with pytest.raises(ConfigError, match=r"less than or equal to 64; found 65 \(and 35 more\)\.$"):
        StudySettings.parse({"depths": "1-100"})
