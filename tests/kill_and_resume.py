"""Trains a pack in child processes that are killed at twenty random moments, goes on, and tells what came of it.

    python kill_and_resume.py FOLDER

prints a list of {same_bits, had_checkpoint, steps, steps_of_all} as JSON. Run by tests/test_checkpoint.py.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

torch.set_num_threads(1)

from droplab.config import RunSettings  # noqa: E402 (after the number of threads is set)
from droplab.data.disk import KeptFile  # noqa: E402
from droplab.train import checkpoint as checkpoint_module  # noqa: E402
from droplab.train.checkpoint import Checkpoint  # noqa: E402
from droplab.train.loop import train_pack  # noqa: E402
from droplab.train.outcome import Way  # noqa: E402
from toy import toy_examples  # noqa: E402

EXAMPLES = toy_examples()
SETTINGS = [
    RunSettings(widths=(32, 16), dropout=0.5, epochs=12, batch_size=8, learning_rate=0.1, momentum=0.9, seed=seed)
    for seed in (0, 1)
]


def train(path: Path | None, way: Way) -> tuple[str, int]:
    """A hash of the weights, curves and metrics, and the number of steps done."""
    checkpoint_module.MOST_SHARE = 1e9
    keeper = Checkpoint(KeptFile(path or Path("nowhere")), way, every=0.02 if path else 1e9)
    plain, steps = keeper.offer, []
    keeper.offer = lambda states: (steps.append(1), plain(states))
    digest = hashlib.sha256()
    for result in train_pack(SETTINGS, EXAMPLES, way, lambda _: None, keeper):
        for name in sorted(result.weights):
            digest.update(result.weights[name].tobytes())
        digest.update(result.outcome.curves.train_loss.tobytes() + result.outcome.curves.losses.tobytes())
        digest.update(repr(result.outcome.metrics).encode())
    return digest.hexdigest(), len(steps)


def in_child(path: Path, way: Way, out: Path) -> int:
    child = os.fork()
    if child == 0:
        out.write_text(json.dumps(train(path, way)))
        os._exit(0)
    return child


def main(folder: Path) -> None:
    moments, trials = random.Random(0), []
    for number in range(20):
        way = Way("cpu", "fp32", stacked=number % 2 == 1)
        started = time.perf_counter()
        expected, steps_of_all = train(None, way)
        lasts = time.perf_counter() - started
        path, out = folder / f"{number}.safetensors", folder / f"{number}.json"
        child = in_child(path, way, out)
        time.sleep(moments.uniform(0, lasts))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        had = path.exists()
        os.waitpid(in_child(path, way, out), 0)
        digest, steps = json.loads(out.read_text())
        trials.append(
            {"same_bits": digest == expected, "had_checkpoint": had, "steps": steps, "steps_of_all": steps_of_all}
        )
    print(json.dumps(trials))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
