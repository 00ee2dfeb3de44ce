"""What a GPU does, where there is none: what is recorded and replayed, and that no operation is on two devices."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from droplab.train import graphs, loop
from droplab.train.loop import train_pack
from droplab.train.outcome import Way
from droplab.train.step import flat_step, plain_step
from recipes import EXAMPLES, RECIPES, run_of, state_of
from study_help import bits
from test_loop import STOPPING


@pytest.fixture
def recorded(monkeypatch):
    """Lets graphs be recorded on a CPU: while one is, nothing moves; gives the shapes of their batches."""
    graph, shapes = SimpleNamespace(), []

    def traced(network, optimizer, _):
        def record(*tensors):
            losses = torch.full((2, len(tensors[0])), torch.nan)
            graph.replay = lambda: losses.copy_(flat_step(network, optimizer)(*tensors))
            shapes.append(tuple(tensors[-4].shape))
            return losses

        return record

    def begun():
        nonlocal graph
        graph = SimpleNamespace()
        return graph

    monkeypatch.setattr(graphs, "traced_step", traced)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", begun)
    monkeypatch.setattr(torch.cuda, "graph", nullcontext)
    return shapes


def test_each_size_is_recorded_at_its_fourth_step_and_replayed_from_then_on(recorded, monkeypatch):
    steps = []
    monkeypatch.setattr(graphs, "plain_step", lambda *given: steps.append(1) or plain_step(*given))
    state, step = state_of(run_of("dropout", epochs=9)), graphs.graphed()
    for epoch in range(5):  # each of six batches of 64 and one of 16
        state.networks.epoch = epoch
        for inputs in state.inputs(state.networks):
            step(state.networks, inputs)
    assert recorded == [(1, 64), (1, 16)]
    assert len(steps) == 3 + 3


@pytest.mark.parametrize("kind", ["momentum, inverse time", "all"])
def test_what_is_replayed_is_the_plain_training(recorded, monkeypatch, kind):
    """Features, classes, noise and numbers of each step are copied to where the graph reads them."""
    run = run_of(kind, epochs=6)
    (plain,) = train_pack([run], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    monkeypatch.setattr(loop, "step_of", lambda *_: graphs.graphed())
    (replayed,) = train_pack([run], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    assert recorded
    assert bits(replayed) == bits(plain)


def test_a_pack_that_grows_smaller_is_recorded_anew(recorded, monkeypatch):
    way = Way("cpu", "fp32", stacked=True)
    plain = train_pack(STOPPING, EXAMPLES, way, lambda _: None)
    monkeypatch.setattr(loop, "step_of", lambda *_: graphs.graphed())
    replayed = train_pack(STOPPING, EXAMPLES, way, lambda _: None)
    assert len({runs for runs, _ in recorded}) > 1
    assert [bits(one) for one in replayed] == [bits(one) for one in plain]


@pytest.mark.usefixtures("recorded")
def test_a_step_that_cannot_be_recorded_runs_without_after_one_warning(monkeypatch):
    def refused(_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refused)
    monkeypatch.setattr(loop, "step_of", lambda *_: graphs.graphed())
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph and runs without: operation") as said:
        (done,) = train_pack([run_of("sgd")], EXAMPLES, Way("cpu", "fp32"), lambda _: None)
    assert len(said) == 1
    monkeypatch.undo()
    assert bits(done) == bits(train_pack([run_of("sgd")], EXAMPLES, Way("cpu", "fp32"), lambda _: None)[0])


def test_no_operation_of_any_recipe_is_on_two_devices():
    script = Path(__file__).with_name("pretended.py")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=300)
    assert said.returncode == 0, said.stderr
    faults = json.loads(said.stdout)
    assert "at least two devices" in faults.pop("mixed"), "which would be found"
    assert faults == dict.fromkeys([*RECIPES, "registered"])
