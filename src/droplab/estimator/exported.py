"""A fitted estimator as a program in ONNX.

N rows, K columns, R networks, O outputs.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from droplab.data.preprocessing import Preprocessing
from droplab.errors import ExportError
from droplab.estimator.labels import Labels
from droplab.estimator.numbers import Numbers
from droplab.estimator.policy import outputs_of
from droplab.estimator.targets import Targets
from droplab.export import Columns, Exported, onnx_of
from droplab.model.losses import numbers_of
from droplab.train.networks import Networks

_LARGEST_DIFFERENCE = 1e-5
"""Of what networks of float32 say, where operations come in another order."""


class _Program(nn.Module):
    """What an estimator computes: rows, shape (N, K) → what it says of them."""

    def __init__(self, networks: Networks, preprocessing: Preprocessing | None, targets: Targets) -> None:
        super().__init__()
        self.prepare = nn.Identity() if preprocessing is None else Columns(preprocessing)
        self.scale, self.mean = (
            nn.Buffer(torch.as_tensor(getattr(targets, name, 0.0), dtype=torch.float64)) for name in ("scale", "mean")
        )
        self._networks, self._targets = networks, targets

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of classes or labels, or numbers in the unit of the targets."""
        network, targets = self._networks.network, self._targets
        features = self.prepare(x).to(self._networks.values.dtype)
        outputs = outputs_of(network, self._networks.final(), features[None])
        if isinstance(targets, Numbers):
            levels = max(len(targets.levels), 1)
            fine = outputs.float() if targets.levels else outputs.double()  # ONNX Runtime has softplus of float32 alone
            numbers = numbers_of(targets.output, fine, levels).double().mean(dim=0)
            said = numbers.view(-1, len(targets.mean), levels) * self.scale[:, None] + self.mean[:, None]
            said = said[..., 0] if levels == 1 else said
            return said[:, 0] if targets.flat else said
        if targets.output == "softmax":
            return torch.softmax(outputs, dim=2).mean(dim=0)
        said = torch.sigmoid(outputs).mean(dim=0)
        return said if isinstance(targets, Labels) and targets.several else torch.cat([1 - said, said], dim=1)


def exported_of(
    networks: Networks, preprocessing: Preprocessing | None, targets: Targets, columns: Any, ours: NDArray[Any]
) -> Exported:
    """An estimator in ONNX, compared with what it says itself.

    Args:
        networks: on the CPU.
        preprocessing: what makes features of columns, if anything.
        targets: what outputs stand for.
        columns: rows as the program takes them, shape (N, K), N ≥ 1.
        ours: what the estimator says of them.

    Raises:
        ExportError: if the program says something else, or what exports is not installed.
    """
    dtype = np.float64 if preprocessing is not None else networks.values.numpy().dtype
    rows = np.ascontiguousarray(columns.toarray() if sparse.issparse(columns) else columns, dtype=dtype)
    told = {"output": networks.network.output, "networks": len(networks), "sizes": networks.network.sizes}
    if isinstance(targets, Labels):
        told["classes"] = targets.classes.tolist()
    program = _Program(networks, preprocessing, targets).eval()
    name = "numbers" if isinstance(targets, Numbers) else "probabilities"
    content, run = onnx_of(program, torch.from_numpy(np.concatenate([rows, rows])[:2]), json.dumps(told), name)
    size = np.maximum(np.abs(ours), 1)
    if isinstance(targets, Numbers):  # a number near 0 is the difference of larger ones
        size = np.maximum(size, targets.scale[:, None] if ours.ndim == 3 else targets.scale)
    difference = float((np.abs(run(rows) - ours) / size).max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise ExportError(
            f"an exported estimator must say what droplab says, to {_LARGEST_DIFFERENCE:g}; on {len(rows)} rows the "
            f"largest difference is {difference:.2g}. Nothing was written; please report it."
        )
    return Exported(content, difference, len(rows))
