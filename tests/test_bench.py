"""The yardstick: what is compared, what is counted, and what `droplab bench` prints, writes and refuses."""

import importlib.util
import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from droplab.bench import show, turns
from droplab.bench.cases import CASES, Case, Group, find_case, network
from droplab.bench.comparison import Comparison
from droplab.bench.jax_program import Jax
from droplab.bench.measure import Alone, Whole, packs_of, plan, run_study, train_alone, workers_for
from droplab.bench.memory import Memory, framework_memory, memory_of
from droplab.bench.rivals import PlainTorch, Rival, ScikitLearn, Table, sequential
from droplab.bench.roofline import Product, _call, step_products, time_products
from droplab.bench.together import in_processes
from droplab.data.catalog import CATALOG
from droplab.errors import TrainingError
from droplab.study import limits
from droplab.study.backends import InProcess
from droplab.train.outcome import Way
from study_help import FP32, Said, droplab, toy_npz
from test_cli_faults import placed, refused
from toy import toy_dataset, toy_examples

EXAMPLES = toy_examples()
TABLE = Table.of(EXAMPLES)
SMALL = network((8,), 0.5, batch_size=64)
LINEAR = network((), 0.5, batch_size=64)
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def toy_case(data: str, **values: object) -> Case:
    groups = (Group("dropout 0.5", (SMALL, LINEAR)), Group("no dropout", (network((8,), 0.0, batch_size=64),)))
    return replace(Case("toy", "toys of one and two layers", data, groups, epochs=2), **values)


# What is trained


def test_a_preset_is_of_one_batch_size_and_its_data_are_known() -> None:
    for case in CASES:
        recipes = {(net.batch_size, net.valid_fraction, net.split_seed) for g in case.groups for net in g.networks}
        assert len(recipes) == 1
        assert case.data in CATALOG
        assert find_case(case.name) is case
        assert case.rival_copies <= case.copies


def test_the_posts_preset_is_the_published_study() -> None:
    from droplab.config import load_study

    published, (dropout, control) = load_study("mnist-depth"), find_case("post").groups
    assert tuple(net.widths for net in dropout.networks) == published.architectures
    assert tuple(net.widths for net in control.networks) == published.architectures
    assert [net.dropout for net in dropout.networks] == [0, 0.5, 0.5, 0.5, 0.5]
    assert {net.dropout for net in control.networks} == {0}
    for name in ("batch_size", "learning_rate", "momentum", "valid_fraction", "split_seed", "mc_samples"):
        assert {getattr(net, name) for net in (*dropout.networks, *control.networks)} == {getattr(published, name)}


# The other programs


@pytest.mark.parametrize(
    ("widths", "dropout", "modules"),
    [
        ((16, 8), 0.5, ["Linear", "Dropout", "ReLU", "Linear", "Dropout", "ReLU", "Linear"]),
        ((16, 8), 0.0, ["Linear", "ReLU", "Linear", "ReLU", "Linear"]),
        ((), 0.0, ["Linear"]),
    ],
)
def test_the_plain_network_is_made_of_pytorchs_modules(
    widths: tuple[int, ...], dropout: float, modules: list[str]
) -> None:
    made = sequential(20, widths, 4, dropout)
    assert type(made) is torch.nn.Sequential
    assert [type(module).__name__ for module in made] == modules
    assert [module.p for module in made if isinstance(module, torch.nn.Dropout)] == [dropout] * modules.count("Dropout")
    assert made(torch.zeros(3, 20)).shape == (3, 4)


def test_the_plain_program_is_a_shuffling_loader_and_pytorchs_sgd(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Loader(torch.utils.data.DataLoader):
        def __init__(self, dataset: object, **options: object) -> None:
            seen.extend((type(dataset).__name__, options))
            super().__init__(dataset, **options)

    class SGD(torch.optim.SGD):
        def __init__(self, parameters: object, **options: object) -> None:
            seen.append(options)
            super().__init__(parameters, **options)

        def step(self, *arguments: object) -> None:
            seen.append("step")
            super().step(*arguments)

    monkeypatch.setattr("droplab.bench.rivals.DataLoader", Loader)
    monkeypatch.setattr("torch.optim.SGD", SGD)
    assert PlainTorch(TABLE, "cpu").train(SMALL.model_copy(update={"epochs": 2})) > 0
    made = [{"lr": 0.05}, "TensorDataset", {"batch_size": 64, "shuffle": True}]
    assert seen == [*made, *["step"] * 2 * 7], "400 examples are 7 batches of at most 64"


def test_other_programs_get_the_training_part_scaled() -> None:
    assert TABLE.features.shape == (len(EXAMPLES.train), 20)
    assert (TABLE.features.dtype, TABLE.labels.dtype) == (torch.float32, torch.int64)
    stored, labels = EXAMPLES.train.batch(torch.tensor([[7]]))
    torch.testing.assert_close(TABLE.features[7], stored[0, 0] / 255)
    assert TABLE.labels[7] == labels[0, 0]


@pytest.mark.parametrize("settings", [SMALL, LINEAR], ids=["hidden", "linear"])
def test_scikit_learn_trains_every_network(settings: object) -> None:
    rival = ScikitLearn(TABLE, "cpu")
    rival.warm_up(settings)
    assert rival.train(settings.model_copy(update={"epochs": 2})) > 0


@needs_jax
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_jax_learns_and_keeps_the_last_smaller_batch(precision: str) -> None:
    import jax

    from droplab.bench import jax_program

    rival = Jax(TABLE, "cpu", precision)
    rival.warm_up(SMALL)
    assert rival.train(LINEAR.model_copy(update={"epochs": 2})) > 0
    key = jax.random.key(0)
    parameters = jax_program._initial_parameters(key, (20, 8, 4))
    epoch = jax_program.compiled_epoch(400, 64, 0.5, 0.5, rival.dtype)
    losses = []
    for number in range(15):
        parameters, loss = epoch(parameters, jax.random.fold_in(key, number), *rival.placed)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_jax_is_compared_in_fp32_and_in_droplabs_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub(Rival):
        key = "jax"

        def __init__(self, table: Table, device: str, precision: str) -> None:
            super().__init__(table, device)
            self.title = precision

        def train(self, settings: object) -> float:
            return 1.0

    monkeypatch.setattr(turns, "Jax", Stub)
    assert list(turns.programs(EXAMPLES, "cpu", ["bf16"], ["jax"])) == ["plain", "jax-fp32", "jax-bf16"]
    assert list(turns.programs(EXAMPLES, "cpu", ["fp32"], ["sklearn", "jax"])) == ["plain", "sklearn", "jax-fp32"]


# The roofline


def test_operations_of_a_small_network_are_those_counted_by_hand() -> None:
    """3 features, 2 hidden units, 4 classes, batches of 5: 2·5·3·2 = 60 and 2·5·2·4 = 80 a product."""
    products = step_products((3, 2, 4), 5, "bf16")
    assert products == [
        Product("forward", 5, 3, 2, "bf16"),
        Product("forward", 5, 2, 4, "fp32"),
        Product("weights", 4, 5, 2, "fp32"),
        Product("inputs", 5, 4, 2, "fp32"),
        Product("weights", 2, 5, 3, "bf16"),
    ]
    assert [product.operations for product in products] == [60, 80, 80, 80, 60]


def test_operations_of_the_five_layer_network_are_those_of_the_log() -> None:
    """docs/log.md: 132 GFLOP an epoch of 50,000 examples."""
    products = step_products((784, 512, 256, 128, 64, 10), 1024, "bf16")
    assert len(products) == 5 + 5 + 4
    assert sum(product.operations for product in products) * 50_000 / 1024 == pytest.approx(132e9, rel=1e-3)
    assert sum(product.precision == "fp32" for product in products) == 3, "the output layer's"


@pytest.mark.parametrize("stacked", [1, 3])
def test_a_product_is_computed_in_its_shape(stacked: int) -> None:
    for product in step_products((6, 5, 4), 7, "fp32"):
        result = _call(product, "cpu", stacked)()
        assert result.shape == (() if stacked == 1 else (stacked,)) + (product.rows, product.columns)
        left = _call(product, "cpu", stacked).args[0]
        assert left.is_contiguous() == (product.kind != "weights"), "a step's gradients come example by example"


def test_products_are_timed_in_every_worker_at_once() -> None:
    products = step_products((20, 8, 4), 64, "fp32")
    timed = time_products([*products, *products], "cpu", workers=2)
    assert set(timed) == set(products)
    assert all(0 < seconds < 1 for seconds in timed.values())


# Memory, and fresh processes


def _who(wait: object) -> tuple[int, int]:
    wait()
    return os.getpid(), torch.get_num_threads()


def _die(wait: object) -> None:
    os._exit(1)


def test_processes_are_fresh_and_of_one_thread() -> None:
    (first, one), (second, another) = in_processes(2, _who)
    assert len({first, second, os.getpid()}) == 3
    assert one == another == 1


def test_a_measuring_process_that_dies_is_an_error() -> None:
    with pytest.raises(TrainingError, match="one died"):
        in_processes(1, _die)


@on_linux
def test_memory_is_the_peak_of_that_process_alone() -> None:
    ballast = bytearray(1 << 30)  # more than PyTorch takes, its CUDA build too
    own, fresh = memory_of(), framework_memory("fp32")
    assert len(ballast) < own.peak
    assert fresh.peak < 1 << 30, "a child does not begin at its parent's peak"
    assert memory_of(10**9) is None


# droplab itself


def test_training_alone_is_that_of_the_studys_workers() -> None:
    runs = plan((SMALL, LINEAR), 2, 2, toy_dataset(), FP32)
    assert [(run.settings.epochs, run.settings.seed) for run in runs] == [(2, 0), (2, 1)] * 2
    assert (workers_for(runs, 2), workers_for(runs[:1], 2)) == (2, 1)
    alone = train_alone(runs, packs_of(runs, EXAMPLES, 2, compiled=False), EXAMPLES, 2)
    assert 0 < alone.seconds < alone.start_up
    if sys.platform == "linux":
        assert alone.memory.peak > 100e6
        assert 0 < alone.memory.shared < 10e6


def test_the_parts_of_a_study_are_its_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("droplab.study.runner.choose_backend", lambda *_: InProcess())
    monkeypatch.setattr("droplab.bench.measure.choose_backend", lambda *_: InProcess())
    runs = plan((SMALL, LINEAR), 2, 2, toy_dataset(), FP32)
    whole = run_study(runs, packs_of(runs, EXAMPLES, 1, compiled=False), toy_dataset(), 1)
    assert (whole.workers, whole.networks, whole.idle) == (1, 4, 0)
    assert min(whole.training, whole.evaluation, whole.start_up, whole.own) > 0
    parts = whole.training + whole.evaluation + whole.start_up + whole.idle + whole.own
    assert parts == pytest.approx(whole.seconds * whole.workers)
    assert whole.own_a_network == pytest.approx(whole.own / 3)


def test_a_network_that_diverges_is_an_error() -> None:
    (run,) = plan((SMALL.model_copy(update={"learning_rate": 1e30}),), 2, 1, toy_dataset(), FP32)
    with pytest.raises(TrainingError, match="finite"):
        train_alone([run], [(run,)], EXAMPLES, 1)


# Figures


def compared(**values: object) -> Comparison:
    """Two turns of 3 copies of a network, of which droplab trained 6 seeds of 2 epochs in 2 workers."""
    products = step_products((20, 8, 4), 100, "fp32")
    one = Comparison(
        group=Group("dropout 0.5", (SMALL,)),
        way=Way("cpu", "fp32"),
        titles={"plain": "plain PyTorch, fp32"},
        runs=plan((SMALL,), 2, 6, toy_dataset(), FP32),
        workers=2,
        copies=3,
        steps=4.0,
        products=products,
        framework=Memory(200_000_000, 0),
    )
    whole = Whole(seconds=16.0, workers=2, networks=6, training=8, evaluation=8, start_up=6, idle=2)
    timed = dict.fromkeys(products, 0.02)
    memory = Memory(300_000_000, 50_000_000)
    one.add({"plain": 8.0}, Alone(8.0, 9.0, memory), whole, timed)
    one.add({"plain": 12.0}, Alone(4.0, 3.0, memory), whole, timed)
    return replace(one, **values)


def test_seconds_are_reckoned_for_an_epoch_of_all_copies() -> None:
    one = compared()
    assert (one.epochs, one.seeds, one.networks) == (2, 6, 3)
    assert [turn.training for turn in one.turns] == [2.0, 1.0], "half the seeds, half the epochs"
    assert [turn.study for turn in one.turns] == [4.0, 4.0]
    assert one.training_ratio("plain") == (8.0, 4.0, 12.0)
    assert one.study_ratio("plain") == (2.5, 2.0, 3.0)
    assert one.operations == sum(product.operations for product in one.products) * 4 * 3
    assert [turn.products for turn in one.turns] == pytest.approx([0.1 * 4 * 3] * 2)
    assert one.roofline_share() == pytest.approx((0.45, 0.3, 0.6)), "0.6 s of products in each worker"
    assert one.product_rate().median == pytest.approx(one.operations / 1.2)


ABOUT = {
    "command": "droplab bench toy",
    "started": "2026-11-23T12:00:00+00:00",
    "seconds": 12.5,
    "machine": {
        "droplab": "0.1.0",
        "torch": "2.13.0",
        "python": "3.11.7",
        "system": "Linux",
        "threads": 2,
        "cores": 2,
        "devices": {"cpu": "A processor"},
        "bf16_units": ["amx_bf16"],
        "load": 0.1,
    },
}


def test_the_table_says_everything_in_eighty_columns() -> None:
    case = toy_case("toy", copies=3)
    lines = list(show.report(case, [compared()], ABOUT, {"training_examples": 400, "features": 20}))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "others: 1 epoch of 1 of 3 networks, one after another, 2 threads" in text
    assert "droplab on cpu: 2 epochs × 6 seeds, 2 workers of one thread" in text
    assert re.search(r"plain PyTorch, fp32 +10\.000 +8\.0 \(4\.0–12\.0\) +2\.50 \(2\.00–3\.00\)\n", text)
    assert re.search(r"droplab, training alone +1\.500\n", text)
    assert re.search(r"droplab, study of 2 epochs +4\.000\n", text)
    assert "45 % (30–60) of the speed of the matrix products alone" in text
    assert "16.0 s: 25 % training, 25 % evaluation, 19 % start-up\n" in text
    assert " 6 % idle at the end, 25 % the runner's own, 2000 ms a network\n" in text
    assert "9.0 s in the first turn, 3.0 s after that" in text
    assert "a worker's peak is 300 MB, 100 MB above PyTorch's own" in text


def test_figures_of_a_busy_machine_are_not_to_be_trusted() -> None:
    def said(elsewhere: float | None) -> str:
        one = compared()
        one.turns[1] = replace(one.turns[1], elsewhere=elsewhere)
        lines = list(show.report(toy_case("toy"), [one], ABOUT, {"training_examples": 400, "features": 20}))
        assert max(map(len, lines)) <= 80
        return "\n".join(lines)

    assert "Not to be trusted: other processes took up to 48 % of the cores" in said(0.48)
    assert "Not to be trusted" not in said(0.04)
    assert "Not to be trusted" not in said(None)


def test_what_others_took_leaves_out_ones_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 2 s two cores were busy for 3 s, 1 s of it with this process: others had half of them."""
    busy, wall, own = iter([(2, 100.0), (2, 103.0)]), iter([7.0, 9.0]), iter([5.0, 6.0])
    monkeypatch.setattr("droplab.study.limits._busy_seconds", lambda: next(busy))
    monkeypatch.setattr("time.perf_counter", lambda: next(wall))
    monkeypatch.setattr("time.process_time", lambda: next(own))
    share = limits.watch_others()()
    monkeypatch.undo()
    assert share == 0.5


@on_linux
def test_a_busy_core_is_seen() -> None:
    cores, before = limits._busy_seconds()
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        pass
    assert cores == len(os.sched_getaffinity(0))
    assert limits._busy_seconds()[1] - before > 0.05


def test_the_table_leaves_out_what_is_not_known() -> None:
    one = compared(framework=None)
    one.turns[:] = [replace(turn, alone=replace(turn.alone, memory=None)) for turn in one.turns[:1]]
    text = "\n".join(show.report(toy_case("toy"), [one], ABOUT, {"training_examples": 400, "features": 20}))
    assert "memory" not in text
    assert re.search(r"plain PyTorch, fp32 +8\.000 +4\.00 +2\.00\n", text), "one turn has no spread"
    assert text.endswith("9.0 s in the first turn")


def test_json_is_read_back_as_it_was_measured(tmp_path: Path) -> None:
    data = {"training_examples": 400, "features": 20}
    content = show.to_json(toy_case("toy"), [compared()], ABOUT, data)
    show.write_json(tmp_path / "bench.json", content)
    read = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert read == json.loads(json.dumps(content))
    (one,) = read["comparisons"]
    assert one["ratios"]["training"]["plain"] == {"median": 8.0, "least": 4.0, "most": 12.0}
    assert one["turns"][0]["alone"] == {
        "seconds": 8.0,
        "start_up": 9.0,
        "memory": {"peak": 300_000_000, "shared": 50_000_000},
    }
    assert one["turns"][1]["whole"]["own"] == 8.0
    assert one["roofline"]["products"][0] == {
        "kind": "forward",
        "rows": 100,
        "inner": 20,
        "columns": 8,
        "precision": "fp32",
        "seconds": [0.02, 0.02],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


# The command


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only preset is of toy data, and there are no worker processes for training."""
    case = toy_case(str(toy_npz(tmp_path / "toy.npz")), copies=2)
    monkeypatch.setattr("droplab.bench.cases.CASES", (case,))
    monkeypatch.setattr("droplab.bench.measure.choose_backend", lambda *_: InProcess())


@pytest.mark.usefixtures("toys")
def test_bench_compares_prints_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    flags = ["--turns", "2", "--device", "cpu", "--precision", "fp32", "--against", "sklearn", "--json", file]
    flags.append("--uncompiled")
    said = droplab("bench", "toy", *flags)
    assert said.code == 0, said.errors
    assert re.findall(r"^turn (\d) of 2, (.+) on cpu: ", said.errors, re.M) == [
        ("1", "dropout 0.5"),
        ("1", "no dropout"),
        ("2", "dropout 0.5"),
        ("2", "no dropout"),
    ]
    lines = said.out.splitlines()
    assert lines[0] == "droplab bench toy: toys of one and two layers"
    assert "dropout 0.5: 4 networks together; droplab in fp32 on cpu, uncompiled" in lines
    assert all(line.isprintable() for line in lines)
    read = json.loads(file.read_text("utf-8"))
    assert read["command"].startswith("droplab bench toy --turns 2")
    assert read["case"]["training_examples"] == 400
    assert [(one["group"], one["seeds"], len(one["turns"])) for one in read["comparisons"]] == [
        ("dropout 0.5", 2, 2),
        ("no dropout", 2, 2),
    ]
    for one in read["comparisons"]:
        assert set(one["programs"]) == set(one["ratios"]["training"]) == {"plain", "sklearn"}
        for turn in one["turns"]:
            measured = turn["alone"]["seconds"], turn["whole"]["seconds"], turn["products"], *turn["rivals"].values()
            assert min(measured) > 0
            assert turn["training"] == pytest.approx(turn["alone"]["seconds"] / one["epochs"])


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was begun")

    monkeypatch.setattr("droplab.data.files.load_dataset", fail)
    monkeypatch.setattr("droplab.bench.turns.compare", fail)


@pytest.mark.usefixtures("nothing_measured")
@pytest.mark.parametrize(
    "words",
    [
        ("pots",),
        ("post", "--turns", "0"),
        ("post", "--turns", "many"),
        ("post", "--epochs", "0"),
        ("post", "--seeds", "0"),
        ("post", "--workers", "0"),
        ("post", "--workers", "100000"),
        ("post", "--device", "gpu"),
        ("post", "--device", "cpu,"),
        ("post", "--precision", "fp16"),
        ("post", "--precision", "fp32;bf16"),
        ("post", "--against", "tensorflow"),
        ("post", "--against", ""),
        ("post", "--json", "FOLDER"),
        ("post", "--json", "FILE/bench.json"),
        ("post", "--json", "no/such/folder/bench.json"),
        ("post", "--json", "/dev/null"),
        ("post", "--nonsense"),
        ("post", "five-layer"),
    ],
    ids=" ".join,
)
def test_a_fault_is_one_error_before_anything_is_begun(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = droplab("bench", *(placed(word, tmp_path) for word in words))
    assert refused(said), said


@pytest.mark.usefixtures("nothing_measured")
def test_what_is_not_there_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def error(*words: str) -> str:
        said: Said = droplab("bench", *words)
        assert refused(said), said
        return said.errors

    assert "Did you mean 'five-layer'?" in error("five-layers")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "device=cuda needs an NVIDIA GPU" in error("--device", "cpu,cuda")
    monkeypatch.setattr("droplab.train.device.has_bf16_units", lambda _: False)
    assert "Use --precision fp32" in error("--device", "cpu", "--precision", "fp32,bf16")
    monkeypatch.setitem(sys.modules, "jax", None)
    assert "Run: pip install jax" in error("--device", "cpu", "--against", "jax")


def test_scikit_learn_is_not_compared_on_a_gpu_alone() -> None:
    with pytest.raises(ValueError, match="Add cpu, or leave sklearn out"):
        turns.check_rivals(["sklearn"], ["cuda"])
    turns.check_rivals(["sklearn"], ["cuda", "cpu"])


@needs_jax
def test_a_jax_without_the_device_is_refused() -> None:
    from droplab.errors import DeviceError

    with pytest.raises(DeviceError, match="this one has cpu"):
        turns.check_rivals(["jax"], ["cuda"])


@pytest.mark.usefixtures("toys")
def test_ctrl_c_ends_it_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("droplab.bench.turns.compare", interrupted)
    said = droplab("bench", "toy", "--device", "cpu", "--uncompiled")
    assert (said.code, said.out) == (130, "")
    assert "stopped: turns are compared when all are done" in said.errors


def test_the_help_names_every_preset() -> None:
    text = droplab("bench", "--help").out
    assert all(case.name in text for case in CASES)
