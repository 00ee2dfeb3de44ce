"""Addressed random numbers: the published generator, and nothing but the address decides."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from droplab.random import Purpose, fold, key_tensor, permutation, random_bytes, stream_key, uniform, words

MASK64 = 2**64 - 1


def splitmix64(state: int, count: int) -> list[int]:
    """The generator as published, one number after another."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
        numbers.append(z ^ (z >> 31))
    return numbers


def test_words_begin_as_the_published_generator_does():
    expected = np.array([0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F], dtype=np.uint64)
    np.testing.assert_array_equal(words(key_tensor([0]), 3)[0].numpy().view(np.uint64), expected)


@given(st.integers(0, MASK64), st.integers(0, 1000), st.integers(1, 50))
def test_words_are_splitmix64_from_any_element_on(key, start, count):
    expected = np.array(splitmix64(key, start + count)[start:], dtype=np.uint64)
    np.testing.assert_array_equal(words(key_tensor([key]), count, start)[0].numpy().view(np.uint64), expected)


def test_a_stream_does_not_know_its_neighbours():
    keys = [stream_key(seed, Purpose.NOISE, 0, 3, 7) for seed in range(5)]
    together = words(key_tensor(keys), 100)
    for row, key in enumerate(keys):
        torch.testing.assert_close(together[row : row + 1], words(key_tensor([key]), 100), rtol=0, atol=0)


def test_every_part_of_an_address_makes_another_stream():
    addresses = {(seed, purpose, a, b) for seed in range(4) for purpose in Purpose for a in range(4) for b in range(4)}
    assert len({stream_key(*address) for address in addresses}) == len(addresses)
    assert stream_key(0, Purpose.NOISE, 1) != stream_key(0, Purpose.NOISE, 1, 0)


@pytest.mark.parametrize("shift", [1, 2, 1000])
def test_streams_of_neighbouring_addresses_are_uncorrelated(shift):
    count = 100_000
    one, other = (
        uniform(key_tensor([stream_key(0, Purpose.NOISE, 0, 0, step)]), count)[0].numpy() for step in (0, shift)
    )
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(count)


def test_uniform_numbers_are_uniform():
    numbers = uniform(key_tensor([stream_key(3, Purpose.INITIALISE, 0)]), 100_000)[0].numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4


def test_bytes_are_uniform_and_addressed_by_whole_words():
    key = key_tensor([stream_key(3, Purpose.NOISE, 0)])
    many = random_bytes(key, 2**10, 2**10)[0]
    assert stats.chisquare(np.bincount(many.numpy().ravel(), minlength=256)).pvalue > 1e-4
    assert torch.equal(random_bytes(key, 3, 2**10, first=64)[0], many[64:67])


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 100])
def test_a_byte_is_addressed_by_row_and_column_of_whole_words(columns):
    key, across = stream_key(3, Purpose.NOISE, 0), -(-columns // 8)
    table = random_bytes(key_tensor([key]), 5, columns)[0].numpy()
    plain = np.array(splitmix64(key, 5 * across), dtype="<u8").view(np.uint8).reshape(5, across * 8)
    np.testing.assert_array_equal(table, plain[:, :columns])


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 1))
def test_folding_goes_on_with_an_address(seed, step, part):
    keys = key_tensor([stream_key(seed, Purpose.NOISE, 2, 3)])
    expected = key_tensor([stream_key(seed, Purpose.NOISE, 2, 3, step, part)])
    assert torch.equal(fold(fold(keys, torch.tensor(step)), part), expected)
    assert torch.equal(fold(fold(keys, step), part), expected)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_a_permutation_holds_every_number_once(count, seed):
    order = permutation(key_tensor([stream_key(seed, Purpose.ORDER, 0)]), count)[0]
    assert sorted(order.tolist()) == list(range(count))


def test_every_place_of_a_permutation_is_equally_likely():
    keys = key_tensor([stream_key(seed, Purpose.ORDER, 0) for seed in range(20_000)])
    orders = permutation(keys, 5).numpy()
    for place in range(5):
        assert stats.chisquare(np.bincount(orders[:, place], minlength=5)).pvalue > 1e-4


@pytest.mark.gpu
def test_words_are_the_same_on_a_gpu():
    key = stream_key(1, Purpose.NOISE, 0, 5, 9)
    torch.testing.assert_close(words(key_tensor([key], "cuda"), 1000).cpu(), words(key_tensor([key]), 1000))
