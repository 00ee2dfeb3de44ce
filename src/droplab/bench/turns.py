"""The turns: every program trains once in each, so that what the machine does besides meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from droplab.bench.cases import Case, Group
from droplab.bench.comparison import Comparison
from droplab.bench.jax_program import Jax, jax_device
from droplab.bench.measure import packs_of, plan, run_study, train_alone, workers_for
from droplab.bench.memory import framework_memory
from droplab.bench.rivals import PlainTorch, Rival, ScikitLearn, Table
from droplab.bench.roofline import Product, step_products, time_products
from droplab.data.dataset import Dataset
from droplab.errors import ConfigError
from droplab.study.backends import cores
from droplab.study.limits import watch_others
from droplab.train.examples import Examples
from droplab.train.outcome import Way


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        turns: how many there are.
        epochs: that droplab trains each network in a turn; `None` for the case's own.
        seeds: of each network, for droplab; `None` for the case's copies, and at least one a worker.
        workers: processes of droplab on a CPU; `None` for one a core.
        against: other programs than the plain one: `sklearn`, `jax`.
        compiled: whether droplab's steps are.
    """

    turns: int = 3
    epochs: int | None = None
    seeds: int | None = None
    workers: int | None = None
    against: tuple[str, ...] = ()
    compiled: bool = True


def compare(
    case: Case, dataset: Dataset, ways: Sequence[Way], effort: Effort, say: Callable[[str], None]
) -> list[Comparison]:
    """Let all programs have their turns, on one device after another.

    Args:
        case: what is trained.
        dataset: its data.
        ways: of droplab; the other programs train on their devices.
        effort: how much is done.
        say: told what every turn gave.

    Raises:
        ConfigError: if a program of `effort.against` is not installed.
        DeviceError: if it has no such device.
        TrainingError: if a network could not be trained.
        KeyboardInterrupt: if the user stopped it.
    """
    recipe = case.groups[0].networks[0]
    examples = Examples.of(dataset, recipe.valid_fraction, recipe.split_seed)
    found = []
    for device in dict.fromkeys(way.device for way in ways):
        there = [way for way in ways if way.device == device]
        found += _Bench(case, dataset, examples, there, effort).run(say)
    return found


class _Bench:
    """All that is compared on one device."""

    def __init__(self, case: Case, dataset: Dataset, examples: Examples, ways: Sequence[Way], effort: Effort) -> None:
        self.case, self.dataset, self.examples, self.effort = case, dataset, examples, effort
        precisions = [way.precision for way in ways]
        self.rivals = programs(examples, ways[0].device, precisions, effort.against)
        self.comparisons = [self._comparison(group, way) for group in case.groups for way in ways]
        self.packs = {
            (one.group, one.way): packs_of(one.runs, examples, one.workers, one.way.compiled)
            for one in self.comparisons
        }

    def run(self, say: Callable[[str], None]) -> list[Comparison]:
        """All turns; every program warms up before the first."""
        for rival in self.rivals.values():
            for group in self.case.groups:
                for settings in group.networks:
                    rival.warm_up(settings)
        for number in range(1, self.effort.turns + 1):
            timed: dict[Way, dict[Product, float]] = {}
            rivals: dict[str, dict[str, float]] = {}
            elsewhere: dict[str, float | None] = {}
            for comparison in self.comparisons:
                group, way = comparison.group, comparison.way
                if group.name not in rivals:
                    share = watch_others()
                    rivals[group.name] = {key: self._rival(rival, group) for key, rival in self.rivals.items()}
                    elsewhere[group.name] = share()
                if way not in timed:
                    timed[way] = self._products(way)
                packs, workers = self.packs[comparison.group, way], comparison.workers
                alone = train_alone(comparison.runs, packs, self.examples, workers)
                whole = run_study(comparison.runs, packs, self.dataset, workers)
                turn = comparison.add(rivals[group.name], alone, whole, timed[way], elsewhere[group.name])
                say(
                    f"turn {number} of {self.effort.turns}, {group.name} on {way.device}: "
                    f"{PlainTorch.title} {turn.rivals[PlainTorch.key]:.3f}, droplab {way.precision} "
                    f"{turn.training:.3f}, as a study {turn.study:.3f} s/epoch"
                )
        return self.comparisons

    def _comparison(self, group: Group, way: Way) -> Comparison:
        case, effort, train = self.case, self.effort, self.examples.train
        at_once = (effort.workers or cores()) if way.device == "cpu" else 1
        seeds = effort.seeds or max(case.copies, at_once)
        runs = plan(group.networks, effort.epochs or case.epochs, seeds, self.dataset, way)
        batch = min(case.batch_size, len(train))
        sizes = [(self.examples.features, *net.widths, self.examples.classes) for net in group.networks]
        return Comparison(
            group=group,
            way=replace(way, compiled=effort.compiled and way.device == "cpu"),
            titles={key: rival.title for key, rival in self.rivals.items()},
            runs=runs,
            workers=workers_for(runs, effort.workers),
            copies=case.copies,
            steps=len(train) / batch,
            products=[product for each in sizes for product in step_products(each, batch, way.precision)],
            framework=framework_memory(way.precision) if way.device == "cpu" else None,
        )

    def _rival(self, rival: Rival, group: Group) -> float:
        """Seconds an epoch of the group; copies that are not timed take as long as those that are."""
        case = self.case
        epochs = min(case.rival_epochs, self.effort.epochs or case.epochs)
        seconds = sum(
            rival.train(settings.model_copy(update={"epochs": epochs, "seed": seed}))
            for settings in group.networks
            for seed in range(case.rival_copies)
        )
        return seconds / epochs * case.copies / case.rival_copies

    def _products(self, way: Way) -> dict[Product, float]:
        """Seconds of every product of the case, as many at once as there are workers."""
        these = [comparison for comparison in self.comparisons if comparison.way == way]
        products = [product for comparison in these for product in comparison.products]
        on_gpu = way.device == "cuda"
        stacked = max(len(pack) for one in these for pack in self.packs[one.group, way]) if on_gpu else 1
        return time_products(products, way.device, these[0].workers, stacked)


def programs(examples: Examples, device: str, precisions: Sequence[str], against: Sequence[str]) -> dict[str, Rival]:
    """The plain program and those of `against`, by key; JAX in fp32 and in the precisions that droplab takes."""
    table = Table.of(examples)
    found: dict[str, Rival] = {PlainTorch.key: PlainTorch(table, device)}
    if "sklearn" in against and device == "cpu":
        found[ScikitLearn.key] = ScikitLearn(table, device)
    if "jax" in against:
        found |= {f"{Jax.key}-{p}": Jax(table, device, p) for p in dict.fromkeys(("fp32", *precisions))}
    return found


def check_rivals(against: Sequence[str], devices: Sequence[str]) -> None:
    """Raise unless each of the programs can train somewhere: all on every device, scikit-learn only on the CPU.

    Raises:
        ConfigError: if a program is not installed, or there is nothing for it to do.
        DeviceError: if it has no such device.
    """
    if "jax" in against:
        for device in devices:
            jax_device(device)
    if "sklearn" in against and "cpu" not in devices:
        raise ConfigError(
            f"--against sklearn needs the CPU, where alone it trains; found --device {','.join(devices)}. "
            "Add cpu, or leave sklearn out."
        )
