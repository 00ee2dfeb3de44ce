"""Stores that older numerics filled, kept in golden/store-numerics-N: what was trained is not lost with a new version.

    python tests/test_old_store.py

makes that of today's `NUMERICS_VERSION` from the studies in its folder: it trains them on `toy.npz` (in fp32, on a CPU)
and writes `store.zip` and `accuracies.json`. For a new version, copy the studies of the one before into a new folder;
those of older ones can be made by no droplab any more.
"""

import csv
import io
import json
import shutil
import sqlite3
import tempfile
from contextlib import chdir, closing
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from droplab import Study, config
from droplab.data.npz import write_npz
from droplab.study.store import Store
from study_help import droplab
from toy import toy_dataset

GOLDEN = Path(__file__).with_name("golden")
STUDIES = ("plain", "regularizers", "by_layer")


def accuracies(results: str) -> dict[str, dict[str, float]]:
    """Test accuracies of a `results.csv` by network, then by inference mode."""
    found: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(results)):
        if (row["split"], row["metric"]) == ("test", "accuracy"):
            found.setdefault(f"{row['arm']} seed {row['seed']}", {})[row["inference"]] = round(float(row["value"]), 6)
    return found


@pytest.fixture(params=sorted(GOLDEN.glob("store-numerics-*")), ids=lambda folder: folder.name)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """An old store with its data and studies, in the current folder; its numerics version."""
    shutil.copytree(request.param, tmp_path, dirs_exist_ok=True)
    shutil.unpack_archive(tmp_path / "store.zip", tmp_path)
    monkeypatch.chdir(tmp_path)
    return int(request.param.name.rpartition("-")[2])


@pytest.mark.usefixtures("old")
def test_every_network_reads_back_and_says_what_its_ledger_says() -> None:
    x = np.load("toy.npz")["test_x"]
    with Store("store.sqlite") as store:
        summaries = store.summaries()
        assert len(summaries) == sum(map(len, json.loads(Path("accuracies.json").read_text("utf-8")).values()))
        for record in store.load([summary.key for summary in summaries]).values():
            weights, _ = store.read_weights(record)
            act = np.tanh if record.settings.activation == "tanh" else lambda z: np.maximum(z, 0)
            inputs = x
            for layer in range(record.settings.depth):
                said = inputs @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
                inputs = act(said)
            assert said.argmax(1).tolist() == record.outcome.ledger["test"].tolist()
            assert not record.disagrees


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("study", STUDIES)
def test_an_old_study_is_reported_with_its_arms_and_numbers(study: str) -> None:
    kept = json.loads(Path("accuracies.json").read_text("utf-8"))[study]
    table = droplab("report", f"{study}.toml", "--store", "store.sqlite", "--format", "csv")
    assert table.code == 0, table.errors
    assert accuracies(table.out) == kept
    text = droplab("report", f"{study}.toml", "--store", "store.sqlite", "--format", "md")
    assert text.code == 0, text.errors
    controls = [modes["off"] for name, modes in kept.items() if "control" in name]
    assert f"{100 * np.mean(controls):.2f}" in text.out


@pytest.mark.usefixtures("old")
def test_the_folder_of_an_old_study_is_written_with_its_models(tmp_path: Path) -> None:
    said = droplab("report", "plain.toml", "--store", "store.sqlite", "--out", "out")
    assert said.code == 0, said.errors
    assert (tmp_path / "out/report.html").exists()
    assert len(list((tmp_path / "out/models").glob("*,seed=?.safetensors"))) == 4


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_asked_again_trains_only_under_later_numerics_and_loses_nothing(old: int, study: str) -> None:
    runs = len(json.loads(Path("accuracies.json").read_text("utf-8"))[study])
    with Store("store.sqlite") as store:
        before = {summary.key for summary in store.summaries()}
    summary = Study.preset(f"{study}.toml").run(store="store.sqlite", device="cpu", precision="fp32", workers=1).summary
    same = old == config.NUMERICS_VERSION
    assert (summary.reused, summary.trained) == ((runs, 0) if same else (0, runs))
    with Store("store.sqlite") as store:
        records = store.load(before)
        assert records.keys() == before
        assert all(store.read_weights(record) for record in records.values())
        assert len(store.summaries()) == len(before) + (0 if same else runs)
    assert droplab("report", f"{study}.toml", "--store", "store.sqlite", "--format", "md").code == 0


def make(folder: Path) -> None:
    """Train the folder's studies into `store.zip`, on a machine without a name."""
    write_npz(toy_dataset(240, 4, 3), folder / "toy.npz")
    kept = {}
    with (
        tempfile.TemporaryDirectory() as place,
        chdir(place),
        mock.patch("droplab.train.device.device_name", return_value="a CPU"),
        mock.patch("platform.platform", return_value="Linux"),
    ):
        shutil.copytree(folder, place, dirs_exist_ok=True)
        Path("new").mkdir()
        for study in STUDIES:
            where = ("--store", "new/store.sqlite", "--out", study, "--device", "cpu", "--precision", "fp32")
            assert droplab("study", f"{study}.toml", *where).code == 0
            kept[study] = accuracies(Path(study, "results.csv").read_text("utf-8"))
        with closing(sqlite3.connect("new/store.sqlite")) as database:
            database.execute("VACUUM")
        shutil.make_archive(str(folder / "store"), "zip", "new")
    (folder / "accuracies.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    make(GOLDEN / f"store-numerics-{config.NUMERICS_VERSION}")
