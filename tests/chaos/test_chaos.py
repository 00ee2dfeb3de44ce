"""`make chaos` disturbs studies for half an hour; here, that it sees what must not be."""

import os
import sys
import time
from random import Random

from chaos.__main__ import attempt, table
from chaos.scenarios import NotHereError, Scenario, kills
from chaos.studies import KINDS, Process, Said, Study
from droplab.study.store import Store
from store_help import make_dataset, make_run, make_trained

CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_a_hundred_kills_meet_all_kinds_of_study():
    assert sum(one.times for one in kills(100)) == 100
    assert len(kills(100)) == len(KINDS) == 6


def test_a_bad_end_is_seen():
    assert not Said(0, "report: here").faults(0)
    assert not Said(1, "error: the disk is full. Make room.").faults(0, 1)
    assert Said(1, "error: the disk is full. Make room.").faults(0)
    assert Said(1, "nothing was said").faults(0, 1)
    assert Said(1, "Traceback (most recent call last):\nerror: odd").faults(0, 1)
    assert Said(-6, "").faults(0, 1)


def test_a_command_that_hangs_is_killed(tmp_path):
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ), tmp_path)
    said = process.end(0.5)
    assert said.code is None
    assert said.faults(0, 1)


def test_a_process_that_is_left_over_is_seen_and_killed(tmp_path):
    process = Process([sys.executable, "-c", CHILD], dict(os.environ), tmp_path)
    assert process.end(60).code == 0
    assert "1 processes live" in process.leftovers(0.2)[0]
    time.sleep(0.2)
    assert not process.leftovers(0)


def test_another_network_one_too_many_and_one_lacking_are_seen(tmp_path, monkeypatch):
    study = Study("stacked", tmp_path / "study", tmp_path / "cache")
    study.out.mkdir()
    (study.out / "results.csv").touch()
    run, other = make_run(0), make_run(1)
    with Store(study.store) as store:
        store.save(run, make_dataset(), make_trained(run))
    monkeypatch.setattr(Study, "expected", lambda self: study.bits())
    assert not study.differs()
    kept = study.bits()
    for expected in ({run.key: "other"}, {}, kept | {other.key: "it"}):
        monkeypatch.setattr(Study, "expected", lambda self, expected=expected: expected)
        assert study.differs()


def test_what_a_trial_comes_to_is_in_the_table(tmp_path):
    def raises(folder, cache, random):
        raise KeyError("lost")

    def absent(folder, cache, random):
        raise NotHereError("needs root")

    scenarios = [
        Scenario("well", "it holds", lambda *_: []),
        Scenario("ill", "it holds", lambda *_: ["a network is another"]),
        Scenario("raises", "it holds", raises),
        Scenario("absent", "it holds", absent),
    ]
    results = {one.name: [attempt(one, 0, tmp_path, 0, None)] for one in scenarios}
    lines = table(scenarios, results, 60).splitlines()
    assert lines[2] == "| well | it holds | 1 | 1 |  |"
    assert lines[3] == "| ill | it holds | 1 | 0 | a network is another |"
    assert lines[4] == "| raises | it holds | 1 | 0 | KeyError: 'lost' |"
    assert lines[5] == "| absent | it holds | 0 | | not here: needs root |"
    assert "1 of 3 trials held" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_moments_are_the_same_each_time(tmp_path):
    given = []
    one = Scenario("moments", "", lambda folder, cache, random: given.append(random.random()) or [], 2)
    for number in (0, 0, 1):
        attempt(one, number, tmp_path, 0, None)
    assert given[0] == given[1] == Random("moments 0 0").random() != given[2]
