from __future__ import annotations

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import UnknownComponentError
from fedpet.core.messages import Message, translate_message
from fedpet.imaging.lesions.lesion import GIVEN_MASK
from fedpet.imaging.resampling import Grid
from fedpet.imaging.study import CheckStatus, PetCtStudy, PetFacts, QualityCheck
from fedpet.imaging.volume import Volume
from inference.engine import EngineOutput
from inference.input_contract import default_contract
from inference.lesion_map import delineation_method_label, lesion_map
from inference.predict import predict
from tests.support.header_checks_only import HeaderChecksOnly

CONTRACT = default_contract()
FACTS = PetFacts(
    units="BQML", decay_correction="START", suv_factor_min=1.0, suv_factor_max=1.0, reference_time_source="series_time",
    reference_time=None, injection_time=None, uptake_min=60.0, dose_bq=3e8, half_life_s=6586.2, weight_kg=70.0,
    height_m=1.7, sex="M", radiopharmaceutical="FDG", corrected_image=("ATTN", "DECY"), manufacturer="", model="",
)  # fmt: skip
NAMES = ("suv4", "suv41pct", "suv25", "liver", "gradient", "percist_liver", "percist_blood_pool")
UNUSABLE = QualityCheck("chest_covered", CheckStatus.FAIL, Message("No chest."))


def study(*checks):
    """Two hot cubes, of 32.8 and 8 ml, in a body of water."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    suv = np.full((120, 64, 64), 0.5, np.float32)
    suv[70:78, 30:38, 30:38] = 10.0
    suv[30:35, 30:35, 30:35] = 8.0
    hu = np.full(suv.shape, -1000, np.int16)
    hu[:, 8:56, 8:56] = 40
    found = PetCtStudy("P-0", Volume(suv, affine, "g/ml"), Volume(hu, affine, "HU"), FACTS, (), checks)
    return HeaderChecksOnly(found, segmenter=None)  # the organ network knows bodies, not blocks of water


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("name", [GIVEN_MASK, *NAMES, *(f"{name}_model_map" for name in NAMES)])
def test_every_method_has_a_name_for_people(name, language):
    said = translate_message(language)(delineation_method_label(name))
    assert said
    assert ("carte de lésions" in said or "lesion map" in said) == name.endswith("_model_map")
    assert "_" not in said


def test_an_unknown_method_has_no_name():
    with pytest.raises(KeyError):
        delineation_method_label("suv5")


def test_the_model_s_map_is_the_concept_lesion_on_the_model_s_grid():
    maps = np.zeros((len(CONTRACT.concepts), *CONTRACT.shape), np.float32)
    maps[CONTRACT.concepts.index("lesion"), 1, 2, 3] = 0.7
    output = EngineOutput(np.zeros(8), 0.0, np.zeros(6), maps, np.zeros(27))
    grid = Grid(CONTRACT.shape, np.diag([8.0, 8.0, 8.0, 1.0]))
    seen = lesion_map(output, grid, CONTRACT)
    assert seen.array[1, 2, 3] == np.float32(0.7)
    assert seen.array.sum() == np.float32(0.7)
    assert (seen.affine == grid.affine).all()


def test_a_prediction_holds_every_component_and_obeys_the_reader(untrained_bundle):
    loaded = study(UNUSABLE)
    plain = predict(loaded, ClinicalRecord(), untrained_bundle)
    switched = predict(loaded, ClinicalRecord(), untrained_bundle, exclude=(1,), include=(2,))
    assert plain.quantities.method == switched.quantities.method == "suv4"
    assert [one.included for one in plain.components] == [True, True]
    assert plain.quantities.tmtv_ml == pytest.approx((512 + 125) * 0.064)
    assert [(one.included, one.switched) for one in switched.components] == [(False, True), (True, True)]
    assert [lesion.id for lesion in switched.quantities.lesions] == [2]
    assert switched.quantities.tmtv_ml == pytest.approx(125 * 0.064)
    assert (switched.lesion_labels.array > 0).sum() == 125


def test_the_reader_chooses_the_method(untrained_bundle):
    prediction = predict(study(UNUSABLE), ClinicalRecord(), untrained_bundle, method="suv41pct")
    assert prediction.quantities.method == "suv41pct"


def test_a_component_that_is_not_there_is_an_error(untrained_bundle):
    with pytest.raises(UnknownComponentError):
        predict(study(UNUSABLE), ClinicalRecord(), untrained_bundle, exclude=(9,))


def test_a_reader_s_mask_leaves_no_components(untrained_bundle):
    loaded = study(UNUSABLE)
    pet = loaded.study.pet
    given = pet.like((pet.array > 9).astype(np.uint16), "label")
    prediction = predict(loaded, ClinicalRecord(), untrained_bundle, lesions=given)
    assert prediction.components == ()
    assert prediction.quantities.method == "given_mask"


def test_the_model_s_map_takes_part_where_the_model_ran(untrained_bundle):
    record = ClinicalRecord(age=66.0, sex="M", ecog_ps=1, smoking="former", histology="adenocarcinoma", pdl1_tps=60.0,
                            line=1, ldh=220.0, ldh_uln=250.0, neutrophils=5.0, lymphocytes=1.5,
                            pet_to_treatment_days=14.0)  # fmt: skip
    prediction = predict(study(), record, untrained_bundle)
    assert prediction.quantities.method == "suv4_model_map"
    assert len(prediction.components) == 2
