"""`droplab fit`: a model for someone's data, the short way."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from droplab.cli import completion, options, outputs
from droplab.cli.say import say


@options.takes(options.FIT)
def fit(
    data: Annotated[
        str,
        typer.Argument(
            parser=options.path_text,
            metavar="DATA",
            help="A table, npz, FEATURES,LABELS, or folder; or a data set by name.",
            autocompletion=completion.data,
        ),
    ],
    confidence: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Calibrate sets, or intervals, that hold the truth so often, as 0.9."),
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="So often within each class, too.")] = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    store: options.StorePath = None,
    files: options.Files = None,
    backend: options.Backend = "local",
    address: options.Address = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=outputs.path,
            metavar="FILE",
            help="Where the model goes.",
            show_default="the data's name, .safetensors",
        ),
    ] = None,
    force: outputs.Force = False,
    quiet: options.Quiet = False,
    **flags: Any,
) -> None:
    """Train a model on your data: one network, or with --seeds 5 five whose probabilities are averaged.

    Without --dropout it finds out whether dropout earns its place: networks without it and with 0.125 and 0.5 are
    compared on examples that are held out, the best rate is kept, and trained again on all training examples. With
    --dropout, or --valid-fraction 0, nothing is compared.

    Writes the model (wine.safetensors for wine.csv) and, beside it, its card (wine.md): data, settings, that
    comparison, metrics on test with 95 % intervals, calibration, limits. Files that exist are kept unless --force is
    given. Unless other settings are given a table's numbers are encoded piecewise linearly (--numeric-encoding
    standard: centred and scaled), and networks have two hidden layers of 128 units and at most 32 epochs of Adam, of
    which the best on held-out examples counts; on other data they have 256 and 128 units, and 100 epochs. To compare
    other settings there is `droplab study`.

    Where the target is a number, networks are trained by squared error unless --loss says otherwise, and RMSE, MAE
    and R² are told.

    With --confidence 0.9 a sixth of the training examples is set apart, and calibrates sets of classes (or intervals
    of numbers) that hold the true one nine times in ten: `droplab predict --sets` (`--interval`).

    Example: droplab fit people.csv --target class --seeds 5
    """
    from droplab.cli.live import watch
    from droplab.config import RunSettings, with_one_dropout
    from droplab.data.disk import write_atomically
    from droplab.data.tables import is_table
    from droplab.errors import ConfigError
    from droplab.fit import HELD_OUT, RATES, SET_APART, recipe_of
    from droplab.fit import fit as fit_networks
    from droplab.study.lab import Lab
    from droplab.train.device import resolve_way

    given = with_one_dropout(options.given(flags))
    reading = options.reading(given)
    seeds = options.seed_list(given.pop("seeds", 1))
    rates = () if "dropout" in given else RATES
    held_out = given.get("valid_fraction", HELD_OUT if rates else 0.0)
    settings = RunSettings.parse(recipe_of(data, held_out) | given)
    if is_table(Path(data)):
        reading = {"numeric_encoding": "piecewise_linear"} | reading
    if confidence is not None and not 0 < confidence < 1:
        raise ConfigError(f"--confidence must lie between 0 and 1, as 0.9; found {confidence:g}.")
    if by_class and confidence is None:
        raise ConfigError("--by-class is of --confidence, and cannot act without it. Give both.")
    if backend == "local":
        resolve_way(device, precision)  # before anything is fetched
    out = out or options.model_path(data)
    card = out.with_suffix(".md")
    if out == card:
        raise ConfigError(f"--out must not be the name of the card, *.md; found {out}. Give another.")
    for path in (out, card):
        outputs.check_file(path, force, (data, reading.get("test")), store)
    with watch(quiet) as observer:
        lab = Lab(store, device, precision, workers, observer, files, backend, address)
        fraction = 0.0 if rates else settings.valid_fraction  # the model is trained on these examples, too
        fraction = fraction if confidence is None else SET_APART
        ready = lab.read(data, **reading, valid_fraction=fraction, split_seed=settings.split_seed)
        fitted = fit_networks(lab, ready, settings, seeds, rates, confidence, by_class)
    if fitted is None:
        say("stopped: the same command goes on; finished networks are kept")
        raise typer.Exit(130)
    text = fitted.card(outputs.shown(data), outputs.shown(out.name), outputs.command(sys.argv[1:]))
    for path, content in ((out, fitted.content(text)), (card, text.encode())):
        with write_atomically(path) as handle:
            handle.write(content)
    if fitted.rates:
        say(fitted.rates.words)
    for one in fitted.metrics:
        low, value, high = (one.told(x) + one.is_share * " %" for x in (one.low, one.value, one.high))
        ends = "not known: no spread" if math.isnan(one.low) else f"{low} to {high}"
        say(f"test {one.name}: {value} (95 % interval {ends})")
    say(f"model: {out}\ncard: {card}")
