"""The programs that droplab is compared with, each written as its user would write it.

N examples, B of a batch, F features, C classes.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from droplab.config import RunSettings
from droplab.train.examples import Examples


class Table(NamedTuple):
    """The training part as other programs take it; N examples.

    Attributes:
        features: scaled, shape (N, F), `float32`.
        labels: shape (N,), `int64`.
        classes: C.
    """

    features: Tensor
    labels: Tensor
    classes: int

    @classmethod
    def of(cls, examples: Examples) -> Table:
        """A copy of it."""
        train = examples.train
        return cls(train.features[train.rows].float() * train.scale, train.labels[train.rows], examples.classes)


class Rival(ABC):
    """A program that trains one network after another, with every core it can use.

    Args:
        table: what it trains on.
        device: `cpu` or `cuda`.

    Attributes:
        key: its name in the JSON file.
        title: its name in words, with its precision.
    """

    key: ClassVar[str]
    title: str

    def __init__(self, table: Table, device: str) -> None:
        self.table = table
        self.device = device

    @abstractmethod
    def train(self, settings: RunSettings) -> float:
        """Train a new network; seconds of the epochs alone: no import, set-up or compilation, and no evaluation."""

    def warm_up(self, settings: RunSettings) -> None:
        """Do, before anything is timed, what costs more the first time."""
        self.train(settings.model_copy(update={"epochs": 1}))


class PlainTorch(Rival):
    """The post's program: TensorDataset, DataLoader, `nn.Sequential`, `nn.Dropout`, `optim.SGD`; fp32."""

    key = "plain"
    title = "plain PyTorch, fp32"

    def train(self, settings: RunSettings) -> float:
        """Train with a loop over a shuffling DataLoader that adds up the loss."""
        return self._train(settings, len(self.table.labels))

    def warm_up(self, settings: RunSettings) -> None:
        """Train for two steps."""
        self._train(settings.model_copy(update={"epochs": 1}), 2 * settings.batch_size)

    def _train(self, settings: RunSettings, examples: int) -> float:
        torch.manual_seed(settings.seed)
        features, labels, classes = self.table
        network = sequential(features.shape[1], settings.widths, classes, max(settings.rates, default=0.0)).to(
            self.device
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=settings.learning_rate)
        loader = DataLoader(
            TensorDataset(features[:examples], labels[:examples]), batch_size=settings.batch_size, shuffle=True
        )
        criterion = nn.CrossEntropyLoss()
        started = time.perf_counter()
        for _ in range(settings.epochs):
            total = 0.0
            for inputs, targets in loader:
                loss = criterion(network(inputs.to(self.device)), targets.to(self.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
        return time.perf_counter() - started


def sequential(features: int, widths: tuple[int, ...], classes: int, dropout: float) -> nn.Sequential:
    """The network as the post has it: Linear, Dropout, ReLU for each hidden layer, then Linear.

    Args:
        features: F.
        widths: units of each hidden layer.
        classes: C.
        dropout: rate; without one there is no Dropout module.

    >>> [type(module).__name__ for module in sequential(784, (512,), 10, 0.5)]
    ['Linear', 'Dropout', 'ReLU', 'Linear']
    """
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise((features, *widths)):
        modules.append(nn.Linear(inputs, outputs))
        if dropout:
            modules.append(nn.Dropout(dropout))
        modules.append(nn.ReLU())
    return nn.Sequential(*modules, nn.Linear((features, *widths)[-1], classes))


class ScikitLearn(Rival):
    """`MLPClassifier` with SGD in `float32`. It has no dropout: it trains the network without."""

    key = "sklearn"
    title = "scikit-learn, fp32, no dropout"

    def train(self, settings: RunSettings) -> float:
        """Call `fit` for so many epochs, without penalty or early end."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        classifier = MLPClassifier(
            hidden_layer_sizes=settings.widths,
            solver="sgd",
            alpha=0.0,
            batch_size=min(settings.batch_size, len(self.table.labels)),
            learning_rate_init=settings.learning_rate,
            momentum=0.0,
            max_iter=settings.epochs,
            n_iter_no_change=settings.epochs + 1,
            random_state=settings.seed,
        )
        features, labels = self.table.features.numpy(), self.table.labels.numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are meant
            started = time.perf_counter()
            classifier.fit(features, labels)
            return time.perf_counter() - started
