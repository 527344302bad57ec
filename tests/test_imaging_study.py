from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import CellType, FunctionType

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedpet.messages import Message
from imaging.loading import load_study
from imaging.study import Level, QualityCheck, Study

SUV = np.full((6, 8, 8), 2.0)


@pytest.fixture
def study(tmp_path, dicom):
    slices = dicom.pet(SUV, SeriesDescription="AC of DUPONT") + dicom.ct(np.zeros((6, 16, 16), int))
    return load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=b"k")


def test_checks_given_as_a_function_are_made_once_when_first_looked_at(study):
    made = []

    def make():
        made.append(1)
        return [QualityCheck("orientation", Level.FAIL, Message("The CT shares the frame of reference of the PET."))]

    later = replace(study, checks=make)
    assert not made
    assert [check.name for check in later.failed()] == ["orientation"]
    assert isinstance(later.checks, tuple)
    assert later.checks is later.checks
    assert replace(later, study_date="").checks == later.checks
    assert made == [1]


def test_a_failing_check_of_the_images_is_there_for_whoever_looks(study):
    assert "chest_covered" in [check.name for check in study.failed()]


def test_a_study_without_checks_cannot_be_made(study):
    given = {name: value for name, value in vars(study).items() if name != "_checks"}
    with pytest.raises(TypeError, match="checks"):
        Study(**given)


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


@pytest.mark.parametrize("looked_at", [False, True])
def test_nothing_that_a_study_holds_names_the_patient(study, looked_at):
    """Identifiers end at the load: also what waits to make the checks holds no header."""
    if looked_at:
        assert study.checks
    seen = {}
    held(study, seen)
    assert len(seen) > 50
    assert not [thing for thing in seen.values() if isinstance(thing, Dataset)]
    told = [thing for thing in seen.values() if isinstance(thing, str)]
    assert not [text for text in told if "DUPONT" in text or "HOSP-4711" in text]
