"""The step of any network, held against the fast step, PyTorch's own modules and optimizers, and formulas."""

import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from droplab.config import RunSettings
from droplab.errors import ConfigError
from droplab.model.regularizers import INPUT, TABLE, Regularizer, check, load_plugins
from droplab.model.general import General, Norm, folded
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer, layers_of
from droplab.model.noise import Noise
from droplab.model.regularizers import Dropout
from droplab.train.engine import train_pack
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples
from droplab.train.general import (
    Extras,
    final_layers,
    general_step,
    objective,
    parameters,
    rebuilt,
    training_noise,
)
from droplab.train.optimizers import SGD
from droplab.train.outcome import Trained, Way
from droplab.train.state import State
from droplab.train.step import StepInputs, train_step
from study_help import droplab as cli
from study_help import toy_npz
from toy import toy_examples

CPU = torch.device("cpu")
FEATURES, CLASSES, BATCH = 12, 5, 32
X = torch.rand(1, BATCH, FEATURES, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, CLASSES, (1, BATCH), generator=torch.Generator().manual_seed(2))
EXAMPLES = toy_examples()


def settings_of(**values: object) -> RunSettings:
    return RunSettings.parse({"widths": [8, 6], "learning_rate": 0.1, "epochs": 2, "batch_size": 32} | values)


def layers_for(settings: RunSettings) -> list[Layer]:
    pieces = settings.pieces if settings.activation == "maxout" else 1
    return initial_layers(
        FEATURES, settings.widths, CLASSES, [settings.seed], scheme=settings.initial_weights, pieces=pieces
    )


def stepped(settings: RunSettings, steps: int = 1) -> tuple[list[Layer], Extras, list[float]]:
    """Layers after so many updates on one batch, and the losses before each."""
    layers, losses = layers_for(settings), []
    extras = Extras.initial(settings, layers)
    general = General.of(settings, settings.dropout, "fp32")
    for update in range(steps):
        noise = training_noise(settings, 0, update, CPU)
        losses.append(general_step(settings, general, layers, extras, X, Y, noise, update, 10).item())
    return layers, extras, losses


def module_of(layers: list[Layer], activation: nn.Module) -> nn.Sequential:
    parts: list[nn.Module] = []
    for k, layer in enumerate(layers):
        linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
        with torch.no_grad():
            linear.weight.copy_(layer.weight[0])
            linear.bias.copy_(layer.bias[0])
        parts += [linear] + ([activation] if k < len(layers) - 1 else [])
    return nn.Sequential(*parts)


def assert_same(layers: list[Layer], module: nn.Sequential, **tolerance: float) -> None:
    linears = [part for part in module if isinstance(part, nn.Linear)]
    for layer, linear in zip(layers, linears, strict=True):
        torch.testing.assert_close(layer.weight[0], linear.weight.detach(), **tolerance)
        torch.testing.assert_close(layer.bias[0], linear.bias.detach(), **tolerance)


@pytest.mark.parametrize(("dropout", "momentum"), [(0.0, 0.0), (0.5, 0.9), (0.3, 0.5)])
def test_what_the_fast_step_trains_it_trains_alike(dropout, momentum):
    settings = settings_of(dropout=dropout, momentum=momentum, seed=3)
    assert settings.is_plain
    mine, _, losses = stepped(settings, 4)
    layers, rates = layers_for(settings), Dropout.of([3], [dropout])
    optimizer = SGD.of([0.1], [momentum], CPU)
    velocities = optimizer.initial_state(layers)
    for update in range(4):
        inputs = StepInputs(X, Y, torch.ones(()), torch.tensor(update), optimizer, rates.training(2, 0, CPU))
        assert train_step(layers, velocities, inputs, "fp32").item() == pytest.approx(losses[update], rel=1e-5)
    for a, b in zip(mine, layers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


ACTIVATIONS = {"relu": nn.ReLU(), "logistic": nn.Sigmoid(), "tanh": nn.Tanh(), "gelu": nn.GELU()}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("values", "optimizer"),
    [
        ({"optimizer": "nesterov", "momentum": 0.9}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        ({"optimizer": "adam", "learning_rate": 0.01}, lambda p: torch.optim.Adam(p, 0.01)),
        ({"optimizer": "sgd", "momentum": 0.5}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.5)),
    ],
)
def test_activations_and_optimizers_are_pytorchs(activation, values, optimizer):
    settings = settings_of(activation=activation, **values)
    module = module_of(layers_for(settings), ACTIVATIONS[activation])
    descent = optimizer(module.parameters())
    for _ in range(5):
        descent.zero_grad()
        nn.functional.cross_entropy(module(X[0]), Y[0]).backward()
        descent.step()
    assert_same(stepped(settings, 5)[0], module, rtol=1e-3, atol=1e-5)


def test_adamw_decays_weights_alone_and_as_pytorch_does():
    settings = settings_of(optimizer="adamw", learning_rate=0.01, regularizers={"weight_decay": 0.3})
    module = module_of(layers_for(settings), nn.ReLU())
    weights = [part for name, part in module.named_parameters() if name.endswith("weight")]
    biases = [part for name, part in module.named_parameters() if name.endswith("bias")]
    descent = torch.optim.AdamW([{"params": weights}, {"params": biases, "weight_decay": 0.0}], 0.01, weight_decay=0.3)
    for _ in range(5):
        descent.zero_grad()
        nn.functional.cross_entropy(module(X[0]), Y[0]).backward()
        descent.step()
    assert_same(stepped(settings, 5)[0], module, rtol=1e-3, atol=1e-5)
    default = stepped(settings_of(optimizer="adamw", learning_rate=0.01), 1)[0]
    given = stepped(settings_of(optimizer="adamw", learning_rate=0.01, regularizers={"weight_decay": 0.01}), 1)[0]
    assert torch.equal(default[0].weight, given[0].weight)


def test_the_classical_form_of_momentum_differs_where_the_rate_changes():
    """v ← m·v − rate·g: with a constant rate the same path; with a falling one, another."""
    same = {"momentum": 0.9, "seed": 1}
    pytorch, classical = (stepped(settings_of(optimizer=name, **same), 5)[0] for name in ("sgd", "classical"))
    torch.testing.assert_close(pytorch[0].weight, classical[0].weight, rtol=1e-4, atol=1e-6)
    falling = same | {"schedule": "exponential", "schedule_final": 0.01, "schedule_epochs": 0.5}
    pytorch, classical = (stepped(settings_of(optimizer=name, **falling), 5)[0] for name in ("sgd", "classical"))
    assert (pytorch[0].weight - classical[0].weight).abs().max() > 1e-3


def step_from(settings: RunSettings) -> tuple[list[Layer], list[Layer], list[Layer]]:
    """Weights before and after one update, and after one of the control."""
    control = settings.model_copy(update={"regularizers": ()})
    return layers_for(settings), stepped(settings)[0], stepped(control)[0]


@pytest.mark.parametrize(
    ("name", "strength", "change"),
    [
        ("l2", 0.03, lambda w: 0.1 * 0.03 * w),
        ("l1", 0.02, lambda w: 0.1 * 0.02 * w.sign()),
        ("weight_decay", 0.5, lambda w: 0.1 * 0.5 * w),
    ],
)
def test_penalties_and_decay_are_their_formulas(name, strength, change):
    before, after, control = step_from(settings_of(regularizers={name: strength}))
    for old, new, plain in zip(before, after, control, strict=True):
        torch.testing.assert_close(plain.weight - new.weight, change(old.weight), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(plain.bias, new.bias)


def test_strengths_may_differ_by_layer():
    before, after, control = step_from(settings_of(regularizers={"l2": (0.0, 0.5, 0.0)}))
    assert torch.equal(after[0].weight, control[0].weight)
    torch.testing.assert_close(control[1].weight - after[1].weight, 0.05 * before[1].weight, rtol=1e-3, atol=1e-6)


def test_max_norm_bounds_the_incoming_weights_of_each_unit_and_leaves_the_others():
    _, after, control = step_from(settings_of(regularizers={"max_norm": 0.55}))
    for bound, free in zip(after, control, strict=True):
        norms, had = bound.weight.norm(dim=2), free.weight.norm(dim=2)
        torch.testing.assert_close(norms, had.clamp_max(0.55), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(bound.weight / norms[..., None], free.weight / had[..., None], rtol=1e-4, atol=1e-5)
    assert any((free.weight.norm(dim=2) < 0.55).any() for free in control)
    assert any((free.weight.norm(dim=2) > 0.55).any() for free in control)


def test_label_smoothing_is_pytorchs():
    settings = settings_of(regularizers={"label_smoothing": 0.2})
    module = module_of(layers_for(settings), nn.ReLU())
    descent = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        descent.zero_grad()
        nn.functional.cross_entropy(module(X[0]), Y[0], label_smoothing=0.2).backward()
        descent.step()
    layers, _, losses = stepped(settings, 3)
    assert_same(layers, module, rtol=1e-4, atol=1e-6)
    fresh = module_of(layers_for(settings), nn.ReLU())
    assert losses[0] == pytest.approx(nn.functional.cross_entropy(fresh(X[0]), Y[0]).item(), rel=1e-5)


def test_kl_sparsity_is_its_formula_and_lowers_the_activations():
    hidden = [torch.full((1, 4, 2), 0.25)]
    mean, target = 0.25 / 1.25, 0.05
    kl = target * math.log(target / mean) + (1 - target) * math.log((1 - target) / (1 - mean))
    penalty = TABLE["kl_sparsity"].penalty
    assert penalty is not None
    assert penalty([], hidden, (3.0,)).item() == pytest.approx(3 * 2 * kl, rel=1e-5)
    sparse, free = (
        stepped(settings_of(activation="logistic", regularizers=r), 40)[0] for r in ({"kl_sparsity": 0.5}, {})
    )
    means = [
        General.of(settings_of(activation="logistic"), 0, "fp32").forward(n, X, None)[0][0].mean()
        for n in (sparse, free)
    ]
    assert means[0] < 0.8 * means[1]


def test_batch_normalization_is_pytorchs_and_folds_away():
    settings = settings_of(regularizers={"batch_norm": 1})
    linears = [part for part in module_of(layers_for(settings), nn.ReLU()) if isinstance(part, nn.Linear)]
    norms = [nn.BatchNorm1d(width) for width in settings.widths]
    module = nn.Sequential(linears[0], norms[0], nn.ReLU(), linears[1], norms[1], nn.ReLU(), linears[2])
    descent = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(4):
        descent.zero_grad()
        nn.functional.cross_entropy(module(X[0]), Y[0]).backward()
        descent.step()
    layers, extras, _ = stepped(settings, 4)
    for norm, theirs in zip(extras.norms, norms, strict=True):
        for mine, part in zip(norm, (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var), strict=True):
            torch.testing.assert_close(mine[0], part.detach(), rtol=1e-3, atol=1e-5)
    module.eval()
    general = General.of(settings, 0.0, "fp32")
    logits = general.forward(final_layers(settings, layers, extras), X, None)[1]
    torch.testing.assert_close(logits[0], module(X[0]).detach(), rtol=1e-3, atol=1e-4)


def test_a_norm_that_does_nothing_folds_to_the_same_layers():
    layers = layers_for(settings_of())
    ones = [torch.ones(1, width) for width in (8, 6)]
    norms = [Norm(one, torch.zeros_like(one), torch.zeros_like(one), one - 1e-5) for one in ones]
    for folded_layer, layer in zip(folded(layers, norms), layers, strict=True):
        torch.testing.assert_close(folded_layer, layer)


def test_a_maxout_unit_is_the_largest_of_its_pieces():
    settings = settings_of(activation="maxout", pieces=3)
    layers = layers_for(settings)
    assert [tuple(layer.weight.shape) for layer in layers] == [(1, 24, 12), (1, 18, 8), (1, 5, 6)]
    hidden, _ = General.of(settings, 0.0, "fp32").forward(layers, X, None)
    products = (X[0] @ layers[0].weight[0].T + layers[0].bias[0]).view(BATCH, 8, 3)
    torch.testing.assert_close(hidden[0][0], products.max(dim=2).values)
    assert stepped(settings, 30)[2][-1] < stepped(settings, 1)[2][0]


@pytest.mark.parametrize("scheme", ["he", "glorot", "fan_in"])
def test_initial_weights_have_the_spread_of_their_paper(scheme):
    (layer,) = initial_layers(400, (), 300, [5], scheme=scheme)
    spread = {"he": math.sqrt(2 / 400), "glorot": math.sqrt(2 / 700), "fan_in": 1 / 20}[scheme]
    assert layer.weight.std().item() == pytest.approx(spread, rel=0.02)
    assert layer.weight.mean().abs() < 0.01 * spread * 3
    assert not layer.bias.any()
    again, _ = initial_layers(400, (300,), 7, [5], scheme=scheme) if scheme != "glorot" else (layer, None)
    assert torch.equal(again.weight, layer.weight), "a layer of the same shape is the same in any network"


def test_noise_is_addressed_by_example_and_has_the_moments_it_should():
    noise = Noise((4,), (2, 7), True, CPU)
    whole = noise.normal(INPUT, 500, 40)
    part = Noise((4,), (2, 7), True, CPU, first=100).normal(INPUT, 50, 40)
    assert torch.equal(whole[:, 100:150], part)
    assert whole.mean().abs() < 0.02
    assert whole.std().item() == pytest.approx(1, abs=0.02)
    assert (whole.pow(4).mean() - 3).abs() < 0.2
    for other in (Noise((5,), (2, 7), True, CPU), Noise((4,), (2, 8), True, CPU), Noise((4,), (2, 7), False, CPU)):
        assert not torch.equal(other.normal(INPUT, 500, 40), whole)
    assert not torch.equal(noise.normal(0, 500, 40), whole)
    masks = Dropout.of([4], [0.3]).training(2, 2, CPU)
    assert masks is not None
    assert torch.equal(noise.kept(1, 0.3, 60, 9), masks.at(7).kept(1, 60, 9).float()), "dropout's own masks"


@pytest.mark.parametrize("name", ["input_dropout", "gaussian_dropout", "input_gaussian_dropout"])
def test_what_disturbs_units_keeps_their_mean_and_has_the_variance_of_its_rate(name):
    entry, noise, ones = TABLE[name], Noise((1,), (0, 0), True, CPU), torch.ones(1, 800, 50)
    act = entry.on_input or (lambda values, strengths, noise: entry.on_hidden(values, 0, strengths, noise))
    disturbed = act(ones, (0.25,), noise)
    assert disturbed.mean().item() == pytest.approx(1, abs=0.01)
    assert disturbed.var().item() == pytest.approx(0.25 / 0.75, rel=0.05)


@pytest.mark.parametrize("name", ["input_noise", "hidden_noise"])
def test_additive_noise_has_mean_0_and_its_strength_as_deviation(name):
    entry, noise, ones = TABLE[name], Noise((1,), (0, 0), True, CPU), torch.ones(1, 800, 50)
    act = entry.on_input or (lambda values, strengths, noise: entry.on_hidden(values, 0, strengths, noise))
    added = act(ones, (0.25,), noise) - ones
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    assert added.std().item() == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("activation", ["relu", "logistic", "tanh", "gelu", "maxout"])
@pytest.mark.parametrize("name", list(TABLE))
def test_the_gradient_is_that_of_finite_differences(name, activation):
    """Of the whole objective, noise held fixed by its address, in double precision, by every parameter."""
    settings = settings_of(activation=activation, regularizers={name: TABLE[name].strength})
    layers = [Layer(*(part.double() for part in layer)) for layer in layers_for(settings)]
    norms = [Norm(*(part.double() for part in norm)) for norm in Extras.initial(settings, layers).norms]
    general, noise = General.of(settings, 0.0, "fp32"), Noise((3,), (0, 0), True, CPU)

    def aim(*parts: torch.Tensor) -> torch.Tensor:
        return objective(general, *rebuilt(layers, norms, parts), X[:, :8].double(), Y[:, :8], noise)[1]

    leaves = [part.requires_grad_() for part in parameters(layers, norms)]
    assert torch.autograd.gradcheck(aim, leaves, eps=1e-7, atol=1e-6, rtol=1e-4, fast_mode=True)


def test_scaling_at_inference_is_inverted_dropout_with_smaller_weights_and_steps():
    """The papers' weights behind a mask are 1/p of the inverted ones; a step of the same rate moves them p times."""
    rate, learning_rate = 0.25, 0.1
    inverted = settings_of(widths=[8], dropout=rate, learning_rate=learning_rate)
    papers = settings_of(widths=[8], dropout=rate, learning_rate=learning_rate, dropout_scaling="inference")
    assert not papers.is_plain
    (before, extras, _), share = stepped(inverted, 0), 1 - rate
    mine = [before[0], Layer(before[1].weight / share, before[1].bias.clone())]
    mine = [Layer(*(part.clone() for part in layer)) for layer in mine]
    for a, b in zip(final_layers(papers, mine, extras), before, strict=True):
        torch.testing.assert_close(a.weight, b.weight, rtol=1e-6, atol=1e-7)
    general = General.of(papers, rate, "fp32")
    loss = general_step(papers, general, mine, extras, X, Y, training_noise(papers, 0, 0, CPU), 0, 10)
    after, _, losses = stepped(inverted, 1)
    assert loss.item() == pytest.approx(losses[0], rel=1e-5), "the same function of the features"
    moved = [new.weight - old.weight for new, old in zip(after, before, strict=True)]
    torch.testing.assert_close(mine[0].weight - before[0].weight, moved[0], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(share * mine[1].weight - before[1].weight, share**2 * moved[1], rtol=1e-3, atol=1e-6)


def test_every_mask_is_made_up_for_at_inference():
    settings = settings_of(dropout=(0.75, 0.5), dropout_scaling="inference", regularizers={"input_dropout": 0.25})
    layers, extras, _ = stepped(settings, 1)
    for done, layer, share in zip(final_layers(settings, layers, extras), layers, (0.75, 0.25, 0.5), strict=True):
        torch.testing.assert_close(done.weight, share * layer.weight)
        assert torch.equal(done.bias, layer.bias)
    trained = trained_of(settings)
    again = evaluate(
        layers_of(trained.weights),
        EXAMPLES.test,
        "test",
        "fp32",
        general=General.of(settings, settings.dropout, "fp32"),
    )
    assert again["off"].nll.item() == pytest.approx(trained.outcome.metric("off", "test", "nll"), rel=1e-6)


def trained_of(settings: RunSettings, examples: Examples = EXAMPLES) -> Trained:
    (trained,) = train_pack([settings], examples, Way("cpu", "fp32"), lambda _: None)
    assert isinstance(trained, Trained)
    return trained


def same_bits(a: Trained, b: Trained) -> bool:
    return a.weights.keys() == b.weights.keys() and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)


EVERYTHING = {
    "activation": "maxout",
    "pieces": 2,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "dropout": 0.3,
    "epochs": 3,
    "regularizers": {
        "input_dropout": 0.1, "gaussian_dropout": 0.2, "input_noise": 0.1, "hidden_noise": 0.05, "l2": 1e-4, "l1": 1e-5,
        "max_norm": 2.0,
        "kl_sparsity": 1e-3, "label_smoothing": 0.1, "batch_norm": 1, "weight_decay": 1e-3, "early_stopping": 9,
    },
}  # fmt: skip


def test_all_of_them_together_train_and_a_run_is_the_same_alone_and_in_a_pack():
    settings = settings_of(**EVERYTHING)
    alone = trained_of(settings)
    assert alone.outcome.curves.train_loss[-1] < alone.outcome.curves.train_loss[0]
    other = settings_of(**EVERYTHING, seed=5)
    pack = train_pack([other, settings], EXAMPLES, Way("cpu", "fp32", stacked=True), lambda _: None)
    assert isinstance(pack[1], Trained)
    assert same_bits(pack[1], alone)
    assert not same_bits(pack[1], pack[0])
    outcome = alone.outcome
    assert outcome.metric("mc", "test", "nll") != outcome.metric("on", "test", "nll")
    layers = layers_of(alone.weights)
    said = evaluate(layers, EXAMPLES.test, "test", "fp32", general=General.of(settings, 0.3, "fp32"))["off"]
    assert said.nll.item() == pytest.approx(outcome.metric("off", "test", "nll"), rel=1e-6)


def test_a_run_that_goes_on_from_its_state_ends_with_the_same_bits():
    settings = settings_of(**EVERYTHING)
    whole = trained_of(settings)
    caught: list[dict[str, torch.Tensor]] = []

    class Once:
        """A checkpoint that catches the state after some steps, and gives it to the next training."""

        cost = None

        def offer(self, states: list[State]) -> None:
            if states[0].epoch == 1 and states[0].step == 2:
                caught.append({name: tensor.clone() for name, tensor in states[0].tensors().items()})

        def read(self, states: list[State]) -> None:
            if caught:
                states[0].restore(caught[0])

    train_pack([settings], EXAMPLES, Way("cpu", "fp32"), lambda _: None, Once())
    assert caught
    steps = []
    (again,) = train_pack([settings], EXAMPLES, Way("cpu", "fp32"), steps.append, Once())
    assert isinstance(again, Trained)
    assert same_bits(again, whole)
    assert [progress.epoch for progress in steps] == [2, 3], "not from the start"


def test_early_stopping_keeps_the_best_network_and_ends_the_run():
    settings = settings_of(learning_rate=2.0, epochs=60, regularizers={"early_stopping": 3})
    trained = trained_of(settings)
    curves = trained.outcome.curves
    assert 4 <= len(curves.train_loss) < 60
    found = evaluate(layers_of(trained.weights), EXAMPLES.valid, "valid", "fp32")["off"].nll.item()
    assert found == pytest.approx(trained.outcome.metric("off", "valid", "nll"), rel=1e-6)
    best = len(curves.train_loss) - 3
    shorter = trained_of(settings_of(learning_rate=2.0, epochs=best, regularizers={"early_stopping": 60}))
    assert same_bits(shorter, trained), "the network after the epoch with the lowest loss on valid"


@pytest.mark.parametrize("name", list(TABLE))
def test_strength_0_is_the_control_itself(name):
    settings = settings_of(regularizers={name: 0})
    assert settings == settings_of()
    assert settings.content_key("f", "fp32") == settings_of().content_key("f", "fp32")
    used = settings_of(regularizers={name: TABLE[name].strength})
    assert used.content_key("f", "fp32") != settings.content_key("f", "fp32")
    check(used.regularizers, 2)
    assert isinstance(trained_of(used), Trained)


@pytest.mark.parametrize(
    ("regularizers", "message"),
    [
        ({"max_nrom": 3}, "Did you mean 'max_norm'"),
        ({"input_dropout": 1.0}, r"input_dropout .* must lie between 0 and 0.99; found 1\."),
        ({"max_norm": (1, 2)}, "one strength or one for each of 3 layers; found 2"),
        ({"gaussian_dropout": (0.1, 0.2, 0.3)}, "each of 2 layers; found 3"),
        ({"label_smoothing": (0.1, 0.2)}, "one strength and no more; found 2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(regularizers, message):
    with pytest.raises(ConfigError, match=message):
        check(settings_of(regularizers=regularizers).regularizers, 2)


def test_nothing_can_be_stopped_on_where_nothing_is_held_out():
    with pytest.raises(ConfigError, match="early_stopping needs valid"):
        settings_of(regularizers={"early_stopping": 3}, valid_fraction=0)


def test_bf16_products_change_little():
    settings = settings_of(**EVERYTHING)
    (rounded,) = train_pack([settings], EXAMPLES, Way("cpu", "bf16"), lambda _: None)
    assert isinstance(rounded, Trained)
    exact = trained_of(settings)
    assert rounded.outcome.curves.train_loss == pytest.approx(exact.outcome.curves.train_loss, rel=0.05)
    assert not same_bits(rounded, exact)


def test_a_plugin_adds_its_regularizer_and_one_that_fails_says_which_file(tmp_path, monkeypatch):
    good, bad, taken = (tmp_path / f"{name}.py" for name in ("good", "bad", "taken"))
    entry = 'import droplab\ndroplab.register(droplab.Regularizer("{}", "me", 0.5, 1, "s"))\n'
    good.write_text(entry.format("halved"))
    bad.write_text("1 / 0")
    taken.write_text(entry.format("max_norm"))
    monkeypatch.setitem(TABLE, "halved", TABLE["l2"])
    monkeypatch.setenv("DROPLAB_PLUGINS", str(good))
    load_plugins()
    assert TABLE["halved"].source == "me"
    monkeypatch.setenv("DROPLAB_PLUGINS", os.pathsep.join(map(str, (good, bad))))
    with pytest.raises(ConfigError, match=rf"{bad}: a plugin must be .* found ZeroDivisionError"):
        load_plugins()
    monkeypatch.setenv("DROPLAB_PLUGINS", str(taken))
    with pytest.raises(ConfigError, match="name must be its own; found a second 'max_norm'"):
        load_plugins()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Trains a network with a plugin's regularizer, and gives its file where the plugin is not."""

    def made(**acting):
        monkeypatch.setitem(TABLE, "theirs", Regularizer("theirs", "me", 0.5, 1, "s", **acting))
        data, model = toy_npz(tmp_path / "toy.npz"), tmp_path / "m.safetensors"
        settings = ("--widths", "8", "--epochs", "1", "--regularizers", "theirs=0.5+max_norm=3")
        said = cli("train", "--data", data, *settings, "--out", model, "--store", tmp_path / "s.db")
        assert said.code == 0, said
        monkeypatch.delitem(TABLE, "theirs")
        return model, data

    return made


def test_what_acts_in_training_alone_need_not_be_known_to_use_a_network(elsewhere, tmp_path):
    model, data = elsewhere(penalty=lambda layers, _, strengths: strengths[0] * layers[0].weight.square().sum())
    said = cli("evaluate", model, "--data", data)
    assert said.code == 0, said
    assert said.out.count("accuracy") == 3
    assert cli("predict", model, data).code == 0
    assert cli("export", model, "--to", "torch", "--check", data, "--out", tmp_path / "m.pt2").code == 0
    assert "trained without" in cli("predict", model, data, "--uncertainty").errors


def test_noise_that_is_not_known_is_named_where_it_must_be_left_on_and_only_there(elsewhere, tmp_path):
    model, data = elsewhere(on_hidden=lambda h, *_: h * 0.5)
    for command in (["evaluate", model, "--data", data], ["predict", model, data, "--uncertainty"]):
        said = cli(*command)
        assert (said.code, said.errors.count("\n")) == (1, 1)
        assert "found none called theirs, of a plugin" in said.errors
    assert cli("predict", model, data).code == 0
    assert cli("export", model, "--to", "safetensors", "--out", tmp_path / "m.tensors").code == 0
