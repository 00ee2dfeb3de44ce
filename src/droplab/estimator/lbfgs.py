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
from droplab.train.networks import Networks, split, value_shapes
from droplab.train.step import derived


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
    inputs = next(Fit(networks.first(1), histories, 0, whole, rows).inputs(networks.first(1)))
    for values, history in zip(networks.values, histories, strict=True):
        parts = split(values[None], value_shapes(networks.network))

        def objective(
            x: NDArray[np.float64], values: torch.Tensor = values, parts: list[torch.Tensor] = parts
        ) -> tuple[float, NDArray[np.float64]]:
            values.copy_(torch.from_numpy(x))
            losses, gradients = derived(networks.network, parts, [], inputs)
            loss, gradient = float(losses[1]), torch.cat([part.flatten() for part in gradients])
            if not (np.isfinite(loss) and gradient.isfinite().all()):
                raise FloatingPointError(f"a loss of {loss}, or a gradient that is not")
            return loss, gradient.double().cpu().numpy()

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
