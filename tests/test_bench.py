"""The yardstick in benchmarks/: what is compared does the same work, what is counted, what is printed and refused."""

import ast
import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from benchmarks import classifier, commands, gpu, rivals, tabular
from benchmarks import programs as programs_of_tables
from benchmarks.__main__ import main
from benchmarks.cases import CASES, RECIPES, Case
from benchmarks.measure import packs_of, table_of, train, way_of
from benchmarks.processes import in_processes
from benchmarks.rivals import PlainTorch, Rival, Stacked, WithoutLoader, bound, optimizer_of, sequential, strength
from benchmarks.roofline import Product, _call, step_products, time_products
from benchmarks.tables import PAGE, TUNING, Table
from benchmarks.turns import Contest, Sample, Spread, take_turns
from droplab.config import RunSettings, load_study
from droplab.data.catalog import CATALOG
from droplab.errors import TrainingError
from droplab.study import limits
from study_help import toy_npz

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(toy_npz(tmp_path_factory.mktemp("toy") / "toy.npz"))


@pytest.fixture
def case(toy: str, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The preset `toy`: 400 examples of 20 features and 4 classes."""
    made = Case(toy, ((8, 6), ()), epochs=2, rival_epochs=1, batch_size=64, copies=4, rival_copies=2, pack=2)
    monkeypatch.setitem(CASES, "toy", made)
    return made


# What is trained


def test_every_recipe_of_every_preset_is_a_network() -> None:
    for case in CASES.values():
        assert case.data in CATALOG
        assert case.rival_copies <= case.copies
        for recipe in RECIPES:
            networks = case.networks(recipe, 0.5, copies=2, epochs=3)
            assert [(net.widths, net.seed) for net in networks] == [(w, seed) for w in case.widths for seed in (0, 1)]


def test_the_posts_preset_is_the_published_study() -> None:
    published, case = load_study("mnist-depth"), CASES["post"]
    assert case.widths == published.architectures
    for net in case.networks("sgd", 0.5, 1, 1):
        for name in ("batch_size", "learning_rate", "momentum", "optimizer", "valid_fraction", "split_seed"):
            assert getattr(net, name) == getattr(published, name)


# The other programs


@pytest.mark.parametrize(
    ("recipe", "modules"),
    [
        ("sgd", "Linear ReLU Dropout Linear"),
        ("adamw+batch_norm", "Linear BatchNorm1d ReLU Dropout Linear"),
        ("max_norm+input_dropout", "Dropout Linear ReLU Dropout Linear"),
    ],
)
def test_the_plain_network_is_made_of_pytorchs_modules(recipe: str, modules: str) -> None:
    (settings,) = Case("", ((8,),), 1).networks(recipe, 0.5, 1, 1)
    assert [type(module).__name__ for module in sequential(settings, 20, 4)] == modules.split()


def test_decay_is_of_weights_alone_and_optimizers_are_fused(case: Case) -> None:
    for recipe in RECIPES:
        settings, _ = case.networks(recipe, 0.5, 1, 1)
        weight, bias = torch.ones(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
        optimizer = optimizer_of(settings, [weight, bias], [weight])
        assert optimizer.defaults["fused"]
        decays = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
        assert decays == {id(weight): strength(settings, "weight_decay"), id(bias): 0}


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_max_norm_bounds_each_unit_and_no_other(shape: tuple[int, ...]) -> None:
    weight = torch.full(shape, 0.1)
    weight[..., 0, :] = 5.0
    bound([weight], 2.0)
    norms = weight.norm(dim=-1)
    torch.testing.assert_close(norms[..., 0], torch.full_like(norms[..., 0], 2.0))
    assert bool((weight[..., 1:, :] == 0.1).all())


def without_masks(case: Case, recipe: str, copies: int) -> list[RunSettings]:
    """Three steps with all examples, where nothing depends on chance but the initial weights."""
    kept = {name: value for name, value in RECIPES[recipe].get("regularizers", {}).items() if name != "input_dropout"}
    networks = case.networks(recipe, 0.0, copies, 3)[:copies]
    return [one.model_copy(update={"regularizers": kept, "batch_size": 400}) for one in networks]


@pytest.mark.parametrize("recipe", RECIPES)
def test_programs_train_the_same_network(case: Case, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their weights: a bias before batch normalization moves by rounding alone."""
    found: list[Sequence[torch.Tensor]] = []

    def watched(settings: RunSettings, these: list[torch.Tensor], weights: list[torch.Tensor]) -> object:
        found.append(weights)
        return optimizer_of(settings, these, weights)

    monkeypatch.setattr(rivals, "optimizer_of", watched)
    for program, copies in ((PlainTorch, 1), (WithoutLoader, 1), (Stacked, 2)):
        program(table_of(case.data), "cpu").train(without_masks(case, recipe, copies))
    plain, tensors, stacked = found
    for one, another, several in zip(plain, tensors, stacked, strict=True):
        torch.testing.assert_close(one, another)
        torch.testing.assert_close(one.detach(), several[0])
    assert not torch.equal(stacked[0][0], stacked[0][1])


@needs_jax
@pytest.mark.parametrize("recipe", RECIPES)
def test_jax_trains_the_same_network(case: Case, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    from benchmarks import jax_program

    (settings,) = without_masks(case, recipe, 1)
    table, made = table_of(case.data), []
    monkeypatch.setattr(rivals, "sequential", lambda *_, **__: made[-1])
    torch.manual_seed(0)
    made.append(sequential(settings, 20, 4))
    layers = [
        {"weight": module.weight.detach().numpy().T[None].copy(), "bias": module.bias.detach().numpy()[None].copy()}
        | {"scale": np.ones((1, module.out_features)), "shift": np.zeros((1, module.out_features))}
        for module in made[-1]
        if isinstance(module, torch.nn.Linear)
    ]
    PlainTorch(table, "cpu").train([settings])
    nothing = jax.tree.map(np.zeros_like, layers)
    epoch = jax_program.compiled_epoch(settings.model_copy(update={"seed": 0, "epochs": 1}), "fp32")
    state = (layers, nothing, jax.tree.map(np.copy, nothing), np.zeros(1))
    for _ in range(settings.epochs):
        state, loss = epoch(state, jax.random.split(jax.random.key(0), 1), *jax_program.Jax(table, "cpu").placed)
    assert loss.shape == (1,)
    linears = [module for module in made[-1] if isinstance(module, torch.nn.Linear)]
    for module, layer in zip(linears, state[0], strict=True):
        torch.testing.assert_close(module.weight.detach(), torch.tensor(np.array(layer["weight"][0].T)))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("program", [PlainTorch, WithoutLoader, Stacked])
def test_every_program_trains_every_recipe_with_masks(case: Case, recipe: str, program: type[Rival]) -> None:
    took_something(program, case, recipe)


@needs_jax
def test_jax_trains_with_masks_in_bf16(case: Case) -> None:
    from benchmarks.jax_program import Jax

    took_something(Jax, case, "papers")


def took_something(program: type[Rival], case: Case, recipe: str) -> None:
    rival = program(table_of(case.data), "cpu", "bf16")
    networks = case.networks(recipe, 0.5, 2, 2)[:2]
    rival.warm_up(networks)
    took = rival.train(networks)
    assert min(took.seconds, took.cpu) > 0


def test_other_programs_get_the_training_part_scaled(case: Case) -> None:
    features, labels, classes = table_of(case.data)
    assert (features.shape, labels.shape, classes) == ((400, 20), (400,), 4)
    assert (features.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert 0 <= features.min() < features.max() <= 1


# The roofline, and fresh processes


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


def test_operations_of_the_five_layer_network_are_those_of_the_results() -> None:
    """docs/results/performance.md: 132 GFLOP an epoch of 50,000 examples."""
    products = step_products((784, 512, 256, 128, 64, 10), 1024, "bf16")
    assert sum(product.operations for product in products) * 50_000 / 1024 == pytest.approx(132e9, rel=1e-3)


@pytest.mark.parametrize("stacked", [1, 3])
def test_a_product_is_computed_in_its_shape(stacked: int) -> None:
    for product in step_products((6, 5, 4), 7, "fp32"):
        result = _call(product, "cpu", stacked)()
        assert result.shape == (() if stacked == 1 else (stacked,)) + (product.rows, product.columns)


def test_a_product_that_comes_twice_counts_twice() -> None:
    products = step_products((20, 8, 4), 64, "fp32")
    assert 0 < time_products(products, "cpu", workers=2) < time_products(products * 20, "cpu", workers=2) < 1


def _who(wait: object) -> tuple[int, int, int]:
    return wait(), os.getpid(), torch.get_num_threads()


def _die(wait: object) -> None:
    os._exit(1)


def test_processes_are_fresh_numbered_and_of_one_thread() -> None:
    numbers, processes, threads = zip(*in_processes(2, _who), strict=True)
    assert sorted(numbers) == [0, 1]
    assert len({*processes, os.getpid()}) == 3
    assert threads == (1, 1)


def test_a_measuring_process_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="died"):
        in_processes(1, _die)


# droplab itself


def test_droplab_is_packed_as_the_case_says_and_uncompiled_if_asked(case: Case) -> None:
    way = way_of(case.data, "cpu", "fp32")
    packs = packs_of(case.networks("sgd", 0.5, 4, 2)[:4], case.data, way, case.pack, compiled=False)
    assert sorted(sorted(net.seed for net in networks) for networks, _ in packs) == [[0, 1], [2, 3]]
    assert {net.epochs for networks, _ in packs for net in networks} == {2}
    assert {(way.compiled, way.stacked) for _, way in packs} == {(False, True)}
    took = train(packs, case.data, workers=2)
    assert 0 < took.cpu < 2


def test_a_network_that_diverges_is_an_error(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.in_processes", lambda _, function, *rest: [function(lambda: 0, *rest)])
    settings, _ = case.networks("sgd", 0.5, 1, 2)
    networks = [settings.model_copy(update={"learning_rate": 1e30})]
    packs = packs_of(networks, case.data, way_of(case.data, "cpu", "fp32"), 1, compiled=False)
    with pytest.raises(TrainingError, match="diverge"):
        train(packs, case.data, 1)


def test_a_file_each_knows_how_droplab_trains_where_and_how_it_files_runs_and_no_other_its_inside() -> None:
    faces = {"droplab.config", "droplab.errors", "droplab.estimator", "droplab.stats.intervals", "droplab.study.limits"}
    for path in Path(gpu.__file__).parent.glob("*.py"):
        found = {
            node.module
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("droplab")
        }
        assert path.name in ("measure.py", "scaling.py", "cluster.py") or found <= faces, path.name


# Turns, and what is shown


def test_programs_take_turns_and_ratios_are_taken_turn_by_turn() -> None:
    order = []

    def program(name: str, samples: list[Sample]) -> Sample:
        order.append(name)
        return samples.pop(0)

    ours, theirs = [Sample(2, 1), Sample(4, 2)], [Sample(6, 8), Sample(20, 10)]
    contest = Contest(
        "A", "an epoch", {"droplab": lambda: program("a", ours), "other": lambda: program("b", theirs)}, networks=10
    )
    said: list[str] = []
    result = take_turns(contest, 2, said.append)
    assert order == ["a", "b", "a", "b"]
    assert result.ratio("other") == Spread(4, 3, 5)
    assert result.ratio("other", "cpu") == Spread(6.5, 5, 8)
    assert said[0] == "turn 1 of 2, A: droplab 2 s, other 6 s an epoch"
    assert list(result.lines())[-2:] == [
        "| droplab | 3 | 1.00 | 150 | 1.00 |",
        "| other | 13 | 4.00 (3.00–5.00) | 900 | 6.50 (5.00–8.00) |",
    ]
    assert json.loads(json.dumps(result.to_json()))["programs"]["other"][1] == {"seconds": 20, "cpu": 10, "peak": 0}


def test_what_is_not_measured_is_left_out() -> None:
    result = take_turns(Contest("A", "a command", {"droplab": lambda: Sample(1, 0, 300_000_000)}), 1, lambda _: None)
    assert list(result.lines())[-1] == "| droplab | 1 | 1.00 |  |  | 300 |"


def test_what_others_took_leaves_out_ones_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 2 s two cores were busy for 3 s, 1 s of it with this process and its children: others had half of them."""
    busy, wall, own = iter([(2, 100.0), (2, 103.0)]), iter([7.0, 9.0]), iter([(3, 1, 1, 0, 9), (3, 1, 2, 0, 99)])
    monkeypatch.setattr("droplab.study.limits._busy_seconds", lambda: next(busy))
    monkeypatch.setattr("time.perf_counter", lambda: next(wall))
    monkeypatch.setattr("os.times", lambda: next(own))
    share = limits.watch_others()()
    monkeypatch.undo()
    assert share == 0.5


# The commands


def test_bench_compares_prints_and_writes(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "benchmarks.jax_program", raising=False)
    words = ["toy", "--turns", "1", "--device", "cpu", "--precision", "fp32", "--recipe", "sgd,adam", "--steps"]
    file = tmp_path / "bench.json"
    assert main([*words, "uncompiled", "--against", "plain,jax", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "jax is left out" in err
    assert out.count("| plain PyTorch, fp32 |") == 2
    assert "4 × 20-8-6-4, 20-4; 400 examples, batch 64; droplab: 4 seeds, 2 epochs, " in out
    read = json.loads(file.read_text("utf-8"))
    assert [one["title"] for one in read["contests"]] == ["toy, sgd, dropout 0.5", "toy, adam, dropout 0.5"]
    for one in read["contests"]:
        assert len(one["programs"]) == 3
        assert all(sample["seconds"] > 0 for samples in one["programs"].values() for sample in samples)


@pytest.mark.parametrize("words", ["pots", "post --turns 0", "post --recipe adagrad", "post --against tensorflow"])
def test_a_fault_is_said_before_anything_is_begun(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert words.rsplit(maxsplit=1)[-1] in capsys.readouterr().err


def test_a_warning_ends_what_was_measured_on_a_busy_machine(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.turns.watch_others", lambda: lambda: 0.48)
    monkeypatch.setattr("benchmarks.commands.command", lambda *_: Sample(1))
    assert main(["study", "--turns", "1"]) == 0
    assert "other processes took up to 48 % of the cores" in capsys.readouterr().out


@pytest.mark.slow
def test_a_whole_command_is_timed_with_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "STUDY", commands.STUDY.replace("seeds = 20", "seeds = 1"))
    (contest,) = commands.study("cpu")
    (program,) = contest.programs.values()
    took = program()
    assert 0.5 < took.cpu < took.seconds * (os.cpu_count() or 1)
    assert took.peak > 100e6
    with pytest.raises(RuntimeError, match="ended with"):
        commands.command(["study", "no-such-study"])


def test_classifiers_are_compared_on_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    small = classifier.datasets.make_classification(200, 50, random_state=0)
    monkeypatch.setattr(classifier, "synthetic", lambda: small)
    monkeypatch.setattr(classifier, "CALLS", 2)
    for contest in classifier.classifier():
        assert list(contest.programs) == ["DropoutMLPClassifier", "MLPClassifier"]
        if "10 epochs" in contest.title or "predict" in contest.title:
            assert all(program().seconds > 0 for program in contest.programs.values())


class Known(ClassifierMixin, BaseEstimator):
    """Tells the class that the feature names with a share of 0.9, or both alike where it knows nothing."""

    def __init__(self, share: float, seen: list[list[float]]) -> None:
        self.share, self.seen = share, seen

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> "Known":
        if "number" in X:
            self.seen.append(list(X["number"]))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        return np.where(X[["class"]].to_numpy() == self.classes_, self.share, 1 - self.share)

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_programs_see_the_same_folds_once_and_differences_are_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One always right, one that says "a", which half of a table's rows are and three fifths of the other's."""

    def table(a: int) -> Table:
        target = np.array(["a"] * a + ["b"] * (20 - a), dtype=object)
        return Table(pd.DataFrame({"class": target, "number": np.arange(20.0)}), target)

    seen: dict[str, list[list[float]]] = {"DropoutKnows": [], "Guesses": []}
    known = {"DropoutKnows": 0.9, "Guesses": 0.5}
    programs = {name: lambda _, name=name: Known(known[name], seen[name]) for name in known}
    tables = {"x": lambda: table(10), "y": lambda: table(12)}
    task = replace(programs_of_tables.classes(), tables=tables, programs=programs)
    monkeypatch.setattr(tabular, "classes", lambda _: task)
    assert tabular.main(["--folds", "2"], tmp_path) == 0
    printed = capsys.readouterr().out.splitlines()
    assert seen["DropoutKnows"] == seen["Guesses"]
    assert len(seen["Guesses"]) == 4
    assert re.fullmatch(r"\| x 20 × 2 \| 100.00 / 0.105 / 0.0 \| 50.00 / 0.693 / 0.0 \|", printed[2])
    accuracy, loss = (printed[printed.index("| table | − Guesses |", start) + 2 :][:3] for start in (0, 12))
    assert accuracy == [
        "| x | +50.00 (+50.00 … +50.00) |",
        "| y | +40.00 (+40.00 … +40.00) |",
        "| **mean** | +45.00 (−18.53 … +108.53) |",
    ]
    assert loss[-1] == "| **mean** | −0.588 |"

    file = tmp_path / "Guesses.jsonl"
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    tabular.main(["--folds", "2"], tmp_path)
    assert [len(folds) for folds in seen.values()] == [4, 5], "an interrupted run goes on"
    with pytest.raises(SystemExit):
        tabular.main(["--tables", "z"], tmp_path)


def test_defaults_are_not_chosen_on_the_pages_tables() -> None:
    page, tuning = ({(load.func, load.args) for load in tables.values()} for tables in (PAGE, TUNING))
    assert not page & tuning
    assert (len(page), len(tuning)) == (11, 9)


def test_gpu_without_a_gpu_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu.main() == 2
    assert "needs an NVIDIA GPU" in capsys.readouterr().err


def test_gpu_writes_one_file_and_fails_if_something_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "A GPU")
    monkeypatch.setattr(gpu, "RESULT", tmp_path / "results-gpu.md")
    monkeypatch.setattr(gpu, "BENCHMARKS", {"toy": ["pots"]})
    monkeypatch.setattr(gpu.subprocess, "run", fake := FakeRun(codes=[0, 2]))
    assert gpu.main() == 1
    text = gpu.RESULT.read_text("utf-8")
    assert text.startswith("# On a GPU: A GPU")
    assert "`python -m benchmarks pots --device cuda` ended with 2" in text
    assert [words[2:5] for words in fake.asked] == [["pytest", "-m", "gpu"], ["benchmarks", "pots", "--device"]]


class FakeRun:
    def __init__(self, codes: list[int]) -> None:
        self.codes, self.asked = codes, []

    def __call__(self, words: list[str], **_: object) -> object:
        self.asked.append(words)
        assert words[0] == sys.executable
        return gpu.subprocess.CompletedProcess(words, self.codes.pop(0), stdout="| a table |\n")
