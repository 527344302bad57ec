"""What a notebook shows of fedpet's values: short, and never an identity."""

from dataclasses import replace

import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import SuvError
from fedpet.core.messages import Message
from fedpet.core.notebook import html_table
from fedpet.imaging.loading import load_study
from inference.bundle.storage import load_model
from tests.support.case_files import make_case, make_study

SHORT = 420  # characters: five lines of a terminal


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("case"))


def test_every_cell_is_escaped():
    shown = html_table("a < b", [("<script>", "&")], header=("<i>",))
    assert "<script>" not in shown
    assert "<i>" not in shown
    assert "a &lt; b" in shown


def test_a_picture_stands_beside_the_table():
    shown = html_table("title", [], png=b"\x89PNG")
    assert 'src="data:image/png;base64,iVBORw=="' in shown
    assert shown.index("<img") < shown.index("<table")


def test_a_study_shows_its_facts_and_its_projection():
    study = make_study()
    assert repr(study) == (
        "PetCtStudy(P-0123456789ab, PET Volume(40 x 30 x 36 voxels of 4 x 4 x 5 mm, g/ml), "
        "CT Volume(50 x 60 x 72 voxels of 2 x 2 x 4 mm, HU))"
    )
    shown = study._repr_html_()
    assert all(fact in shown for fact in ("2026-03-10", "FDG", "95 min", "Maker Scanner", "data:image/png;base64"))


def test_a_study_without_suv_says_why():
    refusal = SuvError(found=Message("No weight."), needed=Message("A weight."), advice=Message("Give it."))
    study = make_study()
    stored = replace(study, pet=study.pet.like(study.pet.array * 1000.0, "stored"), ct=None, suv_refusal=refusal)
    assert "CT None" in repr(stored)
    assert "No weight." in stored._repr_html_()


def test_neither_shows_who_the_patient_is(dicom, tmp_path):
    import numpy as np

    folder = dicom.save(dicom.pet(np.ones((6, 8, 8)), SeriesDescription="PET AC Jeanne"), tmp_path / "p")
    study = load_study(folder, pseudonym_key=b"k")
    for shown in (repr(study), study._repr_html_()):
        for identity in ("Jeanne", "DUPONT", "HOSP-4711", *study.source_uids["PT"], dicom.STUDY):
            assert identity not in shown


def test_a_record_shows_what_is_stated():
    record = ClinicalRecord(age=66.0, sex="M")
    assert repr(record) == "ClinicalRecord(age=66.0, sex='M', 38 not stated)"
    assert "<td" in record._repr_html_()
    assert "66" in record._repr_html_()


def test_a_prediction_shows_endpoints_or_why_there_is_none(case, tmp_path):
    assert "pfs_12m 0.52 (0.38 to 0.64)" in repr(case.prediction)
    assert "SYNTHETIC" in repr(case.prediction)
    assert "indeterminate" in case.prediction._repr_html_()
    silent = make_case(tmp_path, abstained=True).prediction
    assert "The chest is not covered." in repr(silent)
    assert "abstains" in silent._repr_html_()
    assert "probability" not in silent._repr_html_()


def test_an_unreliable_explanation_shows_no_share(case, tmp_path):
    assert "reliable" in repr(case.explanation)
    assert "90%" in case.explanation._repr_html_()
    unreliable = make_case(tmp_path, reliable=False).explanation
    assert "NOT RELIABLE: completeness failed" in repr(unreliable)
    assert "90%" not in unreliable._repr_html_()


def test_a_bundle_shows_its_name_and_that_it_is_synthetic():
    bundle = load_model()
    assert f"SYNTHETIC, {bundle.digest[:12]}" in repr(bundle)
    assert bundle.digest in bundle._repr_html_()


def test_quantities_show_each_lesion(case):
    quantities = case.prediction.quantities
    assert repr(quantities).startswith("Quantities(suv4: 1 lesion, TMTV ")
    assert quantities._repr_html_().count("<tr>") == 2


def test_representations_are_short(case):
    for one in (case.study, case.record, case.prediction, case.prediction.quantities, case.explanation, load_model()):
        assert len(repr(one)) < SHORT, type(one)
