"""Checkpoints: a training that is killed goes on from where it was, and ends with the same bits."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from droplab.config import RunSettings
from droplab.data.disk import KeptFile
from droplab.train import checkpoint as checkpoint_module
from droplab.train.checkpoint import Checkpoint
from droplab.train.loop import train_pack
from droplab.train.outcome import Way
from droplab.train.state import State
from toy import toy_examples

EXAMPLES = toy_examples()
BASE = RunSettings(widths=(24, 12), dropout=0.3, epochs=4, batch_size=16, learning_rate=0.2, momentum=0.5, seed=3)
PACK = [BASE, BASE.model_copy(update={"seed": 4, "dropout": 0.0})]
STEPS = 4 * 25 * 2  # epochs × batches × runs
WAYS = [Way("cpu", "fp32"), Way("cpu", "fp32", stacked=True)]


class StopError(Exception):
    """Stands for the end of the process."""


def trained(way, checkpoint=None):
    return train_pack(PACK, EXAMPLES, way, lambda _: None, checkpoint)


def stop_after(monkeypatch, steps):
    """Let a training die after so many steps; gives the list that counts them."""
    done = []
    plain = Checkpoint.offer

    def offer(self, states):
        plain(self, states)
        done.append(1)
        if len(done) == steps:
            raise StopError

    monkeypatch.setattr(Checkpoint, "offer", offer)
    return done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [1, 24, 25, 26, 50, 77, 99])
def test_a_training_goes_on_to_the_bits_of_an_uninterrupted_one(tmp_path, monkeypatch, way, steps):
    path = tmp_path / "pack.safetensors"
    whole = trained(way)
    monkeypatch.setattr(checkpoint_module, "MOST_SHARE", 1e9)
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(StopError):
            trained(way, Checkpoint(KeptFile(path), way, every=0))
    with monkeypatch.context() as patch:
        done = stop_after(patch, -1)
        again = trained(way, Checkpoint(KeptFile(path), way))
    for one, other in zip(whole, again, strict=True):
        for name, weights in one.weights.items():
            np.testing.assert_array_equal(other.weights[name], weights)
        assert one.outcome.metrics == other.outcome.metrics
        np.testing.assert_array_equal(one.outcome.curves.train_loss, other.outcome.curves.train_loss)
        np.testing.assert_array_equal(one.outcome.curves.losses, other.outcome.curves.losses)
    in_all = STEPS // 2 if way.stacked else STEPS
    assert len(done) == in_all - steps


def test_a_study_killed_at_twenty_random_moments_goes_on_each_time(tmp_path):
    """By SIGKILL, in processes of their own: see tests/kill_and_resume.py."""
    script = Path(__file__).with_name("kill_and_resume.py")
    said = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert said.returncode == 0, said.stderr
    trials = json.loads(said.stdout)
    assert len(trials) == 20
    assert all(trial["same_bits"] for trial in trials)
    resumed = [trial for trial in trials if trial["had_checkpoint"]]
    assert len(resumed) >= 10
    assert all(trial["steps"] < trial["steps_of_all"] for trial in resumed)


def test_none_is_written_before_its_time(tmp_path):
    result = trained(WAYS[0], Checkpoint(KeptFile(tmp_path / "pack.safetensors"), WAYS[0]))[0]
    assert result.outcome.checkpoints.count == 0
    assert list(tmp_path.iterdir()) == []


def test_size_and_time_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "MOST_SHARE", 1e9)
    path = tmp_path / "pack.safetensors"
    cost = trained(WAYS[1], Checkpoint(KeptFile(path), WAYS[1], every=0))[0].outcome.checkpoints
    assert cost.count == STEPS // 2
    assert cost.seconds > 0
    assert cost.fault is None
    weights = 2 * (20 * 24 + 24 + 24 * 12 + 12 + 12 * 4 + 4)
    assert 8 * weights < cost.bytes < 8 * weights + 10_000


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoint_module.time, "perf_counter", lambda: clock[0])
    checkpoint = Checkpoint(KeptFile(tmp_path / "pack.safetensors"), WAYS[0], every=1)

    def slow(states):
        clock[0] += 3
        return 1

    monkeypatch.setattr(checkpoint, "write", slow)
    for _ in range(10_000):
        clock[0] += 0.1
        checkpoint.offer([])
    assert checkpoint.cost.count >= 3
    assert checkpoint.cost.seconds < 0.03 * clock[0]


def test_a_disk_that_refuses_costs_the_checkpoint_and_not_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    result = trained(WAYS[0], Checkpoint(KeptFile(tmp_path / "file" / "pack.safetensors"), WAYS[0], every=0))[0]
    assert "file" in result.outcome.checkpoints.fault
    np.testing.assert_array_equal(result.weights["layers.0.weight"], trained(WAYS[0])[0].weights["layers.0.weight"])


@pytest.mark.parametrize("damage", ["none", "cut", "empty", "text", "other runs", "other way", "other shapes"])
def test_a_checkpoint_that_cannot_be_used_is_begun_anew(tmp_path, monkeypatch, damage):
    path = tmp_path / "pack.safetensors"
    monkeypatch.setattr(checkpoint_module, "MOST_SHARE", 1e9)
    with monkeypatch.context() as patch:
        stop_after(patch, 30)
        with pytest.raises(StopError):
            trained(WAYS[1], Checkpoint(KeptFile(path), WAYS[1], every=0))
    content = path.read_bytes()
    if damage == "other runs":
        others = [run.model_copy(update={"seed": run.seed + 5}) for run in PACK]
        renamed = Checkpoint(KeptFile(path.rename(tmp_path / "other.safetensors")), WAYS[1])
        got = train_pack(others, EXAMPLES, WAYS[1], lambda _: None, renamed)
        expected = train_pack(others, EXAMPLES, WAYS[1], lambda _: None)
        assert np.array_equal(got[0].weights["layers.0.weight"], expected[0].weights["layers.0.weight"])
        return
    if damage == "other way":
        way = replace(WAYS[1], compiled=True)
        assert not Checkpoint(KeptFile(path), way).read([])
        assert Checkpoint(KeptFile(path), replace(way, device="cuda")).read(
            [State(PACK, EXAMPLES, torch.device("cpu"), "fp32")]
        )
        return
    if damage == "none":  # what the others are held against: this one is used
        done = stop_after(monkeypatch, -1)
        trained(WAYS[1], Checkpoint(KeptFile(path), WAYS[1]))
        assert len(done) == STEPS // 2 - 30
        return
    if damage == "other shapes":
        wider = [run.model_copy(update={"widths": (25, 12)}) for run in PACK]
        got = train_pack(wider, EXAMPLES, WAYS[1], lambda _: None, Checkpoint(KeptFile(path), WAYS[1]))
        assert np.array_equal(
            got[0].weights["layers.0.weight"],
            train_pack(wider, EXAMPLES, WAYS[1], lambda _: None)[0].weights["layers.0.weight"],
        )
        return
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"no checkpoint"}[damage])
    for one, other in zip(trained(WAYS[1]), trained(WAYS[1], Checkpoint(KeptFile(path), WAYS[1])), strict=True):
        np.testing.assert_array_equal(one.weights["layers.0.weight"], other.weights["layers.0.weight"])


@pytest.mark.gpu
def test_a_checkpoint_goes_from_gpu_to_cpu_and_back(tmp_path, monkeypatch):
    path = tmp_path / "pack.safetensors"
    there = EXAMPLES.to(torch.device("cuda"))
    gpu = Way("cuda", "fp32", stacked=True)
    for way, examples, steps in ((gpu, there, 30), (WAYS[1], EXAMPLES, 30)):
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(StopError):
                train_pack(PACK, examples, way, lambda _: None, Checkpoint(KeptFile(path), way, every=0))
    done = stop_after(monkeypatch, -1)
    again = train_pack(PACK, there, gpu, lambda _: None, Checkpoint(KeptFile(path), gpu))
    assert len(done) == STEPS // 2 - 60
    whole = trained(WAYS[1])
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_allclose(one.outcome.curves.train_loss, other.outcome.curves.train_loss, rtol=1e-3)
