"""`droplab bench`: how fast droplab is beside other programs, here and now."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from droplab.cli import options, outputs

BUSY = 0.25
"""Load a core, from which on a machine is not quiet."""

Preset = Annotated[str, typer.Argument(metavar="PRESET", help="post, five-layer, digits-100 or wide.")]


def bench(
    preset: Preset = "post",
    turns: Annotated[int, typer.Option(min=1, max=1000, help="How often each program has its turn.")] = 3,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=10**6, help="That droplab trains each network in a turn.", show_default="the preset's"),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Of each network, for droplab.", show_default="the preset's, at least one a worker"
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|cpu,cuda", help="Where all programs train.")] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|fp32,bf16", help="Of droplab; auto as a study has it.")
    ] = "auto",
    workers: options.Workers = None,
    against: Annotated[
        str | None, typer.Option(metavar="sklearn,jax", help="Other programs beside the plain one.")
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compiled/--uncompiled", help="Whether droplab's steps are compiled, as long studies have it."),
    ] = True,
    json: Annotated[
        Path | None, typer.Option(parser=outputs.path, metavar="FILE", help="Write everything measured there, too.")
    ] = None,
    force: outputs.Force = False,
) -> None:
    """Compare droplab with the plain PyTorch program, turn by turn in one run.

    PRESET is post (five depths, with dropout and without), five-layer, digits-100 (a hundred small networks of one
    shape) or wide (3 × 2048 units). Prints seconds an epoch of training alone and of the whole study, how many times
    as fast droplab is with the least and the most of all turns, its share of the roofline, start-up and memory.

    Example: droplab bench five-layer --turns 1 --against sklearn
    """
    from datetime import UTC, datetime

    from droplab.bench import show
    from droplab.bench.cases import find_case
    from droplab.bench.turns import Effort, check_rivals, compare
    from droplab.data.files import load_dataset
    from droplab.errors import ConfigError
    from droplab.study.backends import cores
    from droplab.study.plan import plan_way
    from droplab.train.device import resolve_way

    case = find_case(preset)
    rivals = _chosen("--against", against, ("sklearn", "jax")) if against is not None else ()
    pairs = dict.fromkeys(
        (resolve_way(one, each).device, each)  # before anything is fetched
        for one in _chosen("--device", device, ("auto", "cpu", "cuda"))
        for each in _chosen("--precision", precision, ("auto", "fp32", "bf16"))
    )
    check_rivals(rivals, [there for there, _ in pairs])
    if workers is not None and workers > cores():
        raise ConfigError(
            f"--workers must be at most the number of cores, {cores()}: more would only wait for one another; "
            f"found {workers}."
        )
    if json is not None:
        outputs.check_file(json, force, (), flag="--json")
    started = datetime.now(UTC)
    dataset = load_dataset(case.data, notify=_notice)
    ways = []
    for there, each in pairs:
        way, notices = plan_way(dataset, there, each)
        ways.append(way)
        for notice in notices:
            _notice(notice)
    ways = list(dict.fromkeys(ways))
    machine = _machine([way.device for way in ways])
    if machine["load"] and machine["load"] > BUSY * machine["cores"]:
        _notice(f"other programs keep this machine busy (load {machine['load']:.1f}): wait until it is quiet")
    effort = Effort(turns, epochs, seeds, workers, rivals, compiled)
    try:
        comparisons = compare(case, dataset, ways, effort, _notice)
    except KeyboardInterrupt:
        _notice("stopped: turns are compared when all are done; nothing is kept")
        raise typer.Exit(130) from None
    about = {
        "command": outputs.shown(shlex.join(["droplab", *sys.argv[1:]])),
        "started": started.isoformat(timespec="seconds"),
        "seconds": (datetime.now(UTC) - started).total_seconds(),
        "machine": machine,
    }
    training, _ = case.groups[0].networks[0].split_sizes(len(dataset.train_y))
    data = {"training_examples": training, "features": dataset.features}
    for line in show.report(case, comparisons, about, data):
        typer.echo(line if line[:1] in ("", " ") else typer.style(line, bold=True))
    if json is not None:
        show.write_json(json, show.to_json(case, comparisons, about, data))


def _chosen(flag: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The words of `a,b`, each once.

    Raises:
        ConfigError: if one is not known, or there is none.
    """
    from droplab.errors import ConfigError

    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not set(words) <= set(known):
        raise ConfigError(f"{flag} takes one or more of {', '.join(known)}, with commas between; found {text!r}.")
    return words


def _machine(devices: Iterable[str]) -> dict[str, Any]:
    """Where everything is measured."""
    from droplab.study.backends import cores
    from droplab.train.device import cpu_flags, device_name, environment

    about = environment("cpu")
    return {name: about[name] for name in ("droplab", "torch", "python", "system", "threads")} | {
        "cores": cores(),
        "devices": {device: device_name(device) for device in dict.fromkeys(("cpu", *devices))},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "bf16_units": sorted(cpu_flags() & {"amx_bf16", "avx512_bf16"}),
    }


def _notice(text: str) -> None:
    typer.echo(text, err=True)
