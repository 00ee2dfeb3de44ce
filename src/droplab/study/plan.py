"""From a study to its arms and runs: what has to be trained, decided before anything is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from droplab.config import Recipe, RunSettings, StudySettings, regularizer_words
from droplab.data.dataset import Dataset
from droplab.model.families import check
from droplab.train.device import resolve_way
from droplab.train.outcome import Way


@dataclass(frozen=True)
class Arm:
    """One setting under comparison.

    Attributes:
        name: what varies in the study: `depth=5,dropout=0.5`, or `depth=5,control`.
        widths: hidden widths.
        dropout: the rate this arm stands for, 0 for a control. Without a hidden layer it cannot act.
    """

    name: str
    widths: tuple[int, ...]
    dropout: float

    @property
    def depth(self) -> int:
        """Number of weight layers."""
        return len(self.widths) + 1

    @property
    def is_control(self) -> bool:
        """Whether this arm is trained without the regularizer by definition."""
        return self.dropout == 0


@dataclass(frozen=True)
class Run:
    """One network to train, and the arms that it serves (two, where dropout cannot act)."""

    key: str
    settings: RunSettings
    way: Way
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Plan:
    """Everything a study needs trained.

    Attributes:
        settings: the study's.
        fingerprint: the data set's.
        arms: in the order of tables: by depth, then control, then rates.
        runs: each network once.
    """

    settings: StudySettings
    fingerprint: str
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]

    def run_of(self, arm: Arm, seed: int) -> Run:
        """The run that serves `arm` with `seed`."""
        return next(run for run in self.runs if arm in run.arms and run.settings.seed == seed)


def study_arms(settings: StudySettings) -> tuple[Arm, ...]:
    """The arms of a study, each architecture's control first."""
    several = len(settings.architectures) > 1
    rates = (0.0, *(rate for rate in settings.dropout if rate > 0))
    return tuple(
        Arm(_arm_name(len(widths) + 1 if several else None, rate), widths, rate)
        for widths in settings.architectures
        for rate in rates
    )


def plan_study(settings: StudySettings, fingerprint: str, way: Way) -> Plan:
    """Decide what `settings` needs trained on the data of `fingerprint`, and how.

    A network that serves several arms (dropout without a hidden layer) is planned once.

    Raises:
        ConfigError: if a regularizer is not known, or of a strength that cannot be.
    """
    for widths in settings.architectures:
        check(settings.regularizers, len(widths))
    recipe = settings.model_dump(include=set(Recipe.model_fields))
    arms = study_arms(settings)
    served: dict[str, tuple[RunSettings, list[Arm]]] = {}
    for seed in settings.seeds:
        for arm in arms:
            run = RunSettings(**recipe, widths=arm.widths, dropout=arm.dropout, seed=seed)
            key = run.content_key(fingerprint, way.precision)
            served.setdefault(key, (run, []))[1].append(arm)
    runs = tuple(Run(key, run, way, tuple(serves)) for key, (run, serves) in served.items())
    return Plan(settings, fingerprint, arms, runs)


def plan_refit(plan: Plan, arm: Arm) -> tuple[Run, ...]:
    """The networks of an arm, seed by seed, trained on all training examples, those of valid among them."""
    return tuple(
        Run(settings.content_key(plan.fingerprint, run.way.precision), settings, run.way, run.arms)
        for run in plan.runs
        if arm in run.arms
        for settings in (run.settings.model_copy(update={"valid_fraction": 0.0}),)
    )


def plan_way(dataset: Dataset, device: str = "auto", precision: str = "auto") -> tuple[Way, list[str]]:
    """Decide how runs on `dataset` are executed on this machine.

    `auto` means bf16 where the device has matrix units for it and the features are bytes, whose 256 values bf16 keeps
    apart; it would round `float32` features to 8 bits.

    Returns:
        The way, and what the user must know of it.

    Raises:
        DeviceError: if what is asked for is not there.
    """
    way = resolve_way(device, precision)
    if precision != "auto":
        return way, []
    if way.precision == "fp32":
        return way, [f"fp32: this {way.device} has no bf16 matrix units"]
    if dataset.train_x.dtype != np.uint8:
        reason = "fp32: the features are float32, and bf16 would round them to 8 bits; --precision bf16 does so"
        return replace(way, precision="fp32"), [reason]
    return way, []


def plan_run(settings: RunSettings, fingerprint: str, way: Way) -> Run:
    """A single network, outside any study.

    Raises:
        ConfigError: if it asks for a regularizer that is not known, or of a strength that cannot be.
    """
    check(settings.regularizers, len(settings.widths))
    also = regularizer_words(settings.regularizers)
    dropout = _arm_name(None, settings.dropout) if settings.dropout or not also else ""
    arm = Arm("+".join(filter(None, (dropout, also))), settings.widths, settings.dropout)
    return Run(settings.content_key(fingerprint, way.precision), settings, way, (arm,))


def _arm_name(depth: int | None, rate: float) -> str:
    regularizer = f"dropout={rate}" if rate else "control"
    return regularizer if depth is None else f"depth={depth},{regularizer}"
