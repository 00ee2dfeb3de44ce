"""A Ray cluster for tests: its nodes are processes of this machine, and can be killed."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Self


class NoRayError(Exception):
    """Ray cannot be had here."""


class RayCluster:
    """A cluster inside a `with` block: a head without cores, where the driver is, and nodes of one core each.

    Args:
        nodes: how many.

    Raises:
        NoRayError: where Ray is not installed.
    """

    def __init__(self, nodes: int = 2) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            from ray.cluster_utils import Cluster
        except ImportError:
            raise NoRayError("needs Ray: pip install 'droplab[ray]'") from None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)  # which each node changes
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes: list[Any] = []
        for _ in range(nodes):
            self.add()

    @property
    def address(self) -> str:
        """Of its head."""
        return str(self._cluster.address)

    def add(self, **has: Any) -> Any:
        """Add a node."""
        self.nodes.append(self._cluster.add_node(num_cpus=1, **has))
        signal.signal(signal.SIGTERM, self._on_sigterm)
        return self.nodes[-1]

    def kill_node(self, node: Any) -> None:
        """End a node at once, as a machine that loses its power."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def training(self) -> list[int]:
        """The worker processes of its nodes that train a pack just now, as Ray names them."""
        nodes = {process.process.pid for node in self.nodes for process in node.all_processes["raylet"]}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in nodes and (folder / "cmdline").read_bytes().startswith(b"ray::_train_there"):
                    found.append(int(folder.name))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


def kill(pid: int) -> None:
    """End a process at once."""
    os.kill(pid, signal.SIGKILL)
