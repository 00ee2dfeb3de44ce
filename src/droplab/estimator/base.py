"""What droplab's estimators share: the training of `n_seeds` networks by scikit-learn's protocol, and what they say."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from droplab.errors import ConfigError, DataError
from droplab.estimator import lbfgs
from droplab.estimator.history import History
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import Fit, check_finite, outputs_of
from droplab.estimator.rows import Features, Rows, largest
from droplab.estimator.targets import Targets
from droplab.estimator.trained import FirstNetwork, TrainedNetwork
from droplab.estimator.validation import hold_out
from droplab.model.initialise import initial_layers
from droplab.model.noise import Noise, inference_keys
from droplab.train.device import resolve_way
from droplab.train.networks import Networks

_TEST = 2  # the split that inference masks are addressed with, as in a study


class DropoutMLP(FirstNetwork, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator whose networks are trained by droplab; `_parameters` checks what it was given."""

    _parameters: ClassVar[type[Parameters]]

    def _is_stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs a solver that makes steps, adam or sgd; found solver='lbfgs'.")
        return True

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and targets as scikit-learn checks them."""
        raise NotImplementedError

    def _targets_of(self, y: Any, classes: Any) -> Targets:
        """What the first rows' targets settle; `classes` are all that will ever come, `None` for those of `y`."""
        raise NotImplementedError

    def _weights(self, given: Parameters, y: Any, sample_weight: NDArray[Any]) -> NDArray[Any]:
        """The weight of each row, shape (rows,)."""
        return sample_weight

    def _fit(self, X: Any, y: Any, sample_weight: Any, *validation: Any) -> Self:
        """Train the networks until they stop; what fails leaves the estimator as it was.

        Args:
            X: features.
            y: targets.
            sample_weight: of the rows, or `None`.
            validation: the same three of the rows to stop by; all `None` to hold some out.
        """
        draft = copy.copy(self)
        given = draft._checked()
        given.warn_of_idle()
        goes_on = given.warm_start and hasattr(self, "networks_")
        X, y = draft._read(X, y, reset=not goes_on)
        targets = self._targets if goes_on else draft._targets_of(y, None)
        if goes_on:
            targets.check_same(y)
        dtype = draft._dtype(X, given, goes_on)
        rows, valid = draft._rows(X, y, targets, sample_weight, given, dtype), None
        random = check_random_state(self.random_state)
        split = random.randint(2**31 - 1)
        if any(part is not None for part in validation):
            valid = draft._validation(validation, targets, given, dtype)
        elif given.early_stopping and given.solver != "lbfgs":
            rows, valid = hold_out(rows, targets.strata(y), given.validation_fraction, split)
        networks, histories = draft._begun(rows, targets, random, given, goes_on)
        networks = networks.begun_anew(networks.network, given.optimizer)
        with self._restored(), draft._finite(X, given):
            if given.solver == "lbfgs":
                lbfgs.minimize(networks, histories, given, rows)
            else:
                _say_if_clipped(given, len(rows))
                fit = Fit(networks, histories, draft.t_, given, rows)

                def show() -> None:
                    draft.t_ = fit.seen
                    self._become(draft, networks, histories, targets, given)

                fit.whole(valid, show)
                draft.t_ = fit.seen
            check_finite(networks)
        return self._become(draft, networks, histories, targets, given)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Train for one epoch more; what fails leaves the estimator as it was."""
        draft = copy.copy(self)
        given = draft._checked()
        given.warn_of_idle()
        given.check_partial()
        begun = hasattr(self, "networks_")
        X, y = draft._read(X, y, reset=not begun)
        targets = self._targets if begun else draft._targets_of(y, classes)
        if classes is not None:
            targets.check_classes(classes)
        rows = draft._rows(X, y, targets, sample_weight, given, draft._dtype(X, given, begun))
        random = check_random_state(self.random_state)
        random.randint(2**31 - 1)  # the split that `fit` would make: the same seeds follow
        networks, histories = draft._begun(rows, targets, random, given, begun)
        _say_if_clipped(given, len(rows))
        with draft._finite(X, given):
            fit = Fit(networks, histories, draft.t_, given, rows)
            fit.one_epoch()
            check_finite(networks)
        draft.t_ = fit.seen
        return self._become(draft, networks, histories, targets, given)

    def _checked(self) -> Parameters:
        given = self.get_params(deep=False)
        del given["random_state"]
        return self._parameters.checked(given, type(self).__name__)

    def _dtype(self, X: Any, given: Parameters, goes_on: bool) -> torch.dtype:
        """Of weights and rows."""
        return self._networks.values.dtype if goes_on else given.dtype(X.dtype == np.float32, X.shape[0])

    def _rows(self, X: Any, y: Any, targets: Targets, weight: Any, given: Parameters, dtype: torch.dtype) -> Rows:
        """Features, targets and weights as tensors."""
        numbers = targets.numbers(y)
        weights = _check_sample_weight(weight, X, dtype=X.dtype, ensure_non_negative=True)
        weights = self._weights(given, y, weights)
        return Rows.of(Features.of(X, dtype, self._torch_device, self._names), numbers, weights)

    def _validation(self, parts: Sequence[Any], targets: Targets, given: Parameters, dtype: torch.dtype) -> Rows:
        """The rows to stop by that `fit` was given: features, targets, weights.

        Raises:
            ConfigError: if nothing stops by them, or one of the first two is missing.
            DataError: if they are not like those to train on.
        """
        given.check_validation()
        X, y, weight = parts
        if X is None or y is None:
            raise ConfigError(f"X_val and y_val go together; found no {'X_val' if X is None else 'y_val'}. Give both.")
        try:
            X, y = self._read(X, y, reset=False)
            return self._rows(X, y, targets, weight, given, dtype)
        except ValueError as fault:
            raise DataError(f"X_val, y_val and sample_weight_val must be as those to train on: {fault}") from fault

    def _begun(
        self, rows: Rows, targets: Targets, random: Any, given: Parameters, goes_on: bool
    ) -> tuple[Networks, list[History]]:
        """Networks before their first step, or copies of those that training goes on with."""
        network = given.network(self.n_features_in_, targets)
        if not goes_on:
            self.t_ = 0
            seeds = [int(seed) for seed in random.randint(2**31 - 1, size=given.n_seeds)]
            widths, device = given.hidden_layer_sizes, rows.features.device
            layers = initial_layers(self.n_features_in_, widths, targets.outputs, seeds, device)
            networks = Networks.initial(network, given.optimizer, seeds, layers, rows.features.dtype)
            return networks, [History() for _ in seeds]
        for name in ("hidden_layer_sizes", "n_seeds", "precision"):
            if (old := getattr(self._fitted, name)) != (new := getattr(given, name)):
                raise ConfigError(f"training can go on with the same {name} only, {old}; found {new}. Fit anew.")
        if network.is_normalized != self._networks.network.is_normalized:
            raise ConfigError("training can go on with or without batch_norm as it began; found the other. Fit anew.")
        networks = self._networks.copy(rows.features.device)
        if networks.optimizer != given.optimizer:
            networks = networks.begun_anew(network, given.optimizer)
        return replace(networks, network=network), copy.deepcopy(self._histories)

    @property
    def _torch_device(self) -> torch.device:
        return torch.device(resolve_way(self.device, "fp32").device)

    @property
    def _names(self) -> Sequence[str] | None:
        """Of the columns, if they have any."""
        return getattr(self, "feature_names_in_", None)

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """What fails leaves the estimator as it was, whatever callbacks saw it become."""
        before = self.__dict__
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    @contextlib.contextmanager
    def _finite(self, X: Any, given: Parameters) -> Iterator[None]:
        """Say what to do where training meets a number that is not finite.

        Raises:
            DataError: in the place of a FloatingPointError.
        """
        try:
            yield
        except FloatingPointError as fault:
            raise DataError(
                f"training must keep its loss and weights finite; found {fault}. Scale the features (StandardScaler): "
                f"the largest is {largest(X, self._names)}. Or lower learning_rate_init ({given.learning_rate_init:g}) "
                f"or alpha ({given.alpha:g})."
            ) from None

    def _become(
        self, draft: Self, networks: Networks, histories: list[History], targets: Targets, given: Parameters
    ) -> Self:
        """Take over what a training that has succeeded leaves behind."""
        draft._networks, draft._histories = networks.copy(torch.device("cpu")), histories
        draft._networks.sort()
        draft._targets, draft._fitted = targets, given
        draft.out_activation_ = targets.output
        draft.n_outputs_, draft.n_layers_ = targets.outputs, len(networks.network.sizes)
        draft.networks_ = TrainedNetwork.each_of(draft._networks, histories)
        draft._became()
        self.__dict__ = draft.__dict__
        return self

    @property
    def history_(self) -> list[dict[str, Any]]:
        """A record for each network and epoch of all trainings, as `pandas.DataFrame` takes them.

        network: its place in `networks_`; epoch: from 1; loss: what was minimized, the mean over the epoch;
        validation_loss, validation_score: on the rows held out, after it (`None` without early stopping);
        learning_rate: of its last step; seconds: that the epoch took, for all networks together.
        """
        return [
            {"network": network, "epoch": number} | epoch.record()
            for network, history in enumerate(self._histories)
            for number, epoch in enumerate(history.epochs, 1)
        ]

    def _became(self) -> None:
        """Set what one kind of estimator has beside."""

    def _passes(self, X: Any, sample: int | None) -> NDArray[np.floating]:
        """What each network says, shape (networks, rows, outputs), under the `sample`-th masks if any."""
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False)
        device = self._torch_device
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
        if not (is_finite := np.isfinite(said).all(axis=(0, 2))).all():
            row = int(is_finite.argmin())
            raise DataError(
                f"what the networks say must be finite; found that it is not of the row that has "
                f"{largest(X, self._names, row)}. Correct it, or scale it as the rows were that the networks know."
            )
        return np.asarray(self._targets.said(said))

    def _draws(self, X: Any) -> list[NDArray[np.floating]]:
        """What the networks say under each of `mc_samples` masks; once, where nothing is random.

        Raises:
            ConfigError: if one network has nothing random in it.
        """
        is_noisy = self._fitted.is_noisy
        masks = self._checked().mc_samples if is_noisy else 1
        if masks == 1 and len(self.networks_) == 1:
            raise ConfigError(
                "uncertainty needs something random: dropout, another noise (with mc_samples above 1), or "
                f"n_seeds above 1; found dropout={self._fitted.dropout}, mc_samples={self.mc_samples}, n_seeds=1."
            )
        return [self._passes(X, sample if is_noisy else None) for sample in range(masks)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _say_if_clipped(given: Parameters, rows: int) -> None:
    if given.batch_size != "auto" and given.batch_size > rows:
        warnings.warn(
            f"batch_size ({given.batch_size}) is larger than the number of rows: clipped to {rows}.",
            UserWarning,
            stacklevel=4,
        )
