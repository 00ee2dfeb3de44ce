"""The split is scikit-learn's own, and labels that cannot be split say why."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
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


class TestGroups:
    @given(st.integers(0, 2**31 - 1), st.integers(0, 5), st.sampled_from([0.1, 1 / 6, 0.2, 0.25, 0.5]))
    @settings(max_examples=40, deadline=None)
    def test_none_is_parted_and_each_class_is_on_both_sides(self, seed, random_state, share):
        random = np.random.default_rng(seed)
        groups = random.integers(0, 40, 400)
        labels = random.integers(0, 3, 400)
        train, valid = train_valid_split(labels, test_size=share, random_state=random_state, groups=groups)
        assert sorted([*train, *valid]) == list(range(400))
        assert not set(groups[train]) & set(groups[valid])
        assert set(labels[train]) == set(labels[valid]) == {0, 1, 2}
        assert abs(len(valid) / 400 - share) < 0.06

    def test_the_same_seed_is_the_same_split_and_another_is_not(self):
        groups, labels = np.arange(200) // 4, np.arange(200) % 2
        first, again, other = (
            train_valid_split(labels, random_state=seed, groups=groups)[1].tolist() for seed in (1, 1, 2)
        )
        assert first == again != other

    @pytest.mark.parametrize(
        ("groups", "labels", "words"),
        [
            (np.zeros(12, int), np.arange(12) % 2, "at least 2 groups; found 1"),
            (np.arange(12) // 6, np.arange(12) // 6, "class [01] on one side only, its examples in 1 of 2 groups"),
        ],
    )
    def test_groups_that_cannot_be_parted_are_an_error(self, groups, labels, words):
        with pytest.raises(DataError, match=words):
            train_valid_split(labels, groups=groups)
