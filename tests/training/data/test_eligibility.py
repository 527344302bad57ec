"""Whose row and whose images: a hospital's table is paired by `patient_id`, and never with another patient's images."""

import csv
import json
import shutil
from datetime import date, timedelta

import pydicom
import pytest

from fedpet.core.pseudonyms import pseudonym
from inference.input_contract import default_contract
from training.data.prepare import prepare_node_data
from training.simulation.cohort import simulate_cohort

KEY = b"a secret of the centre"


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """Two synthetic patients of one centre, and their rows."""
    out = tmp_path_factory.mktemp("raw")
    simulate_cohort(patients=2, sites=1, seed=4, out=out, fidelity="coarse")
    with (out / "S1" / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return out / "S1" / "dicom", rows


@pytest.fixture
def raw(tmp_path, centre):
    """Copy studies into folders of given names, with changed tags, and prepare them with given rows."""

    def study(patient, folder, **tags):
        shutil.copytree(centre[0] / patient, tmp_path / "dicom" / folder)
        for path in (tmp_path / "dicom" / folder).rglob("*.dcm") if tags else ():
            header = pydicom.dcmread(path)
            for keyword, value in tags.items():
                setattr(header, keyword, value)
            header.save_as(path)

    def prepared(*rows):
        with (tmp_path / "clinical.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
        contract = default_contract()
        out = tmp_path / "node"
        report = prepare_node_data(
            tmp_path / "dicom", tmp_path / "clinical.csv", out, contract=contract, pseudonym_key=KEY
        )
        left_out = json.loads((out / "report.json").read_text())["left_out"]
        return report.cases, {one["pseudonym"]: (one["code"], one["reason"]["en"]) for one in left_out}

    return study, prepared


def test_rows_of_two_patients_exchanged_are_left_out_with_the_reason(centre, raw):
    study, prepared = raw
    one, two = centre[1]
    study(one["patient_id"], one["patient_id"])
    swapped = {**two, "patient_id": one["patient_id"]}
    cases, left_out = prepared(swapped)
    assert cases == ()
    code, reason = left_out[pseudonym(one["patient_id"], KEY)]
    assert code == "record_contradicts"
    assert "day of the PET" in reason
    assert one["patient_id"] not in reason


def test_images_belong_to_the_row_of_their_identifier_and_else_to_that_of_their_folder(centre, raw):
    study, prepared = raw
    one, two = centre[1]
    study(one["patient_id"], "inclusion-1", PatientID="IPP-80012")
    study(two["patient_id"], "inclusion-2", PatientID="inclusion-3")
    rows = (
        {**one, "patient_id": "inclusion-1", "id_examen_tep": ""},
        {**one, "patient_id": "inclusion-2", "id_examen_tep": ""},
        {**two, "patient_id": "inclusion-3", "id_examen_tep": ""},
    )
    cases, left_out = prepared(*rows)
    assert cases == tuple(sorted(pseudonym(name, KEY) for name in ("inclusion-1", "inclusion-3")))
    assert {name: code for name, (code, _) in left_out.items()} == {pseudonym("inclusion-2", KEY): "no_study"}


def test_two_patients_of_one_identifier_are_both_left_out(centre, raw):
    study, prepared = raw
    one, two = centre[1]
    study(one["patient_id"], "exam-1")
    study(two["patient_id"], "exam-2", PatientID=one["patient_id"], PatientName="AUTRE^Patient")
    study(two["patient_id"], "exam-3", PatientID="UNKNOWN")
    cases, left_out = prepared(one)
    assert cases == ()
    assert left_out[pseudonym(one["patient_id"], KEY)][0] == "identifier_shared"
    assert sorted(code for code, _ in left_out.values()) == ["identifier_shared", "no_row"]


def test_a_folder_of_two_patients_is_left_out(centre, raw, tmp_path):
    study, prepared = raw
    one, two = centre[1]
    study(one["patient_id"], "exam")
    shutil.copytree(centre[0] / two["patient_id"], tmp_path / "dicom" / "exam" / "more")
    cases, left_out = prepared(one, two)
    assert cases == ()
    assert left_out[pseudonym("exam", KEY)] == ("several_patients", "The folder holds images of several patients.")


@pytest.mark.parametrize(
    ("days", "dates_removed", "code"), [(14, "", None), (-3, "", "pet_after_treatment"), (14, "REMOVED", "no_delay")]
)
def test_a_delay_that_the_table_does_not_give_comes_from_the_images_or_is_asked_for(
    centre, raw, days, dates_removed, code
):
    study, prepared = raw
    one, _ = centre[1]
    study(one["patient_id"], one["patient_id"], LongitudinalTemporalInformationModified=dates_removed)
    dose = date.fromisoformat(one["date_tep"]) + timedelta(days=days)
    news = (dose + timedelta(days=400)).isoformat()
    dates = {"date_debut_ici": dose.isoformat(), "date_dernieres_nouvelles": news}
    gone = dict.fromkeys(("delai_tep_ici", "date_tep", "date_progression", "date_deces"), "")
    cases, left_out = prepared({**one, **gone, **dates})
    name = pseudonym(one["patient_id"], KEY)
    assert cases == ((name,) if code is None else ())
    assert left_out.get(name, (None,))[0] == code
