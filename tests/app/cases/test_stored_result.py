"""The typed result: what version 0.1 stored is still read, and what is written today has the same keys."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from app.cases.result_json import explanation_from, inspection_json, plain
from app.cases.stored_result import FORMAT, StoredInspection, StoredResult
from fedpet.core.errors import StoredResultError, SuvError
from fedpet.core.messages import Message, catalogue
from fedpet.imaging.lesions.lesion_table import LesionTable
from fedpet.imaging.study import AppliedOverride
from tests.support import case_files as cases
from tests.support.header_checks_only import HeaderChecksOnly

DATA = Path(__file__).parent / "data"  # of a synthetic patient, stored by version 0.1.0
OF_THE_PAGES = {"what_if", "lesion_terms", "references", "landmarks_mm"}  # added by `app.jobs.case_process`
BY_NAME = {"contributions", "variable_contributions", "lesion_share", "record"}  # keys are data there


class _No(dict):
    """Nothing in the place of every value."""

    def __missing__(self, name):
        return _Nothing()


class _Nothing:
    def __format__(self, spec):
        return ""


@pytest.fixture
def stored():
    return json.loads((DATA / "result_0_1.json").read_text())


def _keys(data, where=""):
    if isinstance(data, list):
        return set().union(*(_keys(one, where) for one in data))
    if not isinstance(data, dict) or "template" in data or where.rpartition(".")[2] in BY_NAME:
        return set()
    return {f"{where}.{key}" for key in data}.union(*(_keys(value, f"{where}.{key}") for key, value in data.items()))


def test_a_result_of_version_0_1_is_read(stored):
    result = StoredResult.read(stored)
    assert (result.software, result.study.date, result.study.pet.scanner) == (
        "fedpet 0.1.0", "2021-05-03", "SIEMENS Biograph Vision 600",
    )  # fmt: skip
    assert result.study.pet.injection_time == datetime(2021, 5, 3, 15, 38, 12)  # noqa: DTZ001  the scanner's clock
    main = result.prediction.endpoint("pfs_12m")
    assert (round(main.probability, 3), main.verdict, result.prediction.risk_group) == (0.698, "free", "low")
    assert [lesion.id for lesion in result.prediction.quantities.lesions] == [3, 8]
    assert result.lesion_share(3) == pytest.approx(0.754, abs=1e-3)
    assert (result.lesion_share(5), result.prediction.quantities.lesion("all")) == (None, None)
    assert [one.lesion for one in result.what_if] == [3, 8, "all"]
    assert result.references.liver.suv_mean == pytest.approx(2.52, abs=0.01)
    assert (result.clinical_record.age, result.clinical_record.steroids) == (75.6, False)
    assert result.explanation.failed == ()
    assert "core lies in this organ" in str(result.prediction.components[0].reason)


def test_an_inspection_of_version_0_1_is_read():
    inspection = StoredInspection.read(json.loads((DATA / "inspection_0_1.json").read_text()))
    assert [(one.id, one.modality, one.chosen) for one in inspection.series] == [(1, "CT", True), (2, "PT", True)]
    assert (inspection.refused, inspection.corrections, len(inspection.checks)) == (None, (), 19)


def _templates(data):
    if isinstance(data, list):
        return set().union(*map(_templates, data))
    if not isinstance(data, dict):
        return set()
    return (
        {data["template"]}.union(*map(_templates, data["values"].values()))
        if "template" in data
        else (set().union(*map(_templates, data.values())))
    )


def test_what_version_0_1_stored_is_said_in_french(stored):
    """Also where the sentence was worded anew since."""
    inspection = json.loads((DATA / "inspection_0_1.json").read_text())
    sentences = {
        one for one in _templates(stored) | _templates(inspection) if re.search(r"[a-z]{3}", one.format_map(_No()))
    }
    assert len(sentences) > 20
    french = catalogue("fr")
    assert {one for one in sentences if french.gettext(one) == one} == set()
    assert french.gettext("No such sentence was ever written.") == "No such sentence was ever written."


def test_every_key_of_version_0_1_is_still_written(stored, tmp_path):
    case = cases.make_case(tmp_path)
    prediction = replace(case.prediction, components=cases.HOT_COMPONENTS)
    study = replace(case.study, series=cases.SERIES)
    today = cases.make_json(replace(case, analysis=HeaderChecksOnly(study), prediction=prediction))
    known = {key for key in _keys(stored) if key.split(".")[1] not in OF_THE_PAGES}
    assert known - _keys(today) == set()
    assert today["format"] == stored["format"] == FORMAT


def test_what_is_written_today_is_read(tmp_path):
    case = cases.make_case(tmp_path)
    when = datetime(2026, 3, 10, 8, 30)  # noqa: DTZ001  the scanner's clock
    corrections = (
        AppliedOverride("weight_kg", None, 70.0, "as weighed", "Dr A"),
        AppliedOverride("injection_time", when, when.replace(hour=9), "typing error", "Dr A"),
    )
    refusal = SuvError(found=Message("No weight."), needed=Message("A weight."), advice=Message("Give it."))
    study = replace(case.study, corrections=corrections, suv_refusal=refusal, series=cases.SERIES)
    inspection = StoredInspection.read(json.loads(json.dumps(inspection_json(HeaderChecksOnly(study)))))
    assert [(one.old, one.new) for one in inspection.corrections] == [(None, 70.0), (when, when.replace(hour=9))]
    assert str(inspection.refused.advice) == "Give it."
    result = StoredResult.read(json.loads(json.dumps(cases.make_json(case))))
    explanation = explanation_from(result.explanation, case.explanation.attribution, case.prediction)
    assert plain(explanation) == plain(case.explanation)
    assert result.clinical_record == case.record
    table = json.loads(json.dumps(cases.make_json(case)))["prediction"]["table"]
    assert LesionTable.from_json(table) == case.prediction.table
    assert table["values"] == case.prediction.table.values()


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda data: data.pop("prediction"), "prediction"),
        (lambda data: data["prediction"]["quantities"].update(tmtv_ml="P-secret"), "prediction.quantities.tmtv_ml"),
        (lambda data: data["checks"][2].update(level="P-secret"), "checks.2.level"),
        (lambda data: data.update(format="fedpet.result/99"), "format"),
        (lambda data: data["checks"][0].update(reason="P-secret"), "checks.0.reason"),
    ],
)
def test_a_damaged_result_is_refused_by_the_name_of_the_field_and_nothing_of_its_content(stored, damage, where):
    damage(stored)
    with pytest.raises(StoredResultError) as refused:
        StoredResult.read(stored)
    assert where in str(refused.value)
    assert "secret" not in str(refused.value)
