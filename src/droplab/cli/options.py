"""Options that several commands share, and how their text becomes settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from droplab.cli import completion

Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to train.")]
Precision = Annotated[str, typer.Option(metavar="auto|fp32|bf16", help="Of the products; auto asks the hardware.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes on a CPU.", show_default="one a core")]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PATH|URL",
        help="Store: a file, or postgresql+psycopg://USER@HOST/DB.",
        show_default="in your data folder",
    ),
]


def files_text(text: str) -> str:
    """A place of files as typed; memory would be gone with the command."""
    if text.startswith("memory:"):
        raise typer.BadParameter(
            f"must outlive the command; found {text!r}. Name a folder, or a URL as s3://bucket/lab"
        )
    return text


Files = Annotated[
    str | None,
    typer.Option(
        "--files",
        parser=files_text,
        metavar="PATH|URL",
        help="Where a new store keeps weights and checkpoints: a folder or s3://… that all machines reach.",
        show_default="beside the file, in the database",
    ),
]
Backend = Annotated[str, typer.Option(metavar="local|ray", help="Train on this machine, or on a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ray://…",
        help="Of the Ray cluster.",
        show_default="the one this machine is part of, or a new one on it",
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Only say the answer at the end; what must be known goes to stderr.")
]
Command = TypeVar("Command", bound=Callable[..., None])


def path_text(text: str) -> str:
    """A path as typed; an empty text would be this folder."""
    if not text.strip():
        raise typer.BadParameter("must be a path or a name; found an empty text")
    return text


def integers(text: str) -> list[int]:
    """`1,3-5` as whole numbers; an empty text as none."""
    from droplab.config import whole_numbers

    try:
        return list(whole_numbers(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; found {text!r}") from None


def strengths(text: str) -> tuple[float, ...]:
    """`0.2`, or `0.2/0.5` as one a layer; commas do as well."""
    try:
        return tuple(float(part) for part in text.replace(",", "/").split("/") if part.strip())
    except ValueError:
        raise typer.BadParameter(f"must be a number, or one a layer as 0.2/0.5; found {text!r}") from None


def rates(text: str) -> list[tuple[float, ...]]:
    """`0.2,0.5` as rates to compare, `0.2/0.5,0.5` as rates a hidden layer."""
    return [strengths(part) for part in text.split(",") if part.strip()]


def regularizers(text: str) -> dict[str, tuple[float, ...]]:
    """`max_norm=3+input_dropout` as names with strengths, the usual one where none is given; `none` as none."""
    from droplab.model.regularizers import TABLE

    found = {}
    for part in text.split("+") if text.strip() not in ("", "none") else ():
        name, given, strength = (word.strip() for word in part.partition("="))
        name = name.replace("-", "_")
        usual = (TABLE[name].strength,) if name in TABLE else ()
        found[name] = strengths(strength) if given else usual
        if not found[name] and name in TABLE:
            raise typer.BadParameter(f"takes NAME=STRENGTH with + between; found {part!r}")
    return {name: each or (1.0,) for name, each in found.items()}


def seeds(text: str) -> int | list[int]:
    """`3` as a count, `0,4,7` or `0-4` as the seeds themselves."""
    found = integers(text)
    return found[0] if len(found) == 1 and text.strip().isdecimal() else found


def columns(texts: Sequence[str]) -> dict[str, str]:
    """`zip=category,price=number`, perhaps several times, as a table; names may hold commas."""
    found: dict[str, str] = {}
    ahead = ""
    for part in ",".join(texts).split(","):
        name, given, kind = (word.strip() for word in (ahead + part).rpartition("="))
        ahead = "" if given else f"{ahead}{part},"
        if given and (not name or not kind or found.setdefault(name, kind) != kind):
            raise typer.BadParameter(f"--columns takes NAME=KIND with commas between, a kind a name; found {part!r}")
    if ahead:
        raise typer.BadParameter(f"--columns takes NAME=KIND with commas between; found {ahead.rstrip(',')!r}")
    return found


READING: dict[str, tuple[type, Any]] = {
    "target": (str, typer.Option(metavar="COLUMN", help="Of a table, the column of the classes, or of numbers.")),
    "task": (
        str,
        typer.Option(metavar="auto|classification|regression", help="Whether targets are classes or numbers."),
    ),
    "test": (
        str,
        typer.Option(
            metavar="PATH|SHARE", help="Of data without a test part, that part or its share; 0.2 if not given."
        ),
    ),
    "groups": (str, typer.Option(metavar="COLUMN", help="Of a table, a column whose values no split parts.")),
    "columns": (
        list[str],
        typer.Option(
            metavar="NAME=KIND,...",
            help="Of a table, what columns are if not as guessed: number, category or ignore.",
        ),
    ),
    "missing": (
        list[str],
        typer.Option(metavar="TEXT", help="Of a table, a cell that says that a value is missing; several times."),
    ),
    "numeric_encoding": (
        str,
        typer.Option(metavar="standard|piecewise_linear", help="Of a table, what numbers become."),
    ),
}
"""How data are read, as flags: name → (type, option)."""

RECIPE: dict[str, tuple[type, Any]] = {
    "data": (
        str,
        typer.Option(
            parser=path_text,
            metavar="NAME|PATH",
            help="A data set by name; a table, npz, FEATURES,LABELS, or folder.",
            autocompletion=completion.data,
        ),
    ),
    **READING,
    "epochs": (int, typer.Option(help="Passes over the training part.")),
    "batch_size": (int, typer.Option(help="Examples a step.")),
    "learning_rate": (float, typer.Option(help="Step size of SGD.")),
    "momentum": (float, typer.Option(help="Momentum of SGD, in [0, 1).")),
    "train_examples": (int, typer.Option(help="How many are trained on, some of each class; 0 for all.")),
    "valid_fraction": (float, typer.Option(help="Share of the training examples held out.")),
    "split_seed": (int, typer.Option(help="random_state of that split.")),
    "activation": (str, typer.Option(metavar="relu|logistic|tanh|gelu|maxout", help="Of the hidden layers.")),
    "pieces": (int, typer.Option(help="Linear pieces of a maxout unit.")),
    "initial_weights": (str, typer.Option(metavar="pytorch|he|glorot|fan_in", help="How weights begin.")),
    "dropout_scaling": (
        str,
        typer.Option(metavar="training|inference", help="When masks are made up for; inference is the papers' way."),
    ),
    "optimizer": (str, typer.Option(metavar="sgd|classical|nesterov|adam|adamw", help="How weights are updated.")),
    "beta_1": (float, typer.Option(help="Decay of Adam's first moment.")),
    "beta_2": (float, typer.Option(help="Decay of Adam's second moment.")),
    "schedule": (
        str,
        typer.Option(metavar="constant|linear|exponential|inverse_time|cosine", help="Of the learning rate."),
    ),
    "schedule_final": (float, typer.Option(help="Share of the learning rate left at the schedule's end.")),
    "schedule_epochs": (float, typer.Option(help="How long the schedule lasts; 0 for the whole training.")),
    "warmup_epochs": (float, typer.Option(help="Epochs over which the learning rate first grows.")),
    "momentum_schedule": (str, typer.Option(metavar="constant|linear|exponential", help="Of the momentum.")),
    "momentum_final": (float, typer.Option(help="Where the momentum goes.")),
    "momentum_epochs": (float, typer.Option(help="How long that takes; 0 for the whole training.")),
    "loss": (
        str,
        typer.Option(
            metavar="cross_entropy|squared_error|absolute_error|huber|poisson",
            help="What is minimized; of numbers squared_error if not given.",
        ),
    ),
    "regularizers": (
        str,
        typer.Option(
            parser=regularizers,
            metavar="max_norm=3+l2=1e-4",
            help="What else is used, with strengths; `droplab regularizers` lists them.",
            autocompletion=completion.regularizers,
        ),
    ),
    "mc_samples": (int, typer.Option(help="Masks averaged by inference mode mc.")),
}
"""The settings of any training as flags: name → (type, option)."""

STUDY: dict[str, tuple[type, Any]] = RECIPE | {
    "depths": (str, typer.Option(parser=integers, metavar="1,2,5|1-5", help="Networks of L layers, halving widths.")),
    "widths": (str, typer.Option(parser=integers, metavar="512,256", help="Instead: one network's hidden widths.")),
    "first_width": (int, typer.Option(help="First hidden width of --depths.")),
    "dropout": (
        str,
        typer.Option(parser=rates, metavar="0.2,0.5", help="Drop rates, each in [0, 1); 0.2/0.5: one a hidden layer."),
    ),
    "vary": (
        list[str],
        typer.Option(
            metavar="NAME=VALUES",
            help="What else is compared, every combination: train_examples=100,1000 or rate=0.1:0.9:0.2 or "
            "regularizer=dropout,max_norm; may be given several times.",
        ),
    ),
    "seeds": (str, typer.Option(parser=seeds, metavar="N|0,4,7", help="How many seeds, or which.")),
    "baseline": (
        str,
        typer.Option(metavar="LEVEL", help="Of what varies, the level others are compared with.", show_default="first"),
    ),
    "metric": (
        str,
        typer.Option(
            metavar="accuracy|nll|balanced_accuracy|f1|rmse|mae|r2", help="What verdicts and the choice are about."
        ),
    ),
    "until": (
        str,
        typer.Option(
            metavar="decided|best",
            help="Give seeds only to arms whose verdict needs them, or that may be the best; --seeds is the most.",
        ),
    ),
    "budget": (
        str,
        typer.Option(metavar="90s|10m|1h", help="With --until: the time after which no further look begins."),
    ),
}
"""The settings of a study as flags."""

NETWORK: dict[str, tuple[type, Any]] = RECIPE | {
    "widths": (str, typer.Option(parser=integers, metavar="512,256", help="Hidden widths; empty for a linear one.")),
    "dropout": (
        str,
        typer.Option(metavar="0.5|0.2/0.5", help="Drop rate on hidden layers, in [0, 1), or one a layer."),
    ),
    "seed": (int, typer.Option(help="Fixes initial weights, batch order and masks.")),
}
"""The settings of one network as flags."""

FIT: dict[str, tuple[type, Any]] = {name: option for name, option in NETWORK.items() if name not in ("data", "seed")}
FIT["seeds"] = STUDY["seeds"]
"""The settings of `droplab fit` as flags."""


def seed_list(given: int | list[int]) -> list[int]:
    """The seeds that `--seeds` asks for, each once."""
    from droplab.config import MOST_SEEDS

    count = given if isinstance(given, int) else len(given)
    if not 1 <= count <= MOST_SEEDS or (isinstance(given, list) and len(set(given)) < count):
        raise typer.BadParameter(f"--seeds takes how many, 1 to {MOST_SEEDS}, or different seeds; found {given}")
    return list(range(given)) if isinstance(given, int) else given


def model_path(data: str) -> Path:
    """Where a model goes if nothing else is said: `wine.csv` makes `wine.safetensors` in this folder."""
    from droplab.data.files import dataset_name
    from droplab.data.output import file_names

    name = dataset_name(data)
    for ending in (".gz", ".csv", ".tsv", ".parquet", ".pq", ".npz", ".npy"):
        name = name.removesuffix(ending) or name
    return Path(f"{file_names([name])[name]}.safetensors")


def takes(settings: dict[str, tuple[type, Any]]) -> Callable[[Command], Command]:
    """Let a command's `**flags` be an option for each of `settings`, `None` where it is not given."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
            for name, (kind, option) in settings.items()
        ]
        vars(command)["__signature__"] = signature.replace(parameters=[*own, *flags])
        return command

    return decorate


def reading(settings: dict[str, Any]) -> dict[str, Any]:
    """How data are read, taken out of the flags that were given."""
    return {name: settings.pop(name) for name in READING if name in settings}


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given; `vary` as a table."""
    several: dict[str, Callable[[list[str]], Any]] = {"vary": axes, "columns": columns, "missing": list}
    found = {name: value for name, value in flags.items() if value is not None and name not in several}
    return found | {name: made(flags[name]) for name, made in several.items() if flags.get(name)}


def axes(texts: list[str]) -> dict[str, str]:
    """Each `NAME=VALUES` by its name."""
    found: dict[str, str] = {}
    for text in texts:
        name, given, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not (given and name and values.strip()) or name in found:
            raise typer.BadParameter(f"--vary takes NAME=VALUES, each name once; found {text!r}")
        found[name] = values
    return found
