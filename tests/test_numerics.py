"""Runs of an older numerics version: found, reported and compared, and never mixed with those of the present one."""

from pathlib import Path

import pytest

import droplab
from droplab.config import NUMERICS_VERSION, StudySettings
from droplab.errors import DataError
from droplab.study import ledgers
from droplab.study.lab import Lab
from droplab.study.plan import Plan, plan_refit, plan_study
from droplab.study.runner import run_all
from droplab.study.sequence import keep_looks
from droplab.study.store import Store
from droplab.study.where import parse_condition
from study_help import FP32, Watcher
from toy import toy_dataset

DATA = toy_dataset()
SETTINGS = StudySettings.parse(
    {"data": f"{DATA.name}.npz", "widths": [8, 4], "seeds": 2, "epochs": 2, "batch_size": 64}
    | {"learning_rate": 0.1, "dropout": [[0.2, 0.5], 0.5]}
)
SAID = f"numerics version 2, an older droplab's; trained again, they would be of version {NUMERICS_VERSION}"


def train(path: Path, numerics: int, settings: StudySettings = SETTINGS) -> Plan:
    plan = plan_study(settings, DATA.fingerprint, FP32, numerics)
    with Store(path) as store:
        run_all(plan.runs, DATA, store, Watcher(), 1)
        keep_looks(plan, store.load([run.key for run in plan.runs]), store)
    return plan


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """A store with runs of version 2, and their plan."""
    path = tmp_path_factory.mktemp("old") / "store.sqlite"
    return path, train(path, 2)


def test_a_plan_of_another_version_shares_no_key(old) -> None:
    _, mine = old
    new = plan_study(SETTINGS, DATA.fingerprint, FP32)
    assert new.numerics == NUMERICS_VERSION
    assert not {run.key for run in mine.runs} & {run.key for run in new.runs}
    assert [run.settings for run in mine.runs] == [run.settings for run in new.runs]
    assert mine.identity != new.identity, "its looks are its own"


def test_older_runs_are_recalled_with_their_looks_and_it_is_said(old) -> None:
    path, mine = old
    findings, summary = Lab(path).recall(SETTINGS)
    assert findings.plan.numerics == 2
    assert findings.records.keys() == {run.key for run in mine.runs}
    assert [SAID in notice for notice in summary.notices] == [True]
    with Store(path) as store:
        assert store.looks(findings.plan.identity) == [(0, 1)]
    outcomes = {key: record.outcome for key, record in findings.records.items()}
    for run in plan_refit(findings.plan, findings.best, outcomes):
        assert run.settings.numerics_of(run.key, DATA.fingerprint, "fp32") == 2


def test_the_report_says_of_which_version_its_runs_are(old) -> None:
    recalled = droplab.Study(SETTINGS).recall(store=old[0])
    assert SAID in recalled.markdown("droplab report")


def test_the_version_is_taken_of_which_there_are_more_runs_and_of_as_many_the_newest(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    train(path, 2)
    train(path, NUMERICS_VERSION, SETTINGS.override(seeds=1))
    assert Lab(path).recall(SETTINGS)[0].plan.numerics == 2
    train(path, NUMERICS_VERSION)
    findings, summary = Lab(path).recall(SETTINGS)
    assert findings.plan.numerics == NUMERICS_VERSION
    assert {record.numerics for record in findings.records.values()} == {NUMERICS_VERSION}
    assert summary.notices == []
    with Store(path) as store:
        runs = [run for run in store.summaries() if run.settings.dropout == 0.5]
        counts = [sum(map(parse_condition(f"numerics={version}").holds, runs)) for version in (2, NUMERICS_VERSION)]
        assert counts == [2, 2]
        with pytest.raises(DataError, match="differ in numerics"):
            ledgers.by_seed(list(store.load([run.key for run in runs]).values()), "dropout=0.5")
