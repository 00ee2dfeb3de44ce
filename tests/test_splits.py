"""The split is scikit-learn's own, and labels that cannot be split say why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from droplab.data.splits import nested_order, train_valid_split
from droplab.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).integers(0, 5, 300)


@pytest.mark.parametrize(("test_size", "random_state"), [(1 / 6, 1), (0.25, 7), (0.5, 0)])
def test_indices_are_those_of_scikit_learn_in_its_order(test_size: float, random_state: int) -> None:
    train, valid = train_valid_split(LABELS, test_size=test_size, random_state=random_state)
    expected = train_test_split(np.arange(300), test_size=test_size, stratify=LABELS, random_state=random_state)
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(valid, expected[1])


def test_the_defaults_are_the_posts_sixth_with_seed_1() -> None:
    train, valid = train_valid_split(LABELS)
    expected = train_test_split(np.arange(300), test_size=1 / 6, stratify=LABELS, random_state=1)
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(valid, expected[1])


def test_both_parts_hold_every_example_once_and_every_class_in_its_share() -> None:
    train, valid = train_valid_split(LABELS)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), np.arange(300))
    np.testing.assert_allclose(np.bincount(LABELS[valid]), np.bincount(LABELS) / 6, atol=1)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        pytest.param([3] * 20, "at least 2 classes; found only 3", id="case 36: one class"),
        pytest.param([0, 1] * 10 + [7], "at least 2 members .* found 1 of class 7", id="case 37: one member"),
        pytest.param(range(20), r"as many classes as examples \(20\)", id="case 40: identifiers"),
        pytest.param([0, 0, 1, 1, 2, 2], r"at least one example a class \(3\); found 5 and 1", id="too few"),
        pytest.param([], r"found shape \(0,\)", id="none"),
        pytest.param([[0, 1], [0, 1]], r"found shape \(2, 2\)", id="table"),
    ],
)
def test_labels_that_cannot_be_split_say_why(labels, says: str) -> None:
    with pytest.raises(DataError, match=says):
        train_valid_split(labels)


@pytest.mark.parametrize("test_size", [0, 1, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(test_size: float) -> None:
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        train_valid_split(LABELS, test_size=test_size)


@given(st.lists(st.integers(2, 60), min_size=2, max_size=6), st.integers(0, 100))
def test_every_beginning_of_a_nested_order_has_about_the_share_of_each_class(sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    order = nested_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    assert (order == nested_order(labels, seed)).all()
    for count in range(len(sizes), len(labels) + 1):
        seen = np.bincount(labels[order[:count]], minlength=len(sizes))
        assert np.abs(seen - count * np.array(sizes) / len(labels)).max() <= len(sizes) / 2 + 1


def test_another_seed_gives_another_nested_order():
    labels = np.repeat(np.arange(3), 30)
    assert (nested_order(labels, 1) != nested_order(labels, 2)).any()
