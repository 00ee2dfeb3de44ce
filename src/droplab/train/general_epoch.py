"""An epoch of a network that the fast step cannot train."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from droplab.random import Purpose, key_tensor, permutation, stream_key
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples
from droplab.train.general import general_step, training_noise
from droplab.train.outcome import Precision
from droplab.train.state import State
from droplab.train.step import scaled


def run_general_epoch(state: State, examples: Examples, precision: Precision, keep: Callable[[], None]) -> None:
    """Every training example once, in the epoch's order; begun where the state is.

    Args:
        state: of one run that is not plain.
        examples: to train on, and with early stopping to be watched on.
        precision: of the products.
        keep: called after every step, for a checkpoint.
    """
    clock = time.perf_counter()
    (settings,), extras, general = state.settings, state.extras, state.general(precision)
    assert extras is not None
    assert general is not None
    train, device = examples.train, examples.train.rows.device
    scale = torch.tensor(train.scale, dtype=torch.float32, device=device)
    key = key_tensor([stream_key(settings.seed, Purpose.ORDER, state.epoch)], device)
    batches = torch.split(permutation(key, len(train)), settings.batch_size, dim=1)
    for picked in batches[state.step :]:
        features, labels = train.batch(picked)
        loss = general_step(
            settings,
            general,
            state.layers,
            extras,
            scaled(features, scale, torch.float32),
            labels,
            training_noise(settings, state.epoch, state.step, device),
            state.epoch * len(batches) + state.step,
            len(batches),
        )
        state.total.add_(loss, alpha=picked.shape[1])
        state.step += 1
        state.train_seconds += time.perf_counter() - clock
        keep()
        clock = time.perf_counter()
    state.losses.append((state.total / len(train)).cpu().numpy())
    state.total.zero_()
    state.epoch, state.step = state.epoch + 1, 0
    state.train_seconds += time.perf_counter() - clock
    if extras.best:
        started = time.perf_counter()
        said = evaluate(state.network, examples.valid, "valid", precision, general=general)["off"]
        extras.note(said.nll.item(), state.epoch, state.layers)
        state.evaluate_seconds += time.perf_counter() - started


def stops(state: State) -> bool:
    """Whether early stopping has ended the run."""
    patience = dict(state.settings[0].regularizers).get("early_stopping")
    if patience is None or state.extras is None or isinstance(patience, tuple):
        return False
    return state.extras.has_waited(state.epoch, patience)
