"""Disks of this process's own: small ones, read-only ones. They need root and a mount namespace, and vanish with it."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_NEW_MOUNTS, _RECURSIVE, _PRIVATE = 0x20000, 0x4000, 1 << 18  # of unshare(2) and mount(2)


@cache
def own_mounts() -> bool:
    """Part from the machine's mounts, so that what is mounted here is seen by no other; whether that could be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_NEW_MOUNTS) != 0:
        return False
    return libc.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None) == 0


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """`folder` is a disk of that size."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, size: str) -> None:
    """Let the small disk in `folder` have another size."""
    _mount("-o", f"remount,size={size}", folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write into `folder`."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
