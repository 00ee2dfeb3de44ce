"""`DropoutMLPClassifier`: scikit-learn's `MLPClassifier` with dropout and droplab's other regularizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from droplab.config import InitialWeights, NumericEncoding
from droplab.errors import ConfigError
from droplab.estimator.base import DropoutMLP
from droplab.estimator.callbacks import OnEpoch
from droplab.estimator.labels import Labels, check_cells, has_several
from droplab.estimator.parameters import ClassifierParameters, Parameters
from droplab.estimator.uncertainty import Uncertainty
from droplab.stats.conformal import bounds_by_class, class_scores, class_sets, score_bound


class DropoutMLPClassifier(ClassifierMixin, DropoutMLP):  # type: ignore[misc]  # scikit-learn has no types
    """A multi-layer perceptron with dropout, in the place of `sklearn.neural_network.MLPClassifier`.

    The parameters up to `max_fun` are those of `MLPClassifier`, with its names, meanings and defaults. Initial weights
    and biases are uniform in ±1/√inputs, as `torch.nn.Linear` has them. What is given and cannot act (`momentum` with
    `solver='adam'`) is a `UserWarning`. A `fit` or `partial_fit` that fails leaves the classifier as it was.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: `identity`, `logistic`, `tanh` or `relu`.
        solver: `adam`, `sgd`, or `lbfgs` (SciPy's), which goes without dropout and all other chance.
        alpha: L2 term α/2 · Σw² / rows, biases free.
        batch_size: rows a step; `auto` is min(200, rows). Larger ones are clipped, with a warning.
        learning_rate: `constant`; of `sgd` also scikit-learn's `invscaling`, `learning_rate_init` / (rows seen + 1)^
            `power_t`, and `adaptive`, divided by 5 where training would stop; with every solver also the schedules of
            studies over `max_iter` epochs: `linear`, `exponential`, `inverse_time`, `cosine`, and `flat_cosine`, which
            is constant in the first half.
        learning_rate_init: the learning rate of `sgd` and `adam`.
        power_t: of `invscaling`.
        max_iter: most epochs, or iterations of L-BFGS.
        shuffle: whether each epoch has its own order.
        random_state: an int for the same networks every time.
        tol: least improvement of the loss, with early stopping of that on the rows held out; of L-BFGS the gradient's
            tolerance.
        verbose: whether each epoch prints a line.
        warm_start: whether `fit` goes on from the networks that are there.
        momentum: of `sgd`, 0 … 1.
        nesterovs_momentum: whether it is Nesterov's.
        early_stopping: whether to hold out `validation_fraction` of the rows (the same share of each class, where there
            are enough), unless `fit` is given some, stop by `stopping_metric` on them, and keep each network as it was
            when that was best, the later of two that are alike.
        validation_fraction: in [0, 1).
        beta_1: decay of Adam's first moment.
        beta_2: decay of its second.
        epsilon: what Adam adds to a root.
        n_iter_no_change: epochs without improvement that are waited for. With dropout or noise it is the mean training
            loss over as many epochs that has to improve, since masks alone make single ones rise and fall.
        max_fun: most evaluations of L-BFGS.
        stopping_metric: `loss` (log-loss), or `score`: accuracy, which scikit-learn stops by.
        time_limit: seconds of training, after which it ends with the epoch under way and a `ConvergenceWarning`.
        callbacks: called after each epoch of each network, as `droplab.estimator.OnEpoch` says; one that returns true
            stops that network.
        schedule_final: share of the learning rate that is left at the end of a schedule.
        warmup_epochs: epochs over which the learning rate first grows from 0.
        dropout: share of the hidden units dropped in training, in [0, 1), or one rate a hidden layer (Srivastava et al.
            2014); what is kept is scaled up. `auto`: 0.125, but 0 with `lbfgs` or without a hidden layer.
        input_dropout: share of the features dropped in training.
        regularizers: others by name, with a strength or one a layer: `{"max_norm": 3.0, "batch_norm": 1}`;
            `droplab regularizers` lists them.
        n_seeds: networks to train side by side; their probabilities are averaged.
        class_weight: `balanced`, or weights by class, which multiply `sample_weight`.
        device: `auto` (a GPU where there is one), `cpu` or `cuda`.
        precision: `fp32`, `fp64`; `bf16`, where the hardware has units for it: bf16 products of hidden layers, the rest
            float32; `auto`: fp32, but the dtype of `X` where a step takes all rows and nothing is random, since there
            rounding is all that two fits could differ by.
        mc_samples: masks of `predict_uncertainty`.
        numeric_encoding: `piecewise_linear` makes of each number up to 16 features, the shares of bins between its
            quantiles, and of each missing one the median and a mark; `standard` takes off the mean, over the deviation;
            `None` takes numbers as they are, unless there are categories.
        initial_weights: `pytorch`; or `he`, `glorot`, `fan_in`, as in studies, of which biases begin at 0.

    DataFrames (pandas, polars, Arrow) may have columns of texts or categories: these become a feature a category, and
    then numbers are centred and scaled, missing ones filled and marked, as `droplab fit` has it. Later rows' columns
    are found by name.

    Attributes:
        preprocessing_: what makes features of columns; `None` where `X` is taken as it is.
        classes_: the classes, or with several labels a row the labels' numbers.
        networks_: each of the `n_seeds` networks.
        history_: a record for each network and epoch: `pd.DataFrame(clf.history_)`.
        coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, n_iter_: of the
            first network, as scikit-learn has them; batch normalization is folded into weights and biases.
        dropout_: the rate that was trained with, or those of the hidden layers.
        validation_loss_curve_: of the first network, on the rows held out; `None` without early stopping.
        n_layers_, n_outputs_, out_activation_, t_, n_features_in_, feature_names_in_: as scikit-learn has them.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = DropoutMLPClassifier(hidden_layer_sizes=(50,), dropout=0.2, max_iter=500, random_state=0)
        >>> bool(clf.fit(X, y).score(X, y) > 0.9)
        True
    """

    _parameters = ClassifierParameters
    _targets: Labels

    def __init__(
        self,
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
        class_weight: str | Mapping[Any, float] | None = None,
        device: str = "auto",
        precision: str = "auto",
        mc_samples: int = 20,
        numeric_encoding: NumericEncoding | None = None,
        initial_weights: InitialWeights = "pytorch",
    ) -> None:
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
        self.class_weight = class_weight
        self.device = device
        self.precision = precision
        self.mc_samples = mc_samples
        self.numeric_encoding = numeric_encoding
        self.initial_weights = initial_weights

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
            X: features, shape (rows, features): array, DataFrame or sparse matrix of finite numbers; with categories a
                DataFrame, and with `numeric_encoding` dense. There gaps are NaN.
            y: a class a row, shape (rows,), of any type; or for several labels a row 0 and 1, shape (rows, labels),
                perhaps sparse.
            sample_weight: shape (rows,), at least 0.
            X_val: rows for early stopping, which then holds none out; as `HistGradientBoostingClassifier` has it, they
                need `early_stopping=True`. `Pipeline(…, transform_input=["X_val"])` transforms them as `X`.
            y_val: their classes, of those in `y`.
            sample_weight_val: their weights, which `class_weight` multiplies, too.

        Raises:
            ValueError: if data or parameters are not what they must be (`ConfigError` for parameters), or if a loss or
                a weight does not stay finite.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(DropoutMLP._is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch more, from the networks that are there.

        Args:
            X: as in `fit`.
            y: as in `fit`; need not have all classes.
            sample_weight: as in `fit`.
            classes: all classes that will ever come; needed in the first call alone.

        Raises:
            ValueError: as `fit`; with early stopping or `class_weight='balanced'`, which one epoch's rows cannot
                decide; for a class that is not among `classes`.
        """
        check_cells(classes, "classes")
        if not hasattr(self, "networks_") and classes is None and not has_several(y):
            raise ConfigError("classes must be passed on the first call to partial_fit: all that will ever come.")
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row, shape (rows,); with several labels 0 and 1, shape (rows, labels).

        These are sparse where the labels were sparse that `fit` was given.

        Raises:
            ValueError: if `X` is not what it must be, or so far from what was trained on that an output is not finite.
        """
        check_is_fitted(self)
        return self._targets.told(self._passes(X, None).mean(axis=0))

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """The probability of each class in the order of `classes_`, dropout off, averaged over the networks.

        Args:
            X: features, shape (rows, features).

        Returns:
            Shape (rows, classes); with several labels the probability of each.

        Raises:
            ValueError: as `predict`.
        """
        check_is_fitted(self)
        return self._by_class(self._passes(X, None).mean(axis=0))

    def predict_log_proba(self, X: Any) -> NDArray[np.floating]:
        """The logarithm of `predict_proba`; −∞ where that is 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict_uncertainty(self, X: Any) -> Uncertainty:
        """What the networks say under `mc_samples` random masks each: mean, spread, and what it comes to.

        Dropout, input dropout and noise are left on (Gal & Ghahramani 2016). Masks depend on the network's seed and a
        row's place in `X` alone. Several networks without any of these give the spread among the networks.

        Raises:
            ConfigError: if one network has nothing random in it.
            ValueError: as `predict`.
        """
        check_is_fitted(self)
        table = np.concatenate([np.stack([self._by_class(one) for one in each]) for each in self._draws(X)])
        return Uncertainty.of(table, exclusive=not self._targets.several)

    def predict_set(self, X: Any, confidence: float = 0.9, by_class: bool = False) -> NDArray[np.bool_]:
        """The classes of each row among which its true one is with probability `confidence`, after `calibrate`.

        They are those whose probability is at least what that many rows of `calibrate` gave to their class (Sadinle,
        Lei & Wasserman 2019). It holds on average over rows like those calibrated on; with `by_class` also among the
        rows of each class.

        Args:
            X: features, shape (rows, features).
            confidence: in (0, 1).
            by_class: whether each class has a bound of its own; one with too few rows in `calibrate` is in every set.

        Returns:
            Shape (rows, classes), in the order of `classes_`. A set is empty where no class is likely enough.

        Raises:
            ConfigError: if `calibrate` was not called since the last `fit`.
            ValueError: as `predict`.
        """
        scores, classes = self._calibrated(confidence)
        bound = (
            bounds_by_class(scores, classes, len(self.classes_), confidence)
            if by_class
            else score_bound(scores, confidence)
        )
        return class_sets(self.predict_proba(X), bound)

    def _scored(self, said: NDArray[np.floating], y: Any) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
        if self._targets.several:
            raise ConfigError("sets are of rows with one class each; found several labels a row. Calibrate each label.")
        numbers = np.searchsorted(self.classes_, y)
        return class_scores(self._by_class(said), numbers), numbers

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and labels as scikit-learn checks them."""
        check_cells(y)
        X, y = self._validated(X, y, reset=reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def _targets_of(self, y: Any, weights: NDArray[np.floating], classes: Any) -> Labels:
        return Labels.of(y, classes)

    def _weights(self, given: Parameters, targets: Any, y: Any, sample_weight: NDArray[Any]) -> NDArray[Any]:
        if not isinstance(given, ClassifierParameters) or given.class_weight is None:
            return sample_weight
        if given.class_weight == "balanced" or targets.several:
            return np.asarray(sample_weight * compute_sample_weight(given.class_weight, y))
        by_class = compute_class_weight(given.class_weight, classes=targets.classes, y=y)  # `y` may lack some
        return np.asarray(sample_weight * by_class[np.searchsorted(targets.classes, y)])

    def _became(self) -> None:
        self.classes_ = self._targets.classes

    def _by_class(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Probabilities of all classes, where one output stands for two."""
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ < len(self.classes_) else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
