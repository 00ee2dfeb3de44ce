"""Losses: what the outputs of a network are held against, example by example; and the numbers that outputs stand for.

R networks, B examples, C classes, T targets, Q levels of quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, huber_loss, softplus

Output = Literal["softmax", "logistic", "identity", "exp", "ascending"]
"""What an output layer's products stand for: probabilities of classes, of which one is true (`softmax`) or each may be
(`logistic`); numbers; logarithms of numbers (`exp`); numbers of which each next one is higher (`ascending`)."""

Loss = Literal["squared_error", "absolute_error", "huber", "poisson", "quantile"]
"""What numbers are trained by."""


class Unit(NamedTuple):
    """What numbers are trained in: (number − `centre`) / `scale`."""

    centre: float
    scale: float

    @classmethod
    def of(cls, loss: str, targets: NDArray[np.float64]) -> Unit:
        """That of the targets that are trained on, shape (N,): `scaling_of` them."""
        return cls(*(float(each[0]) for each in scaling_of(loss, targets[:, None])))

    def inside(self, numbers: Tensor) -> Tensor:
        """Numbers as they are trained for."""
        return (numbers - self.centre) / self.scale

    def folded(self, weight: Tensor, bias: Tensor, output: Output) -> tuple[Tensor, Tensor]:
        """The output layer, shapes (R, 1, I) and (R, 1), that gives the numbers themselves, or their logarithms."""
        if output == "exp":
            return weight, bias + float(np.log(self.scale))
        return weight * self.scale, bias * self.scale + self.centre


def scaling_of(
    loss: str, targets: NDArray[np.float64], weights: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is taken off targets, and what they are then divided by, each of shape (T,).

    Their mean and standard deviation; of `poisson`, where 0 must stay 0, 0 and their mean; of targets that do not vary
    1 in the place of a deviation.

    Args:
        loss: what they are trained by.
        targets: shape (N, T).
        weights: of the rows, shape (N,), one of them above 0; `None` for all alike.
    """
    size = np.abs(targets).max(axis=0)
    unit = np.maximum(size, np.finfo(np.float64).tiny)  # squares of 1e-200 would be 0
    mean = np.average(targets / unit, axis=0, weights=weights)
    scale = mean if loss == "poisson" else np.sqrt(np.average((targets / unit - mean) ** 2, axis=0, weights=weights))
    varies = scale * unit > 10 * np.finfo(np.float64).eps * size
    return np.zeros_like(mean) if loss == "poisson" else mean * unit, np.where(varies, scale * unit, 1.0)


def output_of(loss: Loss) -> Output:
    """What outputs stand for that are trained by a loss of numbers."""
    return {"poisson": "exp", "quantile": "ascending"}.get(loss, "identity")  # type: ignore[return-value]


def of_classes(logits: Tensor, targets: Tensor, truth: Tensor | None = None) -> Tensor:
    """Cross-entropy of each example in nats, shape (R, B).

    Args:
        logits: shape (R, B, C).
        targets: the true classes, shape (R, B), `int64`.
        truth: the probability that the true class is to have, shape (R, 1, 1); `None` for 1.
    """
    # Classes before examples: ten times as fast on a CPU as along a few columns (docs/log.md). One by one
    # compared: compiled code would gather, and scatter, one after the other.
    classes = torch.arange(logits.shape[2], device=targets.device)[:, None]
    hot = (targets.unsqueeze(1) == classes).to(logits.dtype)
    if truth is not None:
        hot = hot * truth + (1 - hot) * ((1 - truth) / (logits.shape[2] - 1))
    return -(torch.log_softmax(logits.mT.contiguous(), dim=1) * hot).sum(dim=1)


def of_labels(logits: Tensor, targets: Tensor, truth: Tensor | None = None) -> Tensor:
    """The sum over outputs that are each yes or no of their cross-entropies in nats, shape (R, B).

    Args:
        logits: shape (R, B, C).
        targets: 0 … 1 for each, shape (R, B, C).
        truth: as in `of_classes`.
    """
    if truth is not None:
        targets = targets * truth + (1 - targets) * (1 - truth)
    return binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=2)


def of_numbers(loss: Loss, outputs: Tensor, targets: Tensor, levels: Sequence[float] = ()) -> Tensor:
    """The loss of each example, the sum over its targets, shape (R, B).

    Half the squared error, and the half deviance of Poisson, are scikit-learn's (which follows the gradient of the sum,
    but reports the mean over targets); `huber` is half the squared error of
    residuals up to 1, and grows by 1 for 1 beyond; the loss of quantiles is that of Koenker & Bassett (1978).

    Args:
        loss: which.
        outputs: of the output layer, shape (R, B, T); of quantiles (R, B, T · Q).
        targets: shape (R, B, T); of `poisson` at least 0.
        levels: of the quantiles, ascending, in (0, 1).
    """
    if loss == "poisson":
        return (outputs.exp() - targets * outputs + torch.xlogy(targets, targets) - targets).sum(dim=2)
    if loss == "quantile":
        over = targets.unsqueeze(3) - ascending(outputs, len(levels))
        sides = [torch.maximum(q * part, (q - 1) * part) for q, part in zip(levels, over.unbind(3), strict=True)]
        return torch.stack(sides).mean(dim=0).sum(dim=2)
    residuals = outputs - targets
    each: dict[str, Callable[[Tensor], Tensor]] = {
        "squared_error": lambda r: r.square() / 2,
        "absolute_error": torch.abs,
        "huber": lambda r: huber_loss(r, torch.zeros_like(r), reduction="none"),
    }
    return each[loss](residuals).sum(dim=2)


def ascending(outputs: Tensor, levels: int) -> Tensor:
    """The quantiles that outputs of shape (…, T · Q) stand for, shape (…, T, Q): the first, and steps up from it."""
    parts = outputs.view(*outputs.shape[:-1], -1, levels)
    return torch.cat([parts[..., :1], softplus(parts[..., 1:])], dim=-1).cumsum(-1)


def numbers_of(output: Output, outputs: Tensor, levels: int = 1) -> Tensor:
    """The numbers that outputs of shape (…, T) stand for, of the same shape; of quantiles (…, T · Q)."""
    if output == "exp":
        return outputs.exp()
    return ascending(outputs, levels).flatten(-2) if output == "ascending" else outputs
