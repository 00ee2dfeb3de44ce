"""Where the networks of a study are trained: one contract, several places."""

from __future__ import annotations

from droplab.errors import ConfigError
from droplab.study.backends.base import Backend
from droplab.study.backends.in_process import InProcess
from droplab.study.backends.processes import LocalProcesses
from droplab.study.backends.site import Here, Site

__all__ = ["BACKENDS", "Backend", "Here", "InProcess", "LocalProcesses", "Site", "site_of"]

BACKENDS = ("local", "ray")
"""Names of places of training."""


def site_of(backend: str = "local", address: str | None = None) -> Site:
    """A place of training by its name.

    Args:
        backend: `local` for this machine, `ray` for a Ray cluster.
        address: of the cluster, `auto` or `ray://host:port`; `None` for the one that this machine is part of, or else
            a new one on this machine.

    Raises:
        ConfigError: if there is no such place, or an address is given for this machine.
        ClusterError: if Ray is not installed, or there is no cluster at the address.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"backend must be {' or '.join(BACKENDS)}; found {backend!r}.")
    if backend == "local":
        if address is not None:
            raise ConfigError(f"an address is that of a Ray cluster; found {address!r}. Say --backend ray, too.")
        return Here()
    from droplab.study.backends.ray import Cluster

    return Cluster(address)
