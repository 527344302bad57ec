"""Regions of lesions drawn at known places of synthetic patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from fedpet.imaging.anatomy.finer_places import STATIONS, VERTEBRAE, finer_place
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.regions import REGIONS, locate_lesions
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume
from training.simulation.patients.metastases import LesionSpec
from training.simulation.patients.reference_body import BONE_SITES

PLACES = {
    "lung_right": {"lung_right", "lung_right_upper", "lung_right_lower"},
    "lung_left": {"lung_left", "lung_left_upper", "lung_left_lower"},
    "liver": {"liver"},
    "brain": {"brain"},
    "4R": {"mediastinum"},
    "4L": {"mediastinum"},
    "7": {"mediastinum"},
    "10R": {"hilum_right"},
    "10L": {"hilum_left"},
    "supraclavicular_R": {"supraclavicular_right"},
    "supraclavicular_L": {"supraclavicular_left"},
    "adrenal_R": {"adrenal_right"},
    "adrenal_L": {"adrenal_left"},
    "L3": {"bone_spine_lumbar"},
    "T8": {"bone_spine_thoracic"},
    "sacrum": {"bone_pelvis"},
    "iliac_R": {"bone_pelvis"},
    "iliac_L": {"bone_pelvis"},
    "femur_R": {"bone_femur"},
    "femur_L": {"bone_femur"},
    "sternum": {"bone_sternum"},
    "humerus_R": {"bone_humerus"},
    "humerus_L": {"bone_humerus"},
}


def labels_of(case):
    return Volume(case.body.lesions, case.body.lattice.affine, "label")


def sides_named(case, side):
    """Regions of the lesions on one side, by their signed distance from the middle of the bodies that were drawn."""
    sign = -1 if side == "right" else 1
    numbers = [i for i, one in enumerate(case.patient.lesions, start=1) if sign * one.centre[0] > 25]
    return {number: case.regions[number] for number in numbers}


@pytest.mark.parametrize("place", PLACES)
def test_a_lesion_has_the_region_where_it_was_drawn(scanned, place):
    case = scanned["slim"]
    (number,) = [i for i, one in enumerate(case.patient.lesions, start=1) if one.place == place]
    assert case.regions[number] in PLACES[place]


@pytest.mark.parametrize("name", ["slim", "opacified", "heavy"])
@pytest.mark.parametrize(("side", "other"), [("right", "left"), ("left", "right")])
def test_sides_are_never_swapped(scanned, name, side, other):
    named = sides_named(scanned[name], side)
    assert named or name == "opacified"
    assert not [region for region in named.values() if region.endswith(other) or f"_{other}_" in region]


@pytest.mark.parametrize("name", ["opacified", "heavy"])
def test_lesions_drawn_by_the_population_have_their_region(scanned, name):
    case = scanned[name]
    for number, one in enumerate(case.patient.lesions, start=1):
        expected = PLACES.get(one.place, {"bone_spine_lumbar" if one.place[0] == "L" else "bone_spine_thoracic"})
        assert case.regions[number] in expected, one.place


@pytest.mark.parametrize("name", ["slim", "opacified", "heavy"])
def test_the_vertebral_level_is_right_within_one_and_stations_are_of_the_chest(scanned, name):
    """Organs by rules; how often on varied bodies is in docs/imaging.md."""
    case = scanned[name]
    order = list(VERTEBRAE)
    for number, one in enumerate(case.patient.lesions, start=1):
        centre = labels_of(case).to_mm(np.argwhere(case.body.lesions == number).mean(axis=0))
        found = finer_place(case.regions[number], tuple(centre), case.anatomy)
        if case.regions[number].startswith("bone_spine"):
            assert found.vertebra is not None
            assert abs(order.index(found.vertebra) - order.index(one.place)) <= 1
            assert VERTEBRAE[found.vertebra] == getattr(codes.SCT, f"{found.vertebra}Vertebra").value
        assert (found.station in STATIONS) == case.regions[number].startswith(("mediastinum", "hilum"))
        assert one.place not in ("4R", "4L", "7") or found.station in NEIGHBOURS[one.place], one.place
    assert finer_place("bone_spine_lumbar", (0.0, 0.0, 9000.0), case.anatomy) == finer_place("liver", (0, 0, 0), None)


NEIGHBOURS = {"4R": {"4R", "2R", "7", "10R"}, "4L": {"4L", "2L", "5", "7", "10L"}, "7": {"7", "4R", "4L", "8", "10L"}}


def test_every_region_has_its_words(scanned):
    for case in scanned.values():
        assert set(case.regions.values()) <= set(REGIONS)


def turned(volume, axis):
    """Stored the other way round along an axis, the affine with it."""
    last = np.zeros(3)
    last[axis] = volume.shape[axis] - 1
    affine = volume.affine @ np.diag([-1.0 if 2 - axis == i else 1.0 for i in range(4)])
    affine[:3, 3] = volume.to_mm(last)
    return Volume(np.flip(volume.array, axis).copy(), affine, volume.unit)


def coronal(volume):
    """Rows and slices of the array exchanged: a coronal series."""
    return Volume(np.swapaxes(volume.array, 0, 1).copy(), volume.affine[:, [0, 2, 1, 3]], volume.unit)


@pytest.mark.parametrize("store", [lambda v: turned(v, 0), lambda v: turned(v, 1), lambda v: turned(v, 2), coronal])
def test_the_way_voxels_are_stored_gives_the_same_regions(scanned, store):
    case = scanned["slim"]
    labels, pet, ct = (store(volume) for volume in (labels_of(case), case.pet, case.ct))
    assert locate_lesions(labels, PatientAnatomy(pet, ct)) == case.regions


def oblique(volume, degrees, *, shear=0.0):
    """A grid that holds the volume, its slices turned about the left-right axis, or moved back slice by slice."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(volume.spacing)
    slices, rows, columns = volume.shape
    shape = (slices + round(rows * 4 * sin / 6) + 2, rows + round(slices * (6 * sin + abs(shear) * 6) / 4) + 2, columns)
    middle = volume.to_mm((np.array(volume.shape) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Grid(shape, affine)


@pytest.mark.parametrize(("degrees", "shear"), [(12.0, 0.0), (0.0, 0.2)])
def test_a_tilted_series_gives_the_same_regions(scanned, degrees, shear):
    """CT of turned slices, and of a tilted gantry: the patient stays where they are."""
    case = scanned["slim"]
    ct = resample(case.ct, oblique(case.ct, degrees, shear=shear), outside=-1024)
    found = locate_lesions(labels_of(case), PatientAnatomy(case.pet, ct))
    differing = {case.patient.lesions[n - 1].place: found[n] for n in found if found[n] != case.regions[n]}
    assert not differing


def test_a_chest_alone_names_the_same_places_of_the_chest(scanned):
    case = scanned["slim"]
    low, high = 90, 140
    affine = case.ct.affine.copy()
    affine[:3, 3] = case.ct.to_mm(np.array([float(low), 0, 0]))
    pet, ct = (Volume(volume.array[low:high], affine, volume.unit) for volume in (case.pet, case.ct))
    found = locate_lesions(labels_of(case), PatientAnatomy(pet, ct))
    chest = ("lung_right", "lung_left", "4R", "4L", "7", "10R", "10L", "T8", "sternum")
    for number, one in enumerate(case.patient.lesions, start=1):
        if one.place in chest:
            assert found[number] in PLACES[one.place], one.place
        if one.place in {"femur_R", "femur_L", "sacrum", "brain"}:
            assert found[number] == "unknown"


def test_a_mostly_dissolved_bone_is_still_bone(scanned):
    """A soft lesion of 4 cm that replaced the whole body of L3."""
    case = scanned["slim"]
    one = LesionSpec("bone", "L3", BONE_SITES["L3"], (20.0,) * 3, suv=9, necrosis=0, heterogeneity=0.1, seed=2)
    other = type(case).of(replace(case.patient, lesions=(one,)), (4.0, 4.0, 6.0))
    assert other.regions == {1: "bone_spine_lumbar"}


def test_without_a_ct_or_lesions_nothing_is_said(scanned):
    case = scanned["slim"]
    labels = labels_of(case)
    assert set(locate_lesions(labels, None).values()) == {"unknown"}
    assert locate_lesions(labels.like(np.zeros_like(labels.array), "label"), case.anatomy) == {}


def test_a_lesion_beyond_the_ct_is_not_determined(scanned):
    case = scanned["slim"]
    affine = case.body.lattice.affine.copy()
    affine[0, 3] += 2000
    found = locate_lesions(Volume(case.body.lesions, affine, "label"), case.anatomy)
    assert set(found.values()) == {"unknown"}
