"""scikit-learn's face of droplab."""

from droplab.estimator.callbacks import OnEpoch
from droplab.estimator.classifier import DropoutMLPClassifier
from droplab.estimator.uncertainty import Uncertainty

__all__ = ["DropoutMLPClassifier", "OnEpoch", "Uncertainty"]
