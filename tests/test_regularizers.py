"""The table of regularizers: what each entry does, what is refused, and those that are registered."""

import math
import os
from functools import partial

import pytest
import torch

from droplab.config import RunSettings
from droplab.errors import ConfigError
from droplab.model.network import Layer
from droplab.model.noise import Noise
from droplab.model.regularizers import DROPOUT, TABLE, Regularizer, check, load_plugins, register
from droplab.train.loop import train_pack
from droplab.train.outcome import Way
from droplab.train.step import plain_step, traced_step
from recipes import EXAMPLES, run_of, state_of
from study_help import droplab as cli
from study_help import toy_npz

ONES = torch.ones(1, 800, 50)


def disturbed(name, strength):
    """What a regularizer makes of ones."""
    entry, noise = DROPOUT if name == "dropout" else TABLE[name], Noise(torch.tensor([1]))
    strengths = (torch.tensor([strength]),)
    return entry.on_input(ONES, strengths, noise) if entry.on_input else entry.on_hidden(ONES, 0, strengths, noise)


@pytest.mark.parametrize("name", ["dropout", "input_dropout", "gaussian_dropout", "input_gaussian_dropout"])
def test_what_multiplies_units_keeps_their_mean_and_has_the_variance_of_its_rate(name):
    assert disturbed(name, 0.25).mean().item() == pytest.approx(1, abs=0.01)
    assert disturbed(name, 0.25).var().item() == pytest.approx(0.25 / 0.75, rel=0.05)


@pytest.mark.parametrize("name", ["input_noise", "hidden_noise"])
def test_additive_noise_has_mean_0_and_its_strength_as_deviation(name):
    added = disturbed(name, 0.25) - ONES
    assert added.mean().item() == pytest.approx(0, abs=0.01)
    assert added.std().item() == pytest.approx(0.25, rel=0.02)


def test_max_norm_bounds_the_incoming_weights_of_each_unit_and_leaves_the_others():
    free = torch.rand(2, 8, 5, generator=torch.Generator().manual_seed(0))
    layer = Layer(free.clone(), torch.zeros(2, 8))
    TABLE["max_norm"].after_update([layer], (torch.tensor([1.2, 0.0]),))
    norms, had = layer.weight[0].norm(dim=1), free[0].norm(dim=1)
    assert (had < 1.2).any()
    assert (had > 1.2).any()
    torch.testing.assert_close(norms, had.clamp_max(1.2))
    torch.testing.assert_close(layer.weight[0] / norms[:, None], free[0] / had[:, None])
    assert torch.equal(layer.weight[1], free[1]), "0 is no bound"


def test_kl_sparsity_is_its_formula():
    mean, target = 0.25 / 1.25, 0.05
    kl = target * math.log(target / mean) + (1 - target) * math.log((1 - target) / (1 - mean))
    found = TABLE["kl_sparsity"].penalty([], [torch.full((1, 4, 2), 0.25)], (torch.tensor([3.0]),))
    assert found.tolist() == pytest.approx([3 * 2 * kl], rel=1e-5)


@pytest.mark.parametrize("name", list(TABLE))
def test_strength_0_is_the_control_itself(name):
    none, used = (run_of("sgd", regularizers={name: strength}) for strength in (0, TABLE[name].strength))
    assert none == run_of("sgd")
    assert used.content_key("f", "fp32") != none.content_key("f", "fp32")
    check(used.regularizers, 2)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("batch_norm", "early_stopping")])
def test_a_control_in_the_pack_of_a_regularizer_is_the_control_alone(name):
    """Where strengths are numbers of a pack, 0 does nothing, to rounding."""
    control = run_of("sgd")
    pack = state_of(control, run_of("sgd", regularizers={name: 0.2}))
    alone = state_of(control)
    for one, other in zip(pack.inputs(pack.networks), alone.inputs(alone.networks), strict=True):
        plain_step(pack.networks, one)
        plain_step(alone.networks, other)
    torch.testing.assert_close(pack.networks.values[0], alone.networks.values[0], rtol=1e-4, atol=1e-6)
    assert (pack.networks.values[0] - pack.networks.values[1]).abs().max() > 1e-6


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
        check(run_of("sgd", regularizers=regularizers).regularizers, 2)


def test_nothing_can_be_stopped_on_where_nothing_is_held_out():
    with pytest.raises(ConfigError, match="early_stopping needs valid"):
        RunSettings.parse({"regularizers": {"early_stopping": 3}, "valid_fraction": 0})


def orthogonal(layers, hidden, strengths):
    """That of docs/extending.md."""
    rows = [torch.nn.functional.normalize(layer.weight[0], dim=1) for layer in layers]
    return strengths[0] * sum(((w @ w.T - torch.eye(len(w), device=w.device)) ** 2).sum() for w in rows)


def shaken(h, k, strengths, noise):
    """Masks and normal numbers, both."""
    examples, units = h.shape[1:]
    mask, normal = noise.mask(k, strengths[0], examples, units, h.dtype), noise.normal(k, examples, units)
    return h * mask * (1 + strengths[-1] * normal)


def shrunk(layers, strengths, rate=1.0):
    for layer in layers:
        layer.weight.mul_(1 - rate * strengths[0])


OURS = {
    "penalty": orthogonal,
    "on_hidden": shaken,
    "on_input": lambda x, strengths, noise: shaken(x, 0, strengths, noise),
    "on_gradient": lambda gradients, strengths: [each * (1 - strengths[0]) for each in gradients],
    "before_update": shrunk,
    "after_update": shrunk,
    "smooth": lambda strength, classes: 1 - strength,
}


@pytest.fixture
def registered(monkeypatch):
    """Registers a regularizer called "ours" for the time of a test."""

    def made(**acting):
        monkeypatch.setitem(TABLE, "ours", DROPOUT)  # taken away after the test
        register(Regularizer("ours", "me", 0.2, 1, "s", **acting))

    return made


def moved(*runs, step=plain_step):
    state = state_of(*runs)
    for inputs in state.inputs(state.networks):
        step(state.networks, inputs)
    return state.networks.values


@pytest.mark.parametrize("part", OURS)
def test_what_is_written_for_one_network_is_stacked_and_traced_alike(registered, part):
    registered(**{part: OURS[part]})
    control, *runs = (run_of("sgd", seed=seed, regularizers={"ours": seed / 10}) for seed in range(4))
    alone = torch.cat([moved(run) for run in runs])
    together = moved(*runs)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert (together[0] - moved(control.model_copy(update={"seed": 1}))[0]).abs().max() > 1e-4

    for symbolic in (False, True):
        traced = {}

        def step(networks, inputs, symbolic=symbolic, traced=traced):
            tensors = [*networks.flat, *inputs.tensors()]
            size = None if symbolic else inputs.targets.shape
            if size not in traced:
                traced[size] = traced_step(networks.network, networks.optimizer, tensors, symbolic)
            return traced[size](*tensors)

        torch.testing.assert_close(moved(*runs, step=step), together, rtol=1e-4, atol=1e-6)


def test_a_function_that_needs_python_numbers_is_named_with_what_must_hold(registered):
    registered(penalty=lambda layers, _, strengths: math.exp(strengths[0]) * layers[0].weight.square().sum())
    runs = [run_of("sgd", seed=seed, regularizers={"ours": 0.5}) for seed in range(2)]
    for act in (
        lambda: train_pack(runs, EXAMPLES, Way("cpu", "fp32", stacked=True), lambda _: None),
        lambda: moved(runs[0], step=partial(traced_once, symbolic=False)),
        lambda: moved(runs[0], step=partial(traced_once, symbolic=True)),
    ):
        with pytest.raises(ConfigError, match=r"the regularizer ours does must be tensor operations, .* found "):
            act()


def traced_once(networks, inputs, symbolic):
    return traced_step(networks.network, networks.optimizer, [*networks.flat, *inputs.tensors()], symbolic)


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
def elsewhere(registered, tmp_path, monkeypatch):
    """Trains a network with a plugin's regularizer, and gives its file where the plugin is not."""

    def made(**acting):
        registered(**acting)
        data, model = toy_npz(tmp_path / "toy.npz"), tmp_path / "m.safetensors"
        settings = ("--widths", "8", "--epochs", "1", "--regularizers", "ours=0.5+max_norm=3")
        said = cli("train", "--data", data, *settings, "--out", model, "--store", tmp_path / "s.db")
        assert said.code == 0, said
        monkeypatch.delitem(TABLE, "ours")
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
        assert "found none called ours, of a plugin" in said.errors
    assert cli("predict", model, data).code == 0
    assert cli("export", model, "--to", "safetensors", "--out", tmp_path / "m.tensors").code == 0
