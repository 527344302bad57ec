"""What a notebook gives by hand is checked before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

import fedpet
from fedpet.core.errors import ArgumentError
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.loading import load_study
from fedpet.imaging.volume import Volume


@pytest.fixture
def study(dicom, tmp_path):
    return load_study(dicom.save(dicom.pet(np.full((6, 8, 8), 2.0)), tmp_path / "study"), pseudonym_key=b"k")


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"method": "suv5"}, "method is “suv5”.*suv41pct"),
        ({"normalization": "LBM"}, "normalization is “LBM”.*lbm"),
        ({"lesions": "mask.nii.gz"}, "lesions is of the type str"),
        ({"lesions": Volume(np.ones((6, 8, 8), np.uint8), np.eye(4), "label")}, "another grid.*at other positions"),
    ],
)
def test_quantify_names_what_it_does_not_take(study, wrong, found):
    with pytest.raises(ArgumentError, match=found):
        fedpet.quantify(study, **wrong)


def test_a_path_is_no_study_and_is_not_quoted():
    with pytest.raises(ArgumentError, match="study is of the type str") as error:
        fedpet.quantify("/data/DUPONT")
    assert "DUPONT" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"record": "record.json"}, {"record": {"age": 60}}, {"model": "folder"}])
def test_predict_names_what_it_does_not_take(study, wrong):
    given = {"record": None, "model": None} | wrong
    with pytest.raises(ArgumentError, match="is of the type"):
        fedpet.predict(study, **given)


def test_a_misspelt_requirement_does_not_switch_refusals_off(dicom, tmp_path):
    folder = dicom.save(dicom.pet(np.full((6, 8, 8), 2.0)), tmp_path / "study")
    with pytest.raises(ArgumentError, match="require is “FDG”"):
        load_study(folder, pseudonym_key=b"k", require="FDG")


@pytest.mark.parametrize("key", [b"", "a text"])
def test_pseudonyms_have_a_secret_key(key):
    with pytest.raises(ArgumentError, match="key of the pseudonyms"):
        pseudonym("4711", key)
