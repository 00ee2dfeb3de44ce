"""The first look: what it finds was put there, and where nothing was, it finds nothing."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.config import StudySettings
from droplab.data.dataset import Dataset
from droplab.data.files import load_dataset
from droplab.study.lab import Lab, Warn
from study_help import droplab

RANDOM = np.random.default_rng(0)


def data(train=60, test=20, classes=("a", "b"), **changes):
    sound = {
        "train_x": RANDOM.normal(size=(train, 3)).astype("f4"),
        "train_y": np.arange(train) % len(classes),
        "test_x": RANDOM.normal(size=(test, 3)).astype("f4"),
        "test_y": np.arange(test) % len(classes),
    }
    return Dataset(name="toy", classes=classes, **(sound | changes))


def only(dataset):
    (finding,) = dataset.look.findings
    return finding


def test_a_sound_data_set_has_no_findings():
    look = data().look
    assert look.findings == ()
    assert look.counts(("a", "b")) == "a 30 + 10, b 30 + 10 (train + test)"


@given(st.sets(st.integers(0, 19), min_size=1), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_leakage_is_found_with_its_rows(places, shift):
    sound = data()
    x = sound.test_x.copy()
    for place in places:
        x[place] = sound.train_x[place + shift]
    finding = only(replace(sound, test_x=x))
    assert finding.startswith(f"leakage: {len(places)} of the 20 test examples are equal to a training example")
    for place in sorted(places)[:5]:
        assert f"row {place + 1} = row {place + shift + 1}" in finding
    assert (" more)" in finding) == (len(places) > 5)


def test_repeats_and_contradictions_are_found():
    sound = data()
    x = sound.train_x.copy()
    x[8], x[9] = x[2], x[2]
    first, second = replace(sound, train_x=x).look.findings
    assert first.startswith("2 of the 60 training examples repeat an earlier one")
    assert "(row 9 = row 3, row 10 = row 3)" in first
    assert second.startswith("1 training examples are equal to one of another class")
    assert "row 3 is a, row 10 is b" in second


def test_examples_are_called_by_their_places():
    sound = data()
    x = sound.test_x.copy()
    x[0] = sound.train_x[1]
    named = replace(sound, test_x=x, places=(np.array([f"{k}.png" for k in range(60)]), np.arange(100, 120)))
    assert "row 100 = 1.png" in only(named)


@pytest.mark.parametrize(("few", "told"), [(6, False), (5, True)])
def test_classes_ten_times_as_frequent_are_told(few, told):
    labels = np.where(np.arange(60) < few, 1, 0)  # 54 : 6 is 9 : 1, 55 : 5 is 11 : 1
    findings = data(train_y=labels).look.findings
    assert bool(findings) == told
    if told:
        assert "a has 55 training examples and b has 5" in findings[0]
        assert "right in 91.7% of them" in findings[0]


def test_classes_of_one_split_are_told():
    y = np.arange(60) % 2
    assert only(data(classes=("a", "b", "c"), train_y=y)) == (
        "classes in test and not in train, which no network can learn: c (1 of 3)"
    )
    y = np.arange(20) % 2
    assert "classes in train and not in test" in only(data(classes=("a", "b", "c"), test_y=y))


@pytest.mark.parametrize("names", [("Yes", "yes"), ("a b", "ab"), ("1", "1.0")])
def test_classes_whose_names_are_nearly_alike_are_told(names):
    assert only(data(classes=names)).startswith("classes differ in case, spaces or the like alone")


def test_columns_that_never_change_are_told():
    sound = data()
    x = sound.train_x.copy()
    x[:, 1] = 7
    assert only(replace(sound, train_x=x)) == "columns that never change in the training rows: 2"
    assert replace(sound, train_x=x, image_shape=(1, 3)).look.findings == ()


@pytest.fixture
def table(tmp_path):
    frame = pd.DataFrame({"a": np.arange(40.0) % 9, "unit": "cm", "patient": np.arange(40) // 2, "y": ["p", "q"] * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_a_tables_rows_are_called_as_in_its_file(table):
    dataset = load_dataset(table, target="y", groups="patient", notify=lambda _: None)
    frame = pd.read_csv(table)
    leaked = next(finding for finding in dataset.look.findings if finding.startswith("leakage"))
    test, train = map(int, re.search(r"\(test = train: row (\d+) = row (\d+)", leaked).groups())
    assert frame.a[test - 1] == frame.a[train - 1]
    assert any(finding.endswith("left out: unit") for finding in dataset.look.findings)


def test_a_study_says_it_before_training_and_in_everything_it_writes(table, tmp_path):
    store, out = tmp_path / "s.db", tmp_path / "out"
    spec = ["mnist-depth", "--data", str(table), "--target", "y", "--groups", "patient", "--widths", "4"]
    done = droplab("study", *spec, "--seeds", "2", "--epochs", "2", "--store", str(store), "--out", str(out))
    assert "columns that never change in the training rows, and are left out: unit" in done.out + done.errors
    document = json.loads((out / "study.json").read_text())
    assert sum(document["data"]["look"]["train"]) == sum(document["data"]["examples"][s] for s in ("train", "valid"))
    for name in ("report.html", "models/MODEL_CARD.md"):
        text = (out / name).read_text()
        assert "never change in the training rows" in text
        assert "p 16 + 4" in text
    again = droplab("report", *spec, "--seeds", "2", "--epochs", "2", "--store", str(store), "--format", "md")
    assert "never change in the training rows" in again.out
    assert "whole groups of patient" in (out / "models/MODEL_CARD.md").read_text()


def test_no_group_is_on_two_sides_of_a_split(table):
    from droplab.train.examples import Examples

    dataset = load_dataset(table, target="y", groups="patient", test="0.25", notify=lambda _: None)
    patients = pd.read_csv(table).patient.to_numpy()
    train, test = (patients[rows - 1] for rows in dataset.places)
    assert not set(train) & set(test)
    for seed in range(3):
        examples = Examples.of(dataset, 0.25, seed)
        held = set(train[examples.valid.rows.numpy()])
        assert held
        assert not held & set(train[examples.train.rows.numpy()])


def test_groups_are_a_setting_that_decides_the_networks(table):
    settings = StudySettings.parse({"data": str(table), "target": "y", "groups": "patient", "widths": [4]})
    assert Lab(observer=Warn(lambda _: None)).read(settings.data, **settings.reading).dataset.train_groups is not None
    assert settings.differences(settings.override(groups=None)) == {"groups": ("patient", None)}
