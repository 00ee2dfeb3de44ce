"""docs/results/reliability.md, of which `make fuzz` and `make chaos` write a section each."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "results" / "reliability.md"
_HEAD = """# Reliability: nothing lost, nothing believed

What damaged files, kills, signals, limits and full disks do to droplab. Each section is written by the command that it
names, from what it measured; a row in which anything did not hold says so.
"""


def write(title: str, text: str) -> None:
    """Put a section into the page in place of the one of that title, with when and where it was measured."""
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", page, re.MULTILINE))
    now = datetime.now(UTC)
    names = ("torch", "numpy", "pyarrow", "pillow")
    origin = (
        f"{now.day} {now:%B %Y}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in names)}."
    )
    sections[title] = f"\n{text}\n\n{origin}\n"
    body = "\n".join(f"## {name}\n{sections[name].rstrip()}\n" for name in sorted(sections))
    PAGE.write_text(f"{_HEAD}\n{body}", "utf-8")
    print(f"written: {PAGE}")
