"""Measures: the metrics that a study may ask about, each with its direction, unit, form and margin; in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A metric as a study's question.

    Attributes:
        name: of the metric in `results.csv`.
        label: in sentences and headings.
        unit: of a value as it is told; empty for that of the data.
        points: unit of a difference, likewise.
        factor: what a value is multiplied by to be told.
        digits: decimals that are told; `None` for four significant digits, three of a difference.
        sign: 1 where more is better, −1 where less is.
        margin: the largest difference that does not matter, unless asked otherwise; before `factor`.
        is_of_targets: whether `margin` counts in standard deviations of the test examples' targets.
        is_share: whether it lies between 0 and 1.
    """

    name: str
    label: str
    unit: str
    points: str
    factor: float
    digits: int | None
    sign: int
    margin: float
    is_of_targets: bool = False
    is_share: bool = False

    @property
    def form(self) -> str:
        """How a chart writes a value, in d3's language."""
        return ".4~g" if self.digits is None else f".{self.digits}f"

    def value(self, value: float) -> str:
        """A value without its unit.

        >>> MEASURES["accuracy"].value(0.98765)
        '98.77'
        """
        told = self.factor * value
        return f"{told:.4g}" if self.digits is None else f"{told:.{self.digits}f}"

    def value_words(self, value: float) -> str:
        """A value with its unit."""
        return f"{self.value(value)} {self.unit}".rstrip()

    def change(self, difference: float) -> str:
        """A difference without its unit, signed, in words that never say −0.00.

        >>> MEASURES["nll"].change(-0.0123), MEASURES["accuracy"].change(0.00001)
        ('−0.0123', '0.00')
        """
        told = self.factor * difference
        if self.digits is None:
            return f"{told:+.3g}".replace("-", "−") if told else "0"
        small = abs(told) < 0.5 * 10**-self.digits
        return f"{0:.{self.digits}f}" if small else f"{told:+.{self.digits}f}".replace("-", "−")

    def change_words(self, difference: float) -> str:
        """A difference with its unit."""
        return f"{self.change(difference)} {self.points}".rstrip()

    def size_words(self, difference: float) -> str:
        """How large a difference is, whatever its direction."""
        return self.change_words(abs(difference)).lstrip("+")

    def margin_words(self, margin: float) -> str:
        """A margin with its unit."""
        return f"{self.factor * margin:.3g} {self.points}".rstrip()

    def headed(self, text: str, of: str | None = None) -> str:
        """A heading with the unit, that of a value unless another is given.

        >>> MEASURES["nll"].headed("test NLL")
        'test NLL (nats)'
        """
        unit = self.unit if of is None else of
        return f"{text} ({unit})" if unit else text

    def spread(self, mean: float, deviation: float) -> str:
        """Mean ± standard deviation; the latter, where it is known, with two significant digits.

        >>> MEASURES["accuracy"].spread(0.98, 0.001), MEASURES["accuracy"].spread(0.98, float("nan"))
        ('98.00 ± 0.10', '98.00')
        """
        if math.isnan(deviation):
            return self.value(mean)
        return mean_and_deviation(
            self.factor * mean, self.factor * deviation, 4 if self.digits is None else self.digits
        )


def mean_and_deviation(mean: float, deviation: float, digits: int) -> str:
    """Mean ± standard deviation as they are told, the latter with two significant digits.

    Args:
        mean: as it is told.
        deviation: likewise; NaN where there is none.
        digits: decimals of the mean where there is no spread; one more at most where there is.
    """
    if math.isnan(deviation):
        return f"{mean:.{digits}f}"
    needed = 1 - math.floor(math.log10(deviation)) if deviation > 0 else digits
    shown = min(max(needed, 0), digits + 1)
    return f"{mean:.{shown}f} ± {deviation:.{shown}f}"


def _share(name: str, label: str) -> Measure:
    return Measure(name, label, "%", "points", 100, 2, 1, 0.001, is_share=True)


MEASURES = {
    "accuracy": _share("accuracy", "accuracy"),
    "balanced_accuracy": _share("balanced_accuracy", "balanced accuracy"),
    "f1": _share("macro_f1", "macro F1"),
    "nll": Measure("nll", "NLL", "nats", "nats", 1, 4, -1, 0.005),
    "rmse": Measure("rmse", "RMSE", "", "", 1, None, -1, 0.01, is_of_targets=True),
    "mae": Measure("mae", "MAE", "", "", 1, None, -1, 0.01, is_of_targets=True),
    "r2": Measure("r2", "R²", "", "", 1, 4, 1, 0.01),
}
"""By the value of the setting `metric`."""

ACCURACY = MEASURES["accuracy"]
