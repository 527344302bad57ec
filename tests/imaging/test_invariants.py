"""What must hold for any geometry, any dose and any clock, tried on random cases (always the same ones)."""

from __future__ import annotations

import datetime as dt
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpet.imaging.dicom.geometry import slice_geometry
from fedpet.imaging.loading import load_study
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.volume import Volume

HALF_LIFE_S = 6586.2
TRIED = settings(max_examples=80, derandomize=True, deadline=None, database=None)
FEW = settings(TRIED, max_examples=8)


def floats(low, high):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def rotations(draw):
    """Rotation matrices, from a quaternion."""
    a, b, c, d = (draw(floats(-1, 1)) for _ in range(4))
    length = (a * a + b * b + c * c + d * d) ** 0.5
    a, b, c, d = (1.0, 0.0, 0.0, 0.0) if length < 0.1 else (a / length, b / length, c / length, d / length)
    return np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )


@st.composite
def affines(draw):
    """Oblique and sheared: columns and rows at right angles, the slices' step up to 30 degrees from their normal."""
    axes = draw(rotations())
    spacing = [draw(floats(0.4, 6.0)) for _ in range(3)]
    step = axes[:, 2] + axes[:, 0] * draw(floats(-0.4, 0.4)) + axes[:, 1] * draw(floats(-0.4, 0.4))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([axes[:, 0] * spacing[0], axes[:, 1] * spacing[1], step * spacing[2]], axis=1)
    affine[:3, 3] = [draw(floats(-900, 900)) for _ in range(3)]
    return affine


def centres(shape):
    """(n, 3) voxel indices of a whole grid."""
    return np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3).astype(float)


@TRIED
@given(affines(), st.tuples(*[floats(-50, 600)] * 3))
def test_to_index_undoes_to_mm(affine, index):
    volume = Volume(np.zeros((2, 3, 4), np.uint8), affine, "1")
    mm = volume.to_mm(np.array(index))
    np.testing.assert_allclose(mm, (affine @ [index[2], index[1], index[0], 1])[:3], atol=1e-8)
    np.testing.assert_allclose(volume.to_index(mm), index, atol=1e-6)


@TRIED
@given(affines(), st.integers(5, 12), st.randoms(use_true_random=False))
def test_slices_in_any_order_give_back_their_affine(dicom, affine, count, random):
    slices = dicom.pet(np.ones((count, 3, 4)))
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for k, one in enumerate(slices):
        one.ImageOrientationPatient = [f"{value:.12f}" for value in (*axes[:, 0], *axes[:, 1])]
        one.ImagePositionPatient = [f"{value:.9f}" for value in affine[:3, 3] + k * affine[:3, 2]]
        one.PixelSpacing = [float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)]
    places = list(range(count))
    random.shuffle(places)
    geometry = slice_geometry([slices[place] for place in places])
    assert [places[index] for index in geometry.order] == list(range(count))
    assert geometry.shape == (count, 3, 4)
    np.testing.assert_allclose(geometry.affine, affine, atol=1e-5)


@TRIED
@given(affines(), rotations(), floats(0.5, 3.0))
def test_resampling_any_affine_onto_any_other_reproduces_a_linear_field(affine, axes, spacing):
    source = Volume(np.zeros((9, 10, 11), np.float32), affine, "1")
    field = (3 + source.to_mm(centres(source.shape)) @ (0.5, -0.25, 0.125)).reshape(source.shape)
    volume = source.like(field.astype(np.float32), "1")
    target = np.eye(4)
    target[:3, :3] = axes * spacing
    target[:3, 3] = source.to_mm(np.array([4.0, 4.5, 5.0])) - target[:3, :3] @ (2, 2, 2)
    grid = Grid((5, 5, 5), target)
    result = resample(volume, grid, outside=np.nan).array
    places = Volume(result, target, "1").to_mm(centres(result.shape))
    inside = ((source.to_index(places) >= 0) & (source.to_index(places) <= (8, 9, 10))).all(axis=1)
    expected = 3 + places @ (0.5, -0.25, 0.125)
    assert inside.any()
    np.testing.assert_allclose(result.ravel()[inside], expected[inside], atol=2e-3)


@st.composite
def scans(draw):
    """Dose (Bq), weight (kg), uptake (s), start of the scan at any time of the day."""
    start = dt.datetime(2024, 3, 5) + dt.timedelta(seconds=draw(st.integers(0, 86_399)))  # noqa: DTZ001  local times
    return draw(floats(50e6, 900e6)), draw(floats(30, 160)), draw(st.integers(20 * 60, 200 * 60)), start


def headers(dicom, scan, *, correction="START", delays_s=(0,) * 5, frame_s=None):
    """A PET of five slices acquired `delays_s` after the start of the scan, in frames of `frame_s`."""
    dose, weight, uptake, start = scan
    injected = start - dt.timedelta(seconds=uptake)
    drug = dicom.tracer(
        RadionuclideTotalDose=f"{dose:.10g}",
        RadiopharmaceuticalStartTime=injected.strftime("%H%M%S"),
        RadionuclideHalfLife=str(HALF_LIFE_S),
    )
    slices = dicom.pet(np.ones((5, 2, 2)), drug=drug, DecayCorrection=correction, PatientWeight=f"{weight:.10g}")
    for one, delay in zip(slices, delays_s, strict=True):
        at = start + dt.timedelta(seconds=delay)
        one.StudyDate = one.SeriesDate = start.strftime("%Y%m%d")
        one.SeriesTime, one.AcquisitionTime = start.strftime("%H%M%S"), at.strftime("%H%M%S")
        one.AcquisitionDate = at.strftime("%Y%m%d")
        if correction == "NONE":
            one.CorrectedImage = ["NORM", "ATTN", "SCAT"]
        if frame_s is not None:
            one.ActualFrameDuration = str(frame_s * 1000)
    return slices


def factors(slices):
    """SUV per unit of activity concentration, slice by slice."""
    return np.array(calibrate_suv(slices).factors)


@TRIED
@given(scans(), floats(0.3, 3.0), floats(0.5, 1.5))
def test_suv_goes_with_weight_and_against_dose(dicom, scan, heavier, more):
    dose, weight, uptake, start = scan
    one = factors(headers(dicom, scan))
    heavy = factors(headers(dicom, (dose, min(weight * heavier, 400.0), uptake, start)))
    strong = factors(headers(dicom, (dose * more, weight, uptake, start)))
    np.testing.assert_allclose(heavy / one, min(weight * heavier, 400.0) / weight, rtol=1e-8)
    np.testing.assert_allclose(strong / one, 1 / more, rtol=1e-8)


@TRIED
@given(scans(), st.lists(st.integers(0, 1500), min_size=4, max_size=4), st.integers(60, 600))
def test_one_activity_has_one_suv_whatever_its_decay_correction(dicom, scan, delays, frame):
    """What START, ADMIN and NONE images of the same tissue hold follows from physics alone, also across midnight."""
    dose, weight, uptake, _ = scan
    rate = log(2) / HALF_LIFE_S
    delays = (0, *delays)
    at_injection = 2.5 * dose / (weight * 1000)  # Bq/ml, of SUV 2.5
    at_start = at_injection * exp(-rate * uptake)
    measured = [at_start * exp(-rate * delay) * (1 - exp(-rate * frame)) / (rate * frame) for delay in delays]
    images = {"ADMIN": at_injection, "START": at_start, "NONE": np.array(measured)}
    for correction, activity in images.items():
        slices = headers(dicom, scan, correction=correction, delays_s=delays, frame_s=frame)
        np.testing.assert_allclose(factors(slices) * activity, 2.5, rtol=1e-6, err_msg=correction)


@pytest.fixture(scope="module")
def suv():
    return np.random.default_rng(11).uniform(0.2, 5.0, (6, 5, 4))


@pytest.fixture(scope="module")
def loaded(dicom, suv, tmp_path_factory):
    return load_study(dicom.save(dicom.pet(suv), tmp_path_factory.mktemp("ordered")), pseudonym_key=b"k")


@FEW
@given(st.permutations(range(6)), st.booleans())
def test_any_order_of_the_files_gives_the_same_volume(dicom, suv, loaded, tmp_path_factory, order, archived):
    slices = dicom.pet(suv)
    contents = [dicom.to_bytes(slices[place]) for place in order]
    folder = tmp_path_factory.mktemp("shuffled")
    if archived:
        source = dicom.zipped([(f"{k}.dcm", content) for k, content in enumerate(contents)], folder / "study.zip")
    else:
        source = folder
        for k, content in enumerate(contents):
            (folder / f"{k}.dcm").write_bytes(content)
    study = load_study(source, pseudonym_key=b"k")
    np.testing.assert_array_equal(study.pet.array, loaded.pet.array)
    np.testing.assert_array_equal(study.pet.affine, loaded.pet.affine)
    assert study.source_uids == loaded.source_uids
