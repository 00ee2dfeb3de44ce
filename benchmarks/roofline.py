"""The limit that matrix products set: what a training step must multiply, and the speed of `torch.mm` at its shapes.

B examples of a batch, I inputs of a layer, O its outputs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from benchmarks.processes import Wait, in_processes

SECONDS = 1.0
"""How long products are timed, at least."""


class Product(NamedTuple):
    """One matrix product of a step, (rows, inner) × (inner, columns).

    Attributes:
        kind: `forward`, inputs × weightsᵀ: (B, I) × (I, O); `weights`, its gradient: (O, B) × (B, I); `inputs`, the
            gradient that goes on to the layer before: (B, O) × (O, I).
        rows: of the result.
        inner: what is summed over.
        columns: of the result.
        precision: of the operands.
    """

    kind: Literal["forward", "weights", "inputs"]
    rows: int
    inner: int
    columns: int
    precision: str

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns


def step_products(sizes: Sequence[int], batch: int, precision: str) -> list[Product]:
    """The products of one training step in their order; the first layer's inputs need no gradient.

    Args:
        sizes: features, units of each hidden layer, classes.
        batch: B.
        precision: of the hidden layers; the output layer's is always `fp32`.
    """
    layers = list(pairwise(sizes))
    precisions = [precision] * (len(layers) - 1) + ["fp32"]
    found = [Product("forward", batch, i, o, p) for (i, o), p in zip(layers, precisions, strict=True)]
    for index in range(len(layers) - 1, -1, -1):
        (i, o), p = layers[index], precisions[index]
        found.append(Product("weights", o, batch, i, p))
        if index:
            found.append(Product("inputs", batch, o, i, p))
    return found


def time_products(products: Sequence[Product], device: str, workers: int, stacked: int = 1) -> float:
    """Seconds that PyTorch takes for all of them on one core, each the median of many rounds.

    Args:
        products: in the order they are timed in; repeated ones are timed once.
        device: on `cpu`, `workers` processes of one thread time them at the same moment, as cores share caches and
            clock in a study, and the mean of these is returned; on `cuda` the GPU does.
        workers: how many.
        stacked: networks whose products are computed in one call of `torch.bmm`; with 1 it is `torch.mm`. The seconds
            are for one.
    """
    distinct = tuple(dict.fromkeys(products))
    if device == "cuda":
        rounds = [[one / stacked for one in _time_on_gpu(distinct, stacked)]]
    else:
        rounds = in_processes(workers, _time_on_core, distinct)
    seconds = {
        product: statistics.mean(each) for product, each in zip(distinct, zip(*rounds, strict=True), strict=True)
    }
    return float(sum(seconds[product] for product in products))


def _time_on_core(wait: Wait, products: Sequence[Product]) -> list[float]:
    calls = [_call(product, "cpu", 1) for product in products]
    for call in calls:
        call()
    wait()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times[0]) < 3:
        for call, timed in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            timed.append(time.perf_counter() - started)
    return [statistics.median(timed) for timed in times]


def _time_on_gpu(products: Sequence[Product], stacked: int) -> list[float]:
    """From a CUDA graph of many calls: called one by one, small products would wait for Python."""
    repeats, seconds = 50, []
    for product in products:
        call = _call(product, "cuda", stacked)
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(repeats):
                call()
        rounds = []
        for _ in range(5):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            rounds.append(begin.elapsed_time(end) / 1000 / repeats)
        seconds.append(statistics.median(rounds[1:]))
    return seconds


def _call(product: Product, device: str, stacked: int) -> Callable[[], Tensor]:
    """The product as a call on operands that lie in memory as those of a step do."""
    dtype = torch.bfloat16 if product.precision == "bf16" else torch.float32

    def stored(rows: int, columns: int) -> Tensor:
        shape = (rows, columns) if stacked == 1 else (stacked, rows, columns)
        return torch.randn(shape, device=device).to(dtype)

    rows, inner, columns = product.rows, product.inner, product.columns
    left = stored(inner, rows).mT if product.kind == "weights" else stored(rows, inner)
    right = stored(columns, inner).mT if product.kind == "forward" else stored(inner, columns)
    multiply = torch.mm if stacked == 1 else torch.bmm
    return partial(multiply, left, right, out=stored(rows, columns))
