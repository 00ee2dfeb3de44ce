"""Where commands write: never over what they read or over the store, and over what is there only where that may be.

One mechanism for all commands: `check_file` for a file, `open_folder` for a folder.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from droplab.cli.options import path_text

Force = Annotated[bool, typer.Option("--force", help="Write over files that exist.")]
Raw = Annotated[
    bool, typer.Option("--raw", help="Text in CSV as it is, also where a spreadsheet takes it for a formula.")
]

_PASSWORD = re.compile(r"(\bpostgres[^:/]*://[^:/@]*):[^@]*(@)|(?<=[?&])(?:ssl)?password=[^&]*(&|$)")


def path(text: str) -> Path:
    """A path as an option."""
    return Path(path_text(text))


def shown(text: str) -> str:
    """Text of the command line as text of a file: a path need not be UTF-8."""
    return os.fsencode(text).decode("utf-8", "replace")


def command(words: Iterable[str]) -> str:
    """A command line as text of a file; without a store's password, for which who repeats it has ~/.pgpass."""
    return shown(shlex.join(["droplab", *(_PASSWORD.sub(r"\1\2\3", word) for word in words)]))


def check_file(
    out: Path, force: bool, inputs: Sequence[str | Path | None], store: str | None = None, flag: str = "--out"
) -> None:
    """Raise unless a file can be written there: none that is read, none of the store's, an existing one by `force`.

    Args:
        out: the file.
        force: whether it may be written over.
        inputs: what the command reads, as typed; `FEATURES,LABELS` are two.
        store: as typed; `None` for the user's own.
        flag: how messages call it.
    """
    from droplab.errors import DroplabError

    try:
        part = out.with_name(f".{out.name}.{'0' * 12}.part")  # as long a name as writing takes
        if out.exists() and not out.is_file():
            raise OSError
        part.touch()
        part.unlink()
    except (OSError, ValueError):
        raise DroplabError(
            f"{flag} must be a file in a folder that can be written; found {out}. Give another."
        ) from None
    _check_apart([out], inputs, store, flag, own=False)
    if out.exists() and not force:
        raise DroplabError(
            f"{out} is there already, and is kept. Give another file with {flag}, or write over it: --force."
        )


def open_folder(
    out: Path,
    names: Sequence[str],
    force: bool,
    inputs: Sequence[str | Path | None],
    store: str | None,
    dry: bool = False,
) -> Path:
    """The output folder, made, and known to be writable before anything is trained.

    Args:
        out: the folder.
        names: of the files that may be written into it.
        force: whether those that droplab did not write may be written over.
        inputs: what the command reads, as typed.
        store: as typed.
        dry: whether nothing is left behind.

    Raises:
        DroplabError: if it cannot be made or written, or a file is read, the store's, or the user's.
    """
    from droplab.data.output import Folder
    from droplab.errors import DroplabError

    # Of a million names only those are looked into that are there already, or are called as a store.
    there = (name for name in names if os.path.lexists(f"{out}/{name}") or "/" not in name)
    files = [out / name for name in there]
    _check_apart([out, *files], inputs, store, "--out", own=True)
    Folder(out, force).check(names)
    made = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        dry = True
        raise DroplabError(f"--out must be a folder that can be written; {error}. Give another.") from None
    finally:
        for folder in made if dry else ():
            with suppress(OSError):
                folder.rmdir()
    return out


def _check_apart(
    outputs: Iterable[Path], inputs: Sequence[str | Path | None], store: str | None, flag: str, own: bool
) -> None:
    """Raise if an output is read or the store's; where it may be droplab's `own`, what is read may hold it."""
    from droplab.errors import DroplabError, StoreError
    from droplab.study.location import database_at
    from droplab.study.sqlite import SQLite

    database = None
    with suppress(*[StoreError] if store is None else []):  # a command without a store need not have a sound one
        found = database_at(store)
        database = found.path if isinstance(found, SQLite) else None
    read = [Path(part) for one in inputs if one for part in (str(one), *str(one).split(","))]
    for out in outputs:
        is_read = any(_same(out, one) or (not own and _inside(out, one)) for one in read)
        is_read = is_read or ("-" in inputs and _is_stdin(out))
        if is_read or (database is not None and (_same(out, database) or _of_store(out, database))):
            raise DroplabError(f"{flag} must not be what is read, nor the store; found {out}. Give another.")


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are of one file, by whatever spelling or link."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one is not there
        return False


def _inside(out: Path, folder: Path) -> bool:
    """Whether a file that exists lies in a folder."""
    try:
        return out.exists() and folder.is_dir() and out.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def _is_stdin(out: Path) -> bool:
    with suppress(OSError, ValueError):
        return os.path.samestat(out.stat(), os.fstat(0))
    return False


def _of_store(out: Path, database: Path) -> bool:
    """Whether a path is a store's database, one of the files beside it, or in a folder of its."""
    names = {database.name} | {f"{database.name}-{kind}" for kind in ("wal", "shm", "journal")}
    try:
        found = out.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    folders = re.compile(rf"{re.escape(database.stem)}(-[0-9a-f]{{8}})?-(weights|checkpoints)")
    return any(
        one.parent == database.parent and (one.name in names or folders.fullmatch(one.name) is not None)
        for one in (found, *found.parents)
    )
