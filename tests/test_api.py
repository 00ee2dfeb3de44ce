"""The Python face: what `import droplab` costs, and what a study gives back."""

import sqlite3
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import droplab
from droplab.api import StudyResult
from droplab.config import StudySettings
from droplab.data.output import Folder
from droplab.errors import ConfigError, DataError, DeviceError, DroplabError, StoreError
from droplab.model.file import read
from droplab.study.backends import Here, InProcess
from droplab.study.lab import Lab
from droplab.study.store import RunRecord, Store
from study_help import SMALL, Watcher, python, toy_npz


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """One small study of a file, trained here."""
    folder = tmp_path_factory.mktemp("study")
    study = droplab.Study.preset("mnist-depth", **SMALL, data=str(toy_npz(folder / "toy.npz")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Here, "backend", lambda *_: InProcess())
        return study.run(store=folder / "store.sqlite", precision="fp32")


def store_of(result: StudyResult) -> Path:
    return result.store.path


def test_importing_droplab_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'pydantic', 'numpy'}"
    code = f"import sys, droplab; print(droplab.__version__, {heavy} & set(sys.modules))"
    with python("-c", code) as process:
        assert process.communicate()[0] == f"{droplab.__version__} set()\n"


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Studdy'"):
        _ = droplab.Studdy
    assert all(getattr(droplab, name) for name in droplab.__all__)


def test_a_preset_takes_overrides_and_checks_them() -> None:
    assert droplab.Study.preset("mnist-depth", seeds=2, depths=(3,)).settings.architectures == ((512, 256),)
    with pytest.raises(ConfigError, match="did you mean 'seeds'"):
        droplab.Study.preset("mnist-depth", seed=2)


def test_a_study_gives_back_every_run_with_its_weights(finished: StudyResult) -> None:
    assert (finished.summary.trained, finished.summary.failures) == (10, [])
    assert set(finished.records) == {run.key for run in finished.plan.runs}
    for run in finished.plan.runs:
        _, info = finished.store.read_weights(finished.records[run.key])
        assert (info.key, info.widths, info.dropout) == (run.key, run.settings.widths, run.settings.dropout)


def test_its_tables_are_by_value_and_by_arm(finished: StudyResult) -> None:
    names = [arm.name for arm in finished.plan.arms]
    distinct = [name for name in names if name != "depth=1,dropout=0.5"]
    assert list(finished.table()["arm"]) == distinct, "the network that serves two arms is one row"
    assert list(finished.table()["seeds"]) == [2] * len(distinct)
    results = finished.results()
    assert list(results.columns)[:8] == ["arm", "seed", "depth", "dropout", "inference", "split", "metric", "value"]
    assert set(results["arm"]) == set(names)


def test_each_dropout_arm_is_compared_with_its_control(finished: StudyResult) -> None:
    compared = {one.arm.name: one.against.name for one in finished.comparisons()}
    assert compared == {f"depth={depth},dropout=0.5": f"depth={depth},control" for depth in (1, 2, 3)}
    assert finished.comparisons()[0].comparison.verdict == "does not apply"


def test_an_observer_is_told_and_a_second_run_trains_nothing(finished: StudyResult) -> None:
    watcher = Watcher()
    again = droplab.Study(finished.plan.settings).run(store=store_of(finished), precision="fp32", observer=watcher)
    assert (again.summary.trained, again.summary.reused, watcher.todo) == (0, 10, [])
    assert again.results().equals(finished.results())


def test_recall_gives_what_the_store_has_and_trains_nothing(finished: StudyResult) -> None:
    grown = finished.plan.settings.override(seeds=3)
    recalled = droplab.Study(grown).recall(store=store_of(finished), precision="fp32")
    assert (len(recalled.records), len(recalled.plan.runs), recalled.summary.trained) == (10, 15, 0)
    assert list(recalled.table()["seeds"]) == [2] * 5


def test_recall_needs_neither_the_data_nor_the_precision(finished: StudyResult) -> None:
    """The file is gone, and `auto` means bf16 on some machines and fp32 on others: the store tells."""
    gone = finished.plan.settings.override(data="elsewhere/toy.npz")
    recalled = droplab.Study(gone).recall(store=store_of(finished))
    assert len(recalled.records) == 10
    assert recalled.dataset == finished.dataset
    assert recalled.dataset.train_examples == 480


def test_recall_of_what_the_store_has_not_is_a_store_error(finished: StudyResult) -> None:
    other = droplab.Study(finished.plan.settings.override(epochs=9))
    with pytest.raises(StoreError, match="in fp32; found none"):
        other.recall(store=store_of(finished), precision="fp32")


def test_recall_from_a_store_that_is_not_there_makes_none(finished: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found none"):
        droplab.Study(finished.plan.settings).recall(store=tmp_path / "mistyped.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_bad_ways_to_train_are_refused_before_data_is_fetched() -> None:
    with pytest.raises(DeviceError, match="device must be auto, cpu or cuda; found 'gpu'"):
        droplab.Study.preset("mnist-depth").run(device="gpu")
    with pytest.raises(DeviceError, match="precision must be"):
        droplab.Study.preset("mnist-depth").run(precision="fp16")


def with_records(result: StudyResult, records: dict[str, RunRecord]) -> StudyResult:
    """The same study with other records."""
    return replace(result, findings=replace(result.findings, records=records))


def gone_from(result: StudyResult) -> StudyResult:
    """The same study without its data."""
    elsewhere = replace(result.plan, settings=result.plan.settings.override(data="gone.npz"))
    return replace(result, findings=replace(result.findings, plan=elsewhere), data=None)


def doctored(record: RunRecord, valid: float, test: float) -> RunRecord:
    accuracies = {"valid": valid, "test": test, "train": test}
    metrics = tuple(
        metric._replace(value=accuracies[metric.split]) if metric.name == "accuracy" else metric
        for metric in record.outcome.metrics
    )
    return replace(record, outcome=replace(record.outcome, metrics=metrics))


def test_the_best_model_is_chosen_on_valid_whatever_test_says(finished: StudyResult, tmp_path: Path) -> None:
    best_arm = finished.plan.arms[3]  # depth 2 with dropout
    best = finished.plan.run_of(best_arm, 1)
    assert best_arm.name == "depth=2,dropout=0.5"
    records = {}
    for run in finished.plan.runs:
        favoured = best_arm in run.arms
        valid, test = (0.8 + 0.1 * run.settings.seed, 0.1) if favoured else (0.6, 0.9 + 0.01 * run.settings.depth)
        records[run.key] = doctored(finished.records[run.key], valid, test)
    chosen = with_records(finished, records)
    models = {path.name: path for path in chosen._write_models(Folder(tmp_path))}
    assert read(models["best.safetensors"])[1].key == best.key
    assert len(models) == 6 * 2 + 1, "a model for every arm and seed, and the best"
    assert {path.name for path in (tmp_path / "models").iterdir()} == set(models)
    for arm in finished.plan.arms:
        for seed in (0, 1):
            name = f"{arm.name},seed={seed}.safetensors"
            record = finished.records[finished.plan.run_of(arm, seed).key]
            assert models[name].read_bytes() == finished.store.read_model(record)


def test_beside_the_best_model_lies_its_card(finished: StudyResult, tmp_path: Path) -> None:
    best = finished.plan.run_of(finished.plan.arms[3], 1)
    favoured = [finished.plan.run_of(finished.plan.arms[3], seed).key for seed in (0, 1)]
    valid = dict(zip(favoured, (0.89, 0.9), strict=True))
    records = {key: doctored(record, valid.get(key, 0.5), 0.5) for key, record in finished.records.items()}
    chosen = with_records(finished, records)
    path = chosen._write_card(Folder(tmp_path), finished._origin("droplab study mine"))
    card = path.read_text("utf-8")
    assert path == tmp_path / "models" / "MODEL_CARD.md"
    assert f"| key | {best.key} |" in card
    assert card.startswith("# Model card: mnist-depth, depth=2,dropout=0.5, seed 1\n")
    assert "toy" in card
    assert "400 examples were trained on, 80 held out for validation" in card
    assert "\ndroplab study mine\n" in card


def test_a_result_shows_itself_in_a_notebook_and_gives_its_charts(finished: StudyResult) -> None:
    shown = finished._repr_html_()
    assert all(f"<td>{arm.name}</td>" in shown for arm in finished.plan.distinct)
    charts = ["difference", "control", "inference", "loss", "overfitting", "reliability", "samples"]
    assert list(finished.charts) == [*charts, "confusion"], "the best one is linear, and has no activations"
    assert finished.charts.confusion().to_dict() == finished.charts["confusion"].to_dict()
    assert finished.charts.depth().to_dict() == finished.charts["difference"].to_dict()


def test_a_damaged_model_is_never_copied(finished: StudyResult, tmp_path: Path) -> None:
    record = finished.records[finished.plan.runs[0].key]
    model = finished.store.files.path("weights", record.weights_hash)
    sound = model.read_bytes()
    try:
        model.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        with pytest.raises(StoreError, match="its bytes have changed"):
            finished._write_models(Folder(tmp_path))
    finally:
        model.write_bytes(sound)


def test_regularizers_are_compared_by_name(finished: StudyResult) -> None:
    for mine, other in zip(finished.compare("dropout=0.5", against="control"), finished.comparisons(), strict=True):
        assert mine == other
    backwards = finished.compare("control", against="dropout=0.5")[1].comparison.difference
    assert backwards == pytest.approx(-finished.comparisons()[1].comparison.difference)
    with pytest.raises(ConfigError, match=r"between control, dropout=0\.5 in this study; found 'dropout=0\.2'"):
        finished.compare("dropout=0.2")


def test_without_an_observer_what_must_be_known_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    values = SMALL | {
        "depths": [1],
        "seeds": 1,
        "epochs": 1,
        "batch_size": 5000,
        "data": str(toy_npz(tmp_path / "toy.npz")),
    }
    study = droplab.Study.preset("mnist-depth", **values)
    with pytest.warns(UserWarning, match="batch_size=5000 is clipped to the 400"):
        said = study.run(store=tmp_path / "store.sqlite", precision="fp32").summary.notices
    assert said == ["batch_size=5000 is clipped to the 400 training examples there are"]


def test_features_that_bf16_would_round_are_trained_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    values = SMALL | {"depths": [1], "seeds": 1, "epochs": 1, "data": str(toy_npz(tmp_path / "toy.npz"))}
    with pytest.warns(UserWarning, match="fp32: "):
        result = droplab.Study.preset("mnist-depth", **values).run(store=tmp_path / "store.sqlite")
    assert {run.way.precision for run in result.plan.runs} == {"fp32"}


def test_one_lucky_seed_does_not_make_an_arm_the_best(finished: StudyResult) -> None:
    lucky = finished.plan.run_of(finished.plan.arms[0], 0)
    steady = finished.plan.arms[2]
    records = {}
    for run in finished.plan.runs:
        valid = 0.99 if run == lucky else 0.9 if steady in run.arms else 0.5
        records[run.key] = doctored(finished.records[run.key], valid, 0.5)
    assert steady in with_records(finished, records).findings.best_run.arms


def test_a_study_shows_its_best_network_now_and_from_the_store_alone(finished: StudyResult) -> None:
    best = finished.plan.arms[3]  # one with a hidden layer, whatever these epochs came to
    valid = {run.key: 0.9 if best in run.arms else 0.5 for run in finished.plan.runs}
    finished = with_records(finished, {key: doctored(r, valid[key], 0.5) for key, r in finished.records.items()})
    now = finished.exhibits()
    assert now.missing == ""
    assert now.sparsity is not None
    later = replace(finished, data=None).exhibits()
    assert later.sparsity is not None, "the file is still there"
    assert now.sparsity[0].equals(later.sparsity[0])
    gone = gone_from(finished).exhibits()
    assert gone.sparsity is None
    assert gone.confusion is not None
    assert gone.confusion.equals(now.confusion)
    right = finished.records[finished.findings.best_run.key].right
    assert right is not None
    assert gone.confusion.query("true == predicted")["examples"].sum() == right.sum()


def test_what_valid_chose_is_trained_again_on_all_training_examples(finished: StudyResult, tmp_path: Path) -> None:
    study = droplab.Study(finished.plan.settings)
    assert finished.refits == {}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        patch.setattr(Here, "backend", lambda *_: InProcess())
        again = study.run(store=store_of(finished), precision="fp32", refit=True)
        once_more = study.run(store=store_of(finished), precision="fp32", refit=True)
    assert any("it is trained again on train and valid together" in str(one.message) for one in said)
    assert (again.summary.trained, once_more.summary.trained) == (2, 0)
    assert list(again.refits) == [0, 1]
    best = again.findings.best_run
    for seed, record in again.refits.items():
        alike = record.settings.model_copy(update={"valid_fraction": best.settings.valid_fraction, "seed": 0})
        assert alike == best.settings.model_copy(update={"seed": 0})
        assert record.settings.seed == seed
        assert {metric.split for metric in record.outcome.metrics} == {"train", "test"}
        assert set(record.outcome.ledger) == {"test"}
    recalled = study.recall(store=store_of(finished))
    assert list(recalled.refits) == [0, 1], "the store's report has it, too"
    models = {path.name: path for path in recalled._write_models(Folder(tmp_path))}
    assert read(models["refit.safetensors"])[1].key == recalled.refits[best.settings.seed].key
    for run in again.plan.runs:
        assert run.key in finished.records, "and nothing else changed"


def test_probabilities_are_those_of_the_stored_networks(finished: StudyResult, tmp_path: Path) -> None:
    paths = finished._write_probabilities(Folder(tmp_path / "new"))
    assert len(paths) == len(finished.plan.runs)
    run = finished.plan.run_of(finished.plan.arms[3], 1)
    record = finished.records[run.key]
    frame = pd.read_parquet(tmp_path / "new" / "probabilities" / "depth=2,dropout=0.5,seed=1.parquet")
    classes = list(finished.dataset.classes)
    columns = [f"p_{name}" for name in classes]
    assert list(frame.columns) == ["split", "example", "label", "predicted", *columns]
    assert frame[columns].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    for split in ("valid", "test"):
        mine = frame[frame["split"] == split]
        assert [classes[k] for k in record.outcome.ledger[split]] == mine["predicted"].tolist()
        of_truth = [row[1][f"p_{row[1]['label']}"] for row in mine.iterrows()]
        assert -np.log(of_truth).mean() == pytest.approx(record.outcome.metric("off", split, "nll"), rel=1e-4)
    held_out = frame[frame["split"] == "valid"]["example"]
    assert held_out.is_unique
    with pytest.raises(DroplabError, match=r"'gone.npz' as the study had them; found none at hand"):
        gone_from(finished)._write_probabilities(Folder(tmp_path))


def test_a_refit_and_fewer_training_examples_exclude_each_other(finished: StudyResult) -> None:
    study = droplab.Study(finished.plan.settings.override(train_examples=50))
    with pytest.raises(ConfigError, match="refit trains on all training examples; found train_examples=50"):
        study.run(store=store_of(finished), refit=True)


def test_more_training_examples_than_there_are_is_one_error_before_anything_is_trained(finished: StudyResult) -> None:
    study = droplab.Study(finished.plan.settings.override(train_examples=10**6))
    with pytest.raises(DataError, match=r"train_examples must lie between .* of the training part; found 1000000"):
        study.run(store=store_of(finished), precision="fp32")


def test_a_study_with_early_stopping_is_refitted_and_its_store_can_be_read(tmp_path: Path) -> None:
    settings = {"depths": [2], "first_width": 8, "epochs": 6, "batch_size": 64, "learning_rate": 0.5, "seeds": 2}
    stopping = {"dropout": [], "regularizers": {"early_stopping": 1}, "data": str(toy_npz(tmp_path / "toy.npz"))}
    store = tmp_path / "store.sqlite"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(Here, "backend", lambda *_: InProcess())
        made = droplab.Study(StudySettings.parse(settings | stopping)).run(store=store, precision="fp32", refit=True)
    assert list(made.refits) == [0, 1]
    for run in made.plan.runs:
        refit = made.refits[run.settings.seed]
        assert refit.settings.epochs == made.records[run.key].outcome.best_epoch
        assert refit.outcome.metric("off", "train", "accuracy") > 0.5, "it is trained"
    with Store(store) as opened:
        assert len(opened.summaries()) == 4


def test_a_study_whose_data_cannot_be_had_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(DroplabError):
        droplab.Study.preset("mnist-depth", data=str(tmp_path / "none.npz")).run(store=tmp_path / "s.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_turns_out_to_be_damaged_is_trained_again_by_the_same_study(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Here, "backend", lambda *_: InProcess())
    watcher = Watcher()
    study = droplab.Study.preset("mnist-depth", **SMALL | {"depths": [1]}, data=str(toy_npz(tmp_path / "toy.npz")))
    asked = {"store": tmp_path / "store.sqlite", "precision": "fp32"}
    before = study.run(**asked)
    lost = before.plan.runs[0].key
    with closing(sqlite3.connect(asked["store"])) as database, database:
        database.execute("UPDATE runs SET metrics = '[]' WHERE key = ?", (lost,))
    after = study.run(**asked, observer=watcher)
    assert after.records[lost].outcome.metrics == before.records[lost].outcome.metrics
    assert (after.summary.trained, after.summary.reused) == (1, len(before.plan.runs) - 1)
    assert any(text.startswith("1 run is damaged in the store and trained again") for text in watcher.notices)


def test_what_a_notebook_shows_of_a_lab_has_no_password() -> None:
    assert "secret" not in repr(Lab("postgresql+psycopg://me:secret@host/db"))
