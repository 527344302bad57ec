from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.viewer.description import read_description
from app.viewer.volumes import store_images, store_prediction
from explain.figures.panels import colour_limit
from fedpet.imaging.lesions.quantities import quantify
from tests.support import case_files as cases
from tests.support.header_checks_only import HeaderChecksOnly
from tests.support.planted_gates import PLANTED_GATES


def _store(result, folder):
    store_images(result.study, folder)
    store_prediction(result, folder)


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


def _stamps(folder):
    described = read_description(folder)
    return described["stamp"], {one["name"]: one["stamp"] for one in described["volumes"]}


def test_a_volume_bears_a_stamp_that_changes_with_it_and_the_whole_that_of_its_images(tmp_path):
    """So that a viewer loads anew what a correction changed, and never the images below it."""
    result = cases.make_case(tmp_path)
    store_images(result.study, tmp_path)
    store_prediction(result, tmp_path)
    whole, volumes = _stamps(tmp_path)
    store_prediction(result, tmp_path)
    again, later = _stamps(tmp_path)
    assert again == whole
    assert later["pet"] == volumes["pet"]
    assert later["lesions"] != volumes["lesions"]
    store_images(result.study, tmp_path)
    assert _stamps(tmp_path)[0] != whole


def test_saliency_keeps_its_sign_and_lies_between_minus_one_and_one(stored):
    result, folder, description = stored
    shown, _ = _read(folder, description, "saliency")
    assert np.array_equal(np.sign(shown), np.sign(result.explanation.attribution.array))
    assert shown.max() == pytest.approx(1.0)
    assert shown[0, 0, 0] == pytest.approx(-np.sqrt(3.0 / colour_limit(result.explanation.attribution)), abs=1e-3)


def test_a_map_of_one_small_lesion_is_as_strong_as_any(tmp_path):
    """Nearly all of its voxels are zero, so no share of all voxels may scale it."""
    case = cases.make_case(tmp_path)
    sparse = np.zeros_like(case.explanation.attribution.array)
    sparse[2, 2, 2:4] = 0.004, -0.002
    attribution = case.explanation.attribution.like(sparse, case.explanation.attribution.unit)
    _store(replace(case, explanation=replace(case.explanation, attribution=attribution)), tmp_path)
    shown, _ = _read(tmp_path, read_description(tmp_path), "saliency")
    assert (shown.max(), shown.min()) == (pytest.approx(1.0), pytest.approx(-np.sqrt(0.5), abs=0.01))


@pytest.mark.parametrize("name", PLANTED_GATES)
def test_an_unreliable_map_is_not_stored(tmp_path, name):
    case, gate = cases.make_case(tmp_path), PLANTED_GATES[name]()
    assert (gate.name, gate.passed) == (name, False)
    _store(replace(case, explanation=replace(case.explanation, gates=(*case.explanation.gates, gate))), tmp_path)
    assert not (tmp_path / "saliency.bin").exists()
    assert "saliency" not in {entry["name"] for entry in read_description(tmp_path)["volumes"]}


def test_without_a_ct_the_other_volumes_are_stored(tmp_path):
    result = cases.make_case(tmp_path)
    _store(replace(result, analysis=HeaderChecksOnly(replace(result.study, ct=None))), tmp_path)
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
