"""One update, held against a calculation by hand, finite differences and PyTorch's own modules.

R runs, B examples, F features, C classes.
"""

import math

import pytest
import torch
from torch import nn

from droplab.model.initialise import initial_layers
from droplab.model.network import Layer, backward, compute_layers, forward
from droplab.model.regularizers import Dropout
from droplab.train.optimizers import SGD
from droplab.train.step import StepInputs, cross_entropy, train_step

CPU = torch.device("cpu")


def stepped(layers, velocities, inputs, labels, dropout, optimizer, precision="fp32", address=(0, 0)):
    """One update at (epoch, step) = `address`."""
    dropping = dropout.training(len(layers) - 1, address[0], CPU)
    number, scale = torch.tensor(address[1]), torch.ones((), dtype=layers[0].weight.dtype)
    return train_step(layers, velocities, StepInputs(inputs, labels, scale, number, optimizer, dropping), precision)


def batch(runs, size, features=12, classes=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(runs, size, features, generator=generator, dtype=dtype)
    return inputs, torch.randint(0, classes, (runs, size), generator=generator)


def module_with_masks(layers, run, dropout, address, size):
    """The same network as PyTorch modules, with the masks of `address` in the place of `nn.Dropout`."""

    class Masked(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            dropping = dropout.training(self.layer + 1, address[0], CPU)
            if dropping is None:
                return x
            return x * dropping.at(address[1]).kept(self.layer, size, x.shape[1])[run] * dropping.scale(x.dtype)[run]

    modules = []
    for index, layer in enumerate(layers):
        linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1], dtype=layer.weight.dtype)
        with torch.no_grad():
            linear.weight.copy_(layer.weight[run])
            linear.bias.copy_(layer.bias[run])
        modules += [linear] + ([nn.ReLU(), Masked(index)] if index < len(layers) - 1 else [])
    return nn.Sequential(*modules)


def test_a_step_worked_by_hand():
    """One example x = (1, 2): hidden unit 0 = 1·1 + 1·2 = 3, unit 1 = −1 stopped by ReLU; logits (3, 0), label 1.

    softmax = (e³, 1)/(e³ + 1) = (s, 1 − s); the logits' gradient is (s, −s); unit 0's is s·1 − s·0 = s.
    """
    layers = [
        Layer(torch.tensor([[[1.0, 1.0], [-1.0, 0.0]]]), torch.tensor([[0.0, 0.0]])),
        Layer(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[0.0, 0.0]])),
    ]
    s = math.exp(3) / (math.exp(3) + 1)
    optimizer = SGD.of([0.1], [0.0], CPU)
    loss = stepped(layers, [], torch.tensor([[[1.0, 2.0]]]), torch.tensor([[1]]), Dropout.of([0], [0.0]), optimizer)
    assert loss.item() == pytest.approx(-math.log(1 - s), rel=1e-5)
    expected = [
        [[[1 - 0.1 * s, 1 - 0.2 * s], [-1.0, 0.0]]],
        [[-0.1 * s, 0.0]],
        [[[1 - 0.3 * s, 0.0], [0.3 * s, 1.0]]],
        [[-0.1 * s, 0.1 * s]],
    ]
    for part, values in zip((*layers[0], *layers[1]), expected, strict=True):
        torch.testing.assert_close(part, torch.tensor(values))


def test_momentum_worked_by_hand():
    """v ← m·v + g, w ← w − rate·v with g = 1 twice: v = 1, 1.9; w = 0 − 0.1 − 0.19."""
    layers = [Layer(torch.zeros(1, 1, 1), torch.zeros(1, 1))]
    optimizer = SGD.of([0.1], [0.9], CPU)
    state = optimizer.initial_state(layers)
    for _ in range(2):
        optimizer.update(layers, state, [Layer(torch.ones(1, 1, 1), torch.ones(1, 1))])
    assert layers[0].weight.item() == pytest.approx(-0.29)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.3])
def test_gradients_are_finite_differences_with_the_masks_fixed(rate):
    layers = [Layer(*(part.double() for part in layer)) for layer in initial_layers(6, (7, 5), 4, [3])]
    inputs, labels = batch(1, 9, features=6, classes=4, dtype=torch.float64)
    dropping = Dropout.of([3], [rate]).training(2, 0, CPU)

    def run():
        working = compute_layers(layers, "fp32", dropping)
        return working, *forward(working, inputs, dropping)

    working, seen, logits = run()
    gradients = backward(working, seen, cross_entropy(logits, labels)[1], dropping)
    for layer, gradient in zip(layers, gradients, strict=True):
        for part, grad in zip(layer, gradient, strict=True):
            flat = part.view(-1)
            for index in range(0, len(flat), 5):
                at, losses = flat[index].item(), []
                for nudged in (at + 1e-6, at - 1e-6):
                    flat[index] = nudged
                    losses.append(cross_entropy(run()[2], labels)[0].item())
                flat[index] = at
                assert grad.view(-1)[index].item() == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("widths", [(), (8,), (16, 8, 4)])
@pytest.mark.parametrize("rate", [0.0, 0.5, 0.3])
def test_steps_match_torch_sgd_on_torch_modules(widths, rate, momentum):
    layers = [Layer(*(part.double() for part in layer)) for layer in initial_layers(12, widths, 5, [2])]
    dropout = Dropout.of([2], [rate])
    optimizer = SGD.of([0.25], [momentum], CPU)
    reference = module_with_masks(layers, 0, dropout, (4, 0), 10)
    torch_sgd = torch.optim.SGD(reference.parameters(), lr=0.25, momentum=momentum)
    state = optimizer.initial_state(layers)
    inputs, labels = batch(1, 10, dtype=torch.float64)
    for _ in range(5):
        loss = stepped(layers, state, inputs, labels, dropout, optimizer, address=(4, 0))
        expected = nn.functional.cross_entropy(reference(inputs[0]), labels[0])
        torch_sgd.zero_grad()
        expected.backward()
        torch_sgd.step()
        torch.testing.assert_close(loss[0], expected.detach(), rtol=1e-7, atol=1e-9)
    ours = [part for layer in layers for part in layer]
    for part, parameter in zip(ours, reference.parameters(), strict=True):
        # the optimizer's rates are float32, so 0.9 differs from the reference's in the eighth digit
        torch.testing.assert_close(part[0], parameter.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.3, 0.5])
def test_the_scale_of_kept_units_is_not_rounded_to_bf16(rate):
    """bf16 holds 1/(1 − 0.1) as 1.1094: every unit would be 0.16 % too small. Over the weights it is exact."""
    layers = initial_layers(512, (512,), 10, [0])
    dropping = Dropout.of([0], [rate]).training(2, 0, CPU)
    working = compute_layers([layers[0], *layers], "bf16", dropping)[1]
    ratio = (working.weight.double() * layers[0].weight).sum() / (layers[0].weight.double() ** 2).sum()
    assert ratio.item() == pytest.approx(dropping.scale(torch.float64).item(), rel=1e-4)


def test_bf16_products_stay_close_to_fp32():
    """bf16 has 8 significant bits: after one step the updates agree to a few percent of their size."""
    inputs, labels = batch(1, 64)
    dropout, optimizer = Dropout.of([0], [0.5]), SGD.of([0.5], [0.0], CPU)
    updates = []
    for precision in ("fp32", "bf16"):
        layers = initial_layers(12, (32, 16), 5, [0])
        stepped(layers, [], inputs, labels, dropout, optimizer, precision)
        before = initial_layers(12, (32, 16), 5, [0])
        updates.append([new.weight - old.weight for new, old in zip(layers, before, strict=True)])
        assert all(layer.weight.dtype == torch.float32 for layer in layers)
    for exact, rounded in zip(*updates, strict=True):
        assert (exact - rounded).norm() < 0.03 * exact.norm()


def test_a_run_steps_alone_as_in_a_pack_of_other_rates():
    """Stacked products may add in another order; fp32 agrees to 1e-5 after twenty steps."""
    seeds, rates, learning_rates, momenta = [0, 1, 2], [0.5, 0.0, 0.3], [0.1, 0.2, 0.3], [0.9, 0.0, 0.5]
    inputs, labels = batch(3, 16)

    def trained(runs):
        layers = initial_layers(12, (16, 8), 5, [seeds[run] for run in runs])
        dropout = Dropout.of([seeds[run] for run in runs], [rates[run] for run in runs])
        optimizer = SGD.of([learning_rates[run] for run in runs], [momenta[run] for run in runs], CPU)
        state = optimizer.initial_state(layers)
        for step in range(20):
            stepped(layers, state, inputs[runs], labels[runs], dropout, optimizer, address=(0, step))
        return layers

    together = trained([0, 1, 2])
    for run in range(3):
        for pack, alone in zip(together, trained([run]), strict=True):
            torch.testing.assert_close(pack.weight[run], alone.weight[0], rtol=1e-5, atol=1e-5)


def test_cross_entropy_is_that_of_torch_with_its_gradient():
    logits = torch.randn(2, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[0, 1, 2, 3, 0, 1, 2], [3, 3, 3, 3, 0, 0, 0]])
    loss, grad = cross_entropy(logits.detach(), labels)
    for run in range(2):
        expected = nn.functional.cross_entropy(logits[run], labels[run])
        torch.testing.assert_close(loss[run], expected.detach())
        torch.testing.assert_close(grad[run], torch.autograd.grad(expected, logits)[0][run])
