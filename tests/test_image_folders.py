"""Folders named as splits are splits and never classes; the valid split of someone's own is what is held out."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from droplab.config import RunSettings
from droplab.data.files import load_dataset
from droplab.errors import ConfigError, DataError
from droplab.study.origin import Origin, split_counts
from droplab.study.runner import Summary, clipped_batch
from droplab.train.examples import Examples

RANDOM = np.random.default_rng(0)


def fill(path, classes=("cat", "dog"), each=6):
    for label in classes:
        (path / label).mkdir(parents=True, exist_ok=True)
        for k in range(each):
            Image.fromarray(RANDOM.integers(0, 256, (4, 5), np.uint8)).save(path / label / f"{k}.png")
    return path


def splits(path, **each):
    """A folder with a folder of two classes for each split, with so many images a class."""
    for name, count in each.items():
        fill(path / name, each=count)
    return path


def load(path, **given):
    told = []
    return load_dataset(path, notify=told.append, **given), told


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("valid", ["val", "valid", "Validation", "dev"])
@pytest.mark.parametrize("test", ["test", "TEST", "testing"])
def test_splits_are_known_by_their_names_and_valid_is_held_out(tmp_path, train, valid, test):
    path = splits(tmp_path / "pets", **{train: 6, valid: 3, test: 2})
    dataset, told = load(path)
    assert (dataset.classes, len(dataset.train_y), len(dataset.test_y)) == (("cat", "dog"), 18, 4)
    assert [place.split("/")[0] for place in dataset.places[0]] == [train] * 12 + [valid] * 6
    assert {place.split("/")[0] for place in dataset.places[1]} == {test}
    assert dataset.valid.tolist() == [False] * 12 + [True] * 6
    assert [line for line in told if f"{valid}: is the valid split" in line] == told
    for fraction, seed in ((0.1, 1), (0.9, 7)):
        examples = Examples.of(dataset, fraction, seed)
        assert examples.valid.rows.tolist() == list(range(12, 18))
        assert examples.train.rows.tolist() == list(range(12))
    assert len(Examples.of(dataset, 0, 1).train) == 18, "a model that chooses nothing is trained on all"


def test_valid_is_part_of_the_fingerprint_only_where_there_is_one(tmp_path):
    dataset, _ = load(splits(tmp_path / "pets", train=6, val=3, test=2))
    without = replace(dataset, valid=None)
    assert dataset.fingerprint != without.fingerprint
    assert replace(dataset, valid=~dataset.valid).fingerprint not in (dataset.fingerprint, without.fingerprint)


@pytest.mark.parametrize("valid", [np.zeros(18, bool), np.ones(18, bool), np.arange(17) > 9])
def test_a_valid_part_of_none_all_or_another_length_is_an_error(tmp_path, valid):
    dataset, _ = load(splits(tmp_path / "pets", train=6, val=3, test=2))
    with pytest.raises(DataError, match="valid must say of each of 18 training examples"):
        replace(dataset, valid=valid)


def test_without_a_test_folder_test_is_a_share_of_train_alone_or_lies_elsewhere(tmp_path):
    path = splits(tmp_path / "pets", train=10, val=4)
    dataset, told = load(path)
    assert (len(dataset.train_y), int(dataset.valid.sum()), len(dataset.test_y)) == (24, 8, 4)
    assert {place.split("/")[0] for place in dataset.places[1]} == {"train"}
    assert any("20% of the examples are the test split" in line for line in told)
    elsewhere, _ = load(path, test=str(fill(tmp_path / "other", each=2)))
    assert (len(elsewhere.train_y), int(elsewhere.valid.sum()), len(elsewhere.test_y)) == (28, 8, 4)
    within, told = load(path, test=str(splits(tmp_path / "whole", train=5, test=3)))
    assert len(within.test_y) == 6
    assert any("whole: its folder test is tested on" in line for line in told)
    lone, _ = load(splits(tmp_path / "lone", train=10))
    assert (lone.classes, len(lone.train_y), lone.valid) == (("cat", "dog"), 16, None)


def test_a_test_part_twice_is_an_error(tmp_path):
    path = splits(tmp_path / "pets", train=5, val=2, Test=2)
    with pytest.raises(ConfigError, match="has a test part of its own, the folder Test"):
        load(path, test="0.2")
    with pytest.raises(DataError, match=r"must hold a split to test on; found train, val"):
        load(fill(tmp_path / "plain"), test=str(splits(tmp_path / "more", train=2, val=2)))


FAULTS = {
    "no train": (lambda path: splits(path, val=2, test=2), "a split to train on; found test, val"),
    "test alone": (lambda path: splits(path, test=2), "a split to train on; found test"),
    "beside classes": (lambda path: fill(splits(path, train=2)), "found train beside cat, dog"),
    "as a class": (lambda path: fill(path, ["cat", "Train"]), "found Train beside cat"),
    "flat": (
        lambda path: fill(path, ["train", "test"]),
        "test: is a split by its name, .* found 6 files and no folder",
    ),
    "half flat": (lambda path: fill(splits(path, train=2), ["val"]), "val: is a split by its name"),
    "twice": (lambda path: splits(path, train=2, val=2, valid=2), "each split once; found train, val, valid"),
    "the other way round": (
        lambda path: [fill(path / label, ["train", "test"]) for label in ("cat", "dog")],
        "cat: the folder of a class must not hold splits; found test, train. Turn it round: test.cat",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_folders_that_are_neither_splits_nor_classes_are_one_clear_error(tmp_path, name):
    make, words = FAULTS[name]
    make(tmp_path / "pets")
    with pytest.raises(DataError, match=words):
        load(tmp_path / "pets")


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("test", "classes in test and not in train, which no network can learn: eel"),
        ("val", "classes in valid and not in train, which no network can learn while valid is held out: eel"),
        ("train", "classes in train and not in valid, which nothing is chosen by: eel"),
    ],
)
def test_classes_of_one_split_are_told(tmp_path, split, words):
    path = splits(tmp_path / "pets", train=4, val=4, test=4)
    fill(path / split, ["eel"])
    dataset, _ = load(path)
    assert any(words in finding for finding in dataset.look.findings)
    assert "(train + valid + test)" in dataset.look.counts(dataset.classes)


def test_classes_are_numbers_only_where_they_are_in_every_split(tmp_path):
    path = tmp_path / "n"
    fill(path / "train", ["2", "10", "x"])
    fill(path / "test", ["2", "10"])
    assert load(path)[0].classes == ("10", "2", "x")
    for split in ("train", "test"):
        fill(tmp_path / "m" / split, ["2", "10"])
    assert load(tmp_path / "m")[0].classes == ("2", "10")


@pytest.mark.parametrize("names", [("Cat", "cat"), ("cat", "cat "), ("sea cat", "seacat"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_are_easily_one_are_told(tmp_path, names):
    first, second = names
    path = tmp_path / "pets"
    fill(path / "train", [first, "dog"])
    fill(path / "test", [second, "dog"])
    told = load(path)[0].look.findings
    assert any("differ in case, spaces or the like alone" in line and repr(first) in line for line in told)
    assert not any("differ" in line for line in load(fill(tmp_path / "other", ["cat", "dog"]))[0].look.findings)


def test_a_card_says_whose_valid_split_it_is(tmp_path):
    dataset, _ = load(splits(tmp_path / "pets", train=6, val=3, test=2))
    for one, words in ((dataset, "the data's own valid split"), (replace(dataset, valid=None), "`split_seed` 7")):
        assert words in Origin.of(one.card, split_counts(one.card, 6, 0), Summary(reused=0), "droplab").held_out(7)


def test_files_beside_the_splits_are_told_once(tmp_path):
    path = splits(tmp_path / "pets", train=4, test=4)
    (path / "readme.txt").write_text("mine")
    _, told = load(path)
    assert [line for line in told if "readme.txt" in line] == told


def test_a_clipped_batch_is_said_of_what_is_trained_on(tmp_path):
    dataset, _ = load(splits(tmp_path / "pets", train=6, val=3, test=2))
    settings = RunSettings(batch_size=15, valid_fraction=0.1)
    assert "clipped to the 12 training examples" in clipped_batch(settings, dataset.card)
    assert clipped_batch(settings.model_copy(update={"valid_fraction": 0.0}), dataset.card) is None
