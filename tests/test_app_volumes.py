from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.viewer.description import read_description
from app.viewer.volumes import axis_aligned, store_answer, store_images
from imaging.quantities import quantify
from imaging.volume import Volume

_spec = importlib.util.spec_from_file_location("app_cases", Path(__file__).with_name("app_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


def _store(result, folder):
    store_images(result.study, folder)
    store_answer(result, folder)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    result = cases.make_case(folder)
    _store(result, folder)
    return result, folder, read_description(folder)


def _read(folder, description, name):
    entry = next(entry for entry in description["volumes"] if entry["name"] == name)
    if entry["dtype"] == "runs":
        return _from_runs(np.fromfile(folder / f"{name}.bin", "<u4").reshape(-1, 3), entry["shape"]), entry
    raw = np.fromfile(folder / f"{name}.bin", dtype=np.dtype(entry["dtype"]).newbyteorder("<"))
    return raw.reshape(entry["shape"]).astype(float) * entry["scale"], entry


def _from_runs(runs, shape):
    """Every run of labels written out, voxel by voxel."""
    flat = np.zeros(np.prod(shape), np.uint16)
    for first, count, label in runs:
        assert not flat[first : first + count].any()
        flat[first : first + count] = label
    return flat.reshape(shape)


def test_every_voxel_of_the_pet_is_kept_to_half_a_step_of_its_scale(stored):
    result, folder, description = stored
    suv, entry = _read(folder, description, "pet")
    assert entry["scale"] == pytest.approx(12.0 / 65535)
    assert np.abs(suv - result.study.pet.array).max() <= entry["scale"] / 2 * 1.001
    assert entry["origin"] == list(cases.PET_ORIGIN)
    assert entry["spacing"] == list(cases.PET_SPACING)


def test_ct_and_labels_are_stored_exactly(stored):
    result, folder, description = stored
    assert np.array_equal(_read(folder, description, "ct")[0], result.study.ct.array)
    assert np.array_equal(_read(folder, description, "lesions")[0], result.prediction.lesion_labels.array)


def test_all_hot_components_are_stored_where_the_answer_knows_them(tmp_path):
    result = cases.make_case(tmp_path)
    hot = result.prediction.lesion_labels.array.copy()
    hot[0, 0, 0], hot[-1, -1, -4:], hot[3:6, 4, :] = 300, 2, 7
    components = result.prediction.lesion_labels.like(hot, "label")
    _store(replace(result, prediction=replace(result.prediction, component_labels=components)), tmp_path)
    labels, entry = _read(tmp_path, read_description(tmp_path), "lesions")
    assert np.array_equal(labels, hot)
    assert entry["highest"] == 300
    assert entry["bytes"] == (tmp_path / "lesions.bin").stat().st_size


def test_labels_that_fill_a_volume_or_are_none_are_stored(tmp_path):
    result = cases.make_case(tmp_path)
    for value in (0, 1):
        labels = result.prediction.lesion_labels
        full = labels.like(np.full(labels.shape, value, np.uint16), "label")
        quantities = quantify(result.study.pet, full, method="suv4")
        prediction = replace(result.prediction, lesion_labels=full, quantities=quantities)
        _store(replace(result, prediction=prediction), tmp_path)
        assert np.array_equal(_read(tmp_path, read_description(tmp_path), "lesions")[0], full.array)


def test_the_description_bears_a_stamp_that_changes_with_the_volumes(tmp_path):
    result = cases.make_case(tmp_path)
    store_images(result.study, tmp_path)
    first = read_description(tmp_path)["stamp"]
    store_answer(result, tmp_path)
    assert read_description(tmp_path)["stamp"] != first


def test_saliency_keeps_its_sign_and_lies_between_minus_one_and_one(stored):
    result, folder, description = stored
    shown, _ = _read(folder, description, "saliency")
    assert np.array_equal(np.sign(shown), np.sign(result.explanation.attribution.array))
    assert shown.max() == pytest.approx(1.0)
    assert shown[0, 0, 0] == pytest.approx(
        -3.0 / cases.LESION_SUV, abs=1e-3
    )  # the 99.9th percentile is the lesion's SUV


def test_an_unreliable_map_is_not_stored(tmp_path):
    _store(cases.make_case(tmp_path, reliable=False), tmp_path)
    assert not (tmp_path / "saliency.bin").exists()
    assert "saliency" not in {entry["name"] for entry in read_description(tmp_path)["volumes"]}


def test_without_a_ct_the_other_volumes_are_stored(tmp_path):
    result = cases.make_case(tmp_path)
    _store(replace(result, study=replace(result.study, ct=None)), tmp_path)
    assert {entry["name"] for entry in read_description(tmp_path)["volumes"]} == {"pet", "lesions", "saliency"}


def test_the_viewer_opens_on_the_largest_lesion(stored):
    _, _, description = stored
    z, y, x = cases.HOT
    origin, spacing = cases.PET_ORIGIN, cases.PET_SPACING
    expected = [origin[axis] + spacing[axis] * index for axis, index in enumerate((x, y, z))]
    assert description["focus"] == pytest.approx(expected)


def test_the_viewer_opens_inside_of_a_hollow_lesion(tmp_path):
    result = cases.make_case(tmp_path)
    labels = result.prediction.lesion_labels
    hollow = labels.like(labels.array.copy(), "label")
    hollow.array[cases.HOT] = 0
    _store(replace(result, prediction=replace(result.prediction, lesion_labels=hollow)), tmp_path)
    place = np.rint(hollow.to_index(np.array(read_description(tmp_path)["focus"]))).astype(int)
    assert hollow.array[tuple(place)] == 1
    assert np.linalg.norm(hollow.to_mm(place) - hollow.to_mm(np.array(cases.HOT))) <= max(cases.PET_SPACING)


@pytest.mark.parametrize("frame", [0, 6, 17])
def test_a_hot_voxel_is_projected_where_the_viewer_looks_for_it(stored, frame):
    _, folder, description = stored
    mip = description["mip"]
    frames = np.fromfile(folder / "mip.bin", np.uint8).reshape(mip["frames"], mip["height"], mip["width"])
    row, column = np.argwhere(frames[frame] == frames[frame].max()).mean(axis=0)
    x, y, z = description["focus"]
    angle = 2 * np.pi * frame / mip["frames"]
    across = (x - mip["centre"][0]) * np.cos(angle) + (y - mip["centre"][1]) * np.sin(angle)
    assert (column - (mip["width"] - 1) / 2) * mip["spacing"] == pytest.approx(across, abs=1.5 * mip["spacing"])
    assert mip["top"] - row * mip["spacing"] == pytest.approx(z, abs=1.5 * mip["spacing"])


def test_the_body_box_leaves_the_air_around_the_patient_out(tmp_path):
    result = cases.make_case(tmp_path)
    suv = np.zeros((60, 60, 60), np.float32)
    suv[20:30, 25:41, 28:44] = 1.0
    pet = Volume(suv, cases.grid_affine((5.0, 5.0, 5.0), (0.0, 0.0, 0.0)), "g/ml")
    labels = pet.like(np.zeros(pet.shape, np.uint16), "label")
    quantities = quantify(pet, labels, method="suv4")
    prediction = replace(result.prediction, lesion_labels=labels, quantities=quantities)
    _store(replace(result, study=replace(result.study, pet=pet), prediction=prediction, explanation=None), tmp_path)
    low, high = read_description(tmp_path)["body"]
    assert low == pytest.approx([140 - 20, 125 - 20, 100 - 20])
    assert high == pytest.approx([215 + 20, 200 + 20, 145 + 20])


def _turned(order, flips):
    """A volume whose image axes are the patient's axes in another order and direction."""
    array = np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for image_axis, (patient_axis, flip) in enumerate(zip(order, flips, strict=True)):
        affine[patient_axis, image_axis] = (2.0 + image_axis) * flip
    affine[:3, 3] = (10.0, -20.0, 30.0)
    return Volume(array, affine, "1")


@pytest.mark.parametrize(
    ("order", "flips"),
    [((0, 1, 2), (1, 1, -1)), ((1, 0, 2), (-1, 1, 1)), ((2, 0, 1), (1, -1, -1)), ((0, 2, 1), (-1, -1, 1))],
)
def test_turned_volumes_keep_every_value_at_its_place(order, flips):
    source = _turned(order, flips)
    aligned = axis_aligned(source, outside=0.0)
    assert np.all(np.diag(aligned.affine)[:3] > 0)
    assert np.allclose(aligned.affine[:3, :3], np.diag(np.diag(aligned.affine)[:3]))
    for index in np.ndindex(source.shape):
        mm = source.affine @ [index[2], index[1], index[0], 1.0]
        x, y, z = np.rint((mm[:3] - aligned.affine[:3, 3]) / np.diag(aligned.affine)[:3]).astype(int)
        assert aligned.array[z, y, x] == source.array[index]


def test_an_oblique_volume_is_resampled_onto_the_patient_axes():
    tilt = np.deg2rad(12.0)
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * 2.0
    affine[:3, 3] = (-30.0, -30.0, -30.0)
    z, y, x = np.indices((31, 31, 31))
    blob = np.exp(-((z - 18) ** 2 + (y - 12) ** 2 + (x - 16) ** 2) / 18.0).astype(np.float32)
    source = Volume(blob, affine, "1")
    aligned = axis_aligned(source, outside=0.0)
    assert np.allclose(aligned.affine[:3, :3], np.eye(3) * 2.0)
    weights = aligned.array / aligned.array.sum()
    centre = [float((weights * place).sum()) for place in np.indices(aligned.shape)]
    assert aligned.to_mm(np.array(centre)) == pytest.approx(source.to_mm(np.array([18.0, 12.0, 16.0])), abs=0.1)


def test_a_tilted_gantry_keeps_a_point_at_its_place():
    """Slices shifted along the patient: columns and rows lie along the patient's axes, the slice axis does not."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[1, 2] = 3.0 * np.tan(np.deg2rad(15.0))
    affine[:3, 3] = (-40.0, -50.0, -60.0)
    z, y, x = np.indices((40, 40, 40))
    source = Volume(np.exp(-((z - 22) ** 2 + (y - 12) ** 2 + (x - 25) ** 2) / 18.0).astype(np.float32), affine, "1")
    aligned = axis_aligned(source, outside=0.0)
    weights = aligned.array / aligned.array.sum()
    centre = np.array([float((weights * place).sum()) for place in np.indices(aligned.shape)])
    expected = [-40 + 2 * 25, -50 + 2 * 12 + 22 * 3 * np.tan(np.deg2rad(15.0)), -60 + 3 * 22]
    assert aligned.to_mm(centre) == pytest.approx(expected, abs=0.1)


def test_oblique_labels_stay_labels():
    tilt = np.deg2rad(20.0)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    labels = np.zeros((6, 20, 20), np.uint16)
    labels[1:5, 4:10, 4:10], labels[1:5, 12:18, 12:18] = 3, 7
    aligned = axis_aligned(Volume(labels, affine, "label"), outside=0.0)
    assert set(np.unique(aligned.array)) == {0, 3, 7}
    assert (aligned.array == 3).sum() == pytest.approx((labels == 3).sum(), rel=0.1)
