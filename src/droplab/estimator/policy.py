"""How the classifier's networks are trained: the policy of `train.loop`, by the conventions of scikit-learn.

R networks, N rows, F features, S steps of an epoch, K rows of strengths.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from droplab.config import FALLING
from droplab.estimator.parameters import Parameters
from droplab.estimator.rows import Rows
from droplab.model.losses import numbers_of
from droplab.model.network import Layer, Network
from droplab.model.noise import Noise
from droplab.random import Purpose, fold, key_tensor, permutation, stream_key
from droplab.study.limits import cores
from droplab.train.loop import run_epoch, train
from droplab.train.networks import Networks
from droplab.train.optimizers import ROWS, adam_numbers, factor_at, warmth_at
from droplab.train.replay import replayed
from droplab.train.step import Inputs, plain_step

_LEAST_RATE = 1e-6
"""Below this, `adaptive` stops instead of dividing the learning rate by `_FACTOR`."""
_FACTOR = 5

_ONE_THREAD = 3_000_000
"""A step with fewer multiplications runs on one thread: another gains it a tenth at most, and loses it a third where
other threads want the cores, as those of NumPy do for a while after each product (docs/log.md)."""

_NUMBERS_AT_ONCE = 2**18
"""Features taken from the table in one go: many small steps share the calls, large ones do not need to."""

_EPOCHS_AT_ONCE = 32


@dataclass
class History:
    """How the training of one network went, in epochs; beside curves, what stopping and learning rate go on from.

    Attributes:
        losses: what was minimized, the mean over each epoch.
        scores: accuracy on the rows held out, after each epoch; empty without early stopping.
        held_out_losses: log-loss on the rows held out, likewise.
        rate: the learning rate as it is now.
        lowest: the lowest loss that stopping looked at.
        waited: epochs in a row without improvement.
        iterations: epochs of the last `fit`; with L-BFGS its iterations.
        best: the epoch of the last `fit` with the lowest log-loss on the rows held out; 0 before the first.
        final_loss: the last loss.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    held_out_losses: list[float] = field(default_factory=list)
    rate: float = 0.0
    lowest: float = math.inf
    waited: int = 0
    iterations: int = 0
    best: int = 0
    final_loss: float = math.nan

    def add(self, loss: float) -> None:
        """Add an epoch.

        Raises:
            FloatingPointError: if its loss is not finite.
        """
        self.losses.append(loss)
        self.iterations += 1
        self.final_loss = loss
        if not math.isfinite(loss):
            raise FloatingPointError(f"a loss of {loss} in epoch {self.iterations}")


class HeldOut(NamedTuple):
    """What a network says of the rows held out, by their weights: accuracy or R², and the mean loss."""

    score: float
    loss: float


class Fit:
    """A training of networks on rows.

    Attributes:
        networks: changed in place.
        histories: of each.
        seen: rows of all epochs, for the schedule `invscaling`.
        epochs: after how many it ends at the latest, as networks count them.
        examples: rows of an epoch.
    """

    def __init__(
        self, networks: Networks, histories: Sequence[History], seen: int, given: Parameters, rows: Rows
    ) -> None:
        self.networks, self.histories, self.seen = networks, histories, seen
        self.epochs, self.examples = networks.epoch + given.max_iter, len(rows)
        self._given, self._rows = given, rows
        self._size = min(200 if given.batch_size == "auto" else given.batch_size, len(rows))
        self._valid: Rows | None = None
        self._kept: dict[int, list[Tensor]] = {}
        self._made_for: object = None
        self._steps: Iterator[Inputs] = iter(())

    def whole(self, valid: Rows | None) -> None:
        """Train for at most `max_iter` epochs; a network that stops earlier keeps what it has then.

        With `valid`, each ends as it was when its log-loss on these rows was lowest. Accuracy takes few values there,
        and on uneven classes it is for many epochs that of always saying the commonest. Ctrl-C ends the training with a
        warning and keeps what is there.

        Args:
            valid: to stop by.

        Raises:
            FloatingPointError: as soon as the loss of a network that has not stopped is not finite.
        """
        networks, given, self._valid = self.networks, self._given, valid
        for history in self.histories:
            history.rate, history.iterations, history.best = given.learning_rate_init, 0, 0
        if valid is not None:
            before = held_out(networks, valid) if networks.epoch else None  # on a warm start
            for r, history in enumerate(self.histories):
                history.lowest, history.waited = (before[r].loss if before else math.inf), 0
                if before:
                    self._keep(networks, r)
        try:
            with _threads_for(networks.values.numel() * self._size):
                train(networks, self, replayed())
            if networks.active and given.schedule not in FALLING:  # such a schedule is over then, and so is training
                warnings.warn(
                    f"max_iter ({given.max_iter}) epochs are done and the training has not converged. Raise max_iter, "
                    "or scale the features.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted: what is there is kept.", UserWarning, stacklevel=3)
            networks.step = 0
            networks.total.zero_()
        networks.sort()
        for place, parts in self._kept.items():
            for tensor, part in zip(networks.tensors().values(), parts, strict=True):
                tensor[place] = part
        if valid is not None:
            _say_if_untrained(self.histories, len(valid), given)
            for history in self.histories:
                history.lowest = math.inf  # of these rows alone: what is trained without them begins anew

    def one_epoch(self) -> None:
        """Train for an epoch; nothing stops by it.

        Raises:
            FloatingPointError: if a loss is not finite.
        """
        self.epochs = self.networks.epoch + 1
        for history in self.histories:
            history.rate, history.iterations = history.rate or self._given.learning_rate_init, 0
        aims = run_epoch(self.networks, self, plain_step)[:, 1].tolist()
        self._count()
        for history, loss in zip(self.histories, aims, strict=True):
            history.add(loss)
            if self._given.verbose:
                print(f"loss = {loss:.8f}")

    def inputs(self, networks: Networks) -> Iterator[Inputs]:
        """The steps of an epoch: every row once."""
        made_for = [(place, self.histories[place].rate) for place in networks.places]
        if made_for != self._made_for:
            self._made_for, self._steps = made_for, self._to_come(networks)
        return islice(self._steps, math.ceil(self.examples / self._size))

    def after_epoch(self, networks: Networks, losses: NDArray[np.float64]) -> list[int]:
        """Note the epoch in the histories, and say which networks stop.

        Args:
            networks: those under training.
            losses: loss and aim of each, shape (R, 2).
        """
        self._count()
        aims, stops, given = losses[:, 1].tolist(), [], self._given
        said = held_out(networks, self._valid) if self._valid is not None else None
        for place, row in sorted(zip(networks.places, range(len(networks)), strict=True)):
            history = self.histories[place]
            if _note(history, aims[row], said[row] if said else None, given):
                stops.append(row)
            if history.best == history.iterations:
                self._keep(networks, row)
            if given.verbose:
                _tell(place, history, said[row] if said else None, len(self.histories))
        return stops

    def _count(self) -> None:
        self.seen += self.examples
        if self._given.solver == "sgd" and self._given.learning_rate == "invscaling":
            for history in self.histories:
                history.rate = self._given.learning_rate_init * float(self.seen + 1) ** -self._given.power_t

    def _keep(self, networks: Networks, row: int) -> None:
        """Copy all that one network is made of."""
        self._kept[networks.places[row]] = [part[row].clone() for part in networks.tensors().values()]

    def _to_come(self, networks: Networks) -> Iterator[Inputs]:
        """The steps of all epochs to come at the learning rates as they are; small ones are made many in one go."""
        given, rows, device, dtype = self._given, self._rows, networks.values.device, networks.values.dtype
        runs, count, size = len(networks), len(rows), self._size
        at_once = max(_NUMBERS_AT_ONCE // (runs * size * max(networks.network.sizes)), 1)
        scale = torch.ones((), dtype=dtype, device=device)
        strengths = networks.network.strengths([given.used] * runs).to(device)
        penalized = [rows for entry, rows in networks.network.used if entry.name == "l2"]
        sizes = [min(size, count - start) for start in range(0, count, size)]
        epochs = 1 if given.learning_rate == "invscaling" else max(min(at_once // len(sizes), _EPOCHS_AT_ONCE), 1)
        while True:
            ahead = torch.arange(self.networks.epoch, min(self.networks.epoch + epochs, self.epochs), device=device)
            orders = torch.arange(count, device=device).expand(runs, len(ahead), -1)
            if given.shuffle:
                keys = _keys(networks, Purpose.ORDER, ahead).T
                orders = permutation(keys.reshape(-1), count).view(runs, len(ahead), count)
            order = orders.reshape(runs, -1)
            steps = torch.arange(len(sizes), device=device)[:, None]
            keys = fold(_keys(networks, Purpose.NOISE, ahead)[:, None], steps).flatten(0, 1)
            numbers = self._numbers(networks, len(keys)).to(device)
            lengths = sizes * len(ahead)
            for start in range(0, len(lengths), at_once):
                part = slice(start, start + at_once)
                picked = order[:, sum(lengths[:start]) :][:, : sum(lengths[part])]
                shares, inverse = rows.shares(picked, lengths[part])
                table = torch.cat([numbers[part], strengths.expand(inverse.shape[1], -1, -1)], dim=1)
                for l2 in penalized:
                    table[:, ROWS:][:, l2] += given.alpha * inverse.T[:, None]
                kinds = (rows.features.take(picked), rows.targets[picked], shares)
                split = (torch.split(kind, lengths[part], dim=1) for kind in kinds)
                masks = self._masks(networks, keys[part], size, dtype)
                steps_of = zip(*split, keys[part].unbind(), table.to(dtype).unbind(), masks, strict=True)
                for x, y, share, key, number, mask in steps_of:
                    yield Inputs(x, y, scale, key, number, share, [whole[:, : y.shape[1]] for whole in mask])

    def _masks(self, networks: Networks, keys: Tensor, size: int, dtype: torch.dtype) -> Iterable[Sequence[Tensor]]:
        """What dropout multiplies hidden layers by, of each of the steps with keys of shape (S, R)."""
        network, used = networks.network, self._given.used
        if "dropout" not in used:
            return [()] * len(keys)
        noise = Noise(keys.flatten(), fine=network.fine).of("dropout")
        rates = torch.tensor(used["dropout"], dtype=dtype, device=keys.device)
        sizes = zip(rates, network.sizes[1:-1], strict=True)
        made = [noise.mask(k, rate, size, units, dtype) for k, (rate, units) in enumerate(sizes)]
        return zip(*(each.view(*keys.shape, size, -1).unbind() for each in made), strict=True)

    def _numbers(self, networks: Networks, steps: int) -> Tensor:
        """What the optimizer takes in the next steps, shape (S, ROWS, R)."""
        given, rates = self._given, [self.histories[place].rate for place in networks.places]
        updates = self.networks.updates + np.arange(steps)
        an_epoch = math.ceil(self.examples / self._size)
        factors = factor_at(given.schedule, updates / an_epoch, given.max_iter, given.schedule_final)
        factors = factors * warmth_at(updates, given.warmup_epochs * an_epoch)
        if given.solver == "adam":
            numbers = adam_numbers(factors, given.beta_1, given.beta_2, updates, given.epsilon, corrected=False)
            rates = [given.learning_rate_init] * len(networks)
        else:
            numbers = np.outer(factors, [1.0, 1.0, 0.0, 0.0, 0.0])
            numbers[:, 2] = given.momentum
        table = torch.from_numpy(numbers)[:, :, None].repeat(1, 1, len(networks))
        table[:, :2] *= torch.tensor(rates, dtype=torch.float64)
        return table


def held_out(networks: Networks, rows: Rows) -> list[HeldOut]:
    """Each network on rows, dropout off; right is a row with several labels if all of them are."""
    network, said, losses = networks.network, [], []
    layers = networks.final()
    shares = rows.weights / rows.weights.sum()
    with torch.no_grad():
        for start, features in rows.features.chunks():
            truth = rows.targets[None, start : start + features.shape[1]]
            truth = truth.expand(len(networks), *[-1] * rows.targets.dim())
            outputs = outputs_of(network, layers, features)
            losses.append(network.losses(outputs, truth))
            said.append(_errors(network, outputs, truth))
        errors = torch.cat(said, dim=1)
        if network.output in ("softmax", "logistic"):
            scores = 1 - (errors * shares).sum(dim=1)
        else:  # R², the mean over the targets
            spread = (shares[:, None] * (rows.targets - (shares[:, None] * rows.targets).sum(dim=0)).square()).sum(
                dim=0
            )
            scores = (1 - (errors * shares[:, None]).sum(dim=1) / spread).mean(dim=1)
    means = (torch.cat(losses, dim=1) * shares).sum(dim=1)
    return [HeldOut(*both) for both in zip(scores.tolist(), means.tolist(), strict=True)]


def _errors(network: Network, outputs: Tensor, truth: Tensor) -> Tensor:
    """Of each row: whether its classes are wrong, shape (R, B); or the squared errors of its numbers, (R, B, T)."""
    if network.output == "softmax":
        return outputs.argmax(dim=2) != truth
    if network.output == "logistic":
        return ((outputs > 0) != (truth > 0.5)).any(dim=2)
    said = numbers_of(network.output, outputs, max(len(network.levels), 1))
    middle = said.view(*truth.shape, -1)[..., (len(network.levels) - 1) // 2]
    errors: Tensor = (middle - truth).square()
    return errors


def outputs_of(
    network: Network, layers: Sequence[Layer], rows: Tensor, noise: Noise | None = None, strengths: Tensor | None = None
) -> Tensor:
    """What the output layers say of rows, shape (R, B, O).

    Args:
        network: what they compute.
        layers: as `Networks.final` gives them.
        rows: shape (1, B, F), the same for all networks.
        noise: `None` for dropout off.
        strengths: shape (K, R); needed with noise.
    """
    features = rows.expand(len(layers[0].weight), -1, -1)
    if noise is not None and strengths is not None:
        features = network.disturbed(features, noise, strengths)
    return network.after_first(layers, network.first(layers, features), noise, strengths)[1]


def check_finite(networks: Networks) -> None:
    """Whether training has left numbers.

    Raises:
        FloatingPointError: if a weight is none, or what the optimizer keeps: an infinite second moment stops Adam.
    """
    if not all(part.isfinite().all() for part in (*networks.tensors().values(), *chain(*networks.final()))):
        raise FloatingPointError("weights or moments that are not, after training")


@contextmanager
def _threads_for(products: int) -> Iterator[None]:
    """One thread for steps of so few products, or where other programs want the cores."""
    threads = torch.get_num_threads()
    if products < _ONE_THREAD or os.getloadavg()[0] >= cores():
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _keys(networks: Networks, purpose: Purpose, epochs: Tensor) -> Tensor:
    """Keys of the networks' streams in each epoch, shape (epochs, R)."""
    return fold(key_tensor([stream_key(seed, purpose) for seed in networks.seeds], epochs.device), epochs[:, None])


def _note(history: History, loss: float, said: HeldOut | None, given: Parameters) -> bool:
    """Add an epoch to a network's history, and say whether the network stops.

    Where masks or noise make the loss of single epochs rise and fall, its mean over as many epochs as are waited for
    has to improve: a lucky epoch would be the best for long. (On iris scikit-learn's rule then stops too early by two
    points of accuracy.) Without chance the rule is scikit-learn's.
    """
    history.add(loss)
    if said is None:
        window = min(given.n_iter_no_change, len(history.losses)) if given.is_noisy else 1
        looked_at = fmean(history.losses[-int(window) :])
    else:
        looked_at = said.loss
        history.scores.append(said.score)
        history.held_out_losses.append(said.loss)
        if not math.isfinite(looked_at):
            raise FloatingPointError(f"a log-loss of {looked_at} on the rows held out after epoch {history.iterations}")
        if looked_at < history.lowest:
            history.best = history.iterations
    better = looked_at <= history.lowest - given.tol
    history.lowest = min(history.lowest, looked_at)
    history.waited = 0 if better else history.waited + 1
    if history.waited <= given.n_iter_no_change:
        return False
    if given.solver == "sgd" and given.learning_rate == "adaptive" and history.rate > _LEAST_RATE:
        history.rate /= _FACTOR
        history.waited = 0
        return False
    return True


def _say_if_untrained(histories: Sequence[History], rows: int, given: Parameters) -> None:
    untrained = [str(r) for r, history in enumerate(histories) if history.best <= 1 < history.iterations]
    if untrained:
        warnings.warn(
            f"early stopping kept {'network' if len(untrained) == 1 else 'networks'} {', '.join(untrained)} from the "
            f"first epoch or before: the log-loss on the {rows} rows held out rose from there, so that training has "
            f"hardly begun. Lower learning_rate_init ({given.learning_rate_init:g}), scale the features, or raise "
            f"validation_fraction ({given.validation_fraction:g}).",
            UserWarning,
            stacklevel=4,
        )


def _tell(network: int, history: History, said: HeldOut | None, of: int) -> None:
    name = f"network {network}: " if of > 1 else ""
    valid = f", validation score = {said.score:.6f}, validation loss = {said.loss:.8f}" if said else ""
    print(f"{name}Iteration {history.iterations}, loss = {history.losses[-1]:.8f}{valid}")
