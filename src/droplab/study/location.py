"""Where a store is, by what a user calls it."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from droplab.errors import StoreError
from droplab.study.postgresql import PostgreSQL
from droplab.study.sqlite import SQLite, file_of


def database_at(location: str | Path | None = None) -> SQLite | PostgreSQL:
    """The database of a store, which need not be there.

    Args:
        location: a path, `sqlite:///path`, or `postgresql+psycopg://user@host/database`; `None` means the environment's
            `DROPLAB_STORE`, or a file in the user's data folder.

    Raises:
        StoreError: if it is empty, a folder, or a URL of another kind.
    """
    where = location if location is not None else os.environ.get("DROPLAB_STORE")
    if where is None:
        where = Path(platformdirs.user_data_dir("droplab"), "store.sqlite")
    if not str(where).strip():
        raise StoreError(
            "a store must be a path or a URL; found an empty text. Name one with --store or DROPLAB_STORE."
        )
    scheme = where.partition("://")[0] if isinstance(where, str) and "://" in where else "sqlite"
    if scheme == "sqlite":
        return SQLite(file_of(where))
    if scheme in ("postgresql", "postgresql+psycopg", "postgres"):
        return PostgreSQL(str(where))
    raise StoreError(
        f"a store must be a file, a sqlite:///PATH or a postgresql+psycopg://USER@HOST/DATABASE; found a {scheme}:// "
        "URL. Name one of these."
    )
