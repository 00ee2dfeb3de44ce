"""The step recorded as a function of tensor operations alone: what runs its operations one by one on a CPU.

Autograd's own work, and that of making views of the weights, is most of a small step. Both are the same in every step
of networks that stay where they are, so they are done once: the first step with a batch of one size runs as it is
while its operations are written down, and later ones run what was written. (`step.traced_step` makes the same and more,
for compilers; what it imports takes longer than a small training.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from droplab.train.networks import Networks
from droplab.train.step import Inputs, Step, plain_step


def replayed(step: Step = plain_step) -> Step:
    """A step of one set of networks, recorded at its first call with so many of them and a batch of one size."""
    recorded: dict[tuple[int, int], Callable[..., Tensor]] = {}

    def run(networks: Networks, inputs: Inputs) -> Tensor:
        size, tensors = (inputs.targets.shape[0], inputs.targets.shape[1]), inputs.tensors()
        if size in recorded:
            with torch.no_grad():
                return recorded[size](*tensors)
        with _Recorder(tensors) as recorder:
            result = step(networks, inputs)
        recorded[size] = recorder.function(result)
        return result

    return run


class _Recorder(TorchDispatchMode):
    """Writes operations down as they run: lines of Python, and what these refer to by name.

    A tensor is known by its place in memory. What is neither given nor computed is a part of the networks, or a view of
    one: it is referred to as it is, and never made again.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names: dict[object, str] = {}
        self._alive: list[Tensor] = []
        self._scope: dict[str, Any] = {}
        self._inputs = [self._name(tensor) for tensor in inputs]
        self._lines: list[tuple[str, list[str]]] = []
        self._used: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first operation imports PyTorch's compiler, 2 s

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        self._used = []
        given = ", ".join([*map(self._written, args), *(f"{k}={self._written(v)}" for k, v in (kwargs or {}).items())])
        several = isinstance(made, tuple | list)
        outputs = made if several else [made]
        known = not self._used or all(_place(each) in self._names for each in outputs)
        if (known and func.is_view) or func.overloadpacket is torch.ops.aten.arange:
            return made
        names = "".join(f"{self._name(each)}, " for each in outputs)
        line = f"{names if several else names[:-2]} = {self._constant(func._op)}({given})"
        self._lines.append((line, self._used))
        return made

    def function(self, result: Tensor) -> Callable[..., Tensor]:
        """What was recorded, from the inputs to the result."""
        name, lines = self._names[_place(result)], list[str]()
        later = {name}
        for line, used in reversed(self._lines):
            if dead := sorted(set(used) - later):
                lines.append(f"    del {', '.join(dead)}")
            lines.append(f"    {line}")
            later |= set(used)
        source = "\n".join([f"def run({', '.join(self._inputs)}):", *reversed(lines), f"    return {name}"])
        exec(source, self._scope)
        run: Callable[..., Tensor] = self._scope["run"]
        return run

    def _name(self, tensor: Tensor) -> str:
        self._alive.append(tensor)
        return self._names.setdefault(_place(tensor), f"t{len(self._names)}")

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._scope)}"
        self._scope[name] = value
        return name

    def _written(self, value: Any) -> str:
        if isinstance(value, Tensor) and (name := self._names.get(_place(value))):
            self._used.append(name)
            return name
        if isinstance(value, list | tuple):
            return f"[{''.join(f'{self._written(each)}, ' for each in value)}]"
        return self._constant(value)


def _place(tensor: Tensor) -> object:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
