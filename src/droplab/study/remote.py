"""The files of a store at a URL that fsspec knows: S3, Google Cloud Storage, SFTP and others."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from droplab.data.disk import ABANDONED
from droplab.errors import DroplabError, StoreAwayError, StoreError
from droplab.study.database import reason
from droplab.study.files import Files, Kind, StoredFile
from droplab.study.folders import Folders

_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")
_MANY = 100  # files, from which on a list of all is sooner there than a look at each
_ADVICE = "Check the address and its credentials, or name another with --files."


def files_at(url: str, identity: str) -> Files:
    """The files of a store at a URL, or in a folder that all machines share, in a folder of the store's own.

    Args:
        url: as `files_url` gives it.
        identity: the store's.
    """
    if not url.startswith("file://"):
        return Remote(url, identity)
    folder = Path(url.removeprefix("file://")) / identity
    folders = Folders(folder / "weights", folder / "checkpoints", identity, "")  # each machine may call it otherwise
    if not folders.are_ours:
        with suppress(OSError, DroplabError):  # as where it can only be read
            folders.claim()
    return folders


def files_url(text: str) -> str:
    """A URL for what a user calls a place of files: a path, or a URL.

    Raises:
        StoreError: if fsspec does not know such URLs, or lacks what they need.
    """
    from fsspec import get_filesystem_class

    if not text.strip():
        raise StoreError("files must be at a path or URL; found an empty text. Name one with --files, or leave it out.")
    if "://" not in text or text.startswith("file://"):
        try:
            return f"file://{Path(text.removeprefix('file://')).expanduser().resolve()}"
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(f"files must be at a path or URL; found {text!r}: {error}.") from None
    scheme = text.partition("://")[0]
    try:
        get_filesystem_class(scheme)
    except (ValueError, ImportError) as error:
        raise StoreError(
            f"files must be at a path, or a URL of fsspec's; found {scheme}://: {reason(error)}."
        ) from None
    if re.match("[^/]*://[^/@]*:[^/]*@", text):
        raise StoreError(
            "files must be at a URL without a password, as the store keeps it and tells it; found one with. Give the "
            "password as fsspec takes it: FSSPEC_" + f"{scheme.upper()}_PASSWORD, or ~/.config/fsspec."
        )
    return text.rstrip("/")


def prove(files: Files) -> None:
    """Write, read and remove a file, before anything is trained whose weights are to lie there.

    Raises:
        DroplabError: if that cannot be done.
    """
    name = "0" * 64
    files.write("checkpoints", [(name, b"droplab")])
    files.read("checkpoints", name)
    files.remove("checkpoints", [name])


@dataclass(frozen=True)
class Remote(Files):
    """Files at a URL. One that was cut off while it was written is no file of its name's hash, and not believed."""

    url: str
    identity: str

    def where(self, kind: Kind, name: str = "") -> str:
        """A URL."""
        folder = f"{self.url}/{self.identity}/{kind}"
        return f"{folder}/{name[:2]}/{name}.safetensors" if name else folder

    def write(self, kind: Kind, files: Iterable[tuple[str, bytes]]) -> None:
        """As the contract says."""
        for name, content in files:
            path = self.where(kind, name)
            with self._failing(path, "written"):
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._system.pipe_file(path, content)

    def read(self, kind: Kind, name: str) -> bytes:
        """As the contract says."""
        path = self.where(kind, name)
        with self._failing(path, "read"):
            return bytes(self._system.cat_file(path))

    def there(self, kind: Kind, names: Iterable[str]) -> dict[str, int]:
        """As the contract says; of many names by a list of all files, which comes by the thousand."""
        wanted = set(names)
        if len(wanted) > _MANY:
            return {file.name: file.size for file in self.listed(kind, wanted) if file.name in wanted}
        found = {}
        with self._failing(self.where(kind), "read"):
            for name in wanted:
                with suppress(FileNotFoundError):
                    found[name] = int(self._system.info(self.where(kind, name))["size"])
        return found

    def remove(self, kind: Kind, names: Iterable[str]) -> None:
        """As the contract says."""
        for path in (self.where(kind, name) for name in names):
            with self._failing(path, "removed"), suppress(FileNotFoundError):
                self._system.rm_file(path)

    def listed(self, kind: Kind, needed: Container[str]) -> Iterator[StoredFile]:
        """As the contract says."""
        with self._failing(self.where(kind), "listed"):
            found = self._system.find(self.where(kind), detail=True)
        for path, about in found.items():
            if name := _NAME.fullmatch(path.rpartition("/")[2]):
                orphan = name[1] not in needed and self._is_old(path)
                yield StoredFile(name[1], int(about["size"]), False, orphan)

    def sweep(self, kind: Kind, needed: Container[str]) -> None:
        """As the contract says."""
        self.remove(kind, [file.name for file in self.listed(kind, needed) if file.orphan])

    @property
    def _system(self) -> Any:
        from fsspec.core import url_to_fs

        return url_to_fs(self.url)[0]  # which fsspec makes once a process

    def _is_old(self, path: str) -> bool:
        try:
            changed: datetime = self._system.modified(path)
        except Exception:  # what each system raises that does not know, or where another has just removed it
            return False
        if changed.tzinfo is None:
            changed = changed.replace(tzinfo=UTC)
        return (datetime.now(UTC) - changed).total_seconds() > ABANDONED

    @contextmanager
    def _failing(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StoreError(f"{path}: is not there.") from None
        except Exception as error:  # each file system has classes of its own; it may be well again later
            raise StoreAwayError(f"{path}: cannot be {what}: {reason(error)}. {_ADVICE}") from None
