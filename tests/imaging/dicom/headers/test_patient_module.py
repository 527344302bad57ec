"""Whose images they are: one pseudonym a patient, never one for two, from every image of an examination."""

import numpy as np
import pytest
from pydicom.uid import generate_uid

from fedpet.core.errors import SeriesNotFoundError
from fedpet.core.pseudonyms import has_identifier, identifier_digest, is_placeholder, pseudonym
from fedpet.imaging.deidentification.study_copy import deidentify
from fedpet.imaging.loading import inspect_study, load_study

KEY = b"key of a centre"
SUV = np.full((10, 6, 6), 2.0)
HU = np.zeros((10, 8, 8), int)
BORN = {"PatientBirthDate": "19580704", "IssuerOfPatientID": "CHU"}


@pytest.fixture
def load(tmp_path, dicom):
    """Load a study of the given tags; another examination each time."""

    def loaded(*, ct=None, spoil=None, **tags):
        uid, folder = generate_uid(), tmp_path / generate_uid()
        slices = dicom.pet(SUV, **({"StudyInstanceUID": uid} | tags))
        if spoil is not None:
            for keyword, value in spoil.items():
                setattr(slices[4], keyword, value)
        dicom.save(slices, folder)
        dicom.save(dicom.ct(HU, **({"StudyInstanceUID": uid} | tags | (ct or {}))), folder)
        return load_study(folder, pseudonym_key=KEY)

    return loaded


@pytest.mark.parametrize(
    "other",
    [
        {"IssuerOfPatientID": "CLINIQUE"},
        {"PatientName": "DURAND^Paul"},
        {"PatientName": "DUPONT^Jean"},
        {"PatientBirthDate": "19850704"},
        {"PatientID": "HOSP-4712"},
        {"PatientName": "山田^太郎"},
    ],
)
def test_two_patients_of_one_identifier_never_get_one_pseudonym(load, other):
    one, two = load(**BORN).pseudonym, load(**(BORN | other)).pseudonym
    assert one != two
    shared = pseudonym("HOSP-4711", KEY)
    assert has_identifier(one, shared)
    assert has_identifier(two, shared) is ("PatientID" not in other)


@pytest.mark.parametrize(
    "spelling",
    [
        {},
        {"PatientBirthDate": "1958.07.04"},
        {"PatientName": "Dupont^JEANNE^^Mme"},
        {"PatientName": "DUPONT^Jeanne^=="},
        {"PatientWeight": 82},
    ],
)
def test_one_patient_at_two_dates_keeps_one_pseudonym(load, spelling):
    later = {"StudyDate": "20250101", "SeriesDate": "20250101", "AcquisitionDate": "20250101"}
    assert load(**BORN).pseudonym == load(**(BORN | later | spelling)).pseudonym


@pytest.mark.parametrize("placeholder", ["", "0", "000000", "UNKNOWN", "Anonymous", "ANONYMISÉ", "N/A", "xxx", "99999"])
def test_a_placeholder_is_no_identifier_and_names_no_two_examinations_alike(load, placeholder):
    same = {"PatientName": "", "PatientBirthDate": "", "PatientID": placeholder}
    one, two = load(**same), load(**same)
    assert one.pseudonym != two.pseudonym
    assert one.patient.identifier == ""


@pytest.mark.parametrize("identifier", ["1", "12", "STS_002", "SYN-S1-0000", "ANON_001", "P-0123456789ab"])
def test_identifiers_are_no_placeholders(identifier):
    assert not is_placeholder(identifier)


def test_an_identifier_is_the_same_without_the_zeros_that_a_spreadsheet_drops():
    assert identifier_digest("0012 345", KEY) == identifier_digest("12345", KEY) != identifier_digest("12346", KEY)
    assert identifier_digest("12345", KEY) != identifier_digest("12345", b"another")
    assert identifier_digest("0", KEY) == ""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"PatientID": "HOSP-9"}, "2 different identifiers (9, 1 images)"),
        ({"IssuerOfPatientID": "CLINIQUE"}, "2 different issuers of the identifier (9, 1 images)"),
        ({"PatientName": "DURAND^Paul"}, "2 different names (9, 1 images)"),
        ({"PatientBirthDate": "19850704"}, "2 different birth dates (9, 1 images)"),
        ({"PatientSex": "M"}, "both sexes (9, 1 images)"),
        ({"PatientAge": "031Y"}, "ages from 31 to 65 years (9, 1 images)"),
    ],
)
def test_one_slice_of_another_patient_refuses_the_series(load, spoil, said):
    with pytest.raises(SeriesNotFoundError) as refused:
        load(**BORN, PatientAge="065Y", spoil=spoil)
    assert said in str(refused.value)
    assert not any(word in str(refused.value) for word in ("HOSP", "DURAND", "DUPONT", "1985", "1958", "CLINIQUE"))


@pytest.mark.parametrize("spoil", [{"PatientSex": ""}, {"PatientBirthDate": ""}, {"PatientID": ""}, {"PatientAge": ""}])
def test_what_a_slice_leaves_out_contradicts_nothing(load, spoil):
    if "PatientID" in spoil:  # a series of which a slice names no patient is not one series
        spoil = {"PatientName": ""}
    study = load(**BORN, PatientAge="065Y", spoil=spoil)
    assert (study.patient.sex, study.patient.age_years) == ("F", 65)


@pytest.mark.parametrize("other", [{"PatientBirthDate": "19850704"}, {"PatientSex": "M"}, {"PatientID": "HOSP-9"}])
def test_a_ct_of_another_patient_is_not_used_and_said(load, other):
    study = load(**BORN, ct=other)
    assert study.ct is None
    assert "another patient" in str(next(one.reason for one in study.series if one.modality == "CT"))
    (check,) = [one for one in study.header_checks if one.name == "other_patients"]
    assert (check.level.value, check.reason.values["n"]) == ("warn", 10)


@pytest.mark.parametrize(("kg", "said"), [("110", True), ("75", True), ("72", False), ("70000", False), ("", False)])
def test_a_ct_that_states_another_weight_is_a_warning(load, kg, said):
    checks = load(**BORN, ct={"PatientWeight": kg}).header_checks
    assert [one.level.value for one in checks if one.name == "weight_of_ct"] == ["warn"] * said


def test_facts_say_who_without_saying_it(load):
    facts = load(**BORN, PatientAge="064Y").patient
    assert facts.identifier == identifier_digest("hosp4711", KEY)
    assert (facts.sex, facts.age_years, facts.age_source) == ("F", 65, "birth_date")  # 1958-07-04 to 2024-03-05
    assert (facts.weight_kg, facts.height_m, facts.pet_dates) == (70.0, 1.7, ("2024-03-05",))


@pytest.mark.parametrize(
    ("tags", "age", "source"),
    [
        ({"PatientBirthDate": "19590305"}, 65, "birth_date"),
        ({"PatientBirthDate": "19590306"}, 64, "birth_date"),
        ({"PatientAge": "081Y"}, 81, "patient_age"),
        ({"PatientAge": "042 Y"}, 42, "patient_age"),
        ({"PatientAge": "018M"}, 1, "patient_age"),
        ({"PatientBirthDate": "19000101", "PatientAge": "055Y"}, 55, "patient_age"),
        ({"PatientBirthDate": "19001231"}, None, ""),
        ({"PatientBirthDate": "1958"}, None, ""),
        ({"PatientAge": "elderly"}, None, ""),
        ({"PatientBirthDate": "19580704", "LongitudinalTemporalInformationModified": "MODIFIED"}, None, ""),
    ],
)
def test_age_at_the_examination(load, tags, age, source):
    facts = load(**tags).patient
    assert (facts.age_years, facts.age_source) == (age, source)


def test_sex_other_than_f_and_m_states_nothing(load):
    assert load(PatientSex="O").patient.sex == ""


def test_a_de_identified_copy_keeps_the_facts_but_the_days(dicom, tmp_path):
    dicom.save(dicom.pet(SUV, PatientAge="065Y"), tmp_path / "in")
    report = deidentify(tmp_path / "in", tmp_path / "out", key=KEY)
    before, after = (load_study(tmp_path / name, pseudonym_key=KEY) for name in ("in", "out"))
    assert report.pseudonyms == (before.pseudonym,)
    assert (after.patient.sex, after.patient.age_years, after.patient.weight_kg) == ("F", 65, 70.0)
    assert after.patient.pet_dates == ()


def test_inspection_of_two_patients_says_so_and_names_nobody(dicom, tmp_path):
    slices = dicom.pet(SUV)
    slices[0].PatientID = "HOSP-9"
    report = inspect_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY, language="fr")
    assert report["refused"]["kind"] == "SeriesNotFoundError"
    assert "identifiants différents" in report["refused"]["found"]
