"""Whether a source would answer, asked without fetching anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from droplab.data.catalog import DebianPackage, Folder, Http, Npm, Source

_SECONDS = 8.0


def probe(source: Source, first_file: str) -> str:
    """Ask a source for a sign of life.

    Args:
        source: whom to ask.
        first_file: a file it should have, without `.gz`.

    Returns:
        `answers`, or in a few words why it does not.
    """
    match source:
        case Http(base):
            return _head(f"{base}{first_file}.gz")
        case Folder(path):
            return "answers" if Path(path).is_dir() else "not there"
        case Npm(package):
            return _client(["npm", "view", package, "version", "--fetch-retries=0"])
        case DebianPackage(package):
            return _client(["apt-cache", "show", package])


def _head(url: str) -> str:
    import requests

    try:
        status = requests.head(url, timeout=_SECONDS / 2, allow_redirects=True).status_code
    except requests.RequestException as error:
        return f"no answer ({type(error).__name__})"
    return "answers" if status == requests.codes.ok else f"answers with status {status}"


def _client(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]} gives no answer within {_SECONDS:g} s"
    return "answers" if done.returncode == 0 else f"{command[0]} does not know it or has no network"
