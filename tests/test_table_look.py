"""What columns give away: found where it was put, and not where it was not."""

import re

import numpy as np
import pandas as pd
import pytest

from droplab.data.files import load_dataset
from droplab.errors import DataError

RANDOM = np.random.default_rng(4)
ROWS = 120
Y = RANDOM.permutation(np.arange(ROWS) % 3)
FRAME = pd.DataFrame({"a": RANDOM.normal(size=ROWS).round(3), "b": RANDOM.choice(list("uvw"), ROWS), "y": Y})


def findings(tmp_path, task="auto", **columns):
    frame = FRAME.assign(**columns)
    frame.to_csv(tmp_path / "t.csv", index=False)
    return list(load_dataset(tmp_path / "t.csv", target="y", task=task, notify=lambda _: None).look.findings)


def test_ordinary_columns_are_not_worth_a_word(tmp_path):
    assert findings(tmp_path, n=RANDOM.integers(0, 40, ROWS), year=2000 + RANDOM.integers(0, 20, ROWS)) == []


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([f"id{k}" for k in range(ROWS)], "'c' has another value in every row"),
        (RANDOM.permutation(ROWS) + 1000, "'c' has another value in every row"),
        ([f"name {k // 1.5:.0f}" for k in range(ROWS)], "'c' has .* categories in 96 rows"),
        (np.array(["p", "q", "r"])[Y], "'c' is 'y' under other names"),
        (Y * 10, "'c' is 'y' under other names"),
        (
            np.array(["p", "q", "r"])[Y] + RANDOM.choice(["1", "2"], ROWS).astype(object),
            "'c' alone tells the class: each",
        ),
        (Y + RANDOM.uniform(0, 0.9, ROWS).round(4), "'c' alone tells the class: each class has a range"),
        (np.where(np.arange(ROWS) % 9, "Ulm", "ulm"), "categories of 'c' differ in case, spaces.*'Ulm', 'ulm'"),
        (np.where(np.arange(ROWS) % 9, "New York", "NewYork "), "categories of 'c' differ in case, spaces"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_column_that_gives_away_or_says_nothing_is_told(tmp_path, column, words):
    (finding,) = findings(tmp_path, c=column)
    assert re.search(words, finding)


def test_an_index_of_rows_that_are_sorted_by_class_is_told(tmp_path):
    (finding,) = findings(tmp_path, y=np.sort(Y), number=np.arange(ROWS))
    assert "the rows are sorted by class, and column 'number' counts them" in finding
    assert "--columns number=ignore" in finding


def test_classes_that_differ_in_case_or_spaces_are_told(tmp_path):
    (finding,) = findings(tmp_path, y=np.array(["yes", "Yes", "no"])[Y])
    assert finding.startswith("classes differ in case, spaces or the like alone")


def test_whole_numbers_that_look_measured_are_told(tmp_path):
    found = findings(tmp_path, "classification", y=20 + np.arange(ROWS) % 24)
    assert any("24 different whole numbers in 96 rows" in one for one in found)
    with pytest.raises(DataError, match=r"one example a class.*'y' has 60 different whole numbers.*like a regression"):
        findings(tmp_path, "classification", y=20 + np.arange(ROWS) % 60)


def test_it_is_said_before_training_and_nothing_is_left_out_by_itself(tmp_path):
    from study_help import droplab

    FRAME.assign(c=np.array(["p", "q", "r"])[Y]).to_csv(tmp_path / "t.csv", index=False)
    base = ("fit", tmp_path / "t.csv", "--target", "y", "--epochs", "1", "--store", tmp_path / "s.db")
    said = droplab(*base, "--out", tmp_path / "m.safetensors")
    assert "column 'c' is 'y' under other names" in said.out
    assert "columns taken for numbers: a; categories: b (3), c (3)" in said.out
    other = droplab(*base, "--columns", "c=ignore", "--out", tmp_path / "n.safetensors")
    assert "under other names" not in other.out
    assert "categories: b (3);" in other.out
