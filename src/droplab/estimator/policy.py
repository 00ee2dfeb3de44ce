"""How the classifier's networks are trained: the policy of `train.loop`, by the conventions of scikit-learn.

R networks, N rows, F features, S steps of an epoch, K rows of strengths.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from droplab.config import FALLING
from droplab.estimator.history import Epoch, HeldOut, History
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

_ONE_THREAD = 3_000_000
"""A step with fewer multiplications runs on one thread: another gains it a tenth at most, and loses it a third where
other threads want the cores, as those of NumPy do for a while after each product (docs/log.md)."""

_NUMBERS_AT_ONCE = 2**18
"""Features taken from the table in one go: many small steps share the calls, large ones do not need to."""

_EPOCHS_AT_ONCE = 32


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
        self._began = self._clock = time.perf_counter()
        self._is_late = False

    def whole(self, valid: Rows | None, show: Callable[[], object]) -> None:
        """Train for at most `max_iter` epochs; a network that stops earlier keeps what it has then.

        With `valid`, each ends as it was when it was best on these rows, by its loss unless asked otherwise: accuracy
        takes few values there, and on uneven classes it is for many epochs that of always saying the commonest. Ctrl-C
        ends the training with a warning and keeps what is there, as `time_limit` does.

        Args:
            valid: to stop by.
            show: called before callbacks are, so that they find the estimator as it is.

        Raises:
            FloatingPointError: as soon as the loss of a network that has not stopped is not finite.
        """
        networks, given, self._valid, self._show = self.networks, self._given, valid, show
        for history in self.histories:
            history.rate, history.iterations, history.best = given.learning_rate_init, 0, 0
        if valid is not None:
            before = held_out(networks, valid) if networks.epoch else None  # on a warm start
            for r, history in enumerate(self.histories):
                history.begin(given, before[r] if before else None)
                if before:
                    self._keep(networks, r)
        try:
            with _threads_for(networks.values.numel() * self._size):
                train(networks, self, replayed())
            if self._is_late:
                warnings.warn(
                    f"time_limit ({given.time_limit:g} s) is passed and the training has not converged. Raise it, or "
                    "train fewer or smaller networks.",
                    ConvergenceWarning,
                    stacklevel=3,
                )
            elif networks.active and given.schedule not in FALLING:  # such a schedule is over then, and so is training
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
        losses = run_epoch(self.networks, self, plain_step)
        epochs = self._epochs(self.networks, losses, None)
        self._count()
        for history, epoch in zip(self.histories, epochs, strict=True):
            history.add(epoch)
            if self._given.verbose:
                print(f"loss = {epoch.loss:.8f}")

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
        said = held_out(networks, self._valid) if self._valid is not None else None
        epochs, given = self._epochs(networks, losses, said), self._given
        self._count()
        stops, rows = set[int](), sorted(range(len(networks)), key=networks.places.__getitem__)
        for row in rows:
            place = networks.places[row]
            history = self.histories[place]
            if history.note(epochs[row], given):
                stops.add(row)
            if history.best == history.iterations:
                self._keep(networks, row)
            if given.verbose:
                _tell(place, history, len(self.histories))
        if given.callbacks:
            self._show()
            stops |= {row for row in rows if self._is_stopped(networks.places[row])}
        if given.time_limit is not None and time.perf_counter() - self._began >= given.time_limit:
            self._is_late = len(stops) < len(rows)
            return rows
        return list(stops)

    def _is_stopped(self, place: int) -> bool:
        """Tell all callbacks of a network's epoch; whether one of them stops it."""
        epochs = self.histories[place].epochs
        score, loss = epochs[-1].held_out or (None, epochs[-1].loss)
        asked = [call(place, len(epochs), loss, score) for call in self._given.callbacks]
        return any(asked)

    def _epochs(self, networks: Networks, losses: NDArray[np.float64], said: list[HeldOut] | None) -> list[Epoch]:
        """What the epoch just done came to, of each network."""
        rates = self._factors(np.array([self.networks.updates - 1])) * self._rates(networks)
        began, self._clock = self._clock, time.perf_counter()
        return [
            Epoch(float(losses[row, 1]), said[row] if said else None, float(rate), self._clock - began)
            for row, rate in enumerate(rates)
        ]

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
        given, updates = self._given, self.networks.updates + np.arange(steps)
        factors = self._factors(updates)
        if given.solver == "adam":
            numbers = adam_numbers(factors, given.beta_1, given.beta_2, updates, given.epsilon, corrected=False)
        else:
            numbers = np.outer(factors, [1.0, 1.0, 0.0, 0.0, 0.0])
            numbers[:, 2] = given.momentum
        table = torch.from_numpy(numbers)[:, :, None].repeat(1, 1, len(networks))
        table[:, :2] *= torch.from_numpy(self._rates(networks))
        return table

    def _factors(self, updates: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of the learning rate that the schedule leaves each update, shape (S,)."""
        given, an_epoch = self._given, math.ceil(self.examples / self._size)
        factors = factor_at(given.schedule, updates / an_epoch, given.max_iter, given.schedule_final)
        return np.asarray(factors * warmth_at(updates, given.warmup_epochs * an_epoch))

    def _rates(self, networks: Networks) -> NDArray[np.float64]:
        """The learning rate of each network, shape (R,); the schedule aside."""
        if self._given.solver == "adam":
            return np.full(len(networks), self._given.learning_rate_init)
        return np.array([self.histories[place].rate for place in networks.places])


def held_out(networks: Networks, rows: Rows) -> list[HeldOut]:
    """Each network on rows, dropout off; right is a row with several labels if all of them are.

    Of numbers that are all the same R² is taken against a deviation of 1, that of scaled targets in training.
    """
    network, said, losses = networks.network, [], []
    layers = networks.final()
    weights = rows.weights.double()  # where all are 1, equally many right rows are a tie to the last bit
    with torch.no_grad():
        for start, features in rows.features.chunks():
            truth = rows.targets[None, start : start + features.shape[1]]
            truth = truth.expand(len(networks), *[-1] * rows.targets.dim())
            outputs = outputs_of(network, layers, features)
            losses.append(network.losses(outputs, truth))
            said.append(_errors(network, outputs, truth))
        errors = torch.cat(said, dim=1)
        if network.output in ("softmax", "logistic"):
            scores = (~errors * weights).sum(dim=1) / weights.sum()
        else:  # R², the mean over the targets
            middle = (weights @ rows.targets.double()) / weights.sum()
            spread = weights @ (rows.targets - middle).square()
            is_constant = spread <= 1e-20 * (weights @ rows.targets.double().square())  # R² would be of a division by 0
            spread = torch.where(is_constant, weights.sum(), spread)
            scores = 1 - (weights @ errors.double() / spread).mean(dim=1)
    means = (torch.cat(losses, dim=1) * (rows.weights / rows.weights.sum())).sum(dim=1)
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


def _say_if_untrained(histories: Sequence[History], rows: int, given: Parameters) -> None:
    untrained = [str(r) for r, history in enumerate(histories) if history.best <= 1 < history.iterations]
    if untrained:
        warnings.warn(
            f"early stopping kept {'network' if len(untrained) == 1 else 'networks'} {', '.join(untrained)} from the "
            f"first epoch or before: the {given.stopping_metric} on the {rows} rows held out was best there, so that "
            f"training has hardly begun. Lower learning_rate_init ({given.learning_rate_init:g}), scale the features, "
            "or stop by more rows (validation_fraction, or X_val).",
            UserWarning,
            stacklevel=4,
        )


def _tell(network: int, history: History, of: int) -> None:
    name, epoch = f"network {network}: " if of > 1 else "", history.epochs[-1]
    said = epoch.held_out
    valid = f", validation score = {said.score:.6f}, validation loss = {said.loss:.8f}" if said else ""
    print(f"{name}Iteration {history.iterations}, loss = {epoch.loss:.8f}{valid}")
