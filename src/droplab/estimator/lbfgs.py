"""Training by L-BFGS, on all rows at once, one network after the other."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from droplab.estimator.networks import Networks, Output
from droplab.estimator.parameters import Parameters
from droplab.estimator.rows import Rows


def minimize(networks: Networks, given: Parameters, output: Output, rows: Rows) -> None:
    """Minimize each network's objective by SciPy's L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995).

    Args:
        networks: changed in place.
        given: the classifier's parameters: `max_iter`, `max_fun`, `tol` (of the gradient), `alpha`, nothing stochastic.
        output: what the outputs are.
        rows: to train on.

    Raises:
        FloatingPointError: as soon as the objective is not finite; SciPy would take such a point for a minimum.
    """
    general = given.general
    (batch,) = rows.batches(torch.arange(len(rows), device=rows.features.device)[None], len(rows))
    for r, history in enumerate(networks.histories):
        one = replace(networks, seeds=networks.seeds[r : r + 1], values=networks.values[r : r + 1])

        def objective(x: NDArray[np.float64], one: Networks = one) -> tuple[float, NDArray[np.float64]]:
            one.values.copy_(torch.from_numpy(x))
            losses, gradient = one.gradient(general, output, batch, given.alpha, None)
            if not (losses.isfinite().all() and gradient.isfinite().all()):
                raise FloatingPointError(f"a loss of {float(losses)}, or a gradient that is not")
            return float(losses), gradient[0].double().cpu().numpy()

        found = optimize.minimize(
            objective,
            one.values[0].double().cpu().numpy(),
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": given.max_fun, "maxiter": given.max_iter, "gtol": given.tol},
        )
        one.values.copy_(torch.from_numpy(found.x))
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
