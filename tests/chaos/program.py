"""`droplab …` with checkpoints so often that a study of seconds has some, and workers, as one of hours does.

    python -m chaos.program study mine.toml …

It writes tables and models alone, no charts, which take longer than the training; `CHAOS_CHARTS=1` for all of it.
`CHAOS_COMPILING=0` lets every program be worth its compiling; `CHAOS_FILED=FILE` notes the key of each network trained.
"""

import os
import sys
from pathlib import Path

from droplab import cli
from droplab.api import StudyResult
from droplab.data.output import Folder
from droplab.study import forecast, packs
from droplab.study.filing import Filing
from droplab.train import checkpoint

checkpoint.EVERY_SECONDS = 0.2
forecast.WORKER_SECONDS = 0.0


def write_tables(result: StudyResult, out: Path, *_: object, **__: object) -> list[Path]:
    """Write what a study says in numbers."""
    return [Folder(out).write("results.csv", result.results().to_csv(index=False).encode())]


def note_each(path: str) -> None:
    """Write a line into a file for each network that comes to be filed."""
    plain = Filing.add

    def add(filing, pack, answer):
        with open(path, "a", encoding="ascii") as file:  # noqa: PTH123
            file.writelines(f"{run.key}\n" for run in pack)
        plain(filing, pack, answer)

    Filing.add = add


if __name__ == "__main__":
    if "CHAOS_COMPILING" in os.environ:
        packs.COMPILING_SECONDS = float(os.environ["CHAOS_COMPILING"])
    if "CHAOS_CHARTS" not in os.environ:
        StudyResult.write = write_tables
    if "CHAOS_FILED" in os.environ:
        note_each(os.environ["CHAOS_FILED"])
    sys.argv[0] = "droplab"
    cli.main()
