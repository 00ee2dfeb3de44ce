"""An output folder: which files in it are droplab's own, and may be written over or taken away.

`.droplab-files` lists them, a line a file: SHA-256, two spaces, path in the folder. A line is there before its file is,
so that a killed write leaves none that is not known; several lines may stand for one path. A file whose bytes have
none of its hashes is the user's: it is not written over unless that is asked for, and never deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from droplab.data.disk import write_atomically
from droplab.errors import DataError

LIST = ".droplab-files"
_HEAD = "# What droplab wrote here, by SHA-256; of these it deletes what a later study does not write.\n"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_LONGEST = 200  # bytes of a name: an ending and what marks an unfinished file fit into 255 with it
_UNSAFE = re.compile(r'[/\\:*?"<>|]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", re.IGNORECASE)  # devices of Windows


class Folder:
    """A folder that droplab writes into; it is made when the first file is.

    Args:
        path: of the folder.
        force: whether files of the user's may be written over.
    """

    def __init__(self, path: Path, force: bool = False) -> None:
        self.path, self._force = path, force
        self._known: dict[str, set[str]] = {}
        self._written: dict[str, str] = {}
        try:
            head, *lines = (path / LIST).read_text("utf-8", "replace").split("\n")
        except (OSError, ValueError):  # none yet, or a path that cannot be: writing says so
            return
        for found in filter(None, map(_LINE.fullmatch, lines if f"{head}\n" == _HEAD else ())):
            digest, name = found.groups()
            if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts:
                self._known.setdefault(name, set()).add(digest)

    @property
    def written(self) -> tuple[str, ...]:
        """The files that were written, by their paths in the folder."""
        return tuple(self._written)

    def check(self, names: Collection[str]) -> None:
        """Raise unless each of these files can be written: none is there, or it is as droplab wrote it.

        Raises:
            DataError: if one is the user's.
        """
        for folder in {os.path.dirname(f"{self.path}/{name}") for name in names}:  # noqa: PTH120 - there may be a million
            if os.path.lexists(folder) and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):  # noqa: PTH112
                raise DataError(f"{folder}: must be a folder that can be written. Give another folder with --out.")
        for name in names:
            if not os.path.lexists(f"{self.path}/{name}"):
                continue
            path = self.path / name
            if not (path.is_file() and (self._force or self._is_own(name))):
                raise DataError(
                    f"{path} is not as droplab wrote it, and is kept. Give another folder with --out, or write over "
                    "its files: --force."
                )

    def write(self, name: str, content: bytes) -> Path:
        """Write a file, which takes the place of an older one once it is complete; its path.

        Raises:
            DataError: if it is the user's, or cannot be written.
        """
        self.check([name])
        path = self.path / name
        make_folder(path.parent)
        digest = hashlib.sha256(content).hexdigest()
        if not self._known:
            self._save({})
        if digest not in self._known.setdefault(name, set()):
            try:
                with (self.path / LIST).open("ab") as handle:
                    handle.write(f"\n{digest}  {name}\n".encode())  # the first sign ends a line that a kill left
            except OSError as error:
                raise DataError(f"{self.path / LIST}: cannot be written: {error.strerror}. Check the disk.") from None
        self._known[name].add(digest)
        self._written[name] = digest
        with write_atomically(path) as handle:
            handle.write(content)
        return path

    def finish(self) -> None:
        """Take away what an earlier call wrote here and this one did not, and list what is left."""
        for name in self._known.keys() - self._written.keys():
            if self._is_own(name):
                (self.path / name).unlink()
                with suppress(OSError):  # it is not empty, or there is none any more
                    (self.path / name).parent.rmdir()
        self._save(self._written)

    def _is_own(self, name: str) -> bool:
        path = self.path / name
        if name not in self._known or path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() in self._known[name]

    def _save(self, files: Mapping[str, str]) -> None:
        with write_atomically(self.path / LIST) as handle:
            handle.write((_HEAD + "".join(f"{digest}  {name}\n" for name, digest in files.items())).encode())


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """A name for files of each text: the text itself where it is one, else like it and with a hash behind.

    It has no separators and no signs that a system refuses, no dot first, at most 200 bytes, is none that Windows keeps
    for devices, and differs from all others also where upper and lower case are one.

    >>> list(file_names(["depth=5,dropout=0.5", "w/o momentum"]).values())
    ['depth=5,dropout=0.5', 'w_o momentum-19e68b255721']
    """
    names = {text: _safe(text) for text in texts}
    folded = Counter(map(_folded, names.values()))
    return {text: name if folded[_folded(name)] == 1 else _marked(name, text) for text, name in names.items()}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe(text: str) -> str:
    name = _UNSAFE.sub("_", "".join(sign if sign.isprintable() else "_" for sign in text)).strip(" .")
    name = f"_{name}" if not name or _RESERVED.match(name) else name
    return name if name == text and len(name.encode()) <= _LONGEST else _marked(name, text)


def _marked(name: str, text: str) -> str:
    mark = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{name.encode()[: _LONGEST - 13].decode(errors='ignore')}-{mark}"


def make_folder(folder: Path) -> None:
    """Make a folder of the output, and those above it.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{folder}: the output must be a folder that can be written; {reason}. Name another one."
        ) from None
