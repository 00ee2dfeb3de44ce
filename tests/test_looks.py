"""Looks: a growing study spends its error, and only planned looks conclude anything."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.errors import ConfigError, DataError
from droplab.stats.compare import compare
from droplab.stats.family import compare_all
from droplab.stats.looks import checked_looks, level_of, look_at

A, B = [0.982, 0.984, 0.983, 0.985, 0.984], [0.979, 0.980, 0.981, 0.981, 0.980]

levels = st.floats(1e-6, 0.5)


@given(st.integers(1, 60), levels)
def test_the_levels_of_a_planned_number_of_looks_add_up_to_the_error(looks, alpha):
    parts = [level_of(look, alpha, looks) for look in range(1, looks + 1)]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(alpha)


@given(st.integers(1, 60), levels)
def test_looks_without_an_end_never_spend_more_than_the_error(looks, alpha):
    parts = [level_of(look, alpha) for look in range(1, looks + 1)]
    assert sum(parts) <= alpha * (1 + 1e-12)
    assert parts == sorted(parts, reverse=True)


def test_a_look_is_the_plain_comparison_at_its_own_level():
    found = compare(A[:3], B[:3], looks=(3, 5, 8))
    plain = compare(A[:3], B[:3], confidence=1 - level_of(1, 0.05, 3))
    assert found == replace(plain, look=1, confidence=found.confidence)
    assert found.confidence == pytest.approx(1 - 0.05 / 3)
    assert "(look 2, 5 seeds)" in compare(A, B, looks=(3, 5, 8)).words


def test_one_look_is_no_growing_study():
    assert compare(A, B, looks=[5]) == replace(compare(A, B), look=1)


def test_arms_may_stand_at_looks_of_their_own():
    random = np.random.default_rng(2)
    control, short, long = 0.9 + 0.001 * random.normal(size=(3, 8))
    found = compare_all({"short": short[:3], "long": long}, control, looks=(3, 5, 8))
    assert [(one.look, one.seeds) for one in found.values()] == [(1, 3), (3, 8)]
    assert found["short"].confidence == pytest.approx(1 - level_of(1, 0.05, 3))
    assert found["long"].confidence == pytest.approx(1 - level_of(3, 0.05, 3))


@pytest.mark.parametrize(("seeds", "then"), [(2, "Wait for 3."), (4, "Wait for 5."), (9, "Compare the first 8.")])
def test_a_length_that_is_no_look_is_refused_with_what_to_do(seeds, then):
    with pytest.raises(DataError) as refused:
        look_at(seeds, (3, 5, 8))
    assert str(refused.value) == (
        f"looks are planned at 3, 5, 8 seeds, and only there is anything concluded; found {seeds} seeds. {then}"
    )


def test_both_ways_to_compare_refuse_it():
    with pytest.raises(DataError, match="found 4 seeds"):
        compare(A[:4], B[:4], looks=(3, 5))
    with pytest.raises(DataError, match="found 4 seeds"):
        compare_all({"a": A[:4]}, B, looks=(3, 5))


@pytest.mark.parametrize(
    "wrong", [(5, 3), (3, 3), (3, 5.5), (1, 3), (0,), (), "3, 5", "35", 5, (3, np.nan), (3, np.inf), (3, None), ("3",)]
)
def test_looks_that_are_no_rising_numbers_of_seeds_are_refused_in_one_sentence(wrong):
    for refused in (
        lambda: checked_looks(wrong),
        lambda: compare(A, B, looks=wrong),
        lambda: compare_all({"a": A}, B, looks=wrong),
    ):
        with pytest.raises(ConfigError, match=r"^looks must be .*numbers of seeds.*, as \(3, 5, 8\); found ") as told:
            refused()
        assert repr(wrong) in str(told.value)
