"""From a study to its arms and runs: what has to be trained, decided before anything is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from droplab.config import (
    NUMERICS_VERSION,
    Recipe,
    RunSettings,
    StudySettings,
    mean_rate,
    regularizer_words,
    strength_words,
)
from droplab.errors import ConfigError
from droplab.model.regularizers import check, strengths_of
from droplab.study.axes import Axis, Level, study_axes
from droplab.train.outcome import Outcome, Way

if TYPE_CHECKING:
    from droplab.data.dataset import Dataset

CONTROL = "control"
"""What an arm is called whose networks are trained without the regularizers under comparison."""

MOST_ARMS = 10_000
"""Most arms of a study: more is a slip of the keyboard."""


@dataclass(frozen=True)
class Arm:
    """One setting under comparison.

    Attributes:
        name: what varies in the study: `depth=5,dropout=0.5`, or `depth=5,control`.
        widths: hidden widths.
        dropout: the rate this arm stands for, or one a hidden layer, 0 for a control. Without a hidden layer it cannot
            act.
        levels: its value on each axis of the study, in order; 0 or `control` where a control has none.
        place: where it stands but for its regularizers, as in `name`; empty where nothing else varies.
        trained: the regularizers that it is compared for, as in `name`; `control` without any.
        control: name of the arm that it is compared with; a control's own.
        recipe: all other settings.
    """

    name: str
    widths: tuple[int, ...]
    dropout: float | tuple[float, ...]
    levels: tuple[tuple[str, float | str], ...] = ()
    place: str = ""
    trained: str = CONTROL
    control: str = CONTROL
    recipe: Recipe = field(default_factory=Recipe)

    def __hash__(self) -> int:
        """By its name: arms are looked up again and again."""
        return hash(self.name)

    @property
    def depth(self) -> int:
        """Number of weight layers."""
        return len(self.widths) + 1

    @property
    def rate(self) -> float:
        """Its drop rate as one number, for tables and orders: the mean over the hidden layers."""
        return mean_rate(self.dropout)

    @property
    def is_control(self) -> bool:
        """Whether this arm is trained without the regularizers under comparison, by definition."""
        return self.name == self.control

    def settings(self, seed: int) -> RunSettings:
        """What its run with `seed` is trained by."""
        recipe = {name: getattr(self.recipe, name) for name in Recipe.model_fields}
        return RunSettings(**recipe, widths=self.widths, dropout=self.dropout, seed=seed)


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
        arms: in the order of tables: place by place, the control first.
        runs: each network once; those of a study with `until` that are not needed are never trained.
        numbers: which look at this study each of `settings.looks` is, from 1, where it was looked at before; empty for
            one that was not.
        numerics: the version that its runs are of.
    """

    settings: StudySettings
    fingerprint: str
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]
    numbers: tuple[int, ...] = ()
    numerics: int = NUMERICS_VERSION

    @property
    def look_numbers(self) -> tuple[int, ...]:
        """Which look each of `settings.looks` is, from 1."""
        return self.numbers or tuple(range(1, len(self.settings.looks) + 1))

    @property
    def identity(self) -> str:
        """Names the study by what is compared with what and how, whatever its seeds, so that a later look is known."""
        precision = self.runs[0].way.precision
        keys = {arm.name: arm.settings(0).content_key(self.fingerprint, precision, self.numerics) for arm in self.arms}
        asked: list[Any] = sorted((keys[arm.name], keys[arm.control]) for arm in self.arms)
        asked += [] if self.settings.metric == "accuracy" else [self.settings.metric]  # as older droplabs named it
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def looked_at(self, before: Sequence[tuple[int, ...]]) -> Plan:
        """The plan of a study that was looked at before.

        Args:
            before: the seeds of each look, sorted, in the looks' order.
        """
        later, numbers = len(before), []
        for look in self.settings.looks:
            seeds = tuple(sorted(self.settings.seeds[:look]))
            later += seeds not in before
            numbers.append(before.index(seeds) + 1 if seeds in before else later)
        return replace(self, numbers=tuple(numbers))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What varies."""
        return study_axes(self.settings)

    def control_of(self, arm: Arm) -> Arm:
        """The arm that `arm` is compared with."""
        return next(one for one in self.arms if one.name == arm.control)

    @property
    def distinct(self) -> tuple[Arm, ...]:
        """The arms without those whose networks are, all of them, an earlier one's: dropout without a hidden layer."""
        first = {arm: run.arms[0] for run in self.runs for arm in run.arms}
        return tuple(arm for arm in self.arms if first[arm] == arm)

    @property
    def twins(self) -> set[tuple[str, str]]:
        """The names of arms that the same runs serve, each pair both ways."""
        return {
            (arm.name, other.name) for run in self.runs if len(run.arms) > 1 for arm in run.arms for other in run.arms
        }

    def run_of(self, arm: Arm, seed: int) -> Run:
        """The run that serves `arm` with `seed`."""
        return next(run for run in self.runs if arm in run.arms and run.settings.seed == seed)


def study_arms(settings: StudySettings) -> tuple[Arm, ...]:
    """The arms of a study: every combination of what it varies, each control before the first arm that needs it.

    Raises:
        ConfigError: naming the arm whose settings cannot be.
    """
    axes = study_axes(settings)
    if math.prod(len(axis.levels) for axis in axes) > MOST_ARMS:
        raise ConfigError(f"a study may have {MOST_ARMS} arms; its axes have more combinations. Vary less at once.")
    arms: dict[str, Arm] = {}
    controls: dict[tuple[tuple[int, ...], Recipe], str] = {}
    for levels in product(*(axis.levels for axis in axes)):
        control = _arm(settings, axes, tuple(level.control() if level.regularizes else level for level in levels), "")
        same = controls.setdefault((control.widths, control.recipe), control.name)
        arms.setdefault(same, replace(control, control=same))
        if any(level.regularizes for level in levels):
            arm = _arm(settings, axes, levels, same)
            arms[arm.name] = arm
    return _controls_first(arms)


def _controls_first(arms: Mapping[str, Arm]) -> tuple[Arm, ...]:
    """The arms by their control's place, each control before those that are compared with it."""
    order = {name: place for place, name in enumerate(dict.fromkeys(arm.control for arm in arms.values()))}
    return tuple(sorted(arms.values(), key=lambda arm: (order[arm.control], not arm.is_control)))


def _arm(settings: StudySettings, axes: Sequence[Axis], levels: Sequence[Level], control: str) -> Arm:
    """The arm of a level an axis; `control` is the name of the arm that it is compared with, its own where empty."""
    words = {axis.name: level.label for axis, level in zip(axes, levels, strict=True) if level.label}
    compared = {axis.name for axis, level in zip(axes, levels, strict=True) if level.regularizes}
    place = ",".join(label for name, label in words.items() if name not in compared)
    trained = ",".join(label for name, label in words.items() if name in compared) or CONTROL
    name = ",".join(filter(None, (place, trained)))
    base = settings.architectures[0] if len(settings.architectures) == 1 else ()
    values: dict[str, Any] = {part: getattr(settings, part) for part in Recipe.model_fields}
    values |= {"widths": base, "dropout": 0.0}
    used = dict(settings.regularizers)
    for level in levels:
        values |= level.sets
        used |= level.regularizers
        if level.dropout is not None:
            values["dropout"] = level.dropout
    run = RunSettings.parse(values | {"regularizers": used}, f"arm {name}")
    check(run.regularizers, len(run.widths))
    return Arm(
        name=name,
        widths=run.widths,
        dropout=run.dropout if run.widths else values["dropout"],
        levels=tuple((axis.name, level.value) for axis, level in zip(axes, levels, strict=True)),
        place=place,
        trained=trained,
        control=control or name,
        recipe=Recipe(**{part: getattr(run, part) for part in Recipe.model_fields}),
    )


def plan_study(settings: StudySettings, fingerprint: str, way: Way, numerics: int = NUMERICS_VERSION) -> Plan:
    """Decide what `settings` needs trained on the data of `fingerprint`, and how.

    With an older version of `numerics`, the plan is of the runs that an older droplab trained.

    A network that serves several arms (dropout without a hidden layer) is planned once.

    Raises:
        ConfigError: if a regularizer is not known, or of a strength that cannot be, or an arm's settings cannot be.
    """
    arms = study_arms(settings)
    if settings.until is not None and all(arm.is_control for arm in arms):
        found = ", ".join(arm.name for arm in arms[:3])
        raise ConfigError(
            f"until={settings.until} needs arms to compare with their control; found {found}. Give dropout rates, or "
            "vary a regularizer."
        )
    names_only = any(not arm.is_control for arm in arms)
    axes = [
        axis for axis in study_axes(settings) if not axis.is_of_regularizers and not (names_only and axis.is_numeric)
    ]
    labels = [level.label for axis in axes for level in axis.levels]
    if settings.baseline is not None and settings.baseline not in labels:
        known = ", ".join(labels) or "there is none"
        raise ConfigError(
            f"baseline must be a level that others are compared with: {known}; found {settings.baseline!r}. Name one "
            "of these, or leave it out."
        )
    alike: dict[str, list[Arm]] = {}  # the arms of one network, by its key with the first seed
    for arm in arms:
        key = arm.settings(settings.seeds[0]).content_key(fingerprint, way.precision, numerics)
        alike.setdefault(key, []).append(arm)
    replicates = [_runs_of(tuple(serves), settings.seeds, fingerprint, way, numerics) for serves in alike.values()]
    runs = tuple(run for seed in zip(*replicates, strict=True) for run in seed)
    return Plan(settings, fingerprint, arms, runs, numerics=numerics)


def _runs_of(arms: tuple[Arm, ...], seeds: Sequence[int], fingerprint: str, way: Way, numerics: int) -> list[Run]:
    """The runs that serve some arms, seed by seed."""
    first = arms[0].settings(seeds[0])  # validated once for all
    keys = first.content_keys(seeds, fingerprint, way.precision, numerics)
    return [Run(key, run, way, arms) for key, run in zip(keys, first.with_seeds(seeds), strict=True)]


def plan_refit(plan: Plan, arm: Arm, outcomes: Mapping[str, Outcome]) -> tuple[Run, ...]:
    """The finished networks of an arm, seed by seed, trained on all training examples, those of valid among them.

    Args:
        plan: the study's.
        arm: what valid chose.
        outcomes: of the study's runs by content key; a run that is not finished is not trained again.
    """
    return tuple(
        Run(settings.content_key(plan.fingerprint, run.way.precision, plan.numerics), settings, run.way, run.arms)
        for run in plan.runs
        if arm in run.arms and run.key in outcomes
        for settings in (refit_settings(run.settings, outcomes[run.key]),)
    )


def refit_settings(settings: RunSettings, outcome: Outcome) -> RunSettings:
    """The settings of a network trained again on train and valid together: early stopping becomes the epochs it chose.

    Schedules keep the length that they had.
    """
    used = dict(settings.regularizers)
    patience = used.pop("early_stopping", None)
    changed: dict[str, Any] = {"valid_fraction": 0.0}
    if patience is not None:
        done = len(outcome.curves.train_loss)
        waited = math.ceil(max(strengths_of(patience))) if done < settings.epochs else 0  # kept by no older droplab
        changed |= {"regularizers": used, "epochs": outcome.best_epoch or max(1, done - waited)}
        if settings.schedule != "constant":
            changed["schedule_epochs"] = settings.schedule_epochs or float(settings.epochs)
        if settings.momentum_schedule != "constant":
            changed["momentum_epochs"] = settings.momentum_epochs or float(settings.epochs)
    return settings.model_copy(update=changed)


def plan_way(
    dataset: Dataset,
    device: str = "auto",
    precision: str = "auto",
    resolve: Callable[[str, str], Way] | None = None,
) -> tuple[Way, list[str]]:
    """Decide how runs on `dataset` are executed.

    `auto` means bf16 where the device has matrix units for it and the features are bytes, whose 256 values bf16 keeps
    apart; it would round `float32` features to 8 bits.

    Args:
        dataset: the data.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `fp32` or `bf16`.
        resolve: what there is where they are trained, `Site.resolve`; `None` for this machine.

    Returns:
        The way, and what the user must know of it.

    Raises:
        DeviceError: if what is asked for is not there.
    """
    from droplab.train.device import resolve_way  # imports PyTorch, which nothing else here needs

    way = (resolve or resolve_way)(device, precision)
    if precision != "auto":
        return way, []
    if way.precision == "fp32":
        return way, [f"fp32: this {way.device} has no bf16 matrix units"]
    if dataset.train_x.dtype != "uint8":
        reason = "fp32: the features are float32, and bf16 would round them to 8 bits; --precision bf16 does so"
        return replace(way, precision="fp32"), [reason]
    return way, []


def plan_run(settings: RunSettings, fingerprint: str, way: Way) -> Run:
    """A single network, outside any study.

    Raises:
        ConfigError: if it asks for a regularizer that is not known, or of a strength that cannot be.
    """
    check(settings.regularizers, len(settings.widths))
    dropout = f"dropout={strength_words(settings.dropout)}" if settings.dropout else ""
    name = "+".join(filter(None, (dropout, regularizer_words(settings.regularizers)))) or CONTROL
    recipe = Recipe(**{part: getattr(settings, part) for part in Recipe.model_fields})
    arm = Arm(name, settings.widths, settings.dropout, trained=name, control=name, recipe=recipe)
    return Run(settings.content_key(fingerprint, way.precision), settings, way, (arm,))
