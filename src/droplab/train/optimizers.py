"""Updates as functions of parameters, gradients and the optimizer's own state.

R runs; every tensor has R first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.model.network import Layer


@dataclass(frozen=True, eq=False)
class SGD:
    """Stochastic gradient descent with momentum, as `torch.optim.SGD` has it.

    Attributes:
        learning_rates: of each run, shape (R,), `float32`.
        momenta: of each run, shape (R,), `float32`; `None` where no run has any, so that none is kept.
    """

    learning_rates: Tensor
    momenta: Tensor | None

    @classmethod
    def of(cls, learning_rates: Sequence[float], momenta: Sequence[float], device: torch.device) -> SGD:
        """The optimizer of R runs."""
        return cls(
            torch.tensor(learning_rates, dtype=torch.float32, device=device),
            torch.tensor(momenta, dtype=torch.float32, device=device) if any(momenta) else None,
        )

    def initial_state(self, layers: Sequence[Layer]) -> list[Layer]:
        """Velocities, all 0; empty without momentum."""
        if self.momenta is None:
            return []
        return [Layer(torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)) for layer in layers]

    def update(self, layers: Sequence[Layer], state: Sequence[Layer], gradients: Sequence[Layer]) -> None:
        """V ← m·v + g, w ← w − rate·v, in place."""
        for index, (layer, gradient) in enumerate(zip(layers, gradients, strict=True)):
            for part, (weight, grad) in enumerate(zip(layer, gradient, strict=True)):
                step = grad
                if self.momenta is not None:
                    step = state[index][part].mul_(_broadcast(self.momenta, weight)).add_(grad)
                weight.addcmul_(step, _broadcast(self.learning_rates, weight), value=-1)


def _broadcast(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.dim() - 1))
