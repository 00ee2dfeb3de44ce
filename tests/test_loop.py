"""Whole trainings: held against a plain PyTorch loop, and the same however they are run."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from droplab.config import RunSettings
from droplab.errors import DataError, TrainingError
from droplab.model.network import layers_of
from droplab.model.noise import Noise, training_keys
from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train import loop
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import evaluate, mc_points
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Trained, Way
from droplab.train.state import State, curve_points
from droplab.train.step import plain_step, traced_step
from recipes import EXAMPLES, RECIPES, Plain, initial_of, kin_of, run_of, state_of
from study_help import bits
from toy import toy_dataset

FP32, STACKED = Way("cpu", "fp32"), Way("cpu", "fp32", stacked=True)
BASE = RunSettings(widths=(24, 12), dropout=0.3, epochs=6, batch_size=64, learning_rate=0.2, momentum=0.5, seed=3)
KINDS = pytest.mark.parametrize("kind", RECIPES)


def train(*settings, way=FP32, examples=EXAMPLES, checkpoint=None):
    return train_pack(settings, examples, way, lambda _: None, checkpoint)


def changed(**settings):
    return BASE.model_copy(update=settings)


@pytest.mark.parametrize("kind", ["linear", "dropout", "batch_norm"])
def test_a_training_is_that_of_a_plain_torch_loop(kind):
    """Also that the last, smaller batch is kept (400 examples, batches of 64) and that a loss is an epoch's mean."""
    run, curve = run_of(kind), []
    plain, y = Plain(run, initial_of(run)), EXAMPLES.train.labels[EXAMPLES.train.rows]
    x = EXAMPLES.train.features[EXAMPLES.train.rows].double() / 255
    for epoch in range(run.epochs):
        order = permutation(key_tensor([stream_key(run.seed, Purpose.ORDER, epoch)]), len(y))[0].split(run.batch_size)
        keys = training_keys([run.seed], epoch, len(order), torch.device("cpu"))
        losses = [
            plain.step(x[picked], y[picked], Noise(keys[step]), epoch * len(order) + step, len(order)) * len(picked)
            for step, picked in enumerate(order)
        ]
        curve.append(sum(losses) / len(y))
    (trained,) = train(run)
    np.testing.assert_allclose(trained.outcome.curves.train_loss, curve, rtol=1e-4)
    x = EXAMPLES.test.features[EXAMPLES.test.rows].double() / 255
    nll = torch.nn.functional.cross_entropy(plain.eval()(x)[0], EXAMPLES.test.labels[EXAMPLES.test.rows])
    assert trained.outcome.metric("off", "test", "nll") == pytest.approx(nll.item(), rel=1e-4)


@KINDS
def test_a_run_has_the_bits_that_it_has_alone_in_a_pack_of_separate_products(kind):
    runs = kin_of(kind)
    assert [bits(one) for one in train(*runs)] == [bits(train(run)[0]) for run in runs]


@KINDS
def test_a_run_in_a_stacked_pack_is_the_run_alone_to_rounding(kind):
    """Stacked fp32 products may round differently: weights agree to 1e-3, losses to a thousandth."""
    runs = kin_of(kind)
    for together, run in zip(train(*runs, way=STACKED), runs, strict=True):
        (alone,) = train(run)
        for name, weights in alone.weights.items():
            np.testing.assert_allclose(together.weights[name], weights, atol=1e-3)
        np.testing.assert_allclose(together.outcome.curves.train_loss, alone.outcome.curves.train_loss, rtol=1e-3)
        np.testing.assert_allclose(together.outcome.curves.losses, alone.outcome.curves.losses, rtol=2e-3)
        assert together.outcome.best_epoch == alone.outcome.best_epoch


class At:
    """A checkpoint that catches the states at a moment, and gives them to the next training."""

    cost = None

    def __init__(self, moment) -> None:
        self.moment, self.caught = moment, []

    def offer(self, states: Sequence[State]) -> None:
        if not self.caught and self.moment(states[-1].networks):
            self.caught = [{name: tensor.clone() for name, tensor in state.tensors().items()} for state in states]

    def read(self, states: Sequence[State]) -> None:
        if self.caught:
            for state, named in zip(states, self.caught, strict=True):
                state.restore(named)


def assert_resumes(runs, way, moment):
    whole, checkpoint, done = train(*runs, way=way), At(moment), []
    train(*runs, way=way, checkpoint=checkpoint)
    assert checkpoint.caught
    again = train_pack(runs, EXAMPLES, way, done.append, checkpoint)
    assert [bits(one) for one in again] == [bits(one) for one in whole]
    assert {progress.epoch for progress in done} == set(range(2, max(each.epoch for each in done) + 1)), "not anew"


@KINDS
def test_a_training_that_goes_on_in_the_middle_of_an_epoch_ends_with_the_same_bits(kind):
    assert_resumes(kin_of(kind), STACKED, lambda networks: (networks.epoch, networks.step) == (1, 3))


STOPPING = [
    run_of("early stopping", epochs=12, seed=seed, dropout=0.2, momentum=0.9, regularizers={"early_stopping": patience})
    for seed, patience in ((0, 1), (1, 99), (2, 1))
]


def test_a_pack_of_which_one_run_has_stopped_goes_on_to_the_same_bits():
    whole = [len(one.outcome.curves.train_loss) for one in train(*STOPPING, way=STACKED)]
    assert whole[0] < whole[1] == 12
    checkpoint, done = At(lambda networks: networks.active < 3 and networks.step == 3), []
    train(*STOPPING, way=STACKED, checkpoint=checkpoint)
    again = train_pack(STOPPING, EXAMPLES, STACKED, done.append, checkpoint)
    assert [bits(one) for one in again] == [bits(one) for one in train(*STOPPING, way=STACKED)]
    assert {progress.run for progress in done} < {0, 1, 2}


def test_a_run_that_has_stopped_is_in_no_step_any_more(monkeypatch):
    seen = []

    def spied(networks, inputs):
        seen.append({len(tensor) for tensor in [*networks.flat, inputs.features, inputs.targets, inputs.keys]})
        return plain_step(networks, inputs)

    monkeypatch.setattr(loop, "replayed", lambda: spied)
    lengths = [len(one.outcome.curves.train_loss) for one in train(*STOPPING, way=STACKED)]
    assert min(lengths) < 12
    assert seen == [{sum(length > epoch for length in lengths)} for epoch in range(12) for _ in range(7)]


def test_early_stopping_keeps_the_best_network_in_a_pack_as_alone():
    together = train(*STOPPING, way=STACKED)
    for run, one in zip(STOPPING, together, strict=True):
        (alone,) = train(run)
        assert one.outcome.best_epoch == alone.outcome.best_epoch
        for name, weights in alone.weights.items():
            np.testing.assert_allclose(one.weights[name], weights, atol=1e-3)
        state = state_of(run)
        said = evaluate(state.networks.network, layers_of(one.weights), EXAMPLES.valid, state.strengths)["off"]
        assert said.loss.item() == pytest.approx(one.outcome.metric("off", "valid", "nll"), rel=1e-5)
        (shorter,) = train(run.model_copy(update={"epochs": one.outcome.best_epoch}))
        assert bits(shorter) != bits(alone)
        assert all(np.array_equal(shorter.weights[name], alone.weights[name]) for name in alone.weights)


@KINDS
def test_the_traced_step_is_the_plain_one_for_all_sizes(kind):
    """One trace serves the last, smaller batch and the networks that are left when one has stopped."""
    states, step = [state_of(*kin_of(kind)) for _ in range(2)], None
    for one, (networks, inputs) in zip(*map(steps_of, states), strict=True):
        tensors = [*networks.flat, *inputs.tensors()]
        if step is None:
            before = networks.values.clone()
            step = traced_step(networks.network, networks.optimizer, tensors, symbolic=True)
            assert torch.equal(before, networks.values), "tracing moves nothing"
        torch.testing.assert_close(step(*tensors), plain_step(*one), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*(state.networks.values for state in states), rtol=1e-3, atol=1e-4)


def steps_of(state: State) -> Iterator:
    """Networks and inputs of the steps of two epochs, the second without the last run."""
    for epoch in range(2):
        networks = state.networks.first(3 - epoch)
        state.networks.epoch = epoch
        for inputs in state.inputs(networks):
            yield networks, inputs


def test_the_toy_is_learnt():
    outcome = train(changed(epochs=30))[0].outcome
    assert outcome.metric("off", "test", "accuracy") > 0.8
    assert outcome.curves.train_loss[-1] < outcome.curves.train_loss[0] / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_settings_give_the_same_bits_and_another_seed_others(precision):
    if precision == "bf16" and not has_bf16_units("cpu"):
        pytest.skip("this processor has no bf16 units")
    way = Way("cpu", precision)
    one, again, other = (train(run, way=way)[0] for run in (BASE, BASE, changed(seed=4)))
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(weights, again.weights[name])
        assert not np.array_equal(weights, other.weights[name])
    assert one.outcome.metrics == again.outcome.metrics
    np.testing.assert_array_equal(one.outcome.curves.losses, again.outcome.curves.losses)


def test_without_dropout_the_inference_modes_are_one():
    outcome = train(changed(dropout=0.0))[0].outcome
    for split in ("train", "valid", "test"):
        assert outcome.metric("on", split, "nll") == outcome.metric("off", split, "nll")
    assert outcome.metric("mc", "test", "nll") == outcome.metric("off", "test", "nll")


def test_a_control_in_a_pack_with_dropout_still_has_one_inference_mode():
    control = train(changed(dropout=0.0), BASE, way=Way("cpu", "fp32", stacked=True))[0].outcome
    assert control.metric("on", "test", "nll") == pytest.approx(control.metric("off", "test", "nll"), rel=1e-5)


def test_every_inference_mode_split_and_metric_is_there():
    names = {metric[:3] for metric in train(BASE)[0].outcome.metrics}
    expected = {(i, s, m) for i in ("off", "on") for s in ("train", "valid", "test") for m in ("accuracy", "nll")}
    of_classes = ["balanced_accuracy", "macro_f1", *(f"accuracy_class_{k}" for k in range(4))]
    expected |= {("mc", "test", m) for m in ("accuracy", "nll")}
    expected |= {(i, "test", m) for i in ("off", "on", "mc") for m in of_classes}
    expected |= {(i, "valid", m) for i in ("off", "on") for m in of_classes[:2]}
    expected |= {(i, "test", "nll_error") for i in ("off", "on", "mc")}
    of_belief = ["brier", "ece", "entropy", "entropy_right", "entropy_wrong"]
    expected |= {(i, "test", m) for i in ("off", "on", "mc") for m in of_belief}
    expected |= {("off", "valid", "temperature"), ("off", "test", "nll_calibrated"), ("off", "test", "ece_calibrated")}
    expected |= {("mc", "test", f"mutual_information{of}") for of in ("", "_right", "_wrong")}
    expected |= {("mc", "test", f"{m}_k{k}") for m in ("accuracy", "nll", "ece") for k in mc_points(BASE.mc_samples)}
    assert names == expected


def test_the_ledger_is_what_the_accuracy_counts():
    outcome = train(BASE)[0].outcome
    for split in ("valid", "test"):
        part = EXAMPLES.part(split)
        right = (outcome.ledger[split] == part.labels[part.rows].numpy()).mean()
        assert right == pytest.approx(outcome.metric("off", split, "accuracy"))


def test_the_last_point_of_the_curves_is_the_final_evaluation():
    outcome = train(BASE)[0].outcome
    assert outcome.curves.points[-1] == BASE.epochs
    for row, split in enumerate(("train", "valid")):  # all of train here: it has fewer examples than curves take
        assert outcome.curves.accuracies[row, -1] == pytest.approx(outcome.metric("off", split, "accuracy"), abs=1e-6)
        assert outcome.curves.losses[row, -1] == pytest.approx(outcome.metric("off", split, "nll"), abs=1e-5)


@pytest.mark.parametrize("worth", [0.01, 0.1, 3.0])
@pytest.mark.parametrize("epochs", [1, 2, 39, 40, 41, 79, 81, 400, 1000])
def test_curve_points_end_with_the_last_epoch_and_cost_a_small_share_of_the_training(epochs, worth):
    points = curve_points(epochs, worth)
    assert len(points) == len(set(points)) <= 40
    assert len(points) * worth <= 0.04 * epochs or len(points) <= 5
    assert points[-1] == epochs
    assert points[0] >= 1


@pytest.mark.parametrize("way", [FP32, Way("cpu", "fp32", stacked=True)])
def test_a_training_that_diverges_says_so_and_its_neighbours_go_on(way):
    wild, tame = train(changed(learning_rate=1e30, dropout=0.0), changed(learning_rate=0.2), way=way)
    assert isinstance(wild, TrainingError)
    assert "seed=3" in str(wild)
    assert "learning_rate=1e+30" in str(wild)
    assert tame.outcome.metric("off", "test", "accuracy") > 0.5


@pytest.mark.parametrize("regularizers", [{}, {"early_stopping": 2}])
def test_a_last_update_that_overflows_is_no_result(regularizers):
    """Its only loss was taken before."""
    (wild,) = train(run_of("sgd", epochs=1, batch_size=1000, learning_rate=1e38, regularizers=regularizers))
    assert isinstance(wild, TrainingError)
    assert "in epoch 1" in str(wild)


def test_progress_is_told_after_each_epoch():
    seen = []
    train_pack([BASE], EXAMPLES, FP32, seen.append)
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= progress.accuracy <= 1 for progress in seen)


@pytest.mark.gpu
@KINDS
def test_a_gpu_trains_the_same_networks_to_rounding_recorded_or_not(kind, monkeypatch):
    """Stacked runs of seven steps an epoch: from the fourth on they are replayed."""
    there, way = EXAMPLES.to(torch.device("cuda")), Way("cuda", "fp32", stacked=True)
    recorded, here = train(*kin_of(kind), way=way, examples=there), train(*kin_of(kind))
    monkeypatch.setattr(loop, "graphed", lambda: plain_step)
    plain = train(*kin_of(kind), way=way, examples=there)
    for one, other, third in zip(recorded, plain, here, strict=True):
        np.testing.assert_allclose(one.outcome.curves.train_loss, other.outcome.curves.train_loss, rtol=1e-4)
        np.testing.assert_allclose(one.outcome.curves.train_loss, third.outcome.curves.train_loss, rtol=2e-3)


@pytest.mark.gpu
def test_a_gpu_trains_the_same_network_in_bf16_to_its_rounding():
    there = train(BASE, way=Way("cuda", "bf16"), examples=EXAMPLES.to(torch.device("cuda")))[0]
    np.testing.assert_allclose(there.outcome.curves.train_loss, train(BASE)[0].outcome.curves.train_loss, rtol=5e-2)


def test_with_nothing_held_out_every_training_example_is_trained_on():
    dataset = toy_dataset()
    examples = Examples.of(dataset, 0.0, 1)
    assert (len(examples.train), len(examples.valid)) == (len(dataset.train_y), 0)
    seen = []
    settings = RunSettings(widths=(8,), epochs=2, batch_size=32, valid_fraction=0.0)
    (trained,) = train_pack([settings], examples, Way("cpu", "fp32"), seen.append)
    assert isinstance(trained, Trained)
    assert [progress.accuracy for progress in seen] == [None, None]
    curves = trained.outcome.curves
    assert np.isfinite(curves.losses[0]).all()
    assert np.isnan(curves.losses[1]).all()


def test_fewer_training_examples_are_some_of_the_more_and_of_every_class():
    few, more = (EXAMPLES.fewer(count, 1) for count in (20, 60))
    assert len(few.train) == 20
    assert set(few.train.rows.tolist()) < set(more.train.rows.tolist()) < set(EXAMPLES.train.rows.tolist())
    assert set(few.train.labels[few.train.rows].tolist()) == set(range(EXAMPLES.classes))
    assert (few.valid, few.test) == (EXAMPLES.valid, EXAMPLES.test)
    for count in (1, 10**6):
        with pytest.raises(DataError, match=f"train_examples must lie between .*; found {count}"):
            EXAMPLES.fewer(count, 1)


def test_a_run_with_fewer_training_examples_is_one_on_those_alone():
    settings = BASE.model_copy(update={"train_examples": 40})
    (limited,) = train_pack([settings], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    (alone,) = train_pack([BASE], EXAMPLES.fewer(40, BASE.split_seed), Way("cpu", "fp32"), lambda _: None)
    assert isinstance(limited, Trained)
    assert isinstance(alone, Trained)
    assert all(np.array_equal(limited.weights[name], alone.weights[name]) for name in alone.weights)
    assert limited.outcome.metric("off", "train", "accuracy") == alone.outcome.metric("off", "train", "accuracy")
