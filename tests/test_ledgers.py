"""Ledgers: two arms compared from what the store kept, with the numbers that the arrays give, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from droplab import cli
from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.errors import ConfigError, DataError, StoreError
from droplab.stats.compare import compare
from droplab.study import ledgers
from droplab.study.plan import Run
from droplab.study.store import Store
from droplab.train.outcome import Metric, Way
from report_data import findings_of, made_up_study
from store_help import make_trained

RANDOM = np.random.default_rng(5)
EXAMPLES = 300
FEATURES = RANDOM.integers(0, 256, (EXAMPLES, 4)).astype(np.uint8)
LABELS = np.arange(EXAMPLES) % 3
DATA = Dataset("toy", FEATURES, LABELS, FEATURES, LABELS, ("a", "b", "c"), scale=1 / 255)
WAY = Way("cpu", "fp32")


def file(store: Store, settings: RunSettings, wrong: float, data: Dataset = DATA) -> np.ndarray:
    """File a run that is wrong for about that share of the test examples; returns which it gets right."""
    run = Run(settings.content_key(data.fingerprint, "fp32"), settings, WAY, ())
    random = np.random.default_rng([settings.seed, round(1000 * wrong)])
    predicted = np.where(random.random(EXAMPLES) < wrong, (LABELS + 1) % 3, LABELS).astype(np.uint8)
    right = predicted == LABELS
    trained = make_trained(run)
    metrics = (Metric("off", "test", "accuracy", float(right.mean())),)
    ledger = {"valid": predicted[:3], "test": predicted}
    store.save(run, data, trained._replace(outcome=replace(trained.outcome, metrics=metrics, ledger=ledger)))
    return right


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A store with dropout (seeds 0 … 3), its control (seeds 1 … 4) and others; right and wrong on the shared seeds."""
    path = tmp_path_factory.mktemp("store") / "store.sqlite"
    with Store(path) as store:
        dropout = [file(store, RunSettings(widths=(8, 4), dropout=0.5, seed=s, epochs=3), 0.1) for s in range(4)]
        control = [file(store, RunSettings(widths=(8, 4), seed=s, epochs=3), 0.2) for s in range(1, 5)]
        file(store, RunSettings(widths=(8,), dropout=0.5, seed=0, epochs=3), 0.1)
        file(store, RunSettings(widths=(8,), dropout=0.5, seed=1, epochs=9), 0.1)
        file(store, RunSettings(widths=(2,), seed=0, epochs=3), 0.1, replace(DATA, name="other", scale=1.0))
    return path, np.stack(dropout[1:]), np.stack(control[:3])


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli.app, ["compare", *arguments, "--store", str(path)], catch_exceptions=False, env={"COLUMNS": "200"}
    )


def test_a_record_knows_what_it_gets_right(filed):
    path, dropout, _ = filed
    settings = RunSettings(widths=(8, 4), dropout=0.5, seed=1, epochs=3)
    with Store(path) as store:
        (record,) = store.load([settings.content_key(DATA.fingerprint, "fp32")]).values()
    assert record.right is not None
    assert (record.right == dropout[0]).all()


@pytest.mark.parametrize("control", ["depth=3,control", "widths=8,4,dropout=0", "widths = 8, 4 , control"])
def test_arms_are_paired_by_seed_over_seeds_and_over_examples(filed, control):
    path, dropout, without = filed
    result = run(path, "depth=3,dropout=0.5", control)
    assert result.exit_code == 0
    over_seeds = compare(dropout.mean(axis=1), without.mean(axis=1))
    over_both = compare(dropout, without)
    assert f"new seeds on these test examples: {over_seeds.words}\n" in result.output
    assert f"new seeds and new examples: {over_both.words}\n" in result.output
    assert over_seeds.low != over_both.low
    assert "over 3 seeds" in result.output
    assert "dropout\t0.5\t0\n" in result.output
    assert f"test accuracy (%), seed 2\t{100 * dropout[1].mean():.2f}\t{100 * without[1].mean():.2f}\n" in result.output


def test_margin_and_confidence_are_those_of_the_comparison(filed):
    path, dropout, without = filed
    output = run(path, "depth=3,dropout=0.5", "depth=3,control", "--margin", "0.5", "--confidence", "0.9").output
    assert compare(dropout, without, margin=0.5, confidence=0.9).words in output
    assert "Equivalent within ±50 points" in output


def test_arms_of_two_studies_say_all_they_differ_in(filed):
    output = run(filed[0], "depth=3,dropout=0.5", "depth=2,epochs=9").output
    assert "widths\t8,4\t8\n" in output
    assert "epochs\t3\t9\n" in output


@pytest.mark.parametrize(
    ("arms", "error", "message"),
    [
        (("depth=2,dropout=0.5", "depth=3,control"), DataError, "differ in epochs 3, 9. Say which: .*,epochs=…"),
        (("depth=7", "depth=3,control"), StoreError, "must hold runs of the arm 'depth=7'; found none"),
        (("depth=3,dropout=0.5", "dropout=0.5,depth=3"), ConfigError, "must differ"),
        (("depth=2,epochs=3,data=toy", "depth=3,control"), StoreError, "must share a seed; found seeds 0 for"),
        (("depth=2,data=toy,epochs=3", "data=other"), DataError, "the same test examples"),
        (("detph=2", "depth=3"), ConfigError, "Did you mean 'depth'"),
        (("dropout", "depth=3"), ConfigError, "a condition is a name"),
        (("depth=3,dropout=0.5", "depth=3,control", "--margin", "0"), ConfigError, "margin must be a positive"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_to_do(filed, arms, error, message):
    with pytest.raises(error, match=message):
        run(filed[0], *arms)


def test_a_study_is_compared_for_new_examples_too_where_labels_are_known():
    plan, records = made_up_study(depths=[2, 3])
    assert [one.new_examples for one in findings_of(plan, records).contrasts] == [None, None]
    labels = np.zeros(EXAMPLES, np.uint8)
    rights = {}
    for key, record in records.items():
        random = np.random.default_rng(int.from_bytes(key[:8].encode()))
        predicted = (random.random(EXAMPLES) < (0.05 if record.settings.dropout else 0.3)).astype(np.uint8)
        outcome = replace(record.outcome, ledger={"test": predicted})
        rights[key] = predicted == 0
        records[key] = replace(record, outcome=outcome, test_labels=labels)
    found = findings_of(plan, records).contrasts
    for one in found:
        a, b = (np.stack([rights[plan.run_of(arm, s).key] for s in range(3)]) for arm in (one.arm, one.against))
        alone = compare(a, b)
        assert one.new_examples is not None
        assert (one.new_examples.difference, one.new_examples.examples) == (alone.difference, EXAMPLES)
        assert one.new_examples.high - one.new_examples.low > one.comparison.high - one.comparison.low
        assert one.new_examples.p_adjusted >= one.new_examples.p_value, "one family of two"


def test_by_seed_keeps_the_order_of_the_seeds():
    _, records = made_up_study(widths=[16], depths=[], seeds=[3, 1, 2], dropout=0.0)
    found = ledgers.by_seed(list(records.values()), "control")
    assert list(found) == [1, 2, 3]
