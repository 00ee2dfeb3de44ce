import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data.look import Look
from droplab.data.output import Folder
from droplab.report.document import document_schema, study_document
from droplab.report.write import write_tables
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


VALIDATOR = jsonschema.Draft202012Validator(document_schema())

STUDIES = st.fixed_dictionaries(
    {
        "depths": st.sampled_from([[1], [2], [1, 2, 3], [5, 2]]),
        "dropout": st.sampled_from([[], [0.5], [0.2, 0.5]]),
        "seeds": st.sampled_from([1, 2, [5, 3, 4]]),
        "epochs": st.integers(1, 3),
        "question": st.text(max_size=20),
        "vary": st.sampled_from([(), {"l2": [1e-4, 0.1]}, {"method": {"a": {"momentum": 0.5}}, "batch_size": [8, 16]}]),
        "regularizers": st.sampled_from([{}, {"max_norm": 3.0}]),
    }
)


def test_the_schema_is_itself_sound_and_says_what_members_mean() -> None:
    schema = document_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    verdict = schema["properties"]["verdicts"]["properties"]["against_control"]["items"]
    assert verdict["properties"]["low"]["description"].startswith("lower end of the interval")
    settings = schema["$defs"]["StudySettings"]["properties"]
    assert settings["learning_rate"]["description"] == "step size of SGD."
    assert all("description" in member for member in settings.values())


@settings(max_examples=8, deadline=None)
@given(values=STUDIES, missing=st.integers(0, 3), noise=st.sampled_from([0.0, 0.0006]))
def test_the_document_of_any_study_is_as_its_schema_says(values: dict, missing: int, noise: float) -> None:
    plan, records = made_up_study(noise=noise, **values)
    for key in list(records)[:missing] if len(records) > missing else ():
        del records[key]
    look = Look((5, 5), (1, 1), ("rows repeat",)) if missing else None
    document = study_document(findings_of(plan, records), replace(ORIGIN, look=look))
    VALIDATOR.validate(json.loads(json.dumps(document, allow_nan=False)))


def test_the_document_of_a_growing_study_is_as_its_schema_says() -> None:
    plan, records = made_up_study(seeds=5, epochs=2, until="decided", budget="10m")
    VALIDATOR.validate(json.loads(json.dumps(study_document(findings_of(plan, records), ORIGIN))))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(more=1),
        lambda told: told.pop("answer"),
        lambda told: told.update(schema=2),
        lambda told: told.update(complete="yes"),
        lambda told: told["arms"][0].update({"test accuracy": "high"}),
        lambda told: told["runs"][0].update(key="short"),
        lambda told: told["verdicts"]["against_control"][0].update(verdict="good"),
        lambda told: told["verdicts"]["against_control"][0].pop("p_value"),
        lambda told: told["settings"].update(learning_rate=-1),
        lambda told: told["settings"].update(dropuot=[]),
        lambda told: told["data"]["examples"].pop("valid"),
        lambda told: told["depth_trends"][0]["trend"].update(shape="odd"),
    ],
)
def test_the_schema_refuses_a_changed_document(change) -> None:
    told = study_document(findings_of(*made_up_study(epochs=2)), ORIGIN)
    VALIDATOR.validate(told)
    change(told)
    assert not VALIDATOR.is_valid(told)


def test_the_schema_lies_beside_the_document_that_names_it(tmp_path: Path) -> None:
    write_tables(Folder(tmp_path), findings_of(*made_up_study(epochs=2, seeds=1)), ORIGIN)
    document = json.loads((tmp_path / "study.json").read_text("utf-8"))
    schema = json.loads((tmp_path / document["$schema"]).read_text("utf-8"))
    assert document["schema"] == 1
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)
