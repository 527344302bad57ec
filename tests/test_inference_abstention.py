from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from clinical.record import ClinicalRecord
from fedpet.messages import Message
from imaging.study import Level, PetFacts, QualityCheck, Study
from imaging.volume import Volume
from inference.abstention import output_reason, record_reason
from inference.contract import default_contract
from inference.engine import EngineOutput
from inference.predict import predict

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
    return Study("P-0", Volume(pet, affine, "g/ml"), ct, FACTS, (), checks)


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


@pytest.mark.parametrize("days", [0.0, 92.0, None])
def test_the_gate_of_three_months_is_closed_at_its_ends(days):
    assert record_reason(replace(COMPLETE, pet_to_treatment_days=days), CONTRACT) is None


def test_no_lesion_on_the_map_means_no_answer():
    assert "no hypermetabolic lesion" in str(output_reason(output(lesion_value=0.4), CONTRACT))
    assert output_reason(output(), CONTRACT) is None


def test_a_biomarker_far_outside_means_no_answer():
    assert "far outside" in str(output_reason(output(biomarkers=(0, 0, 0, 0, 0, -6.1)), CONTRACT))


def test_a_failed_check_abstains_before_the_network_runs(untrained_bundle):
    failing = QualityCheck("chest_covered", Level.FAIL, Message("No chest."))
    warning = QualityCheck("dose", Level.WARN, Message("Odd dose."))
    prediction = predict(study(warning, failing), COMPLETE, untrained_bundle)
    assert "No chest." in str(prediction.abstained)
    assert prediction.endpoints == ()
    assert prediction.survival is prediction.risk_group is prediction.risk_score is None
    assert prediction.contributions == {}
    assert prediction.quantities.method == "suv4"
    assert len(prediction.quantities.lesions) == 2
    assert prediction.model.provider.endswith("ExecutionProvider")


def test_a_reader_s_mask_is_measured_as_given(untrained_bundle):
    failing = QualityCheck("chest_covered", Level.FAIL, Message("No chest."))
    loaded = study(failing)
    given = np.zeros(loaded.pet.shape, np.uint16)
    given[140:144, 40:48, 60:68] = 1
    prediction = predict(loaded, COMPLETE, untrained_bundle, lesions=loaded.pet.like(given, "label"))
    assert prediction.quantities.method == "given_mask"
    assert prediction.quantities.tmtv_ml == pytest.approx(4 * 8 * 8 * 0.064)


def test_missing_variables_are_named(untrained_bundle):
    failing = QualityCheck("chest_covered", Level.FAIL, Message("No chest."))
    record = replace(COMPLETE, **MappingProxyType({"albumin": None, "pdl1_tps": None}))
    assert predict(study(failing), record, untrained_bundle).missing == ("pdl1_tps", "albumin")
