from __future__ import annotations

import numpy as np
import pytest

from fedpet.imaging.resampling import Grid, align_to_patient_axes, resample
from fedpet.imaging.volume import Volume


def affine(axes, origin):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.array(axes, float).T, origin
    return matrix


def linear_field(grid):
    """A volume whose value is a known linear function of the position in mm, so that interpolation is exact."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    place = Volume(np.zeros(grid.shape), grid.affine, "1").to_mm(index)
    return Volume((10 + place @ (0.5, -0.25, 0.125)).astype(np.float32), grid.affine, "1")


SOURCE = Grid((20, 24, 22), affine([(2, 0, 0), (0, 2.5, 0), (0, 0, 3)], (-20, -30, -10)))
ROTATION = affine([(1.8, 0.6, 0), (-0.6, 1.8, 0.2), (0, 0.1, 2.2)], (-5, -18, 5))
TILTED = affine([(2, 0, 0), (0, 2.5, 0), (0, 0.7, 3)], (-20, -30, -10))


@pytest.mark.parametrize("target", [ROTATION, affine([(0, 2, 0), (0, 0, 2), (2, 0, 0)], (-10, -10, 0))])
def test_linear_interpolation_reproduces_a_linear_field_on_any_axes(target):
    grid = Grid((6, 5, 4), target)
    np.testing.assert_allclose(
        resample(linear_field(SOURCE), grid, outside=np.nan).array, linear_field(grid).array, atol=1e-4
    )


def test_a_sheared_source_is_resampled():
    source = Grid((20, 24, 22), TILTED)
    grid = Grid((6, 5, 4), affine([(2, 0, 0), (0, 2, 0), (0, 0, 2)], (-10, 0, 5)))
    np.testing.assert_allclose(
        resample(linear_field(source), grid, outside=np.nan).array, linear_field(grid).array, atol=1e-4
    )


def test_outside_integers_and_types():
    volume = Volume(np.full((4, 4, 4), 100, np.int16), np.eye(4), "HU")
    wide = Grid((4, 4, 8), affine([(1, 0, 0), (0, 1, 0), (0, 0, 1)], (-2, 0, 0)))
    result = resample(volume, wide, outside=-1024)
    assert result.array.dtype == np.int16
    assert result.array[0, 0].tolist() == [-1024, -1024, 100, 100, 100, 100, -1024, -1024]


def test_labels_are_never_mixed():
    labels = np.random.default_rng(0).choice(np.array([0, 3, 9], np.uint16), (8, 8, 8))
    fine = Grid((15, 15, 15), affine([(0.4, 0, 0), (0, 0.4, 0), (0, 0, 0.4)], (0, 0, 0)))
    result = resample(Volume(labels, np.eye(4), "label"), fine, interpolation="nearest", outside=0)
    assert set(np.unique(result.array)) == {0, 3, 9}
    assert result.array[5, 10, 0] == labels[2, 4, 0]


def test_the_same_grid_gives_the_same_image():
    volume = linear_field(SOURCE)
    assert resample(volume, Grid.of(volume), outside=0) is volume


def test_grid_around_holds_every_voxel_centre_along_the_patients_axes():
    volume = Volume(np.zeros((5, 6, 7)), ROTATION, "1")
    grid = Grid.around(volume, spacing_mm=2.0)
    np.testing.assert_allclose(grid.affine[:3, :3], np.eye(3) * 2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), -1).reshape(-1, 3)
    places = Volume(np.zeros(grid.shape), grid.affine, "1").to_index(volume.to_mm(index))
    assert places.min() > -1e-9
    assert (places < np.array(grid.shape)).all()


def test_grids_match_within_a_tolerance_at_their_far_end():
    shifted = SOURCE.affine.copy()
    shifted[0, 0] += 1e-4  # 2 um at the last of 22 columns
    assert SOURCE.matches(Grid(SOURCE.shape, shifted), tolerance_mm=0.003)
    assert not SOURCE.matches(Grid(SOURCE.shape, shifted), tolerance_mm=0.001)
    assert not SOURCE.matches(Grid((20, 24, 21), SOURCE.affine))


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint8, bool])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("steps", [(0.7, 0.6, 1.3), (2.1, -1.7, 0.5), (-0.9, 3.0, -2.2)])
def test_parallel_axes_give_the_numbers_of_the_general_way(kind, interpolation, steps):
    """The same image with rows and columns exchanged is not parallel to the grid, and is left to SimpleITK."""
    values = np.random.default_rng(4).integers(0, 2 if kind is bool else 200, (9, 11, 12)) - (kind is np.int16) * 100
    volume = Volume(values.astype(kind), affine([(1, 0, 0), (0, 1, 0), (0, 0, 1)], (0, 0, 0)), "1")
    exchanged = Volume(
        np.ascontiguousarray(volume.array.transpose(0, 2, 1)), volume.affine[:, [1, 0, 2, 3]], volume.unit
    )
    start = [-1.23 if step > 0 else 10.77 for step in steps]
    grid = Grid((8, 9, 10), affine(np.diag(steps), start))
    fast = resample(volume, grid, interpolation=interpolation, outside=1)
    slow = resample(exchanged, grid, interpolation=interpolation, outside=1)
    assert fast.array.dtype == slow.array.dtype == np.dtype(kind)
    np.testing.assert_allclose(fast.array.astype(float), slow.array.astype(float), atol=1e-4)
    assert (fast.array != 1).any()


def test_whole_numbers_are_rounded_not_cut_off():
    volume = Volume(np.array([[[-4, 4]] * 2] * 2, np.int16), np.eye(4), "HU")
    quarters = affine([(1 / 4, 0, 0), (0, 1, 0), (0, 0, 1)], (0, 0, 0))
    turned = Volume(np.ascontiguousarray(volume.array.transpose(0, 2, 1)), np.eye(4)[:, [1, 0, 2, 3]], "HU")
    for each in (volume, turned):
        assert resample(each, Grid((1, 1, 5), quarters), outside=0).array.ravel().tolist() == [-4, -2, 0, 2, 4]
        thirds = affine([(1 / 3, 0, 0), (0, 1, 0), (0, 0, 1)], (0, 0, 0))
        assert resample(each, Grid((1, 1, 4), thirds), outside=0).array.ravel().tolist() == [-4, -1, 1, 4]


def test_the_image_reaches_half_a_voxel_beyond_its_centres():
    volume = Volume(np.array([[[5.0, 7.0]]], np.float32), np.eye(4), "1")
    grid = Grid((1, 1, 6), affine([(0.5, 0, 0), (0, 1, 0), (0, 0, 1)], (-0.75, 0, 0)))
    assert resample(volume, grid, outside=0).array.ravel().tolist() == [0, 5, 5.5, 6.5, 7, 0]


def test_a_grid_beside_the_image_is_outside():
    volume = Volume(np.ones((3, 3, 3), np.float32), np.eye(4), "1")
    away = Grid((2, 2, 2), affine([(1, 0, 0), (0, 1, 0), (0, 0, 1)], (50, 0, 0)))
    assert (resample(volume, away, outside=-7).array == -7).all()


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
    aligned = align_to_patient_axes(source, outside=0.0)
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
    aligned = align_to_patient_axes(source, outside=0.0)
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
    aligned = align_to_patient_axes(source, outside=0.0)
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
    aligned = align_to_patient_axes(Volume(labels, affine, "label"), outside=0.0)
    assert set(np.unique(aligned.array)) == {0, 3, 7}
    assert (aligned.array == 3).sum() == pytest.approx((labels == 3).sum(), rel=0.1)
