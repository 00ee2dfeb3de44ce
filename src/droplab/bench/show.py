"""The result of `droplab bench`, as text of at most 80 columns and as JSON.

The JSON file holds one object:

- `schema`: 1.
- `command`, `started` (UTC, ISO 8601), `seconds`: of the whole command.
- `machine`: `droplab`, `torch`, `python`, `system`, `threads` of the plain program, `cores`, `devices` (kind → name),
  `bf16_units` of the CPU, `load` of the last minute before the first turn (null where the system does not tell).
- `case`: `name`, `title`, `data`, `training_examples`, `features`, `batch_size`, `rival_epochs` and `rival_copies`
  (what other programs train of each network in a turn), `copies` (how often each network counts).
- `comparisons`: a list; each has
  - `group`, `networks` (each `widths` and `dropout`), `device`, `precision`, `workers`, `epochs`, `seeds`;
  - `programs`: key → title of the other programs;
  - `ratios`: `training` and `study`, each program → `median`, `least`, `most` over the turns: how many times as fast;
  - `roofline`: `operations` (of an epoch), `operations_a_second` (of the products alone, on one core or the GPU),
    `share` (of droplab's training time that the products alone would take), these two as `ratios`; `products`: each
    with `kind`, `rows`, `inner`, `columns`, `precision` and the `seconds` of every turn;
  - `framework_memory_bytes`: of a process that only uses PyTorch, or null;
  - `turns`: in their order, each with the seconds an epoch of the group: `rivals` (program → seconds), `training`,
    `study`, and `products` on one core or the GPU; and as measured, in seconds: `alone` (`seconds` of training over the
    workers, `start_up`, `memory`: null or `peak` and `shared` in bytes) and `whole` (`seconds` of the clock, `workers`,
    `networks`, and summed over workers `training`, `evaluation`, `start_up`, `idle`, `own`); `elsewhere`: share of the
    cores that other processes took while the other programs trained, or null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from droplab.bench.cases import Case
from droplab.bench.comparison import Comparison, Spread
from droplab.data.disk import write_atomically

LOUD = 0.05
"""Share of the cores in other hands from which on a measurement is not to be trusted: it slows several threads most."""

_TITLE, _SECONDS, _RATIO = 32, 10, 18  # columns


def to_json(
    case: Case, comparisons: Sequence[Comparison], about: dict[str, Any], data: dict[str, Any]
) -> dict[str, Any]:
    """Everything measured, as the module says.

    Args:
        case: what was trained.
        comparisons: what came of it.
        about: `command`, `started`, `seconds`, `machine`.
        data: `training_examples`, `features`.
    """
    said = {
        "name": case.name,
        "title": case.title,
        "data": case.data,
        **data,
        "batch_size": case.batch_size,
        "rival_epochs": case.rival_epochs,
        "rival_copies": case.rival_copies,
        "copies": case.copies,
    }
    return {"schema": 1, **about, "case": said, "comparisons": [_comparison(each) for each in comparisons]}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the file whole or not at all.

    Raises:
        DataError: if it cannot be written.
    """
    with write_atomically(path) as handle:
        handle.write((json.dumps(content, indent=1) + "\n").encode())


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "group": one.group.name,
        "networks": [{"widths": net.widths, "dropout": net.dropout} for net in one.group.networks],
        "device": one.way.device,
        "precision": one.way.precision,
        "compiled": one.way.compiled,
        "workers": one.workers,
        "epochs": one.epochs,
        "seeds": one.seeds,
        "programs": one.titles,
        "ratios": {
            "training": {key: one.training_ratio(key)._asdict() for key in one.titles},
            "study": {key: one.study_ratio(key)._asdict() for key in one.titles},
        },
        "roofline": {
            "operations": one.operations,
            "operations_a_second": one.product_rate()._asdict(),
            "share": one.roofline_share()._asdict(),
            "products": [
                product._asdict() | {"seconds": [turn.timed[product] for turn in one.turns]}
                for product in dict.fromkeys(one.products)
            ],
        },
        "framework_memory_bytes": one.framework.peak if one.framework else None,
        "turns": [
            {
                "rivals": turn.rivals,
                "training": turn.training,
                "study": turn.study,
                "products": turn.products,
                "elsewhere": turn.elsewhere,
                "alone": asdict(turn.alone) | {"memory": turn.alone.memory and turn.alone.memory._asdict()},
                "whole": asdict(turn.whole) | {"own": turn.whole.own},
            }
            for turn in one.turns
        ],
    }


def report(case: Case, comparisons: Sequence[Comparison], about: dict[str, Any], data: dict[str, Any]) -> Iterator[str]:
    """The lines to print; arguments as `to_json`. A line that begins a section is not indented."""
    yield from _heading(case, comparisons, about, data)
    for one in comparisons:
        yield from _section(one)
    known = [turn.elsewhere for one in comparisons for turn in one.turns if turn.elsewhere is not None]
    if known and max(known) > LOUD:
        yield ""
        yield f"Not to be trusted: other processes took up to {100 * max(known):.0f} % of the cores."
        yield "  Programs of several threads suffer most, so the ratios are too high."
        yield "  Measure again when the machine is quiet."


def _heading(
    case: Case, comparisons: Sequence[Comparison], about: dict[str, Any], data: dict[str, Any]
) -> Iterator[str]:
    """What was compared, where, and what a turn was."""
    machine = about["machine"]
    units = ", ".join(machine["bf16_units"]) or "none"
    yield f"droplab bench {case.name}: {case.title}"
    yield f"  data      {case.data}, {data['training_examples']:,} × {data['features']}; batch {case.batch_size}"
    yield f"  machine   {'; '.join(machine['devices'].values())}; {machine['cores']} cores, bf16 units: {units}"
    yield f"  versions  droplab {machine['droplab']}, PyTorch {machine['torch']}, Python {machine['python']}"
    first = comparisons[0]
    epochs = _count(min(case.rival_epochs, first.epochs), "epoch")
    which = "each network" if case.rival_copies == case.copies else f"{case.rival_copies} of {first.networks} networks"
    label = _count(len(first.turns), "turn")
    devices = {one.way.device: one for one in comparisons}
    threads = f", {machine['threads']} threads" if "cpu" in devices else ""
    yield f"  {label:8}  others: {epochs} of {which}, one after another{threads}"
    for device, one in devices.items():
        workers = f", {_count(one.workers, 'worker')} of one thread" if device == "cpu" else ""
        yield f"{'':12}droplab on {device}: {_count(one.epochs, 'epoch')} × {_count(one.seeds, 'seed')}{workers}"


def _section(one: Comparison) -> Iterator[str]:
    """One comparison: a table of programs, and what explains it."""
    together = f"{one.networks} networks together" if one.networks > 1 else "one network"
    yield ""
    yield f"{one.group.name}: {together}; droplab in {one.way.precision} on {one.way.device}{_way(one)}"
    yield f"{'':{_TITLE + 2}}{'seconds':>{_SECONDS}}{'droplab trains':>{_RATIO}}{'its study runs':>{_RATIO}}"
    yield f"{'':{_TITLE + 2}}{'an epoch':>{_SECONDS}}{'times as fast':>{_RATIO}}{'times as fast':>{_RATIO}}"
    seconds = {title: [turn.rivals[key] for turn in one.turns] for key, title in one.titles.items()}
    seconds["droplab, training alone"] = [turn.training for turn in one.turns]
    seconds[f"droplab, study of {_count(one.epochs, 'epoch')}"] = [turn.study for turn in one.turns]
    ratios = {title: (one.training_ratio(key), one.study_ratio(key)) for key, title in one.titles.items()}
    digits = 3 if min(map(min, seconds.values())) >= 0.01 else 5
    for title, values in seconds.items():
        beside = "".join(f"{_spread(ratio):>{_RATIO}}" for ratio in ratios.get(title, ()))
        yield f"  {title:{_TITLE}}{Spread.of(values).median:{_SECONDS}.{digits}f}{beside}"
    yield ""
    yield from _roofline(one)
    yield from _study(one)
    yield from _memory(one)


def _way(one: Comparison) -> str:
    """How its steps are executed."""
    if one.way.device == "cuda":
        return ", recorded"
    return ", " + ("compiled" if one.way.compiled else "uncompiled")


def _roofline(one: Comparison) -> Iterator[str]:
    unit = "a core" if one.way.device == "cpu" else "on the GPU"
    rate, work = one.product_rate().median / 1e12, one.operations / 1e9
    yield f"  roofline  {_share(one.roofline_share())} of the speed of the matrix products alone,"
    yield f"            {work:,.{0 if work >= 100 else 2}f} GFLOP an epoch at {rate:.3g} TFLOP/s {unit}"


def _study(one: Comparison) -> Iterator[str]:
    """Where a study's time goes, and how long it takes to begin."""
    wholes = [turn.whole for turn in one.turns]
    total = sum(whole.seconds * whole.workers for whole in wholes)
    percent = {name: f"{100 * sum(getattr(whole, name) for whole in wholes) / total:.0f} %" for name in _PARTS}
    costs = [whole.own_a_network for whole in wholes if whole.own_a_network is not None]
    cost = f", {max(0.0, Spread.of(costs).median) * 1000:.0f} ms a network" if costs else ""
    seconds = Spread.of([whole.seconds for whole in wholes]).median
    yield f"  study     {seconds:.1f} s: " + ", ".join(
        f"{percent[part]} {part.replace('_', '-')}" for part in _PARTS[:3]
    )
    yield f"            {percent['idle']} idle at the end, {percent['own']} the runner's own{cost}"
    first, *later = (turn.alone.start_up for turn in one.turns)
    then = f", {Spread.of(later).median:.1f} s after that" if later else ""
    yield f"  start-up  {first:.1f} s in the first turn{then}"


_PARTS = ("training", "evaluation", "start_up", "idle", "own")


def _memory(one: Comparison) -> Iterator[str]:
    known = [turn.alone.memory for turn in one.turns if turn.alone.memory]
    if not known:
        return
    peak = max(known)
    if one.framework is None:
        yield f"  memory    {peak.peak / 1e6:,.0f} MB of the GPU at most"
        return
    above = (peak.peak - one.framework.peak) / 1e6
    yield f"  memory    a worker's peak is {peak.peak / 1e6:,.0f} MB, {above:,.0f} MB above PyTorch's own;"
    yield f"            {peak.shared / 1e6:,.0f} MB of them are the data, which all workers share"


def _spread(ratio: Spread) -> str:
    """`5.7 (5.4–6.5)`; one number after a single turn."""
    digits = 2 if ratio.most < 10 else 1 if ratio.most < 100 else 0
    if ratio.least == ratio.most:
        return f"{ratio.median:.{digits}f}"
    return f"{ratio.median:.{digits}f} ({ratio.least:.{digits}f}–{ratio.most:.{digits}f})"


def _share(share: Spread) -> str:
    """The same in percent."""
    median, least, most = (f"{100 * value:.0f}" for value in share)
    return f"{median} %" if least == most else f"{median} % ({least}–{most})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
