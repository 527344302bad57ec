from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from fedpet.core.messages import Message
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from fedpet.imaging.quality.centre_uptake import CentreUptake, ScannerUptake
from fedpet.imaging.study import CheckStatus, QualityCheck

SUV = np.full((6, 8, 8), 2.0)


@pytest.fixture
def study(tmp_path, dicom):
    slices = dicom.pet(SUV) + dicom.ct(np.zeros((6, 16, 16), int))
    return load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=b"k")


@pytest.fixture
def counted(monkeypatch):
    """How often the checks of the images were made."""
    made = []

    def image_checks(*given, **facts):
        made.append((given, facts))
        return [QualityCheck("orientation", CheckStatus.FAIL, Message("Upside down."))]

    monkeypatch.setattr("fedpet.imaging.analysis.image_checks", image_checks)
    return made


def test_checks_are_made_once_and_when_first_read(study, counted):
    analysis = StudyAnalysis(study)
    assert not counted
    assert [check.name for check in analysis.failed_checks] == ["orientation"]
    assert analysis.checks is analysis.checks
    assert len(counted) == 1


def test_an_analysis_of_other_images_is_another(study, counted):
    analysis = StudyAnalysis(study)
    assert analysis.checks
    darker = replace(analysis, study=replace(study, pet=study.pet.like(0.5 * study.pet.array, "g/ml")))
    assert darker.checks
    assert len(counted) == 2
    assert darker.anatomy is not analysis.anatomy
    with pytest.raises(FrozenInstanceError):
        analysis.study = study


def test_the_checks_know_the_weight_and_how_the_ct_was_paired(study, counted):
    facts = replace(study.pet_facts, weight_kg=81.0)
    problem = Message("no volume")
    scanner = ScannerUptake("SYNTHETIC FACTORY", 12, 0.1, 0.07, {})
    paired = replace(study, pet_facts=facts, ct_frame_assumed=True, ct_problem=problem)
    assert StudyAnalysis(paired, usual=CentreUptake((scanner,))).checks
    assert counted[0][1] == {
        "ct_frame_assumed": True,
        "ct_problem": problem,
        "weight_kg": 81.0,
        "height_m": 1.7,
        "uptake_min": 60.0,
        "usual": scanner,
    }


def test_the_suv_comes_first_then_the_images_then_the_other_headers(study):
    names = [check.name for check in StudyAnalysis(study).checks]
    assert names[:3] == ["suv", "ct_present", "chest_covered"]
    assert names.index("slices") < names.index("compression")
    assert names.index("orientation") < names.index("tracer") < names.index("dose")


def test_a_failing_check_of_the_images_is_there_for_whoever_looks(study):
    assert "chest_covered" in [check.name for check in StudyAnalysis(study).failed_checks]


def test_without_a_ct_there_is_no_anatomy(study):
    alone = StudyAnalysis(replace(study, ct=None))
    assert alone.anatomy is alone.references is None
    assert {"ct_present", "chest_covered", "alignment"} <= {check.name for check in alone.failed_checks}
