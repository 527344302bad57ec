from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.canvas import Canvas, Lattice
from training.simulation.phantom.rendering import render
from training.simulation.phantom.tissues import Tissue

SPACING = (4.0, 4.0, 6.0)
VOXEL_ML = 4 * 4 * 6 / 1000


@pytest.fixture(scope="module")
def patient():
    """Liver, bone and brain metastases, necrosis, 60 min of uptake, no overlapping lesions."""

    def suits(p):
        kinds = {lesion.kind for lesion in p.lesions}
        return {"liver", "bone"} <= kinds and len(p.lesions) < 9 and max(one.necrosis for one in p.lesions) > 0.2

    drawn = (draw_patient(SITES[0], n, seed=3) for n in range(400))
    chosen = next(p for p in drawn if suits(p))
    return replace(chosen, acquisition=replace(chosen.acquisition, uptake_min=60))


@pytest.fixture(scope="module")
def body(patient):
    return render(patient, SPACING)


def test_lesions_have_their_volume_necrosis_and_uptake(patient, body):
    for number, lesion in enumerate(patient.lesions, start=1):
        mask = body.lesions == number
        assert mask.sum() * VOXEL_ML == pytest.approx(lesion.ml, rel=0.1, abs=VOXEL_ML)
        necrotic = (mask & body.necrosis).sum()
        assert necrotic == pytest.approx(lesion.necrosis * mask.sum(), rel=0.15, abs=1)
        if lesion.kind != "brain":
            assert body.suv[mask & ~body.necrosis].mean() == pytest.approx(lesion.suv, rel=0.1)


def test_liver_and_bone_lesions_lie_in_their_organ(patient, body):
    for number, lesion in enumerate(patient.lesions, start=1):
        under = body.tissues[body.lesions == number]
        if lesion.kind == "liver":
            assert np.mean(under == Tissue.LIVER) > 0.6
        if lesion.kind == "primary":
            assert np.mean(np.isin(under, [Tissue.LUNG, Tissue.VESSEL, Tissue.MEDIASTINUM])) > 0.3


def test_organs_have_plausible_volumes(body):
    litres = {tissue: (body.tissues == tissue).sum() * VOXEL_ML / 1000 for tissue in Tissue}
    assert 2.0 < litres[Tissue.LUNG] < 6.5
    assert 0.9 < litres[Tissue.LIVER] < 2.5
    assert 0.08 < litres[Tissue.SPLEEN] < 0.4
    assert 0.8 < litres[Tissue.CORTEX] + litres[Tissue.WHITE_MATTER] < 1.9
    assert 0.4 < litres[Tissue.MARROW] < 1.6


@pytest.mark.parametrize("number", range(3))
def test_short_patients_with_an_effusion_still_have_lungs(number):
    drawn = sorted((draw_patient(SITES[4], n, seed=6) for n in range(300)), key=lambda p: p.anatomy.height_m)
    short = replace(drawn[number], anatomy=replace(drawn[number].anatomy, effusion=True))
    small = render(short, (6.0, 6.0, 8.0))
    air = ((small.hu < -400) & np.isin(small.tissues, [Tissue.LUNG, Tissue.VESSEL])).sum() * 6 * 6 * 8 / 1e6
    assert air > 2.0


def test_patients_look_up_and_left(body):
    """The liver lies to the patient's right (negative x), the brain on top, the back at positive y."""
    z, y, x = body.lattice.axes()
    liver = np.argwhere(body.tissues == Tissue.LIVER)
    spleen = np.argwhere(body.tissues == Tissue.SPLEEN)
    cortex = np.argwhere(body.tissues == Tissue.CORTEX)
    couch = np.argwhere(body.tissues == Tissue.COUCH)
    assert x[liver[:, 2]].mean() < -30 < 30 < x[spleen[:, 2]].mean()
    assert z[cortex[:, 0]].mean() > 1.6 * z[liver[:, 0]].mean()
    assert y[couch[:, 1]].min() > y[spleen[:, 1]].mean()


def test_a_counterfactual_differs_at_the_lesion_only(patient, body):
    dropped = next(i for i, lesion in enumerate(patient.lesions) if lesion.kind == "liver")
    twin = render(patient, SPACING, without={dropped})
    changed = twin.suv != body.suv
    assert changed.any()
    assert not changed[body.lesions != dropped + 1].any()
    real, other = pet_image(body, patient).array, pet_image(twin, patient).array
    far = np.abs(np.argwhere(body.lesions == dropped + 1)[:, 0].mean() - np.arange(len(real))) > 25
    np.testing.assert_array_equal(real[far], other[far])


def test_stranding_is_seen_on_the_ct_around_lesions_and_nowhere_else(patient, body):
    """What the lesion table measures stays: uptake, lesions, and soft tissue that is counted as necrosis."""
    dense = render(replace(patient, stranding=2.0), SPACING)
    np.testing.assert_array_equal(dense.suv, body.suv)
    np.testing.assert_array_equal(dense.lesions, body.lesions)
    changed = dense.hu != body.hu
    far = ndimage.distance_transform_edt(body.lesions == 0, sampling=SPACING[::-1])
    assert 4 < far[changed].mean() < 14
    assert far[changed].max() < 45  # beyond a long axis a level counts for more millimetres
    assert (dense.hu[changed] > body.hu[changed]).mean() > 0.99
    lung = changed & (body.tissues == Tissue.LUNG)
    assert 60 < (dense.hu - body.hu)[lung].mean() < 400
    turned_soft = (body.hu < -60) & (dense.hu > -60 + 1e-3)
    assert not turned_soft.any()
    little = render(replace(patient, stranding=-2.0), SPACING)
    assert np.abs(little.hu - body.hu).sum() < 0.1 * np.abs(dense.hu - body.hu).sum()


def test_canvas_maps_reference_points_into_the_patient(patient):
    lattice = Lattice.around(patient.anatomy, SPACING)
    canvas = Canvas(patient.anatomy, lattice)
    points = np.array([(-60.0, 0.0, 500.0), (40.0, 20.0, 900.0), (0.0, -50.0, 200.0)])
    index = np.round((canvas.to_patient(points) - lattice.affine[:3, 3]) / SPACING).astype(int)
    found = [[volume[z, y, x] for volume in (canvas.x, canvas.y, canvas.z)] for x, y, z in index]
    np.testing.assert_allclose(found, points, atol=5.0)  # a voxel


def test_pet_keeps_the_liver_uptake_times_the_calibration(patient, body):
    pet = pet_image(body, patient).array
    z, _, _ = body.lattice.axes()
    still = np.abs(z - body.dome_mm) > 60
    inside = (body.organs == 1) & still[:, None, None]
    ideal = body.suv[inside].mean() * patient.acquisition.calibration
    assert pet[inside].mean() == pytest.approx(ideal, rel=0.06)


def test_breathing_and_resolution_keep_the_total_activity(patient, body):
    quiet = replace(patient, acquisition=replace(patient.acquisition, noise=0.0, calibration=1.0))
    assert pet_image(body, quiet).array.sum() == pytest.approx(body.suv.sum(), rel=0.02)


def test_noise_follows_the_dose_and_the_scanner(patient, body):
    def noise(p):
        clean = replace(p, acquisition=replace(p.acquisition, noise=0.0))
        return (pet_image(body, p).array - pet_image(body, clean).array)[body.organs == 1].std()

    half = replace(patient, acquisition=replace(patient.acquisition, dose_bq=patient.acquisition.dose_bq / 4))
    assert noise(half) == pytest.approx(2 * noise(patient), rel=0.03)
    worse = replace(patient, site=SITES[7])
    assert noise(replace(worse, acquisition=replace(patient.acquisition, noise=2.0))) > noise(patient)


def test_native_pet_voxels_cover_the_same_box(patient, body):
    native = pet_image(body, patient, voxel_mm=(3.3, 3.3, 3.0))
    same = pet_image(body, patient)
    low = [np.array(v.affine[:3, 3]) - np.array(v.spacing) / 2 for v in (native, same)]
    np.testing.assert_allclose(low[0], low[1], atol=3.4)
    assert native.spacing == pytest.approx((3.3, 3.3, 3.0))
    total = [v.array.sum() * v.voxel_ml for v in (native, same)]
    assert total[0] == pytest.approx(total[1], rel=0.03)


def test_uptake_time_raises_tumours_and_lowers_the_liver(patient, body):
    late = render(replace(patient, acquisition=replace(patient.acquisition, uptake_min=90)), SPACING)
    tumour = (body.lesions == 1) & ~body.necrosis
    assert late.suv[tumour].mean() == pytest.approx(1.14 * body.suv[tumour].mean(), rel=0.01)
    assert late.suv[body.organs == 1].mean() == pytest.approx(0.95 * body.suv[body.organs == 1].mean(), rel=0.01)


def test_ct_is_hounsfield(patient, body):
    ct = ct_image(body, patient)
    assert ct.array.dtype == np.int16
    healthy = body.lesions == 0
    assert np.median(ct.array[healthy & (body.tissues == Tissue.LUNG)]) == pytest.approx(-850, abs=40)
    assert np.median(ct.array[healthy & (body.tissues == Tissue.MUSCLE)]) == pytest.approx(52, abs=10)
    assert np.median(ct.array[healthy & (body.tissues == Tissue.FAT)]) == pytest.approx(-102, abs=10)
    assert ct.array[:, 0, 0].max() == -1024  # outside the field of view
