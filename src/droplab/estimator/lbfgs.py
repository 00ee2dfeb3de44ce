"""Training by L-BFGS, on all rows at once, one network after the other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from droplab.estimator.history import History
from droplab.estimator.parameters import Parameters
from droplab.estimator.policy import Fit
from droplab.estimator.rows import Rows
from droplab.train.networks import Networks
from droplab.train.replay import replayed
from droplab.train.step import Inputs, derived


def minimize(networks: Networks, histories: Sequence[History], given: Parameters, rows: Rows) -> None:
    """Minimize each network's objective by SciPy's L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995).

    Args:
        networks: changed in place.
        histories: of each.
        given: the classifier's parameters: `max_iter`, `max_fun`, `tol` (of the gradient), `alpha`, nothing stochastic.
        rows: to train on.

    Raises:
        FloatingPointError: as soon as the objective is not finite; SciPy would take such a point for a minimum.
    """
    whole = given.model_copy(update={"batch_size": len(rows), "shuffle": False})
    first = networks.first(1).copy(networks.values.device)  # in whose place each is minimized
    inputs = next(Fit(first, histories, 0, whole, rows).inputs(first))
    step = replayed(_aim_and_gradient)

    def objective(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        first.values.copy_(torch.from_numpy(x))
        told = step(first, inputs).double().cpu().numpy()
        if not np.isfinite(told).all():
            raise FloatingPointError(f"a loss of {told[0]}, or a gradient that is not")
        return told[0], told[1:]

    for values, history in zip(networks.values, histories, strict=True):
        found = optimize.minimize(
            objective,
            values.double().cpu().numpy(),
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": given.max_fun, "maxiter": given.max_iter, "gtol": given.tol},
        )
        values.copy_(torch.from_numpy(found.x))
        history.iterations, history.final_loss = min(int(found.nit), given.max_iter), float(found.fun)
        if given.verbose:
            print(f"L-BFGS: loss = {found.fun:.8f} after {found.nit} iterations, {found.nfev} evaluations")
        if found.status:
            warnings.warn(
                f"L-BFGS has not converged in {found.nit} iterations: {found.message}. Raise max_iter "
                f"({given.max_iter}) or max_fun ({given.max_fun}), or scale the features.",
                ConvergenceWarning,
                stacklevel=3,
            )


def _aim_and_gradient(networks: Networks, inputs: Inputs) -> torch.Tensor:
    """What is minimized of one network, and its derivative by each of the P values, shape (1 + P,)."""
    losses, gradients = derived(networks.network, networks.parts, [], inputs)
    return torch.cat([losses[1], *(gradient.flatten() for gradient in gradients)])
