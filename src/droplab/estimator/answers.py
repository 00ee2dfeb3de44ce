"""What the networks of a fitted estimator say of rows, and how far that can be relied on.

N rows, R networks, O outputs.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from droplab.errors import ConfigError, DataError, DeviceError
from droplab.estimator.columns import Columns
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import outputs_of
from droplab.estimator.rows import Features, largest
from droplab.estimator.targets import Targets
from droplab.estimator.trained import FirstNetwork
from droplab.model.noise import Noise, inference_keys
from droplab.stats.conformal import fewest_rows
from droplab.train.device import resolve_way

_TEST = 2  # the split that inference masks are addressed with, as in a study


class Answers(FirstNetwork, Columns):
    """An estimator that says something of rows: by its networks, under masks, and by rows that were set apart."""

    _parameters: ClassVar[type[Parameters]]
    _fitted: Parameters
    _targets: Targets
    _calibration: tuple[NDArray[np.float64], NDArray[np.integer]] | None

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and targets as scikit-learn checks them."""
        raise NotImplementedError

    def _checked(self, **instead: Any) -> Parameters:
        given = self.get_params(deep=False) | instead
        del given["random_state"]
        return self._parameters.checked(given, type(self).__name__)

    @property
    def _torch_device(self) -> torch.device:
        return torch.device(resolve_way(self.device, "fp32").device)

    @property
    def _device_at_hand(self) -> torch.device:
        """To predict on: what was trained on a GPU is of use without one."""
        try:
            return self._torch_device
        except DeviceError as fault:
            warnings.warn(f"{fault} Predicting on the CPU.", UserWarning, stacklevel=5)
            return torch.device("cpu")

    def _passes(self, X: Any, sample: int | None) -> NDArray[np.floating]:
        """What each network says, shape (networks, rows, outputs), under the `sample`-th masks if any."""
        return self._said(self._validated(X, reset=False), sample)

    def _said(self, X: Any, sample: int | None) -> NDArray[np.floating]:
        """Likewise, of features that are checked."""
        device = self._device_at_hand
        networks = self._networks if device.type == "cpu" else self._networks.copy(device)
        network, layers, strengths, parts = networks.network, networks.final(), None, []
        if sample is not None:
            keys = inference_keys(networks.seeds, _TEST, sample, device)
            strengths = network.strengths([self._fitted.used] * len(networks)).to(networks.values)
        with torch.no_grad():
            for start, rows in Features.of(X, networks.values.dtype, device, self._names).chunks():
                noise = None if sample is None else Noise(keys, fine=network.fine, first=start)
                parts.append(outputs_of(network, layers, rows, noise, strengths).cpu().numpy())
        with np.errstate(over="ignore"):
            said = np.concatenate(parts, axis=1).astype(X.dtype, copy=False)  # first: they sum to 1 in that dtype
            told = np.asarray(self._targets.said(said))
        is_finite = np.isfinite(said).all(axis=(0, 2)) & np.isfinite(told).all(axis=(0, *range(2, told.ndim)))
        if not is_finite.all():
            row = int(is_finite.argmin())
            raise DataError(
                f"what the networks say must be finite; found that it is not of the row that has "
                f"{largest(X, self._names, row)}. Correct it, or scale it as the rows were that the networks know."
            )
        return told

    def calibrate(self, X: Any, y: Any) -> Self:
        """Find how wrong the networks are on rows that they were not trained on: what sets and intervals are made by.

        Args:
            X: features of these rows, as in `fit`; 9 are the fewest for a confidence of 0.9, some hundred are good.
            y: what is true of them, as in `fit`.

        Raises:
            ValueError: if they are not what they must be.
        """
        check_is_fitted(self)
        features, y = copy.copy(self)._read(X, y, reset=False)
        self._targets.numbers(y)
        self._calibration = self._scored(self._said(features, None).mean(axis=0), y)
        return self

    def _scored(self, said: NDArray[np.floating], y: Any) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
        """How wrong what networks say is, row by row, and the number of each row's class, 0 for numbers."""
        raise NotImplementedError

    def _calibrated(self, confidence: float) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
        """What `calibrate` found.

        Raises:
            ConfigError: if it was not called since the last training.
        """
        check_is_fitted(self)
        if self._calibration is None:
            raise ConfigError(
                "sets and intervals need rows that were not trained on; found none since the last fit. Call "
                "calibrate(X, y) with some first."
            )
        if len(self._calibration[0]) < (least := fewest_rows(confidence)):
            warnings.warn(
                f"calibrate had {len(self._calibration[0])} rows; a confidence of {confidence:g} needs at least "
                f"{least}: everything is in the set. Calibrate on more rows.",
                UserWarning,
                stacklevel=3,
            )
        return self._calibration

    def _draws(self, X: Any) -> list[NDArray[np.floating]]:
        """What the networks say under each of `mc_samples` masks; once, where nothing is random.

        Raises:
            ConfigError: if one network has nothing random in it.
        """
        is_noisy = self._fitted.is_noisy
        masks = self._checked(device="cpu", precision="auto").mc_samples if is_noisy else 1
        if masks == 1 and len(self.networks_) == 1:
            raise ConfigError(
                "uncertainty needs something random: dropout, another noise (with mc_samples above 1), or "
                f"n_seeds above 1; found dropout={self.dropout_}, mc_samples={self.mc_samples}, n_seeds=1."
            )
        return [self._passes(X, sample if is_noisy else None) for sample in range(masks)]
