"""The training of a study's runs between two steps: their networks, and how they got there.

R runs, E epochs done, P evaluated points, S steps of an epoch, K rows of strengths.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from droplab.config import RunSettings
from droplab.model.initialise import initial_layers
from droplab.model.losses import Unit
from droplab.model.network import Layer, Network, pieces_of, used_by
from droplab.model.noise import training_keys
from droplab.model.regularizers import strengths_of
from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples
from droplab.train.networks import Networks
from droplab.train.optimizers import Optimizer, numbers_of
from droplab.train.outcome import Precision
from droplab.train.step import Inputs

CURVE_POINTS = 40
"""Most points at which a training is evaluated for its curves."""

CURVE_SHARE = 0.04
"""About the largest share of a training's products that its curves may take."""

CURVE_EXAMPLES = 5_000
"""How many training examples, the first ones of the split, the curves are evaluated on."""


class Progress(NamedTuple):
    """How far one run of a pack is.

    Attributes:
        run: position in the pack.
        epoch: epochs done.
        loss: mean training loss of the last epoch, in nats.
        accuracy: on valid with dropout off, in [0, 1], as last evaluated; of numbers their RMSE; `None` before that
            and without valid.
    """

    run: int
    epoch: int
    loss: float
    accuracy: float | None


class State:
    """R runs of one kind under training: the policy of `loop.train` for a study.

    Attributes:
        settings: of each run.
        epochs: most that one lasts.
        examples: of an epoch.
        unit: what numbers are trained in; `None` where targets are classes.
        networks: theirs, those that have stopped behind the others.
        losses: mean training loss of each epoch done, E of shape (R,), in nats; infinite where it is
            no number any more, NaN for a run that had stopped.
        points: the epochs after which networks were evaluated.
        evaluated: at each point, shape (train part and valid, loss and accuracy or RMSE, R), `float64`; NaN likewise.
        watch: of early stopping, each run's lowest loss on valid and the epochs done then, shape (R, 2), `float64`.
        best: the networks of that time, values and statistics; empty where no run stops early.
        evaluate_seconds: time in evaluation so far.
    """

    def __init__(
        self,
        settings: Sequence[RunSettings],
        examples: Examples,
        device: torch.device,
        precision: Precision,
    ) -> None:
        first, seeds = settings[0], [run.seed for run in settings]
        self.settings, self._examples = settings, examples
        self.epochs, self.examples = first.epochs, len(examples.train)
        train = examples.train
        self.unit = Unit.of(first.loss, train.labels[train.rows].cpu().numpy()) if first.is_of_numbers else None
        network = Network.of(settings, examples.features, examples.classes, precision)
        layers = initial_layers(
            examples.features, first.widths, examples.classes, seeds, device, first.initial_weights, pieces_of(first)
        )
        self.networks = Networks.initial(network, Optimizer.of(settings), seeds, layers)
        self.strengths = network.strengths([used_by(run) for run in settings]).to(device, torch.float32)
        self.losses: list[NDArray[np.float32]] = []
        self.points: list[int] = []
        self.evaluated: list[NDArray[np.float64]] = []
        self._patience = [
            max(strengths_of(each)) if (each := dict(run.regularizers).get("early_stopping")) is not None else None
            for run in settings
        ]
        self.watch = torch.tensor([[torch.inf, 0.0]] * len(settings), dtype=torch.float64)
        stopping = any(patience is not None for patience in self._patience)
        parts = [self.networks.values, self.networks.statistics]
        self.best = [part.clone() for part in parts] if stopping else []
        self._points = curve_points(first.epochs, _points_worth(examples))
        self.train_seconds = self.evaluate_seconds = 0.0

    def begin(self, on_progress: Callable[[Progress], None], first: int) -> None:
        """Begin to count the time; `on_progress` is told of each run after each epoch, of the first as `first`."""
        self._on_progress, self._first, self._clock = on_progress, first, time.perf_counter()

    def end(self) -> None:
        """Count the time so far as training's."""
        now = time.perf_counter()
        self.train_seconds, self._clock = self.train_seconds + now - self._clock, now

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do something whose time is not training's."""
        self.end()
        yield
        self._clock = time.perf_counter()

    def inputs(self, networks: Networks) -> Iterator[Inputs]:
        """The steps that are left of an epoch: every training example once, in the epoch's order."""
        train, size = self._examples.train, self.settings[0].batch_size
        device, epoch = train.rows.device, self.networks.epoch
        keys = [stream_key(seed, Purpose.ORDER, epoch) for seed in networks.seeds]
        batches = torch.split(permutation(key_tensor(keys, device), len(train)), size, dim=1)
        scale = torch.tensor(train.scale, dtype=torch.float32, device=device)
        noise = training_keys(networks.seeds, epoch, len(batches), device)
        numbers = self._numbers(networks, len(batches)).to(device)
        for step in range(self.networks.step, len(batches)):
            features, targets = train.batch(batches[step])
            if self.unit is not None:
                targets = self.unit.inside(targets).float().unsqueeze(2)
            yield Inputs(features, targets, scale, noise[step], numbers[step])

    def _numbers(self, networks: Networks, steps: int) -> Tensor:
        """What each step of an epoch takes, shape (S, ROWS + K, R)."""
        updates = self.networks.epoch * steps + np.arange(steps)
        rows = [numbers_of(self.settings[place], updates, steps) for place in networks.places]
        moving = torch.tensor(np.stack(rows, axis=2), dtype=torch.float32)
        fixed = self.strengths[:, networks.places].cpu().expand(steps, -1, -1)
        return torch.cat([moving, fixed], dim=1)

    def after_epoch(self, networks: Networks, losses: NDArray[np.float64]) -> list[int]:
        """Evaluate where the curves have a point, tell how far it is, and say which runs stop.

        Args:
            networks: those under training.
            losses: loss and aim of each, shape (R, 2).
        """
        epoch, table = self.networks.epoch, np.full(len(self.settings), np.nan, np.float32)
        table[networks.places] = np.where(np.isnan(losses[:, 0]), np.inf, losses[:, 0])
        self.losses.append(table)
        with self.aside():
            started = time.perf_counter()
            stops = [not np.isfinite(loss) for loss in losses[:, 0]]
            if self.best:
                stops = [a or b for a, b in zip(stops, self._watched(networks), strict=True)]
            if epoch in self._points:
                self._add_point(networks)
            elif any(stops):
                self._add_point(networks, [row for row, does in enumerate(stops) if does])
            self.evaluate_seconds += time.perf_counter() - started
        accuracies = self.evaluated[-1][1, 1] if self.evaluated and len(self._examples.valid) else None
        for row, place in enumerate(networks.places):
            accuracy = None if accuracies is None or np.isnan(accuracies[place]) else float(accuracies[place])
            self._on_progress(Progress(self._first + place, epoch, float(losses[row, 0]), accuracy))
        return [row for row, does in enumerate(stops) if does]

    def _watched(self, networks: Networks) -> list[bool]:
        """Early stopping (Prechelt 1998): keep each network whose loss on valid is its lowest; which have waited."""
        said = self.evaluate(networks, "valid")[0]
        stops = []
        for row, place in enumerate(networks.places):
            patience, loss = self._patience[place], float(said[row])
            if patience is not None and loss < self.watch[place, 0]:
                self.watch[place] = torch.tensor([loss, self.networks.epoch], dtype=torch.float64)
                for best, part in zip(self.best, (networks.values, networks.statistics), strict=True):
                    best[place] = part[row]
            waited = self.networks.epoch - float(self.watch[place, 1])
            stops.append(patience is not None and waited >= patience)
        return stops

    def take_best(self) -> list[int | None]:
        """Put the networks in order, of early stopping the best; after how many epochs each of these was seen."""
        self.networks.sort()
        chosen: list[int | None] = [None] * len(self.settings)
        for place, patience in enumerate(self._patience):
            if patience is not None:
                chosen[place] = int(self.watch[place, 1])
                for best, part in zip(self.best, (self.networks.values, self.networks.statistics), strict=True):
                    part[place] = best[place]
        return chosen

    def final(self, networks: Networks) -> tuple[list[Layer], Tensor]:
        """Layers as they are evaluated and kept, which give numbers in the targets' own unit, and their strengths."""
        strengths = self.strengths[:, networks.places]
        layers = networks.final(strengths)
        if self.unit is not None:
            layers[-1] = Layer(*self.unit.folded(*layers[-1], networks.network.output))
        return layers, strengths

    def evaluate(self, networks: Networks, split: str) -> NDArray[np.float64]:
        """Loss and accuracy (RMSE) of each with dropout off, on valid or a fixed part of train, shape (2, R)."""
        part = self._examples.valid if split == "valid" else self._examples.train.first(CURVE_EXAMPLES)
        layers, strengths = self.final(networks)
        said = evaluate(networks.network, layers, part, strengths, unit=self.unit)["off"]
        return torch.stack([said.loss, said.score]).cpu().numpy()

    def _add_point(self, networks: Networks, rows: Sequence[int] | None = None) -> None:
        """Evaluate all networks, or some alone."""
        chosen = list(range(len(networks))) if rows is None else list(rows)
        table = np.full((2, 2, len(self.settings)), np.nan)
        said = np.stack([self.evaluate(networks, "train"), self.evaluate(networks, "valid")])
        table[:, :, [networks.places[row] for row in chosen]] = said[:, :, chosen]
        self.points.append(self.networks.epoch)
        self.evaluated.append(table)

    def tensors(self) -> dict[str, Tensor]:
        """All of it but the settings, as named tensors on the CPU."""
        networks, runs = self.networks, len(self.settings)
        named = {
            "position": torch.tensor([networks.epoch, networks.step, networks.active]),
            "places": torch.tensor(networks.places),
            "seconds": torch.tensor([self.train_seconds, self.evaluate_seconds], dtype=torch.float64),
            "losses": torch.tensor(np.array(self.losses, dtype=np.float32).reshape(-1, runs)),
            "points": torch.tensor(self.points, dtype=torch.int64),
            "evaluated": torch.tensor(np.array(self.evaluated, dtype=np.float64).reshape(-1, 2, 2, runs)),
            "watch": self.watch,
        }
        named |= {f"best.{k}": part.cpu() for k, part in enumerate(self.best)}
        return named | {f"networks.{name}": tensor.cpu() for name, tensor in networks.tensors().items()}

    def restore(self, named: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, perhaps on another device.

        Raises:
            ValueError: if it is not of these runs' shapes, or lies beyond their last epoch; nothing is changed then.
        """
        mine, runs = self.tensors(), len(self.settings)
        open_ended = {"losses", "points", "evaluated"}  # as long as the training has lasted
        if named.keys() != mine.keys() or any(
            tensor.dtype != mine[name].dtype
            or tensor.shape[name in open_ended :] != mine[name].shape[name in open_ended :]
            for name, tensor in named.items()
        ):
            raise ValueError("a checkpoint must have the shapes of its runs")
        (epoch, step, active), points = named["position"].tolist(), named["points"].tolist()
        places = named["places"].tolist()
        counts = (len(named["losses"]), len(named["evaluated"]))
        within = 0 <= epoch <= self.epochs and step >= 0 and 0 <= active <= runs and sorted(places) == list(range(runs))
        if not within or counts != (epoch, len(points)):
            raise ValueError("a checkpoint must lie within its training")
        for name, tensor in self.networks.tensors().items():
            tensor.copy_(named[f"networks.{name}"])
        for k, part in enumerate(self.best):
            part.copy_(named[f"best.{k}"])
        self.watch.copy_(named["watch"])
        self.networks.places = places
        self.networks.seeds = [self.settings[place].seed for place in places]
        self.networks.epoch, self.networks.step, self.networks.active = epoch, step, active
        self.train_seconds, self.evaluate_seconds = named["seconds"].tolist()
        self.losses, self.points, self.evaluated = (
            list(named["losses"].numpy()),
            points,
            list(named["evaluated"].numpy()),
        )


def curve_points(epochs: int, worth: float) -> list[int]:
    """The epochs (1 … `epochs`) after which curves are evaluated, evenly spread, the last among them.

    Args:
        epochs: of the training.
        worth: what a point costs, in epochs of training; it decides how many there are: 5 to `CURVE_POINTS`.

    >>> curve_points(3, 0.1), curve_points(25, 0.1), len(curve_points(400, 0.1))
    ([1, 2, 3], [2, 5, 8, 10, 12, 15, 18, 20, 22, 25], 40)
    """
    count = min(max(int(CURVE_SHARE * epochs / worth), 5), CURVE_POINTS, epochs)
    return sorted({round(x) for x in np.linspace(epochs / count, epochs, count)})


def _points_worth(examples: Examples) -> float:
    """What a point of the curves costs, in epochs of training: an example costs 2/5 of what it does in a step."""
    evaluated = len(examples.valid) + min(len(examples.train), CURVE_EXAMPLES)
    return 0.4 * evaluated / len(examples.train)
