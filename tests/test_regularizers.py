"""Dropout masks: the rate asked for, independent units, and nothing but the address decides."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from droplab.model.regularizers import Dropout

CPU = torch.device("cpu")
SHAPE = (1000, 1000)


def mask(rate=0.5, seed=0, layer=0, epoch=0, step=0, shape=SHAPE):
    dropping = Dropout.of([seed], [rate]).training(layer + 1, epoch, CPU)
    return torch.ones(shape) if dropping is None else dropping.at(step).kept(layer, *shape)[0]


def inference_mask(split, sample, shape, first=0):
    dropping = Dropout.of([5], [0.4]).inference(1, split, sample, CPU)
    return dropping._replace(first=first).kept(0, *shape)


@pytest.mark.parametrize("rate", [0.0, 1e-4, 0.1, 0.2, 0.25, 1 / 3, 0.5, 0.8, 0.999])
def test_the_rate_is_honoured_and_the_scale_matches_it(rate):
    dropout = Dropout.of([0], [rate])
    used = dropout.thresholds[0] / 65_536
    assert abs(used - rate) <= 0.5 / 65_536
    if used:
        scale = dropout.training(1, 0, CPU).scale(torch.float64)
        assert scale.item() == pytest.approx(1 / (1 - used), rel=1e-12)
    dropped = int((mask(rate) == 0).sum())
    assert stats.binomtest(dropped, 1_000_000, used).pvalue > 1e-5 if used else dropped == 0


def test_the_highest_rates_still_keep_something():
    assert Dropout.of([0], [1 - 1e-9]).thresholds == (65_535,)


@pytest.mark.parametrize("other", [{"seed": 1}, {"layer": 1}, {"epoch": 1}, {"step": 1}])
def test_masks_of_different_addresses_are_independent(other):
    agree = int((mask() == mask(**other)).sum())
    assert stats.binomtest(agree, 1_000_000, 0.5).pvalue > 1e-5


@pytest.mark.parametrize("dim", [0, 1])
def test_units_and_examples_are_dropped_independently(dim):
    kept = mask().double().numpy()
    neighbours = np.corrcoef(np.take(kept, range(0, 999), dim).ravel(), np.take(kept, range(1, 1000), dim).ravel())
    assert abs(neighbours[0, 1]) < 5e-3
    share = kept.mean(axis=dim)
    assert stats.kstest((share - 0.5) / np.sqrt(0.25 / 1000), "norm").pvalue > 1e-4


def test_what_a_low_rate_drops_a_higher_rate_drops_too():
    dropped = [mask(rate) == 0 for rate in (0.1, 0.25, 0.3, 0.5, 0.77)]
    for low, high in pairwise(dropped):
        assert bool((high | ~low).all())


def test_a_run_gets_the_same_mask_in_any_pack():
    rates = [0.5, 0.3, 0.0, 0.5, 1 / 3]
    pack = Dropout.of(range(5), rates).training(2, 2, CPU).at(3).kept(1, 40, 30)
    for run, rate in enumerate(rates):
        assert torch.equal(pack[run], mask(rate, seed=run, layer=1, epoch=2, step=3, shape=(40, 30)))


@pytest.mark.parametrize("units", [1, 7, 64])
def test_inference_masks_do_not_depend_on_the_chunks(units):
    whole = inference_mask(2, 1, (64, units))
    parts = [inference_mask(2, 1, (rows, units), first) for first, rows in ((0, 16), (16, 5), (21, 43))]
    assert torch.equal(whole, torch.cat(parts, dim=1))


def test_inference_masks_differ_between_splits_and_samples():
    masks = [inference_mask(split, sample, (64, 64)) for split in range(3) for sample in range(3)]
    assert len({m.numpy().tobytes() for m in masks}) == 9


@pytest.mark.gpu
@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_masks_are_the_same_on_a_gpu(rate):
    dropout = Dropout.of([0, 1], [rate, 0.2])
    there, here = (dropout.training(1, 1, torch.device(device)).at(2).kept(0, 100, 30) for device in ("cuda", "cpu"))
    assert torch.equal(there.cpu(), here)
