"""`droplab predict`: what a network says of new rows."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from droplab.cli import outputs

if TYPE_CHECKING:
    import pandas as pd


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A safetensors file that droplab wrote.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Tables, images, folders of images, npy, npz; - for CSV on stdin."),
    ],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of each class, dropout off.")] = False,
    sets: Annotated[bool, typer.Option("--sets", help="Of classes, as droplab fit --confidence calibrated.")] = False,
    interval: Annotated[bool, typer.Option("--interval", help="Of numbers: lower and upper, likewise.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Under many masks: entropy and more.")] = False,
    samples: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Masks of --uncertainty.", show_default="20")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="Of the masks.", show_default="0")] = None,
    fit_image: Annotated[
        bool, typer.Option("--fit-image", help="Bring pictures to the form of those it was trained on.")
    ] = False,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|parquet", help="Of what is said.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(parser=outputs.path, metavar="FILE", help="Where it goes.", show_default="the screen"),
    ] = None,
    force: outputs.Force = False,
    raw: outputs.Raw = False,
) -> None:
    """Say the class of each row of a file, or of each image; or the number, where the network was trained for numbers.

    A network that was trained on a table takes one with the same columns, in any order; others are ignored, the column
    of the classes among them; it is read some rows at a time, so it may be larger than memory. Any other takes images
    or arrays, shaped as its data. With --fit-image a picture of any size is turned, inverted, cropped, scaled and
    centred as the pictures that the network was trained on. Where there are several files or a folder, each row says
    which it is of.

    Example: droplab predict wine.safetensors new.csv --probabilities --format csv
    """
    from droplab.data.disk import write_atomically
    from droplab.errors import ConfigError
    from droplab.inputs import pieces
    from droplab.model.file import read
    from droplab.predict import predict as predict_rows

    if form not in ("table", "csv", "json", "parquet"):
        raise ConfigError(f"--format must be table, csv, json or parquet; found {form!r}.")
    if (form == "parquet") > (out is not None) or (form == "table" and out is not None):
        raise ConfigError(
            "--out takes csv, json or parquet, and parquet needs it; give both, as --format csv --out FILE."
        )
    if not uncertainty and (samples is not None or seed is not None):
        raise ConfigError("--samples and --seed are of the masks of --uncertainty, and cannot act without it.")
    if raw and form != "csv":
        raise ConfigError(f"--raw is of --format csv; found {form}. Leave it out.")
    if out is not None:
        outputs.check_file(out, force, (model, *files))
    elif force:
        raise ConfigError("--force is of --out FILE, and cannot act without it.")
    weights, info = read(model)

    def frames() -> Iterator[pd.DataFrame]:
        first, several = 0, False
        for piece in pieces(info, files, lambda text: typer.echo(text, err=True), fit_image):
            said = predict_rows(
                weights,
                info,
                piece.features,
                probabilities=probabilities,
                uncertainty=uncertainty,
                sets=sets,
                interval=interval,
                samples=samples or 20,
                seed=seed or 0,
                scale=piece.scale,
                first=first,
                call=piece.call,
            )
            several = several or len(set(files)) > 1 or len(set(piece.files)) > 1
            if several:
                said["row"] = piece.rows
                said.insert(0, "file", piece.files)
            first += len(said)
            yield said

    if form == "table":
        _show(frames(), ".6g" if info.is_of_numbers else ".4f")
    elif out is None:
        with io.TextIOWrapper(tempfile.TemporaryFile(), "utf-8", newline="") as spool:
            _write(spool.buffer, form, frames(), raw)  # nothing is said before all rows could be read
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout)
    else:
        with write_atomically(out) as handle:
            rows = _write(handle, form, frames(), raw)
        typer.echo(f"wrote {out} ({rows:,} rows)")


def _write(handle: BinaryIO, form: str, frames: Iterator[pd.DataFrame], raw: bool) -> int:
    """Write what is said, as it comes; how many rows that were."""
    from droplab.data.spreadsheet import csv_text

    rows = 0
    if form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        writer = None
        for said in frames:
            table = pa.Table.from_pandas(said, preserve_index=False)
            writer = writer or parquet.ParquetWriter(handle, table.schema)
            writer.write_table(table.cast(writer.schema))
            rows += len(said)
        if writer is not None:
            writer.close()
        return rows
    for said in frames:
        if form == "csv":
            handle.write(csv_text(said, raw, header=not rows).encode())
        else:
            records = said.to_json(orient="records", force_ascii=False, indent=1).strip("[]\n")
            handle.write(f"{',' if rows else '['}\n{records}".encode())
        rows += len(said)
    if form == "json":
        handle.write(b"\n]\n")
    return rows


def _show(frames: Iterator[pd.DataFrame], form: str) -> None:
    import pandas as pd

    from droplab.cli.tables import print_table

    said = pd.concat(list(frames))
    cells = [
        [f"{value:{form}}" if isinstance(value, float) else str(value) for value in row]
        for row in said.to_numpy().tolist()
    ]
    print_table([str(name) for name in said.columns], cells)
