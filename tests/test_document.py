import json

import pytest

from droplab.report.document import study_document
from report_data import ENVIRONMENT, ORIGIN, findings_of, made_up_study


def test_study_json_is_strict_and_complete() -> None:
    plan, records = made_up_study(epochs=40)
    text = json.dumps(study_document(findings_of(plan, records), ORIGIN), allow_nan=False)
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["complete"] is True
    assert document["best_arm"] == "depth=4,dropout=0.5"
    assert document["settings"]["depths"] == [1, 2, 3, 4, 5]
    assert len(document["runs"]) == 27
    assert document["runs"][0]["arms"] == ["depth=1,control", "depth=1,dropout=0.5"]
    assert document["environments"] == [ENVIRONMENT | {"runs": 27}]
    assert document["verdicts"]["against_control"][0]["verdict"] == "does not apply"
    assert document["times"] == {"started": "2026-01-02T03:04:05+00:00", "trained": 9, "total_seconds": 312.0}
    assert document["data"]["fingerprint"] == plan.fingerprint


def test_one_seed_leaves_null_and_not_nan_in_study_json() -> None:
    plan, records = made_up_study(seeds=1, epochs=5, missing=1)
    document = study_document(findings_of(plan, records), ORIGIN)
    text = json.dumps(document, allow_nan=False)
    assert document["complete"] is False
    assert document["arms"][0]["test accuracy sd"] is None
    assert '"low": null' in text
