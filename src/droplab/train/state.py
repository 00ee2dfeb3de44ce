"""The state of runs that share their products: all that a training is made of between two steps.

R runs, E epochs done, P evaluated points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.config import Recipe, RunSettings
from droplab.model.general import General, general_of
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer
from droplab.model.regularizers import Dropout
from droplab.train.examples import Examples
from droplab.train.general import Extras, final_layers
from droplab.train.optimizers import SGD
from droplab.train.outcome import Precision


@dataclass
class State:
    """R runs of one shape under training.

    Attributes:
        settings: of each run.
        layers: `float32` master weights.
        velocities: the optimizer's; empty without momentum.
        epoch: epochs done.
        step: steps done of the epoch under way.
        total: loss summed over the examples of the epoch under way, shape (R,).
        losses: mean training loss of each epoch done, E of shape (R,), in nats.
        points: the epochs after which the networks were evaluated.
        evaluated: at each point, shape (train part and valid, nll and accuracy, R).
        train_seconds: time in steps so far.
        evaluate_seconds: time in evaluation so far.
        extras: what else a run is made of that the fast step cannot train; R is 1 then.
    """

    settings: Sequence[RunSettings]
    layers: list[Layer]
    velocities: list[Layer]
    epoch: int
    step: int
    total: Tensor
    losses: list[NDArray[np.float32]]
    points: list[int]
    evaluated: list[NDArray[np.float64]]
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    extras: Extras | None = None

    @classmethod
    def initial(cls, settings: Sequence[RunSettings], examples: Examples, device: torch.device) -> State:
        """Runs before their first step."""
        seeds = [run.seed for run in settings]
        first, total = settings[0], torch.zeros(len(settings), device=device)
        layers = initial_layers(
            examples.features, first.widths, examples.classes, seeds, device, first.initial_weights, pieces_of(first)
        )
        if first.is_plain:
            return cls(settings, layers, optimizer_of(settings, device).initial_state(layers), 0, 0, total, [], [], [])
        return cls(settings, layers, [], 0, 0, total, [], [], [], extras=Extras.initial(first, layers))

    @property
    def network(self) -> list[Layer]:
        """The weights as they are evaluated and kept."""
        if self.extras is None:
            return self.layers
        return final_layers(self.settings[0], self.layers, self.extras)

    def general(self, precision: Precision) -> General | None:
        """How the run computes, where the fast step cannot train it."""
        return general_of(self.settings[0], precision)

    @property
    def dropout(self) -> Dropout:
        """The dropout of each run."""
        return Dropout.of([run.seed for run in self.settings], [max(run.rates, default=0.0) for run in self.settings])

    def tensors(self) -> dict[str, Tensor]:
        """All of it but the settings, as named tensors on the CPU."""
        runs = len(self.settings)
        named = {
            "position": torch.tensor([self.epoch, self.step]),
            "seconds": torch.tensor([self.train_seconds, self.evaluate_seconds], dtype=torch.float64),
            "total": self.total.cpu(),
            "losses": torch.tensor(np.array(self.losses, dtype=np.float32).reshape(-1, runs)),
            "points": torch.tensor(self.points, dtype=torch.int64),
            "evaluated": torch.tensor(np.array(self.evaluated, dtype=np.float64).reshape(-1, 2, 2, runs)),
        }
        for kind, layers in (("layers", self.layers), ("velocities", self.velocities)):
            for index, layer in enumerate(layers):
                named |= {f"{kind}.{index}.{name}": part.cpu() for name, part in zip(Layer._fields, layer, strict=True)}
        if self.extras is not None:
            named |= {f"extras.{name}": part.cpu() for name, part in self.extras.tensors().items()}
        return named

    def restore(self, named: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, perhaps on another device.

        Raises:
            ValueError: if it is not of these runs' shapes, or lies beyond their last epoch; nothing is changed then.
        """
        mine = self.tensors()
        open_ended = {"losses", "points", "evaluated"}  # as long as the training has lasted
        if named.keys() != mine.keys() or any(
            tensor.dtype != mine[name].dtype
            or tensor.shape[name in open_ended :] != mine[name].shape[name in open_ended :]
            for name, tensor in named.items()
        ):
            raise ValueError("a checkpoint must have the shapes of its runs")
        (epoch, step), points = named["position"].tolist(), named["points"].tolist()
        counts = (len(named["losses"]), len(named["evaluated"]))
        if not 0 <= epoch <= self.settings[0].epochs or step < 0 or counts != (epoch, len(points)):
            raise ValueError("a checkpoint must lie within its training")
        for kind, layers in (("layers", self.layers), ("velocities", self.velocities)):
            for index, layer in enumerate(layers):
                for name, part in zip(Layer._fields, layer, strict=True):
                    part.copy_(named[f"{kind}.{index}.{name}"])
        if self.extras is not None:
            for name, part in self.extras.tensors().items():
                part.copy_(named[f"extras.{name}"])
        self.total.copy_(named["total"])
        self.epoch, self.step = epoch, step
        self.train_seconds, self.evaluate_seconds = named["seconds"].tolist()
        self.losses = list(named["losses"].numpy())
        self.points = points
        self.evaluated = list(named["evaluated"].numpy())


def pieces_of(recipe: Recipe) -> int:
    """How many products a hidden unit takes."""
    return recipe.pieces if recipe.activation == "maxout" else 1


def optimizer_of(settings: Sequence[RunSettings], device: torch.device) -> SGD:
    """The optimizer of R runs."""
    return SGD.of([run.learning_rate for run in settings], [run.momentum for run in settings], device)
