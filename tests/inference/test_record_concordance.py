"""The record and the images of one patient: what agrees, what differs, what nobody states."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from fedpet.clinical.reading import record_from_mapping
from fedpet.clinical.record import ClinicalRecord, RecordReference
from fedpet.core.errors import RecordMismatchError
from fedpet.core.messages import translate_message
from fedpet.core.pseudonyms import identifier_digest
from fedpet.imaging.study import PatientFacts
from inference.record_concordance import (
    LABELS,
    RecordConfirmation,
    compare_record,
    complete_record,
    weight_tolerance_kg,
    with_days,
)

KEY = b"key of a centre"
IMAGES = PatientFacts(
    identifier=identifier_digest("HOSP-4711", KEY),
    sex="M",
    age_years=42,
    age_source="birth_date",
    weight_kg=73.0,
    height_m=1.76,
    pet_dates=("2024-03-05", "2024-03-06"),
)
RECORD = ClinicalRecord(age=42, sex="M", weight_kg=73.0, height_cm=176, pet_to_treatment_days=21)
DOSE = date(2024, 3, 26)
REFERENCE = RecordReference(identifier=IMAGES.identifier, pet_date=date(2024, 3, 5), first_dose=DOSE)
OTHER = ClinicalRecord(age=81, sex="F", weight_kg=114.0, height_cm=158, pet_to_treatment_days=14)
OTHERS = RecordReference(identifier="1" * 24, pet_date=date(2026, 3, 5), first_dose=date(2026, 3, 19))


def verdicts(record=RECORD, reference=REFERENCE, images=IMAGES):
    return {item.name: item.verdict.value for item in compare_record(record, reference, images).items}


def test_one_patient_agrees_in_everything():
    concordance = compare_record(RECORD, REFERENCE, IMAGES)
    assert set(verdicts().values()) == {"agree"}
    assert set(verdicts()) == set(LABELS)
    assert (concordance.check().name, concordance.check().level.value) == ("record_fits", "pass")
    concordance.require_confirmed()


def test_what_was_taken_from_the_images_is_not_compared_with_them():
    reference = replace(REFERENCE, copied=frozenset({"sex", "pet_date", "ldh"}))
    found = {item.name: item for item in compare_record(RECORD, reference, IMAGES).items}
    assert {name for name, item in found.items() if item.verdict.value == "not_stated"} == {"sex", "pet_date"}
    assert str(found["sex"].record) == "taken from the images"


def test_another_patients_record_contradicts_in_everything_and_is_refused():
    concordance = compare_record(OTHER, OTHERS, IMAGES)
    assert set(verdicts(OTHER, OTHERS).values()) == {"differ"}
    assert concordance.check().level.value == "fail"
    with pytest.raises(RecordMismatchError) as refused:
        concordance.require_confirmed()
    said = str(refused.value.found)
    assert "the identifier differs" in said
    assert "sex: female in the record, male in the images" in said
    assert "age: 81 years in the record, the birth date gives 42 years in the images" in said
    assert "HOSP" not in said
    assert IMAGES.identifier not in said
    assert "âge : 81 ans dans les données cliniques" in translate_message("fr")(refused.value.found)


@pytest.mark.parametrize(
    ("record", "differs"),
    [
        ({"sex": "F"}, "sex"), ({"age": 41.2}, None), ({"age": 43.9}, None), ({"age": 44.0}, "age"),
        ({"age": 40.9}, "age"), ({"height_cm": 184}, None), ({"height_cm": 184.5}, "height"),
        ({"height_cm": 167}, "height"), ({"weight_kg": 82}, None), ({"weight_kg": 87}, "weight"),
        ({"weight_kg": 58}, "weight"), ({"weight_kg": 85, "pet_to_treatment_days": 90}, "first_dose"),
        ({"pet_to_treatment_days": 22}, None), ({"pet_to_treatment_days": 24}, "first_dose"),
    ],
)  # fmt: skip
def test_tolerances(record, differs):
    found = {name for name, verdict in verdicts(replace(RECORD, **record)).items() if verdict == "differ"}
    assert found == ({differs} if differs else set())


@pytest.mark.parametrize(("pet", "verdict"), [(4, "differ"), (5, "agree"), (6, "agree"), (7, "differ")])
def test_the_day_of_the_pet_is_exact(pet, verdict):
    assert verdicts(reference=replace(REFERENCE, pet_date=date(2024, 3, pet)))["pet_date"] == verdict


def test_a_weight_may_change_more_in_more_weeks():
    at = [weight_tolerance_kg(73, days) for days in (0, 14, 21, 60, 92)]
    assert at[0] == at[1]
    assert at == sorted(at)
    assert 8 < at[0] < at[-1] == weight_tolerance_kg(73, None) < 20
    assert weight_tolerance_kg(110, 21) > weight_tolerance_kg(50, 21)


@pytest.mark.parametrize(
    ("record", "reference", "images"),
    [
        (ClinicalRecord(), RecordReference(), IMAGES),
        (RECORD, REFERENCE, PatientFacts()),
        (ClinicalRecord(), RecordReference(), PatientFacts()),
    ],
)
def test_what_one_side_does_not_state_is_no_contradiction(record, reference, images):
    assert set(verdicts(record, reference, images).values()) == {"not_stated"}
    check = compare_record(record, reference, images).check()
    assert (check.level.value, "nothing" in str(check.reason)) == ("warn", True)


def test_a_confirmation_needs_a_reason_and_holds_for_what_was_confirmed():
    found = compare_record(replace(RECORD, sex="F"), REFERENCE, IMAGES)
    for given in (
        None,
        RecordConfirmation(" "),
        RecordConfirmation("checked", of=compare_record(OTHER, OTHERS, IMAGES).digest),
    ):
        with pytest.raises(RecordMismatchError):
            replace(found, confirmation=given).require_confirmed()
    for of in ("", found.digest):
        confirmed = replace(found, confirmation=RecordConfirmation("wrong in the PACS", "Dr A", of))
        confirmed.require_confirmed()
        assert confirmed.check().level.value == "warn"
        assert "wrong in the PACS" not in str(confirmed.check().reason)


def test_a_pet_of_another_day_is_never_answered_even_confirmed():
    other_day = replace(REFERENCE, pet_date=date(2022, 3, 5))
    found = compare_record(RECORD, other_day, IMAGES, confirmation=RecordConfirmation("typing error"))
    found.require_confirmed()
    assert found.check().level.value == "fail"


def test_a_missing_delay_is_computed_from_the_images_and_a_stated_dose_or_stays_missing():
    bare = replace(RECORD, pet_to_treatment_days=None)
    assert complete_record(bare, REFERENCE, IMAGES).pet_to_treatment_days == 21
    assert complete_record(bare, RecordReference(), IMAGES).pet_to_treatment_days is None
    assert complete_record(bare, REFERENCE, PatientFacts()).pet_to_treatment_days is None
    assert complete_record(RECORD, replace(REFERENCE, first_dose=DOSE + timedelta(9)), IMAGES) == RECORD
    assert verdicts(bare)["first_dose"] == "agree"
    assert verdicts(bare, replace(REFERENCE, first_dose=date(2026, 3, 26)))["first_dose"] == "differ"


def test_the_reference_of_a_record_as_a_hospital_writes_it():
    read = record_from_mapping({"identifiant": " 0004711 ", "date_tep": "2024-03-05", "start_date": "2024-03-26"})
    expected = RecordReference(identifier=identifier_digest("4711", KEY), pet_date=date(2024, 3, 5), first_dose=DOSE)
    assert read.reference(KEY) == expected
    assert read.record.pet_to_treatment_days == 21
    assert read.warnings == ()
    assert "4711" not in repr(read)
    kept = record_from_mapping({"identifier_digest": expected.identifier})
    assert kept.reference(b"another").identifier == expected.identifier
    assert record_from_mapping({"patient_id": 4711.0}).reference(KEY).identifier == expected.identifier


def test_days_are_written_as_the_reader_writes_them():
    item = next(item for item in compare_record(RECORD, REFERENCE, IMAGES).items if item.name == "pet_date")
    assert str(with_days(item.record, lambda day: f"<{day}>")) == "PET of <2024-03-05>"
