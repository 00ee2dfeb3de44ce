"""What the store costs a run: `python tests/store_speed.py [FOLDER]`, on the disk of FOLDER; nothing is trained."""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from droplab.study.plan import Run
from droplab.study.records import Planned
from droplab.study.store import Store
from droplab.train.outcome import Curves, Metric, Trained
from store_help import FP32, make_dataset, make_run, make_trained, pack_name

RUNS, POINTS, EXAMPLES = 100, 40, 10_000


def trained_like_a_study(run: Run) -> Trained:
    """Tiny weights with curves, ledgers and metrics as a real run has them; 97 of 100 predictions are right."""
    random = np.random.default_rng(run.settings.seed)
    labels = random.integers(0, 10, EXAMPLES)
    trained = make_trained(run)
    outcome = replace(
        trained.outcome,
        curves=Curves(
            random.random(POINTS, np.float32),
            np.arange(POINTS, dtype=np.int32),
            random.random((2, POINTS), np.float32),
            random.random((2, POINTS), np.float32),
        ),
        ledger={
            split: np.where(random.random(EXAMPLES) < 0.97, labels, random.integers(0, 10, EXAMPLES)).astype(np.uint8)
            for split in ("valid", "test")
        },
        metrics=tuple(Metric("off", "test", f"accuracy_class_{number}", random.random()) for number in range(60)),
    )
    return Trained(outcome, trained.weights)


def timed(what: str, count: int, do: Callable[[], object], unit: str) -> None:
    started = time.perf_counter()
    do()
    seconds = time.perf_counter() - started
    print(f"{what:<28}{count:>8,} {unit}: {seconds:8.4f} s, {1e3 * seconds / count:.4f} ms each", flush=True)


def main() -> None:
    dataset = make_dataset()
    results = [(run, trained_like_a_study(run)) for run in map(make_run, range(4 * RUNS))]
    parts = [results[start : start + RUNS] for start in range(0, len(results), RUNS)]
    place = tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None)
    with place as folder, Store(f"{folder}/store.sqlite") as store:
        store.claim([{run.key: Planned(FP32, pack_name(0)) for run, _ in results}])
        timed("save one by one", RUNS, lambda: [store.save(run, dataset, done) for run, done in parts[0]], "runs")
        for part in parts[1:]:
            timed("save_pack", RUNS, lambda part=part: store.save_pack(part, dataset), "runs")
        for count in (1_000, 100_000):
            keys = [f"{number:064x}" for number in range(count)]
            plan = {key: Planned(FP32, pack_name(number // RUNS)) for number, key in enumerate(keys)}
            timed("finished", count, lambda keys=keys: store.finished(keys), "keys")
            timed("keep_plan", count, lambda plan=plan: store.claim([plan]), "keys")
            timed("keep_plan, replacing", count, lambda plan=plan: store.claim([plan]), "keys")
            timed("planned", count, lambda keys=keys: store.planned(keys), "keys")
            timed("forget", count, store.forget, "keys")


if __name__ == "__main__":
    main()
