"""`make chaos`: studies are killed, stopped, limited, disturbed; exit code 1 where one lost or changed anything."""

import argparse
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from random import Random

import reliability
from chaos.disks import own_mounts
from chaos.scenarios import SCENARIOS, NotHereError, Scenario, kills

_SHOWN = 3  # complaints of a scenario that the table names


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many, over all kinds of study")
    parser.add_argument("--only", action="append", default=[], help="scenarios with this in their name; several times")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--at-once", type=int, default=2, help="how many trials at a time")
    parser.add_argument("--keep", type=Path, help="leave the folders of trials that fail in this one")
    wanted = parser.parse_args()
    whole = not wanted.only and wanted.kills == parser.get_default("kills")
    own_mounts()  # before any thread is begun, so that all share them
    for number in (signal.SIGINT, signal.SIGHUP):  # behind `nohup … &` studies would ignore them, as they should
        signal.signal(number, signal.SIG_DFL)
    scenarios = [
        one
        for one in (*kills(wanted.kills), *SCENARIOS)
        if not wanted.only or any(part in one.name for part in wanted.only)
    ]
    trials = [(one, number) for one in scenarios for number in range(one.times)]
    results: dict[str, list[list[str] | str]] = {one.name: [] for one in scenarios}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        root = Path(folder)
        with ThreadPoolExecutor(wanted.at_once) as pool:
            futures = {pool.submit(attempt, *trial, root, wanted.seed, wanted.keep): trial for trial in trials}
            for count, future in enumerate(as_completed(futures), 1):
                (one, number), found = futures[future], future.result()
                results[one.name].append(found)
                words = found if isinstance(found, str) else "; ".join(found) or "holds"
                took = time.monotonic() - started
                print(f"{count} of {len(trials)}, {took:.0f} s: {one.name} {number}: {words}", flush=True)
    text = table(scenarios, results, time.monotonic() - started)
    print(text)
    if whole:
        reliability.write("Kills, signals, limits (`make chaos`)", text)
    return int(any(isinstance(found, list) and found for trials in results.values() for found in trials))


def attempt(one: Scenario, number: int, root: Path, seed: int, keep: Path | None) -> list[str] | str:
    """What is wrong in one trial; a text where it cannot be made here."""
    root.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="trial-", dir=root, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # some are run by another user
        try:
            found = one.trial(folder / "here", root / "cache", Random(f"{one.name} {number} {seed}"))
        except NotHereError as reason:
            return f"not here: {reason}"
        except Exception:  # what a damaged store makes of the questions asked about it
            found = [traceback.format_exc(limit=-2).strip().splitlines()[-1]]
        if found and keep is not None:
            place = re.sub(r"\W+", "-", f"{one.name}-{number}")
            shutil.copytree(folder, keep / place, dirs_exist_ok=True)
    return found


def table(scenarios: list[Scenario], results: dict[str, list[list[str] | str]], seconds: float) -> str:
    """The results as Markdown."""
    lines = ["| what is done | what must hold | times | held | else |", "| --- | --- | --- | --- | --- |"]
    for one in scenarios:
        found = results[one.name]
        if absent := [text for text in found if isinstance(text, str)]:
            lines.append(f"| {one.name} | {one.must} | 0 | | {absent[0]} |")
            continue
        wrong = list(
            dict.fromkeys(complaint.replace("|", "¦")[:200] for complaints in found for complaint in complaints)
        )
        held = sum(not complaints for complaints in found)
        lines.append(f"| {one.name} | {one.must} | {len(found)} | {held} | {'; '.join(wrong[:_SHOWN])} |")
    trials = [found for one in scenarios for found in results[one.name] if isinstance(found, list)]
    held = sum(not found for found in trials)
    lines += ["", f"{held} of {len(trials)} trials held, in {seconds / 60:.0f} minutes, moments at random."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
