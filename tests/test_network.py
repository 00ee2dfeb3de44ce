"""What networks compute and how a step moves them: held against plain PyTorch, finite differences and formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from droplab.model.initialise import initial_layers
from droplab.model.network import Batch, Layer, Network, Norm, folded
from droplab.model.noise import Noise, training_keys
from droplab.train.networks import Networks, value_shapes
from droplab.train.optimizers import ROWS, Optimizer, numbers_of
from droplab.train.step import Inputs, derived, plain_step
from recipes import EXAMPLES, RECIPES, Plain, initial_of, run_of, state_of

KINDS = pytest.mark.parametrize("kind", RECIPES)
CPU = torch.device("cpu")
STEPS = 7
"""An epoch's, the last of a smaller batch: 400 examples, 64 at a time."""


def doubled(networks: Networks) -> Networks:
    parts = {name: getattr(networks, name).double() for name in ("values", "statistics")}
    return replace(networks, **parts, moments=[moment.double() for moment in networks.moments])


@KINDS
def test_steps_are_those_of_pytorchs_modules_and_optimizers(kind):
    """In double precision, over two epochs: to the digits that rates and normal numbers have."""
    run = run_of(kind)
    state, plain = state_of(run), Plain(run, initial_of(run))
    networks, network = doubled(state.networks), state.networks.network
    scale = torch.tensor(1 / 255, dtype=torch.float64)
    for epoch in range(2):
        state.networks.epoch = epoch
        keys = training_keys([run.seed], epoch, STEPS, CPU)
        for step, inputs in enumerate(state.inputs(networks)):
            loss, _ = plain_step(networks, inputs._replace(scale=scale, numbers=inputs.numbers.double()))
            x = inputs.features[0].double() / 255
            theirs = plain.step(x, inputs.targets[0], Noise(keys[step]), epoch * STEPS + step, STEPS)
            assert loss.item() == pytest.approx(theirs, rel=1e-5)
    x, layers = EXAMPLES.test.features.double()[None] / 255, networks.final(state.strengths.double())
    hidden, logits = network.after_first(layers, network.first(layers, x))
    with torch.no_grad():
        expected, their_hidden = plain.eval()(x[0])
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(hidden, their_hidden, strict=True):
        torch.testing.assert_close(one[0], other, rtol=1e-4, atol=1e-4)


def test_no_recipe_of_the_table_is_another():
    losses = set()
    for kind in RECIPES:
        networks = (state := state_of(run_of(kind, learning_rate=0.05))).networks
        losses.add([plain_step(networks, inputs)[0].item() for inputs in state.inputs(networks)][-1])
    assert len(losses) == len(RECIPES) - 1, "early stopping changes no step"


def networks_of(*layers: Layer, optimizer: Optimizer | None = None, network: Network | None = None) -> Networks:
    sizes = (layers[0].weight.shape[2], *(layer.weight.shape[1] for layer in layers))
    runs = layers[0].weight.shape[0]
    return Networks.initial(network or Network(sizes), optimizer or Optimizer(), range(runs), layers, torch.float64)


def batch(features: torch.Tensor, targets: torch.Tensor, *, rate: float = 0.1, momentum: float = 0.0) -> Inputs:
    numbers = torch.tensor([rate, rate, momentum, 0.0, 0.0]).double()[:, None].expand(ROWS, len(features))
    return Inputs(features, targets, torch.ones(()).double(), torch.arange(len(features)), numbers)


def test_a_step_worked_by_hand():
    """One example x = (1, 2): hidden unit 0 = 1·1 + 1·2 = 3, unit 1 = −1 stopped by ReLU; logits (3, 0), label 1.

    softmax = (e³, 1)/(e³ + 1) = (s, 1 − s); the logits' gradient is (s, −s); unit 0's is s·1 − s·0 = s.
    """
    networks = networks_of(
        Layer(torch.tensor([[[1.0, 1.0], [-1.0, 0.0]]]), torch.zeros(1, 2)),
        Layer(torch.eye(2)[None], torch.zeros(1, 2)),
    )
    s = math.exp(3) / (math.exp(3) + 1)
    losses = plain_step(networks, batch(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[1]])))
    assert losses.flatten().tolist() == pytest.approx([-math.log(1 - s)] * 2, rel=1e-6)
    first = [1 - 0.1 * s, 1 - 0.2 * s, -1.0, 0.0, -0.1 * s, 0.0]
    second = [1 - 0.3 * s, 0.0, 0.3 * s, 1.0, -0.1 * s, 0.1 * s]
    assert networks.values[0].tolist() == pytest.approx([*first, *second], rel=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "after"),
    [
        (Optimizer(moving=True), -0.2 - (0.1 * 0.9 + 0.1)),  # v = 1, 1.9
        (Optimizer(moving=True, classical=True), -0.2 - (0.2 * 0.9 + 0.1)),  # v = 0.2, 0.28
        (Optimizer(moving=True, nesterov=True), -0.2 * 1.9 - 0.1 * (1 + 0.9 * 1.9)),
    ],
)
def test_momentum_worked_by_hand(optimizer, after):
    """Two gradients of 1, at the rates 0.2 and 0.1."""
    values, moments, one = torch.zeros(1, 1), [[torch.zeros(1, 1)]], [torch.ones(1, 1)]
    for rate in (0.2, 0.1):
        optimizer.update([values], moments, one, torch.tensor([[rate], [rate], [0.9], [0.0], [0.0]]))
    assert values.item() == pytest.approx(after)


@KINDS
def test_the_gradient_is_that_of_finite_differences(kind):
    """Of what is minimized, by every value, with the noise held fixed by its address."""
    state = state_of(run_of(kind))
    networks, inputs = doubled(state.networks), next(state.inputs(state.networks))
    inputs = inputs._replace(
        features=inputs.features[:, :9], targets=inputs.targets[:, :9], scale=torch.tensor(1 / 255).double(),
        numbers=inputs.numbers.double(),
    )  # fmt: skip
    count = len(value_shapes(networks.network))

    def at(moved: torch.Tensor) -> tuple[float, torch.Tensor]:
        there = replace(networks, values=networks.values + moved)
        losses, gradients = derived(networks.network, there.flat[:count], there.flat[count:], inputs)
        return losses[1].item(), torch.cat([each.flatten() for each in gradients])

    gradient = at(torch.zeros(1))[1]
    for seed in range(20):
        way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(seed)).double()
        nudged = (at(way * 1e-7)[0] - at(way * -1e-7)[0]) / 2e-7
        assert (gradient @ way).item() == pytest.approx(nudged, rel=1e-4, abs=1e-6)


def test_outputs_that_each_say_yes_or_no_and_examples_of_unlike_weight():
    network = Network((5, 4, 3), output="logistic", regularizers=("label_smoothing",))
    layers = [Layer(*(part.double() for part in layer)) for layer in initial_layers(5, (4,), 3, [0])]
    generator = torch.Generator().manual_seed(1)
    x, targets = (torch.rand(1, 8, width, generator=generator).double() for width in (5, 3))
    shares = torch.rand(1, 8, generator=generator).double()
    loss, aim = network.objective(layers, [], Batch(x, targets, shares), Noise(torch.zeros(1)), torch.tensor([[0.2]]))
    logits = network.after_first(layers, network.first(layers, x))[1]
    for found, truth in ((loss, targets), (aim, 0.8 * targets + 0.1)):
        weight = shares[..., None].expand_as(logits)
        expected = nn.functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
        torch.testing.assert_close(found[0], expected)


def test_the_classical_form_of_momentum_is_pytorchs_until_the_rate_changes():
    def trained(**values: object) -> torch.Tensor:
        state = state_of(run_of("sgd", momentum=0.9, **values))
        for inputs in state.inputs(state.networks):
            plain_step(state.networks, inputs)
        return state.networks.values

    torch.testing.assert_close(trained(), trained(optimizer="classical"), rtol=1e-4, atol=1e-6)
    falling = {"schedule": "exponential", "schedule_epochs": 0.5}
    assert (trained(**falling) - trained(optimizer="classical", **falling)).abs().max() > 1e-3


def test_batch_normalization_moves_no_bias_before_it():
    state = state_of(run_of("batch_norm", optimizer="adam", momentum=0, learning_rate=0.01))
    before = [part.clone() for part in state.networks.flat[1:4:2]]
    plain_step(state.networks, next(state.inputs(state.networks)))
    assert all(map(torch.equal, before, state.networks.flat[1:4:2]))


def test_a_normalization_that_does_nothing_folds_to_the_same_layers():
    layers = initial_layers(12, (8, 6), 5, [0])
    ones = [torch.ones(1, width) for width in (8, 6)]
    norms = [Norm(one, layer.bias, torch.zeros_like(one), one - 1e-5) for one, layer in zip(ones, layers, strict=False)]
    for layer, done in zip(layers, folded(layers, norms), strict=True):
        torch.testing.assert_close(done, layer)


def test_what_is_scaled_at_inference_is_what_was_scaled_in_training():
    """The papers' weights behind a mask are 1/p of the inverted ones; a step of the same rate moves them p² times."""
    share, states = (
        0.75,
        [state_of(run_of("sgd", dropout=0.25, dropout_scaling=how)) for how in ("training", "inference")],
    )
    inverted, papers = (state.networks for state in states)
    for layer in (2, 4):
        papers.flat[layer].div_(share)
    before = inverted.values.clone()
    for mine, theirs in zip(papers.final(states[1].strengths), inverted.final(states[0].strengths), strict=True):
        torch.testing.assert_close(mine, theirs)
    losses = [plain_step(state.networks, next(state.inputs(state.networks))) for state in states]
    torch.testing.assert_close(*losses)
    moved = replace(inverted, values=inverted.values - before).flat
    for k, (mine, old) in enumerate(zip(papers.flat, replace(inverted, values=before).flat, strict=True)):
        p = share if k in (2, 4) else 1
        torch.testing.assert_close(p * mine - old, p * p * moved[k], rtol=1e-3, atol=1e-6)


def test_a_maxout_unit_is_the_largest_of_its_pieces():
    run = run_of("maxout")
    network, layers = state_of(run).networks.network, initial_of(run)
    assert [tuple(layer.weight.shape) for layer in layers] == [(1, 30, 20), (1, 18, 10), (1, 4, 6)]
    x = torch.rand(1, 9, 20, generator=torch.Generator().manual_seed(0))
    hidden, _ = network.after_first(layers, network.first(layers, x))
    products = x[0] @ layers[0].weight[0].T + layers[0].bias[0]
    torch.testing.assert_close(hidden[0][0], products.view(9, 10, 3).max(dim=2).values)


@KINDS
def test_bf16_products_move_weights_as_fp32_ones_do(kind):
    """bf16 has 8 significant bits: descent by its gradient agrees to a few percent; all else is fp32."""
    gradients = []
    for precision in ("fp32", "bf16"):
        state = state_of(run_of(kind), precision=precision)
        networks, count = state.networks, len(value_shapes(state.networks.network))
        statistics = networks.flat[count : len(networks.flat) - count * len(networks.moments)]
        made = derived(networks.network, networks.flat[:count], statistics, next(state.inputs(networks)))[1]
        assert {each.dtype for each in made} == {torch.float32}
        gradients.append(torch.cat([each.flatten() for each in made]))
    off = (gradients[0] - gradients[1]).norm()
    assert off < 0.1 * gradients[0].norm()
    assert (off > 0) == (kind != "linear"), "an output layer's products are never rounded"


def test_what_adams_moments_take_of_a_gradient_is_not_rounded_away():
    """In float32, 1 − 0.99999999 is 0."""
    run = run_of("adamw", beta_2=1 - 1e-8)
    assert numbers_of(run, np.arange(3), 7)[:, 3].astype(np.float32) == pytest.approx(1e-8, rel=1e-6)
