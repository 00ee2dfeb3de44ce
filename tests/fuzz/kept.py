"""What droplab keeps itself: model files, the store, checkpoints. A damaged one says what it said, or is refused."""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from safetensors import numpy as safetensors

from droplab.config import RunSettings
from droplab.data.disk import KeptFile
from droplab.errors import DroplabError
from droplab.model.file import ModelInfo, read, to_bytes
from droplab.predict import predict
from droplab.study.records import RunRecord
from droplab.study.store import Store
from droplab.train.checkpoint import Checkpoint
from droplab.train.outcome import Way
from droplab.train.state import State
from fuzz.harness import ChangedError, Target
from fuzz.mutate import damaged, edited, flipped, odd_number, odd_text, safetensors_edited
from store_help import make_dataset, plan_pack, save_many
from toy import toy_examples

torch.set_num_threads(1)


def digest(*parts: Any) -> str:
    """A hash of arrays, bytes, and what has a faithful `repr`."""
    made = hashlib.sha256()
    for part in parts:
        made.update(
            part.tobytes()
            if isinstance(part, np.ndarray)
            else part
            if isinstance(part, bytes)
            else repr(part).encode("utf-8", "surrogatepass")
        )
    return made.hexdigest()


def rehashed(random: Random, content: bytes) -> bytes:
    """A model file that says something else, by somebody who knows how its hash is made."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told = edited(
        random, {key: value for key, value in json.loads(header["__metadata__"]["droplab"]).items() if key != "sha256"}
    )
    made = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    weights = safetensors.load(content)
    for name in sorted(weights):
        made.update(name.encode())
        made.update(weights[name].data)
    if isinstance(told, dict):
        told["sha256"] = made.hexdigest()
    header["__metadata__"]["droplab"] = json.dumps(told, sort_keys=True)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


class Model(Target):
    name, share = "model", 140_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        common = {
            "features": 4,
            "classes": ("a", "b", "c"),
            "data": "toy",
            "fingerprint": "f" * 64,
            "key": "e" * 64,
            "precision": "fp32",
        }
        infos = (
            ModelInfo(widths=(3,), dropout=0.5, scale=1 / 255, image_shape=(2, 2), background=0, **common),
            ModelInfo(widths=(4, 2), dropout=0.2, scale=1.0, image_shape=None, activation="maxout", pieces=2,
                      networks=2, **common),
            ModelInfo(widths=(), dropout=0.0, scale=1.0, image_shape=None, regularizers=(("l2", 0.1),), **common),
        )  # fmt: skip
        random = np.random.default_rng(0)
        self.sound = []
        for info in infos:
            weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in info.shapes.items()}
            self.sound.append(to_bytes(weights, info))
        self.said = []
        for content in self.sound:
            (folder / "sound.safetensors").write_bytes(content)
            self.said.append(self.says(folder / "sound.safetensors"))

    def write(self, random: Random) -> tuple[Path, str | None]:
        which = random.randrange(len(self.sound))
        kind = random.randrange(4)
        content = (flipped, damaged, safetensors_edited, rehashed)[kind](random, self.sound[which])
        path = self.folder / "model.safetensors"
        path.write_bytes(content)
        return path, None if kind == 3 else self.said[which]

    def says(self, path: Path) -> str:
        weights, info = read(path)
        return digest(info, *(weights[name] for name in sorted(weights)))

    def ask(self, case: tuple[Path, str | None]) -> None:
        path, expected = case
        if expected is None:
            weights, info = read(path)
            if info.preprocessing is None and info.features == 4:
                predict(weights, info, np.ones((2, 4), np.float32))
        elif self.says(path) != expected:
            raise ChangedError("another network than was kept")


class NoneThereError(Exception):
    """There is no such row, as after damage to its key."""


class Kept(Target):
    """A store of three runs and a plan, copied for each case."""

    tables = ("runs", "arrays", "datasets", "labels", "plans", "meta")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "store.sqlite"
        with Store(self.path) as store:
            self.keys = [run.key for run in save_many(store, range(3))]
            self.planned = [run.key for run, _ in plan_pack(store, 1, range(5, 7))]
            self.dataset = make_dataset()
        with closing(sqlite3.connect(self.path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA journal_mode=DELETE")
        self.intact = self.path.read_bytes()
        self.expected = self.says()

    def fresh(self, content: bytes) -> None:
        """Put a database in its place, without what belongs to another one."""
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.write_bytes(content)

    def says(self) -> dict[str, str]:
        """What the store says of each run, each plan and its data, as listings and reports ask; of each alone."""
        said: dict[str, str] = {}
        with Store(self.path) as store:
            finished = store.finished([*self.keys, *self.planned])
            for key in finished:
                self.one(said, f"run {key[:8]}", lambda key=key: self.record(store, key))
                self.one(said, f"labels {key[:8]}", lambda key=key: self.labels(store, key))
            self.one(said, "data", lambda: self.first(store.datasets(self.dataset.name)))
            for key in self.planned:
                self.one(
                    said, f"plan {key[:8]}", lambda key=key: self.first([p.way for p in store.planned([key]).values()])
                )
            with suppress(DroplabError):
                said |= {f"line {one.key[:8]}": digest(one) for one in store.summaries(lambda _: None)}
        return said

    def one(self, said: dict[str, str], name: str, ask: Callable[[], str]) -> None:
        """Add an answer, unless it is refused or there is none: that costs a training, and is no wrong figure."""
        with suppress(DroplabError, NoneThereError):
            said[name] = ask()

    def first(self, found: Sequence[object]) -> str:
        if not found:
            raise NoneThereError
        return digest(found[0])

    def loaded(self, store: Store, key: str) -> RunRecord:
        for record in store.load([key]).values():
            return record
        raise NoneThereError

    def labels(self, store: Store, key: str) -> str:
        if (labels := self.loaded(store, key).test_labels) is None:
            raise NoneThereError
        return digest(labels)

    def record(self, store: Store, key: str) -> str:
        record = self.loaded(store, key)
        weights, info = store.read_weights(record)
        outcome = record.outcome
        arrays = [*vars(outcome.curves).values(), *outcome.ledger.values()]
        told = (
            record.key,
            record.settings,
            record.dataset,
            record.fingerprint,
            record.way,
            outcome.metrics,
            outcome.environment,
        )
        times = (
            outcome.train_seconds,
            outcome.evaluate_seconds,
            record.weights_bytes,
            record.finished,
            list(outcome.ledger),
        )
        return digest(
            told, times, info, *(np.asarray(array) for array in arrays), *(weights[name] for name in sorted(weights))
        )

    def ask(self, case: tuple[str, str]) -> None:
        """Ask all; `case` is what was done, and the key of the one run that it was done to, if it was one."""
        done, damaged_key = case
        said = self.says()
        if odd := [name for name, value in said.items() if self.expected.get(name) != value]:
            raise ChangedError(f"{', '.join(odd)} not as kept, after {done}")
        lacking = [name for name in self.expected if name not in said]
        good = [name for name in lacking if name.startswith(("run ", "line ")) and name[-8:] != damaged_key[:8]]
        if damaged_key and good:
            raise ChangedError(f"{', '.join(good)} is taken down by a bad row: {done}")
        if lacking:
            raise DroplabError(f"refused: {', '.join(lacking)}")


class Rows(Kept):
    """A cell of some table is another."""

    name, share = "store", 10_000

    def write(self, random: Random) -> tuple[str, str]:
        self.fresh(self.intact)
        with closing(sqlite3.connect(self.path)) as database:
            table = random.choice(("runs", "runs", "runs", "arrays", *self.tables))
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            column = random.choice(columns)
            rows = database.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
            rowid, before = random.choice(rows)
            of_run = table in ("runs", "arrays")
            key = database.execute(f"SELECT key FROM {table} WHERE rowid = ?", (rowid,)).fetchone()[0] if of_run else ""
            after = self.other(random, before, [value for _, value in rows])
            try:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (after, rowid))
            except (sqlite3.IntegrityError, OverflowError, UnicodeError):
                after = before
            database.commit()
        return f"{table}.{column} of row {rowid}: {str(before)[:60]!r} -> {str(after)[:60]!r}", key

    def other(self, random: Random, value: Any, neighbours: list[Any]) -> Any:
        what = random.randrange(6)
        if what == 0:
            return random.choice(neighbours)
        if what == 1:
            return random.choice((odd_number(random), odd_text(random), None, b"\xff\x00"))
        if isinstance(value, bytes):
            return flipped(random, value) if what < 4 else damaged(random, value)
        if isinstance(value, int | float):
            return value + random.choice((1, -1, 0.001, 0.5))
        if not value:
            return "x"
        if value[0] in "[{" and what < 4:
            return json.dumps(edited(random, json.loads(value)))
        return flipped(random, value.encode()).decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


class Pages(Kept):
    """Bits of the database file, and other damage to it."""

    name, share = "pages", 10_000

    def write(self, random: Random) -> tuple[str, str]:
        self.fresh((flipped if random.random() < 0.7 else damaged)(random, self.intact))
        return "damage to the file", ""


class Checkpoints(Target):
    """A checkpoint in the middle of a training: it is refused and nothing of it taken, or its very bits are."""

    name, share = "checkpoints", 10_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.examples = toy_examples(examples=60, features=5, classes=3)
        plain = RunSettings(widths=(6,), dropout=0.3, epochs=4, batch_size=16, learning_rate=0.2, momentum=0.5)
        general = RunSettings(
            widths=(6,),
            dropout=0.3,
            epochs=4,
            batch_size=16,
            optimizer="adam",
            regularizers={"batch_norm": 1.0, "early_stopping": 2.0},
        )
        stacked = [plain, plain.model_copy(update={"seed": 1})]
        self.packs = [(stacked, Way("cpu", "fp32", stacked=True)), ([general], Way("cpu", "fp32"))]
        self.sound, self.said, self.fresh = [], [], []
        for number, (settings, way) in enumerate(self.packs):
            path = folder / f"{number:064x}.safetensors"
            self.fresh.append(self.bits(self.initial(settings)))
            self.train(settings, way, path)
            self.sound.append(path.read_bytes())
            states = self.initial(settings)
            assert Checkpoint(KeptFile(path), way).read(states)
            self.said.append(self.bits(states))

    def initial(self, settings: list[RunSettings]) -> list[State]:
        return [State(settings, self.examples, torch.device("cpu"), "fp32")]

    def bits(self, states: list[State]) -> str:
        return digest(
            *(
                part
                for state in states
                for name, tensor in sorted(state.tensors().items())
                for part in (name, tensor.numpy())
            )
        )

    def train(self, settings: list[RunSettings], way: Way, path: Path) -> None:
        """Leave the checkpoint of a step in the second epoch at `path`."""
        from droplab.train.loop import train_pack

        keeper, steps = Checkpoint(KeptFile(path), way), []

        def offer(states: list[State]) -> None:
            steps.append(1)
            if len(steps) == 5:
                keeper.write(states)

        keeper.offer = offer  # type: ignore[method-assign]
        train_pack(settings, self.examples, way, lambda _: None, keeper)

    def write(self, random: Random) -> tuple[int, Path]:
        which = random.randrange(len(self.packs))
        path = self.folder / f"{which:064x}.safetensors"
        kind = random.choice((flipped, flipped, damaged, safetensors_edited, self.other_tensor))
        path.write_bytes(kind(random, self.sound[which]))
        return which, path

    def other_tensor(self, random: Random, content: bytes) -> bytes:
        """One number of a tensor is another, in a file that is whole."""
        length = int.from_bytes(content[:8], "little")
        tensors = {name: array.copy() for name, array in safetensors.load(content).items()}
        array = tensors[random.choice([name for name, array in tensors.items() if array.size])].reshape(-1)
        with np.errstate(all="ignore"):
            array[random.randrange(array.size)] = np.float64(
                random.choice((0, 1, -1, 3, 10**6, 1e-3, float("nan")))
            ).astype(array.dtype)
        return safetensors.save(tensors, json.loads(content[8 : 8 + length])["__metadata__"])

    def ask(self, case: tuple[int, Path]) -> None:
        which, path = case
        settings, way = self.packs[which]
        states = self.initial(settings)
        taken = Checkpoint(KeptFile(path), way).read(states)
        if self.bits(states) != (self.said if taken else self.fresh)[which]:
            raise ChangedError(
                "another state than was kept" if taken else "a state that a refused checkpoint left traces in"
            )
        if not taken:
            raise DroplabError("refused")
