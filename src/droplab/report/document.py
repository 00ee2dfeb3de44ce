"""The document: everything about a study but its numbers by run, as strict JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from droplab import __version__
from droplab.report.words import answer, published_differences
from droplab.study.verdicts import ArmComparison

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin
    from droplab.study.records import RunRecord


SCHEMA, SCHEMA_FILE = 1, "study.schema.json"
"""The number of the document's form, and the file beside it that describes it: `document_schema`."""


def study_document(findings: Findings, origin: Origin) -> dict[str, Any]:
    """Everything about a study but its numbers by run: what `study.json` holds; strictly valid JSON.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
    """
    plan, records = findings.plan, findings.records
    runs = [
        {
            "key": run.key,
            "arms": [arm.name for arm in run.arms],
            "seed": run.settings.seed,
            **asdict(records[run.key].way),
            "finished": records[run.key].finished.isoformat(),
            "train_seconds": records[run.key].outcome.train_seconds,
            "evaluate_seconds": records[run.key].outcome.evaluate_seconds,
        }
        for run in plan.runs
        if run.key in records
    ]
    document = {
        "$schema": SCHEMA_FILE,
        "schema": SCHEMA,
        "droplab": __version__,
        "settings": plan.settings.model_dump(mode="json"),
        "differs_from_published": published_differences(plan.settings),
        "data": {
            "name": origin.data,
            "source": origin.source,
            "fingerprint": plan.fingerprint,
            "classes": list(origin.classes),
            "examples": dict(origin.examples),
            "look": origin.look and asdict(origin.look),
        },
        "complete": findings.done == findings.wanted,
        "answer": answer(findings.contrasts),
        "best_arm": findings.best.name,
        "verdicts": {
            "against_control": _verdicts(findings.contrasts),
            "against_best_on_valid": _verdicts(findings.ranking),
            "deeper_against_shallower": _verdicts(findings.deeper),
        },
        "depth_trends": [asdict(one) for one in findings.trends],
        "arms": findings.arms.to_dict("records"),
        "runs": runs,
        "environments": environments(records.values()),
        "times": {
            "started": origin.started.isoformat(),
            "trained": origin.trained,
            "total_seconds": origin.seconds,
        },
        "notices": list(origin.notices),
        "command": origin.command,
    }
    return {name: _plain(value) for name, value in document.items()}


def environments(records: Iterable[RunRecord]) -> list[dict[str, Any]]:
    """The different environments of the runs, each with the number of its `runs`."""
    found: dict[str, tuple[dict[str, Any], int]] = {}
    for record in records:
        environment = record.outcome.environment
        _, runs = found.get(repr(environment), (environment, 0))
        found[repr(environment)] = (environment, runs + 1)
    return [environment | {"runs": runs} for environment, runs in found.values()]


def _verdicts(comparisons: Sequence[ArmComparison]) -> list[dict[str, Any]]:
    return [
        {"arm": one.arm.name, "against": one.against.name, **asdict(one.comparison), "words": one.comparison.words}
        for one in comparisons
    ]


def _plain(value: Any) -> Any:
    """The value as strict JSON has it: no NaN, no infinity, only its own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
