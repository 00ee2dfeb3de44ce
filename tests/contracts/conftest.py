"""The stores that one contract holds for: each test that asks for a store, or for where one may be, runs over all."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from droplab.study.store import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A function: where a store may be made, another at each call."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: f"{tmp_path}/{next(numbers)}/store.sqlite"
        return
    server, made = request.getfixturevalue("postgres"), []

    def new() -> str:
        made.append(server.new_database())
        return made[-1]

    yield new
    for url in made:
        server.give_back(url)


@pytest.fixture
def location(new_location: Callable[[], str]) -> str:
    """Where a store may be made."""
    return new_location()


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    """An empty store."""
    with Store(location) as opened:
        yield opened
