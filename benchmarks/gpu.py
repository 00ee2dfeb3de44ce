"""The command of `make gpu`: every test that needs a GPU and every benchmark on it, into one file."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.cases import CASES

RESULT = Path(__file__).parent / "results-gpu.md"

BENCHMARKS = {name: [name, "--against", "plain,stacked,jax"] for name in CASES} | {"study": ["study"]}


def main() -> int:
    """0 if all passed, 1 if something failed, 2 if there is no GPU to do it on."""
    if not torch.cuda.is_available():
        print("make gpu needs an NVIDIA GPU; torch.cuda finds none here. Nothing was run.", file=sys.stderr)
        return 2
    steps = {"tests": ["pytest", "-m", "gpu", "-q"]}
    steps |= {name: ["benchmarks", *words, "--device", "cuda"] for name, words in BENCHMARKS.items()}
    text = [f"# On a GPU: {torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {datetime.now(UTC):%d %B %Y}"]
    failed = False
    for title, words in steps.items():
        print(f"=== {title}", flush=True)
        done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        failed |= done.returncode != 0
        ended = f" ended with {done.returncode}" if done.returncode else ""
        said = f"```text\n{done.stdout.strip()}\n```" if title == "tests" else done.stdout.strip()
        text += [f"\n## {title}\n", f"`python -m {' '.join(words)}`{ended}\n", said]
        RESULT.write_text("\n".join(text) + "\n", "utf-8")  # what is there is kept if a later one fails
    print(f"written: {RESULT}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
