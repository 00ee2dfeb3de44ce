"""The document: everything about a study but its numbers by run, as strict JSON, and the JSON Schema of it."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from droplab import __version__
from droplab.config import StudySettings
from droplab.data.look import Look
from droplab.report.answer import answer_of, is_of_levels
from droplab.report.words import published_differences
from droplab.stats.compare import Comparison
from droplab.stats.trend import Trend
from droplab.study.findings import DepthTrend
from droplab.study.frames import arm_metrics
from droplab.study.origin import environments
from droplab.study.verdicts import ArmComparison
from droplab.train.outcome import Way

if TYPE_CHECKING:
    from droplab.study.findings import Findings
    from droplab.study.origin import Origin

SCHEMA, SCHEMA_FILE = 1, "study.schema.json"
"""The number of the document's form, and the file beside it that describes it: `document_schema`."""

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_SECONDS: dict[str, Any] = {"type": "number", "minimum": 0, "description": "In seconds."}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_KEY: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


_CLASSES = (StudySettings, Look, Comparison, Trend, DepthTrend, Way)
"""Whatever of the document is a class of its own."""


def study_document(findings: Findings, origin: Origin) -> dict[str, Any]:
    """Everything about a study but its numbers by run: what `study.json` holds; strictly valid JSON.

    Args:
        findings: the study's, with at least one finished run.
        origin: where they come from.
    """
    plan, records, told = findings.plan, findings.records, answer_of(findings)
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
        "answer": f"{told.title}. {told.deck}".strip(),
        "best_arm": findings.best.name,
        "verdicts": {
            "against_control": _verdicts([] if is_of_levels(findings) else findings.contrasts),
            "against_baseline": _verdicts(findings.contrasts if is_of_levels(findings) else findings.levels),
            "against_best_on_valid": _verdicts(findings.ranking),
            "deeper_against_shallower": _verdicts(findings.deeper),
        },
        "depth_trends": [asdict(one) for one in findings.trends],
        "arms": findings.arms.to_dict("records"),
        "runs": runs,
        "environments": environments(records.values()),
        "times": {"started": origin.started.isoformat(), "trained": origin.trained, "total_seconds": origin.seconds},
        "notices": list(origin.notices),
        "command": origin.command,
    }
    return {name: _plain(value) for name, value in document.items()}


def document_schema() -> dict[str, Any]:
    """The schema of what `study_document` gives; it allows no member that it does not name."""
    parts: dict[str, Any] = TypeAdapter(tuple[_CLASSES]).json_schema(mode="serialization")["$defs"]  # type: ignore[valid-type]
    for kind in _CLASSES:
        part, told = parts[kind.__name__], attributes(kind)
        part["description"] = (inspect.getdoc(kind) or "").split("\n")[0]
        for name, member in part["properties"].items():
            part["properties"][name] = member | ({"description": told[name]} if name in told else {})
        part |= {"required": list(part["properties"]), "additionalProperties": False}
    comparison, way = parts.pop("Comparison")["properties"], parts.pop("Way")["properties"]
    verdicts = _array(_object({"arm": _TEXT, "against": _TEXT, **comparison, "words": _TEXT}))
    kinds = ("against_control", "against_baseline", "against_best_on_valid", "deeper_against_shallower")
    head_of_arm = {"arm": _TEXT, "depth": _COUNT, "dropout": {"type": "number"}, "widths": _TEXT, "seeds": _COUNT}
    arms = []
    for of_numbers in (False, True):
        means = (*arm_metrics(of_numbers), "train seconds")
        spreads = {f"{name}{end}": {"type": ["number", "null"]} for name in means for end in ("", " sd")}
        arms.append(_object(head_of_arm | spreads))
    seconds = dict.fromkeys(("train_seconds", "evaluate_seconds"), _SECONDS)
    run = {"key": _KEY, "arms": _TEXTS, "seed": _COUNT, **way, "finished": _TIME, **seconds}
    data = {"name": _TEXT, "source": _TEXT, "fingerprint": _KEY, "classes": _TEXTS}
    data["examples"] = _object(dict.fromkeys(("train", "valid", "test"), _COUNT))
    data["look"] = {"anyOf": [{"$ref": "#/$defs/Look"}, {"type": "null"}]}
    document = {
        "$schema": {"const": SCHEMA_FILE},
        "schema": {"const": SCHEMA, "description": "Raised when a member changes its name, its kind or its meaning."},
        "droplab": _TEXT | {"description": "The version that wrote this."},
        "settings": {"$ref": "#/$defs/StudySettings"},
        "differs_from_published": {"type": ["string", "null"]},
        "data": _object(data),
        "complete": {"type": "boolean", "description": "Whether every network that the study needs is finished."},
        "answer": _TEXT,
        "best_arm": _TEXT,
        "verdicts": _object(dict.fromkeys(kinds, verdicts)),
        "depth_trends": _array({"$ref": "#/$defs/DepthTrend"}),
        "arms": _array({"anyOf": arms}) | {"description": "Means and standard deviations over seeds."},
        "runs": _array(_object(run)),
        "environments": _array({"type": "object", "properties": {"runs": _COUNT}, "required": ["runs"]}),
        "times": _object({"started": _TIME, "trained": _COUNT, "total_seconds": _SECONDS}),
        "notices": _TEXTS,
        "command": _TEXT,
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "study.json of droplab"}
    return head | _object(document) | {"$defs": parts}


def attributes(kind: type) -> dict[str, str]:
    """What the docstring of a class, and those of its bases, say of each of its attributes.

    >>> attributes(Way)["device"]
    '`cpu` or `cuda`.'
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        _, _, section = inspect.cleandoc(one.__doc__ or "").partition("Attributes:\n")
        section = section.split("\n\n")[0]
        for name, words in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.M):
            found[name] = " ".join(words.split())
    return found


def _object(members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _array(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


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
