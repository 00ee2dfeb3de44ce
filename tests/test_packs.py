"""Packs: who is trained with whom and how, decided from the shapes, the memory and the work ahead."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from droplab.study import packs as packs_module
from droplab.study.packs import (
    CPU_RUNS,
    GPU_RUNS,
    make_packs,
    memory_of,
    pack_name,
    pack_program,
    plain_seconds,
    step_products,
    with_threads,
)
from droplab.study.plan import plan_study
from droplab.train.loop import train_pack
from droplab.train.outcome import Way
from droplab.train.program import Program
from study_help import run_toy, stored_bits, toy_plan
from toy import toy_examples

EXAMPLES = toy_examples()
PLENTY = 1e12
ANY_SHAPE = {"depths": [1, 2, 3], "seeds": 5}


def packed(plan, workers=2, memory=PLENTY):
    return make_packs(plan.runs, EXAMPLES, workers, memory).packs


@pytest.fixture
def large(monkeypatch):
    """Take the toy's products for large ones."""
    monkeypatch.setattr(packs_module, "STACKED_PRODUCTS", 0)


def test_small_problems_are_stacked_one_pack_a_worker_and_shape():
    packs = packed(toy_plan(depths=[2, 3], seeds=5))
    assert sorted(len(pack) for pack in packs) == [5, 5, 5, 5]
    assert all(len({run.settings.widths for run in pack}) == 1 for pack in packs)
    assert all(run.way.stacked for pack in packs for run in pack)


class TestThreads:
    """Of eight cores, of a toy whose products are taken for large ones."""

    @pytest.fixture(autouse=True)
    @staticmethod
    def _machine(monkeypatch):
        monkeypatch.setattr(packs_module, "THREADED_SECONDS", 0)
        TestThreads.have(monkeypatch, cores=8, idle_cores=8, get_num_threads=8)

    @staticmethod
    def have(monkeypatch, **counts):
        for name, count in counts.items():
            monkeypatch.setattr(torch if hasattr(torch, name) else packs_module.limits, name, lambda count=count: count)

    @staticmethod
    def threads(count, beside=0, device="cpu"):
        runs = toy_plan(depths=[2], dropout=[], seeds=count).runs
        packs = [(replace(run, way=Way(device, "fp32")),) for run in runs]
        return {run.way.threads for pack in with_threads(packs, EXAMPLES, beside) for run in pack}

    def test_fewer_packs_than_cores_share_them(self):
        assert [self.threads(count) for count in (1, 2, 3, 4, 5, 9)] == [{8}, {4}, {2}, {2}, {1}, {1}]

    def test_packs_that_were_planned_before_have_theirs(self):
        assert (self.threads(1, beside=3), self.threads(1, beside=7)) == ({2}, {1})

    def test_there_are_none_for_cores_that_are_busy_or_not_to_be_used(self, monkeypatch):
        self.have(monkeypatch, idle_cores=5)
        assert (self.threads(2), self.threads(3)) == ({2}, {1})
        self.have(monkeypatch, get_num_threads=1)
        assert self.threads(2) == {1}

    def test_small_products_and_a_gpu_have_one(self, monkeypatch):
        assert self.threads(1, device="cuda") == {1}
        monkeypatch.setattr(packs_module, "THREADED_SECONDS", 1)
        assert self.threads(1) == {1}


@pytest.mark.parametrize(
    "levels",
    [
        {"l2": [0.1, 0.01]},
        {"dropout": [0.3, 0.5]},
        {"learning_rate": [0.1, 0.2]},
        {"momentum": [0.5, 0.9]},
        {"schedule": ["constant", "cosine", "inverse_time"]},
        {"warmup_epochs": [0, 1]},
        {"how": {"slow": {"schedule": "linear", "schedule_final": 0.5}, "fast": {"schedule": "exponential"}}},
        {"optimizer": ["adam"], "beta_1": [0.8, 0.9], "beta_2": [0.9, 0.99]},
    ],
)
def test_what_is_a_number_of_a_step_shares_packs_and_programs(levels):
    """Controls, without the regularizer that the others have, are of a kind of their own."""
    packs = packed(toy_plan(depths=[2], dropout=[0.5], seeds=2, vary=levels), workers=1)
    assert len(packs) == (2 if "l2" in levels else 1)
    assert len({pack_program(pack, EXAMPLES) for pack in packs}) == len(packs)


@pytest.mark.parametrize(
    "levels",
    [
        {"optimizer": ["sgd", "adam"]},
        {"momentum": [0, 0.9]},
        {"activation": ["relu", "tanh"]},
        {"batch_size": [32, 64]},
        {"epochs": [2, 3]},
        {"initial_weights": ["he", "pytorch"]},
    ],
)
def test_what_makes_another_step_or_another_length_is_in_packs_of_its_own(levels):
    assert len(packed(toy_plan(depths=[2], dropout=[0.5], seeds=2, vary=levels), workers=1)) == 2


def test_twenty_strengths_of_five_seeds_are_few_packs():
    plan = toy_plan(depths=[2], dropout=[0], seeds=5, vary={"l2": [k / 1000 for k in range(1, 21)]})
    packs = [pack for pack in packed(plan) if pack[0].settings.regularizers]
    assert sum(map(len, packs)) == 100
    assert len(packs) == 4 >= 100 / CPU_RUNS
    assert len({pack_program(pack, EXAMPLES) for pack in packs}) == 1


def test_every_run_is_in_one_pack():
    plan = toy_plan(seeds=7)
    assert sorted(run.key for pack in packed(plan) for run in pack) == sorted(run.key for run in plan.runs)


def test_a_cores_pack_is_never_larger_than_its_cache_takes():
    for runs in (CPU_RUNS, 2 * CPU_RUNS, 2 * CPU_RUNS + 1, 100, 5 * CPU_RUNS):
        sizes = [len(pack) for pack in packed(toy_plan(depths=[1], seeds=runs))]
        assert sum(sizes) == runs
        assert max(sizes) <= CPU_RUNS
        assert len(sizes) % 2 == 0, "both workers have as many packs"
        assert max(sizes) - min(sizes) < len(sizes)


def test_the_order_in_which_runs_are_named_does_not_matter():
    plan = toy_plan(depths=[2], seeds=5)
    there, back = (make_packs(runs, EXAMPLES, 2, PLENTY).packs for runs in (plan.runs, plan.runs[::-1]))
    whole = [make_packs(runs, EXAMPLES, 1, PLENTY).packs for runs in (plan.runs, plan.runs[::-1])]
    assert {run.key for pack in there for run in pack} == {run.key for pack in back for run in pack}
    assert [pack_name(pack) for pack in whole[0]] == [pack_name(pack) for pack in whole[1]]


@pytest.mark.usefixtures("large")
def test_large_products_on_a_cpu_are_kept_separate():
    packs = packed(toy_plan())
    assert {len(pack) for pack in packs} == {1}
    assert not any(run.way.stacked for pack in packs for run in pack)


def test_a_gpu_stacks_large_ones_too(monkeypatch):
    monkeypatch.setattr(packs_module, "STACKED_PRODUCTS", 0)
    plan = toy_plan(seeds=GPU_RUNS, depths=[1, 2])
    packs = packed(plan_study(plan.settings, plan.fingerprint, Way("cuda", "fp32")), workers=1)
    assert [len(pack) for pack in packs] == [GPU_RUNS] * 3


@pytest.mark.usefixtures("large")
def test_the_most_work_is_begun_first():
    packs = packed(toy_plan(seeds=1))
    assert [(run.settings.depth, run.settings.dropout) for (run,) in packs] == [
        (3, 0.5),
        (2, 0.5),
        (3, 0.0),
        (2, 0.0),
        (1, 0.0),
    ]


def test_what_does_not_fit_into_memory_is_trained_in_smaller_packs_and_it_is_said():
    plan = toy_plan(depths=[2], seeds=8)
    one = memory_of(plan.runs[0], EXAMPLES)
    packing = make_packs(plan.runs, EXAMPLES, 2, memory=2 * 3.5 * one / packs_module.MEMORY_SHARE)
    assert sorted(len(pack) for pack in packing.packs) == [1, 3, 3, 3, 3, 3]
    assert "do not fit into the free memory together; they are trained 3 at a time" in packing.notices[0]


def test_packs_split_for_memory_give_the_same_networks(tmp_path, monkeypatch):
    """To rounding, as stacked products allow; here, on one machine, mostly to the bit."""
    plan = toy_plan(depths=[2], seeds=6)
    way = Way("cpu", "fp32", stacked=True)
    whole = train_pack([run.settings for run in plan.runs], EXAMPLES, way, lambda _: None)
    memory = 2 * 2.5 * memory_of(plan.runs[0], EXAMPLES) / packs_module.MEMORY_SHARE
    split = {
        run.key: result
        for pack in packed(plan, memory=memory)
        for run, result in zip(
            pack, train_pack([run.settings for run in pack], EXAMPLES, pack[0].way, lambda _: None), strict=True
        )
    }
    assert len(packed(plan, memory=memory)) > 2
    for run, expected in zip(plan.runs, whole, strict=True):
        for name, weights in expected.weights.items():
            np.testing.assert_allclose(split[run.key].weights[name], weights, atol=1e-5)


def test_the_estimate_of_memory_is_near_what_a_large_network_takes():
    """Weights, working copy, gradients of 2 × 8192 units: 1.5 GB for 74 million weights."""
    run = toy_plan(depths=[2]).runs[-1]
    wide = replace(run, settings=run.settings.model_copy(update={"widths": (8192, 8192), "batch_size": 128}))
    weights = 20 * 8192 + 8192 * 8192 + 8192 * 4
    assert 4 * 4 * weights < memory_of(wide, EXAMPLES) < 6 * 4 * weights + 4 * 4 * 128 * 20_000


def test_products_of_a_step_by_hand():
    """20 → 16 → 8 → 4, 64 examples: the first layer has no input gradient."""
    run = next(run for run in toy_plan().runs if run.settings.depth == 3)
    assert step_products(run, EXAMPLES) == 64 * (2 * 20 * 16 + 3 * 16 * 8 + 3 * 8 * 4)


def test_a_short_study_is_not_compiled_and_it_is_said():
    packing = make_packs(toy_plan(epochs=2000).runs, EXAMPLES, 2, PLENTY)
    assert not any(run.way.compiled for pack in packing.packs for run in pack)
    assert "3 of 3 kinds of network are trained uncompiled: about" in packing.notices[-1]


def test_of_a_moments_work_nothing_is_said():
    assert make_packs(toy_plan().runs, EXAMPLES, 2, PLENTY).notices == []


def test_a_long_study_is_compiled():
    plan = toy_plan(depths=[3], epochs=10**6)
    packing = make_packs(plan.runs, EXAMPLES, 2, PLENTY)
    assert plain_seconds(packing.packs[0], EXAMPLES) > 100
    assert all(run.way.compiled for pack in packing.packs for run in pack)
    assert packing.notices == []


def test_a_program_that_is_there_is_used_however_short_the_study():
    runs = toy_plan(depths=[3]).runs
    program = pack_program(packed(toy_plan(depths=[3]))[0], EXAMPLES)
    program.path.parent.mkdir(parents=True)
    program.path.touch()
    compiled = {
        pack_program(pack, EXAMPLES): pack[0].way.compiled for pack in make_packs(runs, EXAMPLES, 2, PLENTY).packs
    }
    assert compiled[program]
    assert sum(compiled.values()) == 1


def test_where_nothing_compiles_a_study_is_trained_all_the_same_with_one_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(packs_module, "COMPILING_SECONDS", 0.0)
    monkeypatch.setattr(Program, "compile", lambda *_: "no compiler was found")
    summary = run_toy(tmp_path / "compiled.sqlite", depths=[2])
    assert (summary.trained, summary.failures) == (4, [])
    (said,) = [text for text in summary.notices if "uncompiled" in text]
    assert said.endswith("trained uncompiled, slower but right; compiling needs g++: no compiler was found")
    monkeypatch.undo()
    run_toy(tmp_path / "plain.sqlite", depths=[2])
    assert stored_bits(tmp_path / "compiled.sqlite") == stored_bits(tmp_path / "plain.sqlite")


def test_the_name_of_a_pack_is_that_of_its_runs_in_their_order():
    one, two, *_ = toy_plan().runs
    names = {pack_name(pack) for pack in ((one,), (two,), (one, two), (two, one))}
    assert len(names) == 4
    assert all(len(name) == 64 for name in names)
    other_way = replace(one, way=replace(one.way, compiled=True))
    assert pack_name((other_way,)) == pack_name((one,))


def test_measuring_the_rate_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    packs_module.product_rate.cache_clear()
    assert packs_module.product_rate("fp32") > 1e8
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
