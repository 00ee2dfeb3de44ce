"""How the training of a network goes, epoch by epoch, and when that stops it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from droplab.estimator.parameters import Parameters

_LEAST_RATE = 1e-6
"""Below this, `adaptive` stops instead of dividing the learning rate by `_FACTOR`."""
_FACTOR = 5


class HeldOut(NamedTuple):
    """What a network says of the rows held out, by their weights: accuracy or R², and the mean loss."""

    score: float
    loss: float


class Epoch(NamedTuple):
    """What one epoch came to.

    Attributes:
        loss: what was minimized, the mean over the epoch.
        held_out: of the rows held out, after it; `None` without early stopping.
        learning_rate: of its last step.
        seconds: that it took, for all networks and the rows held out.
    """

    loss: float
    held_out: HeldOut | None
    learning_rate: float
    seconds: float

    def record(self) -> dict[str, Any]:
        """As `history_` has it."""
        score, loss = self.held_out or (None, None)
        return {
            "loss": self.loss,
            "validation_loss": loss,
            "validation_score": score,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }


@dataclass
class History:
    """How the training of one network went; beside its epochs, what stopping and learning rate go on from.

    Attributes:
        epochs: of all trainings, one after the other.
        rate: the learning rate as it is now.
        lowest: the lowest value that stopping looked at: a loss, or a score with its sign turned.
        waited: epochs in a row without improvement.
        iterations: epochs of the last `fit`; with L-BFGS its iterations.
        best: the epoch of the last `fit` that was best on the rows held out, the latest of several; 0 before the first.
        final_loss: the last loss.
    """

    epochs: list[Epoch] = field(default_factory=list)
    rate: float = 0.0
    lowest: float = math.inf
    waited: int = 0
    iterations: int = 0
    best: int = 0
    final_loss: float = math.nan

    def add(self, epoch: Epoch) -> None:
        """Add an epoch.

        Raises:
            FloatingPointError: if its loss is not finite.
        """
        self.epochs.append(epoch)
        self.iterations += 1
        self.final_loss = epoch.loss
        if not math.isfinite(epoch.loss):
            raise FloatingPointError(f"a loss of {epoch.loss} in epoch {self.iterations}")

    def begin(self, given: Parameters, before: HeldOut | None) -> None:
        """Begin a `fit` whose networks stop by rows held out, of which the network said this before its first epoch."""
        self.lowest, self.waited = math.inf if before is None else _looked_at(before, given), 0

    def note(self, epoch: Epoch, given: Parameters) -> bool:
        """Add an epoch, and say whether the network stops.

        Where masks or noise make the loss of single epochs rise and fall, its mean over as many epochs as are waited
        for has to improve: a lucky epoch would be the best for long. (On iris scikit-learn's rule then stops too early
        by two points of accuracy.) Without chance the rule is scikit-learn's.

        Raises:
            FloatingPointError: if what stopping looks at is not finite.
        """
        self.add(epoch)
        if epoch.held_out is None:
            window = min(given.n_iter_no_change, len(self.epochs)) if given.is_noisy else 1
            looked_at = fmean(each.loss for each in self.epochs[-int(window) :])
        else:
            looked_at = _looked_at(epoch.held_out, given)
            if not math.isfinite(looked_at):
                raise FloatingPointError(
                    f"a {given.stopping_metric} of {looked_at} on the rows held out after epoch {self.iterations}"
                )
            if looked_at <= self.lowest:
                self.best = self.iterations
        better = looked_at <= self.lowest - given.tol
        self.lowest = min(self.lowest, looked_at)
        self.waited = 0 if better else self.waited + 1
        if self.waited <= given.n_iter_no_change:
            return False
        if given.solver == "sgd" and given.learning_rate == "adaptive" and self.rate > _LEAST_RATE:
            self.rate /= _FACTOR
            self.waited = 0
            return False
        return True


def _looked_at(said: HeldOut, given: Parameters) -> float:
    """The lower, the better."""
    return said.loss if given.stopping_metric == "loss" else -said.score
