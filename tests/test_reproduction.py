"""Reproductions: the presets, their recipes at a budget, the choice on valid, and the command."""

import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from droplab.errors import ConfigError
from droplab.report.reproduction import render_reproduction
from droplab.reproduce import Reproduce
from droplab.study.backends import Here, InProcess
from droplab.study.plan import Run
from droplab.study.published import results_frame
from droplab.study.reproduction import (
    BUDGETS,
    Reproduction,
    load_reproduction,
    parse_reproduction,
    reproduction_names,
)
from droplab.study.store import Store
from droplab.train.optimizers import learning_rate_at, momentum_at
from droplab.train.state import Progress
from study_help import Watcher, droplab, toy_npz

EXPECTED = {
    "post", "srivastava-table2", "srivastava-table9", "srivastava-table10", "srivastava-fig4", "srivastava-fig9",
    "srivastava-fig10", "srivastava-fig11", "maxout-mnist", "wide-farley", "deepnet-example",
}  # fmt: skip
MNIST = 60_000


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends have tests of their own, and worker processes take seconds to start."""
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())


def toy(folder: Path, **values: object) -> Reproduction:
    """A table of two rows, one of which is chosen on valid."""
    return parse_reproduction(
        {
            "title": "A table",
            "source": "Somebody 2014, table 1",
            "data": str(toy_npz(folder / "toy.npz")),
            "updates": {"smoke": 2, "short": 14, "paper": 28},
            "stated": {"widths": [8], "batch_size": 64},
            "chosen": {"learning_rate": {"value": 0.1, "why": "it is not stated"}},
            "final": {"valid_fraction": 0.0},
            "tried_why": "few and far apart",
            "rows": [
                {"name": "plain", "error": 30.0},
                {
                    "name": "tuned",
                    "error": 20.0,
                    "error_sd": 1.0,
                    "settings": {"regularizers": {"max_norm": 3}},
                    "tried": [{"learning_rate": 1e-5}, {"learning_rate": 0.2}, {"learning_rate": 1e-4}],
                },
            ],
            "claims": [{"text": "Tuned errs less.", "lower": [["tuned", "plain"]]}],
        }
        | values,
        "toy",
    )


def test_all_that_is_promised_is_there() -> None:
    assert set(reproduction_names()) >= EXPECTED
    assert load_reproduction("mnist-depth") == load_reproduction("post")


@pytest.mark.parametrize("name", sorted(reproduction_names()))
def test_every_recipe_of_a_preset_can_be_trained_at_every_budget(name: str) -> None:
    what = load_reproduction(name)
    for row in what.rows:
        for option in range(len(row.tried) or 1):
            smoke, short, paper = (what.recipe(row, 0, budget, MNIST, option) for budget in BUDGETS)
            trained = [settings.split_sizes(MNIST)[0] for settings in (smoke, short, paper)]
            steps = [
                -(-count // s.batch_size) * s.epochs for count, s in zip(trained, (smoke, short, paper), strict=True)
            ]
            wanted = [what.updates[budget] for budget in BUDGETS]
            for done, asked, settings, count in zip(steps, wanted, (smoke, short, paper), trained, strict=True):
                assert abs(done - asked) <= -(-count // settings.batch_size) / 2 + 1, "to half an epoch"


def test_a_budget_below_an_epoch_is_an_epoch_of_fewer_examples(tmp_path: Path) -> None:
    what = toy(tmp_path)
    smoke, short = (what.recipe(what.rows[0], 0, budget, 480, final=False) for budget in ("smoke", "short"))
    assert (smoke.epochs, smoke.train_examples) == (1, 128)
    assert (short.epochs, short.train_examples) == (2, 0), "400 examples are 7 steps"


def test_what_is_nearer_to_the_network_wins_and_regularizers_add_up(tmp_path: Path) -> None:
    what = toy(tmp_path, chosen={"regularizers": {"value": {"l2": 0.1, "max_norm": 9}, "why": "so"}})
    tuned = what.recipe(what.rows[1], 4, "paper", 480, option=2)
    assert dict(tuned.regularizers) == {"l2": 0.1, "max_norm": 3.0}
    assert (tuned.learning_rate, tuned.seed, tuned.valid_fraction) == (1e-4, 4, 0.0)
    assert what.recipe(what.rows[1], 4, "paper", 480, option=2, final=False).valid_fraction == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"chosen": {"widths": {"value": [9], "why": "x"}}}, "stated or chosen, not both: widths"),
        ({"chosen": {"momentum": {"value": 0.5, "why": ""}}}, "chosen.momentum.why"),
        ({"claims": [{"text": "?", "lower": [["tuned", "gone"]]}]}, "there is none named gone"),
        ({"claims": [{"text": "?", "alike": ["plain"]}]}, "a claim is lower"),
        ({"claims": [{"text": "?", "alike": ["plain"], "lower": [["plain", "tuned"]]}]}, "a claim is lower"),
        ({"rows": [{"name": "a"}, {"name": "a"}], "claims": [], "tried_why": ""}, "a name of its own"),
        ({"tried_why": ""}, "tried_why is given where recipes are tried"),
        ({"across": "p"}, "needs an x"),
        ({"updates": {"smoke": 1}}, "updates needs smoke, short, paper"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_a_preset_that_does_not_hold_together_is_refused(tmp_path: Path, values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        toy(tmp_path, **values)


def test_the_presets_have_the_published_numbers() -> None:
    """As shared by the papers' own tables."""
    published = {
        "srivastava-table2": [1.60, 1.35, 1.25, 1.06, 0.94, 1.04, 1.01, 0.95],
        "srivastava-table9": [1.62, 1.60, 1.55, 1.35, 1.25, 1.05],
        "srivastava-table10": [1.08, 0.95],
        "maxout-mnist": [0.94],
        "wide-farley": [1.08, 1.05],
    }
    for name, errors in published.items():
        assert [row.error for row in load_reproduction(name).rows] == errors
    post = {row.name: row.error for row in load_reproduction("post").rows}
    assert [post[f"{depth} layer{'s' * (depth > 1)}, off"] for depth in range(1, 6)] == [7.76, 2.05, 1.79, 1.78, 2.06]
    assert [post[f"{depth} layer{'s' * (depth > 1)}, on"] for depth in range(1, 6)] == [7.76, 2.66, 2.89, 3.02, 3.10]
    for row in load_reproduction("srivastava-fig9").rows:
        assert row.settings["dropout"] == pytest.approx(1 - row.x), "retention is 1 − rate"


@pytest.mark.parametrize(
    ("name", "update", "rate", "momentum"),
    [
        ("deepnet-example", 0, 1.0, 0.5),
        ("deepnet-example", 10_000, 0.5, 0.99 - 0.49 * math.exp(-0.1)),
        ("deepnet-example", 99_999, 1 / 11, 0.99 - 0.49 * math.exp(-1)),
        ("wide-farley", 140_000, 0.0973 * (1 - 0.97770 / 2), 0.5 + 0.199 * 280 / 698),
        ("wide-farley", 400_000, 0.0973 * 0.0223, 0.699),
        ("maxout-mnist", 62_500, 0.1 * 1.000004**-62_500, 0.6),
        ("maxout-mnist", 299_999, 0.1 * 1.000004**-299_999, 0.7),
    ],
)
def test_the_published_schedules_are_followed(name: str, update: int, rate: float, momentum: float) -> None:
    what = load_reproduction(name)
    settings = what.recipe(what.rows[0], 0, "paper", MNIST)
    assert learning_rate_at(settings, np.array([update]), 500)[0] == pytest.approx(rate, rel=1e-3)
    assert momentum_at(settings, np.array([update]), 500)[0] == pytest.approx(momentum, rel=1e-3)


def test_rows_are_selected_by_a_part_of_their_name_and_claims_go_with_them() -> None:
    what = load_reproduction("srivastava-table2")
    usual = what.select([])
    assert not any(row.extra for row in usual.rows)
    assert {row.name for row in what.rows} == {row.name for row in what.select(["all"]).rows}
    wide = what.select(["8192", "4096"])
    assert [row.error for row in wide.rows] == [1.01, 0.95]
    assert wide.claims == ()
    exact = load_reproduction("srivastava-fig11").select(["mean of 1"])
    assert [row.x for row in exact.rows] == [1], "a whole name is no part of another's"
    with pytest.raises(ConfigError, match=r"found '123'\. Rows: standard net"):
        what.select(["123"])


def test_valid_chooses_among_the_recipes_and_only_the_chosen_one_is_tested(tmp_path: Path) -> None:
    what, store = toy(tmp_path), tmp_path / "store.db"
    watcher = Watcher()
    found = Reproduce(what, "paper", seeds=2).run(store=store, workers=1, observer=watcher)
    plain, tuned = found.rows
    assert (plain.tried, plain.option, sorted(plain.runs)) == ((), 0, [0, 1])
    errors = [record.outcome.metric("off", "valid", "accuracy") for record in tuned.tried]
    assert tuned.option == errors.index(max(errors)) == 1
    assert all(run.settings.learning_rate == 0.2 for run in tuned.runs.values())
    assert all(run.settings.valid_fraction == 0 for run in tuned.runs.values())
    assert found.summary.trained == 3 + 2 + 2
    table = results_frame(found)
    assert list(table["purpose"]) == ["test"] * 2 + ["choice"] * 3 + ["test"] * 2
    assert table[table["purpose"] == "choice"]["test_error"].isna().all()
    page = render_reproduction(found, "droplab reproduce toy")
    tested = {f"{100 * (1 - record.outcome.metric('off', 'test', 'accuracy')):.2f}" for record in tuned.tried}
    assert "| tuned | learning_rate 0.2 |" in page
    assert page.count("| chosen |\n") == 1
    assert not any(error in page for error in tested), "what the test split says of recipes is told nowhere"
    again = Reproduce(what, "paper", seeds=2).run(store=store, workers=1, observer=Watcher())
    assert (again.summary.trained, again.summary.reused) == (0, 7)
    assert [row.option for row in again.rows] == [0, 1]


def test_a_recipe_that_diverges_is_not_chosen_and_the_others_are(tmp_path: Path) -> None:
    what = toy(tmp_path)
    tuned = what.rows[1].model_copy(update={"tried": ({"learning_rate": 1e30}, {"learning_rate": 0.2})})
    what = what.model_copy(update={"rows": (what.rows[0], tuned)})
    found = Reproduce(what, "paper", seeds=2).run(store=tmp_path / "s.db", workers=1, observer=Watcher())
    assert len(found.summary.failures) == 1
    assert (found.rows[1].tried[0], found.rows[1].option, len(found.rows[1].runs)) == (None, 1, 2)
    page = render_reproduction(found, "droplab reproduce toy")
    assert "learning_rate 1e+30 | not trained | – |" in page


def test_what_was_interrupted_chooses_nothing_yet_and_says_what_is_there(tmp_path: Path) -> None:
    what, store = toy(tmp_path), tmp_path / "store.db"

    def interrupt(run: Run, progress: Progress) -> None:
        if run.settings.learning_rate == 0.2 and progress.epoch == 1:  # a second one would end it at once
            signal.raise_signal(signal.SIGINT)

    reproduce = Reproduce(what, "paper", seeds=2)
    stopped = reproduce.run(store=store, workers=1, observer=Watcher(interrupt))
    assert stopped.summary.interrupted
    assert (stopped.rows[1].option, stopped.rows[1].runs) == (None, {})
    assert stopped.missing == "0 of 4 results are there"
    whole = reproduce.run(store=store, workers=1, observer=Watcher())
    assert (whole.rows[1].option, whole.missing) == (1, "")
    with Store(store) as opened:
        opened.delete([whole.rows[0].runs[1].key])
    part = replace(whole, rows=(replace(whole.rows[0], runs={0: whole.rows[0].runs[0]}), whole.rows[1]))
    assert "**3 of 4 results are there.**" in render_reproduction(part, "droplab reproduce toy")


def test_a_reproduction_trains_only_what_the_store_lacks(tmp_path: Path) -> None:
    what, store = toy(tmp_path), tmp_path / "store.db"
    with Store(store):
        pass
    reproduce = Reproduce(what, "paper", seeds=2)

    def stored() -> int:
        return reproduce.foretell(store=store, workers=1, notify=lambda text: None).stored

    assert stored() == 0
    whole = reproduce.run(store=store, workers=1, observer=Watcher())
    assert stored() == 7
    with Store(store) as opened:
        opened.delete([whole.rows[1].tried[2].key, whole.rows[0].runs[1].key])
    assert stored() == 3, "without the choice, the first of equally costly recipes stands for the chosen one"
    again = reproduce.run(store=store, workers=1, observer=Watcher())
    assert again.summary.trained == 2
    assert results_frame(again).drop(columns="train_seconds").equals(results_frame(whole).drop(columns="train_seconds"))


def test_the_command_writes_page_numbers_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("droplab.study.reproduction.load_reproduction", lambda name: toy(tmp_path))
    out = tmp_path / "out"
    arguments = ["reproduce", "toy", "--budget", "smoke", "--store", tmp_path / "store.db", "--out", out]
    dry = droplab(*arguments, "--dry-run")
    assert dry.code == 0
    assert "tuned (3 recipes tried)" in dry.out
    assert "2 updates a network; plan: 5 networks, 0 of them in the store" in dry.out
    assert not (tmp_path / "store.db").exists()
    said = droplab(*arguments)
    assert (said.code, said.errors) == (0, "")
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        ".droplab-files", "report.md", "results.csv", "reproduction.svg", "reproduction.png",
    }  # fmt: skip
    assert "Tuned errs less. Cannot be told at the smoke budget (2 updates a network)" in said.out
    page = (out / "report.md").read_text("utf-8")
    meaning = "The numbers of a smoke run mean nothing: it shows that everything works"
    assert said.out.index(meaning) < said.out.index("test error (%)")
    assert page.index(f"**{meaning}") < page.index("## Published beside ours")
    quiet = droplab(*arguments, "--quiet", "--force")
    assert quiet.code == 0
    assert quiet.out == said.out[said.out.index(meaning) :]
    assert "droplab reproduce toy --budget smoke" in page
    assert "| learning_rate | 0.1 | chosen | it is not stated |" in page
    assert len(pd.read_csv(out / "results.csv")) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["srivastava-table99"], "found 'srivastava-table99'. Did you mean 'srivastava-table9'?"),
        (["post", "--budget", "long"], "a budget is one of smoke, short, paper; found 'long'."),
        (["post", "--rows", "nine layers"], "--rows takes a row's name, a part of names, or all; found 'nine layers'."),
        (["post", "--device", "tpu"], "device"),
    ],
)
def test_what_cannot_be_reproduced_is_one_clear_error(arguments: list[str], words: str) -> None:
    said = droplab("reproduce", *arguments)
    assert said.code == 1
    assert words in said.errors
    assert said.errors.count("\n") == 1


def test_presets_lists_the_reproductions() -> None:
    said = droplab("presets")
    assert "srivastava-table9: Table 9: regularization methods on MNIST" in said.out
