from __future__ import annotations

import numpy as np
import pytest

from fedpet.core.errors import SuvError
from fedpet.imaging.loading import load_study
from fedpet.imaging.suv.normalization import (
    body_surface_m2,
    ideal_body_weight_kg,
    james_lean_body_mass_kg,
    lean_body_mass_if_known,
    lean_body_mass_kg,
    normalize_suv,
)

SUV = np.random.default_rng(5).uniform(0.5, 5.0, (6, 8, 8))


@pytest.fixture
def study(tmp_path, dicom):
    """A study with these attributes; 70 kg, 1.70 m, a woman unless said otherwise."""
    return lambda **tags: load_study(
        dicom.save(dicom.pet(SUV, **tags), tmp_path / "p"), pseudonym_key=b"k", require="images"
    )


def test_lean_body_mass_of_janmahasatian():
    # A woman of 60 kg and 1.60 m (BMI 23.4375) and a man of 90 kg and 1.80 m (BMI 27.778), by hand
    assert lean_body_mass_kg(60, 1.60, "F") == pytest.approx(556200 / 14498.75, rel=1e-9)
    assert lean_body_mass_kg(90, 1.80, "M") == pytest.approx(834300 / 12680, rel=1e-9)
    assert lean_body_mass_kg(90, 1.80, "O") == pytest.approx((834300 / 12680 + 834300 / (8780 + 244 * 90 / 3.24)) / 2)


@pytest.mark.parametrize("missing", [(None, 1.6, "F"), (60, None, "F"), (60, 1.6, ""), (60, 1.6, "X")])
def test_lean_body_mass_is_not_known_where_something_is_missing(missing):
    assert lean_body_mass_if_known(*missing) is None
    assert lean_body_mass_if_known(60, 1.6, "F") == lean_body_mass_kg(60, 1.6, "F")


def test_lean_body_mass_of_james_collapses_in_obesity_and_janmahasatian_does_not():
    by_james = [james_lean_body_mass_kg(weight, 1.60, "F") for weight in (100, 130, 150)]
    assert by_james[2] < by_james[1] < by_james[0] + 25
    assert by_james[2] < by_james[0]
    assert lean_body_mass_kg(100, 1.60, "F") < lean_body_mass_kg(130, 1.60, "F") < lean_body_mass_kg(150, 1.60, "F")
    with pytest.raises(SuvError, match="not positive"):
        james_lean_body_mass_kg(200, 1.50, "F")


def test_ideal_body_weight_and_body_surface():
    assert ideal_body_weight_kg(1.75, "M") == pytest.approx(72.38)
    assert ideal_body_weight_kg(1.75, "F") == pytest.approx(66.43)
    assert body_surface_m2(70, 1.75) == pytest.approx(1.8481, abs=1e-4)  # Du Bois' nomogram: 1.85


def test_sul_is_suv_times_the_lean_fraction(study):
    sul = normalize_suv(study(), "lbm")
    lean = 9270 * 70 / (8780 + 244 * 70 / 1.7**2)  # 46.0 kg
    np.testing.assert_allclose(sul.array, SUV * lean / 70, rtol=1e-3)
    assert sul.unit == "g/ml"
    assert sul.array.dtype == np.float32


def test_suv_of_body_surface_is_in_square_centimetres(study):
    bsa = normalize_suv(study(), "bsa")
    surface_cm2 = 1e4 * 0.007184 * 170**0.725 * 70**0.425
    np.testing.assert_allclose(bsa.array, SUV * surface_cm2 / 70_000, rtol=1e-3)
    assert bsa.unit == "cm2/ml"


def test_normalisation_and_its_conversion_back_undo_each_other(study, dicom, tmp_path):
    one = study(PatientSex="M", PatientSize="1.82", PatientWeight="95", scale=dicom.bqml_per_suv() * 70 / 95)
    np.testing.assert_allclose(one.pet.array, SUV, rtol=1e-3)
    for kind, units, type_ in (("lbm", "GML", "LBMJANMA"), ("bsa", "CM2ML", "BSA")):
        slices = dicom.pet(
            normalize_suv(one, kind).array.astype(float), scale=1.0, Units=units, SUVType=type_,
            PatientSex="M", PatientSize="1.82", PatientWeight="95",
        )  # fmt: skip
        back = load_study(dicom.save(slices, tmp_path / kind), pseudonym_key=b"k")
        np.testing.assert_allclose(back.pet.array, SUV, rtol=1e-3)


def test_suv_of_body_weight_is_the_study_itself(study):
    one = study(PatientSize=None)
    assert normalize_suv(one, "bw") is one.pet


@pytest.mark.parametrize(
    ("tags", "kind", "sentence"),
    [
        ({"PatientSize": None}, "lbm", "weight or height is missing"),
        ({"PatientSize": "0"}, "bsa", "weight or height is missing"),
        ({"PatientSex": ""}, "lbm", "sex is missing"),
        ({"Units": "PROPCPS"}, "bsa", "units PROPCPS"),
        ({"Units": "PROPCPS"}, "bw", "units PROPCPS"),
    ],
)
def test_what_is_missing_for_another_normalisation_is_said(study, tags, kind, sentence):
    with pytest.raises(SuvError, match=sentence):
        normalize_suv(study(**tags), kind)
