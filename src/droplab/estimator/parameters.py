"""The parameters of the estimators, checked: scikit-learn's of `MLPClassifier` and `MLPRegressor`, and ours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator

from droplab.config import (
    FALLING,
    Count,
    Dropout,
    InitialWeights,
    NumericEncoding,
    Rate,
    Regularizers,
    Schedule,
    Validated,
    Width,
    parse,
    regularizer_pairs,
)
from droplab.errors import ConfigError
from droplab.estimator.targets import Targets
from droplab.model.losses import Loss
from droplab.model.network import Network, acting, entry_of
from droplab.model.regularizers import check, strengths_of
from droplab.train.device import resolve_way
from droplab.train.optimizers import Optimizer

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


_MOST = 1e38


class Parameters(Validated):
    """What an estimator was given; what each means stands at `DropoutMLPClassifier`."""

    hidden_layer_sizes: tuple[Width, ...] = (100,)
    activation: Literal["identity", "logistic", "tanh", "relu"] = "relu"
    solver: Literal["lbfgs", "sgd", "adam"] = "adam"
    alpha: NotNegative = 0.0001
    batch_size: Literal["auto"] | Count = "auto"
    learning_rate: Literal["invscaling", "adaptive"] | Schedule = "constant"
    learning_rate_init: Positive = 0.001
    power_t: NotNegative = 0.5
    schedule_final: Annotated[float, Field(gt=0, le=1)] = 0.01
    warmup_epochs: NotNegative = 0.0
    max_iter: Count = 200
    shuffle: bool = True
    tol: NotNegative = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    stopping_metric: Literal["loss", "score"] = "loss"
    validation_fraction: Share = 0.1
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Positive = 1e-8
    n_iter_no_change: Annotated[float, Field(ge=1, allow_inf_nan=True)] = 10
    max_fun: Count = 15000
    time_limit: Positive | None = None
    callbacks: tuple[Callable[..., Any], ...] = ()
    dropout: Literal["auto"] | Dropout = "auto"
    input_dropout: Rate = 0.0
    regularizers: Regularizers = ()
    n_seeds: Annotated[int, Field(ge=1, le=10_000)] = 1
    device: str = "auto"
    precision: Literal["auto", "fp64", "fp32", "bf16"] = "auto"
    mc_samples: Count = 20
    numeric_encoding: NumericEncoding | None = None
    initial_weights: InitialWeights = "pytorch"

    @classmethod
    def checked(cls, given: dict[str, Any], owner: str) -> Self:
        """The parameters of an estimator of class `owner`, without `random_state`.

        Raises:
            ConfigError: naming each fault at once, or what contradicts what.
            DeviceError: if device or precision is not there.
        """
        made = parse(cls, given, owner)
        hidden = len(made.hidden_layer_sizes)
        if isinstance(made.dropout, tuple) and len(made.dropout) != hidden:
            raise ConfigError(
                f"dropout must be one rate or one for each of {hidden} hidden layers; found {list(made.dropout)}."
            )
        for name, instead in _PARAMETERS_OF_THEIR_OWN.items():
            if name in dict(made.regularizers):
                raise ConfigError(f"regularizers must not name {name}: it is a parameter of its own. Use {instead}.")
        check(made.regularizers, hidden)
        resolve_way(made.device, "bf16" if made.precision == "bf16" else "fp32")
        if made.solver == "lbfgs":
            made._check_lbfgs()
        return made

    @field_validator("hidden_layer_sizes", mode="before")
    @classmethod
    def _a_number_or_one_a_layer(cls, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = value.tolist()
        return value if hasattr(value, "__iter__") else (value,)

    @field_validator("alpha", "learning_rate_init", "epsilon")
    @classmethod
    def _computed_with(cls, value: float) -> float:
        """Steps compute with it as float32."""
        if value > _MOST:
            raise ValueError(f"must be at most {_MOST:g}, as float32 holds it")
        return value

    @field_validator("regularizers", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return regularizer_pairs(value or ())

    @property
    def rates(self) -> float | tuple[float, ...]:
        """Of dropout, settled: of all hidden layers, or one a hidden layer."""
        return default_dropout(self) if isinstance(self.dropout, str) else self.dropout

    @property
    def used(self) -> dict[str, tuple[float, ...]]:
        """The strengths of all regularizers in use by name; `alpha` is not in that of `l2`, which then may be 0."""
        layers = len(self.hidden_layer_sizes)
        rates = self.rates if isinstance(self.rates, tuple) else (self.rates,) * layers
        used = {"dropout": rates} if any(rates) else {}
        used |= {"input_dropout": (self.input_dropout,)} if self.input_dropout else {}
        used |= {name: strengths_of(value) for name, value in self.regularizers}
        return acting(used | ({"l2": (0.0,)} if self.alpha and "l2" not in used else {}), layers)

    @property
    def schedule(self) -> Schedule:
        """Of studies, for any solver; `constant` beside scikit-learn's own, which are for `sgd`."""
        rate = self.learning_rate
        return "constant" if rate == "invscaling" or rate == "adaptive" else rate  # noqa: PLR1714  # mypy reads it

    @property
    def is_noisy(self) -> bool:
        """Whether something in training is random beside initial weights and the order of rows."""
        return any(entry_of(name).is_noise for name in self.used)

    def network(self, features: int, targets: Targets) -> Network:
        """What networks compute that are trained for such targets."""
        return Network.using(
            [self.used],
            sizes=(features, *self.hidden_layer_sizes, targets.outputs),
            activation=self.activation,
            output=targets.output,
            loss=targets.loss,
            levels=targets.levels,
            precision="bf16" if self.precision == "bf16" else "fp32",
        )

    @property
    def optimizer(self) -> Optimizer:
        """scikit-learn's of that name."""
        moving = self.momentum > 0
        if self.solver == "sgd":
            return Optimizer(moving=moving, classical=True, nesterov=moving and self.nesterovs_momentum)
        return Optimizer(adam=self.solver == "adam")

    def dtype(self, single: bool, rows: int) -> torch.dtype:
        """Of weights and products.

        Args:
            single: whether the features are float32; else they are float64.
            rows: that are trained on.
        """
        if self.precision != "auto":
            return torch.float64 if self.precision == "fp64" else torch.float32
        whole = self.solver == "lbfgs" or rows <= (200 if self.batch_size == "auto" else self.batch_size)
        by_chance = self.is_noisy or not whole
        return torch.float32 if single or by_chance else torch.float64

    @property
    def of_targets(self) -> tuple[str, ...]:
        """The parameters that decide, with the first rows, what networks are trained for."""
        return ()

    def _check_lbfgs(self) -> None:
        """L-BFGS needs the same objective at every call."""
        used = map(entry_of, self.used)
        alters = [e for e in used if e.is_noise or e.on_gradient or e.before_update or e.after_update]
        if odd := [e.name for e in alters] + ["batch_norm"] * ("batch_norm" in self.used):
            raise ConfigError(
                "solver='lbfgs' needs an objective without chance and updates of its own; found "
                f"{', '.join(sorted(odd))}. Set dropout=0 and leave the others out, or use solver='adam'."
            )

    def check_validation(self) -> None:
        """Whether rows to stop by are of use.

        Raises:
            ConfigError: if not.
        """
        if not self.early_stopping or self.solver == "lbfgs":
            raise ConfigError(
                "X_val and y_val are rows to stop by: they need early_stopping=True and a solver that makes steps; "
                f"found early_stopping={self.early_stopping}, solver={self.solver!r}."
            )

    def check_partial(self) -> None:
        """Whether one epoch's rows suffice for all that is asked.

        Raises:
            ConfigError: if not.
        """
        if self.early_stopping or self.schedule != "constant":
            raise ConfigError(
                "partial_fit does not support early_stopping=True or a schedule over max_iter epochs: it sees some of "
                "the rows at a time, and does not know how long it goes on; found early_stopping="
                f"{self.early_stopping}, learning_rate={self.learning_rate!r}. Use fit, or change these."
            )

    def warn_of_idle(self) -> None:
        """Warn of the parameters that are not at their defaults and cannot act."""
        sgd, steps = self.solver == "sgd", self.solver != "lbfgs"
        acts = {
            "momentum": sgd,
            "nesterovs_momentum": sgd and self.momentum > 0,
            "learning_rate": sgd or (steps and self.schedule != "constant"),
            "schedule_final": steps and self.schedule in FALLING,
            "warmup_epochs": steps,
            "power_t": sgd and self.learning_rate == "invscaling",
            "beta_1": self.solver == "adam",
            "beta_2": self.solver == "adam",
            "epsilon": self.solver == "adam",
            "max_fun": not steps,
            "batch_size": steps,
            "shuffle": steps,
            "learning_rate_init": steps,
            "early_stopping": steps,
            "n_iter_no_change": steps,
            "time_limit": steps,
            "callbacks": steps,
            "stopping_metric": steps and self.early_stopping,
            "validation_fraction": steps and self.early_stopping,
        }
        idle = [n for n, does in acts.items() if not does and getattr(self, n) != type(self).model_fields[n].default]
        idle += ["dropout"] if self.rates and not self.hidden_layer_sizes else []
        if idle:
            warnings.warn(
                f"{', '.join(idle)} cannot act with solver={self.solver!r}, hidden_layer_sizes="
                f"{self.hidden_layer_sizes}, learning_rate={self.learning_rate!r}, momentum={self.momentum:g}, "
                f"early_stopping={self.early_stopping}: left out.",
                UserWarning,
                stacklevel=3,
            )


def default_dropout(given: Parameters) -> float:
    """What `dropout="auto"` means: 0 where dropout cannot act, else 0.125.

    L-BFGS needs the same objective at every call, and without a hidden layer there is nothing to drop. Of 0, 0.1, 0.2,
    0.35 and 0.5 on nine tables with the default layer of 100 units, 0.1 and 0.2 had the best accuracy and log-loss, at
    500 rows as at all; 0.5 (Srivastava et al. 2014) was behind no dropout. Wider layers were hardly measured.
    """
    return 0.0 if given.solver == "lbfgs" or not given.hidden_layer_sizes else 0.125


class ClassifierParameters(Parameters):
    """What `DropoutMLPClassifier` was given."""

    class_weight: Literal["balanced"] | dict[Any, NotNegative] | None = None

    def check_partial(self) -> None:
        """As of any; and the weights of classes must be known."""
        super().check_partial()
        if self.class_weight == "balanced":
            raise ConfigError(
                "partial_fit sees some of the rows at a time: it cannot have class_weight='balanced'; found it. Give "
                "the weights by class."
            )


class RegressorParameters(Parameters):
    """What `DropoutMLPRegressor` was given."""

    loss: Loss = "squared_error"
    quantiles: Annotated[float, Field(gt=0, lt=1)] | tuple[Annotated[float, Field(gt=0, lt=1)], ...] = 0.5
    scale_targets: bool = True

    @field_validator("quantiles", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else value

    @model_validator(mode="after")
    def _for_numbers(self) -> Self:
        levels = self.quantiles if isinstance(self.quantiles, tuple) else (self.quantiles,)
        if not levels or any(b <= a for a, b in pairwise(levels)):
            raise ValueError(f"quantiles must be a level in (0, 1) or several, ascending; found {list(levels)}")
        if odd := [name for name in self.used if entry_of(name).smooth is not None]:
            raise ValueError(f"{', '.join(odd)} smooths classes: it does nothing for numbers; leave it out")
        return self

    @property
    def of_targets(self) -> tuple[str, ...]:
        """The loss, of which quantiles, and whether targets are scaled."""
        return ("loss", "scale_targets", *["quantiles"] * (self.loss == "quantile"))

    @property
    def levels(self) -> tuple[float, ...]:
        """Of the quantiles; none with another loss."""
        if self.loss != "quantile":
            return ()
        return self.quantiles if isinstance(self.quantiles, tuple) else (self.quantiles,)


_PARAMETERS_OF_THEIR_OWN = {
    "input_dropout": "input_dropout=…",
    "dropout_by_layer": "dropout=[…]",
    "early_stopping": "early_stopping=True with n_iter_no_change",
}
