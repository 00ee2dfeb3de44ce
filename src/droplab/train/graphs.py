"""CUDA graphs: a step recorded once and replayed, so that a GPU does not wait for Python."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.train.networks import Networks
from droplab.train.step import Inputs, Step, plain_step, traced_step

_WARM_UP = 3
"""Steps done one by one before recording, so that libraries have set themselves up."""


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A graph with the tensors that it reads its inputs from, and the one that it leaves the losses in."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    losses: Tensor


def graphed() -> Step:
    """The step of one set of networks, recorded at its fourth call with so many of them and a batch of one size.

    Networks are updated where they lie; everything else that changes from step to step is copied into the recorded
    inputs. The losses returned are overwritten by the next call.
    """
    calls: Counter[tuple[int, int]] = Counter()
    recorded: dict[tuple[int, int], _Recorded | None] = {}

    def run(networks: Networks, inputs: Inputs) -> Tensor:
        size = (inputs.targets.shape[0], inputs.targets.shape[1])
        calls[size] += 1
        if calls[size] > _WARM_UP and size not in recorded:
            recorded[size] = _record(networks, inputs)
        known = recorded.get(size)
        if known is None:
            return plain_step(networks, inputs)
        for kept, new in zip(known.inputs, inputs.tensors(), strict=True):
            kept.copy_(new)
        known.graph.replay()
        return known.losses

    return run


def _record(networks: Networks, inputs: Inputs) -> _Recorded | None:
    """Record one step, traced first; `None`, with a warning, where it cannot be."""
    kept = [tensor.clone() for tensor in inputs.tensors()]
    traced = traced_step(networks.network, networks.optimizer, [*networks.flat, *kept])
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            losses = traced(*networks.flat, *kept)
    except RuntimeError as error:
        warnings.warn(f"the step cannot be recorded as a CUDA graph and runs without: {error}", stacklevel=2)
        return None
    return _Recorded(graph, kept, losses)
