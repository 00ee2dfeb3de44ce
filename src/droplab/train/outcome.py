"""What training one network leaves behind: metrics, curves, ledger, weights, times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from droplab.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Inference = Literal["off", "on", "mc"]
Split = Literal["train", "valid", "test"]
Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


class Metric(NamedTuple):
    """One number about one trained network.

    Of numbers, `name` is `rmse`, `mae` (both in their unit) or `r2`.

    Of classes it is `accuracy` or `nll` (nats an example); on valid and test `balanced_accuracy` and `macro_f1`. On
    test also `accuracy_class_K`, `nll_error` (standard error of `nll` over the examples), `brier` (0 … 2), `ece`
    (expected calibration error, 0 … 1), `entropy` and, in mode `mc`, `mutual_information` (both in nats, both also
    `…_right` and `…_wrong`, over what is classified so); `accuracy_kK`, `nll_kK` and `ece_kK` of the mean over the
    first K masks; and, with dropout off, `nll_calibrated` and `ece_calibrated` at the `temperature` fitted on valid.
    """

    inference: Inference
    split: Split
    name: str
    value: float


@dataclass(frozen=True)
class Way:
    """How a run is executed; decided when it is planned.

    Attributes:
        device: `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for bf16 products with fp32 master weights, accumulation, loss and update.
        compiled: whether the step runs as one compiled program.
        stacked: whether the runs of a pack share their products, instead of each having its own.
        threads: that share the products of a step, on a CPU.
    """

    device: Literal["cpu", "cuda"]
    precision: Precision
    compiled: bool = False
    stacked: bool = False
    threads: int = 1

    @property
    def words(self) -> str:
        """The way but for the device, in words."""
        step = "compiled" if self.compiled else "uncompiled"
        threads = f", {self.threads} threads" if self.threads > 1 else ""
        return f"{self.precision}, {step}, {'stacked' if self.stacked else 'separate'}{threads}"


@dataclass(frozen=True)
class CheckpointCost:
    """What the checkpoints of a pack took: how many, bytes of the largest, seconds of all; why one was not written."""

    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    fault: str | None = None

    @property
    def seconds_each(self) -> float:
        """Mean time of one."""
        return self.seconds / max(self.count, 1)


@dataclass(frozen=True, eq=False)
class Curves:
    """How one training went; E epochs, P evaluated points.

    Attributes:
        train_loss: mean loss of each epoch as trained (dropout on), in nats, shape (E,), `float32`.
        points: the epochs (1 … E) after which the network was evaluated with dropout off, shape (P,), `int32`.
        losses: mean loss on (fixed part of train, valid) at these points, of numbers in the unit that they are trained
            in, shape (2, P), `float32`; NaN on valid where nothing was held out, as in the next.
        accuracies: accuracy on (fixed part of train, valid) at these points, of numbers RMSE in their own unit, shape
            (2, P), `float32`.
    """

    train_loss: NDArray[np.float32]
    points: NDArray[np.int32]
    losses: NDArray[np.float32]
    accuracies: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One trained network but for its weights.

    Attributes:
        metrics: the final ones, every inference mode and split.
        curves: how it got there.
        ledger: predicted class with dropout off, example by example, for `valid` (where it was
            held out) and `test`, `uint8` or `uint16`; of numbers these, `float32`.
        train_seconds: time in training steps.
        evaluate_seconds: time in evaluation, curves included.
        environment: device name, threads, versions: where it was trained.
        reliability: on test with dropout off, shape (2, 3, bins), `float32`: as it is and at the temperature fitted on
            valid (NaN where nothing was held out); each confidence, accuracy and examples of `calibration.Reliability`.
            `None` for a run of a droplab that did not keep it.
        best_epoch: with early stopping, the epochs (1 … E) after which the network that was kept was seen; `None`
            without it, and for a run of a droplab that did not keep it.
        checkpoints: what those of its pack took; not kept in the store.
    """

    metrics: tuple[Metric, ...]
    curves: Curves
    ledger: dict[str, NDArray[Any]]
    train_seconds: float
    evaluate_seconds: float
    environment: dict[str, Any]
    reliability: NDArray[np.float32] | None = None
    best_epoch: int | None = None
    checkpoints: CheckpointCost = field(default_factory=CheckpointCost)

    def metric(self, inference: Inference, split: Split, name: str) -> float:
        """The value of one metric.

        Raises:
            DataError: if it is of a droplab that did not keep it.
        """
        for metric in self.metrics:
            if metric[:3] == (inference, split, name):
                return metric.value
        raise DataError(
            f"results must hold {name} on {split}; found those of a network that an older droplab trained, which did "
            "not keep it. Remove it (droplab runs delete) and train it again, or ask by another metric."
        )


class Trained(NamedTuple):
    """An outcome with its weights: `layers.K.weight` of shape (outputs, inputs) and `layers.K.bias`, `float32`."""

    outcome: Outcome
    weights: dict[str, NDArray[np.float32]]
