"""`make fuzz`: a million damaged files; exit code 1 where one did what it must not."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import reliability
from fuzz.harness import MOST_MEGABYTES, MOST_SECONDS, Tally, again, hunt
from fuzz.targets import TARGETS

_SHOWN = 5  # findings of a kind that are printed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="how many, over all targets")
    parser.add_argument("--first", type=int, default=0, help="the first case of each target: others than last time")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one; several times")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", nargs=2, metavar=("TARGET", "CASE"), help="one case, with its traceback and files")
    wanted = parser.parse_args()
    if wanted.again:
        name, number = wanted.again
        folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        print(f"{again(TARGETS[name], int(number), folder)}\nfiles: {folder}")
        return 0
    targets = [target for name, target in TARGETS.items() if not wanted.target or name in wanted.target]
    whole = sum(target.share for target in targets)
    cases = [range(wanted.first, wanted.first + max(target.share * wanted.files // whole, 1)) for target in targets]
    tallies = {target.name: Tally(target.name) for target in targets}
    started = told = time.monotonic()
    for chunk in hunt(targets, cases, wanted.workers):
        tally = tallies[chunk.name]
        _add(tally, chunk)
        for finding in chunk.findings:
            if sum(_kind(finding.what) == _kind(one.what) for one in tally.findings) <= _SHOWN:
                print(f"FOUND {finding.target}: {finding}", flush=True)
            tally.findings.append(finding)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            files, found = (
                sum(one.files for one in tallies.values()),
                sum(len(one.findings) for one in tallies.values()),
            )
            print(f"{files:,} of {sum(map(len, cases)):,} files, {told - started:.0f} s, {found} findings", flush=True)
    text = table(list(tallies.values()), time.monotonic() - started)
    print(text)
    if len(targets) == len(TARGETS) and wanted.files == parser.get_default("files"):
        reliability.write("Damaged files (`make fuzz`)", text)
    return int(any(tally.findings for tally in tallies.values()))


def _add(tally: Tally, chunk: Tally) -> None:
    for name in ("files", "refused", "accepted", "seconds"):
        setattr(tally, name, getattr(tally, name) + getattr(chunk, name))
    tally.megabytes, tally.slowest = max(tally.megabytes, chunk.megabytes), max(tally.slowest, chunk.slowest)


def _kind(what: str) -> str:
    """What findings of one cause have in common."""
    return f"{what[:25]} {what[what.rfind('(') :]}"


def table(tallies: list[Tally], seconds: float) -> str:
    """The tallies as Markdown."""
    lines = [
        "| target | files | a second | refused by an error of droplab's | taken | findings | most MB | slowest s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in tallies:
        speed = one.files / one.seconds if one.seconds else 0
        lines.append(
            f"| {one.name} | {one.files:,} | {speed:,.0f} | {one.refused:,} | {one.accepted:,} | {len(one.findings)} | "
            f"{one.megabytes:.0f} | {one.slowest:.2f} |"
        )
    files, found = sum(one.files for one in tallies), sum(len(one.findings) for one in tallies)
    lines += [
        "",
        f"{files:,} files in {seconds:,.0f} s, {found} findings. A finding: an exception not of droplab's, a warning, "
        f"a signal, more than {MOST_SECONDS:g} s of the processor, or more than {MOST_MEGABYTES:,} MB of the process; "
        "of what droplab keeps itself (model, store, checkpoints, pages) anything taken that is not what was kept, "
        "and a row that takes others down.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
