from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion import Lesion, Quantities
from fedpet.imaging.lesions.mask_audit import MaskAudit
from fedpet.imaging.lesions.masks import ReaderMask
from fedpet.imaging.study import CheckStatus, PatientFacts, PetCtStudy, PetFacts, QualityCheck
from fedpet.imaging.volume import Volume
from inference.abstention import output_reason, record_reason, study_reason
from inference.engine import EngineOutput
from inference.input_contract import default_contract
from inference.predict import predict
from tests.support.header_checks_only import HeaderChecksOnly

CONTRACT = default_contract()
COMPLETE = ClinicalRecord(
    age=66.0, sex="M", ecog_ps=1, smoking="former", histology="adenocarcinoma", pdl1_tps=60.0, line=1, ldh=220.0,
    ldh_uln=250.0, neutrophils=5.0, lymphocytes=1.5, leucocytes=7.5, albumin=39.0, steroids=False,
    brain_metastases=False, liver_metastases=False, bone_metastases=True, pet_to_treatment_days=14.0,
)  # fmt: skip
FACTS = PetFacts(
    units="BQML", decay_correction="START", suv_factor_min=1.0, suv_factor_max=1.0, reference_time_source="series_time",
    reference_time=None, injection_time=None, uptake_min=60.0, dose_bq=3e8, half_life_s=6586.2, weight_kg=70.0,
    height_m=1.7, sex="M", radiopharmaceutical="FDG", corrected_image=("ATTN", "DECY"), manufacturer="", model="",
)  # fmt: skip


def output(lesion_value=0.9, biomarkers=(0.0,) * 6):
    maps = np.zeros((5, *CONTRACT.shape), np.float32)
    maps[0, 70:74, 20:24, 30:34] = lesion_value
    return EngineOutput(np.full(8, -2.0), 0.0, np.array(biomarkers), maps, np.zeros(27))


def study(*checks):
    """Two hot cubes of SUV 10; the first lies where `output` draws its lesion."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    pet = np.full((288, 96, 128), 0.5, np.float32)
    pet[140:148, 40:48, 60:68] = 10.0
    pet[20:28, 40:48, 60:68] = 10.0
    ct = Volume(np.zeros((288, 96, 128), np.int16), affine, "HU")
    found = PetCtStudy("P-0", Volume(pet, affine, "g/ml"), ct, FACTS, (), checks)
    return HeaderChecksOnly(found, segmenter=None)  # the organ network knows bodies, not blocks of water


def test_a_complete_record_gives_no_reason():
    assert record_reason(COMPLETE, CONTRACT) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pet_to_treatment_days": -1.0}, "after the first dose"),
        ({"pet_to_treatment_days": 93.0}, "93 days"),
        (dict.fromkeys(CONTRACT.variables[:9]), "9 of the 17"),
    ],
)
def test_a_record_can_rule_an_answer_out(change, words):
    assert words in str(record_reason(replace(COMPLETE, **change), CONTRACT))


@pytest.mark.parametrize("days", [0.0, 92.0])
def test_the_gate_of_three_months_is_closed_at_its_ends(days):
    assert record_reason(replace(COMPLETE, pet_to_treatment_days=days), CONTRACT) is None


def test_a_missing_delay_is_asked_for():
    assert "delai_tep_ici" in str(record_reason(replace(COMPLETE, pet_to_treatment_days=None), CONTRACT))


def test_a_record_that_does_not_fit_says_so_as_such():
    failing = QualityCheck("record_fits", CheckStatus.FAIL, Message("The sex differs."))
    assert (
        str(study_reason(study(failing), COMPLETE)) == "The clinical record does not fit the images. The sex differs."
    )


def test_a_record_that_nobody_compared_is_compared_before_the_answer():
    loaded = study().study
    same, other = (
        HeaderChecksOnly(replace(loaded, patient=PatientFacts(sex=sex, age_years=age)))
        for sex, age in (("M", 66), ("F", 42))
    )
    assert study_reason(same, COMPLETE) is None
    assert "sex: male in the record, female in the images" in str(study_reason(other, COMPLETE))
    confirmed = QualityCheck("record_fits", CheckStatus.WARN, Message("A person confirmed it."))
    assert study_reason(other.with_check(confirmed), COMPLETE) is None


def test_no_lesion_on_the_map_means_no_answer():
    assert "no hypermetabolic lesion" in str(output_reason(output(lesion_value=0.4), CONTRACT))
    assert output_reason(output(), CONTRACT) is None


def lesions(*regions, ml=2.0):
    found = tuple(
        Lesion(number, region, (0.0, 0.0, 0.0), *([5.0] * 7), ml, ml, ml, 5 * ml)
        for number, region in enumerate(regions, start=1)
    )
    return Quantities("suv4", found, ml * len(found), 5 * ml * len(found), 5.0, 5.0, 0.0)


@pytest.mark.parametrize(
    ("on_map", "delineated", "words"),
    [
        (0.9, lesions("bone"), None),
        (0.9, lesions(), "the delineation none"),
        (0.4, lesions("lung_right"), None),
        (0.4, lesions("lung_right", ml=0.5), "no hypermetabolic lesion"),
        (0.4, lesions("bowel"), "no hypermetabolic lesion"),
        (0.4, lesions(), "no hypermetabolic lesion"),
    ],
)
def test_a_tumour_is_seen_by_both_or_in_a_lung(on_map, delineated, words):
    reason = output_reason(output(lesion_value=on_map), CONTRACT, delineated)
    assert reason is None if words is None else words in str(reason)
    assert output_reason(output(lesion_value=on_map), CONTRACT, delineated, confirmed=True) is None


def test_a_biomarker_far_outside_means_no_answer():
    assert "far outside" in str(output_reason(output(biomarkers=(0, 0, 0, 0, 0, -6.1)), CONTRACT))


def test_a_failed_check_abstains_before_the_network_runs(untrained_bundle):
    failing = QualityCheck("chest_covered", CheckStatus.FAIL, Message("No chest."))
    warning = QualityCheck("dose", CheckStatus.WARN, Message("Odd dose."))
    prediction = predict(study(warning, failing), COMPLETE, untrained_bundle)
    assert "No chest." in str(prediction.abstained)
    assert prediction.endpoints == ()
    assert prediction.survival is prediction.risk_group is prediction.risk_score is None
    assert prediction.contributions == {}
    assert prediction.quantities.method == "suv4"
    assert len(prediction.quantities.lesions) == 2
    assert prediction.model.provider.endswith("ExecutionProvider")


def test_a_reader_s_mask_is_measured_as_given(untrained_bundle):
    failing = QualityCheck("chest_covered", CheckStatus.FAIL, Message("No chest."))
    loaded = study(failing)
    pet = loaded.study.pet
    given = np.zeros(pet.shape, np.uint16)
    given[140:144, 40:48, 60:68] = 1
    prediction = predict(loaded, COMPLETE, untrained_bundle, lesions=pet.like(given, "label"))
    assert prediction.quantities.method == "given_mask"
    assert prediction.quantities.tmtv_ml == pytest.approx(4 * 8 * 8 * 0.064)


def test_lesions_given_without_uptake_mean_no_answer(untrained_bundle):
    loaded = study(QualityCheck("dose", CheckStatus.PASS, Message("Dose.")))
    pet = loaded.study.pet
    given = np.zeros(pet.shape, np.uint16)
    given[100:104, 40:48, 60:68] = 1
    prediction = predict(loaded, COMPLETE, untrained_bundle, lesions=pet.like(given, "label"))
    assert str(prediction.abstained).startswith("The lesions given do not fit the images.")
    assert prediction.quantities.tmtv_ml == pytest.approx(4 * 8 * 8 * 0.064)


def test_a_mask_that_was_read_brings_its_checks(untrained_bundle):
    loaded = study(QualityCheck("dose", CheckStatus.PASS, Message("Dose.")))
    pet = loaded.study.pet
    given = np.zeros(pet.shape, np.uint16)
    given[100:104, 40:48, 60:68] = 1
    doubt = QualityCheck("mask_read", CheckStatus.WARN, Message("Drawn twice."))
    audit = MaskAudit.of("NIFTI", Message("As it is."), [])
    analysis = replace(loaded, mask=ReaderMask(pet.like(given, "label"), audit, (doubt,)))
    assert {check.name: check.level for check in analysis.checks[-2:]} == {
        "mask_read": CheckStatus.WARN,
        "mask_fit": CheckStatus.FAIL,
    }
    prediction = predict(analysis, COMPLETE, untrained_bundle)
    assert str(prediction.abstained).startswith("The lesions given do not fit the images.")
    assert prediction.quantities.method == "given_mask"


def test_missing_variables_are_named(untrained_bundle):
    failing = QualityCheck("chest_covered", CheckStatus.FAIL, Message("No chest."))
    record = replace(COMPLETE, **MappingProxyType({"albumin": None, "pdl1_tps": None}))
    assert predict(study(failing), record, untrained_bundle).missing == ("pdl1_tps", "albumin")
