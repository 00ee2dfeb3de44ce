"""What training leaves behind, as scikit-learn has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from droplab.errors import ConfigError, DataError
from droplab.estimator.history import History
from droplab.train.networks import Networks


class TrainedNetwork(NamedTuple):
    """One of an estimator's networks.

    Attributes:
        seed: fixed its initial weights, batch order and masks.
        coefs: weights of each layer, shape (inputs, outputs), as scikit-learn has them.
        intercepts: biases of each layer, shape (outputs,).
        loss_curve: what was minimized, the mean over each epoch; empty with L-BFGS.
        validation_scores: accuracy or R² on the rows held out, after each epoch; `None` without early stopping.
        validation_losses: log-loss, or the loss of numbers, on them, likewise.
        loss: the last loss.
        n_iter: epochs of the last `fit`, or iterations of L-BFGS.
    """

    seed: int
    coefs: list[NDArray[np.floating]]
    intercepts: list[NDArray[np.floating]]
    loss_curve: list[float]
    validation_scores: list[float] | None
    validation_losses: list[float] | None
    loss: float
    n_iter: int

    @classmethod
    def each_of(cls, networks: Networks, histories: Sequence[History]) -> list[TrainedNetwork]:
        """Of networks on the CPU, whose weights these are."""
        layers = networks.final()
        return [
            cls(
                seed,
                [layer.weight[r].numpy().T for layer in layers],
                [layer.bias[r].numpy() for layer in layers],
                [epoch.loss for epoch in history.epochs],
                [epoch.held_out.score for epoch in history.epochs if epoch.held_out] or None,
                [epoch.held_out.loss for epoch in history.epochs if epoch.held_out] or None,
                history.final_loss,
                history.iterations,
            )
            for r, (seed, history) in enumerate(zip(networks.seeds, histories, strict=True))
        ]


class FirstNetwork:
    """The attributes of a fitted `MLPClassifier`, which has one network: those of the first of `networks_`."""

    networks_: list[TrainedNetwork]
    _networks: Networks
    _histories: list[History]
    _given_in: np.dtype[Any]
    _calibration: Any

    @property
    def coefs_(self) -> list[NDArray[np.floating]]:
        """Weights of each layer of the first network, shape (inputs, outputs); set as a list, not within it."""
        return self._wide(self.networks_[0].coefs)

    @coefs_.setter
    def coefs_(self, coefs: Sequence[NDArray[np.floating]]) -> None:
        self._set(0, "coefs_", coefs)

    @property
    def intercepts_(self) -> list[NDArray[np.floating]]:
        """Biases of each layer of the first network, likewise."""
        return self._wide(self.networks_[0].intercepts)

    @intercepts_.setter
    def intercepts_(self, intercepts: Sequence[NDArray[np.floating]]) -> None:
        self._set(1, "intercepts_", intercepts)

    def _wide(self, arrays: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
        """In the dtype of the rows that were trained on, if it is the wider, as scikit-learn has them; read-only."""
        wide = [array.astype(np.result_type(array, self._given_in)) for array in arrays]
        for array in wide:
            array.flags.writeable = False
        return wide

    def _set(self, part: int, name: str, given: Sequence[NDArray[np.floating]]) -> None:
        """Give the first network other weights (part 0) or biases (part 1), of each layer.

        Raises:
            AttributeError: before `fit`.
            ConfigError: with batch normalization.
            DataError: if the arrays are not finite numbers of the shapes that are there.
        """
        if not hasattr(self, "networks_"):
            raise AttributeError(f"{name} can be set once there are networks. Call fit or partial_fit first.")
        if self._networks.network.is_normalized:
            raise ConfigError(
                f"{name} can be set where they are what is trained; found batch_norm, which is folded into them."
            )
        networks = self._networks.copy(torch.device("cpu"))
        own, arrays = [each[0].t() for each in networks.parts[part::2]], [np.array(each, dtype=float) for each in given]
        shapes, found = [tuple(each.shape) for each in own], [each.shape for each in arrays]
        if shapes != found or not all(np.isfinite(each).all() for each in arrays):
            raise DataError(f"{name} must be finite numbers of the shapes {shapes}; found {found}.")
        for mine, array in zip(own, arrays, strict=True):
            mine.copy_(torch.from_numpy(array))
        self._networks, self.networks_ = networks, TrainedNetwork.each_of(networks, self._histories)
        self._calibration = None

    @property
    def n_iter_(self) -> int:
        """Epochs of the last `fit` of the first network, or iterations of L-BFGS."""
        return self.networks_[0].n_iter

    @property
    def loss_(self) -> float:
        """The last loss of the first network."""
        return self.networks_[0].loss

    @property
    def loss_curve_(self) -> list[float]:
        """The first network's loss in each epoch."""
        return self.networks_[0].loss_curve

    @property
    def best_loss_(self) -> float | None:
        """The first network's lowest loss; `None` with early stopping."""
        return None if self.validation_scores_ else min(self.loss_curve_, default=self.loss_)

    @property
    def validation_scores_(self) -> list[float] | None:
        """The first network's accuracy or R² on the rows held out, after each epoch; `None` without early stopping."""
        return self.networks_[0].validation_scores

    @property
    def validation_loss_curve_(self) -> list[float] | None:
        """The first network's loss on the rows held out, after each epoch; `None` without early stopping."""
        return self.networks_[0].validation_losses

    @property
    def best_validation_score_(self) -> float | None:
        """The highest of `validation_scores_`; `None` without early stopping.

        What is kept has the lowest loss, and perhaps not this score, unless `stopping_metric` is `score`.
        """
        return max(self.validation_scores_) if self.validation_scores_ else None
