"""The table of known data sets is complete and in the order that closed networks need."""

from __future__ import annotations

import re

import pytest

from droplab.data.catalog import CATALOG, Folder, Http, Npm, find, owner_of
from droplab.errors import ConfigError


@pytest.mark.parametrize("entry", CATALOG.values(), ids=CATALOG)
def test_every_entry_is_complete(entry) -> None:
    assert entry.title
    assert entry.licence
    assert len(entry.classes) == len(set(entry.classes)) == 10
    assert len(entry.files) in (0, 4)
    assert bool(entry.files) == bool(entry.sources)
    for file in entry.files:
        assert bool(file.sha256) != bool(file.gz_md5)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256) or re.fullmatch(r"[0-9a-f]{32}", file.gz_md5)


def test_no_two_files_have_one_hash() -> None:
    hashes = [file.sha256 or file.gz_md5 for entry in CATALOG.values() for file in entry.files]
    assert len(hashes) == len(set(hashes)) == 16


def test_sources_stand_in_the_order_to_try() -> None:
    kinds = {name: [type(source) for source in entry.sources] for name, entry in CATALOG.items()}
    assert kinds["mnist"] == [Http, Http, Npm]
    assert kinds["fashion-mnist"][:2] == [Folder, Http]
    assert all(source.base.endswith("/") for e in CATALOG.values() for source in e.sources if isinstance(source, Http))


@pytest.mark.parametrize(
    ("name", "near"), [("minst", "mnist"), ("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist"), ("digit", "digits")]
)
def test_a_wrong_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"found '{name}'. Did you mean '{near}'"):
        find(name)


def test_a_name_near_to_none_is_answered_with_all() -> None:
    with pytest.raises(ConfigError, match="Known names: mnist, fashion-mnist, kmnist, qmnist, digits") as caught:
        find("xyzzy")
    assert "Did you mean" not in str(caught.value)


def test_the_owner_of_known_bytes_is_named() -> None:
    file = CATALOG["fashion-mnist"].files[2]
    assert owner_of(file.sha256) == "fashion-mnist: t10k-images-idx3-ubyte"
    assert owner_of("0" * 64) == ""
