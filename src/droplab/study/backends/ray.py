"""Training on a Ray cluster: a pack is a task, and Ray decides where and when it runs.

The driver, which is the process of the study, alone writes to the store. While a task trains, it tells an actor on the
driver's node how far it is and hands it checkpoints; the driver takes these from there, and leaves there whether to
stop. A task whose worker or node has died is submitted again with its last checkpoint.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch

from droplab.config import RunSettings
from droplab.data.disk import write_atomically
from droplab.data.mapped import MappedFile
from droplab.errors import ClusterError, DeviceError, DroplabError, TrainingError
from droplab.model.regularizers import TABLE
from droplab.study.backends.base import Answer, Backend, OutOfMemoryError, Result, cramped, halves, train
from droplab.study.backends.site import Site
from droplab.study.limits import WORKER_MEMORY
from droplab.study.limits import free_memory as free_here
from droplab.study.packs import Pack, pack_name, pack_program
from droplab.study.plan import Run
from droplab.train.checkpoint import Checkpoint, Place
from droplab.train.device import cpu_flags, device_name, has_bf16_units, keep_freed_memory
from droplab.train.examples import Examples, Part, wrapped
from droplab.train.loop import StoppedError
from droplab.train.outcome import Way
from droplab.train.program import Program
from droplab.train.state import Progress

TELL_SECONDS = 0.5
"""How often a task tells how far it is, and hears whether to stop."""

PACK_SECONDS = 60.0
"""About how much work a pack has at most: so much is lost with a node that dies before its next checkpoint."""

DEATHS = 5
"""How often the worker of a pack may die, on nodes that live and without a checkpoint between, until it is given up."""

STOP_SECONDS = 8.0
"""How long tasks that are told to stop have for their step and a last checkpoint."""

_REACH_SECONDS = 10.0
_PROBE_SECONDS = 120.0
_WAIT_SECONDS = 0.2
_GPU_SHARE = 0.01  # of what asks a node what it has
_LOOK_SECONDS = 5.0  # between two looks at what the cluster has
_asked: list[str | None] = []  # the address that this process connected to, as it was given


class Node(NamedTuple):
    """What a node of a cluster has.

    Attributes:
        id: Ray's name for it.
        host: what the machine is called.
        cpus: that Ray may use; tasks take one each.
        gpus: likewise.
        memory: free, in bytes.
        gpu_memory: likewise of its GPU; 0 without one.
        versions: of droplab and PyTorch.
        processor: its name.
        flags: what the processor can do.
        gpu: the name of its GPU; empty without one.
        bf16: the kinds of device on which it has matrix units for bf16.
    """

    id: str
    host: str
    cpus: float
    gpus: float
    memory: float
    gpu_memory: float
    versions: dict[str, str]
    processor: str
    flags: frozenset[str]
    gpu: str
    bf16: frozenset[str]


class Cluster(Site):
    """A Ray cluster: the one at an address, or that this machine is part of, or else a new one on this machine.

    Args:
        address: `auto` or `ray://host:port`; `None` for whichever there is.

    Raises:
        ClusterError: if Ray is not installed, there is no cluster at the address, or its nodes cannot train alike.
    """

    most_seconds = PACK_SECONDS
    is_here = False

    def __init__(self, address: str | None = None) -> None:
        _connect(address)

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes that have something to train on, asked once.

        Raises:
            ClusterError: if there are none, or their versions are not this process's.
        """
        found = _probed()
        if not found:
            raise ClusterError("a cluster must have nodes with a CPU or GPU for tasks; found none. Add one: ray start.")
        mine = _versions()
        for node in found:
            if node.versions != mine:
                raise ClusterError(
                    f"all nodes must have {_words(mine)}, as this process has; found {_words(node.versions)} on "
                    f"{node.host}. Install the same there."
                )
        return found

    def resolve(self, device: str, precision: str) -> Way:
        """A GPU where nodes have them, and bf16 where all nodes that train have units for it."""
        if device not in ("auto", "cpu", "cuda"):
            raise DeviceError(f"device must be auto, cpu or cuda; found {device!r}.")
        if precision not in ("auto", "fp32", "bf16"):
            raise DeviceError(f"precision must be auto, fp32 or bf16; found {precision!r}.")
        on_gpu = any(node.gpus for node in self.nodes)
        if device == "cuda" and not on_gpu:
            raise DeviceError("device=cuda needs a node with a GPU; found none in the cluster. Use --device cpu.")
        chosen = "cuda" if on_gpu and device != "cpu" else "cpu"
        if useless := [node.host for node in self._training(chosen) if chosen == "cuda" and not node.gpu]:
            raise DeviceError(
                f"PyTorch must find the GPUs that a node has for Ray; it found none on {useless[0]}. Use --device cpu, "
                "or start that node with --num-gpus 0."
            )
        units = all(chosen in node.bf16 for node in self._training(chosen))
        if precision == "bf16" and not units:
            raise DeviceError(
                f"precision=bf16 needs bf16 matrix units on every node that trains; this cluster's {chosen} has none "
                "on some. Use --precision fp32."
            )
        return Way("cuda" if chosen == "cuda" else "cpu", "bf16" if units and precision != "fp32" else "fp32")

    @property
    def notices(self) -> list[str]:
        """What must be known of it."""
        kinds = sorted({node.processor for node in self.nodes})
        cores, gpus = sum(node.cpus for node in self.nodes), sum(node.gpus for node in self.nodes)
        count = f"{len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''}"
        has = f"training on {count} of a Ray cluster, with {cores:.0f} cores and {gpus:.0f} GPUs"
        if len(kinds) < 2:
            return [has]
        return [
            has,
            f"the cluster has {len(kinds)} kinds of processor ({', '.join(kinds)}): which of them trained a network "
            "may show in its last bits",
        ]

    def workers(self, way: Way, asked: int | None, runs: int) -> int:
        """As many as the cluster has cores, or GPUs."""
        return max(1, min(asked or _slots(way.device), runs))

    def memory(self, device: str, examples: Examples, workers: int) -> float:
        """The share of a core, or GPU, on the node that has least."""
        nodes = self._training(device)
        if device == "cuda":
            return min(node.gpu_memory for node in nodes)
        return min(node.memory / max(node.cpus, 1) for node in nodes) - WORKER_MEMORY

    def compiles(self) -> bool:
        """Where all processors can do the same, and what this one can."""
        return all(node.flags == cpu_flags() for node in self.nodes)

    def ask(self, node: Node, question: Callable[[], Any]) -> Any:
        """What a function says on a node, while nothing else is trained on one of its cores.

        Raises:
            ClusterError: if the node does not answer.
        """
        import ray

        wants = {"num_gpus": 1.0} if node.gpus else {"num_cpus": 1.0}
        asked = _remote(question, bool(node.gpus)).options(scheduling_strategy=_on(node.id), **wants)
        try:
            return ray.get(asked.remote(), timeout=_PROBE_SECONDS)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"{node.host} must answer; it says: {str(error).splitlines()[0]}.") from None

    def backend(self, way: Way, workers: int) -> Backend:
        """As the contract says; the cluster trains little work, too."""
        return OnRay(workers)

    def __exit__(self, *_: object) -> None:
        """Nothing: packs end with their execution, and a cluster that this process began ends with it."""

    def _training(self, device: str) -> list[Node]:
        return [node for node in self.nodes if (node.gpus if device == "cuda" else node.cpus)]


@dataclass(eq=False)
class _Task:
    """A pack under way: submitted under a number, again with another after a death.

    Attributes:
        node: that it is on, by Ray's name; empty before it has told.
        lost: the nodes on which its worker died since its last checkpoint.
    """

    number: int
    pack: Pack
    node: str = ""
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class OnRay(Backend):
    """Tasks of a cluster that this process is connected to.

    Attributes:
        most: packs that are trained at once.
    """

    most: int

    def execute(
        self,
        packs: Sequence[Pack],
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        stopping: Callable[[], bool],
        checkpoints: Callable[[str], Place] | None = None,
    ) -> Generator[Result, None, None]:
        """As the contract says."""
        if stopping():
            return
        job = _Job(examples, on_progress, notify, checkpoints)
        left = deque(_Task(-1, pack) for pack in packs)
        try:
            while (left or job.tasks) and not stopping():
                while left and len(job.tasks) < min(self.most, job.slots(left[0].pack[0].way)):
                    job.submit(left.popleft())
                for task, answer in job.heard(False):
                    if answer is None:
                        left.appendleft(task)
                    elif len(task.pack) > 1 and isinstance(answer[0], OutOfMemoryError):
                        notify(cramped(task.pack))
                        left.extend(_Task(-1, half) for half in halves(task.pack))
                    else:
                        yield task.pack, answer
            deadline = time.monotonic() + STOP_SECONDS
            while job.tasks and time.monotonic() < deadline:
                yield from ((task.pack, answer) for task, answer in job.heard(True) if answer)
        finally:
            job.end()


class _Job:
    """What one execution has on the cluster: the data, programs, the desk, and the tasks by what Ray calls them."""

    def __init__(
        self,
        examples: Examples,
        on_progress: Callable[[Run, Progress], None],
        notify: Callable[[str], None],
        checkpoints: Callable[[str], Place] | None,
    ) -> None:
        import ray

        self._on_progress, self._notify, self._checkpoints = on_progress, notify, checkpoints
        self.tasks: dict[Any, _Task] = {}
        self._by_number: dict[int, _Task] = {}
        self._looked, self._slots, self._most_cores = -math.inf, 0, 1
        self._examples, self._programs = examples, dict[Program, Any]()
        examples.check_files()
        self._data = ray.put(_flat(examples, by_path=_shares(examples.files)))
        context = ray.get_runtime_context()
        self._desk = _desk(context.get_job_id(), context.get_node_id())
        self._take(False)  # whatever an execution before has left there

    def slots(self, way: Way) -> int:
        """How many packs the cluster has room for just now."""
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked, before, self._slots = now, self._slots, _slots(way.device)
            self._most_cores = _most_cores()
            if not self._slots and before:
                self._notify("the cluster has no node left to train on; it is waited for one")
        return max(1, self._slots)

    def submit(self, task: _Task) -> None:
        """Have Ray train a pack, from its last checkpoint."""
        pack, way = task.pack, task.pack[0].way
        place = self._checkpoints(pack_name(pack)) if self._checkpoints else None
        task.number, task.node = next(_numbers), ""
        wants = {"num_gpus": 1.0} if way.device == "cuda" else {}
        cores = min(way.threads, max(self._most_cores, 1))
        reference = (
            _remote(_train_there, way.device == "cuda")
            .options(num_cpus=cores, **wants)
            .remote(
                task.number,
                [run.settings for run in pack],
                way,
                self._data,
                None if place is None else _Sent(place.name, place.read()),
                self._program(pack),
                self._desk,
            )
        )
        self.tasks[reference] = self._by_number[task.number] = task

    def heard(self, stop: bool) -> Iterator[tuple[_Task, Answer | None]]:
        """What has happened: packs with their answers, or `None` where a pack is to be submitted again.

        Args:
            stop: whether tasks are to leave after their step.

        Raises:
            TrainingError: if a pack's worker has died too often.
        """
        import ray

        done, _ = ray.wait(list(self.tasks), timeout=_WAIT_SECONDS)
        self._take(stop)
        for reference in done:
            task = self.tasks.pop(reference)
            del self._by_number[task.number]
            try:
                answer: Answer | None = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from None
            except ray.exceptions.RayError:
                self._died(task, stop)
                yield task, None
            else:
                if answer is not None:  # it has left after its step
                    yield task, answer

    def end(self) -> None:
        """Leave nothing of it on the cluster."""
        import ray

        with suppress(ray.exceptions.RayError):
            for reference in self.tasks:
                ray.cancel(reference, force=True)

    def _take(self, stop: bool) -> None:
        """Take what tasks have told; leave for them whether to stop."""
        import ray

        for number, node, progress, checkpoint in ray.get(self._desk.take.remote(stop)):
            if (task := self._by_number.get(number)) is None:  # of a worker that was taken for dead
                continue
            task.node = node
            if checkpoint is not None and self._checkpoints:
                with suppress(DroplabError):  # it costs the checkpoint, not the training
                    self._checkpoints(pack_name(task.pack)).write(checkpoint)
                    task.lost.clear()
            for one in progress:
                self._on_progress(task.pack[one.run], one)

    def _died(self, task: _Task, stop: bool) -> None:
        """Say that a task's worker died; raise if that has been too often on nodes that live.

        That a node is gone is known only seconds after its workers are.
        """
        import ray

        if stop:
            return
        task.lost.append(task.node)
        gone = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
        deaths = sum(node not in gone for node in task.lost)
        if deaths > DEATHS:
            raise TrainingError(
                f"workers must live through a training; those of one pack died {deaths} times, most likely for want of "
                "memory on their node. Everything finished is kept."
            )
        self._notify("a worker of the cluster died, or its node; another goes on with its pack")

    def _program(self, pack: Pack) -> tuple[Program, list[Any]] | None:
        """The compiled program of a pack, and what Ray calls its bytes: in a list, so that only who lacks it asks."""
        import ray

        if not pack[0].way.compiled:
            return None
        program = pack_program(pack, self._examples)
        if program not in self._programs:
            self._programs[program] = ray.put(program.path.read_bytes())
        return program, [self._programs[program]]


_numbers = itertools.count()  # of tasks, one for all executions of this process


@cache
def _remote(function: Callable[..., Any], on_gpu: bool = False) -> Any:
    """A function as tasks, which Ray sends to each worker once.

    Args:
        function: the function.
        on_gpu: whether a worker ends after it: CUDA keeps the GPU that it was begun with, and the next task may be
            given another.
    """
    import ray

    return ray.remote(max_calls=int(on_gpu), max_retries=0)(function)


@cache
def _desk(job: str, node: str) -> Any:
    """The desk of a connection to a cluster, one for all executions: it takes seconds to begin.

    Begun again by Ray if its process dies alone.

    Args:
        job: what Ray calls the connection.
        node: the driver's, which the study does not outlive.
    """
    import ray

    lives = {"max_restarts": -1, "max_task_retries": -1}
    return ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=_on(node), **lives).remote()


class _Desk:
    """Where tasks leave what they have to tell, and hear whether to stop: an actor."""

    def __init__(self) -> None:
        self.news: list[tuple[int, str, list[Progress], bytes | None]] = []
        self.stop = False

    def tell(self, number: int, node: str, progress: list[Progress], checkpoint: bytes | None) -> bool:
        """Leave what the task of that number has to tell; hear whether it is to stop."""
        self.news.append((number, node, progress, checkpoint))
        return self.stop

    def take(self, stop: bool) -> list[tuple[int, str, list[Progress], bytes | None]]:
        """Take what was left, and leave whether to stop."""
        self.stop = stop
        taken, self.news = self.news, []
        return taken


@dataclass
class _Sent:
    """The place of a checkpoint, on a worker: what the driver sent, and the way back to it."""

    name: str
    content: bytes | None
    send: Callable[[bytes], None] = field(default=lambda _: None, repr=False)

    def __reduce__(self) -> tuple[type[_Sent], tuple[str, bytes | None]]:
        return _Sent, (self.name, self.content)

    def read(self) -> bytes | None:
        """What the driver sent."""
        return self.content

    def write(self, content: bytes) -> None:
        """Send it to the driver, which keeps it."""
        self.send(content)


class _Told:
    """What a task tells the desk now and then, by a thread, and hears from it."""

    def __init__(self, desk: Any, number: int) -> None:
        import ray

        self._desk, self._number, self._node = desk, number, ray.get_runtime_context().get_node_id()
        self._latest: dict[int, Progress] = {}
        self._stop, self._over = threading.Event(), threading.Event()

    def progress(self, progress: Progress) -> None:
        """Keep how far a run is until it is told."""
        self._latest[progress.run] = progress

    def checkpoint(self, content: bytes) -> None:
        """Hand over a checkpoint."""
        self._tell(content)

    def stopping(self) -> bool:
        """Whether to stop."""
        return self._stop.is_set()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tell as long as the block lasts, and once at its end."""
        thread = threading.Thread(target=self._keep_telling, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _keep_telling(self) -> None:
        self._tell(None)
        while not self._over.wait(TELL_SECONDS):
            self._tell(None)
        self._tell(None)

    def _tell(self, checkpoint: bytes | None) -> None:
        import ray

        latest, self._latest = self._latest, {}
        with suppress(ray.exceptions.RayError):  # a desk that is gone: the driver is, or will ask for nothing more
            if ray.get(self._desk.tell.remote(self._number, self._node, list(latest.values()), checkpoint)):
                self._stop.set()


def _train_there(
    number: int,
    settings: list[RunSettings],
    way: Way,
    data: dict[str, Any],
    place: _Sent | None,
    program: tuple[Program, list[Any]] | None,
    desk: Any,
) -> Answer | None:
    """What becomes of a pack, on a worker; `None` if it was told to stop."""
    if lacking := {name for one in settings for name, _ in one.regularizers} - TABLE.keys():
        raise ClusterError(
            f"regularizers of your own must be known on every node; found no {', '.join(sorted(lacking))} on "
            f"{socket.gethostname()}. Set DROPLAB_PLUGINS there before `ray start`."
        )
    keep_freed_memory()
    told = _Told(desk, number)
    if program is not None:
        _have(*program)
    checkpoint = None
    if place is not None:
        place.send = told.checkpoint
        checkpoint = Checkpoint(place, way)
    with told.telling():
        try:
            examples = _examples_of(data).to(torch.device(way.device))
            return train(settings, examples, way, told.progress, checkpoint, told.stopping)
        except OutOfMemoryError as error:
            return [error] * len(settings)
        except StoppedError:
            return None


def _have(program: Program, references: list[Any]) -> None:
    """Have a compiled program in the cache of this node."""
    import ray

    if not program.path.exists():
        program.path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(program.path) as handle:
            handle.write(ray.get(references[0]))


def _flat(examples: Examples, by_path: bool) -> dict[str, Any]:
    """Examples as arrays, which Ray gives to all tasks of a node from one piece of shared memory, or as mapped files.

    Args:
        examples: on the CPU.
        by_path: whether what is mapped from a file is mapped from it on every node.
    """

    def told(part: Part) -> dict[str, Any]:
        names = ("features", "labels", "rows")
        kept = {name: part.files[name] if by_path and name in part.files else getattr(part, name) for name in names}
        return {name: one if isinstance(one, MappedFile) else one.numpy() for name, one in kept.items()} | {
            "scale": part.scale
        }

    valid = examples.valid.rows.numpy()
    return {
        "train": told(examples.train),
        "valid": valid,
        "test": told(examples.test),
        "classes": examples.classes,
    }


def _examples_of(flat: dict[str, Any]) -> Examples:
    """The examples that `_flat` told of, over the same memory: nothing may write to them."""

    def part(told: dict[str, Any]) -> Part:
        files = {name: one for name, one in told.items() if isinstance(one, MappedFile)}
        features, labels, rows = (
            wrapped(told[name].map() if name in files else told[name]) for name in ("features", "labels", "rows")
        )
        return Part(features, labels, rows, told["scale"], files)

    train_part = part(flat["train"])
    return Examples(train_part, train_part.with_rows(wrapped(flat["valid"])), part(flat["test"]), flat["classes"])


def _shares(files: Sequence[MappedFile]) -> bool:
    """Whether every node has the same files at the same paths."""
    return bool(files) and all(_on_each_node(_has_files, list(files)).values())


def _has_files(files: list[MappedFile]) -> bool:
    try:
        for file in files:
            file.check()
    except DroplabError:
        return False
    return True


def _connect(address: str | None) -> None:
    """Connect this process to a cluster, unless it is connected.

    Raises:
        ClusterError: if that cannot be done.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray._private import worker
    except ImportError:
        raise ClusterError("--backend ray needs Ray; found none. Type: pip install 'droplab[ray]'") from None
    # Ray prints what dies on standard output, which is for answers; what matters of it is told by `_Job`.
    worker.print_to_stdstream = lambda *_, **__: None
    address = address or os.environ.get("RAY_ADDRESS") or None
    if ray.is_initialized():
        there = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", there, *_asked):
            raise ClusterError(
                f"a process can be connected to one Ray cluster; found address {address}, and this one at {there}. "
                "Type ray.shutdown() first, or leave the address out."
            )
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            _reach(address)
        with _same_handlers():
            ray.init(address or "auto", **quiet)
        _asked[:] = [address]
    except (OSError, ValueError, RuntimeError) as error:
        if address is not None:
            raise ClusterError(
                f"there must be a Ray cluster at {address}; found none: {' '.join(str(error).split())[:200]}. Start "
                "one with `ray start --head`, or leave --address out to have one on this machine; where it asks for a "
                "token, type: export RAY_AUTH_MODE=token"
            ) from None
        with _same_handlers():
            ray.init("local", include_dashboard=False, **quiet)


@contextmanager
def _same_handlers() -> Iterator[None]:
    """Have SIGTERM mean what it did before: Ray would end the process with its number as the exit code."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reach(address: str) -> None:
    """Raise `OSError` unless something listens there: Ray asks again and again, and never ends."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()


def _probed() -> list[Node]:
    """The nodes that can train, and what they say of themselves."""
    import ray

    there = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    answers = _on_each_node(_described)
    return [
        Node(name, cpus=there[name].get("CPU", 0.0), gpus=there[name].get("GPU", 0.0), **told)
        for name, told in answers.items()
        if there[name].get("CPU") or there[name].get("GPU")
    ]


def _on_each_node(ask: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function says on each node, by Ray's name of the node.

    Raises:
        ClusterError: if one does not answer.
    """
    import ray

    # Without a share of a GPU a task sees none.
    shares = {
        node["NodeID"]: _GPU_SHARE if node["Resources"].get("GPU") else 0.0 for node in ray.nodes() if node["Alive"]
    }
    references = {
        _remote(ask, share > 0)
        .options(num_cpus=0, num_gpus=share, scheduling_strategy=_on(name))
        .remote(*arguments): name
        for name, share in shares.items()
    }
    done, silent = ray.wait(list(references), num_returns=len(references), timeout=_PROBE_SECONDS)
    if silent:
        raise ClusterError(
            f"every node must answer; found {len(silent)} of {len(references)} that did not in {_PROBE_SECONDS:.0f} s. "
            "See `ray status`: a GPU that other tasks have is waited for."
        )
    answers = {}
    for reference in done:
        try:
            answers[references[reference]] = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            node = next(node for node in ray.nodes() if node["NodeID"] == references[reference])
            raise ClusterError(
                f"every node must have droplab and PyTorch; {node['NodeManagerHostname']} says: "
                f"{str(error.cause).splitlines()[0]}. Install the same there as here."
            ) from None
        except ray.exceptions.RayError:  # it has just gone
            continue
    return answers


def _described() -> dict[str, Any]:
    """What this node has."""
    on_gpu = torch.cuda.is_available()
    devices = ("cpu", "cuda") if on_gpu else ("cpu",)
    return {
        "host": socket.gethostname(),
        "memory": free_here(),
        "gpu_memory": float(torch.cuda.mem_get_info()[0]) if on_gpu else 0.0,
        "versions": _versions(),
        "processor": device_name("cpu"),
        "flags": cpu_flags(),
        "gpu": device_name("cuda") if on_gpu else "",
        "bf16": frozenset(device for device in devices if has_bf16_units(device)),
    }


def _versions() -> dict[str, str]:
    from droplab import __version__

    return {"droplab": __version__, "torch": torch.__version__}


def _words(versions: dict[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in versions.items())


def _slots(device: str) -> int:
    import ray

    return int(ray.cluster_resources().get("GPU" if device == "cuda" else "CPU", 0))


def _most_cores() -> int:
    """Those of the node that has most: more can be asked for by no task."""
    import ray

    return int(max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1))


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)
