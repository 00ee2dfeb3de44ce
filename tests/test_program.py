"""Compiled steps: the plain step in double precision is what they must do."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from filelock import FileLock

from droplab.config import RunSettings
from droplab.model.network import Network
from droplab.model.noise import Noise
from droplab.model.regularizers import TABLE, load_plugins
from droplab.study.backends import LocalProcesses
from droplab.study.backends.base import halves
from droplab.study.packs import with_way
from droplab.study.plan import plan_run
from droplab.train import program as program_module
from droplab.train.device import has_bf16_units
from droplab.train.examples import Part
from droplab.train.loop import program_of, train_pack
from droplab.train.optimizers import Optimizer
from droplab.train.outcome import Way
from droplab.train.program import Program
from droplab.train.step import plain_step
from recipes import EXAMPLES, kin_of, state_of
from study_help import alive, bits, children, direct_bits, one_by_one, python, wait_until

PLUGIN = """
import torch, droplab
def penalty(layers, hidden, strengths):
    rows = [torch.nn.functional.normalize(layer.weight[0], dim=1) for layer in layers]
    return strengths[0] * sum(((w @ w.T - torch.eye(len(w), device=w.device)) ** 2).sum() for w in rows)
def shaken(h, k, strengths, noise):
    return h * (1 + strengths[0] * noise.normal(k, h.shape[1], h.shape[2]))
droplab.register(droplab.Regularizer("ours", "me", 0.1, 1, "s", penalty=penalty, on_hidden=shaken))
"""
SIZES = (20, 10, 6, 4)
DROPOUT = Network(SIZES, regularizers=("dropout",))
SEPARATE = Program(DROPOUT, Optimizer(moving=True), "uint8", stacked=False)
HALF = replace(SEPARATE, network=replace(DROPOUT, precision="bf16"))
ADAM = {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 64, "widths": [10, 6], "dropout": 0.3, "epochs": 2}
OURS = [
    RunSettings.parse(
        ADAM | {"seed": seed, "regularizers": {"batch_norm": 1, "max_norm": 1 + seed / 5, "ours": seed / 9, "l2": 0.1}}
    )
    for seed in range(1, 4)
]
"""Runs of a stacked program with as much in it as a small one takes, a plugin's regularizer among it."""

BASE = RunSettings(widths=(10, 6), dropout=0.25, epochs=3, batch_size=64, learning_rate=0.2, momentum=0.5, seed=3)
FP32 = Way("cpu", "fp32")

needs_bf16 = pytest.mark.skipif(not has_bf16_units("cpu"), reason="this processor has no bf16 units")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with two programs, made once for this file, and a plugin."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPLAB_CACHE_DIR", str(folder))
        patch.setenv("DROPLAB_PLUGINS", str(folder / "plugin.py"))
        program_module._origin.cache_clear()
        load_plugins()
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(Program.compile, [SEPARATE, program_of(OURS, EXAMPLES, FP32)])) == [None, None]
        yield folder
    TABLE.pop("ours")
    program_module._origin.cache_clear()


@pytest.fixture(autouse=True)
def _use_cache(cache, monkeypatch):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(cache))


def training(runs, examples, dtype=torch.float32, precision="fp32"):
    """Networks, and the inputs of a step of so many examples."""
    state = state_of(*runs, precision=precision)
    inputs = next(state.inputs(state.networks))
    table = Part(EXAMPLES.train.features, EXAMPLES.train.labels, EXAMPLES.train.rows, 1 / 255)
    picked = torch.stack([torch.randperm(400, generator=torch.Generator().manual_seed(k)) for k in range(len(runs))])
    features, targets = table.batch(picked[:, :examples])
    scale, numbers = torch.tensor(1 / 255, dtype=dtype), inputs.numbers.to(dtype)
    networks = replace(
        state.networks,
        values=state.networks.values.to(dtype),
        statistics=state.networks.statistics.to(dtype),
        moments=[moment.to(dtype) for moment in state.networks.moments],
    )
    return networks, inputs._replace(features=features, targets=targets, scale=scale, numbers=numbers)


def differences(runs, examples, precision="fp32"):
    """Largest distance of loss, and of the update relative to its norm, from the plain step in double precision."""
    networks, inputs = training(runs, examples, precision=precision)
    before = networks.values.clone()
    way = Way("cpu", precision, compiled=True, stacked=len(runs) > 1)
    loss = program_of(runs, EXAMPLES, way).load()(networks, inputs)
    exact, exact_inputs = training(runs, examples, torch.float64)
    exact_loss = plain_step(exact, exact_inputs)
    right = exact.values - before.double()
    update = (networks.values.double() - exact.values).norm(dim=1) / right.norm(dim=1)
    return (loss.double() - exact_loss).abs().max().item(), update.max().item()


@pytest.mark.parametrize("examples", [2, 3, 64, 400])
@pytest.mark.parametrize("dropout", [0.5, 0.25])
def test_a_compiled_fp32_step_is_the_plain_step_in_double_precision(dropout, examples):
    """To 1e-6 in the loss and 1e-4 of the update; one unit dropped otherwise would move either by far more."""
    loss, update = differences([BASE.model_copy(update={"dropout": dropout})], examples)
    assert loss < 1e-6
    assert update < 1e-4


@pytest.mark.parametrize("examples", [3, 64, 400])
@pytest.mark.parametrize("runs", [OURS, OURS[:2]])
def test_a_compiled_stacked_step_has_a_plugins_regularizer_in_it(runs, examples):
    """A first step of Adam is as long for a gradient of rounding as for any other: 2 % of the update."""
    loss, update = differences(runs, examples)
    assert loss < 1e-5
    assert update < 2e-2


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize("examples", [2, 64, 400])
def test_a_compiled_bf16_step_is_the_plain_step_in_double_precision(examples):
    """bf16 has 8 significant bits: 0.3 % in the loss, 5 % of the update."""
    assert HALF.compile() is None
    loss, update = differences([BASE], examples, "bf16")
    assert loss < 3e-3
    assert update < 5e-2


def test_the_tolerance_would_notice_a_wrong_mask_of_one_example(monkeypatch):
    losses = []
    for flipped in (False, True):
        with monkeypatch.context() as patch:
            if flipped:
                patch.setattr(Noise, "mask", flipping(Noise.mask))
            losses.append(plain_step(*training([BASE], 64))[0])
    assert (losses[0] - losses[1]).abs() > 1e-5


def flipping(mask):
    """The masks with those of the first example turned over in the first hidden layer."""

    def wrong(self, place, *given):
        made = mask(self, place, *given)
        if place == 0:
            made[0, :1] = made.max() - made[0, :1]
        return made

    return wrong


def test_a_batch_of_one_example_is_trained_too():
    loss, update = differences([BASE], 1)
    assert loss < 1e-6
    assert update < 1e-4


def test_arms_that_differ_in_rates_and_seeds_share_a_program():
    other = BASE.model_copy(update={"dropout": 0.5, "seed": 9, "learning_rate": 0.1, "epochs": 50})
    assert program_of([BASE], EXAMPLES, FP32) == program_of([other], EXAMPLES, FP32) == SEPARATE
    assert program_of(OURS, EXAMPLES, FP32) == program_of(OURS[:2], EXAMPLES, FP32) != SEPARATE
    for changed in ({"dropout": 0.0}, {"dropout": 1 / 3}, {"momentum": 0.0}, {"activation": "tanh"}):
        assert program_of([BASE.model_copy(update=changed)], EXAMPLES, FP32) != SEPARATE


def test_the_order_of_a_packs_runs_is_nothing_to_its_program():
    kin = kin_of("gaussian")
    assert program_of(kin, EXAMPLES, FP32) == program_of(kin[::-1], EXAMPLES, FP32)


def test_a_program_is_what_it_is_written_as_and_has_the_plugins_in_its_name(monkeypatch):
    program, old = program_of(OURS, EXAMPLES, FP32), SEPARATE.path
    assert Program.read(program.text) == program
    monkeypatch.setenv("DROPLAB_PLUGINS", "")
    program_module._origin.cache_clear()
    assert SEPARATE.path != old
    program_module._origin.cache_clear()


def test_a_compiled_run_has_the_same_bits_alone_and_in_packs():
    way = Way("cpu", "fp32", compiled=True)
    others = [BASE.model_copy(update={"dropout": 0.5, "seed": seed}) for seed in range(6)]
    alone = train_pack([BASE], EXAMPLES, way, lambda _: None)[0]
    for neighbours in (others[:1], others):
        together = train_pack([*neighbours, BASE], EXAMPLES, way, lambda _: None)[-1]
        for name, weights in alone.weights.items():
            assert (together.weights[name] == weights).all()


def test_a_compiled_training_is_the_uncompiled_one_to_rounding():
    curves = [
        train_pack([BASE], EXAMPLES, Way("cpu", "fp32", compiled=compiled), lambda _: None)[0].outcome.curves.train_loss
        for compiled in (False, True)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)


def test_worker_processes_take_the_program_and_give_the_same_bits():
    way = Way("cpu", "fp32", compiled=True)
    run = plan_run(BASE, "f" * 64, way)
    executed = LocalProcesses(1).execute([(run,)], EXAMPLES, lambda *_: None, print, lambda: False)
    (found,) = [result for _, result in one_by_one(executed)]
    assert bits(found) == direct_bits([run])[run.key]


def test_half_a_pack_needs_no_program():
    """Nobody has compiled one for a run by itself, or for those without dropout."""
    runs = [plan_run(BASE.model_copy(update={"seed": seed}), "f" * 64, Way("cpu", "fp32")) for seed in range(3)]
    pack = with_way(tuple(runs), Way("cpu", "fp32", compiled=True, stacked=True))
    first, second = halves(pack)
    assert [run.way for run in first] == [Way("cpu", "fp32")]
    assert [run.way for run in second] == [Way("cpu", "fp32", stacked=True)] * 2


def test_a_program_that_is_there_is_not_made_again(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("compiled again"))
    assert SEPARATE.compile() is None


def test_without_a_compiler_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = SEPARATE.compile()
    assert reason is not None
    assert "\n" not in reason
    assert not SEPARATE.path.exists()


def test_a_cache_that_cannot_be_written_is_a_reason_too(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path / "file"))
    assert "file" in (SEPARATE.compile() or "").lower() or "directory" in (SEPARATE.compile() or "").lower()


def test_a_compiler_that_is_stopped_ends_at_once_with_all_that_it_started(monkeypatch, tmp_path):
    """Its place is taken by a script that begins a program file and something that lasts."""
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    started, compiler, stem = tmp_path / "pid", tmp_path / "compiler", SEPARATE.path.with_suffix("")
    compiler.write_text(
        f"#!/bin/sh\ntouch {stem}.$$.so\nsleep 1000 & echo $! > {started}.new\nmv {started}.new {started}\nwait\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(compiler))
    assert SEPARATE.compile(started.exists) is not None
    wait_until(lambda: not alive(int(started.read_text())), 5, "the end of what the compiler started")
    assert list(SEPARATE.path.parent.iterdir()) == []


def test_who_waits_for_the_compiler_of_another_can_be_stopped(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    SEPARATE.path.parent.mkdir()
    asked = []
    with FileLock(SEPARATE.path.with_suffix(".lock")):
        assert SEPARATE.compile(lambda: asked.append(1) or len(asked) > 2) == "stopped"


def test_a_compiler_does_not_outlive_a_killed_parent(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    with python("-c", "import test_program; test_program.SEPARATE.compile()") as parent:
        wait_until(lambda: children(parent.pid), what="the compiler")
        (compiler,) = children(parent.pid)
        parent.kill()
        wait_until(lambda: not alive(compiler), 20, "the end of the compiler")
    assert list(tmp_path.rglob("*.so")) == []


def test_what_a_killed_compiler_left_is_swept_once_it_is_old(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path))
    folder, stem = SEPARATE.path.parent, "0" * 64
    folder.mkdir()
    kept = [f"{stem}.so", f"{stem}.1.so.bak", "notes.lock", f"{stem}.77.so"]
    for name in (f"{stem}.7.so", f"{stem}.lock", *kept):
        (folder / name).write_text("")
        os.utime(folder / name, None if name is kept[-1] else (0, 0))
    SEPARATE.path.write_text("there already")
    assert SEPARATE.compile() is None
    assert sorted(path.name for path in folder.iterdir()) == sorted([*kept, SEPARATE.path.name])


def test_loading_a_program_does_not_import_the_compiler():
    """It would cost every worker seconds and 80 MB."""
    code = (
        "import sys, test_program; test_program.SEPARATE.load();"
        "sys.exit('torch._inductor' in sys.modules or 'torch._dynamo.convert_frame' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=__file__.rpartition("/")[0], check=False).returncode == 0
