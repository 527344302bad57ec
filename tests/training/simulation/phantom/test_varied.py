from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.canvas import Lattice
from training.simulation.phantom.rendering import render
from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.appearance import vary_appearance
from training.simulation.phantom.varied.body import paint_varied
from training.simulation.phantom.varied.structures import NAMES, STRUCTURES
from training.simulation.phantom.varied.traits import draw_traits

SPACING = (6.0, 6.0, 6.0)
ML = 0.216
USUAL = {
    "kidneys": "two", "bladder_ml": 200.0, "lungs": "whole", "effusion": (0.0, 0.0), "gallbladder": True,
    "hip_prosthesis": False, "spinal_rods": False, "hiatus_hernia": False, "scoliosis": (0.0, 450.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def patient():
    drawn = draw_patient(SITES[0], 1, seed=4)
    return replace(drawn, anatomy=replace(drawn.anatomy, sex="M", varied=True))


def painted(patient, **traits):
    """The patient's body with some variants; all others usual."""
    chosen = replace(draw_traits(patient.anatomy), **{**USUAL, **traits})
    return paint_varied(patient.anatomy, Lattice.around(patient.anatomy, SPACING), chosen)


@pytest.fixture(scope="module")
def usual(patient):
    return painted(patient)


def ml(canvas, name):
    return float((canvas.structures == STRUCTURES[name]).sum()) * ML


def test_organs_have_plausible_volumes(usual):
    ranges = {
        "brain": (1000, 2000), "lung_right": (1000, 4000), "lung_left": (800, 3500), "liver": (900, 2600),
        "spleen": (50, 450), "kidney_right": (80, 320), "kidney_left": (80, 320), "bladder": (120, 450),
        "heart_wall": (150, 1100), "heart_cavity": (150, 800), "stomach": (50, 1200), "aorta": (70, 350),
    }  # fmt: skip
    for name, (least, most) in ranges.items():
        assert least < ml(usual, name) < most, name


def test_every_structure_of_a_man_is_there(usual):
    absent = {name for name in NAMES if not ml(usual, name)}
    assert absent <= {"uterus", "ovaries", "brown_fat", "adrenal_right", "adrenal_left", "ureter_right", "ureter_left"}


def test_right_is_right(usual):
    _, _, x = usual.lattice.axes()
    for name in NAMES:
        if name.endswith(("_right", "_left")) and ml(usual, name):
            columns = np.nonzero(usual.structures == STRUCTURES[name])[2]
            assert (x[columns].mean() > 0) == name.endswith("_left"), name


@pytest.mark.parametrize(("variant", "absent"), [("right only", "kidney_left"), ("left only", "kidney_right")])
def test_a_single_kidney_is_alone(patient, variant, absent):
    canvas = painted(patient, kidneys=variant)
    assert ml(canvas, absent) == 0
    assert ml(canvas, {"kidney_left": "kidney_right", "kidney_right": "kidney_left"}[absent]) > 100


def test_a_horseshoe_kidney_is_one_piece(patient):
    canvas = painted(patient, kidneys="horseshoe")
    kidneys = np.isin(
        canvas.structures,
        [STRUCTURES[f"{part}_{side}"] for part in ("kidney", "renal_pelvis") for side in ("right", "left")],
    )
    pieces, _ = ndimage.label(kidneys, np.ones((3, 3, 3)))
    assert np.bincount(pieces[kidneys])[1:].max() > 0.95 * kidneys.sum()


@pytest.mark.parametrize("volume", [30.0, 600.0])
def test_the_bladder_is_as_full_as_it_should_be(patient, volume):
    assert ml(painted(patient, bladder_ml=volume), "bladder") == pytest.approx(volume + 25, rel=0.75)


def test_after_a_pneumonectomy_one_lung_is_left(patient):
    canvas = painted(patient, lungs="pneumonectomy", side=1)
    assert ml(canvas, "lung_left") < 100 < ml(canvas, "lung_right")


def test_metal_makes_streaks(patient):
    canvas = painted(patient, hip_prosthesis=True)
    assert (canvas.labels == Tissue.METAL).sum() * ML > 20
    suv, hu = np.ones(canvas.labels.shape, np.float32), np.zeros(canvas.labels.shape, np.float32)
    vary_appearance(canvas, suv, hu)
    beside = (canvas.labels == Tissue.MUSCLE) & (canvas.labels == Tissue.METAL).any(axis=(1, 2))[:, None, None]
    assert hu[beside].std() > 50
    assert not hu[canvas.labels == Tissue.AIR].any()


def test_no_body_is_another(patient):
    first, other = (
        paint_varied(replace(patient.anatomy, warp_seed=seed), Lattice((60, 40, 50), (18.0, 9.0, 10.0)))
        for seed in (1, 2)
    )
    again = paint_varied(replace(patient.anatomy, warp_seed=1), Lattice((60, 40, 50), (18.0, 9.0, 10.0)))
    assert np.array_equal(first.structures, again.structures)
    assert np.mean(first.structures != other.structures) > 0.03


def test_a_patient_is_rendered_with_his_lesions_and_structures(patient):
    body = render(patient, (6.0, 6.0, 8.0))
    assert body.structures is not None
    assert set(np.unique(body.lesions)) - {0} == set(range(1, len(patient.lesions) + 1))
    assert body.suv[body.structures == STRUCTURES["bladder"]].mean() > 3
    schematic = render(replace(patient, anatomy=replace(patient.anatomy, varied=False)), (6.0, 6.0, 8.0))
    assert schematic.structures is None


def test_the_primary_lies_in_a_lung(patient):
    body = render(patient, (8.0, 8.0, 10.0))
    for number, lesion in enumerate(patient.lesions, start=1):
        if lesion.kind == "primary":
            under = body.tissues[body.lesions == number]
            assert np.isin(under, [Tissue.LUNG, Tissue.VESSEL, Tissue.MEDIASTINUM, Tissue.FIBROSIS]).mean() > 0.2
