"""scikit-learn's face of droplab."""

from droplab.estimator.callbacks import OnEpoch
from droplab.estimator.classifier import DropoutMLPClassifier
from droplab.estimator.regressor import DropoutMLPRegressor
from droplab.estimator.uncertainty import Spread, Uncertainty

__all__ = ["DropoutMLPClassifier", "DropoutMLPRegressor", "OnEpoch", "Spread", "Uncertainty"]
