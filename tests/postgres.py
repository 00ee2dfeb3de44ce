"""A PostgreSQL for tests: its own server in a temporary folder, reached by a socket, stopped and removed at the end."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

USER, GUARDED = "droplab", "guarded"
"""Roles: `USER` may do all and needs no password; who makes one named `GUARDED` has to give its password."""


class NoPostgresError(Exception):
    """PostgreSQL cannot be had here, and why."""


class Postgres:
    """A server that runs inside a `with` block.

    Args:
        durable: whether what is committed is to outlive the machine, as in earnest; tests need it to outlive the
            server only, which costs a fraction.

    Raises:
        NoPostgresError: where PostgreSQL or psycopg is not installed.

    Example::

        with Postgres() as server, Store(server.new_database()) as store:
            ...
    """

    def __init__(self, durable: bool = False) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise NoPostgresError("needs psycopg: pip install 'droplab[postgresql]'")
        self._programs = _programs()
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            somebody = names.get("postgres") or names["nobody"]
            self._as = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": []}
        self._settings = {"listen_addresses": "", "max_connections": 60, "shared_buffers": "32MB"}
        if not durable:
            self._settings |= {"fsync": "off", "full_page_writes": "off"}
        self._databases, self._spare = 0, []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
        try:
            self.folder.chmod(0o755)
            if self._as:
                os.chown(self.folder, self._as["user"], self._as["group"])
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if (self.folder / "data" / "postmaster.pid").exists():
                self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self) -> str:
        """An empty database; its URL."""
        if self._spare:
            return self._spare.pop()
        self._databases += 1
        name = f"test{self._databases}"
        self.psql(f"CREATE DATABASE {name}")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Empty a database for the next that asks, whoever is connected; to make one takes ten times as long."""
        name = database_of(url)
        self.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        anew = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC"
        self.psql(f"ALTER DATABASE {name} RESET ALL; {anew}", url)
        self._spare.append(url)

    def url(self, name: str, user: str = USER) -> str:
        """That of a database, which need not be there."""
        return f"postgresql+psycopg://{user}@/{name}?host={self.folder}"

    def psql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement by itself, in no transaction; its rows. `database` may be a URL."""
        import psycopg

        where = {"host": str(self.folder), "user": USER, "dbname": database_of(database)}
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._control("start", "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends transactions and writes all to disk, `immediate` is a crash."""
        self._control("stop", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop it and start it again."""
        self._control("restart", "-m", mode, "-l", str(self.folder / "log"))

    def _make(self) -> None:
        """Make the data folder, with a language's order of text where it can be had: code that trusts C's fails."""
        initdb = ["--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        try:
            self._run("initdb", *initdb, "--locale-provider=icu", "--icu-locale=en-US")
        except subprocess.CalledProcessError:  # before version 15, or built without ICU
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            self._run("initdb", *initdb)
        data = self.folder / "data"
        with (data / "postgresql.conf").open("a") as handle:
            handle.writelines(f"{name} = '{value}'\n" for name, value in self._settings.items())
            handle.write(f"unix_socket_directories = '{self.folder}'\n")
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n{rules.read_text()}")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-t", "60", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; its words go to a file, as the server would keep a pipe open."""
        with (self.folder / f"{program}.log").open("a") as words:
            command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
            subprocess.run(command, check=True, cwd=self.folder, stdout=words, stderr=words, **self._as)


def database_of(url: str) -> str:
    """The name of the database in a URL; a name stays as it is."""
    return url.rpartition("@/")[2].partition("?")[0]


def _programs() -> Path:
    """The folder of `initdb` and `pg_ctl`: Debian keeps them out of PATH, by version."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))[::-1]
    for folder in folders:
        if all((folder / name).is_file() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise NoPostgresError("needs PostgreSQL's server: initdb is neither in PATH nor in /usr/lib/postgresql/*/bin")
