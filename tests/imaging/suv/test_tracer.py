"""Fluorine-18 FDG and everything that is not."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.suv.tracer import tracer_check, tracer_refusal


@pytest.fixture
def facts(dicom):
    """Facts of a PET with this tracer; codes are (value, meaning)."""

    def build(name, *, drug_code=None, nuclide_code=None, half_life="6586.2"):
        tags = {"Radiopharmaceutical": name, "RadionuclideHalfLife": half_life}
        for keyword, given in (
            ("RadiopharmaceuticalCodeSequence", drug_code),
            ("RadionuclideCodeSequence", nuclide_code),
        ):
            if given:
                code = Dataset()
                code.CodeValue, code.CodeMeaning = given
                tags[keyword] = [code]
        headers = dicom.pet(np.full((6, 4, 4), 2.0), drug=dicom.tracer(**tags), DecayCorrection="ADMIN")
        return calibrate_suv(headers).facts

    return build


@pytest.mark.parametrize(
    "name",
    [
        "FDG", "18F-FDG", "[18F]FDG", "FDG -- fluorodeoxyglucose", "Fluorodeoxyglucose F^18^", "Fludésoxyglucose (18F)",
        "2-deoxy-2-[18F]fluoro-D-glucose", "Fluor-Desoxyglukose", "GLUSCAN 500",
    ],
)  # fmt: skip
def test_fdg_by_name(facts, name):
    assert tracer_refusal(facts(name)) is None
    assert tracer_check(facts(name)).level is CheckStatus.PASS


@pytest.mark.parametrize("value", ["35321007", "C-B1031"])
def test_fdg_by_code(facts, value):
    coded = facts(None, drug_code=(value, ""), nuclide_code=("77004003", "^18^Fluorine"))
    assert tracer_check(coded).level is CheckStatus.PASS


@pytest.mark.parametrize(
    "name",
    [
        "FLT", "Fluorothymidine F^18^", "18F-PSMA-1007", "Sodium fluoride F^18^", "F-18 NaF", "18F-FET", "FDOPA",
        "Fluciclovine", "Fluorocholine F^18^", "FDGal", "FES", "Florbetapir", "DCFPyL", "Tracer X",
    ],
)  # fmt: skip
def test_another_tracer_of_fluorine_18_is_refused(facts, name):
    refusal = tracer_refusal(facts(name, nuclide_code=("C-111A1", "^18^Fluorine")))
    assert name in str(refusal.found)
    assert "not FDG" in str(refusal.found)
    assert tracer_check(facts(name)).level is CheckStatus.FAIL


def test_another_tracer_by_code_is_refused(facts):
    assert tracer_refusal(facts(None, drug_code=("129501009", "Sodium fluoride F^18^"))) is not None
    assert tracer_refusal(facts("F-18", drug_code=("129501009", "Sodium fluoride F^18^"))) is not None


def test_the_name_decides_over_a_preset_code(facts):
    assert tracer_refusal(facts("PSMA-1007", drug_code=("C-B1031", "FDG"))) is not None


def test_an_unknown_name_with_the_code_of_fdg_is_a_warning(facts):
    coded = facts("Glucotrace", drug_code=("C-B1031", "FDG"))
    assert tracer_refusal(coded) is None
    assert "Glucotrace" in str(tracer_check(coded).reason)
    assert tracer_check(coded).level is CheckStatus.WARN


@pytest.mark.parametrize("half_life", ["4062.6", "1223.4", "23400000", "574300", "598"])
def test_another_radionuclide_by_its_half_life_is_refused(facts, half_life):
    """Gallium-68, carbon-11, germanium-68, lutetium-177 as PT, nitrogen-13."""
    assert "not fluorine-18" in str(tracer_refusal(facts("FDG", half_life=half_life)).found)


@pytest.mark.parametrize("value", ["35337001", "C-131A3", "C-105A1"])
def test_another_radionuclide_by_its_code_is_refused(facts, value):
    assert "not fluorine-18" in str(tracer_refusal(facts("FDG", nuclide_code=(value, "^68^Gallium"))).found)


@pytest.mark.parametrize("half_life", ["6586.2", "6588", "6586.199707", "6600"])
def test_half_lives_that_scanners_write_for_fluorine_18(facts, half_life):
    assert tracer_refusal(facts("FDG", half_life=half_life)) is None


@pytest.mark.parametrize("name", [None, "", "F-18", "18F", "Fluorine-18", "^18^Fluorine", "Fluorine F^18^", "Other"])
def test_an_unnamed_tracer_with_the_half_life_of_fluorine_18_is_a_warning(facts, name):
    assert tracer_refusal(facts(name)) is None
    assert tracer_check(facts(name)).level is CheckStatus.WARN
