"""Whole trainings: held against a plain PyTorch loop, and the same however they are run."""

import numpy as np
import pytest
import torch
from torch import nn

from droplab.config import RunSettings
from droplab.errors import DataError, TrainingError
from droplab.model.initialise import initial_layers
from droplab.model.regularizers import Dropout
from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train.device import has_bf16_units
from droplab.train.evaluate import mc_points
from droplab.train.examples import Examples
from droplab.train.loop import train_pack
from droplab.train.outcome import Trained, Way
from droplab.train.state import curve_points
from toy import toy_dataset, toy_examples

FP32 = Way("cpu", "fp32")
EXAMPLES = toy_examples()
BASE = RunSettings(widths=(24, 12), dropout=0.3, epochs=6, batch_size=64, learning_rate=0.2, momentum=0.5, seed=3)


def train(*settings, way=FP32, examples=EXAMPLES):
    return train_pack(settings, examples, way, lambda _: None)


def changed(**settings):
    return BASE.model_copy(update=settings)


def plain_training(run, examples):
    """The same training as its reader would write it in PyTorch; only order and masks are ours."""
    layers = initial_layers(examples.features, run.widths, examples.classes, [run.seed])
    linears = [nn.Linear(layer.weight.shape[2], layer.weight.shape[1]) for layer in layers]
    with torch.no_grad():
        for linear, layer in zip(linears, layers, strict=True):
            linear.weight.copy_(layer.weight[0])
            linear.bias.copy_(layer.bias[0])
    dropout = Dropout.of([run.seed], [run.dropout])
    optimizer = torch.optim.SGD(
        [p for linear in linears for p in linear.parameters()], lr=run.learning_rate, momentum=run.momentum
    )
    x = examples.train.features[examples.train.rows].float() / 255
    y = examples.train.labels[examples.train.rows]
    curve = []
    for epoch in range(run.epochs):
        order = permutation(key_tensor([stream_key(run.seed, Purpose.ORDER, epoch)]), len(y))[0]
        total = 0.0
        for step, picked in enumerate(order.split(run.batch_size)):
            hidden = x[picked]
            for index, linear in enumerate(linears[:-1]):
                dropping = dropout.training(len(linears) - 1, epoch, torch.device("cpu")).at(step)
                mask = dropping.kept(index, len(picked), linear.out_features)
                hidden = torch.relu(linear(hidden)) * mask[0] * dropping.scale(hidden.dtype)[0, 0, 0]
            loss = nn.functional.cross_entropy(linears[-1](hidden), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(picked)
        curve.append(total / len(y))
    return linears, curve


@pytest.mark.parametrize("widths", [(), (24,), (24, 12)])
def test_a_training_is_that_of_a_plain_torch_loop(widths):
    """Also that the last, smaller batch is kept (400 examples, batches of 64) and that a loss is an epoch's mean."""
    run = changed(widths=widths)
    trained = train(run)[0]
    linears, curve = plain_training(run, EXAMPLES)
    np.testing.assert_allclose(trained.outcome.curves.train_loss, curve, rtol=1e-4)
    for index, linear in enumerate(linears):
        np.testing.assert_allclose(trained.weights[f"layers.{index}.weight"], linear.weight.detach(), atol=2e-5)
        np.testing.assert_allclose(trained.weights[f"layers.{index}.bias"], linear.bias.detach(), atol=2e-5)


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


OTHERS = [
    changed(seed=5, dropout=0.0),
    changed(dropout=0.5, learning_rate=0.1, momentum=0.0),
    *(changed(seed=seed, dropout=seed / 10) for seed in range(4)),
]


@pytest.mark.parametrize("size", [2, 7])
def test_a_run_has_the_bits_that_it_has_alone_in_any_pack_of_separate_products(size):
    alone = train(BASE)[0]
    together = train(*OTHERS[: size - 1], BASE)[-1]
    for name, weights in alone.weights.items():
        np.testing.assert_array_equal(together.weights[name], weights)
    assert together.outcome.metrics == alone.outcome.metrics
    np.testing.assert_array_equal(together.outcome.curves.train_loss, alone.outcome.curves.train_loss)


@pytest.mark.parametrize("size", [2, 7])
def test_a_run_in_a_stacked_pack_is_the_run_alone_to_rounding(size):
    """Stacked fp32 products may round differently; six epochs keep weights within 1e-4 and predictions equal."""
    runs = [BASE, *OTHERS[: size - 1]]
    for together, run in zip(train(*runs, way=Way("cpu", "fp32", stacked=True)), runs, strict=True):
        alone = train(run)[0]
        for name, weights in alone.weights.items():
            np.testing.assert_allclose(together.weights[name], weights, atol=1e-4)
        for split in ("valid", "test"):
            assert (together.outcome.ledger[split] == alone.outcome.ledger[split]).mean() > 0.99
        np.testing.assert_allclose(together.outcome.curves.train_loss, alone.outcome.curves.train_loss, rtol=1e-3)


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


def test_progress_is_told_after_each_epoch():
    seen = []
    train_pack([BASE], EXAMPLES, FP32, seen.append)
    assert [progress.epoch for progress in seen] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= progress.accuracy <= 1 for progress in seen)


@pytest.mark.gpu
def test_a_recorded_step_is_the_one_that_was_not(monkeypatch):
    """Stacked runs of seven steps an epoch: from the fourth on they are replayed."""
    there, way = EXAMPLES.to(torch.device("cuda")), Way("cuda", "fp32", stacked=True)
    recorded = train(BASE, *OTHERS, way=way, examples=there)
    monkeypatch.setattr("droplab.train.loop.graphed", lambda step: step)
    for one, other in zip(recorded, train(BASE, *OTHERS, way=way, examples=there), strict=True):
        np.testing.assert_allclose(one.outcome.curves.train_loss, other.outcome.curves.train_loss, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_trains_the_same_network_to_rounding(precision):
    there = train(BASE, way=Way("cuda", precision), examples=EXAMPLES.to(torch.device("cuda")))[0]
    here = train(BASE)[0]
    tolerance = 1e-3 if precision == "fp32" else 5e-2
    np.testing.assert_allclose(there.outcome.curves.train_loss, here.outcome.curves.train_loss, rtol=tolerance)


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
