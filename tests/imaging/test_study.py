from __future__ import annotations

from functools import partial
from types import CellType, FunctionType

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from fedpet.imaging.study import PetCtStudy

SUV = np.full((6, 8, 8), 2.0)


@pytest.fixture
def study(tmp_path, dicom):
    slices = dicom.pet(SUV, SeriesDescription="AC of DUPONT") + dicom.ct(np.zeros((6, 16, 16), int))
    return load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=b"k")


def test_a_study_without_header_checks_cannot_be_made(study):
    given = {name: value for name, value in vars(study).items() if name != "header_checks"}
    with pytest.raises(TypeError, match="header_checks"):
        PetCtStudy(**given)


def held(thing, seen):
    """Everything that can be reached from an object, functions by what they close over."""
    if id(thing) in seen or isinstance(thing, type):
        return
    seen[id(thing)] = thing
    inner = []
    if isinstance(thing, FunctionType):
        inner = [*(thing.__closure__ or ()), *(thing.__defaults__ or ())]
    elif isinstance(thing, CellType):
        inner = [thing.cell_contents]
    elif isinstance(thing, partial):
        inner = [thing.args, thing.keywords]
    elif isinstance(thing, dict):
        inner = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inner = [*thing]
    elif hasattr(thing, "__dict__"):
        inner = [vars(thing)]
    for each in inner:
        held(each, seen)


def test_nothing_that_a_study_holds_names_the_patient(study):
    """Identifiers end at the load: neither the study nor what is computed from it holds a header."""
    analysis = StudyAnalysis(study)
    assert analysis.checks
    seen = {}
    held(analysis, seen)
    assert len(seen) > 50
    assert not [thing for thing in seen.values() if isinstance(thing, Dataset)]
    told = [thing for thing in seen.values() if isinstance(thing, str)]
    assert not [text for text in told if "DUPONT" in text or "HOSP-4711" in text]
