"""The step as one compiled program for the CPU: made once for a shape of network and kept between calls.

PyTorch's ahead-of-time compiler turns `train_step` into a shared library. Seeds, rates, learning rates, momenta, the
number of stacked runs and of examples are the program's inputs, so arms that differ in those alone share it, and every
worker process loads it in milliseconds. Compiling happens in a process of its own, `python -m droplab.train.program`.

R runs, B examples, F features, C classes, L hidden layers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from droplab.data.disk import cache_folder, sweep
from droplab.model.network import Layer
from droplab.model.regularizers import Dropping
from droplab.train.device import cpu_flags
from droplab.train.optimizers import SGD
from droplab.train.step import Step, StepInputs, train_step

_POLL_SECONDS = 0.1
_LEFT = re.compile(r"[0-9a-f]{64}\.(lock|[0-9]+\.so)")  # what is left of a compiler that was killed

_SOURCES = (
    "random.py",
    "model/network.py",
    "model/regularizers.py",
    "train/optimizers.py",
    "train/step.py",
    "train/program.py",
)


@dataclass(frozen=True)
class Program:
    """What a compiled step is made for.

    Attributes:
        sizes: features, units of each hidden layer, classes.
        features: dtype of the features as stored, `uint8` or `float32`.
        precision: `fp32` or `bf16`.
        stacked: whether it takes several runs (2 or more), or exactly one.
        mask_bytes: of `Dropping`; 0 for a program without masks.
        momentum: whether it keeps velocities.
    """

    sizes: tuple[int, ...]
    features: Literal["uint8", "float32"]
    precision: Literal["fp32", "bf16"]
    stacked: bool
    mask_bytes: int
    momentum: bool

    @property
    def path(self) -> Path:
        """Where it is kept: named by all that decides its code, the machine's instructions among it."""
        content = [dataclasses.asdict(self), _origin()]
        name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return cache_folder() / "programs" / f"{name}.so"

    def compile(self, stopping: Callable[[], bool] = lambda: False) -> str | None:
        """Make it, unless it is there; `None` on success, else why it cannot be made, in one line.

        Of several processes that want the same program at once, one makes it and the others wait.

        Args:
            stopping: asked often; once it is true the compiler is ended at once, and nothing of it is left.
        """
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sweep(self.path.parent, _LEFT)
            lock = FileLock(self.path.with_suffix(".lock"))
            while not stopping():
                with suppress(Timeout), lock.acquire(timeout=_POLL_SECONDS):
                    try:
                        return self._made(stopping)
                    finally:  # who waits for it looks for the program first
                        Path(lock.lock_file).unlink(missing_ok=True)
        except OSError as error:
            return f"{error.strerror or error}"
        return "stopped"

    def _made(self, stopping: Callable[[], bool]) -> str | None:
        """As `compile`, by one process at a time."""
        if self.path.exists():
            return None
        command = [sys.executable, "-P", "-m", "droplab.train.program", json.dumps(dataclasses.asdict(self))]
        kept = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(self.path.parent / "inductor")}
        end, ours = os.pipe()  # it ends with this process, however that ends, and the compiler with it
        try:
            with (
                tempfile.TemporaryFile() as said,
                subprocess.Popen(
                    command, env=kept, stdin=end, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
                ) as process,
            ):
                try:
                    while process.poll() is None and not stopping():
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(_POLL_SECONDS)
                finally:
                    _end(process.pid)
                    process.wait()
                    _part(self, process.pid).unlink(missing_ok=True)
                said.seek(0)
                lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
        finally:
            os.close(end)
            os.close(ours)
        if process.returncode == 0 and self.path.exists():
            return None
        return lines[-1] if lines else f"the compiler ended with {process.returncode}"

    def load(self) -> Step:
        """The compiled step, ready to be called.

        Raises:
            RuntimeError: if it is not there or cannot be loaded.
        """
        runner = _runner(str(self.path))

        def step(layers: Sequence[Layer], velocities: Sequence[Layer], inputs: StepInputs) -> Tensor:
            if inputs.labels.shape[1] == 1:  # a program is for two examples or more
                return train_step(layers, velocities, inputs, self.precision)
            state = [part for layer in (*layers, *velocities) for part in layer]
            loss: Tensor = runner.run([*state, *inputs.tensors()])[0]
            return loss

        return step

    def example(self) -> tuple[list[Layer], list[Layer], StepInputs]:
        """Weights, velocities and inputs of the program's shapes."""
        runs, examples = (8, 64) if self.stacked else (1, 1024)
        layers = [
            Layer(torch.zeros(runs, outputs, inputs), torch.zeros(runs, outputs))
            for inputs, outputs in pairwise(self.sizes)
        ]
        optimizer = SGD.of([1.0] * runs, [float(self.momentum)] * runs, torch.device("cpu"))
        dropping = None
        if self.mask_bytes:
            keys = torch.zeros(len(self.sizes) - 2, runs, dtype=torch.int64)
            dropping = Dropping(keys, torch.zeros(runs, 1, 1), self.mask_bytes)
        inputs = StepInputs(
            features=torch.zeros(runs, examples, self.sizes[0], dtype=getattr(torch, self.features)),
            labels=torch.zeros(runs, examples, dtype=torch.int64),
            scale=torch.ones(()),
            number=torch.zeros((), dtype=torch.int64),
            optimizer=optimizer,
            dropping=dropping,
        )
        return layers, optimizer.initial_state(layers), inputs

    def dynamic(self, parts: int) -> list[dict[int, Any]]:
        """Which dimensions of `parts` tensors of the state, and then of the inputs, change from call to call."""
        runs = {0: torch.export.Dim("runs", min=2, max=2**20)} if self.stacked else {}
        batch = runs | {1: torch.export.Dim("examples", min=2, max=2**31)}
        masks = [{1: runs[0]} if runs else {}, runs] if self.mask_bytes else []
        return [*[runs] * parts, batch, batch, {}, {}, *[runs] * (1 + self.momentum), *masks]


class _Module(nn.Module):
    """`train_step` over a flat list of tensors, as the compiler takes it."""

    def __init__(self, layers: int, velocities: int, inputs: StepInputs, precision: str) -> None:
        super().__init__()
        self.layers, self.velocities, self.inputs, self.precision = layers, velocities, inputs, precision

    def forward(self, *tensors: Tensor) -> Tensor:
        parts = iter(tensors)
        layers = [Layer(next(parts), next(parts)) for _ in range(self.layers)]
        velocities = [Layer(next(parts), next(parts)) for _ in range(self.velocities)]
        return train_step(layers, velocities, self.inputs.with_tensors(list(parts)), self.precision)


@cache
def _runner(path: str) -> Any:
    """The library loaded: by the class below PyTorch's loaders, which would import the whole compiler (3 s, 80 MB)."""
    return torch._C._aoti.AOTIModelContainerRunnerCpu(path, 1)


@cache
def _origin() -> list[str]:
    """All but the shape that decides a program's code: this droplab's lines, PyTorch, the processor."""
    package = resources.files("droplab")
    lines = "".join(package.joinpath(name).read_text("utf-8") for name in _SOURCES)
    return [hashlib.sha256(lines.encode()).hexdigest(), torch.__version__, *sorted(cpu_flags())]


def _part(program: Program, process: int) -> Path:
    """Where the compiler of that process number writes the program."""
    return program.path.with_name(f"{program.path.stem}.{process}.so")


def _end(group: int) -> None:
    """End a compiler and all that it started; g++ removes what is half-written if it is asked before."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        time.sleep(_POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)


def _end_with_parent(part: Path) -> None:
    """End this process and all that it has started with its parent: standard input is a pipe that ends then."""
    os.read(sys.stdin.fileno(), 1)
    part.unlink(missing_ok=True)
    _end(os.getpid())


def _compile(program: Program) -> None:
    """Write the program to its path, whole or not at all."""
    import torch._inductor

    torch.set_num_threads(1)
    layers, velocities, inputs = program.example()
    tensors = (*(part for layer in (*layers, *velocities) for part in layer), *inputs.tensors())
    dynamic = program.dynamic(2 * (len(layers) + len(velocities)))
    module = _Module(len(layers), len(velocities), inputs, program.precision)
    part = _part(program, os.getpid())
    with torch.no_grad():
        exported = torch.export.export(module, tensors, dynamic_shapes=(tuple(dynamic),))
        options = {"aot_inductor.output_path": str(part)}
        made = torch._inductor.aot_compile(exported.module(), tensors, options=options)
    _runner(str(made))  # a library that cannot be loaded is none
    Path(str(made)).replace(program.path)


if __name__ == "__main__":
    _wanted = json.loads(sys.argv[1])
    _program = Program(**(_wanted | {"sizes": tuple(_wanted["sizes"])}))
    threading.Thread(target=_end_with_parent, args=(_part(_program, os.getpid()),), daemon=True).start()
    _compile(_program)
