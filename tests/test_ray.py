"""A Ray cluster as the place of training: what is sent there, what dies there, and what is refused."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from droplab.data.disk import KeptFile
from droplab.data.folder import load_folder
from droplab.errors import ClusterError, ConfigError, DeviceError, TrainingError
from droplab.model.regularizers import TABLE
from droplab.study.backends import ray as backend
from droplab.study.backends import site_of
from droplab.study.backends.ray import Cluster, Node, OnRay
from droplab.study.lab import Lab
from droplab.study.packs import make_packs, plain_seconds
from droplab.study.runner import run_all
from droplab.study.store import Store
from droplab.train import checkpoint
from droplab.train.device import cpu_flags
from droplab.train.examples import Examples
from ray_cluster import RayCluster, kill
from study_help import Watcher, bits, direct_bits, one_by_one, stored_bits, toy_plan
from toy import toy_dataset, toy_examples

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXAMPLES = toy_examples()
DIED = "a worker of the cluster died, or its node; another goes on with its pack"
NODE = Node("1", "one", 2, 0, 8e9, 0.0, backend._versions(), "a processor", cpu_flags(), "", frozenset({"cpu"}))


def long_pack(epochs: int = 600) -> tuple:
    return toy_plan(depths=[2], dropout=[], seeds=1, epochs=epochs).runs


def disturbed(cluster: RayCluster, disturb: Callable[[], object], folder: Path) -> tuple[dict, list[str]]:
    """Train a pack that is disturbed once it has left a checkpoint; its bits, and what was said."""
    pack, watcher = long_pack(), Watcher()
    kept = KeptFile(folder / "pack.safetensors")

    def once() -> None:
        while kept.read() is None:
            time.sleep(0.02)
        disturb()

    thread = threading.Thread(target=once)
    thread.start()
    executed = OnRay(1).execute([pack], EXAMPLES, watcher.progress, watcher.notice, lambda: False, lambda _: kept)
    found = {run.key: bits(result) for run, result in one_by_one(executed)}
    thread.join()
    return found, watcher.notices


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch, cluster: RayCluster) -> None:
    """Checkpoints every now and then, also on workers."""

    def eager(*arguments: object) -> object:
        checkpoint.EVERY_SECONDS, checkpoint.MOST_SHARE = 0.2, 1e9
        return plain(*arguments)

    plain = backend._train_there
    eager.__qualname__ = plain.__qualname__  # by which its process is known
    monkeypatch.setattr(backend, "_train_there", eager)


@pytest.mark.usefixtures("often")
class TestDeaths:
    def test_a_pack_whose_worker_is_killed_goes_on_to_the_same_bits(self, cluster: RayCluster, tmp_path: Path) -> None:
        found, said = disturbed(cluster, lambda: kill(cluster.training()[0]), tmp_path)
        assert found == direct_bits(long_pack())
        assert said == [DIED]

    def test_a_pack_whose_node_is_lost_goes_on_elsewhere_to_the_same_bits(
        self, cluster: RayCluster, tmp_path: Path
    ) -> None:
        busy: list[str] = []
        plain = backend._Job._take

        def note(job: backend._Job, stop: bool) -> None:
            plain(job, stop)
            busy.extend(task.node for task in job.tasks.values() if task.node)

        def lose() -> None:
            cluster.kill_node(next(node for node in cluster.nodes if node.node_id == busy[-1]))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend._Job, "_take", note)
            found, said = disturbed(cluster, lose, tmp_path)
        cluster.add()
        assert found == direct_bits(long_pack())
        assert said == [DIED]

    def test_a_pack_whose_workers_always_die_is_given_up(
        self, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def die(*_: object) -> None:
            time.sleep(0.1)
            os._exit(1)

        monkeypatch.setattr(backend, "_train_there", die)
        monkeypatch.setattr(backend, "DEATHS", 1)
        with pytest.raises(TrainingError, match="those of one pack died 2 times"):
            list(OnRay(1).execute([long_pack()], EXAMPLES, lambda *_: None, lambda _: None, lambda: False))


class TestWhatIsSent:
    def test_a_study_has_the_bits_of_this_machine_and_only_the_driver_writes(
        self, cluster: RayCluster, tmp_path: Path
    ) -> None:
        plan = toy_plan(seeds=3)
        for name, site in (("there", Cluster()), ("here", None)):
            with Store(tmp_path / f"{name}.sqlite") as store:
                run_all(plan.runs, toy_dataset(), store, Watcher(), 1, site)
        assert stored_bits(tmp_path / "there.sqlite") == stored_bits(tmp_path / "here.sqlite")

    def test_what_every_node_maps_is_sent_as_its_path_and_else_its_rows(
        self, cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = toy_dataset()
        for name in ("train_x", "train_y", "test_x", "test_y"):
            np.save(tmp_path / f"{name}.npy", getattr(data, name))
        import ray

        examples = Examples.of(load_folder(tmp_path), 0.2, 0)
        assert examples.files
        assert backend._shares(examples.files)
        by_path, by_value = (backend._flat(examples, shared) for shared in (True, False))
        assert by_path["train"]["features"].path == tmp_path / "train_x.npy"
        assert isinstance(by_value["train"]["features"], np.ndarray)
        for flat in (by_path, by_value):
            there = backend._examples_of(ray.get(ray.put(flat)))
            for part in ("train", "valid", "test"):
                for one, other in zip(there.part(part).chunks(), examples.part(part).chunks(), strict=True):
                    assert all((a == b).all() for a, b in zip(one[1:], other[1:], strict=True))
        (tmp_path / "train_x.npy").touch()
        assert not backend._shares(examples.files)

    def test_a_node_without_a_program_gets_the_drivers(self, cluster: RayCluster, tmp_path: Path) -> None:
        import ray

        program = SimpleNamespace(path=tmp_path / "programs" / "one.so")
        backend._have(program, [ray.put(b"library")])
        assert program.path.read_bytes() == b"library"
        backend._have(program, [])  # it is there: nothing is asked for

    def test_a_regularizer_that_a_node_does_not_know_is_named(
        self, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(TABLE, "mine", replace(TABLE["l2"], name="mine"))
        pack = toy_plan(depths=[2], dropout=[], seeds=1, regularizers={"mine": 0.1}).runs
        with pytest.raises(ClusterError, match=r"found no mine on .* Set DROPLAB_PLUGINS there"):
            list(OnRay(1).execute([pack], EXAMPLES, lambda *_: None, lambda _: None, lambda: False))

    def test_packs_have_a_minute_of_work_at_most(self, cluster: RayCluster) -> None:
        plan = toy_plan(depths=[2], dropout=[], seeds=40, epochs=5000)
        site = Cluster()
        packs = make_packs(plan.runs, EXAMPLES, 2, 1e12, None, site.most_seconds).packs
        assert len(packs) > 2
        assert all(plain_seconds(pack, EXAMPLES) < 1.2 * site.most_seconds for pack in packs)


class TestWhatThereIs:
    def test_nodes_say_what_they_have(self, cluster: RayCluster) -> None:
        site = Cluster()
        assert [node.cpus for node in site.nodes] == [1, 1]
        assert site.workers(site.resolve("cpu", "fp32"), None, 100) == 2
        assert site.compiles()
        assert site.notices == ["training on 2 nodes of a Ray cluster, with 2 cores and 0 GPUs"]
        with pytest.raises(DeviceError, match="needs a node with a GPU"):
            site.resolve("cuda", "auto")

    def test_other_versions_are_refused(self, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        old = NODE._replace(versions={"droplab": "0.0.1", "torch": "1.0"}, host="old")
        monkeypatch.setattr(backend, "_probed", lambda: [NODE, old])
        with pytest.raises(ClusterError, match=r"found droplab 0\.0\.1 and torch 1\.0 on old\. Install the same"):
            Cluster().resolve("auto", "auto")

    def test_mixed_clusters_train_alike_or_say_so(self, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = NODE._replace(processor="another", flags=frozenset(), bf16=frozenset(), id="2")
        monkeypatch.setattr(backend, "_probed", lambda: [NODE, plain])
        site = Cluster()
        assert site.resolve("auto", "auto").precision == "fp32"
        with pytest.raises(DeviceError, match="on every node that trains"):
            site.resolve("auto", "bf16")
        assert not site.compiles()
        assert "2 kinds of processor (a processor, another)" in site.notices[1]
        with_gpu = plain._replace(gpus=2.0, gpu="a GPU", gpu_memory=4e10, bf16=frozenset({"cuda"}), id="3")
        monkeypatch.setattr(backend, "_probed", lambda: [NODE, with_gpu])
        way = Cluster().resolve("auto", "auto")
        assert (way.device, way.precision) == ("cuda", "bf16")
        monkeypatch.setattr(backend, "_probed", lambda: [with_gpu, with_gpu._replace(gpu="", host="driverless")])
        assert Cluster().resolve("cpu", "fp32").device == "cpu"
        with pytest.raises(DeviceError, match="found none on driverless"):
            Cluster().resolve("auto", "auto")

    def test_no_node_to_train_on_is_an_error(self, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backend, "_probed", list)
        with pytest.raises(ClusterError, match="found none"):
            Cluster().resolve("auto", "auto")


def test_one_address_is_not_taken_for_another(cluster: RayCluster) -> None:
    for address in (None, "auto", cluster.address):
        assert Cluster(address).nodes
    with pytest.raises(ClusterError, match=r"found address 10\.0\.0\.1:6379, and this one at"):
        Cluster("10.0.0.1:6379")


@pytest.mark.parametrize("given", [True, False])
def test_where_nothing_listens_is_said_soon(given: bool) -> None:
    environment = os.environ | ({} if given else {"RAY_ADDRESS": "127.0.0.1:1"})
    told = "from droplab.study.backends.ray import Cluster; Cluster(" + ("'127.0.0.1:1')" if given else ")")
    with pytest.raises(subprocess.CalledProcessError) as ended:
        subprocess.run([sys.executable, "-c", told], check=True, env=environment, stderr=subprocess.PIPE, timeout=60)
    assert b"ClusterError: there must be a Ray cluster at 127.0.0.1:1; found none" in ended.value.stderr


def test_an_address_is_a_clusters_and_a_backend_is_known() -> None:
    with pytest.raises(ConfigError, match="backend must be local or ray; found 'spark'"):
        site_of("spark")
    with pytest.raises(ConfigError, match="Say --backend ray, too"):
        site_of("local", "auto")


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'droplab\[ray\]'"):
        Lab(backend="ray").site  # noqa: B018


def test_a_signal_means_what_it_did_before_there_was_a_cluster(cluster: RayCluster) -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
