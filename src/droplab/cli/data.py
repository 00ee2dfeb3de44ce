"""`droplab data`: list, fetch, verify, inspect and export data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from droplab.cli import completion, options, outputs
from droplab.cli.commands import Commands
from droplab.cli.tables import print_table

app = typer.Typer(
    name="data", cls=Commands, help="Data sets: list, fetch, verify, inspect, export.", no_args_is_help=True
)

Name = Annotated[
    str,
    typer.Argument(help="A data set of `droplab data list`.", show_default=False, autocompletion=completion.data_sets),
]


@app.command("list")
def list_() -> None:
    """List the data sets known by name, and whether the cache has them.

    Example: droplab data list
    """
    from droplab.data.catalog import CATALOG
    from droplab.data.fetch import is_cached

    rows = []
    for entry in CATALOG.values():
        train, test = entry.examples
        rows_columns = "×".join(map(str, entry.image_shape))
        cached = ("yes" if is_cached(entry) else "no") if entry.files else "built in"
        classes = str(len(entry.classes))
        rows.append((entry.name, entry.title, f"{train:,} + {test:,}", rows_columns, classes, entry.licence, cached))
    print_table(("name", "title", "examples", "features", "classes", "licence", "cached"), rows)


@app.command()
def fetch(name: Name) -> None:
    """Fetch a data set into the cache, from the first source that serves it.

    Example: droplab data fetch mnist
    """
    from droplab.data.fetch import load

    dataset = load(name, notify=_notice)
    print(f"{dataset.name}: {len(dataset.train_y):,} train and {len(dataset.test_y):,} test examples.")
    print(f"source: {dataset.source}")
    print(f"fingerprint: {dataset.fingerprint}")


@app.command()
def verify(name: Name) -> None:
    """Check the cached files of a data set against their hashes, without any network.

    Example: droplab data verify mnist
    """
    from droplab.data.fetch import verify as verify_files
    from droplab.errors import DataError

    faults = verify_files(name)
    for file, fault in faults.items():
        print(f"{file}: {fault or 'sound'}")
    if not faults:
        print(f"{name}: inside scikit-learn, nothing to verify.")
    if any(faults.values()):
        wrong = sum(map(bool, faults.values()))
        raise DataError(
            f"{name}: all {len(faults)} files must be sound; {wrong} are not. Run: droplab data fetch {name}"
        )


@app.command()
@options.takes(options.READING)
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A table, IDX, npy or npz file, FEATURES,LABELS, a folder, or a name.",
            autocompletion=completion.data,
        ),
    ],
    **flags: Any,
) -> None:
    """Say what data files hold (arrays, shapes, ranges, classes), and take a first look at a whole data set.

    Of a table it says what each column is taken for: a number, a category, or what can be no feature and why.
    The look is what a study says before it trains: examples of each class, those of test that are in train, too,
    repeated ones, uneven classes, columns that never change, that count rows or that give the class away.

    Example: droplab data inspect people.csv --target class
    """
    from droplab.data.contents import inspect as inspect_path
    from droplab.data.files import load_dataset
    from droplab.data.images import shape_words

    reading = options.given(flags)
    info = inspect_path(path, reading.get("missing", ()), reading.get("columns", {}))
    print(f"{path}: {info.kind}")
    rows = []
    for array in info.arrays:
        shape = " × ".join(map(str, array.shape))
        value_range = "" if array.low is None else f"{array.low:g} … {array.high:g}"
        counts = ", ".join(f"{value}: {count:,}" for value, count in array.counts.items())
        rows.append((array.name, array.dtype, shape, value_range, str(len(array.counts) or ""), counts))
    if rows:
        what = ("column", "taken for", "rows") if info.kind == "table" else ("array", "dtype", "shape")
        print_table((*what, "range", "classes" if info.whole else "values", "examples of each"), rows)
    for finding in info.findings:
        print(f"- {finding}")
    if not info.whole and not {"target", "test", "groups"} & reading.keys():
        return
    dataset = load_dataset(path, **reading, notify=_notice)
    shape = f" (images of {shape_words(dataset.image_shape)})" if dataset.image_shape else ""
    print(
        f"{len(dataset.train_y):,} training and {len(dataset.test_y):,} test examples, {dataset.features:,} features"
        f"{shape}, {dataset.target_words}"
    )
    if dataset.preprocessing:
        print(dataset.preprocessing.words)
    for finding in dataset.look.findings or ("a first look found nothing that is odd",):
        print(f"- {finding}")


@app.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(parser=outputs.path, metavar="FILE", help="The npz file to write.")],
    force: outputs.Force = False,
) -> None:
    """Write a data set as npz: train_x, train_y, test_x, test_y, features as float32 in 0 … 1.

    Example: droplab data export mnist mnist.npz
    """
    from droplab.data.files import load_dataset
    from droplab.data.npz import write_npz
    from droplab.errors import ConfigError

    if file.suffix != ".npz":
        raise ConfigError(f"the file to write must end in .npz; found {str(file)!r}. Write {file}.npz.")
    outputs.check_file(file, force, (name,), flag="FILE")
    dataset = load_dataset(name, notify=_notice)
    write_npz(dataset, file)
    if dataset.valid is not None:
        _notice(f"{file}: an npz has no valid split; its {dataset.valid.sum():,} examples are the last of train")
    print(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _notice(message: str) -> None:
    print(message, file=sys.stderr)
