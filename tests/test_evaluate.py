"""Inference modes, each against the plain calculation."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score

from droplab.model.initialise import initial_layers
from droplab.model.network import Network
from droplab.model.noise import Noise, inference_keys
from droplab.stats.metrics import classification_metrics
from droplab.train import examples as examples_module
from droplab.train.evaluate import _log_of_sum, evaluate
from toy import toy_examples

EXAMPLES = toy_examples()
PART = EXAMPLES.test
NETWORK = Network((EXAMPLES.features, 16, 8, EXAMPLES.classes), regularizers=("dropout",), fine=True)
RATES = torch.full((2, 1), 0.4)
LAYERS = [
    layer._replace(weight=layer.weight * 3)
    for layer in initial_layers(EXAMPLES.features, (16, 8), EXAMPLES.classes, [7])
]


def said_in(*modes):
    return evaluate(NETWORK, LAYERS, PART, RATES, modes, [7], samples=3)


def plain_probabilities(sample):
    """Softmax of a plain forward pass; `sample` is the mask's number, or `None` for no mask."""
    hidden = PART.features[PART.rows].float() / 255
    for index, layer in enumerate(LAYERS):
        hidden = hidden @ layer.weight[0].T + layer.bias[0]
        if index < len(LAYERS) - 1:
            hidden = hidden.relu()
            if sample is not None:
                noise = Noise(inference_keys([7], 2, sample, torch.device("cpu"))).of("dropout")
                hidden = hidden * noise.kept(index, torch.tensor(0.4), *hidden.shape)[0] / (1 - 0.4)
    return hidden.softmax(dim=1).double()


@pytest.mark.parametrize(("inference", "samples"), [("off", [None]), ("on", [0]), ("mc", [0, 1, 2])])
def test_each_mode_is_the_plain_calculation(inference, samples):
    probabilities = torch.stack([plain_probabilities(sample) for sample in samples]).mean(0)
    labels = PART.labels[PART.rows]
    said = said_in(inference)[inference]
    assert said.loss.item() == pytest.approx(-probabilities[range(len(PART)), labels].log().mean().item(), rel=1e-4)
    losses = -probabilities[range(len(PART)), labels].log()
    assert said.loss_error.item() == pytest.approx(losses.std().item() / len(PART) ** 0.5, rel=1e-3)
    assert said.score.item() == pytest.approx((probabilities.argmax(1) == labels).double().mean().item())
    assert torch.equal(said.predictions[0], probabilities.argmax(1))


def test_the_modes_differ():
    said = said_in("off", "on", "mc")
    values = {mode: numbers.loss.item() for mode, numbers in said.items()}
    assert len(set(values.values())) == 3
    assert values["mc"] < values["on"]


def test_modes_evaluated_together_are_those_evaluated_one_by_one():
    together = said_in("off", "on", "mc")
    for mode, numbers in together.items():
        alone = said_in(mode)[mode]
        assert torch.equal(numbers.predictions, alone.predictions)
        assert torch.equal(numbers.loss, alone.loss)


@pytest.mark.parametrize("inference", ["off", "on", "mc"])
def test_the_chunks_do_not_matter(inference, monkeypatch):
    whole = said_in(inference)[inference]
    monkeypatch.setattr(examples_module, "CHUNK", 17)
    chunked = said_in(inference)[inference]
    assert torch.equal(whole.predictions, chunked.predictions)
    torch.testing.assert_close(whole.loss, chunked.loss)


def test_an_untrained_network_is_as_unsure_as_chance():
    layers = [layer._replace(weight=layer.weight * 0, bias=layer.bias * 0) for layer in LAYERS]
    assert evaluate(NETWORK, layers, PART, RATES)["off"].loss.item() == pytest.approx(math.log(EXAMPLES.classes))


def test_class_metrics_worked_by_hand():
    """Truth 0 0 0 1, said 0 0 1 1: recalls 2/3 and 1; F1 4/5 and 2/3; class 2 is nowhere."""
    metrics = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 3)
    assert metrics == pytest.approx(
        {
            "accuracy": 3 / 4,
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "macro_f1": (4 / 5 + 2 / 3) / 2,
            "accuracy_class_0": 2 / 3,
            "accuracy_class_1": 1.0,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_class_metrics_are_scikit_learns_bit_for_bit(seed: int):
    """Of seven classes, some of which are neither true nor predicted."""
    random = np.random.default_rng(seed)
    labels, said = random.choice([0, 2, 3, 5], 50), random.choice([2, 3, 4], 50).astype(np.uint8)
    metrics = classification_metrics(labels, said, 7)
    assert metrics["balanced_accuracy"] == np.mean(recall_score(labels, said, labels=[0, 2, 3, 5], average=None))
    assert metrics["macro_f1"] == f1_score(labels, said, average="macro")
    assert metrics["accuracy"] == accuracy_score(labels, said)


def test_a_class_that_is_never_predicted_counts_as_missed():
    metrics = classification_metrics(np.array([0, 1, 1]), np.array([0, 0, 0]), 2)
    assert metrics["accuracy_class_1"] == 0
    assert metrics["balanced_accuracy"] == 0.5


def test_the_log_of_a_sum_is_that_of_a_network_alone_whatever_others_stand_beside_it() -> None:
    """`torch.logaddexp` is not: so the last network of a pack had other metrics in packs of other sizes."""
    one, other = (torch.randn(7, 359, 10, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    together = _log_of_sum(one, other)
    for run in range(7):
        assert torch.equal(together[run], _log_of_sum(one[run], other[run]))
    torch.testing.assert_close(together, torch.logaddexp(one, other))
