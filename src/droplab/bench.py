"""The yardstick: the post's program against droplab, turn by turn in one run on one machine.

    python -m droplab.bench

The post's program is written as its user would write it (TensorDataset, DataLoader, `nn.Sequential`, `nn.Dropout`,
`optim.SGD`), uses every thread, and trains one network after another. droplab trains the same networks on the way that
`droplab study` takes: a worker process of one thread a core. Both train only; nothing is evaluated while timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from droplab.config import RunSettings, halving_widths

if TYPE_CHECKING:
    from droplab.train.examples import Examples
    from droplab.train.outcome import Way

DEPTHS = (1, 2, 3, 4, 5)
EPOCHS = 2
"""Epochs of each network in one turn of droplab; the post's program trains one a turn."""


class Turn(NamedTuple):
    """Seconds an epoch of the five networks together, in one turn."""

    post: float
    droplab: float


def post_epoch(examples: Examples, depth: int, dropout: float) -> float:
    """Seconds of one epoch of the post's program.

    Args:
        examples: whose training part is used.
        depth: weight layers; hidden widths halve from 512.
        dropout: rate of `nn.Dropout` after each hidden layer; 0 leaves it out.
    """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    train = examples.train
    features = train.features[train.rows].float() / 255
    widths = (examples.features, *halving_widths(depth, 512), examples.classes)
    modules: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        modules.append(nn.Linear(inputs, outputs))
        if index < depth - 1:
            modules += [nn.Dropout(dropout)] * (dropout > 0) + [nn.ReLU()]
    network = nn.Sequential(*modules)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    loader = DataLoader(TensorDataset(features, train.labels[train.rows]), batch_size=1024, shuffle=True)
    started = time.perf_counter()
    for inputs_batch, labels in loader:
        loss = nn.functional.cross_entropy(network(inputs_batch), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    return time.perf_counter() - started


def droplab_epochs(examples: Examples, dropout: float, way: Way, workers: int) -> float:
    """Seconds an epoch of the five networks with every worker busy: their training times over the workers.

    Args:
        examples: what to train on.
        dropout: rate on hidden layers.
        way: device and precision.
        workers: processes.
    """
    from droplab.errors import TrainingError
    from droplab.study.backends import choose_backend
    from droplab.study.plan import plan_run
    from droplab.study.runner import pack_runs

    recipe = RunSettings(dropout=dropout, widths=(1,), epochs=EPOCHS, mc_samples=1)
    runs = [
        plan_run(recipe.model_copy(update={"widths": halving_widths(depth, 512), "seed": seed}), "", way)
        for depth in DEPTHS
        for seed in range(workers)
    ]
    packs = pack_runs(runs, examples)
    total = 0.0
    backend = choose_backend(way, workers, len(packs))
    for _, trained in backend.execute(packs, examples, lambda *_: None, print, lambda: False):
        if isinstance(trained, TrainingError):
            raise trained
        total += trained.outcome.train_seconds
    return total / EPOCHS / workers / workers  # as many sets of five as workers, which share the time


def compare(examples: Examples, dropout: float, way: Way, turns: int) -> list[Turn]:
    """Let both train, turn by turn.

    Args:
        examples: what to train on.
        dropout: rate on hidden layers, for both.
        way: of droplab; the post's program is fp32 on the CPU.
        turns: how often.
    """
    from droplab.study.backends import cores

    return [
        Turn(
            post=sum(post_epoch(examples, depth, dropout) for depth in DEPTHS),
            droplab=droplab_epochs(examples, dropout, way, cores()),
        )
        for _ in range(turns)
    ]


def main() -> None:
    """Print the comparison for dropout and control in every precision that this machine has units for."""
    from droplab.data.files import load_dataset
    from droplab.study.backends import cores
    from droplab.train.device import device_name, has_bf16_units
    from droplab.train.examples import Examples
    from droplab.train.outcome import Way

    parser = argparse.ArgumentParser(prog="python -m droplab.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="how often each program has its turn (3)")
    turns = max(1, parser.parse_args().turns)
    dataset = load_dataset("mnist")
    examples = Examples.of(dataset, 1 / 6, 1)
    print(f"{device_name('cpu')}, {cores()} cores; seconds an epoch of the networks of 1 to 5 layers together")
    print(f"{'':22}{'the post':>10}{'droplab':>10}{'ratio (least to most)':>25}")
    for precision in ("fp32", "bf16") if has_bf16_units("cpu") else ("fp32",):
        for dropout in (0.5, 0.0):
            said = compare(examples, dropout, Way("cpu", precision), turns)
            ratios = sorted(turn.post / turn.droplab for turn in said)
            print(
                f"{precision + (', dropout 0.5' if dropout else ', no dropout'):22}"
                f"{statistics.median(turn.post for turn in said):10.2f}"
                f"{statistics.median(turn.droplab for turn in said):10.2f}"
                f"{statistics.median(ratios):10.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
