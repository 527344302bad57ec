"""One synthetic patient: lesions found and given, in every normalisation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpet.core.errors import SuvError
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.quantification import measure_table, quantify_study
from fedpet.imaging.suv.normalization import lean_body_mass_kg
from tests.support import case_files


@pytest.fixture(scope="module")
def analysis(scanned):
    case, study = scanned["slim"], case_files.make_study()
    facts = replace(study.pet_facts, weight_kg=70.0, height_m=1.7, sex="F")
    return StudyAnalysis(replace(study, pet=case.pet, ct=case.ct, pet_facts=facts))


def test_lesions_are_found_as_by_delineate_and_measured_as_by_quantify(analysis):
    pet, anatomy = analysis.study.pet, analysis.anatomy
    measured, found = quantify_study(analysis, exclude=[1]), delineate(pet, anatomy, exclude=[1])
    assert np.array_equal(measured.labels.array, found.lesions.array)
    assert measured.delineation.components == found.components
    assert measured.quantities == quantify(pet, found.lesions, method="suv4", anatomy=anatomy)
    assert measured.references == analysis.references
    assert measured.pet is pet


def test_another_normalisation_changes_the_suv_and_nothing_else(analysis):
    bw, sul = quantify_study(analysis), quantify_study(analysis, normalization="lbm")
    factor = lean_body_mass_kg(70.0, 1.7, "F") / 70.0
    assert np.array_equal(bw.labels.array, sul.labels.array)
    assert [one.region for one in sul.quantities.lesions] == [one.region for one in bw.quantities.lesions]
    assert sul.quantities.tmtv_ml == bw.quantities.tmtv_ml
    assert sul.quantities.suv_max == pytest.approx(factor * bw.quantities.suv_max, rel=1e-5)
    assert sul.references.liver.suv_mean == pytest.approx(factor * bw.references.liver.suv_mean, rel=1e-5)


def test_given_lesions_are_measured_as_they_are_or_where_they_are_hot(analysis):
    pet = analysis.study.pet
    rough = pet.like(np.zeros(pet.shape, np.uint16), "label")
    z, y, x = np.unravel_index(pet.array.argmax(), pet.shape)
    rough.array[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] = 2
    whole, hot = quantify_study(analysis, lesions=rough), quantify_study(analysis, lesions=rough, method="suv41pct")
    assert (whole.quantities.method, hot.quantities.method) == ("given_mask", "given_mask_suv41pct")
    assert whole.delineation is hot.delineation is None
    assert whole.labels is rough
    assert hot.quantities.tmtv_ml < whole.quantities.tmtv_ml
    assert pet.array[hot.labels.array > 0].min() >= 0.41 * pet.array.max()


def test_without_a_ct_there_are_lesions_and_no_references(analysis):
    measured = quantify_study(replace(analysis.study, ct=None))
    assert measured.references is None
    assert measured.quantities.lesions
    assert {one.region for one in measured.quantities.lesions} == {"unknown"}


def test_lean_body_mass_needs_a_height(analysis):
    facts = replace(analysis.study.pet_facts, height_m=None)
    with pytest.raises(SuvError, match="height"):
        quantify_study(replace(analysis.study, pet_facts=facts), normalization="lbm")


def test_the_table_has_the_quantities_regions_and_references_of_the_study(analysis):
    found = quantify_study(analysis)
    table = measure_table(analysis, found.labels, quantities=found.quantities)
    assert measure_table(analysis, found.labels) == table
    assert table.marrow_to_liver == analysis.references.marrow_to_liver
    values = table.values()
    assert (values["tmtv_ml"], values["dmax_mm"]) == (found.quantities.tmtv_ml, found.quantities.dmax_mm)
    assert min(values[f"{organ}_ml"] for organ in ("lung", "nodes", "liver", "bone", "adrenal")) > 0
    liver = [one.id for one in table.lesions if one.region == "liver"]
    kept = found.labels.like(np.where(np.isin(found.labels.array, liver), 0, found.labels.array), "label")
    assert table.without(liver) == measure_table(analysis, kept)
    assert (values["liver_lesion"], table.without(liver).values()["liver_lesion"]) == (1.0, 0.0)
