"""Compiled steps: the plain step in double precision is what they must do."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from filelock import FileLock

from droplab.config import RunSettings
from droplab.model.initialise import initial_layers
from droplab.model.network import Layer
from droplab.model.regularizers import Dropout, Dropping
from droplab.study.backends import LocalProcesses
from droplab.study.backends.base import halves
from droplab.study.packs import with_way
from droplab.study.plan import plan_run
from droplab.train.device import has_bf16_units
from droplab.train.loop import program_of, train_pack
from droplab.train.optimizers import SGD
from droplab.train.outcome import Way
from droplab.train.program import Program
from droplab.train.step import StepInputs, plain_step
from study_help import alive, bits, children, one_by_one, python, wait_until
from toy import toy_examples

CPU = torch.device("cpu")
SEPARATE = Program((20, 24, 12, 4), "uint8", "fp32", stacked=False, mask_bytes=1, momentum=False)
STACKED = Program((20, 24, 12, 4), "float32", "fp32", stacked=True, mask_bytes=2, momentum=True)
HALF = Program((20, 64, 32, 4), "uint8", "bf16", stacked=False, mask_bytes=1, momentum=True)

needs_bf16 = pytest.mark.skipif(not has_bf16_units("cpu"), reason="this processor has no bf16 units")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with the programs, made once for this file."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DROPLAB_CACHE_DIR", str(folder))
        wanted = (SEPARATE, STACKED, HALF) if has_bf16_units("cpu") else (SEPARATE, STACKED)
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(Program.compile, wanted)) == [None] * len(wanted)
    return folder


@pytest.fixture(autouse=True)
def _use_cache(cache, monkeypatch):
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(cache))


def training(program, rates, runs, examples, dtype=torch.float32):
    """State and inputs of `runs` runs at a step of `examples` examples."""
    seeds = list(range(runs))
    layers = initial_layers(program.sizes[0], program.sizes[1:-1], program.sizes[-1], seeds)
    layers = [Layer(*(part.to(dtype) for part in layer)) for layer in layers]
    momenta = [0.9 * program.momentum] * runs
    optimizer = SGD.of([0.1 + 0.1 * seed for seed in seeds], momenta, CPU)
    generator = torch.Generator().manual_seed(examples)
    features = torch.randint(0, 256, (runs, examples, program.sizes[0]), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, program.sizes[-1], (runs, examples), generator=generator)
    dropping = Dropout.of(seeds, rates).training(len(program.sizes) - 2, 3, CPU)
    stored = features if program.features == "uint8" else features.to(dtype)
    scale = torch.tensor(1 / 255, dtype=dtype)
    inputs = StepInputs(stored, labels, scale, torch.tensor(5), optimizer, dropping)
    return layers, optimizer.initial_state(layers), inputs


def differences(program, rates, runs, examples):
    """Largest distance of loss, and of the update relative to its norm, from the plain step in double precision."""
    layers, velocities, inputs = training(program, rates, runs, examples)
    before = [layer.weight.clone() for layer in layers]
    loss = program.load()(layers, velocities, inputs)
    exact, exact_velocities, exact_inputs = training(program, rates, runs, examples, torch.float64)
    exact_loss = plain_step("fp32")(exact, exact_velocities, exact_inputs)
    updates = [
        ((new.weight - old).double() - (right.weight - old.double())).norm() / (right.weight - old.double()).norm()
        for new, old, right in zip(layers, before, exact, strict=True)
    ]
    return (loss.double() - exact_loss).abs().max().item(), max(update.item() for update in updates)


@pytest.mark.parametrize("examples", [2, 3, 64, 1000])
@pytest.mark.parametrize(
    ("program", "rates"),
    [(SEPARATE, [0.5]), (SEPARATE, [0.25]), (STACKED, [0.3, 0.0]), (STACKED, [0.1, 0.5, 1 / 3, 0.7, 0.2])],
)
def test_a_compiled_fp32_step_is_the_plain_step_in_double_precision(program, rates, examples):
    """To 1e-6 in the loss and 1e-4 of the update; one unit dropped otherwise would move either by far more."""
    loss, update = differences(program, rates, len(rates), examples)
    assert loss < 1e-6
    assert update < 1e-4


@needs_bf16
@pytest.mark.parametrize("examples", [2, 64, 1000])
def test_a_compiled_bf16_step_is_the_plain_step_in_double_precision(examples):
    """bf16 has 8 significant bits: 0.3 % in the loss, 5 % of the update."""
    loss, update = differences(HALF, [0.5], 1, examples)
    assert loss < 3e-3
    assert update < 5e-2


def test_the_tolerance_would_notice_a_wrong_mask_of_one_example(monkeypatch):
    losses = []
    for flipped in (False, True):
        with monkeypatch.context() as patch:
            if flipped:
                patch.setattr(Dropping, "kept", flipping(Dropping.kept))
            losses.append(plain_step("fp32")(*training(SEPARATE, [0.5], 1, 64)))
    assert (losses[0] - losses[1]).abs() > 1e-5


def flipping(kept):
    """The masks with those of the first example turned over in the first hidden layer."""

    def wrong(self, layer, examples, units):
        mask = kept(self, layer, examples, units).clone()
        if layer == 0:
            mask[0, :1] = 1 - mask[0, :1]
        return mask

    return wrong


def test_a_batch_of_one_example_is_trained_too():
    loss, update = differences(SEPARATE, [0.5], 1, 1)
    assert loss < 1e-6
    assert update < 1e-4


BASE = RunSettings(widths=(24, 12), dropout=0.25, epochs=3, batch_size=64, learning_rate=0.2, seed=3)


def test_arms_that_differ_in_rates_and_seeds_share_a_program():
    examples = toy_examples()
    same = [BASE, BASE.model_copy(update={"dropout": 0.5, "seed": 9, "learning_rate": 0.1, "epochs": 50})]
    assert {program_of([run], examples, "fp32") for run in same} == {SEPARATE}
    control = BASE.model_copy(update={"dropout": 0.0})
    assert program_of([control], examples, "fp32").mask_bytes == 0


def test_a_compiled_run_has_the_same_bits_alone_and_in_packs():
    examples, way = toy_examples(), Way("cpu", "fp32", compiled=True)
    others = [BASE.model_copy(update={"dropout": 0.5, "seed": seed}) for seed in range(6)]
    alone = train_pack([BASE], examples, way, lambda _: None)[0]
    for neighbours in (others[:1], others):
        together = train_pack([*neighbours, BASE], examples, way, lambda _: None)[-1]
        for name, weights in alone.weights.items():
            assert (together.weights[name] == weights).all()


def test_a_compiled_training_is_the_uncompiled_one_to_rounding():
    examples = toy_examples()
    curves = [
        train_pack([BASE], examples, Way("cpu", "fp32", compiled=compiled), lambda _: None)[0].outcome.curves.train_loss
        for compiled in (False, True)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)


def test_worker_processes_take_the_program_and_give_the_same_bits():
    examples, way = toy_examples(), Way("cpu", "fp32", compiled=True)
    run = plan_run(BASE, "f" * 64, way)
    executed = LocalProcesses(1).execute([(run,)], examples, lambda *_: None, print, lambda: False)
    (found,) = [result for _, result in one_by_one(executed)]
    (alone,) = train_pack([BASE], examples, way, lambda _: None)
    assert bits(found) == bits(alone)


def test_half_a_pack_of_one_run_needs_no_program():
    """Nobody has compiled one for a run by itself."""
    runs = [plan_run(BASE.model_copy(update={"seed": seed}), "f" * 64, Way("cpu", "fp32")) for seed in range(3)]
    pack = with_way(tuple(runs), Way("cpu", "fp32", compiled=True, stacked=True))
    first, second = halves(pack)
    assert [run.way for run in first] == [Way("cpu", "fp32")]
    assert [run.way for run in second] == [Way("cpu", "fp32", compiled=True, stacked=True)] * 2


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
