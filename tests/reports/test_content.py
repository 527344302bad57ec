"""The parts of a report must be of one case."""

from dataclasses import replace

import pytest

from fedpet.core.errors import PredictionMismatchError
from inference.bundle.storage import load_model
from inference.prediction import PredictionOrigin
from reports.content import report_content
from tests.support.case_files import make_case
from tests.support.header_checks_only import HeaderChecksOnly


@pytest.fixture
def model():
    return load_model()


@pytest.fixture
def case(model, tmp_path):
    made = make_case(tmp_path)
    answering = replace(made.prediction.model, digest=model.digest)
    return replace(made, prediction=replace(made.prediction, model=answering))


def content(case, model, **parts):
    given = {"prediction": case.prediction, "explanation": case.explanation} | parts
    return report_content(HeaderChecksOnly(case.study), case.record, model=model, centre="Nice", **given)


def test_the_parts_of_one_case_fit(case, model):
    made, other = content(case, model), content(case, model)
    assert (made.centre, made.card, made.version, made.verdict) == ("Nice", model.card, 1, None)
    assert made.checks == case.study.header_checks
    assert made.report_uid.startswith("2.25.")
    assert made.report_uid != other.report_uid


def test_another_model_is_refused(case, model):
    with pytest.raises(PredictionMismatchError, match="another model"):
        content(case, replace(model, digest="0" * 64))


def test_other_images_are_refused(case, model):
    pet = case.study.pet
    for other in (replace(pet, array=pet.array[1:]), replace(pet, affine=_moved(pet.affine, 0.01))):
        with pytest.raises(PredictionMismatchError, match="other images"):
            content(replace(case, analysis=HeaderChecksOnly(replace(case.study, pet=other))), model)


def test_other_voxels_on_the_same_grid_are_refused(case, model):
    brighter = replace(case.study.pet, array=1.7 * case.study.pet.array)
    for other in ({"pet": brighter}, {"ct": None}, {"pseudonym": "P-another"}):
        with pytest.raises(PredictionMismatchError, match="their voxels differ"):
            content(replace(case, analysis=HeaderChecksOnly(replace(case.study, **other))), model)


def test_another_record_is_refused(case, model):
    with pytest.raises(PredictionMismatchError, match="another clinical record"):
        content(replace(case, record=replace(case.record, ldh=900.0)), model)


def test_an_explanation_of_another_answer_is_refused(case, model):
    for spoiled in ({"risk_score": 0.2}, {"risk_score": None}, {"origin": PredictionOrigin("00" * 32, "00" * 32)}):
        with pytest.raises(PredictionMismatchError, match="another prediction"):
            content(case, model, explanation=replace(case.explanation, **spoiled))


def _moved(affine, mm):
    there = affine.copy()
    there[2, 3] += mm
    return there


def test_an_explanation_of_other_lesions_is_refused(case, model):
    for spoiled in (
        replace(case.explanation, lesion_share={0: 0.1, 2: 0.9}),
        replace(case.explanation, attribution=case.study.ct),
    ):
        with pytest.raises(PredictionMismatchError, match="another prediction"):
            content(case, model, explanation=spoiled)
    assert content(case, model, explanation=None).explanation is None
