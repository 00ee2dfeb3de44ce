"""A study on a cluster whose nodes, workers, driver and server die; `make chaos` does it at full length."""

from pathlib import Path
from random import Random

import pytest

from chaos.cluster import clustered, several

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.mark.ray
def test_a_study_whose_nodes_workers_driver_and_server_die_has_the_bits_of_one_machine(tmp_path: Path) -> None:
    deaths = {"nodes": 1, "workers": 1, "drivers": 1, "restarts": 1}
    assert clustered(tmp_path / "here", tmp_path / "cache", Random(0), kind="briefly clustered", **deaths) == []


def test_studies_at_once_on_one_server_train_each_network_once_and_lose_none(tmp_path: Path) -> None:
    assert several(tmp_path / "here", tmp_path / "cache", Random(0), studies=3) == []
