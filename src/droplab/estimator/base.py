"""What droplab's estimators share: the training of `n_seeds` networks by scikit-learn's protocol, and what they say."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, check_X_y, validate_data

from droplab.config import TABULAR
from droplab.data.disk import write_atomically
from droplab.data.preprocessing import Preprocessing
from droplab.data.unseen import Unseen
from droplab.errors import ConfigError, DataError, DeviceError
from droplab.estimator import kept, lbfgs
from droplab.estimator.columns import as_pandas, has_categories, preprocessing_of
from droplab.estimator.exported import exported_of
from droplab.estimator.history import History
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import Fit, check_finite, outputs_of
from droplab.estimator.rows import Features, Rows, largest
from droplab.estimator.targets import Targets
from droplab.estimator.trained import FirstNetwork, TrainedNetwork
from droplab.estimator.validation import hold_out
from droplab.model.initialise import initial_layers
from droplab.model.noise import Noise, inference_keys
from droplab.stats.conformal import fewest_rows
from droplab.train.device import resolve_way
from droplab.train.networks import Networks

_NUMBERS: dict[str, Any] = {"dtype": (np.float64, np.float32)}
_TEST = 2  # the split that inference masks are addressed with, as in a study


class DropoutMLP(FirstNetwork, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator whose networks are trained by droplab; `_parameters` checks what it was given."""

    _parameters: ClassVar[type[Parameters]]
    preprocessing_: Preprocessing | None
    _calibration: tuple[NDArray[np.float64], NDArray[np.integer]] | None

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

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and targets as scikit-learn checks them."""
        raise NotImplementedError

    def _validated(self, X: Any, *y: Any, reset: bool, y_numeric: bool = False) -> Any:
        """Features, with `y` targets, too, as scikit-learn checks them; columns go through `preprocessing_` if need be.

        That is fitted where `reset` says that these are the first rows. Later ones' columns are found by name where
        both have names; what they have that the first ones lacked is a warning.
        """
        X = as_pandas(X)
        if reset:
            self.preprocessing_ = None
        if not (has_categories(X) or self.numeric_encoding if reset else self.preprocessing_):
            several = {"multi_output": True, "y_numeric": y_numeric} if y else {}
            return validate_data(self, X, *y, accept_sparse=["csr", "csc"], reset=reset, **several, **_NUMBERS)
        by_name = reset or hasattr(self, "feature_names_in_") or has_categories(X)
        if by_name and isinstance(X, pd.DataFrame):
            frame = validate_data(self, X, skip_check_array=True) if reset else X
        else:
            least = 2 if reset else 1  # in one row no column changes
            gaps: dict[str, Any] = {"ensure_all_finite": "allow-nan", "ensure_min_samples": least}
            array = validate_data(self, X, reset=reset, **gaps, **_NUMBERS)
            frame = pd.DataFrame(array, columns=getattr(self, "feature_names_in_", None))
        if reset:
            self.preprocessing_ = preprocessing_of(frame, self.numeric_encoding)
        assert self.preprocessing_ is not None
        unseen = Unseen()
        features = self.preprocessing_.transform(frame, unseen)
        for words in unseen.words:
            warnings.warn(f"{words}.", UserWarning, stacklevel=4)
        how: dict[str, Any] = {"multi_output": True, "y_numeric": y_numeric, "dtype": np.float32, "estimator": self}
        return check_X_y(features, *y, **how) if y else check_array(features, dtype=np.float32, estimator=self)

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

    def _checked(self, **instead: Any) -> Parameters:
        given = self.get_params(deep=False) | instead
        del given["random_state"]
        return self._parameters.checked(given, type(self).__name__)

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

    @property
    def _names(self) -> Sequence[str] | None:
        """Of the features, if they have any."""
        return self.preprocessing_.feature_names if self.preprocessing_ else getattr(self, "feature_names_in_", None)

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.numeric_encoding is None
        tags.input_tags.allow_nan = self.numeric_encoding is not None
        return tags


def _say_if_clipped(given: Parameters, rows: int) -> None:
    if given.batch_size != "auto" and given.batch_size > rows:
        warnings.warn(
            f"batch_size ({given.batch_size}) is larger than the number of rows: clipped to {rows}.",
            UserWarning,
            stacklevel=4,
        )
