"""The files of a store in its database, in pieces: every machine that reaches the database has them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select

from droplab.data.disk import ABANDONED
from droplab.errors import StoreError
from droplab.study.files import Files, Kind, StoredFile
from droplab.study.postgresql import PostgreSQL
from droplab.study.schema import pieces_table

_PIECE = 4 << 20  # bytes: small beside what a server and a driver hold at once
_NAMES = 500  # in one query

_of = pieces_table.c


@dataclass(frozen=True)
class Pieces(Files):
    """Files in the table `pieces`. They are written in one transaction, that others may write beside."""

    database: PostgreSQL

    def where(self, kind: Kind, name: str = "") -> str:
        """The database."""
        return f"{self.database.name}, table pieces" + (f", {kind[:-1]} {name}" if name else "")

    def write(self, kind: Kind, files: Iterable[tuple[str, bytes]]) -> None:
        """As the contract says, all or none of them; small ones go to the server together."""
        counts: dict[str, int] = {}
        with self.database.changing() as connection:
            key = {"kind": kind, "written": self.database.now(connection)}
            for batch in _batches(files, counts):
                self.database.replace(connection, pieces_table, [key | piece for piece in batch])
            rest = delete(pieces_table).where(
                _of.kind == kind, _of.name == bindparam("of"), _of.number >= bindparam("n")
            )
            if counts:
                connection.execute(rest, [{"of": name, "n": count} for name, count in counts.items()])

    def read(self, kind: Kind, name: str) -> bytes:
        """As the contract says; a database that is away is waited for."""
        wanted = select(_of.content).where(_of.kind == kind, _of.name == name).order_by(_of.number)

        def ask() -> list[bytes]:
            with self.database.reading() as connection:
                return list(connection.scalars(wanted))

        if found := self.database.waited(ask):
            return b"".join(found)
        raise StoreError(f"{self.where(kind, name)}: is not there.")

    def there(self, kind: Kind, names: Iterable[str]) -> dict[str, int]:
        """As the contract says."""
        found: dict[str, int] = {}
        rest = iter(names)
        size = func.sum(func.octet_length(_of.content))
        with self.database.reading() as connection:
            while chunk := list(islice(rest, _NAMES)):
                query = select(_of.name, size).where(_of.kind == kind, _of.name.in_(chunk)).group_by(_of.name)
                found |= {name: int(size_of) for name, size_of in connection.execute(query)}
        return found

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """As the contract says."""
        rest = iter(names)
        with self.database.changing() as connection:
            while chunk := list(islice(rest, _NAMES)):
                connection.execute(delete(pieces_table).where(_of.kind == kind, _of.name.in_(chunk)))

    def listed(self, kind: Kind, needed: Container[str]) -> Iterator[StoredFile]:
        """As the contract says; none is half-written."""
        with self.database.reading() as connection:
            yield from self._listed(connection, kind, needed)

    def sweep(self, kind: Kind, needed: Container[str]) -> None:
        """As the contract says."""
        self.remove(kind, [file.name for file in self.listed(kind, needed) if file.orphan])

    def _listed(self, connection: Connection, kind: Kind, needed: Container[str]) -> Iterator[StoredFile]:
        size, written = func.sum(func.length(_of.content)), func.max(_of.written)
        now = self.database.now(connection)
        for name, size_of, when in connection.execute(
            select(_of.name, size, written).where(_of.kind == kind).group_by(_of.name)
        ):
            yield StoredFile(name, int(size_of), False, name not in needed and now - when > ABANDONED)


def _batches(files: Iterable[tuple[str, bytes]], counts: dict[str, int]) -> Iterator[list[dict[str, Any]]]:
    """Pieces of files, about as many bytes as one piece may have; `counts` gets how many each file has."""
    batch: list[dict[str, Any]] = []
    size = 0
    for name, content in files:
        starts = range(0, max(1, len(content)), _PIECE)
        counts[name] = len(starts)
        for number, start in enumerate(starts):
            batch.append({"name": name, "number": number, "content": content[start : start + _PIECE]})
            size += len(batch[-1]["content"])
            if size >= _PIECE:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
