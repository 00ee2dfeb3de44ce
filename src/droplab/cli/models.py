"""`droplab train` and `droplab evaluate`: one network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from droplab.cli import completion, options, outputs
from droplab.cli.say import say

if TYPE_CHECKING:
    from droplab.data.dataset import Dataset
    from droplab.model.file import ModelInfo


@options.takes(options.NETWORK)
def train(
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    store: options.StorePath = None,
    files: options.Files = None,
    backend: options.Backend = "local",
    address: options.Address = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=outputs.path, metavar="FILE", help="Where it goes.", show_default="the data's name, .safetensors"
        ),
    ] = None,
    force: outputs.Force = False,
    quiet: options.Quiet = False,
    **flags: Any,
) -> None:
    """Train one network, file it in the store, and write it as a safetensors file.

    Example: droplab train --data mnist --widths 512,256 --dropout 0.5 --epochs 10 --momentum 0.9
    """
    from droplab.cli.live import watch
    from droplab.config import RunSettings
    from droplab.data.disk import write_atomically
    from droplab.study.lab import Lab
    from droplab.train.device import resolve_way

    given = options.given(flags)
    name, reading = given.pop("data", "mnist"), options.reading(given)
    settings = RunSettings.parse(given)
    if backend == "local":
        resolve_way(device, precision)  # before anything is fetched
    out = out or options.model_path(name)
    outputs.check_file(out, force, (name, reading.get("test")), store)
    with watch(quiet) as observer:
        lab = Lab(store, device, precision, None, observer, files, backend, address)
        split = {"valid_fraction": settings.valid_fraction, "split_seed": settings.split_seed}
        ready = lab.read(name, **reading, **split)
        with lab.opened() as opened:
            (run,), records, summary = lab.networks([settings], ready, opened)
            if summary.interrupted:
                say("stopped: the same command goes on from the last checkpoint, if there was one")
                raise typer.Exit(128 + summary.signal)
            record = records[run.key]
            model = opened.read_model(record)
    with write_atomically(out) as handle:
        handle.write(model)
    for metric in record.outcome.metrics:
        if metric.name in ("accuracy", "nll", "rmse", "mae", "r2"):
            say(f"{metric.split} {metric.name}, dropout {metric.inference}: {metric.value:.4f}")
    say(f"network: {out}")


@options.takes({name: options.READING[name] for name in ("target", "test", "groups")})
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A safetensors file that droplab wrote.")],
    data: Annotated[
        str,
        typer.Option(
            parser=options.path_text,
            metavar="NAME|PATH",
            help="As that of train.",
            autocompletion=completion.data,
        ),
    ],
    samples: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Masks that mc averages over.", show_default="20")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="Of the masks.", show_default="0")] = None,
    **flags: Any,
) -> None:
    """Say how good a network is on a data set's test examples, in every inference mode.

    A table's columns are read as the network's own were; classes are its own by their names.

    Example: droplab evaluate mnist.safetensors --data mnist
    """
    import numpy as np

    from droplab.data.files import load_dataset
    from droplab.model.file import read
    from droplab.stats.calibration import mean_nll
    from droplab.stats.measure import MEASURES
    from droplab.stats.metrics import number_metrics
    from droplab.train.answers import answers, has_noise
    from droplab.train.device import has_bf16_units

    weights, info = read(model)
    dataset = load_dataset(
        data,
        **options.given(flags),
        task="regression" if info.is_of_numbers else "classification",
        preprocessing=info.preprocessing,
        notify=lambda text: typer.echo(text, err=True),
    )
    _check_fits(info, dataset, model)
    if (samples is not None or seed is not None) and not has_noise(info):
        typer.echo("--samples and --seed do nothing: this network has no dropout or noise", err=True)
    truth = dataset.test_y if info.is_of_numbers else dataset.test_labels(info.classes)
    if info.precision == "bf16" and not has_bf16_units("cpu"):
        typer.echo("trained in bf16, for which this processor has no units: evaluated in fp32", err=True)
    scale = dataset.scale
    if dataset.train_x.dtype == np.uint8 and info.scale not in (1, scale):
        scale = info.scale
        typer.echo(f"stored features are multiplied by {scale:g}, as those the network was trained on", err=True)
    masks = (samples or 20, seed or 0)
    said = answers(weights, info, dataset.test_x, ("off", "on", "mc"), *masks, scale, call=dataset.call_test)
    for inference, answer in said.items():
        if answer.numbers is not None:
            found = number_metrics(dataset.test_y, answer.numbers)
            told = ", ".join(f"{one.label} {one.value(found[name])}" for name, one in MEASURES.items() if name in found)
            typer.echo(f"test, dropout {inference}: {told}")
            continue
        accuracy = float(np.mean(answer.logs.argmax(axis=1) == truth))
        typer.echo(f"test, dropout {inference}: accuracy {accuracy:.4f}, nll {mean_nll(answer.logs, truth):.4f}")


def _check_fits(info: ModelInfo, dataset: Dataset, model: Path) -> None:
    """Raise unless the network takes such examples."""
    from droplab.errors import ModelFileError

    if (info.preprocessing is None) != (dataset.preprocessing is None):
        wanted = "a table with columns as those it was trained on" if info.preprocessing else "arrays or images"
        raise ModelFileError(f"{model}: takes {wanted}, as {info.data} was; {dataset.name} is another kind of data.")
    shapes = (info.image_shape, dataset.image_shape)
    if info.features != dataset.features or (all(shapes) and shapes[0] != shapes[1]):
        raise ModelFileError(
            f"{model}: a network fits data of its own features, {_sizes(info)}; {dataset.name} has {_sizes(dataset)}. "
            f"It was trained on {info.data}."
        )


def _sizes(data: ModelInfo | Dataset) -> str:
    from droplab.data.images import shape_words

    return f"{data.features}" + (f" (images of {shape_words(data.image_shape)})" if data.image_shape else "")
