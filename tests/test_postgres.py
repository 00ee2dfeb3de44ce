"""The PostgreSQL of the tests: its own, as a team's would be, and gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postgres import GUARDED, Postgres


def test_databases_are_apart_and_what_is_committed_outlives_a_crash(postgres: Postgres) -> None:
    import psycopg

    one, two = postgres.new_database(), postgres.new_database()
    postgres.psql("CREATE TABLE t AS SELECT 'a' COLLATE \"default\" < 'B' AS sorted", one)
    for mode in ("immediate", "fast"):
        postgres.restart(mode)
        assert postgres.psql("SELECT sorted FROM t", one) == [(True,)], "a language's order of text, not C's"
    with pytest.raises(psycopg.errors.UndefinedTable):
        postgres.psql("SELECT * FROM t", two)
    postgres.psql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'right'")
    for password, reached in (("right", True), ("wrong", False)):
        where = postgres.url("postgres", f"{GUARDED}:{password}").replace("+psycopg", "")
        try:
            psycopg.connect(where).close()
        except psycopg.OperationalError:
            assert not reached
        else:
            assert reached
    postgres.psql(f"DROP ROLE {GUARDED}")
    for url in (one, two):
        postgres.give_back(url)


def test_nothing_is_left_of_a_server_whose_test_failed(postgres: Postgres) -> None:  # where there is none
    def fails() -> None:
        nonlocal pid, server
        with Postgres() as server:
            pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
            raise KeyError

    pid, server = 0, postgres
    with pytest.raises(KeyError):
        fails()
    assert not server.folder.exists()
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(("ci", "outcome"), [({}, "1 skipped"), ({"CI": "1"}, "1 error")])
def test_where_there_is_no_server_tests_are_skipped_and_in_ci_they_fail(tmp_path: Path, ci, outcome: str) -> None:
    (tmp_path / "bare.py").write_text(
        "import postgres\ndef none():\n    raise postgres.NoPostgresError('needs a server')\npostgres._programs = none"
    )
    test = f"{__file__}::test_databases_are_apart_and_what_is_committed_outlives_a_crash"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rsE", "-p", "bare", test],
        env={name: value for name, value in os.environ.items() if name != "CI"}
        | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent}"}
        | ci,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in ran.stdout
    assert "needs a server" in ran.stdout
