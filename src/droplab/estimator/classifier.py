"""`DropoutMLPClassifier`: scikit-learn's `MLPClassifier` with dropout and droplab's other regularizers."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from droplab.errors import ConfigError, DataError
from droplab.estimator import lbfgs
from droplab.estimator.labels import Labels, check_cells, has_several
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import Fit, History, check_finite, outputs_of
from droplab.estimator.rows import Features, Rows, largest
from droplab.estimator.trained import FirstNetwork, TrainedNetwork
from droplab.estimator.uncertainty import Uncertainty
from droplab.estimator.validation import hold_out
from droplab.model.initialise import initial_layers
from droplab.model.noise import Noise, inference_keys
from droplab.train.device import resolve_way
from droplab.train.networks import Networks

_TEST = 2  # the split that inference masks are addressed with, as in a study


class DropoutMLPClassifier(FirstNetwork, ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A multi-layer perceptron with dropout, in the place of `sklearn.neural_network.MLPClassifier`.

    The parameters up to `max_fun` are those of `MLPClassifier`, with its names, meanings and defaults. Initial weights
    and biases are uniform in ±1/√inputs, as `torch.nn.Linear` has them. What is given and cannot act (`momentum` with
    `solver='adam'`) is a `UserWarning`. A `fit` or `partial_fit` that fails leaves the classifier as it was.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: `identity`, `logistic`, `tanh` or `relu`.
        solver: `adam`, `sgd`, or `lbfgs` (SciPy's), which needs `dropout=0` and no other chance.
        alpha: L2 term α/2 · Σw² / rows, biases free.
        batch_size: rows a step; `auto` is min(200, rows). Larger ones are clipped, with a warning.
        learning_rate: of `sgd`: `constant`; `invscaling`, `learning_rate_init` / (rows seen + 1)^`power_t`; `adaptive`,
            divided by 5 where training would stop.
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
            are enough), stop by the log-loss on them, and keep the network with the lowest. (scikit-learn's: accuracy.)
        validation_fraction: in [0, 1).
        beta_1: decay of Adam's first moment.
        beta_2: decay of its second.
        epsilon: what Adam adds to a root.
        n_iter_no_change: epochs without improvement that are waited for. With dropout or noise it is the mean training
            loss over as many epochs that has to improve, since masks alone make single ones rise and fall.
        max_fun: most evaluations of L-BFGS.
        dropout: share of the hidden units dropped in training, in [0, 1), or one rate a hidden layer (Srivastava et al.
            2014); what is kept is scaled up.
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

    Attributes:
        classes_: the classes, or with several labels a row the labels' numbers.
        networks_: each of the `n_seeds` networks.
        coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_, best_validation_score_, n_iter_: of the
            first network, as scikit-learn has them; batch normalization is folded into weights and biases.
        n_layers_, n_outputs_, out_activation_, t_, n_features_in_, feature_names_in_: as scikit-learn has them.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = DropoutMLPClassifier(hidden_layer_sizes=(50,), dropout=0.2, max_iter=500, random_state=0)
        >>> bool(clf.fit(X, y).score(X, y) > 0.9)
        True
    """

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
        dropout: float | Sequence[float] = 0.5,
        input_dropout: float = 0.0,
        regularizers: Mapping[str, Any] | None = None,
        n_seeds: int = 1,
        class_weight: str | Mapping[Any, float] | None = None,
        device: str = "auto",
        precision: str = "auto",
        mc_samples: int = 20,
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
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.regularizers = regularizers
        self.n_seeds = n_seeds
        self.class_weight = class_weight
        self.device = device
        self.precision = precision
        self.mc_samples = mc_samples

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the networks.

        Args:
            X: features, shape (rows, features): array, DataFrame or sparse matrix of finite numbers.
            y: a class a row, shape (rows,), of any type; or for several labels a row 0 and 1, shape (rows, labels),
                perhaps sparse.
            sample_weight: shape (rows,), at least 0.

        Raises:
            ValueError: if data or parameters are not what they must be (`ConfigError` for parameters), or if a loss or
                a weight does not stay finite.
        """
        draft = copy.copy(self)  # what fails leaves this one as it was
        given = draft._checked()
        given.warn_of_idle()
        goes_on = given.warm_start and hasattr(self, "networks_")
        X, y = draft._validated(X, y, reset=not goes_on)
        labels = self._labels if goes_on else Labels.of(y)
        targets = labels.targets(y)
        if goes_on and (found := unique_labels(y).tolist()) != labels.classes.tolist():
            raise DataError(f"warm_start goes on with the same classes, {labels.classes.tolist()}; found {found}.")
        rows = draft._rows(X, y, targets, sample_weight, given, goes_on)
        random = check_random_state(self.random_state)
        split = random.randint(2**31 - 1)
        networks, histories = draft._begun(rows, labels, random, given, goes_on)
        networks = networks.begun_anew(networks.network, given.optimizer)
        with draft._finite(X, given):
            if given.solver == "lbfgs":
                lbfgs.minimize(networks, histories, given, rows)
            else:
                train, valid = rows, None
                if given.early_stopping:
                    numbers = None if labels.several else np.unique(y, return_inverse=True)[1]
                    train, valid = hold_out(rows, numbers, given.validation_fraction, split)
                _say_if_clipped(given, len(train))
                fit = Fit(networks, histories, draft.t_, given, train)
                fit.whole(valid)
                draft.t_ = fit.seen
            check_finite(networks)
        return self._become(draft, networks, histories, labels, given)

    def _is_stochastic(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs a solver that makes steps, adam or sgd; found solver='lbfgs'.")
        return True

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
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
        draft = copy.copy(self)  # what fails leaves this one as it was
        given = draft._checked()
        given.warn_of_idle()
        if given.early_stopping or given.class_weight == "balanced":
            raise ConfigError(
                "partial_fit sees some of the rows at a time: it needs early_stopping=False and no "
                f"class_weight='balanced'; found early_stopping={given.early_stopping}, "
                f"class_weight={given.class_weight!r}."
            )
        begun = hasattr(self, "networks_")
        X, y = draft._validated(X, y, reset=not begun)
        check_cells(classes, "classes")
        if not begun and classes is None and not has_several(y):
            raise ConfigError("classes must be passed on the first call to partial_fit: all that will ever come.")
        labels = self._labels if begun else Labels.of(y, classes)
        if classes is not None and not np.array_equal(labels.classes, unique_labels(classes)):
            raise ConfigError(
                f"classes must be those that labels are of, {labels.classes.tolist()}; found "
                f"{np.asarray(classes).tolist()}."
            )
        rows = draft._rows(X, y, labels.targets(y), sample_weight, given, begun)
        random = check_random_state(self.random_state)
        random.randint(2**31 - 1)  # the split that `fit` would make: the same seeds follow
        networks, histories = draft._begun(rows, labels, random, given, begun)
        _say_if_clipped(given, len(rows))
        with draft._finite(X, given):
            fit = Fit(networks, histories, draft.t_, given, rows)
            fit.one_epoch()
            check_finite(networks)
        draft.t_ = fit.seen
        return self._become(draft, networks, histories, labels, given)

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row, shape (rows,); with several labels 0 and 1, shape (rows, labels).

        These are sparse where the labels were sparse that `fit` was given.

        Raises:
            ValueError: if `X` is not what it must be, or so far from what was trained on that an output is not finite.
        """
        check_is_fitted(self)
        return self._labels.told(self._passes(X, None).mean(axis=0))

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
        is_noisy = self._fitted.is_noisy
        masks = self._checked().mc_samples if is_noisy else 1
        if masks == 1 and len(self.networks_) == 1:
            raise ConfigError(
                "predict_uncertainty needs something random: dropout, another noise (with mc_samples above 1), or "
                f"n_seeds above 1; found dropout={self._fitted.dropout}, mc_samples={self.mc_samples}, n_seeds=1."
            )
        draws = [self._passes(X, sample if is_noisy else None) for sample in range(masks)]
        table = np.concatenate([np.stack([self._by_class(one) for one in each]) for each in draws])
        return Uncertainty.of(table, exclusive=not self._labels.several)

    def _checked(self) -> Parameters:
        given = self.get_params(deep=False)
        del given["random_state"]
        return Parameters.checked(given)

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Features and labels as scikit-learn checks them."""
        check_cells(y)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=(np.float64, np.float32), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def _rows(
        self, X: Any, y: Any, targets: NDArray[Any], sample_weight: Any, given: Parameters, goes_on: bool
    ) -> Rows:
        """Features, targets and weights as tensors."""
        weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if given.class_weight is not None:
            weights = weights * compute_sample_weight(given.class_weight, y)
        dtype = self._networks.values.dtype if goes_on else given.dtype(X.dtype == np.float32, len(targets))
        return Rows.of(Features.of(X, dtype, self._torch_device, self._names), targets, weights)

    def _begun(
        self, rows: Rows, labels: Labels, random: Any, given: Parameters, goes_on: bool
    ) -> tuple[Networks, list[History]]:
        """Networks before their first step, or copies of those that training goes on with."""
        network = given.network(self.n_features_in_, labels.outputs, labels.output)
        if not goes_on:
            self.t_ = 0
            seeds = [int(seed) for seed in random.randint(2**31 - 1, size=given.n_seeds)]
            widths, device = given.hidden_layer_sizes, rows.features.device
            layers = initial_layers(self.n_features_in_, widths, labels.outputs, seeds, device)
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
        self, draft: Self, networks: Networks, histories: list[History], labels: Labels, given: Parameters
    ) -> Self:
        """Take over what a training that has succeeded leaves behind."""
        draft._networks, draft._histories = networks.copy(torch.device("cpu")), histories
        draft._labels, draft._fitted = labels, given
        draft.classes_, draft.out_activation_ = labels.classes, labels.output
        draft.n_outputs_, draft.n_layers_ = labels.outputs, len(networks.network.sizes)
        draft.networks_ = TrainedNetwork.each_of(draft._networks, histories)
        self.__dict__ = draft.__dict__
        return self

    def _passes(self, X: Any, sample: int | None) -> NDArray[np.floating]:
        """Each network's outputs, shape (networks, rows, outputs), under the `sample`-th masks if any."""
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
        return np.asarray(softmax(said, axis=2) if self.out_activation_ == "softmax" else expit(said))

    def _by_class(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """Probabilities of all classes, where one output stands for two."""
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags


def _say_if_clipped(given: Parameters, rows: int) -> None:
    if given.batch_size != "auto" and given.batch_size > rows:
        warnings.warn(
            f"batch_size ({given.batch_size}) is larger than the number of rows: clipped to {rows}.",
            UserWarning,
            stacklevel=3,
        )
