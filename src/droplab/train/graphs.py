"""CUDA graphs: a step recorded once and replayed, so that a GPU does not wait for Python."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from droplab.model.network import Layer
from droplab.train.step import Step, StepInputs

_WARM_UP = 3
"""Steps done one by one before recording, so that libraries have set themselves up."""


@dataclass(frozen=True, eq=False)
class _Recorded:
    """A graph with the tensors that it reads its inputs from, and the one that it leaves the loss in."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    loss: Tensor


def graphed(step: Step) -> Step:
    """The same step for one set of layers, recorded at its fourth call with a batch of one size.

    Weights and velocities are updated where they lie; everything else that changes from step to step is copied into the
    recorded inputs. The loss returned is overwritten by the next call.
    """
    calls: Counter[int] = Counter()
    recorded: dict[int, _Recorded | None] = {}

    def run(layers: Sequence[Layer], velocities: Sequence[Layer], inputs: StepInputs) -> Tensor:
        size = inputs.labels.shape[1]
        calls[size] += 1
        if calls[size] > _WARM_UP and size not in recorded:
            recorded[size] = _record(step, layers, velocities, inputs)
        known = recorded.get(size)
        if known is None:
            return step(layers, velocities, inputs)
        for kept, new in zip(known.inputs, inputs.tensors(), strict=True):
            kept.copy_(new)
        known.graph.replay()
        return known.loss

    return run


def _record(step: Step, layers: Sequence[Layer], velocities: Sequence[Layer], inputs: StepInputs) -> _Recorded | None:
    """Record one step; `None`, with a warning, where it cannot be."""
    kept = [tensor.clone() for tensor in inputs.tensors()]
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            loss = step(layers, velocities, inputs.with_tensors(kept))
    except RuntimeError as error:
        warnings.warn(f"the step cannot be recorded as a CUDA graph and runs without: {error}", stacklevel=2)
        return None
    return _Recorded(graph, kept, loss)
