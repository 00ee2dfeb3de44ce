"""The schema of `study.json`: what a program that reads it may count on, as JSON Schema (draft 2020-12)."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from droplab.config import StudySettings
from droplab.data.look import Look
from droplab.report.document import SCHEMA, SCHEMA_FILE
from droplab.stats.compare import Comparison
from droplab.stats.trend import Trend
from droplab.study.findings import DepthTrend
from droplab.study.frames import ARM_METRICS
from droplab.train.outcome import Way

_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_SECONDS: dict[str, Any] = {"type": "number", "minimum": 0, "description": "In seconds."}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_KEY: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


@dataclass(frozen=True)
class _Written:
    """Whatever of the document is a class of its own."""

    settings: StudySettings
    look: Look | None
    comparison: Comparison
    trend: DepthTrend
    way: Way


def document_schema() -> dict[str, Any]:
    """The schema of what `study_document` gives; it allows no member that it does not name."""
    written = TypeAdapter(_Written).json_schema(mode="serialization")
    parts: dict[str, Any] = written["$defs"]
    for kind in (StudySettings, Look, Comparison, Trend, DepthTrend, Way):
        part, told = parts[kind.__name__], attributes(kind)
        part["description"] = (inspect.getdoc(kind) or "").split("\n")[0]
        for name, member in part["properties"].items():
            part["properties"][name] = member | ({"description": told[name]} if name in told else {})
        part |= {"required": list(part["properties"]), "additionalProperties": False}
    comparison, way = parts.pop("Comparison")["properties"], parts.pop("Way")["properties"]
    verdicts = {"type": "array", "items": _object({"arm": _TEXT, "against": _TEXT, **comparison, "words": _TEXT})}
    means = (*ARM_METRICS, "train seconds")
    spreads = {f"{name}{end}": {"type": ["number", "null"]} for name in means for end in ("", " sd")}
    arm = {"arm": _TEXT, "depth": _COUNT, "dropout": {"type": "number"}, "widths": _TEXT, "seeds": _COUNT, **spreads}
    seconds = dict.fromkeys(("train_seconds", "evaluate_seconds"), _SECONDS)
    run = {"key": _KEY, "arms": _TEXTS, "seed": _COUNT, **way, "finished": _TIME, **seconds}
    environment = {"type": "object", "properties": {"runs": _COUNT}, "required": ["runs"]}
    document = {
        "$schema": {"const": SCHEMA_FILE},
        "schema": {"const": SCHEMA, "description": "Raised when a member changes its name, its kind or its meaning."},
        "droplab": _TEXT | {"description": "The version that wrote this."},
        "settings": {"$ref": "#/$defs/StudySettings"},
        "differs_from_published": {"type": ["string", "null"]},
        "data": _object(
            {
                "name": _TEXT,
                "source": _TEXT,
                "fingerprint": _KEY,
                "classes": _TEXTS,
                "examples": _object({"train": _COUNT, "valid": _COUNT, "test": _COUNT}),
                "look": {"anyOf": [{"$ref": "#/$defs/Look"}, {"type": "null"}]},
            }
        ),
        "complete": {"type": "boolean", "description": "Whether every network that the study needs is finished."},
        "answer": _TEXT,
        "best_arm": _TEXT,
        "verdicts": _object(
            dict.fromkeys(("against_control", "against_best_on_valid", "deeper_against_shallower"), verdicts)
        ),
        "depth_trends": {"type": "array", "items": {"$ref": "#/$defs/DepthTrend"}},
        "arms": {"type": "array", "items": _object(arm), "description": "Means and standard deviations over seeds."},
        "runs": {"type": "array", "items": _object(run)},
        "environments": {"type": "array", "items": environment},
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
