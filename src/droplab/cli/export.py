"""`droplab export`: a network for where there is no droplab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from droplab.cli import outputs
from droplab.cli.options import path_text

if TYPE_CHECKING:
    from droplab.data.preprocessing import Preprocessing


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A safetensors file that droplab wrote.")],
    to: Annotated[str, typer.Option(metavar="onnx|torch|safetensors", help="What to make of it.")],
    check: Annotated[
        str | None,
        typer.Option(
            parser=path_text,
            metavar="FILE",
            help="Rows to compare it on, as those of predict.",
            show_default="the test examples of a data set by name",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=outputs.path, metavar="FILE", help="Where it goes.", show_default="beside MODEL, by its name"
        ),
    ] = None,
    force: outputs.Force = False,
    raw: outputs.Raw = False,
) -> None:
    """Write a network as an ONNX file, a torch.export program or plain tensors; scaling and filling gaps are inside.

    It takes any number of rows as they are in the data (bytes not scaled) and gives the probability of each class, or
    the number. A text column goes in as the number of its category; FILE.columns.csv, written beside, says which. What
    a program says of real rows is compared with what droplab says before it is written.

    Example: droplab export wine.safetensors --to onnx --check wine.csv
    """
    from droplab.data.disk import write_atomically
    from droplab.errors import ConfigError
    from droplab.export import FORMS, rows_of, tensors
    from droplab.export import export as export_network
    from droplab.model.file import read

    if to not in FORMS:
        raise ConfigError(f"--to must be {', '.join(FORMS)}; found {to!r}.")
    weights, info = read(model)
    target = out or model.with_name(model.name.removesuffix(".safetensors") + FORMS[to])
    columns = target.with_name(f"{target.name}.columns.csv")
    for path in (target, columns) if info.preprocessing is not None else (target,):
        outputs.check_file(path, force, (model, check))
    if raw and info.preprocessing is None:
        raise ConfigError("--raw is of the CSV file of a table's columns, which this network has not. Leave it out.")
    lines = []
    if to == "safetensors":
        if check is not None:
            raise ConfigError("--check cannot act: plain tensors are not run, so there is nothing to compare.")
        content = tensors(weights, info)
    else:
        rows = rows_of(info, check, lambda text: typer.echo(text, err=True))
        made = export_network(weights, info, "onnx" if to == "onnx" else "torch", *rows)
        content = made.content
        lines.append(
            f"largest difference of an answer from droplab's on {made.rows:,} rows, all at once and one alone: "
            f"{made.difference:.1e}"
        )
    if info.precision == "bf16":
        lines.append("trained in bf16, exported in fp32")
    if info.preprocessing is not None:
        lines += _write_columns(info.preprocessing, columns, raw)
    with write_atomically(target) as handle:
        handle.write(content)
    typer.echo("\n".join([f"wrote {target} ({len(content) / 1e6:.2f} MB)", *lines]))


def _write_columns(preprocessing: Preprocessing, path: Path, raw: bool) -> list[str]:
    """Write which column of the input is which, and say so."""
    from droplab.data.disk import write_atomically
    from droplab.data.spreadsheet import csv_text
    from droplab.export import columns_table

    table = columns_table(preprocessing)
    with write_atomically(path) as handle:
        handle.write(csv_text(table, raw).encode())
    texts = sorted(set(table.column[table.kind == "category"]))
    inside = f"text cannot go inside: {', '.join(texts)} go in as the numbers that this table gives"
    return [f"wrote {path}: the order of its {len(preprocessing.columns)} input columns", *([inside] if texts else [])]
