"""Made-up finished studies for the tests of the report: the post's table with noise around it."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from droplab.config import StudySettings, mean_rate
from droplab.data.dataset import DatasetCard
from droplab.data.output import Folder
from droplab.report.drawing import FILES, PAGE
from droplab.report.figures import study_figures
from droplab.report.write import drawn, write_report, write_tables
from droplab.study.findings import Findings
from droplab.study.origin import Origin
from droplab.study.plan import Plan, Run, plan_study
from droplab.study.records import RunRecord
from droplab.train.outcome import Curves, Metric, Outcome, Way

CLASSES = tuple("0123456789")
POST = {  # depth → (off, on), each train, valid, test
    1: ((0.9252, 0.9253, 0.9224), (0.9252, 0.9253, 0.9224)),
    2: ((0.9897, 0.9789, 0.9795), (0.9825, 0.9730, 0.9734)),
    3: ((0.9976, 0.9821, 0.9821), (0.9890, 0.9751, 0.9711)),
    4: ((0.9997, 0.9827, 0.9822), (0.9929, 0.9707, 0.9698)),
    5: ((0.9999, 0.9808, 0.9794), (0.9938, 0.9691, 0.9690)),
}
CONTROL = {
    2: (0.9999, 0.9788, 0.9793),
    3: (1.0, 0.9801, 0.9803),
    4: (1.0, 0.9799, 0.9795),
    5: (1.0, 0.9790, 0.9788),
}
ENVIRONMENT = {"device": "Some CPU @ 2.00GHz", "threads": 2, "torch": "2.13.0", "python": "3.11.7", "droplab": "0.1.0"}
ORIGIN = Origin(
    data="mnist",
    source="a mirror",
    classes=CLASSES,
    examples={"train": 50_000, "valid": 10_000, "test": 10_000},
    command="droplab study mnist-depth --seeds 3",
    notices=("The batch was clipped to 800 examples.",),
    started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    trained=9,
    seconds=312.0,
)


CARD = DatasetCard("mnist", "f" * 64, "a mirror", CLASSES, 60_000, 10_000)


def findings_of(
    plan: Plan, records: dict[str, RunRecord], refits: dict[int, RunRecord] | None = None, best: Run | None = None
) -> Findings:
    """What a study's runs come to; `best` is taken for the network that valid chose."""
    found = Findings(plan, records, CARD, 784, refits or {})
    if best is not None:
        found.__dict__.update(best_run=best, best=best.arms[0])
    return found


def write_all(folder: Folder, findings: Findings) -> list[Path]:
    """A whole report but for models and what the data or their labels would show."""
    if not findings.done:
        return write_tables(folder, findings, ORIGIN)
    figures = study_figures(findings)
    with drawn(figures, (*FILES, PAGE), print) as pictures:
        written = write_tables(folder, findings, ORIGIN)
    return written + write_report(folder, findings, ORIGIN, None, figures, pictures.result())


def made_up_study(missing: int = 0, noise: float = 0.0006, **values: object) -> tuple[Plan, dict[str, RunRecord]]:
    """A study's plan with finished runs, all but the last `missing`; `values` are its settings."""
    settings = StudySettings.parse({"depths": [1, 2, 3, 4, 5], "seeds": 3, "epochs": 400} | values)
    plan = plan_study(settings, "f" * 64, Way("cpu", "fp32"))
    runs = plan.runs[: len(plan.runs) - missing]
    return plan, {run.key: _record(run, noise) for run in runs}


def _record(run, noise: float) -> RunRecord:
    settings = run.settings
    random = np.random.default_rng([settings.seed, settings.depth, round(100 * mean_rate(settings.dropout))])
    depth = min(settings.depth, 5)
    off, on = POST[depth]
    if not settings.dropout and depth > 1:
        off = on = CONTROL[depth]
    elif settings.dropout:
        on = tuple(value - 0.02 * (mean_rate(settings.dropout) - 0.5) for value in on)
    wobble = random.normal(0, noise, 3)
    metrics = []
    for inference, accuracies in (("off", off), ("on", on), ("mc", off)):
        for split, accuracy, by in zip(("train", "valid", "test"), accuracies, wobble, strict=True):
            if inference == "mc" and split != "test":
                continue
            value = min(accuracy + by, 1.0)
            metrics += [
                Metric(inference, split, "accuracy", value),
                Metric(inference, split, "nll", 4 * (1 - value)),
            ]
            if split == "test":
                metrics += [
                    Metric(inference, split, "balanced_accuracy", value - 0.0003),
                    Metric(inference, split, "macro_f1", value - 0.0002),
                ]
                metrics += [
                    Metric(inference, split, f"accuracy_class_{k}", value - 0.002 * (k - 4.5)) for k in range(10)
                ]
    return RunRecord(
        key=run.key,
        settings=settings,
        dataset="mnist",
        fingerprint="f" * 64,
        way=run.way,
        outcome=Outcome(
            metrics=tuple(metrics),
            curves=_curves(settings, random),
            ledger={"valid": np.zeros(10, np.uint8), "test": np.zeros(10, np.uint8)},
            train_seconds=20.0 + settings.depth + random.random(),
            evaluate_seconds=1.5,
            environment=dict(ENVIRONMENT),
        ),
        weights_hash="0" * 64,
        weights_bytes=1000,
        finished=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def _curves(settings, random) -> Curves:
    epochs = np.arange(1, settings.epochs + 1)
    floor = (
        0.26 if settings.depth == 1 else (0.02 * (1 + mean_rate(settings.dropout) * 3) if settings.dropout else 0.0004)
    )
    train = floor + 2.0 / (1 + 0.6 * epochs) * np.exp(-epochs / 150) * np.exp(
        random.normal(0, 0.08, len(epochs)) + random.normal(0, 0.15)
    )
    points = np.unique(np.linspace(1, settings.epochs, min(settings.epochs, 200)).round()).astype(np.int32)
    valid = 0.065 + 0.7 * train[points - 1] + (0.00012 * points if not settings.dropout and settings.depth > 1 else 0)
    losses = np.stack([0.7 * train[points - 1], valid]).astype(np.float32)
    return Curves(train.astype(np.float32), points, losses, (1 - losses / 4).astype(np.float32))
