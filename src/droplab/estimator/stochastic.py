"""Training by steps: Adam and SGD in epochs, stopped as scikit-learn's `MLPClassifier` stops, each network for itself.

R networks, N rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from droplab.estimator.networks import History, Networks, Output, apply_by_network, cross_entropy, outputs_of
from droplab.estimator.parameters import Parameters
from droplab.estimator.plain import Gradient, epoch_masks
from droplab.estimator.rows import Rows
from droplab.model.general import General
from droplab.model.noise import Noise
from droplab.random import Purpose, key_tensor, permutation, stream_key

_LEAST_RATE = 1e-6
"""Below this, `adaptive` stops instead of dividing the learning rate by `_FACTOR`."""
_FACTOR = 5
_ONE_THREAD = 3_000_000
"""A step with fewer multiplications runs on one thread: another gains it a tenth at most, and loses it a third where
other threads want the cores, as those of NumPy do for a while after each product (docs/log.md)."""


def train(networks: Networks, given: Parameters, output: Output, rows: Rows, valid: Rows | None) -> None:
    """Train for at most `max_iter` epochs; a network that stops earlier keeps what it has then.

    With `valid`, each ends as it was when its log-loss on these rows was lowest. Accuracy takes few values there, and
    on uneven classes it is for many epochs that of always saying the commonest. Ctrl-C ends the training with a warning
    and keeps what is there.

    Args:
        networks: changed in place.
        given: the classifier's parameters.
        output: what the outputs are.
        rows: to train on.
        valid: to stop by.

    Raises:
        FloatingPointError: as soon as the loss of a network that has not stopped is not finite.
    """
    histories = networks.histories
    running, kept = set(range(len(histories))), {}
    for history in histories:
        history.iterations = history.best = 0
    if valid is not None:
        before = held_out(networks, given.general, output, valid) if networks.epochs else None  # on a warm start
        for r, history in enumerate(histories):
            history.lowest, history.waited = (before[r].loss if before else math.inf), 0
            if before:
                kept[r] = networks.keep(r)
    threads = torch.get_num_threads()
    if _products(networks, given, rows) < _ONE_THREAD:
        torch.set_num_threads(1)
    try:
        for _ in range(given.max_iter):
            losses = run_epoch(networks, given, output, rows)
            said = held_out(networks, given.general, output, valid) if valid is not None else None
            for r in sorted(running):
                history = histories[r]
                if _note(history, losses[r], said[r] if said else None, given):
                    running.discard(r)
                if history.best == history.iterations or (valid is None and r not in running):
                    kept[r] = networks.keep(r)
                if given.verbose:
                    _tell(r, history, said[r] if said else None, len(losses))
            if not running:
                break
        else:
            warnings.warn(
                f"max_iter ({given.max_iter}) epochs are done and the training has not converged. Raise max_iter, or "
                "scale the features.",
                ConvergenceWarning,
                stacklevel=3,
            )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted: what is there is kept.", UserWarning, stacklevel=3)
    finally:
        torch.set_num_threads(threads)
    for r, parts in kept.items():
        networks.restore(r, parts)
    if valid is not None:
        _say_if_untrained(histories, len(valid), given)
        for history in histories:
            history.lowest = math.inf  # of these rows alone: what is trained without them begins anew


def run_epoch(networks: Networks, given: Parameters, output: Output, rows: Rows) -> list[float]:
    """Every row once; gives the mean loss of each network."""
    count, device = len(rows), rows.features.device
    size = _batch_size(given, count)
    keys = [stream_key(seed, Purpose.ORDER, networks.epochs) for seed in networks.seeds]
    order = torch.arange(count, device=device).expand(len(keys), -1)
    if given.shuffle:
        order = permutation(key_tensor(keys, device), count)
    sizes = [min(size, count - start) for start in range(0, count, size)]
    masks = epoch_masks(networks, given.rates, sizes)
    by_hand, general = Gradient(networks, given.activation, output, given.alpha), given.general
    rates = [history.rate for history in networks.histories]
    update = _Adam(networks, given) if given.solver == "adam" else _SGD(networks, given)
    total = torch.zeros_like(networks.values[:, 0])
    for step, batch in enumerate(rows.batches(order, size)):
        if given.is_plain:
            losses, gradient = by_hand(batch, next(masks)), by_hand.values
        else:
            noise = Noise(networks.seeds, (networks.epochs, step), True, device)
            losses, gradient = networks.gradient(general, output, batch, given.alpha, noise)
        apply_by_network(networks, general, rates, before=True)
        update(gradient)
        apply_by_network(networks, general, rates, before=False)
        networks.updates += 1
        total += losses * sizes[step]
    networks.epochs += 1
    networks.seen += count
    if given.solver == "sgd" and given.learning_rate == "invscaling":
        for history in networks.histories:
            history.rate = given.learning_rate_init * float(networks.seen + 1) ** -given.power_t
    return [float(loss) for loss in total / count]


def _batch_size(given: Parameters, count: int) -> int:
    return min(200 if given.batch_size == "auto" else given.batch_size, count)


def _products(networks: Networks, given: Parameters, rows: Rows) -> int:
    """About the multiplications of a step's forward pass."""
    return networks.values.numel() * _batch_size(given, len(rows))


class HeldOut(NamedTuple):
    """What a network says of the rows held out, by their weights: accuracy, and log-loss in nats."""

    accuracy: float
    loss: float


def held_out(networks: Networks, general: General, output: Output, rows: Rows) -> list[HeldOut]:
    """Each network on rows, dropout off; right is a row with several labels if all of them are."""
    layers, right, losses = networks.final(), [], []
    with torch.no_grad():
        for start, features in rows.features.chunks():
            said = outputs_of(general, layers, features)
            truth = rows.targets[start : start + features.shape[1]]
            if output == "softmax":
                right.append(said.argmax(dim=2) == truth.argmax(dim=1))
            else:
                right.append(((said > 0) == (truth > 0.5)).all(dim=2))
            losses.append(cross_entropy(output, said, truth))
    shares = rows.weights / rows.weights.sum()
    means = ((torch.cat(parts, dim=1) * shares).sum(dim=1).tolist() for parts in (right, losses))
    return [HeldOut(*both) for both in zip(*means, strict=True)]


def _note(history: History, loss: float, said: HeldOut | None, given: Parameters) -> bool:
    """Add an epoch to a network's history, and say whether the network stops.

    Where masks or noise make the loss of single epochs rise and fall, its mean over as many epochs as are waited for
    has to improve: a lucky epoch would be the best for long. (On iris scikit-learn's rule then stops too early by two
    points of accuracy.) Without chance the rule is scikit-learn's.
    """
    history.add(loss)
    if said is None:
        window = min(given.n_iter_no_change, len(history.losses)) if given.general.is_noisy else 1
        looked_at = fmean(history.losses[-int(window) :])
    else:
        looked_at = said.loss
        history.scores.append(said.accuracy)
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


class _Adam:
    """Kingma & Ba (2015), with epsilon where scikit-learn has it: beside the root of the uncorrected second moment."""

    def __init__(self, networks: Networks, given: Parameters) -> None:
        self._networks, self._given = networks, given
        self._updates = torch.tensor(float(networks.updates), device=networks.values.device)

    def __call__(self, gradient: Tensor) -> None:
        networks, given = self._networks, self._given
        self._updates += 1
        # What torch.optim.Adam(fused=True) ends in: its way there is a tenth of a small step (docs/log.md).
        torch._fused_adam_(
            [networks.values],
            [gradient],
            [networks.first],
            [networks.second],
            [],
            [self._updates],
            amsgrad=False,
            beta1=given.beta_1,
            beta2=given.beta_2,
            lr=given.learning_rate_init,
            weight_decay=0.0,
            eps=given.epsilon / math.sqrt(1 - given.beta_2 ** (networks.updates + 1)),
            maximize=False,
        )


class _SGD:
    """V ← m·v − rate·g, w ← w + v, with Nesterov's momentum w ← w + m·v − rate·g, each network at its own rate."""

    def __init__(self, networks: Networks, given: Parameters) -> None:
        self._networks, self._given = networks, given
        rates = [history.rate for history in networks.histories]
        self._rates = torch.tensor(rates, dtype=networks.dtype, device=networks.values.device)[:, None]

    def __call__(self, gradient: Tensor) -> None:
        values, velocity, momentum = self._networks.values, self._networks.first, self._given.momentum
        step = gradient * self._rates
        velocity.mul_(momentum).sub_(step)
        values.add_(velocity.mul(momentum).sub_(step) if self._given.nesterovs_momentum else velocity)


def _tell(network: int, history: History, said: HeldOut | None, of: int) -> None:
    name = f"network {network}: " if of > 1 else ""
    valid = f", validation score = {said.accuracy:.6f}, validation loss = {said.loss:.8f}" if said else ""
    print(f"{name}iteration {history.iterations}, loss = {history.losses[-1]:.8f}{valid}")
