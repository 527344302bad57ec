from __future__ import annotations

import pytest

from app.cases.examinations import read_examination
from app.cases.stored_result import StoredResult
from fedpet.imaging.response.comparison import LesionSummary
from tests.support import case_files as cases

BODY = ((-200.0, -150.0, 0.0), (200.0, 150.0, 900.0))


def _result(folder, *, height_m=1.75):
    data = cases.make_json(cases.make_case(folder))
    data["study"]["pet"]["height_m"] = height_m
    data["references"] = {"liver": {"suv_mean": 2.1, "suv_sd": 0.3}, "blood_pool": None}
    data["landmarks_mm"] = {"apex": [1.0, 2.0, 3.0]}
    return data


def test_an_examination_is_read_from_a_stored_result(tmp_path):
    data = _result(tmp_path)
    read = read_examination(StoredResult.read(data), BODY)
    (lesion,) = data["prediction"]["quantities"]["lesions"]
    point = tuple(lesion["centroid_mm"])
    names = ("suv_max", "suv_peak", "mtv_ml")
    assert read.lesions == (LesionSummary(1, lesion["region"], point, *(lesion[name] for name in names)),)
    assert (read.date, read.scanner, read.uptake_min) == ("2026-03-10", "Maker Scanner", 95.0)
    bmi = 70.0 / 1.75**2
    assert read.sul_per_suv == pytest.approx(9270.0 / (6680.0 + 216.0 * bmi))  # Janmahasatian, men
    assert (read.liver, read.blood_pool, read.landmarks["apex"]) == ((2.1, 0.3), None, (1.0, 2.0, 3.0))


def test_without_a_height_there_is_no_sul(tmp_path):
    assert read_examination(StoredResult.read(_result(tmp_path, height_m=None)), BODY).sul_per_suv is None
