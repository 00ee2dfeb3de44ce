"""The programs that droplab is compared with, each written as its user would write it.

R networks side by side, N examples, B of a batch, F features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import Table
from benchmarks.turns import Sample, timed, total
from droplab.config import RunSettings


class Rival(ABC):
    """A program that trains networks of one shape and recipe, with every core it can use.

    Args:
        table: what it trains on.
        device: `cpu` or `cuda`.
        precision: droplab's, `fp32` or `bf16`; PyTorch's programs are fp32.

    Attributes:
        title: its name in words.
        side_by_side: whether it trains several networks at once.
    """

    title: str
    side_by_side: ClassVar[bool] = False

    def __init__(self, table: Table, device: str, precision: str = "fp32") -> None:
        self.table, self.device, self.precision = table, device, precision

    @abstractmethod
    def train(self, networks: Sequence[RunSettings]) -> Sample:
        """Train them; what the epochs alone take: no import, set-up or compilation, and no evaluation."""

    def warm_up(self, networks: Sequence[RunSettings]) -> None:
        """Do, before anything is timed, what costs more the first time."""
        few = 2 * networks[0].batch_size
        first = Table(self.table.features[:few], self.table.labels[:few], self.table.classes)
        type(self)(first, self.device, self.precision).train([networks[0].model_copy(update={"epochs": 1})])


class PlainTorch(Rival):
    """One network after another: TensorDataset, DataLoader, `nn.Sequential`, `torch.optim`; fp32."""

    title = "plain PyTorch, fp32"

    def train(self, networks: Sequence[RunSettings]) -> Sample:
        """Train with a loop that adds up the loss."""
        return total(map(self._train, networks))

    def _train(self, settings: RunSettings) -> Sample:
        torch.manual_seed(settings.seed)
        network = sequential(settings, self.table.features.shape[1], self.table.classes).to(self.device)
        weights = [module.weight for module in network if isinstance(module, nn.Linear)]
        optimizer = optimizer_of(settings, list(network.parameters()), weights)
        max_norm = strength(settings, "max_norm")
        criterion = nn.CrossEntropyLoss()

        def epochs() -> None:
            for _ in range(settings.epochs):
                total = 0.0
                for inputs, targets in self.batches(settings.batch_size):
                    loss = criterion(network(inputs), targets)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    if max_norm:
                        bound(weights, max_norm)
                    total += loss.item()

        return timed(epochs)

    def batches(self, size: int) -> Iterable[tuple[Tensor, Tensor]]:
        """An epoch of them, on the device."""
        for inputs, targets in DataLoader(TensorDataset(*self.table[:2]), batch_size=size, shuffle=True):
            yield inputs.to(self.device), targets.to(self.device)


class WithoutLoader(PlainTorch):
    """The same with batches taken from tensors that lie on the device: a DataLoader makes them example by example."""

    title = "plain PyTorch without DataLoader, fp32"

    def __init__(self, table: Table, device: str, precision: str = "fp32") -> None:
        features, labels, classes = table
        super().__init__(Table(features.to(device), labels.to(device), classes), device, precision)

    def batches(self, size: int) -> Iterable[tuple[Tensor, Tensor]]:
        """An epoch of them."""
        features, labels, _ = self.table
        for picked in torch.split(torch.randperm(len(labels), device=self.device), size):
            yield features[picked], labels[picked]


class Stacked(Rival):
    """All networks at once: `vmap` over `grad` of one `nn.Sequential`, and `torch.optim` on the stacked parameters."""

    title = "PyTorch stacked by torch.func, fp32"
    side_by_side = True

    def train(self, networks: Sequence[RunSettings]) -> Sample:
        """Train them with batches of their own."""
        torch.manual_seed(0)
        settings, runs = networks[0], len(networks)
        features, labels = self.table.features.to(self.device), self.table.labels.to(self.device)
        modules = [sequential(one, features.shape[1], self.table.classes, running=False) for one in networks]
        network = modules[0].to(self.device)
        stacked = stack_module_state([module.to(self.device) for module in modules])[0]
        parameters: dict[str, Tensor] = {name: value.detach() for name, value in stacked.items()}
        weights = [parameters[f"{k}.weight"] for k, module in enumerate(network) if isinstance(module, nn.Linear)]
        optimizer = optimizer_of(settings, list(parameters.values()), weights)
        max_norm = strength(settings, "max_norm")

        def loss_of(parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(functional_call(network, parameters, (inputs,)), targets)

        gradient_of = vmap(grad(loss_of), randomness="different")

        def epochs() -> None:
            for _ in range(settings.epochs):
                order = torch.rand(runs, len(labels), device=self.device).argsort(dim=1)
                for picked in torch.split(order, settings.batch_size, dim=1):
                    gradients = gradient_of(parameters, features[picked], labels[picked])
                    for name, parameter in parameters.items():
                        parameter.grad = gradients[name]
                    optimizer.step()
                    if max_norm:
                        bound(weights, max_norm)
            if self.device == "cuda":
                torch.cuda.synchronize()

        return timed(epochs)


def strength(settings: RunSettings, name: str) -> float:
    """Of a regularizer, the same for all layers; 0 without it."""
    value = dict(settings.regularizers).get(name, 0.0)
    assert isinstance(value, float)
    return value


def sequential(settings: RunSettings, features: int, classes: int, running: bool = True) -> nn.Sequential:
    """The network: Linear, BatchNorm1d, ReLU and Dropout for each hidden layer, as far as it has them, then Linear.

    Args:
        settings: widths and regularizers.
        features: F.
        classes: to tell apart.
        running: whether batch normalization keeps running statistics, which `vmap` cannot.
    """
    modules: list[nn.Module] = []
    if rate := strength(settings, "input_dropout"):
        modules.append(nn.Dropout(rate))
    for (inputs, outputs), rate in zip(pairwise((features, *settings.widths)), settings.rates, strict=True):
        modules.append(nn.Linear(inputs, outputs))
        if strength(settings, "batch_norm"):
            modules.append(nn.BatchNorm1d(outputs, track_running_stats=running))
        modules.append(nn.ReLU())
        if rate:
            modules.append(nn.Dropout(rate))
    return nn.Sequential(*modules, nn.Linear((features, *settings.widths)[-1], classes))


def optimizer_of(settings: RunSettings, parameters: list[Tensor], weights: list[Tensor]) -> torch.optim.Optimizer:
    """PyTorch's own, fused; AdamW's decay is of `weights` alone."""
    rate = settings.learning_rate
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, fused=True)
    if settings.optimizer == "adamw":
        decay = strength(settings, "weight_decay")
        others = [one for one in parameters if not any(one is weight for weight in weights)]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, rate, fused=True)
    return torch.optim.SGD(
        parameters, rate, momentum=settings.momentum, nesterov=settings.optimizer == "nesterov", fused=True
    )


@torch.no_grad()
def bound(weights: Sequence[Tensor], most: float) -> None:
    """Hold each unit's incoming weights, the last dimension, to a norm of at most `most`."""
    for weight in weights:
        weight.copy_(torch.renorm(weight.flatten(0, -2), 2, 0, most).view_as(weight))
