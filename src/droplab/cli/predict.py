"""`droplab predict`: what a network says of new rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A safetensors file that droplab wrote.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Tables, images, folders of images, npy, npz; - for CSV on stdin."),
    ],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of each class, dropout off.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Under many masks: entropy and more.")] = False,
    samples: Annotated[int, typer.Option(min=1, max=10_000, help="Masks of --uncertainty.")] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the masks.")] = 0,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|parquet", help="Of what is said.")] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where it goes.", show_default="the screen")] = None,
) -> None:
    """Say the class of each row of a file, or of each image.

    A network that was trained on a table takes one with the same columns, in any order; others are ignored, the column
    of the classes among them. Any other takes images or arrays, shaped as its data. Where there are several files or a
    folder, each row says which it is of.

    Example: droplab predict model.safetensors new.csv --probabilities --format csv
    """
    from droplab.data.disk import write_atomically
    from droplab.errors import ConfigError
    from droplab.model.file import read
    from droplab.predict import features_of_files
    from droplab.predict import predict as predict_rows

    if form not in ("table", "csv", "json", "parquet"):
        raise ConfigError(f"--format must be table, csv, json or parquet; found {form!r}.")
    if (form == "parquet") > (out is not None) or (form == "table" and out is not None):
        raise ConfigError(
            "--out takes csv, json or parquet, and parquet needs it; give both, as --format csv --out FILE."
        )
    weights, info = read(model)
    features, places = features_of_files(info, files, lambda text: typer.echo(text, err=True))
    said = predict_rows(
        weights,
        info,
        features,
        probabilities=probabilities,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
    )
    if places.file.nunique() > 1:
        said = places.join(said.drop(columns="row"))
    if form == "table":
        _show(said)
    elif out is None:
        typer.echo(_text(said, form), nl=False)
    else:
        with write_atomically(out) as handle:
            if form == "parquet":
                said.to_parquet(handle, index=False)
            else:
                handle.write(_text(said, form).encode())
        typer.echo(f"wrote {out} ({len(said):,} rows)")


def _text(said: pd.DataFrame, form: str) -> str:
    if form == "csv":
        return said.to_csv(index=False, lineterminator="\n")
    return f"{said.to_json(orient='records', force_ascii=False, indent=1)}\n"


def _show(said: pd.DataFrame) -> None:
    from droplab.cli.tables import print_table

    cells = [
        [f"{value:.4f}" if isinstance(value, float) else str(value) for value in row]
        for row in said.to_numpy().tolist()
    ]
    print_table([str(name) for name in said.columns], cells)
