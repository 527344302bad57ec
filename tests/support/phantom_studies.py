"""Synthetic patients with lesions at known places, scanned once for all tests of the anatomy.

`slim` has no contrast medium, arms up and a lesion of every kind; `opacified` has contrast medium, arms beside the
trunk and an effusion; `heavy` is a woman of 85 kg as the population model drew her. The truth is that of
`benchmarks/anatomy.py`.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks import anatomy as benchmark
from training.simulation.patients.centres import SITES
from training.simulation.patients.metastases import LesionSpec
from training.simulation.patients.population import draw_patient
from training.simulation.patients.reference_body import ADRENALS, BONE_SITES, NODE_STATIONS

SPACING = (4.0, 4.0, 6.0)


def lesion(kind, place, centre, *, radius=9.0, seed=2):
    """A round lesion of SUV 9; one of bone is dense if `seed` is odd, else it dissolves the bone."""
    return LesionSpec(kind, place, centre, (radius,) * 3, suv=9.0, necrosis=0.0, heterogeneity=0.1, seed=seed)


def _everywhere():
    """One lesion of every kind at most places, none touching another."""
    lesions = [
        lesion("primary", "lung_right", (-72, 4, 732), radius=14),
        lesion("lung", "lung_left", (88, 10, 620), radius=8),
        lesion("liver", "liver", (-80, -10, 500), radius=13),
        lesion("brain", "brain", (30, 10, 960), radius=7),
    ]
    stations = ("4R", "4L", "7", "10R", "10L", "supraclavicular_R", "supraclavicular_L")
    lesions += [lesion("node", name, NODE_STATIONS[name], radius=7) for name in stations]
    lesions += [lesion("adrenal", name, ADRENALS[name]) for name in ("adrenal_R", "adrenal_L")]
    bones = ("L3", "T8", "sacrum", "femur_R", "femur_L", "sternum", "humerus_R", "humerus_L")
    lesions += [lesion("bone", name, BONE_SITES[name]) for name in bones]
    lesions += [lesion("bone", name, BONE_SITES[name], seed=1) for name in ("iliac_R", "iliac_L")]
    return tuple(lesions)


def scanned():
    """The three patients by name."""
    slim, other, heavy = (draw_patient(SITES[0], number, seed=5) for number in (0, 1, 6))
    opacified = replace(
        other,
        anatomy=replace(other.anatomy, arms_up=False, effusion=True),
        acquisition=replace(other.acquisition, contrast=True),
    )
    patients = {"slim": replace(slim, lesions=_everywhere()), "opacified": opacified, "heavy": heavy}
    return {name: benchmark.Case.of(patient, SPACING) for name, patient in patients.items()}
