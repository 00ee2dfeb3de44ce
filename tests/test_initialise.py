"""Initial weights: PyTorch's distribution, addressed."""

import math

import pytest
import torch
from scipy import stats

from droplab.model.initialise import initial_layers


def test_weights_and_biases_are_uniform_within_one_over_root_inputs():
    first, second = initial_layers(784, (512,), 10, [0])
    for layer, inputs in ((first, 784), (second, 512)):
        bound = 1 / math.sqrt(inputs)
        for part in layer:
            assert part.abs().max() <= bound
        scaled = (layer.weight.flatten() / bound + 1) / 2
        assert stats.kstest(scaled.numpy(), "uniform").pvalue > 1e-4
    assert first.weight.shape == (1, 512, 784)
    assert first.bias.shape == (1, 512)


def test_the_distribution_is_that_of_torch_nn_linear():
    ours = initial_layers(64, (256,), 10, [0])[0]
    torch.manual_seed(0)
    theirs = torch.nn.Linear(64, 256)
    for a, b in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert stats.ks_2samp(a.flatten().numpy(), b.detach().flatten().numpy()).pvalue > 1e-3


def test_networks_of_one_seed_share_the_layers_whose_shapes_agree():
    shallow, deep = initial_layers(784, (512,), 10, [3]), initial_layers(784, (512, 256), 10, [3])
    assert torch.equal(shallow[0].weight, deep[0].weight)
    assert torch.equal(shallow[0].bias, deep[0].bias)


def test_a_network_starts_the_same_in_any_pack_and_seeds_differ():
    pack = initial_layers(20, (8,), 3, [0, 1, 2])
    alone = initial_layers(20, (8,), 3, [1])
    assert torch.equal(pack[0].weight[1], alone[0].weight[0])
    assert not torch.equal(pack[0].weight[0], pack[0].weight[1])


def test_bias_and_weight_of_a_layer_are_different_numbers():
    layer = initial_layers(4, (), 4, [0])[0]
    assert not torch.equal(layer.weight[0, 0], layer.bias[0])


@pytest.mark.parametrize("scheme", ["he", "glorot", "fan_in"])
def test_initial_weights_have_the_spread_of_their_paper(scheme):
    (layer,) = initial_layers(400, (), 300, [5], scheme=scheme)
    spread = {"he": math.sqrt(2 / 400), "glorot": math.sqrt(2 / 700), "fan_in": 1 / 20}[scheme]
    assert layer.weight.std().item() == pytest.approx(spread, rel=0.02)
    assert layer.weight.mean().abs() < 0.03 * spread
    assert not layer.bias.any()


@pytest.mark.gpu
def test_initial_weights_are_the_same_on_a_gpu():
    for here, there in zip(initial_layers(50, (20,), 3, [4]), initial_layers(50, (20,), 3, [4], "cuda"), strict=True):
        assert torch.equal(here.weight, there.weight.cpu())
