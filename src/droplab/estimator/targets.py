"""What an estimator's targets settle: what outputs there are, what is trained for, what outputs say.

N rows, O outputs, R networks.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from droplab.model.losses import Loss, Output


class Targets(Protocol):
    """Of a fitted estimator: `labels.Labels` of a classifier, `numbers.Numbers` of a regressor."""

    @property
    def outputs(self) -> int:
        """O."""

    @property
    def output(self) -> Output:
        """What outputs stand for."""

    @property
    def loss(self) -> Loss:
        """What numbers are trained by; of no effect on probabilities."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Of quantiles; else empty."""

    def numbers(self, y: Any) -> NDArray[Any]:
        """What networks are trained for, as `network.Batch` has it, shape (N,) or (N, O).

        Raises:
            DataError: if `y` is not like that of the first rows.
        """

    def check_same(self, y: Any) -> None:
        """Whether a warm start can go on with `y`.

        Raises:
            DataError: if it cannot.
        """

    def check_classes(self, classes: Any) -> None:
        """Whether these are the classes that training began with.

        Raises:
            ConfigError: if they are not.
        """

    def strata(self, y: Any) -> NDArray[np.integer] | None:
        """The stratum of each row, of which the same share is held out, shape (N,); `None` for one of all."""

    def said(self, outputs: NDArray[np.floating]) -> NDArray[np.floating]:
        """What outputs of shape (R, N, O) say: probabilities, or numbers in the unit of `y`."""

    def told(self, said: NDArray[np.floating]) -> Any:
        """What `said` gave, averaged over the networks, in the form of `y`."""
