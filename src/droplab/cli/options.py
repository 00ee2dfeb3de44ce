"""Options that several commands share, and how their text becomes settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to train.")]
Precision = Annotated[str, typer.Option(metavar="auto|fp32|bf16", help="Of the products; auto asks the hardware.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes on a CPU.", show_default="one a core")]
StorePath = Annotated[
    str | None,
    typer.Option("--store", metavar="PATH|URL", help="SQLite store.", show_default="in your data folder"),
]
Command = TypeVar("Command", bound=Callable[..., None])


def integers(text: str) -> list[int]:
    """`1,2,5` as whole numbers; an empty text as none."""
    return [_number(part, int) for part in text.split(",") if part.strip()]


def rates(text: str) -> list[float]:
    """`0.2,0.5` as numbers."""
    return [_number(part, float) for part in text.split(",") if part.strip()]


def seeds(text: str) -> int | list[int]:
    """`3` as a count, `0,4,7` as the seeds themselves."""
    return integers(text) if "," in text else _number(text, int)


RECIPE: dict[str, tuple[type, Any]] = {
    "data": (
        str,
        typer.Option(metavar="NAME|PATH", help="A data set by name, an npz file, or a folder of npy or IDX files."),
    ),
    "epochs": (int, typer.Option(help="Passes over the training part.")),
    "batch_size": (int, typer.Option(help="Examples a step.")),
    "learning_rate": (float, typer.Option(help="Step size of SGD.")),
    "momentum": (float, typer.Option(help="Momentum of SGD, in [0, 1).")),
    "valid_fraction": (float, typer.Option(help="Share of the training examples held out.")),
    "split_seed": (int, typer.Option(help="random_state of that split.")),
    "mc_samples": (int, typer.Option(help="Masks averaged by inference mode mc.")),
}
"""The settings of any training as flags: name → (type, option)."""

STUDY: dict[str, tuple[type, Any]] = RECIPE | {
    "depths": (str, typer.Option(parser=integers, metavar="1,2,5", help="Networks of L layers, halving widths.")),
    "widths": (str, typer.Option(parser=integers, metavar="512,256", help="Instead: one network's hidden widths.")),
    "first_width": (int, typer.Option(help="First hidden width of --depths.")),
    "dropout": (str, typer.Option(parser=rates, metavar="0.2,0.5", help="Drop rates, each in [0, 1).")),
    "seeds": (str, typer.Option(parser=seeds, metavar="N|0,4,7", help="How many seeds, or which.")),
}
"""The settings of a study as flags."""

NETWORK: dict[str, tuple[type, Any]] = RECIPE | {
    "widths": (str, typer.Option(parser=integers, metavar="512,256", help="Hidden widths; empty for a linear one.")),
    "dropout": (float, typer.Option(help="Drop rate on hidden layers, in [0, 1).")),
    "seed": (int, typer.Option(help="Fixes initial weights, batch order and masks.")),
}
"""The settings of one network as flags."""


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


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Only the flags that were given."""
    return {name: value for name, value in flags.items() if value is not None}


def _number(text: str, kind: type[Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise typer.BadParameter(f"takes {what} with commas between; found {text!r}") from None
