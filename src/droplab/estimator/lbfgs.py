"""Training by L-BFGS, on all rows at once, one network after the other."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from droplab.estimator.networks import Networks, Output
from droplab.estimator.parameters import Parameters
from droplab.estimator.rows import Rows
from droplab.model.network import Layer


def minimize(networks: Networks, given: Parameters, output: Output, rows: Rows) -> None:
    """Minimize each network's objective by SciPy's L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995).

    Args:
        networks: changed in place.
        given: the classifier's parameters: `max_iter`, `max_fun`, `tol` (of the gradient), `alpha`, nothing stochastic.
        output: what the outputs are.
        rows: to train on.
    """
    general = given.general
    batch = rows.take(torch.arange(len(rows), device=rows.features.device)[None])
    for r, history in enumerate(networks.histories):
        layers = [Layer(layer.weight[r : r + 1], layer.bias[r : r + 1]) for layer in networks.layers]
        one = Networks(networks.seeds[r : r + 1], layers, [], [history])

        def objective(x: NDArray[np.float64], one: Networks = one) -> tuple[float, NDArray[np.float64]]:
            _unpack(x, one)
            losses, gradients = one.gradient(general, output, batch, given.alpha, None)
            return float(losses), np.concatenate([g.double().cpu().numpy().ravel() for g in gradients])

        found = optimize.minimize(
            objective,
            np.concatenate([part.double().cpu().numpy().ravel() for part in one.parameters]),
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": given.max_fun, "maxiter": given.max_iter, "gtol": given.tol},
        )
        _unpack(found.x, one)
        history.iterations, history.final_loss = min(int(found.nit), given.max_iter), float(found.fun)
        if given.verbose:
            print(f"L-BFGS: loss = {found.fun:.8f} after {found.nit} iterations, {found.nfev} evaluations")
        if found.status:
            warnings.warn(
                f"L-BFGS has not converged: {found.message}. Raise max_iter ({given.max_iter}) or max_fun "
                f"({given.max_fun}), or scale the features.",
                ConvergenceWarning,
                stacklevel=4,
            )


def _unpack(x: NDArray[np.float64], networks: Networks) -> None:
    """Put a vector of all parameters into the networks, in place."""
    start = 0
    for part in networks.parameters:
        values = torch.from_numpy(x[start : start + part.numel()]).view(part.shape)
        part.copy_(values)
        start += part.numel()
