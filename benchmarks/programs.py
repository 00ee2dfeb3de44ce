"""The programs that are compared on tables, and how: docs/results/tabular.md."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.tables import NUMBERS, PAGE, TUNING, Table, Tables
from droplab.estimator import DropoutMLPClassifier

Program = Callable[[int], Any]
"""An estimator of a seed, which takes a table's DataFrame."""


def _behind_scaler(estimator: Callable[..., Any], seed: int) -> Any:
    """Numbers imputed by their mean and scaled, categories one-hot with a column for gaps."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")), (words, make_column_selector(dtype_exclude="number"))
    )
    return make_pipeline(columns, estimator(random_state=seed))


def _boosting(estimator: Callable[..., Any], seed: int) -> Any:
    return estimator(categorical_features="from_dtype", random_state=seed)


def _realmlp(estimator: str, seed: int) -> Any:
    """Of pytabkit (Holzmüller et al. 2024), which takes categories, and numbers without gaps."""
    import pytabkit

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    numbers = (SimpleImputer(), make_column_selector(dtype_include="number"))
    columns = make_column_transformer(numbers, remainder="passthrough", verbose_feature_names_out=False)
    model = getattr(pytabkit, estimator)(device="cpu", n_threads=1, random_state=seed)
    return make_pipeline(columns.set_output(transform="pandas"), model)


def _of_classes(model: Any, test: Table) -> tuple[float, float]:
    """Accuracy in %, and log-loss."""
    found, shares = model.predict(test.features), model.predict_proba(test.features)
    return 100 * accuracy_score(test.target, found), log_loss(test.target, shares, labels=model.classes_)


def _of_numbers(model: Any, test: Table) -> tuple[float, float]:
    """Roots of mean squares of the errors and their mean size, in standard deviations of the target."""
    found, spread = np.ravel(model.predict(test.features)), test.target.std()
    return root_mean_squared_error(test.target, found) / spread, mean_absolute_error(test.target, found) / spread


@dataclass(frozen=True)
class Task:
    """What is compared.

    Attributes:
        tables: by name.
        programs: by name, the cheap ones first; droplab's begin with "Dropout".
        folds: makes the splits from their number.
        scores: of a fitted program on a fold's test rows; two figures.
        units: their names.
        digits: their formats.
    """

    tables: Tables
    programs: Mapping[str, Program]
    folds: Callable[[int], Any]
    scores: Callable[[Any, Table], tuple[float, float]]
    units: tuple[str, str]
    digits: tuple[str, str]


CLASSIFIERS: dict[str, Program] = {
    "HistGradientBoostingClassifier": partial(_boosting, HistGradientBoostingClassifier),
    "MLPClassifier": partial(_behind_scaler, MLPClassifier),
    "DropoutMLPClassifier": partial(_behind_scaler, DropoutMLPClassifier),
    "RealMLP_TD_Classifier": partial(_realmlp, "RealMLP_TD_Classifier"),
}
REGRESSORS: dict[str, Program] = {
    "HistGradientBoostingRegressor": partial(_boosting, HistGradientBoostingRegressor),
    "MLPRegressor": partial(_behind_scaler, MLPRegressor),
    "RealMLP_TD_Regressor": partial(_realmlp, "RealMLP_TD_Regressor"),
}


def classes(tuning: bool = False) -> Task:
    """Which class: on the page's tables, or on those for tuning."""
    folds = partial(StratifiedKFold, shuffle=True, random_state=0)
    return Task(TUNING if tuning else PAGE, CLASSIFIERS, folds, _of_classes, ("accuracy %", "log-loss"), (".2f", ".3f"))


def numbers() -> Task:
    """Which number."""
    folds = partial(KFold, shuffle=True, random_state=0)
    return Task(NUMBERS, REGRESSORS, folds, _of_numbers, ("RMSE / σ", "MAE / σ"), (".3f", ".3f"))
