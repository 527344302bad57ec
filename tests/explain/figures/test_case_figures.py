"""Figures of a patient made of formulas: a body of SUV 1 with one hot spot in front, on the left, above the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from explain.explanation import Explanation, SanityCheckResult
from explain.figures.case_figures import fused_slices, heaviest_point, mip_with_lesions, saliency_figure
from explain.figures.drawing import LESION_COLOURS, WARNING
from explain.figures.panels import PanelStyle
from explain.figures.projections import AXIAL, CORONAL, SAGITTAL, BoundingBox, Frame, body_box
from fedpet.core.messages import Message
from fedpet.imaging.study import PetCtStudy, PetFacts
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

SPOT = np.array([90.0, -40.0, 150.0])  # left, front, towards the head; LPS mm
RADIUS = 20.0
STRIP = 48  # pixels of the legend
FACTS = PetFacts(
    units="BQML",
    decay_correction="START",
    suv_factor_min=1.0,
    suv_factor_max=1.0,
    reference_time_source="series_time",
    reference_time=None,
    injection_time=None,
    uptake_min=60.0,
    dose_bq=2e8,
    half_life_s=6586.2,
    weight_kg=70.0,
    height_m=1.7,
    sex="F",
    radiopharmaceutical="FDG",
    corrected_image=(),
    manufacturer="",
    model="",
)


def _suv(mm: NDArray[np.float64]) -> NDArray[np.float32]:
    body = ((mm / [150.0, 100.0, 380.0]) ** 4).sum(-1) < 1
    hot = np.linalg.norm(mm - SPOT, axis=-1) < RADIUS
    return np.where(hot, 9.0, np.where(body, 1.0, 0.0)).astype(np.float32)


def _volume(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Volume:
    empty = Volume(np.zeros(shape, np.float32), affine, "g/ml")
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).astype(float)
    return empty.like(_suv(empty.to_mm(index)), "g/ml")


def _study(*, turned: bool = False, ct: bool = True) -> tuple[PetCtStudy, Volume]:
    """The study and its labels (the hot spot is lesion 1); `turned`: on a grid tilted and flipped against the body."""
    shape, step = (110, 70, 90), np.diag([5.0, 5.0, 8.0])
    if turned:
        a = np.deg2rad(25.0)
        tilt = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        step, shape = tilt @ np.diag([-5.0, 5.0, -8.0]), (130, 70, 140)
    affine = np.eye(4)
    affine[:3, :3] = step
    affine[:3, 3] = -step @ ((np.array(shape[::-1]) - 1) / 2)
    pet = _volume(affine, shape)
    hu = pet.like(np.where(pet.array > 0, 40, -1000).astype(np.int16), "HU")
    labels = pet.like((pet.array > 5).astype(np.uint16), "label")
    return PetCtStudy("p", pet, hu if ct else None, FACTS, (), ()), labels


def _pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, float) / 255.0


def _like(image: NDArray[np.float64], colour: tuple[float, float, float], tolerance: float = 0.12) -> NDArray[np.bool_]:
    return np.abs(image - colour).max(-1) < tolerance


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(x, y) of the middle of the mask's extent."""
    return np.array([(where.min() + where.max()) / 2 for where in np.nonzero(mask)[::-1]])


def test_left_hot_spot_is_on_the_right_of_the_axial_image_and_in_front():
    study, _ = _study()
    image = _pixels(fused_slices(study, None, (0.0, 0.0, float(SPOT[2])), width=1200))[:-STRIP]
    width_mm, height_mm = body_box(study.pet).extent(AXIAL)
    scale = image.shape[0] / height_mm  # the axial panel is the first, and as high as the figure
    panel = image[:, : round(width_mm * scale)]
    x, y = _centre((panel[..., 0] > 0.8) & (panel[..., 2] < 0.3))
    np.testing.assert_allclose(x, panel.shape[1] / 2 + SPOT[0] * scale, atol=5 * scale)
    np.testing.assert_allclose(y, panel.shape[0] / 2 + SPOT[1] * scale, atol=5 * scale)


@pytest.mark.parametrize("turned", [False, True])
def test_projections_stand_upright_with_the_contour_on_the_lesion(turned):
    study, labels = _study(turned=turned)
    height = 700
    image = _pixels(mip_with_lesions(study, labels, height=height))
    box = body_box(study.pet)
    scale = (height - STRIP) / box.extent(CORONAL)[1]
    front, left = Frame(CORONAL, box, scale), Frame(SAGITTAL, box, scale)
    for frame, start in ((front, 0), (left, front.size[0] + 6)):
        x, y = frame.to_pixel(SPOT)
        patch = np.s_[
            int(y - 1.6 * RADIUS * scale) : int(y + 1.6 * RADIUS * scale),
            int(start + x - 1.6 * RADIUS * scale) : int(start + x + 1.6 * RADIUS * scale),
        ]
        ring = _like(image[patch], LESION_COLOURS[0])
        centre = _centre(ring)
        assert ring.sum() > 40
        np.testing.assert_allclose(centre, 1.6 * RADIUS * scale, atol=0.35 * RADIUS * scale)
        rows, columns = np.nonzero(ring)
        distance = np.hypot(columns - 1.6 * RADIUS * scale, rows - 1.6 * RADIUS * scale)
        assert abs(np.median(distance) / (RADIUS * scale) - 1.0) < 0.25
    assert front.to_pixel(SPOT)[0] > front.size[0] / 2  # the patient's left is on the right
    assert left.to_pixel(SPOT)[0] < left.size[0] / 2  # the front is on the left


def test_a_tilted_and_flipped_grid_gives_the_same_picture():
    straight, labels = _study()
    turned, turned_labels = _study(turned=True)
    for study in (straight, turned):
        box = body_box(study.pet)
        np.testing.assert_allclose((box.low + box.high)[:2] / 2, 0.0, atol=8.0)
    position = (float(SPOT[0]), float(SPOT[1]), float(SPOT[2]))
    frames = [Frame(CORONAL, BoundingBox(np.full(3, -200.0), np.full(3, 200.0)), 1.0) for _ in range(2)]
    slices = [
        frame.slice(study.pet, np.array(position), outside=0.0)
        for frame, study in zip(frames, (straight, turned), strict=True)
    ]
    assert np.abs(slices[0] - slices[1]).mean() < 0.05
    assert np.corrcoef(slices[0].ravel(), slices[1].ravel())[0, 1] > 0.95
    assert fused_slices(turned, turned_labels, position, width=900).size[0] == 900
    assert fused_slices(straight, labels, position, width=900).size[0] == 900


def test_pet_without_ct_is_shown_in_inverted_grey():
    study, labels = _study(ct=False)
    image = _pixels(fused_slices(study, labels, (0.0, 0.0, 0.0), width=900))
    panel = image[:-STRIP, : image.shape[1] // 3]
    np.testing.assert_allclose(panel[panel.shape[0] // 3, panel.shape[1] // 2], 0.9, atol=0.01)  # SUV 1 of 10
    assert np.median(image) >= 0.9


def test_lesion_outline_is_only_where_the_plane_cuts_the_lesion():
    study, labels = _study()
    through = _pixels(fused_slices(study, labels, (0.0, 0.0, float(SPOT[2])), width=900))
    below = _pixels(fused_slices(study, labels, (0.0, 0.0, -200.0), width=900))
    colour = LESION_COLOURS[0]
    assert _like(through[:-STRIP], colour, 0.05).sum() > 100
    assert _like(below[:-STRIP], colour, 0.05).sum() == 0


def _explanation(study: PetCtStudy, *, passed: bool) -> Explanation:
    sign = np.where(np.arange(study.pet.shape[2]) >= study.pet.shape[2] / 2, 1.0, -1.0)
    attribution = study.pet.like(((study.pet.array > 0.5) * sign).astype(np.float32), "1")
    return Explanation(
        "m", attribution, {0: 1.0}, {}, 0.0, (SanityCheckResult("completeness", passed, Message("reason")),)
    )


def test_attribution_is_warm_where_it_raises_and_cold_where_it_lowers_the_risk():
    study, _ = _study()
    attribution = _explanation(study, passed=True).attribution
    image = _pixels(fused_slices(study, None, (0.0, 0.0, 0.0), attribution=attribution, width=900))[:-STRIP]
    red, blue = image[..., 0] - image[..., 2], image[..., 2] - image[..., 0]
    width_mm, height_mm = body_box(study.pet).extent(AXIAL)
    panel = round(width_mm * image.shape[0] / height_mm)
    warm, cold = (np.flatnonzero((side[:, :panel] > 0.3).any(0)) for side in (red, blue))
    assert warm.size > 50
    assert cold.size > 50
    assert cold.max() <= warm.min() + 3  # the patient's right side lowers it here, and lies on the left


def test_a_large_lesion_that_weighs_most_is_coloured_beside_a_small_one():
    """Half of the attribution in 40 ml, an eighth in 1 ml."""
    attribution = Volume(np.full((1, 1, 1), 0.125, np.float32), np.eye(4), "1")
    style = PanelStyle(suv_max=10.0, window=(-160.0, 240.0), attribution=attribution)
    grey = np.full((1, 1, 3), 0.5, np.float32)
    assert np.abs(style.overlay(grey, np.full((1, 1), 0.5 / 40, np.float32)) - grey).max() > 0.15


def test_the_slices_go_through_the_middle_of_the_lesion_that_weighs_most():
    """Not through the one voxel of the largest value, at the rim, nor through a small lesion with a larger one."""
    study, labels = _study()
    array = np.where(labels.array == 1, -1.0, 0.0).astype(np.float32)
    rim = tuple(np.argwhere(labels.array == 1)[-1])
    array[rim] = -5.0
    found, numbers = labels.array.copy(), study.pet.to_index(np.array([-90.0, 0.0, -200.0])).astype(int)
    found[tuple(numbers)], array[tuple(numbers)] = 2, 9.0
    attribution = study.pet.like(array, "1")
    point = heaviest_point(attribution, labels.like(found, "label"))
    np.testing.assert_allclose(point, SPOT, atol=8.0)
    assert attribution.array[tuple(np.rint(attribution.to_index(heaviest_point(attribution, None))).astype(int))] == 9.0


def test_an_unreliable_explanation_is_shown_without_its_map():
    study, _ = _study()
    shown, hidden = (
        _pixels(saliency_figure(study, None, _explanation(study, passed=passed), width=1200))
        for passed in (True, False)
    )
    cold = [((image[:-STRIP, :, 2] - image[:-STRIP, :, 0]) > 0.3).sum() for image in (shown, hidden)]
    assert cold[0] > 1000
    assert cold[1] == 0
    warned = [_like(image[-STRIP:, -400:], WARNING).sum() for image in (shown, hidden)]
    assert warned[0] == 0
    assert warned[1] > 100


def test_an_empty_study_still_makes_figures():
    study, labels = _study()
    empty = study.pet.like(np.zeros_like(study.pet.array), "g/ml")
    nothing = PetCtStudy("p", empty, None, FACTS, (), ())
    none = labels.like(np.zeros_like(labels.array), "label")
    assert mip_with_lesions(nothing, none, height=300).mode == "RGB"
    assert fused_slices(nothing, none, (0.0, 0.0, 0.0), width=600).size[0] == 600
