"""`droplab export`: a network for where there is no droplab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A safetensors file that droplab wrote.")],
    to: Annotated[str, typer.Option(metavar="onnx|torch|safetensors", help="What to make of it.")],
    check: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Rows to compare it on, as those of predict.",
            show_default="the test examples of a data set by name",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes.", show_default="beside MODEL, by its name")
    ] = None,
) -> None:
    """Write a network as an ONNX file, a torch.export program or plain tensors; scaling and filling gaps are inside.

    It takes any number of rows as they are in the data (bytes not scaled) and gives the probability of each class. A
    text column goes in as the number of its category; FILE.columns.csv, written beside, says which. What it says of
    real rows is compared with what droplab says first.

    Example: droplab export model.safetensors --to onnx --check people.csv
    """
    from droplab.data.disk import write_atomically
    from droplab.errors import ConfigError
    from droplab.export import FORMS, columns_table, rows_of
    from droplab.export import export as export_network
    from droplab.model.file import read

    form = next((known for known in FORMS if known == to), None)
    if form is None:
        raise ConfigError(f"--to must be {', '.join(FORMS)}; found {to!r}.")
    weights, info = read(model)
    target = out or model.with_name(model.name.removesuffix(".safetensors") + FORMS[form])
    if target.absolute() == model.absolute():
        raise ConfigError(f"--out must be another file than MODEL; found {target} for both.")
    inputs, features = rows_of(info, check, lambda text: typer.echo(text, err=True))
    made = export_network(weights, info, form, inputs, features)
    with write_atomically(target) as handle:
        handle.write(made.content)
    typer.echo(f"wrote {target} ({len(made.content) / 1e6:.2f} MB)")
    if made.difference is not None:
        typer.echo(
            f"largest difference of a probability from droplab's on {made.rows:,} rows, all at once and one alone: "
            f"{made.difference:.1e}"
        )
    if made.precision:
        typer.echo(made.precision)
    if info.preprocessing is not None:
        table = columns_table(info.preprocessing)
        path = target.with_name(f"{target.name}.columns.csv")
        with write_atomically(path) as handle:
            handle.write(table.to_csv(index=False, lineterminator="\n").encode())
        texts = sorted(set(table.column[table.kind == "category"]))
        typer.echo(f"wrote {path}: the order of its {table.input.max() + 1} input columns")
        if texts:
            typer.echo(f"text cannot go inside: {', '.join(texts)} go in as the numbers that this table gives")
