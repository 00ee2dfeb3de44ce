"""What droplab's estimators share: the training of `n_seeds` networks by scikit-learn's protocol."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from droplab.config import TABULAR
from droplab.data.disk import write_atomically
from droplab.errors import ConfigError, DataError
from droplab.estimator import kept, lbfgs
from droplab.estimator.answers import Answers
from droplab.estimator.columns import as_pandas
from droplab.estimator.exported import exported_of
from droplab.estimator.history import History
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import Fit, check_finite
from droplab.estimator.rows import Features, Rows, largest
from droplab.estimator.targets import Targets
from droplab.estimator.trained import TrainedNetwork
from droplab.estimator.validation import hold_out
from droplab.model.initialise import initial_layers
from droplab.train.networks import Networks


class DropoutMLP(Answers):
    """An estimator whose networks are trained by droplab; `_parameters` checks what it was given."""

    @classmethod
    def tabular(cls, **changes: Any) -> Self:
        """The estimator with defaults that are good on tables, beside gradient boosting (docs/results/tabular.md).

        Numbers are encoded, so columns need no scaling and may have gaps; of four networks side by side each is kept as
        it was when the loss on rows held out was lowest, and what they say is averaged (decision 018).

        Args:
            changes: parameters in the place of these.
        """
        usual: dict[str, Any] = {
            "hidden_layer_sizes": TABULAR["widths"],
            "learning_rate": TABULAR["schedule"],
            "learning_rate_init": TABULAR["learning_rate"],
            "max_iter": TABULAR["epochs"],
            "early_stopping": True,
            "n_iter_no_change": TABULAR["regularizers"]["early_stopping"],
            "alpha": 0.0,
            "numeric_encoding": "piecewise_linear",
            "n_seeds": 4,
        }
        same = ("dropout", "initial_weights", "batch_size")
        return cls(**{name: TABULAR[name] for name in same} | usual | changes)

    def _is_stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs a solver that makes steps, adam or sgd; found solver='lbfgs'.")
        return True

    def _targets_of(self, y: Any, weights: NDArray[np.floating], classes: Any) -> Targets:
        """What the first rows' targets settle.

        Args:
            y: of these rows.
            weights: of them, shape (rows,).
            classes: all that will ever come; `None` for those of `y`.
        """
        raise NotImplementedError

    def _weights(self, given: Parameters, targets: Targets, y: Any, sample_weight: NDArray[Any]) -> NDArray[Any]:
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
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        targets = self._targets if goes_on else draft._targets_of(y, weights, None)
        if goes_on:
            targets.check_same(y)
        dtype = draft._dtype(X, given, goes_on)
        rows, valid = draft._rows(X, y, targets, weights, given, dtype), None
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
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        targets = self._targets if begun else draft._targets_of(y, weights, classes)
        if classes is not None:
            targets.check_classes(classes)
        rows = draft._rows(X, y, targets, weights, given, draft._dtype(X, given, begun))
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

    def save(self, path: str | Path) -> None:
        """Write the estimator into one safetensors file, without pickle: `load` gives it back bit for bit.

        Raises:
            ConfigError: if a parameter is an object, such as a `RandomState`.
            DataError: if the file cannot be written.
        """
        check_is_fitted(self)
        kept.write(Path(path), type(self).__name__, self.__getstate__())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote.

        Raises:
            ModelFileError: if the file is none of an estimator of this class, or damaged.
        """
        made = cls.__new__(cls)
        made.__setstate__(kept.read(Path(path), cls.__name__))
        return made

    def export_onnx(self, path: str | Path, X: Any) -> float:
        """Write the estimator as an ONNX program: rows in, what `predict_proba` says, or `predict` of a regressor, out.

        Its input `x` has the columns of `X`: in the networks' precision, or `float64` where `preprocessing_` is inside,
        with each category as its number.

        Args:
            path: of the file.
            X: rows that the program is compared on, as `predict` takes them.

        Returns:
            The largest difference to droplab, relative where a number, or a target's deviation, is above 1.

        Raises:
            ExportError: if that is above 1e-5, or droplab[onnx] is not installed.
            DataError: if the file cannot be written.
        """
        check_is_fitted(self)
        X = as_pandas(X)
        columns = self._validated(X, reset=False)
        if self.preprocessing_ is not None:
            names = getattr(self, "feature_names_in_", None)
            columns = self.preprocessing_.read(X if isinstance(X, pd.DataFrame) else pd.DataFrame(X, columns=names))
        ours = self.predict_proba(X) if hasattr(self, "predict_proba") else self.predict(X)
        exported = exported_of(self._networks, self.preprocessing_, self._targets, columns, ours)
        with write_atomically(Path(path)) as file:
            file.write(exported.content)
        return exported.difference

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {name: kept.plain(value) for name, value in self.__dict__.items() if name != "networks_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: kept.restored(value) for name, value in state.items()})
        if "_networks" in state:
            self.networks_ = TrainedNetwork.each_of(self._networks, self._histories)

    def _dtype(self, X: Any, given: Parameters, goes_on: bool) -> torch.dtype:
        """Of weights and rows."""
        return self._networks.values.dtype if goes_on else given.dtype(X.dtype == np.float32, X.shape[0])

    def _rows(
        self, X: Any, y: Any, targets: Targets, weights: NDArray[Any], given: Parameters, dtype: torch.dtype
    ) -> Rows:
        """Features, targets and weights as tensors."""
        self._given_in = X.dtype
        numbers = targets.numbers(y)
        weights = self._weights(given, targets, y, weights)
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
            weights = _check_sample_weight(weight, X, dtype=X.dtype, ensure_non_negative=True)
            return self._rows(X, y, targets, weights, given, dtype)
        except ValueError as fault:
            raise DataError(f"X_val, y_val and sample_weight_val must be as those to train on: {fault}") from fault

    def _begun(
        self, rows: Rows, targets: Targets, random: Any, given: Parameters, goes_on: bool
    ) -> tuple[Networks, list[History]]:
        """Networks before their first step, or copies of those that training goes on with."""
        features = rows.features.table.shape[1]
        network = given.network(features, targets)
        if not goes_on:
            self.t_ = 0
            seeds = [int(seed) for seed in random.randint(2**31 - 1, size=given.n_seeds)]
            widths, device = given.hidden_layer_sizes, rows.features.device
            layers = initial_layers(features, widths, targets.outputs, seeds, device, given.initial_weights)
            networks = Networks.initial(network, given.optimizer, seeds, layers, rows.features.dtype)
            return networks, [History() for _ in seeds]
        for name in ("hidden_layer_sizes", "n_seeds", "precision", "numeric_encoding", *given.of_targets):
            if (old := getattr(self._fitted, name)) != (new := getattr(given, name)):
                raise ConfigError(f"training can go on with the same {name} only, {old}; found {new}. Fit anew.")
        if network.is_normalized != self._networks.network.is_normalized:
            raise ConfigError("training can go on with or without batch_norm as it began; found the other. Fit anew.")
        networks = self._networks.copy(rows.features.device)
        if networks.optimizer != given.optimizer:
            networks = networks.begun_anew(network, given.optimizer)
        return replace(networks, network=network), copy.deepcopy(self._histories)

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
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                f"preprocessed. Training must keep its loss and weights finite; found {fault}. Scale the features "
                f"(StandardScaler): the largest is {largest(X, self._names)}. Or lower learning_rate_init "
                f"({given.learning_rate_init:g}) or alpha ({given.alpha:g})."
            ) from None

    def _become(
        self, draft: Self, networks: Networks, histories: list[History], targets: Targets, given: Parameters
    ) -> Self:
        """Take over what a training that has succeeded leaves behind."""
        draft._networks, draft._histories = networks.copy(torch.device("cpu")), histories
        draft._networks.sort()
        draft._targets, draft._fitted, draft._calibration = targets, given, None
        draft.dropout_ = given.rates
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


def _say_if_clipped(given: Parameters, rows: int) -> None:
    if given.batch_size != "auto" and given.batch_size > rows:
        warnings.warn(
            f"batch_size ({given.batch_size}) is larger than the number of rows: clipped to {rows}.",
            UserWarning,
            stacklevel=4,
        )
