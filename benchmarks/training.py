"""Contests of training: droplab's steps, compiled or not, the matrix products alone, and the other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.cases import CASES, Case
from benchmarks.measure import Pack, packs_of, table_of, train, way_of, workers_of
from benchmarks.rivals import PlainTorch, Rival, Stacked, WithoutLoader
from benchmarks.roofline import step_products, time_products
from benchmarks.turns import Contest, Sample, total


@dataclass(frozen=True)
class Effort:
    """How much is done, and where.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        precision: of droplab: `auto`, `fp32` or `bf16`.
        epochs: that droplab trains a network in a turn; `None` for the case's own.
        seeds: of each network, for droplab; `None` for the case's copies, and at least one a worker.
        steps: droplab's: `compiled` (where they can be), `uncompiled`.
        against: of `RIVALS`.
    """

    device: str = "auto"
    precision: str = "auto"
    epochs: int | None = None
    seeds: int | None = None
    steps: Sequence[str] = ("compiled",)
    against: Sequence[str] = ("plain",)


def training(name: str, recipes: Sequence[str], effort: Effort, say: Callable[[str], None]) -> Iterator[Contest]:
    """A contest for each recipe and dropout rate, warmed up and compiled when it is given.

    Args:
        name: of the case.
        recipes: how; none for the case's own.
        effort: how much is done.
        say: told what is left out.
    """
    case = CASES[name]
    way = way_of(case.data, effort.device, effort.precision)
    others = []
    for one in effort.against:
        try:
            others.append(_program(one)(table_of(case.data), way.device, way.precision))
        except (ImportError, RuntimeError) as error:  # JAX alone may be missing, or have no such device
            say(f'{one} is left out: {error}; pip install -e ".[bench]" installs JAX for a CPU')
    for recipe in recipes or case.recipes:
        for dropout in case.dropouts:
            yield _contest(name, recipe, dropout, effort, others)


def _contest(name: str, recipe: str, dropout: float, effort: Effort, rivals: Sequence[Rival]) -> Contest:
    case = CASES[name]
    way, table = way_of(case.data, effort.device, effort.precision), table_of(case.data)
    epochs, seeds = effort.epochs or case.epochs, effort.seeds or max(case.copies, workers_of(way, 10**6))
    networks = case.networks(recipe, dropout, seeds, epochs)
    programs: dict[str, Callable[[], Sample]] = {}
    for how in effort.steps:
        packs = packs_of(networks, case.data, way, case.pack, how == "compiled")
        workers = workers_of(way, len(packs))
        programs[_title(packs[0])] = partial(_droplab, packs, case.data, workers, case.copies / seeds)
    examples, features = table.features.shape
    batch = min(case.batch_size, examples)
    sizes = [(features, *widths, table.classes) for widths in case.widths]
    products = [product for one in sizes for product in step_products(one, batch, way.precision)]
    stacked = len(packs[0][0]) if way.device == "cuda" else 1
    steps = examples / batch * case.copies
    programs["the products alone, torch." + ("mm" if stacked == 1 else "bmm")] = lambda: _products(
        time_products(products, way.device, workers, stacked) * steps, way.device, workers
    )
    for rival in rivals:
        programs[rival.title] = _rival(rival, case, recipe, dropout, min(epochs, case.rival_epochs))
    shapes = ", ".join("-".join(map(str, one)) for one in sizes)
    title = f"{name}, {recipe}, dropout {dropout:g}"
    about = f"{case.copies} × {shapes}" if case.copies > 1 else shapes
    own = f"{seeds} seed{'s' * (seeds > 1)}, {epochs} epoch{'s' * (epochs > 1)}, {workers} at once on {way.device}"
    what = f"{about}; {examples:,} examples, batch {batch}; droplab: {own}"
    return Contest(title, "an epoch", programs, case.copies * len(case.widths), what)


def _droplab(packs: Sequence[Pack], data: str, workers: int, share: float) -> Sample:
    return train(packs, data, workers).times(share)


def _products(seconds: float, device: str, workers: int) -> Sample:
    """So many seconds of one core or the GPU."""
    return Sample(seconds / workers, seconds if device == "cpu" else 0.0)


def _title(pack: Pack) -> str:
    networks, way = pack
    steps = "recorded" if way.device == "cuda" else "compiled" if way.compiled else "uncompiled"
    return f"droplab, {way.precision}, {steps}, {len(networks)} a pack"


def _rival(rival: Rival, case: Case, recipe: str, dropout: float, epochs: int) -> Callable[[], Sample]:
    """The program, warmed up; copies that are not timed take as long as those that are."""
    copies = case.pack if rival.side_by_side else case.rival_copies
    networks = case.networks(recipe, dropout, copies, epochs)
    shapes = [networks[first : first + copies] for first in range(0, len(networks), copies)]
    for shape in shapes:
        rival.warm_up(shape)
    return lambda: total(map(rival.train, shapes)).times(case.copies / copies / epochs)


def _program(name: str) -> type[Rival]:
    if name == "jax":
        from benchmarks.jax_program import Jax

        return Jax
    programs: dict[str, type[Rival]] = {"plain": PlainTorch, "tensors": WithoutLoader, "stacked": Stacked}
    return programs[name]
