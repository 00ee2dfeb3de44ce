"""droplab: a laboratory for the regularization of fully-connected networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from droplab.api import Study, StudyResult
    from droplab.estimator import DropoutMLPClassifier, DropoutMLPRegressor, Spread, Uncertainty
    from droplab.estimator.comparison import compare_estimators
    from droplab.model.regularizers import Regularizer, register
    from droplab.reproduce import Reproduce
    from droplab.stats.compare import Comparison, compare
    from droplab.stats.family import compare_all
    from droplab.stats.planning import plan_seeds
    from droplab.stats.trend import Trend, trend

__version__ = "0.1.0"
__all__ = [
    "Comparison",
    "DropoutMLPClassifier",
    "DropoutMLPRegressor",
    "Regularizer",
    "Reproduce",
    "Spread",
    "Study",
    "StudyResult",
    "Trend",
    "Uncertainty",
    "compare",
    "compare_all",
    "compare_estimators",
    "plan_seeds",
    "register",
    "trend",
]

_HOMES = {
    "Comparison": "droplab.stats.compare",
    "DropoutMLPClassifier": "droplab.estimator",
    "DropoutMLPRegressor": "droplab.estimator",
    "Regularizer": "droplab.model.regularizers",
    "Reproduce": "droplab.reproduce",
    "Spread": "droplab.estimator",
    "Study": "droplab.api",
    "StudyResult": "droplab.api",
    "Trend": "droplab.stats.trend",
    "Uncertainty": "droplab.estimator",
    "compare": "droplab.stats.compare",
    "compare_all": "droplab.stats.family",
    "compare_estimators": "droplab.estimator.comparison",
    "plan_seeds": "droplab.stats.planning",
    "register": "droplab.model.regularizers",
    "trend": "droplab.stats.trend",
}


def __getattr__(name: str) -> Any:
    """Import the public names, and with them PyTorch where they need it, only when they are used."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "study":
        return import_module("droplab.study")
    raise AttributeError(f"module 'droplab' has no attribute {name!r}")
