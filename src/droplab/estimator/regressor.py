"""`DropoutMLPRegressor`: scikit-learn's `MLPRegressor` with dropout, more losses, quantiles and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from droplab.config import InitialWeights, NumericEncoding
from droplab.estimator.base import DropoutMLP
from droplab.estimator.callbacks import OnEpoch
from droplab.estimator.numbers import Numbers
from droplab.estimator.parameters import RegressorParameters
from droplab.estimator.uncertainty import Spread
from droplab.stats.conformal import score_bound, widened


class DropoutMLPRegressor(RegressorMixin, DropoutMLP):  # type: ignore[misc]  # scikit-learn has no types
    """A multi-layer perceptron with dropout for numbers, in the place of `sklearn.neural_network.MLPRegressor`.

    Targets are scaled inside to mean 0 and deviation 1, so that learning rate, `tol` and `loss_` mean the same whatever
    their unit; predictions are in the unit of `y`. For `poisson`, where 0 must stay 0, they are scaled to mean 1.

    Args:
        loss: `squared_error` (its half) and `poisson` (half the deviance) are scikit-learn's; `absolute_error` for the
            median; `huber`, squared up to a residual of 1 (a deviation of `y`, where that is scaled) and absolute
            beyond; `quantile`, the mean pinball loss of `quantiles`.
        quantiles: a level in (0, 1) or several, ascending. Networks say the first and steps up from it, so that no two
            cross. Of no effect with another loss.
        scale_targets: whether targets are scaled; scikit-learn leaves them.
        hidden_layer_sizes, …: as in `DropoutMLPClassifier`; with early stopping the mean loss on the rows held out
            decides, and `validation_scores_` are R², of rows held out with one number against a deviation of 1.

    Attributes:
        target_mean_, target_scale_: what is taken off each target, and what it is divided by, shape (targets,).
        networks_, coefs_, …: as in `DropoutMLPClassifier`, before predictions are scaled back; `loss_`, `loss_curve_`
            and `best_loss_` are of scaled targets.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = DropoutMLPRegressor(loss="quantile", quantiles=[0.1, 0.9], random_state=0)
        >>> low, high = model.fit(20 * X[100:], y[100:]).predict(20 * X[:100]).T
        >>> bool(0.6 < np.mean((low <= y[:100]) & (y[:100] <= high)) < 0.9)
        True
    """

    _parameters = RegressorParameters
    _targets: Numbers

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        stopping_metric: str = "loss",
        time_limit: float | None = None,
        callbacks: Sequence[OnEpoch] = (),
        schedule_final: float = 0.01,
        warmup_epochs: float = 0.0,
        dropout: str | float | Sequence[float] = "auto",
        input_dropout: float = 0.0,
        regularizers: Mapping[str, Any] | None = None,
        n_seeds: int = 1,
        device: str = "auto",
        precision: str = "auto",
        mc_samples: int = 20,
        numeric_encoding: NumericEncoding | None = None,
        initial_weights: InitialWeights = "pytorch",
        quantiles: float | Sequence[float] = 0.5,
        scale_targets: bool = True,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.stopping_metric = stopping_metric
        self.time_limit = time_limit
        self.callbacks = callbacks
        self.schedule_final = schedule_final
        self.warmup_epochs = warmup_epochs
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.regularizers = regularizers
        self.n_seeds = n_seeds
        self.device = device
        self.precision = precision
        self.mc_samples = mc_samples
        self.numeric_encoding = numeric_encoding
        self.initial_weights = initial_weights
        self.quantiles = quantiles
        self.scale_targets = scale_targets

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the networks.

        Args:
            X: as in `DropoutMLPClassifier.fit`.
            y: finite numbers, shape (rows,) or (rows, targets).
            sample_weight: shape (rows,), at least 0.
            X_val: rows for early stopping, as in `DropoutMLPClassifier.fit`.
            y_val: their numbers.
            sample_weight_val: their weights.

        Raises:
            ValueError: if data or parameters are not what they must be (`ConfigError` for parameters), or if a loss or
                a weight does not stay finite.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(DropoutMLP._is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch more, from the networks that are there; targets are scaled as those of the first call.

        Args:
            X: as in `fit`.
            y: as in `fit`.
            sample_weight: as in `fit`.

        Raises:
            ValueError: as `fit`; with early stopping, which one epoch's rows cannot decide.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The number of each row, dropout off, averaged over the networks.

        Args:
            X: features, shape (rows, features).
            return_std: whether the standard deviation over masks and networks comes, too, as of `predict_uncertainty`.

        Returns:
            Shape (rows,), or (rows, targets); of several quantiles with a last axis of these. With `return_std` a pair
            of such.

        Raises:
            ValueError: if `X` is not what it must be, or so far from what was trained on that an output is not finite.
            ConfigError: if a deviation is asked for and nothing is random.
        """
        check_is_fitted(self)
        said = self._targets.told(self._passes(X, None).mean(axis=0))
        return (said, self.predict_uncertainty(X).std) if return_std else said

    def predict_uncertainty(self, X: Any) -> Spread:
        """What the networks say under `mc_samples` random masks each: mean and deviation (Gal & Ghahramani 2016).

        It tells how unsure the networks are, not how far single rows scatter: for that there are quantiles and
        `predict_interval`.

        Raises:
            ConfigError: if one network has nothing random in it.
            ValueError: as `predict`.
        """
        check_is_fitted(self)
        draws = np.concatenate(self._draws(X))
        return Spread(self._targets.told(draws.mean(axis=0)), self._targets.told(draws.std(axis=0)))

    def predict_interval(self, X: Any, confidence: float = 0.9) -> NDArray[np.floating]:
        """An interval that holds the number of a further row with probability `confidence`, after `calibrate`.

        It is the prediction ± what that many rows of `calibrate` were off at most (Lei et al. 2018); of several
        quantiles the outer ones, moved by what that many lay outside (Romano, Patterson & Candès 2019). It holds on
        average over rows like those calibrated on.

        Args:
            X: features, shape (rows, features).
            confidence: in (0, 1).

        Returns:
            Lower and upper end, shape (rows, 2), or (rows, targets, 2); infinite where `calibrate` had too few rows,
            and with `poisson` not below 0.

        Raises:
            ConfigError: if `calibrate` was not called since the last `fit`.
            ValueError: as `predict`.
        """
        scores = self._calibrated(confidence)[0]
        bounds = np.array([score_bound(scores[:, k], confidence) for k in range(scores.shape[1])])
        said = self._passes(X, None).mean(axis=0)
        ends = np.stack(widened(said[..., 0], said[..., -1], bounds), axis=-1)
        ends = np.maximum(ends, 0) if self._targets.loss == "poisson" else ends
        return np.asarray(ends[:, 0] if self._targets.flat else ends)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of `predict`, of several quantiles that of the middle one; the mean over the targets."""
        check_is_fitted(self)
        said = self._passes(X, None).mean(axis=0)
        return float(r2_score(y, said[..., (said.shape[2] - 1) // 2], sample_weight=sample_weight))

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and numbers as scikit-learn checks them."""
        X, y = self._validated(X, y, reset=reset, y_numeric=True)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _targets_of(self, y: Any, weights: NDArray[np.floating], classes: Any) -> Numbers:
        given = cast(RegressorParameters, self._checked())
        return Numbers.of(y, weights, given.loss, given.levels, given.scale_targets)

    def _became(self) -> None:
        self.target_mean_, self.target_scale_ = self._targets.mean, self._targets.scale

    def _scored(self, said: NDArray[np.floating], y: Any) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
        return self._targets.scores(said, y), np.zeros(len(y), dtype=np.int64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
