from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, SuvError, TracerError, UnreadableStudyError
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.loading import inspect_study, load_study
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.study import CheckStatus

KEY = b"key of a centre"
SARCOMAS = ("STS_002", "STS_008", "STS_042")


@pytest.fixture(scope="module")
def suv():
    return np.random.default_rng(1).uniform(0.2, 5.0, (12, 20, 18))


@pytest.fixture(scope="module")
def hu():
    return np.random.default_rng(2).integers(-1024, 1500, (12, 40, 36))


def check(study, name):
    return next(one for one in StudyAnalysis(study).checks if one.name == name)


def test_a_mixed_pile_of_shuffled_files_loads_in_geometric_order(tmp_path, dicom, suv, hu):
    folder = dicom.save(dicom.pet(suv), tmp_path / "pile", shuffle=3)
    dicom.save(dicom.ct(hu), folder, shuffle=4)
    (folder / "README.txt").write_text("not an image")
    study = load_study(folder, pseudonym_key=KEY)
    np.testing.assert_allclose(study.pet.array, suv, rtol=2e-4, atol=2e-4)
    assert study.pet.array.dtype == np.float32
    assert study.ct.array.dtype == np.int16
    np.testing.assert_array_equal(study.ct.array, hu)
    np.testing.assert_allclose(study.pet.affine @ (1, 2, 3, 1), (-36, -32, 12, 1))
    np.testing.assert_allclose(study.ct.affine @ (1, 2, 3, 1), (-38, -36, 12, 1))
    assert study.study_date == "2024-03-05"
    assert len(study.source_uids["PT"]) == len(study.source_uids["CT"]) == 12


def test_slices_from_feet_to_head_whatever_the_direction_of_the_columns(tmp_path, dicom, suv):
    slices = dicom.pet(suv, ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    study = load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)
    np.testing.assert_allclose(study.pet.array[0], suv[-1], atol=2e-4)  # the normal points to the feet
    np.testing.assert_allclose(study.pet.affine @ (0, 1, 0, 1), (-40, -44, 44, 1))


def test_pet_without_ct_loads_and_fails_its_check(tmp_path, dicom, suv):
    study = load_study(dicom.save(dicom.pet(suv), tmp_path / "p"), pseudonym_key=KEY)
    assert study.ct is None
    assert check(study, "ct_present").level is CheckStatus.FAIL
    assert check(study, "chest_covered").level is CheckStatus.FAIL


def test_every_named_check_is_there_once(tmp_path, dicom, suv):
    study = load_study(dicom.save(dicom.pet(suv), tmp_path / "p"), pseudonym_key=KEY)
    names = [one.name for one in StudyAnalysis(study).checks]
    assert sorted(names) == sorted(
        [
            "ct_present",
            "chest_covered",
            "pet_extent",
            "slice_levels",
            "uptake_time",
            "dose",
            "weight",
            "slices",
            "compression",
            "alignment",
            "suv",
            "suv_witness",
            "suv_plausible",
            "orientation",
            "tracer",
        ]
    )


def test_missing_slice_is_refused(tmp_path, dicom, suv):
    slices = dicom.pet(suv)
    del slices[5]
    with pytest.raises(SliceGeometryError, match="1 slices are missing"):
        load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)


def test_a_pet_opens_without_a_ct_of_which_slices_are_missing_unless_another_ct_is_whole(tmp_path, dicom, suv, hu):
    gap = dicom.ct(hu)
    del gap[3:5]
    folder = dicom.save(dicom.pet(suv) + gap, tmp_path / "p")
    alone = load_study(folder, pseudonym_key=KEY)
    assert alone.ct is None
    assert "2 slices are missing" in str(check(alone, "ct_present").reason)
    with pytest.raises(SliceGeometryError, match="2 slices are missing"):  # a person's choice is not passed over
        load_study(folder, pseudonym_key=KEY, ct_series=2)
    dicom.save(dicom.ct(hu + 1, series="whole"), folder)
    np.testing.assert_array_equal(load_study(folder, pseudonym_key=KEY).ct.array, hu + 1)


def test_real_jitter_of_the_spacing_is_tolerated_and_reported(tmp_path, dicom, suv):
    slices = dicom.pet(suv, spacing=(4.0, 4.0, 3.27))
    for k, one in enumerate(slices):
        one.ImagePositionPatient[2] = round(3.27 * k + (0.04 if k % 2 else 0.0), 3)
    study = load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)
    assert study.pet.spacing[2] == pytest.approx(3.27, abs=0.01)
    assert "3.23 to 3.31 mm" in str(check(study, "slices").reason)


def test_equal_copies_are_left_out_with_a_warning(tmp_path, dicom, suv):
    slices = dicom.pet(suv)
    study = load_study(dicom.save([*slices, slices[4], slices[7]], tmp_path / "p"), pseudonym_key=KEY)
    assert study.pet.shape == suv.shape
    assert check(study, "slices").level is CheckStatus.WARN
    assert "2 slices" in str(check(study, "slices").reason)


def test_different_images_at_one_place_are_refused(tmp_path, dicom, suv):
    extra = dicom.pet(suv[::-1])[4]
    extra.SOPInstanceUID += ".1"
    with pytest.raises(SliceGeometryError, match="different images"):
        load_study(dicom.save([*dicom.pet(suv), extra], tmp_path / "p"), pseudonym_key=KEY)


def test_gated_series_are_refused_by_type_and_by_their_times(tmp_path, dicom, suv):
    gated = dicom.save(dicom.pet(suv, SeriesType=["GATED", "IMAGE"]), tmp_path / "a")
    with pytest.raises(SeriesNotFoundError):
        load_study(gated, pseudonym_key=KEY)
    phases = dicom.pet(suv, FrameReferenceTime="0") + dicom.pet(suv, FrameReferenceTime="60000")
    with pytest.raises(SliceGeometryError, match="gated or dynamic"):
        load_study(dicom.save(phases, tmp_path / "b"), pseudonym_key=KEY)


def test_mixed_orientations_are_refused(tmp_path, dicom, suv):
    slices = dicom.pet(suv)
    slices[2].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    with pytest.raises(SliceGeometryError, match="orientation"):
        load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)


def test_a_ct_alone_is_refused(tmp_path, dicom):
    with pytest.raises(SeriesNotFoundError, match=r"No PET .*CT"):
        load_study(dicom.save(dicom.ct(np.zeros((6, 8, 8), int)), tmp_path / "p"), pseudonym_key=KEY)


def test_truncated_pixels_are_refused(tmp_path, dicom, suv):
    slices = dicom.pet(suv)
    slices[3].PixelData = slices[3].PixelData[:100]
    with pytest.raises(UnreadableStudyError, match="cannot be decoded"):
        load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)


def test_padding_outside_the_ct_field_of_view_becomes_air(tmp_path, dicom, suv, hu):
    slices = dicom.ct(hu, PixelPaddingValue=-2000)
    for one in slices:
        pixels = np.frombuffer(one.PixelData, "<i2").copy()
        pixels[0] = -2000
        one.PixelData = pixels.tobytes()
    study = load_study(dicom.save(dicom.pet(suv) + slices, tmp_path / "p"), pseudonym_key=KEY)
    assert (study.ct.array[:, 0, 0] == -1024).all()
    np.testing.assert_array_equal(study.ct.array[:, 1:], hu[:, 1:])


def test_ct_with_fractional_rescale_is_float(tmp_path, dicom, suv, hu):
    slices = dicom.ct(hu, RescaleSlope="0.5", RescaleIntercept="-1024.5")
    study = load_study(dicom.save(dicom.pet(suv) + slices, tmp_path / "p"), pseudonym_key=KEY)
    assert study.ct.array.dtype == np.float32
    np.testing.assert_allclose(study.ct.array, np.maximum((hu + 1024) * 0.5 - 1024.5, -1024))


def test_pseudonym_is_keyed_stable_and_hides_the_identifier(tmp_path, dicom, suv):
    study = load_study(dicom.save(dicom.pet(suv, PatientName=""), tmp_path / "p"), pseudonym_key=KEY)
    assert study.pseudonym == pseudonym("HOSP-4711", KEY) != pseudonym("HOSP-4711", b"another")
    # computed with `printf 'HOSP-4711' | openssl dgst -sha256 -hmac 'key of a centre'`
    assert study.pseudonym == "P-76a40ac71492"


def test_inspection_says_everything_and_names_nobody(tmp_path, dicom, suv, hu):
    slices = dicom.pet(suv, SeriesDescription="PET Dupont Jeanne HOSP-4711") + dicom.ct(hu)
    report = inspect_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=KEY)
    written = json.dumps(report)
    assert not any(secret in written.lower() for secret in ("dupont", "jeanne", "hosp-4711"))
    assert sorted(one["modality"] for one in report["series"] if one["chosen"]) == ["CT", "PT"]
    assert report["pet"]["units"] == "BQML"
    assert report["pet"]["reference_time_source"] == "series_time"
    assert report["pet"]["uptake_min"] == pytest.approx(60)
    assert report["pet"]["suv_factor_min"] == pytest.approx(1 / dicom.bqml_per_suv())
    assert report["pet"]["geometry"]["spacing_mm"] == [4.0, 4.0, 4.0]
    assert report["ct"]["geometry"]["shape"] == [12, 40, 36]
    assert {one["level"] for one in report["checks"]} <= {"pass", "warn", "fail"}


def test_inspection_of_a_refused_study_says_why_and_what_was_found(tmp_path, dicom, suv):
    report = inspect_study(dicom.save(dicom.pet(suv, PatientWeight="0"), tmp_path / "p"), pseudonym_key=KEY)
    assert "weight" in report["refused"]["found"]
    assert report["series"][0]["shape"] == [12, 20, 18]
    french = inspect_study(tmp_path / "p", pseudonym_key=KEY, language="fr")
    assert "poids" in french["refused"]["found"].lower()


NO_SUV = [  # what the headers say, and what the refusal says
    ({"Units": "PROPCPS"}, "units PROPCPS"),
    ({"Units": "CNTS"}, "scale factor is missing in"),
    ({"RescaleIntercept": "-12"}, "intercept -12"),
    ({"PatientWeight": "0"}, "weight is zero"),
    ({"CorrectedImage": ["ATTN", "NORM"]}, "Decay Correction is START"),
]


@pytest.mark.parametrize(("tags", "sentence"), NO_SUV)
def test_without_suv_a_study_is_refused_where_suv_is_required(tmp_path, dicom, suv, tags, sentence):
    with pytest.raises(SuvError, match=sentence):
        load_study(dicom.save(dicom.pet(suv, **tags), tmp_path / "p"), pseudonym_key=KEY)


@pytest.mark.parametrize(("tags", "sentence"), NO_SUV)
def test_without_suv_a_study_opens_in_its_own_units_and_says_so(tmp_path, dicom, suv, tags, sentence):
    folder = dicom.save(dicom.pet(suv, scale=10.0, **tags), tmp_path / "p")
    study = load_study(folder, pseudonym_key=KEY, require="images")
    rescaled = 10 * suv + float(tags.get("RescaleIntercept", 0))
    np.testing.assert_allclose(study.pet.array, rescaled, rtol=2e-4, atol=2e-3)
    assert study.pet.unit == "stored"
    assert study.pet_facts.suv_factor_min is study.pet_facts.suv_factor_max is None
    assert study.pet_facts.factor_rule == ""
    assert sentence in str(study.suv_refusal)
    assert check(study, "suv").level is CheckStatus.FAIL
    assert sentence in str(check(study, "suv").reason)
    assert not any(one.name == "suv_plausible" for one in StudyAnalysis(study).checks)


def test_a_study_with_suv_passes_the_check_and_has_no_refusal(tmp_path, dicom, suv):
    study = load_study(dicom.save(dicom.pet(suv), tmp_path / "p"), pseudonym_key=KEY, require="images")
    assert study.suv_refusal is None
    assert study.pet.unit == "g/ml"
    assert check(study, "suv").level is CheckStatus.PASS


def test_another_tracer_is_refused_and_opens_as_the_suv_it_is(tmp_path, dicom, suv):
    folder = dicom.save(dicom.pet(suv, drug=dicom.tracer(Radiopharmaceutical="18F-PSMA-1007")), tmp_path / "p")
    with pytest.raises(TracerError, match="18F-PSMA-1007: not FDG"):
        load_study(folder, pseudonym_key=KEY)
    study = load_study(folder, pseudonym_key=KEY, require="images")
    np.testing.assert_allclose(study.pet.array, suv, rtol=2e-4, atol=2e-4)
    assert (study.pet.unit, study.suv_refusal) == ("g/ml", None)
    assert check(study, "tracer").level is CheckStatus.FAIL
    report = inspect_study(folder, pseudonym_key=KEY)
    assert "refused" not in report
    assert "not FDG" in report["refused_for_prediction"]["found"]
    assert report["pet"]["suv_factor_min"] == pytest.approx(1 / dicom.bqml_per_suv())


def test_fdg_is_chosen_before_another_tracer_and_suv_before_none(tmp_path, dicom, suv):
    long = np.concatenate([suv, suv])
    folder = dicom.save(dicom.pet(suv), tmp_path / "p")
    dicom.save(dicom.pet(long, series="psma", drug=dicom.tracer(Radiopharmaceutical="PSMA")), folder)
    dicom.save(dicom.pet(long, series="counts", Units="CNTS"), folder)
    for require in ("fdg", "suv", "images"):
        study = load_study(folder, pseudonym_key=KEY, require=require)
        assert study.pet.shape[0] == 12
        assert study.suv_refusal is None


def test_inspection_of_a_pet_without_suv_has_everything_but_factors(tmp_path, dicom, suv, hu):
    folder = dicom.save(dicom.pet(suv, Units="PROPCPS") + dicom.ct(hu), tmp_path / "p")
    report = inspect_study(folder, pseudonym_key=KEY)
    assert "units PROPCPS" in report["refused"]["found"]
    assert report["pet"]["suv_factor_min"] is report["pet"]["suv_factor_max"] is None
    assert (report["pet"]["unit"], report["pet"]["units"]) == ("stored", "PROPCPS")
    assert report["ct"]["geometry"]["shape"] == [12, 40, 36]
    assert {"name": "suv", "level": "fail"}.items() <= report["checks"][0].items()
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    "tags",
    [{"CorrectedImage": ["NORM", "DECY"]}, {"SeriesType": ["GATED", "IMAGE"]}, {"SeriesType": ["DYNAMIC", "IMAGE"]}],
)
def test_what_is_no_static_corrected_pet_is_refused_even_where_no_suv_is_asked(tmp_path, dicom, suv, tags):
    with pytest.raises(SeriesNotFoundError):
        load_study(dicom.save(dicom.pet(suv, **tags), tmp_path / "p"), pseudonym_key=KEY, require="images")


def test_series_are_numbered_and_a_person_chooses_by_number(tmp_path, dicom, suv):
    folder = dicom.save(dicom.pet(suv), tmp_path / "p")
    dicom.save(dicom.pet(2 * suv, series="other"), folder)
    first = inspect_study(folder, pseudonym_key=KEY)
    assert [one["id"] for one in first["series"]] == [1, 2]
    other = next(one["id"] for one in first["series"] if not one["chosen"])
    study = load_study(folder, pseudonym_key=KEY, pet_series=other)
    assert [one.id for one in study.series if one.chosen] == [other]
    assert inspect_study(folder, pseudonym_key=KEY, pet_series=other)["series"][other - 1]["chosen"]


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", SARCOMAS)
def test_real_pairs_load_on_the_reference_grid_with_the_reference_values(reference_data, patient):
    folder = reference_data / "sts" / patient
    study = load_study(folder, pseudonym_key=KEY)
    reference = read_nifti(folder / "nifti" / "PET_image.nii.gz", "g/ml")
    np.testing.assert_allclose(study.pet.affine, reference.affine, atol=1e-5, rtol=1e-6)
    np.testing.assert_allclose(study.pet.array, reference.array, atol=1e-5)
    assert study.ct is not None
    assert check(study, "chest_covered").level is CheckStatus.FAIL
    assert check(study, "pet_extent").level is CheckStatus.FAIL
    assert check(study, "ct_present").level is check(study, "tracer").level is CheckStatus.PASS


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", SARCOMAS)
def test_real_lesions_measure_as_published(reference_data, patient):
    folder = reference_data / "sts" / patient
    study = load_study(folder, pseudonym_key=KEY)
    with (reference_data / "sts" / "expected_pet.csv").open() as file:
        expected = next(row for row in csv.DictReader(file) if row["patient"] == patient)
    mask = read_mask(folder / "nifti" / "PET_mask.nii.gz", study.pet).labels
    measured = quantify(study.pet, mask, method="reference mask")
    assert measured.suv_max == pytest.approx(float(expected["SUVmax"]), rel=1e-4)
    assert measured.suv_peak == pytest.approx(float(expected["SUVpeak_global"]), rel=1e-4)
    assert measured.tmtv_ml == pytest.approx(float(expected["MTV_ml"]), rel=1e-4)
    assert measured.tlg == pytest.approx(float(expected["TLG"]), rel=1e-4)
    assert measured.tlg / measured.tmtv_ml == pytest.approx(float(expected["SUVmean"]), rel=1e-4)


@pytest.mark.reference_data
def test_a_single_slice_of_a_whole_body_pet_is_refused(reference_data):
    with pytest.raises(SliceGeometryError, match="slices of the series is 1"):
        load_study(reference_data / "small" / "pt_siemens1094_wb_bqml.dcm", pseudonym_key=KEY)
