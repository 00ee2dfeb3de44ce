"""`droplab doctor`: what this machine has, and how fast it trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from droplab.cli import options

if TYPE_CHECKING:
    from droplab.study.backends import Site
    from droplab.study.backends.ray import Cluster
    from droplab.train.outcome import Way

STEPS = 20
"""Steps that the five-layer network is timed for."""

_TIMED = "784-512-256-128-64-10 with dropout, batch 1024, seconds an epoch of 50,000 examples:"


def doctor(
    store: options.StorePath = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask which data sources answer.")] = False,
    backend: options.Backend = "local",
    address: options.Address = None,
) -> None:
    """Show devices, precisions, speed, threads, folders and versions, and which data sources answer.

    Times the post's five-layer network with dropout on every device and in every precision that is there. With
    --backend ray it shows what a cluster has, and times the network on each of its nodes.

    Example: droplab doctor --offline
    """
    from droplab.study.backends import site_of

    site = site_of(backend, address)  # what is mistyped is said first
    for section in (_versions, lambda: _machines(site), lambda: _folders(store)):
        for line in section():
            typer.echo(line)
    if not offline:
        for line in _sources():
            typer.echo(line)


def _versions() -> Iterator[str]:
    from importlib.metadata import version

    from droplab.train.device import environment

    about = environment("cpu")
    yield f"droplab {about['droplab']}, Python {about['python']}, {about['system']}"
    names = ("torch", "numpy", "scikit-learn", "pandas", "altair", "SQLAlchemy", "safetensors")
    yield "versions: " + ", ".join(f"{name} {version(name)}" for name in names)


def _machines(site: Site) -> Iterator[str]:
    from droplab.study.backends.ray import Cluster

    yield from _cluster(site) if isinstance(site, Cluster) else _devices()


def _devices() -> Iterator[str]:
    import torch

    from droplab.study.limits import cores, free_memory, room_for_workers
    from droplab.train.device import cpu_flags, device_name

    units = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16"})
    yield f"cpu: {device_name('cpu')}, bf16 units: {', '.join(units) or 'none'}"
    yield (
        f"cores: {cores()} within this process's limits, each a worker of one thread in a study; "
        f"PyTorch's own threads: {torch.get_num_threads()}"
    )
    yield f"memory: {free_memory() / 1e9:.1f} GB free within them, room for {room_for_workers()} workers"
    cuda = torch.cuda.is_available()
    yield f"cuda: {device_name('cuda')}" if cuda else "cuda: none"
    yield _TIMED
    yield from _timed()


def _timed() -> list[str]:
    """The time of an epoch in each precision of each device of this machine, or of the node that this runs on."""
    import torch

    from droplab.train.device import has_bf16_units
    from droplab.train.outcome import Way

    lines = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for precision in ("fp32", "bf16") if has_bf16_units(device) else ("fp32",):
            threads = ", one thread" if device == "cpu" else ""
            lines.append(f"  {device} {precision}{threads}: {_seconds_an_epoch(Way(device, precision)):.3f}")
    return lines


def _cluster(site: Cluster) -> Iterator[str]:
    """What each node of a cluster has, and how fast it trains; one after another."""
    yield from site.notices
    for node in site.nodes:
        units = sorted(node.flags & {"amx_bf16", "avx512_bf16"})
        gpus = f", {node.gpus:.0f} GPUs: {node.gpu}" if node.gpus else ""
        yield (
            f"{node.host}, node {node.id[:8]}: {node.cpus:.0f} cores for tasks, {node.memory / 1e9:.1f} GB free, "
            f"{node.processor}, bf16 units: {', '.join(units) or 'none'}{gpus}"
        )
        yield _TIMED
        yield from site.ask(node, _timed)


def _seconds_an_epoch(way: Way) -> float:
    """Time of one epoch of MNIST's 49 steps, from `STEPS` steps on random pixels."""
    import torch

    from droplab.config import RunSettings, halving_widths
    from droplab.errors import TrainingError
    from droplab.train.examples import Examples, Part
    from droplab.train.loop import train_pack

    pixels = torch.randint(0, 256, (1024 * STEPS, 784), dtype=torch.uint8)
    part = Part(pixels, torch.randint(0, 10, (len(pixels),)), torch.arange(len(pixels)), 1 / 255)
    examples = Examples(part, part.first(64), part.first(64), 10).to(torch.device(way.device))
    settings = RunSettings(widths=halving_widths(5, 512), dropout=0.5, epochs=1, mc_samples=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_pack([settings], examples, way, lambda _: None)  # warms up
        trained = train_pack([settings], examples, way, lambda _: None)[0]
    finally:
        torch.set_num_threads(threads)
    if isinstance(trained, TrainingError):
        raise trained
    return trained.outcome.train_seconds / STEPS * 49


def _folders(store: str | None) -> Iterator[str]:
    from droplab.data.disk import cache_folder
    from droplab.errors import StoreError
    from droplab.study.location import database_at
    from droplab.study.store import Store

    yield f"data cache: {cache_folder()}"
    try:
        database = database_at(store)
        if not database.exists:
            yield f"store: {database.name}, not there yet"
            return
        with Store(store) as opened:
            yield f"store: {opened.name}, {opened.disk_use().runs} runs"
    except StoreError as error:
        yield f"store: {error}"


def _sources() -> Iterator[str]:
    from concurrent.futures import ThreadPoolExecutor

    from droplab.data.catalog import CATALOG
    from droplab.data.probe import probe
    from droplab.data.sources import describe

    asked = [(entry, source) for entry in CATALOG.values() for source in entry.sources]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = pool.map(lambda pair: probe(pair[1], pair[0].files[0].name), asked)
    yield "data sources:"
    for (entry, source), answer in zip(asked, answers, strict=True):
        yield f"  {entry.name}, {describe(source)}: {answer}"
