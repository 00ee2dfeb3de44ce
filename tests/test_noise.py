"""Masks and normal numbers: the rate asked for, nothing but the address decides, and all addresses are independent."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from droplab.model.noise import Noise, inference_keys, is_fine, level_of, training_keys
from droplab.model.regularizers import DROPOUT, INPUT, TABLE, Regularizer, register

CPU = torch.device("cpu")
EXAMPLES, UNITS = 1000, 1000
RATES = [0.0, 1e-4, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.8, 0.999]


def noise(seed=0, epoch=0, step=0, user="dropout", **fields):
    return Noise(training_keys([seed], epoch, step + 1, CPU)[step], **fields).of(user)


def kept(rate=0.5, place=0, shape=(EXAMPLES, UNITS), **address):
    return noise(**address).kept(place, torch.tensor(rate, dtype=torch.float64), *shape)[0]


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_honoured_and_the_scale_matches_it(rate):
    used = level_of(torch.tensor(rate).double()).item() / 2**16
    assert abs(used - rate) <= 0.5 / 2**16
    dropped = int((kept(rate) == 0).sum())
    assert stats.binomtest(dropped, EXAMPLES * UNITS, used).pvalue > 1e-5 if used else dropped == 0
    mask = noise().mask(0, torch.tensor(rate).double(), 10, 1000, torch.float64)
    assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - used)] if used else [1], rel=1e-12)
    unscaled = noise(scaled=False).mask(0, torch.tensor(rate).double(), 10, 1000, torch.float64)
    assert torch.equal(unscaled, (mask > 0).double())


def test_the_highest_rates_still_keep_something():
    rate = 1 - 1e-9
    assert level_of(torch.tensor(rate).double()) == 2**16 - 1
    mask = noise(fine=is_fine([rate])).mask(0, torch.tensor(rate).double(), 1000, 1000, torch.float64)
    assert set(mask.unique().tolist()) <= {0, 2**16}


@pytest.mark.parametrize("rate", RATES)
def test_one_byte_a_unit_is_enough_for_rates_of_256ths_alone(rate):
    assert torch.equal(kept(rate), kept(rate, fine=False)) == (not is_fine([rate]))


def test_what_a_low_rate_drops_a_higher_rate_drops_too():
    dropped = [kept(rate) == 0 for rate in (0.1, 0.2, 0.25, 0.3, 0.5, 0.77)]
    for low, high in pairwise(dropped):
        assert bool((high | ~low).all())


OTHERS = [{"seed": 1}, {"place": 1}, {"place": INPUT}, {"epoch": 1}, {"step": 1}, {"user": "input_dropout"}]


@pytest.mark.parametrize("other", OTHERS)
def test_masks_of_other_addresses_are_independent(other):
    agree = int((kept() == kept(**other)).sum())
    assert stats.binomtest(agree, EXAMPLES * UNITS, 0.5).pvalue > 1e-5


@pytest.mark.parametrize("other", OTHERS)
def test_normal_numbers_of_other_addresses_are_independent(other):
    address = dict(other)
    place = address.pop("place", 0)
    one, two = noise().normal(0, EXAMPLES, UNITS), noise(**address).normal(place, EXAMPLES, UNITS)
    assert correlation(one, two) < 5e-3


def test_normal_numbers_are_normal_and_independent_of_the_masks():
    numbers = noise().normal(0, EXAMPLES, UNITS)[0]
    assert stats.kstest(numbers.flatten()[::10], "norm").pvalue > 1e-4
    assert correlation(numbers, kept()) < 5e-3
    assert correlation(numbers.square(), kept()) < 5e-3


def correlation(a, b):
    return abs(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])


@pytest.mark.parametrize("dim", [0, 1])
def test_units_and_examples_are_dropped_independently(dim):
    mask = kept().double()
    neighbours = (torch.narrow(mask, dim, start, 999) for start in (0, 1))
    assert correlation(*neighbours) < 5e-3
    share = mask.mean(dim=dim).numpy()
    assert stats.kstest((share - 0.5) / np.sqrt(0.25 / 1000), "norm").pvalue > 1e-4


def test_a_run_gets_the_same_numbers_in_any_pack():
    rates = torch.tensor([0.5, 0.3, 0.0, 0.5, 1 / 3])[:, None, None]
    pack = Noise(training_keys(range(5), 2, 4, CPU)[3]).of("dropout")
    masks, normals = pack.kept(1, rates, 40, 30), pack.normal(1, 40, 30)
    for run, rate in enumerate(rates.flatten()):
        alone = noise(run, 2, 3)
        assert torch.equal(masks[run], alone.kept(1, rate, 40, 30)[0])
        assert torch.equal(normals[run], alone.normal(1, 40, 30)[0])


@pytest.mark.parametrize("units", [1, 7, 64])
def test_a_part_of_the_examples_has_the_numbers_that_it_has_in_the_whole(units):
    whole = Noise(inference_keys([5], 2, 1, CPU))
    rate, parts = torch.tensor(0.3), [whole._replace(first=first) for first in (0, 16, 21)]
    pieces = list(zip(parts, (16, 5, 43), strict=True))
    masks, normals = (torch.cat(each, dim=1) for each in zip(
        *((part.kept(0, rate, rows, units), part.normal(0, rows, units)) for part, rows in pieces), strict=True
    ))  # fmt: skip
    assert torch.equal(masks, whole.kept(0, rate, 64, units))
    assert torch.equal(normals, whole.normal(0, 64, units))


def test_inference_differs_between_splits_and_samples_and_from_training():
    keys = [inference_keys([5], split, sample, CPU) for split in range(3) for sample in range(3)]
    keys.append(training_keys([5], 0, 1, CPU)[0])
    assert len({Noise(each).kept(0, torch.tensor(0.5), 64, 64).numpy().tobytes() for each in keys}) == 10


@pytest.fixture
def ours(monkeypatch):
    """A registered regularizer that drops units."""
    monkeypatch.setitem(TABLE, "ours", DROPOUT)  # taken away after the test
    act = lambda h, k, s, noise: h * noise.kept(k, s[0], h.shape[1], h.shape[2]) / (1 - s[0])  # noqa: E731
    register(Regularizer("ours", "me", 0.5, 1, "share", on_hidden=act, drops=True))


PAIRS = [
    ("dropout", "gaussian_dropout"),
    ("dropout", "hidden_noise"),
    ("gaussian_dropout", "hidden_noise"),
    ("dropout", "ours"),
    ("gaussian_dropout", "ours"),
    ("input_dropout", "input_noise"),
    ("input_dropout", "input_gaussian_dropout"),
    ("input_gaussian_dropout", "input_noise"),
]


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("pair", PAIRS)
def test_two_that_disturb_one_place_are_independent(pair):
    """What each does to ones, of two networks at once; of two that drop, the product of the shares is kept."""
    keys, ones = Noise(training_keys([0, 1], 0, 1, CPU)[0]), torch.ones(2, EXAMPLES, UNITS // 2)

    def disturbed(name, values):
        entry, here = DROPOUT if name == "dropout" else TABLE[name], keys.of(name)
        strengths = (torch.tensor([0.4, 0.3]),)
        return (
            entry.on_input(values, strengths, here) if entry.on_input else entry.on_hidden(values, 0, strengths, here)
        )

    one, other = (disturbed(name, ones) for name in pair)
    for run in range(2):
        assert correlation(one[run], other[run]) < 6e-3
        assert correlation((one[run] - 1).square(), (other[run] - 1).square()) < 6e-3
    if pair == ("dropout", "ours"):
        kept = (disturbed("ours", one) != 0).double().mean(dim=(1, 2))
        assert kept.tolist() == pytest.approx([0.36, 0.49], abs=3e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_masks_are_the_same_on_a_gpu(rate):
    there, here = (
        Noise(training_keys([0, 1], 1, 3, torch.device(device))[2]).kept(0, torch.tensor(rate, device=device), 100, 30)
        for device in ("cuda", "cpu")
    )
    assert torch.equal(there.cpu(), here)
