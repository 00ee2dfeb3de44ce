"""The studies and the reproductions that come with droplab, one TOML file each."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def preset_names() -> list[str]:
    """Names of the studies that come with droplab."""
    return _names()


def reproduction_names() -> list[str]:
    """Names of the reproductions that come with droplab."""
    return _names("reproduce")


def read_preset(*path: str) -> str:
    """The TOML of a preset by its path: its name, for a reproduction behind `reproduce`."""
    *folders, name = path
    return resources.files(__name__).joinpath(*folders, f"{name}.toml").read_text("utf-8")


def _names(*folders: str) -> list[str]:
    folder = resources.files(__name__).joinpath(*folders)
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
