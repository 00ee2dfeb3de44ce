"""Settings as frozen, validated data: a recipe, a run, a study; and a run's content key.

The names are the same in a TOML file, as a command-line flag and as a Python argument.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from droplab.errors import ConfigError, did_you_mean, nearest, no_such_file, reading
from droplab.presets import preset_names, read_preset, reproduction_names
from droplab.stats.measure import MEASURES, Measure

NUMERICS_VERSION = 3
"""Raised whenever the same settings would train to other bits; part of every content key."""

MOST_SEEDS = 10_000
"""Most replicates that a study may be given as a number: more is a slip of the keyboard."""

Count = Annotated[int, Field(ge=1, le=10**9)]
_FIRST_WIDTH = 512

Activation = Literal["relu", "logistic", "tanh", "gelu", "maxout"]
InitialWeights = Literal["pytorch", "he", "glorot", "fan_in"]
Optimizer = Literal["sgd", "classical", "nesterov", "adam", "adamw"]
DropoutScaling = Literal["training", "inference"]
Schedule = Literal["constant", "linear", "exponential", "inverse_time", "cosine", "flat_cosine"]
FALLING: tuple[Schedule, ...] = ("linear", "exponential", "cosine", "flat_cosine")
"""Schedules that end at `schedule_final`."""
MomentumSchedule = Literal["constant", "linear", "exponential"]
RecipeLoss = Literal["cross_entropy", "squared_error", "absolute_error", "huber", "poisson"]
Metric = Literal["accuracy", "nll", "balanced_accuracy", "f1", "rmse", "mae", "r2"]
Task = Literal["auto", "classification", "regression"]
ColumnKind = Literal["number", "category", "ignore"]
NumericEncoding = Literal["standard", "piecewise_linear"]
Strength = Annotated[float, Field(ge=0)]
Regularizers = tuple[tuple[str, Strength | tuple[Strength, ...]], ...]

Model = TypeVar("Model", bound=BaseModel)
Rate = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=1_000_000)]

TABULAR: dict[str, Any] = {
    "widths": (128, 128),
    "dropout": 0.125,
    "initial_weights": "he",
    "optimizer": "adam",
    "learning_rate": 0.005,
    "schedule": "flat_cosine",
    "batch_size": 128,
    "epochs": 32,
    "regularizers": {"early_stopping": 8},
}
"""A network for a table where nothing else is said; chosen on other tables than those of docs/results/tabular.md, as
decision 018 tells. A rate of 256ths takes half the random bytes of 0.15."""


def dropout_of(given: Any) -> float | tuple[float, ...]:
    """Dropout as typed: a rate of all hidden layers, or one a hidden layer; 0 if nothing is dropped in any.

    Raises:
        ValueError: if a rate is none.

    >>> dropout_of(0.5), dropout_of("0.2/0.5"), dropout_of([0.2, 0]), dropout_of([0, 0])
    (0.5, (0.2, 0.5), (0.2, 0.0), 0.0)
    """
    given = given.tolist() if hasattr(given, "tolist") else given  # an array, or a number of NumPy's
    parts = given.split("/") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    try:
        rates = tuple(math.nan if isinstance(part, bool) else float(part) + 0.0 for part in parts)  # without −0
    except (TypeError, ValueError, OverflowError):
        rates = (math.nan,)
    if not rates or not all(0 <= rate < 1 for rate in rates):
        raise ValueError("must be a rate in [0, 1), or one a hidden layer, as 0.2/0.5")
    return rates if len(rates) > 1 and any(rates) else rates[0]


Dropout = Annotated[Rate | tuple[Rate, ...], BeforeValidator(dropout_of)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

_LONGEST_STUDY = 1 << 16  # bytes
_LONGEST_LINE = 1 << 13  # bytes: keys with dots take memory by the square of their parts


class Validated(BaseModel):
    """Frozen data of which a changed copy is validated, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """The same with the values of `update` in their place; pydantic's own does not look at these.

        Raises:
            ConfigError: if they cannot be, alone or together.
        """
        copied = super().model_copy(deep=deep)
        return parse(type(self), dict(copied) | dict(update), "a changed copy") if update else copied


class Recipe(Validated):
    """How a network is trained, whatever its architecture.

    Attributes:
        epochs: passes over the training part.
        batch_size: examples a step; the last, smaller batch of an epoch is kept.
        learning_rate: step size of SGD.
        momentum: 0 is plain SGD; v ← m·v + g, w ← w − rate·v, as PyTorch has it.
        valid_fraction: share of the training examples that is held out for validation; 0 only for a single network,
            whose recipe is settled: a study chooses on valid.
        split_seed: scikit-learn's `random_state` of that stratified split.
        mc_samples: number of masks that inference mode `mc` averages over.
        activation: of the hidden layers.
        pieces: linear pieces of a maxout unit; of no effect elsewhere.
        initial_weights: `pytorch` (uniform ±1/√inputs, biases too), `he` (normal, sd √(2/inputs)), `glorot` (uniform
            ±√(6/(inputs + outputs))), `fan_in` (normal, sd 1/√inputs); biases of the last three are 0.
        dropout_scaling: when dropout's masks are made up for: in `training` by scaling up what is kept (inverted
            dropout, PyTorch's), or at `inference` by multiplying the weights behind a mask by the share kept, as the
            dropout papers have it. Learning rates, initial weights and bounds on norms mean other things with the one
            than with the other; the network that is kept is scaled in either. Without a mask it is `training`.
        optimizer: `sgd` with momentum as PyTorch has it; `classical`: v ← m·v − rate·g, w ← w + v, which differs where
            the rate changes; `nesterov` as PyTorch has it; `adam`; `adamw`, whose `weight_decay` is 0.01 unless given.
        beta_1: decay of Adam's first moment.
        beta_2: of its second.
        schedule: of the learning rate, by update: `linear` and `cosine` fall to `schedule_final` of it, `exponential`
            reaches that by equal factors, `flat_cosine` is constant in the first half and a cosine in the second,
            `inverse_time` is 1 / (1 + t / `schedule_epochs`).
        schedule_final: share of the learning rate that is left at the end of the schedule, and from then on.
        schedule_epochs: how long it lasts, in epochs; 0 for the whole training.
        warmup_epochs: epochs over which the learning rate first grows from 0.
        momentum_schedule: `linear` reaches `momentum_final` after `momentum_epochs`; `exponential` nears it by
            1 − e^(−t / `momentum_epochs`).
        momentum_final: where the momentum goes.
        momentum_epochs: how long, in epochs; 0 for the whole training.
        loss: what is minimized, penalties aside: `cross_entropy` where targets are classes; of numbers, standardized,
            `squared_error` (which stands in its place there), `absolute_error`, `huber` (squared up to residuals of one
            standard deviation, absolute beyond), or `poisson` (of counts, whose logarithm the network gives).
        regularizers: what else is used, by name, with its strength: `droplab regularizers` lists them. 0 is none.
        train_examples: how many of the training part are trained on, about the same share of each class; 0 for all.
            Smaller numbers take some of those that larger ones take.
    """

    epochs: Count = 400
    batch_size: Count = 1024
    learning_rate: float = Field(0.05, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    valid_fraction: float = Field(1 / 6, ge=0, lt=1)
    split_seed: Seed = 1
    mc_samples: Count = 20
    activation: Activation = "relu"
    pieces: Annotated[int, Field(ge=2, le=64)] = 5
    initial_weights: InitialWeights = "pytorch"
    dropout_scaling: DropoutScaling = "training"
    optimizer: Optimizer = "sgd"
    beta_1: Rate = 0.9
    beta_2: Rate = 0.999
    schedule: Schedule = "constant"
    schedule_final: float = Field(0.01, gt=0, le=1)
    schedule_epochs: float = Field(0.0, ge=0)
    warmup_epochs: float = Field(0.0, ge=0)
    momentum_schedule: MomentumSchedule = "constant"
    momentum_final: Rate = 0.95
    momentum_epochs: float = Field(0.0, ge=0)
    loss: RecipeLoss = "cross_entropy"
    regularizers: Regularizers = ()
    train_examples: Annotated[int, Field(ge=0, le=10**9)] = 0

    @field_validator("regularizers", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        return regularizer_pairs(value)

    @model_validator(mode="after")
    def _nothing_that_cannot_act(self) -> Self:
        """Every setting acts, or is at its default."""
        adam = self.optimizer in ("adam", "adamw")
        acts = {
            "pieces": self.activation == "maxout",
            "beta_1": adam,
            "beta_2": adam,
            "momentum": not adam,
            "momentum_schedule": not adam,
            "schedule_final": self.schedule in FALLING,
            "schedule_epochs": self.schedule != "constant",
            "momentum_final": self.momentum_schedule != "constant",
            "momentum_epochs": self.momentum_schedule != "constant",
        }
        for name, does in acts.items():
            if not does and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} does nothing with activation={self.activation}, optimizer={self.optimizer}, "
                    f"schedule={self.schedule}, momentum_schedule={self.momentum_schedule}; leave it out"
                )
        if self.optimizer in ("classical", "nesterov") and not self.momentum and self.momentum_schedule == "constant":
            raise ValueError(f"optimizer={self.optimizer} is a form of momentum; found momentum=0")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must not be true or false")
        return value

    def told(self) -> dict[str, Any]:
        """The settings worth telling: all but those that few use and that are at their defaults."""
        usual = {name for name in self._later() if getattr(self, name) == type(self).model_fields[name].default}
        words = {} if "regularizers" in usual else {"regularizers": regularizer_words(self.regularizers)}
        return self.model_dump(exclude=usual) | words

    @classmethod
    def _later(cls) -> set[str]:
        return _LATER & cls.model_fields.keys()

    def split_sizes(self, train_examples: int, own_valid: int = 0) -> tuple[int, int]:
        """How many of the training examples are trained on, and how many are held out, as scikit-learn rounds it.

        Args:
            train_examples: all of them.
            own_valid: how many of them are the data's own valid split, which any share above 0 holds out.
        """
        valid = (own_valid if self.valid_fraction else 0) or math.ceil(self.valid_fraction * train_examples)
        train = train_examples - valid
        return min(self.train_examples or train, train), valid

    @property
    def is_of_numbers(self) -> bool:
        """Whether targets are numbers, and not classes."""
        return self.loss != "cross_entropy"

    @property
    def usual(self) -> Measure:
        """The metric that is told of networks where none is asked for: accuracy, or of numbers RMSE."""
        return MEASURES["rmse" if self.is_of_numbers else "accuracy"]

    def for_targets(self, are_numbers: bool) -> Self:
        """These settings for data whose targets are classes, or numbers, whose loss is then none of classes.

        Raises:
            ConfigError: if a setting makes no sense there.
        """
        if not are_numbers:
            if self.is_of_numbers:
                raise ConfigError(
                    f"loss={self.loss} is for targets that are numbers; found classes. Leave it out, or say "
                    "task=regression."
                )
            return self
        if smoothing := [name for name, _ in self.regularizers if name in OF_CLASSES]:
            raise ConfigError(
                f"{', '.join(smoothing)} can act on classes alone; found numbers as targets. Leave it out, or say "
                "task=classification."
            )
        if self.is_of_numbers:
            return self
        self._check_not_given("loss")
        return self.model_copy(update={"loss": "squared_error"})

    def _check_not_given(self, name: str) -> None:
        """Raise `ConfigError` where a setting that is for classes, and stands for another by default, was given."""
        if name in self.model_fields_set:
            raise ConfigError(
                f"{name}={getattr(self, name)} is for classes; found numbers as targets. Leave it out, or say "
                "task=classification."
            )

    @classmethod
    def parse(cls, values: Mapping[str, Any], origin: str = "settings") -> Self:
        """Validate `values`, reporting every fault at once.

        Raises:
            ConfigError: naming each wrong setting, what was found, and the nearest name to an unknown one.
        """
        return parse(cls, values, origin)


_LATER = {
    "until",
    "budget",
    "metric",
    "activation",
    "pieces",
    "initial_weights",
    "dropout_scaling",
    "optimizer",
    "beta_1",
    "beta_2",
    "schedule",
    "schedule_final",
    "schedule_epochs",
    "warmup_epochs",
    "momentum_schedule",
    "momentum_final",
    "momentum_epochs",
    "regularizers",
    "train_examples",
    "vary",
    "target",
    "task",
    "loss",
    "test",
    "groups",
    "columns",
    "missing",
    "numeric_encoding",
}
"""Settings that few use. A content key leaves them out at their defaults, so that older results keep their keys."""


class RunSettings(Recipe):
    """One trained network: an architecture, its regularizers, a recipe and a seed.

    Attributes:
        widths: units of each hidden layer; empty for a linear classifier.
        dropout: drop probability on every hidden layer, or one a hidden layer (PyTorch's convention: the papers'
            retention is 1 − rate).
        seed: fixes initial weights, batch order and masks.
    """

    widths: tuple[Width, ...] = ()
    dropout: Dropout = 0.0
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _one_name_of_dropout(cls, values: Any) -> Any:
        return with_one_dropout(values)

    @field_validator("dropout")
    @classmethod
    def _as_many_rates_as_hidden_layers(cls, value: Any, info: ValidationInfo) -> Any:
        """A rate a layer where they differ; without a hidden layer there is none."""
        layers = len(info.data.get("widths", ()))
        if not layers or not isinstance(value, tuple):
            return value if layers else 0.0
        if len(value) != layers:
            raise ValueError(f"must be one rate, or one for each of {layers} hidden layers")
        return value if len(set(value)) > 1 else value[0]

    @property
    def rates(self) -> tuple[float, ...]:
        """The drop probability of each hidden layer."""
        return self.dropout if isinstance(self.dropout, tuple) else (self.dropout,) * len(self.widths)

    @property
    def depth(self) -> int:
        """Number of weight layers: hidden layers + 1."""
        return len(self.widths) + 1

    @model_validator(mode="after")
    def _no_scaling_without_a_mask(self) -> Self:
        if not (self.dropout or "input_dropout" in dict(self.regularizers)):
            object.__setattr__(self, "dropout_scaling", "training")  # frozen for all others
        return self

    @model_validator(mode="after")
    def _something_to_stop_on(self) -> Self:
        if not self.valid_fraction and "early_stopping" in dict(self.regularizers):
            raise ValueError("early_stopping needs valid examples; found valid_fraction=0")
        return self

    def told(self) -> dict[str, Any]:
        """As of any recipe; rates a hidden layer as they are typed."""
        return super().told() | ({"dropout": strength_words(self.dropout)} if isinstance(self.dropout, tuple) else {})

    def numerics_of(self, key: str, fingerprint: str, precision: str) -> int | None:
        """The numerics version of the run of that content key; `None` where it is none of these settings'."""
        versions = range(NUMERICS_VERSION, 0, -1)
        return next((one for one in versions if self.content_key(fingerprint, precision, one) == key), None)

    def content_key(self, fingerprint: str, precision: str, numerics: int = NUMERICS_VERSION) -> str:
        """Name of this run's result in the store: a hash of everything that decides its bits.

        Args:
            fingerprint: the data set's.
            precision: the resolved one, `fp32` or `bf16`.
            numerics: the version under which it was trained, 1 … `NUMERICS_VERSION`.
        """
        return next(self.content_keys([self.seed], fingerprint, precision, numerics))

    def content_keys(
        self, seeds: Iterable[int], fingerprint: str, precision: str, numerics: int = NUMERICS_VERSION
    ) -> Iterator[str]:
        """The content key with each of the seeds in the place of its own; arguments as of `content_key`."""
        settings = self.model_dump(mode="json", exclude=self._later() - self.told().keys()) | {"seed": None}
        if numerics < 3 and isinstance(self.dropout, tuple):  # which was a regularizer then
            settings |= {"dropout": 0.0, "regularizers": sorted([*self.regularizers, (BY_LAYER, self.dropout)])}
        content = {"settings": settings, "data": fingerprint, "precision": precision, "numerics": numerics}
        # All but the seed is hashed once. In no text of JSON's stands an open quotation mark, so the first is the one.
        before, _, after = json.dumps(content, sort_keys=True).partition('"seed": null')
        start = hashlib.sha256(before.encode())
        for seed in seeds:
            whole = start.copy()
            whole.update(f'"seed": {seed}{after}'.encode())
            yield whole.hexdigest()

    def with_seeds(self, seeds: Iterable[int]) -> Iterator[Self]:
        """The same settings with each of the seeds, which must be valid; a tenth of the time of `model_copy`."""
        named = self.__pydantic_fields_set__ | {"seed"}
        for seed in seeds:
            other = self.__class__.__new__(self.__class__)
            object.__setattr__(other, "__dict__", self.__dict__ | {"seed": seed})
            object.__setattr__(other, "__pydantic_fields_set__", named)
            object.__setattr__(other, "__pydantic_extra__", None)
            object.__setattr__(other, "__pydantic_private__", None)
            yield other


class StudySettings(Recipe):
    """A study: a data set, the networks, the dropout rates and the seeds.

    Attributes:
        name: names the output folder.
        question: what the study asks, one sentence.
        reference: name of the preset whose settings were published; what differs is said on screen and in the report.
        data: a name from the catalog, or a path that `data.files.load_dataset` takes.
        target: of a table, the column of the classes, or of numbers.
        task: whether targets are classes (`classification`) or numbers (`regression`). `auto` takes for numbers what
            has fractions, or whole numbers with many different values and few examples of each, and says so.
        test: of data without a test part, such data to test on by their path, or the share of the examples to test on.
        groups: of a table, a column whose values no split parts.
        columns: of a table, what columns are, by their names: `number`, `category`, or `ignore` to leave one out.
        missing: of a table, cells that say that a value is missing, as `?`.
        numeric_encoding: of a table, `standard` (or `None`) for numbers minus the mean, over the deviation;
            `piecewise_linear` for those in bins between quantiles, a feature each.
        depths: networks of L layers whose hidden widths halve from `first_width`: depth 3 is (512, 256).
        first_width: width of the first hidden layer of `depths`.
        widths: hidden widths of a single network, instead of `depths`.
        dropout: the rates under comparison, each for all hidden layers or one a hidden layer (`[[0.2, 0.5], 0.5]`);
            each network's control, rate 0, is always trained too.
        seeds: the replicates. A number n means 0 … n − 1.
        until: `decided` trains seeds only as far as verdicts need them, look by look; `best` as far as it takes to tell
            which arm is best on valid. `seeds` are then the most that an arm may have.
        budget: with `until`, the time after which no further look begins, as `90s`, `10m` or `1.5h`.
        vary: what else is compared, every combination of it: pairs of a name and its values. A name is that of a
            setting or of a regularizer, `width`, `regularizer`, or the study's own for a table of settings by name.
            `rate` and `depth` stand for `dropout` and `depths`. `0.1:0.9:0.2` is a range with both its ends.
        metric: what verdicts, the ranking and the choice on valid are about: `accuracy`, `nll` (of which less is
            better), `balanced_accuracy` or `f1` (the mean of the classes' F1); where targets are numbers `rmse` (which
            stands in the place of accuracy there), `mae` or `r2`.
        baseline: of what varies and is no regularizer, the level that the others are compared with, as arms name it:
            `optimizer=sgd`, or the name of the study's own level. `None` for the first of each.
    """

    name: str = Field("study", pattern=r"^\w[\w.-]*$")
    question: str = ""
    reference: str | None = None
    data: str = "mnist"
    target: str | None = None
    task: Task = "auto"
    test: str | None = None
    groups: str | None = None
    columns: tuple[tuple[str, ColumnKind], ...] = ()
    missing: tuple[str, ...] = ()
    numeric_encoding: NumericEncoding | None = None
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = ()
    first_width: Width = _FIRST_WIDTH
    widths: tuple[Width, ...] | None = None
    dropout: tuple[Dropout, ...] = (0.5,)
    seeds: tuple[Seed, ...] = (0,)
    until: Literal["decided", "best"] | None = None
    budget: str | None = None
    valid_fraction: float = Field(1 / 6, gt=0, lt=1)
    vary: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    baseline: str | None = None
    metric: Metric = "accuracy"

    @model_validator(mode="before")
    @classmethod
    def _rates_and_depths_have_settings(cls, values: Any) -> Any:
        """What varies as pairs; dropout's rates and depths, which have settings of their own, in these."""
        values = with_one_dropout(values, several=True)
        if not isinstance(values, Mapping) or not values.get("vary"):
            return values
        try:
            given = dict(values["vary"])
        except (TypeError, ValueError):
            raise ValueError(f"vary must be a table of names, each with its values; found {values['vary']!r}") from None
        axes = {str(name): level_values(str(name), each) for name, each in given.items()}
        changed = dict(values)
        for names, setting in ((("rate", "dropout", BY_LAYER), "dropout"), (("depth", "depths"), "depths")):
            found = [name for name in names if name in axes]
            if len(found) > 1:
                raise ValueError(f"vary: {' and '.join(found)} are names of one thing; leave one out")
            for name in found:
                changed[setting] = axes.pop(name)
                changed |= {"widths": None} if setting == "depths" else {}
        return changed | {"vary": tuple(axes.items())}

    @field_validator("columns", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        pairs = tuple(value.items()) if isinstance(value, Mapping) else value
        for pair in pairs if isinstance(pairs, tuple | list) else ():
            if isinstance(pair, tuple | list) and len(pair) == 2 and pair[1] not in get_args(ColumnKind):
                raise ValueError(f"column {pair[0]!r} must be {', '.join(get_args(ColumnKind))}, not {pair[1]!r}")
        return pairs

    @field_validator("missing", mode="before")
    @classmethod
    def _single_mark(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("test", mode="before")
    @classmethod
    def _share_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, float) else value

    @field_validator("depths", "widths", "seeds", mode="before")
    @classmethod
    def _numbers_as_text(cls, value: Any) -> Any:
        return whole_numbers(value) if isinstance(value, str) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_to_seeds(cls, value: Any) -> Any:
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            count = int(value)
            if not 1 <= count <= MOST_SEEDS:
                raise ValueError(f"a study needs at least one seed, and may have {MOST_SEEDS}")
            return tuple(range(count))
        return value

    @field_validator("dropout", mode="before")
    @classmethod
    def _single_rate(cls, value: Any) -> Any:
        return (value,) if isinstance(value, numbers.Real) and not isinstance(value, bool) else value

    @field_validator("depths", "dropout", "seeds")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("every value may stand once")
        return value

    @field_validator("reference")
    @classmethod
    def _known_reference(cls, value: str | None) -> str | None:
        if value is not None and value not in preset_names():
            raise ValueError(f"must be the name of a preset.{did_you_mean(value, preset_names())}".rstrip("."))
        return value

    @field_validator("seeds")
    @classmethod
    def _some_seed(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("a study needs at least one seed")
        return value

    @field_validator("budget", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        if value is not None:
            _seconds(value)
        return value

    @model_validator(mode="after")
    def _budget_of_looks(self) -> Self:
        if self.budget is not None and self.until is None:
            raise ValueError(f"budget belongs to until=decided or until=best; found budget={self.budget} alone")
        return self

    @model_validator(mode="after")
    def _one_kind_of_architecture(self) -> Self:
        if (self.widths is None) == (not self.depths):
            raise ValueError(
                "give either depths (networks with halving widths) or widths (one network); "
                f"found depths={list(self.depths)}, widths={self.widths and list(self.widths)}"
            )
        if self.widths is not None and self.first_width != _FIRST_WIDTH:
            raise ValueError(f"first_width belongs to depths, not to widths; found first_width={self.first_width}")
        if self.depths and self.first_width >> (max(self.depths) - 2 if max(self.depths) > 1 else 0) < 1:
            raise ValueError(
                f"depth {max(self.depths)} halves first_width={self.first_width} below one unit; "
                "use fewer layers or a larger first_width"
            )
        return self

    def for_targets(self, are_numbers: bool) -> Self:
        """As that of a recipe; the metric in question is then none of classes, either.

        Raises:
            ConfigError: likewise.
        """
        told = {one for name, values in self.vary for one in (name, *values) if isinstance(one, str)}
        if not are_numbers and (alone := OF_NUMBERS & told):
            raise ConfigError(f"vary: {min(alone)} can act on numbers alone; found classes as targets. Leave it out.")
        if are_numbers and (alone := OF_CLASSES & told):
            raise ConfigError(f"vary: {min(alone)} can act on classes alone; found numbers as targets. Leave it out.")
        metric = self.metric
        if are_numbers and metric == "accuracy":
            self._check_not_given("metric")
            metric = "rmse"
        if (metric in ("rmse", "mae", "r2")) != are_numbers:
            fits = "rmse, mae or r2" if are_numbers else "accuracy, nll, balanced_accuracy or f1"
            raise ConfigError(
                f"metric must be {fits} where targets are {'numbers' if are_numbers else 'classes'}; found {metric}."
            )
        fitting = super().for_targets(are_numbers)
        return fitting.model_copy(update={"metric": metric}) if metric != fitting.metric else fitting

    @property
    def measure(self) -> Measure:
        """The metric in question, with its direction, unit and margin."""
        return MEASURES[self.metric]

    @property
    def reading(self) -> dict[str, Any]:
        """How the data are read, as `data.files.load_dataset` takes it.

        A table's preprocessing is fitted without the study's own valid rows; where it varies their split, those of
        another have a part in it.
        """
        names = (
            "target",
            "task",
            "test",
            "groups",
            "columns",
            "missing",
            "numeric_encoding",
            "valid_fraction",
            "split_seed",
        )
        return {name: getattr(self, name) for name in names}

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many seeds verdicts are looked at: 3, 5, 8, 13 … with `until`, else after all of them."""
        most = len(self.seeds)
        if self.until is None:
            return (most,)
        looks, (seeds, following) = [], (3, 5)
        while seeds < most:
            looks.append(seeds)
            seeds, following = following, seeds + following
        return (*looks, most)

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds; infinite where there is none."""
        return math.inf if self.budget is None else _seconds(self.budget)

    @property
    def architectures(self) -> tuple[tuple[int, ...], ...]:
        """The hidden widths of each network of the study, in the order given."""
        if self.widths is not None:
            return (self.widths,)
        return tuple(halving_widths(depth, self.first_width) for depth in self.depths)

    def override(self, **values: Any) -> StudySettings:
        """These settings with the given ones in their place; `depths` and `widths` replace one another.

        Raises:
            ConfigError: as `parse`.
        """
        values = with_one_dropout(values, several=True)
        merged = self.model_dump(exclude_unset=True) | values  # what is not given stays so
        if values.get("vary"):
            merged["vary"] = dict(self.vary) | dict(values["vary"])
        if "depths" in values and "widths" not in values:
            merged["widths"] = None
        if values.get("widths") is not None:
            merged |= {"depths": (), "first_width": _FIRST_WIDTH} | values
        return StudySettings.parse(merged, self.name)

    def differences(self, other: StudySettings) -> dict[str, tuple[Any, Any]]:
        """What decides the networks and is not as in `other`: name → (here, there)."""
        mine, theirs = (
            one.model_dump() | {"regularizers": regularizer_words(one.regularizers)} for one in (self, other)
        )
        told = set(mine) - {"name", "question", "reference", "seeds", "until", "budget", "baseline", "metric"}
        return {name: (mine[name], theirs[name]) for name in mine if name in told and mine[name] != theirs[name]}


def _seconds(text: object) -> float:
    """A time as typed, in seconds.

    >>> _seconds("10m"), _seconds("1.5h")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)", str(text).strip())
    seconds = float(found[1]) * {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise ValueError("must be a time above 0, as 90s, 10m or 1.5h")
    return seconds


MOST_LEVELS = 1000
"""Most values that a study may vary something over: more is a slip of the keyboard."""

_LARGEST = 300
"""Largest power of ten of a number that something is varied over, and of its inverse."""


def level_values(name: str, given: Any) -> tuple[Any, ...]:
    """What something is varied over: a text with commas and ranges, a list, or a table of settings by name.

    Raises:
        ValueError: if a range does not go forward, or has too many values.

    >>> level_values("rate", "0.1:0.3:0.1,0.5"), level_values("activation", "relu,tanh")
    ((0.1, 0.2, 0.3, 0.5), ('relu', 'tanh'))
    """
    if isinstance(given, Mapping):
        return tuple({str(label): values} for label, values in given.items())
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
    found = tuple(value for part in parts for value in (_span(part) if isinstance(part, str) else [part]))
    if len(found) > MOST_LEVELS:
        raise ValueError(f"vary: {name} may have {MOST_LEVELS} values; found {len(found)}")
    return found


def _span(text: str) -> list[Any]:
    """`0.1:0.9:0.2` as numbers, both ends among them where a step meets them; a number as one; other text as it is."""
    try:
        numbers = [Decimal(part) for part in text.split(":")]
    except InvalidOperation:
        return [text.strip()]
    if not all(number.is_finite() and abs(number.adjusted()) <= _LARGEST for number in numbers if number):
        raise ValueError(f"vary: numbers must be finite, and neither huge nor tiny; found {text!r}")
    if len(numbers) > 1:
        first, last, step = (*numbers, Decimal(1))[:3]
        if len(numbers) > 3 or not step > 0 or last < first or (last - first) / step > MOST_LEVELS:
            raise ValueError(
                f"vary: a range is FIRST:LAST:STEP, forward, of {MOST_LEVELS} values at most; found {text!r}"
            )
        numbers = [first + step * k for k in range(int((last - first) / step) + 1)]
    return [int(number) if number == number.to_integral_value() else float(number) for number in numbers]


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers and ranges of them, as typed.

    Raises:
        ValueError: if it is anything else, or a range does not go up, or has too many numbers.

    >>> whole_numbers("1,3-5")
    (1, 3, 4, 5)
    """
    found: list[int] = []
    for part in filter(None, map(str.strip, text.split(","))):
        ends = re.fullmatch(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not 0 <= last - first < MOST_LEVELS:
            raise ValueError(
                f"must be whole numbers, or ranges that go up and have {MOST_LEVELS} numbers at most, with commas "
                "between, as 1,3-5"
            )
        found += range(first, last + 1)
    return tuple(found)


def regularizer_words(regularizers: Regularizers) -> str:
    """Regularizers as they are typed.

    >>> regularizer_words((("input_dropout", 0.2), ("max_norm", (4.0, 3.0))))
    'input_dropout=0.2+max_norm=4/3'
    """
    return "+".join(f"{name}={strength_words(strength)}" for name, strength in regularizers)


def strength_words(strength: float | tuple[float, ...]) -> str:
    """A strength or rate as it is typed, or one a layer.

    >>> strength_words(0.5), strength_words((0.2, 0.5))
    ('0.5', '0.2/0.5')
    """
    return "/".join(f"{one:g}" for one in _each(strength))


def mean_rate(dropout: float | tuple[float, ...]) -> float:
    """Dropout as one number, for tables: the mean over the hidden layers."""
    return fmean(_each(dropout))


def _each(strength: float | tuple[float, ...]) -> tuple[float, ...]:
    return strength if isinstance(strength, tuple) else (strength,)


def halving_widths(depth: int, first_width: int) -> tuple[int, ...]:
    """Hidden widths of a network of `depth` weight layers, each half the one before.

    >>> halving_widths(5, 512)
    (512, 256, 128, 64)
    """
    return tuple(first_width >> layer for layer in range(depth - 1))


def load_study(spec: str) -> StudySettings:
    """Settings of a preset (by name) or of a TOML file (by path).

    Raises:
        ConfigError: if there is no such preset or file, or it holds a fault.
    """
    if spec in preset_names():
        return _parse_toml(read_preset(spec), spec)
    path = Path(spec)
    if not os.path.lexists(spec) and not path.suffix and path.name == spec:
        raise ConfigError(_no_study(spec))
    try:
        if not path.exists():
            raise ConfigError(no_such_file(path))
        name = re.sub(r"[^\w.-]+", "-", path.stem).strip(".-") or "study"
        with path.open("rb") as handle:
            content = handle.read(_LONGEST_STUDY + 1)
        if len(content) > _LONGEST_STUDY or max(map(len, content.splitlines()), default=0) > _LONGEST_LINE:
            raise ConfigError(
                f"{spec}: a study must be at most {_LONGEST_STUDY:,} bytes, and {_LONGEST_LINE:,} a line; found more."
                if _is_study(path)
                else _no_study_file(path)
            )
        return _parse_toml(content.decode("utf-8-sig"), name, path)
    except ConfigError:  # which is a ValueError
        raise
    except (OSError, ValueError) as error:  # a folder, a NUL byte in the path, or bytes that are no text
        fault = f"{spec}: a study must be a readable UTF-8 TOML file; {error}."
        raise ConfigError(fault if _is_study(path) else _no_study_file(path)) from None


def _no_study(name: str) -> str:
    """What to say of a name that is no preset's."""
    if name in reproduction_names():
        return f"{name} is a reproduction, not a study. Type: droplab reproduce {name}"
    files = [path.name for path in Path().glob("*.toml")]
    hint = did_you_mean(name, [*preset_names(), *files])
    return (
        f"a study is the name of a preset or a TOML file; found {name!r}.{hint} "
        f"Presets: {', '.join(preset_names())}; each is had on other data with --data."
    )


def _is_study(path: Path) -> bool:
    """Whether a path is that of a study, by its name."""
    return path.suffix in ("", ".toml") and not path.is_dir()


def _no_study_file(path: Path) -> str:
    """What to say of a path that is of something else, as of data."""
    return (
        f"{path} is no study: that is a preset's name or a TOML file. If it holds data, train on them: droplab fit "
        f"{shlex.quote(str(path))}, of a table with --target COLUMN; or study them by a TOML file that says data = "
        f"{json.dumps(str(path), ensure_ascii=False)}."
    )


def _parse_toml(text: str, name: str, path: Path | None = None) -> StudySettings:
    origin = str(path or name)
    with reading(origin, "TOML", "Correct it.", ConfigError):
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            if path is not None and not _is_study(path):
                raise ConfigError(_no_study_file(path)) from None
            raise
        return StudySettings.parse({"name": name} | values, origin)


def parse(model: type[Model], values: Mapping[str, Any], origin: str) -> Model:
    """Validate `values` as a model's, reporting every fault at once.

    Raises:
        ConfigError: naming each wrong setting, what was found, and the nearest name to an unknown one.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        alike: dict[object, list[str]] = {}  # as those of many values in one list
        for item in error.errors():
            alike.setdefault((item["loc"][:1], item["msg"]), []).append(_fault(dict(item), model))
        told = [first + (f" (and {len(more)} more)" if more else "") for first, *more in alike.values()]
        faults: list[str] = []
        for fault in told:  # of a setting that may be one thing or another, both, with what was found once
            where, _, what = fault.partition(": ")
            before, found, value = (faults or [""])[-1].partition("; found ")
            if found and before.startswith(f"{where}: ") and fault.endswith(found + value):
                faults[-1] = f"{before}, or {what.removeprefix('input should ')}"
            else:
                faults.append(fault)
        raise ConfigError(f"{origin}: " + "; ".join(faults) + ".") from None


def regularizer_pairs(value: Any) -> Regularizers:
    """A table of regularizers and strengths as sorted pairs, without those of strength 0.

    Raises:
        ValueError: if it is no such table.
    """
    pairs = value.items() if isinstance(value, Mapping) else value
    try:
        named = {
            name: tuple(map(float, strength)) if isinstance(strength, tuple | list) else float(strength)
            for name, strength in pairs
        }
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a table of names, each with its strength or one a layer") from None
    acting = {name: strength for name, strength in named.items() if any(_each(strength))}
    return tuple(sorted((name, s[0] if len(s := _each(strength)) == 1 else s) for name, strength in acting.items()))


OF_NUMBERS = frozenset(get_args(RecipeLoss)[1:])
"""Losses that can act on numbers alone."""

OF_CLASSES = frozenset({"label_smoothing", "cross_entropy"})
"""What can act on classes alone."""

BY_LAYER = "dropout_by_layer"
"""The regularizer that a rate a hidden layer was; settings of old have it."""


def with_one_dropout(values: Any, several: bool = False) -> Any:
    """Settings as given, with `dropout` in the place of the regularizer of old.

    Args:
        values: settings by name; anything else is returned as it is.
        several: whether `dropout` is several rates under comparison.

    Raises:
        ConfigError: if both drop something.

    >>> with_one_dropout({"widths": (8, 4), "regularizers": {"dropout_by_layer": (0.2, 0.5), "l2": 0.1}})
    {'widths': (8, 4), 'regularizers': (('l2', 0.1),), 'dropout': (0.2, 0.5)}
    """
    try:
        used = dict(values["regularizers"])
        given = used.pop(BY_LAYER)
    except (KeyError, TypeError, ValueError):  # none, or no table, of which its own check tells
        return values
    changed = dict(values) | {"regularizers": tuple(used.items())}
    try:
        rates = dropout_of(given)
    except ValueError as error:
        raise ConfigError(f"{BY_LAYER} {error}; found {given!r}.") from None
    if not rates:
        return changed
    other = values.get("dropout")
    other = other.tolist() if hasattr(other, "tolist") else other
    if other not in (None, 0, [], (), [0], (0,)):
        raise ConfigError(f"{BY_LAYER} is a name of dropout; found {given!r}, and dropout={other!r}. Leave one out.")
    return changed | {"dropout": (rates,) if several else rates}


_ALTERNATIVE = re.compile(r"(literal|dict|tuple|list|union|constrained-\w+|function-\w+)(\[|$)|(bool|int|float|str)$")
"""What pydantic puts into the place of a fault for each thing that a setting may be."""


def _fault(item: dict[str, Any], model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in item["loc"] if not _ALTERNATIVE.match(str(part)))
    if item["type"] == "extra_forbidden":
        near = nearest(where, model.model_fields)
        return f"there is no setting {where!r}" + (f" (did you mean {near!r}?)" if near else "")
    message = item["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    if not where:
        return str(message).removesuffix(".")
    return f"{where}: {message[0].lower()}{message[1:]}; found {item['input']!r}"
