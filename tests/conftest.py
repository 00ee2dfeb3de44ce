"""What holds for every test: none touches the user's folders; those that need what is not here are skipped."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from postgres import NoPostgresError, Postgres
from ray_cluster import NoRayError, RayCluster

if TYPE_CHECKING:
    from droplab.study.store import Store

# As workers have it. Threads that share small products wait for each other: twelve times as long on two busy cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A slow machine is no failure; in CI the examples are the same every time, elsewhere each run looks at new ones.
settings.register_profile("droplab", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("droplab")


# A test run in the background of a shell begins with Ctrl-C ignored, one behind `nohup` with SIGHUP ignored, and so
# would every process that it starts.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "postgres" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch  # here, so that a test run without GPU tests starts without it

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, torch.cuda finds none"))


def _isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    home = folder / "home"
    home.mkdir(parents=True)
    patch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        patch.delenv(name, raising=False)
    patch.setenv("DROPLAB_CACHE_DIR", str(folder / "cache"))
    patch.setenv("DROPLAB_STORE", f"sqlite:///{folder / 'store.db'}")


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For fixtures that live longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, tmp_path_factory.mktemp("session"))
        yield


@pytest.fixture(autouse=True)
def _isolated_test(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A home, cache and store of its own for each test; not inside `tmp_path`, which tests expect to be empty."""
    _isolate(monkeypatch, tmp_path_factory.mktemp("user"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator["Store"]:
    """An empty store."""
    from droplab.study.store import Store

    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests, started by the first that asks; what it is told must not outlive the test."""
    try:
        server = Postgres()
    except NoPostgresError as lacking:
        (pytest.fail if "CI" in os.environ else pytest.skip)(str(lacking))
    with server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A Ray cluster of two nodes, that this process is connected to."""
    from droplab.study.backends.ray import Cluster

    try:
        nodes = RayCluster()
    except NoRayError as lacking:
        (pytest.fail if "CI" in os.environ else pytest.skip)(str(lacking))
    with nodes:
        Cluster(nodes.address)
        yield nodes


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """An empty database."""
    url = postgres.new_database()
    yield url
    postgres.give_back(url)
