"""The step as one compiled program for the CPU: made once for a kind of network and kept between calls.

`train_step` is traced, with the gradient that autograd derives, into one flat list of tensor operations, of which
PyTorch's ahead-of-time compiler makes a shared library. Seeds, rates, strengths, learning rates, momenta, the number of
stacked networks and of examples are the program's inputs, so arms that differ in those alone share it, and every worker
process loads it in milliseconds. Compiling happens in a process of its own, `python -m droplab.train.program`.

R networks, B examples, F features, C classes.
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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from droplab.data.disk import cache_folder, sweep
from droplab.model.network import Network
from droplab.model.regularizers import plugins
from droplab.train.device import cpu_flags
from droplab.train.networks import Networks
from droplab.train.optimizers import ROWS, Optimizer
from droplab.train.step import Inputs, Step, plain_step, traced_step

_POLL_SECONDS = 0.1
_LEFT = re.compile(r"[0-9a-f]{64}\.(lock|[0-9]+\.so)")  # what is left of a compiler that was killed

_SOURCES = (
    "random.py",
    *(f"model/{name}.py" for name in ("activations", "losses", "network", "noise", "regularizers")),
    *(f"train/{name}.py" for name in ("networks", "optimizers", "program", "step")),
)


@dataclass(frozen=True)
class Program:
    """What a compiled step is made for.

    Attributes:
        network: what the networks compute.
        optimizer: how they are trained.
        features: dtype of the features as stored, `uint8` or `float32`.
        stacked: whether it takes several networks (2 or more), or exactly one.
        threads: that it runs on.
    """

    network: Network
    optimizer: Optimizer
    features: str
    stacked: bool
    threads: int = 1

    @classmethod
    def read(cls, text: str) -> Self:
        """What `text` wrote."""
        values: dict[str, Any] = json.loads(text)
        network: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.pop("network").items()
        }
        return cls(Network(**network), Optimizer(**values.pop("optimizer")), **values)

    @property
    def text(self) -> str:
        """All of it as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def path(self) -> Path:
        """Where it is kept: named by all that decides its code, the machine's instructions among it."""
        name = hashlib.sha256(json.dumps([self.text, _origin()]).encode()).hexdigest()
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
        command = [sys.executable, "-P", "-m", "droplab.train.program", self.text]
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

        def step(networks: Networks, inputs: Inputs) -> Tensor:
            if inputs.targets.shape[1] == 1 or (self.stacked and len(networks) == 1):
                return plain_step(networks, inputs)  # a program is for two of each or more
            made: Tensor = runner.run([*networks.flat, *inputs.tensors()])[0]
            return made

        return step

    def example(self) -> list[Tensor]:
        """Tensors of the program's shapes."""
        runs, examples = (8, 64) if self.stacked else (1, 1024)
        networks, of_classes = (
            Networks.blank(self.network, self.optimizer, range(runs)),
            self.network.output == "softmax",
        )
        inputs = Inputs(
            features=torch.zeros(runs, examples, self.network.sizes[0], dtype=getattr(torch, self.features)),
            targets=torch.zeros(runs, examples, dtype=torch.int64) if of_classes else torch.zeros(runs, examples, 1),
            scale=torch.ones(()),
            keys=torch.zeros(runs, dtype=torch.int64),
            numbers=torch.full((ROWS + self.network.rows, runs), 0.5),
        )
        # Strides as in use, each with memory of its own: what shares memory would be traced as one tensor.
        apart = [torch.empty_strided(part.shape, part.stride()).copy_(part) for part in networks.flat]
        return [*apart, *inputs.tensors()]

    def dynamic(self, state: int) -> list[dict[int, Any]]:
        """Which dimensions of `state` tensors of networks, and then of the inputs, change from call to call."""
        runs = {0: torch.export.Dim("runs", min=2, max=2**20)} if self.stacked else {}
        batch = runs | {1: torch.export.Dim("examples", min=2, max=2**31)}
        return [*[runs] * state, batch, batch, {}, runs, {1: runs[0]} if runs else {}]


@cache
def _runner(path: str) -> Any:
    """The library loaded: by the class below PyTorch's loaders, which would import the whole compiler (3 s, 80 MB)."""
    return torch._C._aoti.AOTIModelContainerRunnerCpu(path, 1)


@cache
def _origin() -> list[str]:
    """All but the shape that decides a program's code: this droplab's lines, PyTorch, the processor."""
    package = resources.files("droplab")
    lines = "".join(package.joinpath(name).read_text("utf-8") for name in _SOURCES)
    lines += "".join(Path(name).read_text("utf-8") for name in plugins())
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

    torch.set_num_threads(program.threads)
    tensors = program.example()
    part = _part(program, os.getpid())
    traced = traced_step(program.network, program.optimizer, tensors, symbolic=True)
    with torch.no_grad():
        dynamic = tuple(program.dynamic(len(tensors) - 5))
        exported = torch.export.export(traced, tuple(tensors), dynamic_shapes=dynamic)
        options = {"aot_inductor.output_path": str(part)}
        made = torch._inductor.aot_compile(exported.module(), tuple(tensors), options=options)
    _runner(str(made))  # a library that cannot be loaded is none
    Path(str(made)).replace(program.path)


if __name__ == "__main__":
    _program = Program.read(sys.argv[1])
    threading.Thread(target=_end_with_parent, args=(_part(_program, os.getpid()),), daemon=True).start()
    _compile(_program)
