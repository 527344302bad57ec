"""Quality checks of a loaded study: each passes, warns or fails, with its reason.

A failed check does not hide the images: it is for whoever uses them to abstain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.messages import Message
from imaging.anatomy import LEFT, RIGHT, anatomy_of
from imaging.circumstances import circumstance_checks
from imaging.coarse import COARSE_MM
from imaging.references import liver_sphere
from imaging.resampling import Grid, resample
from imaging.study import Level, QualityCheck
from imaging.tracer import tracer_check

if TYPE_CHECKING:
    from imaging.anatomy import Anatomy
    from imaging.geometry import Geometry
    from imaging.study import PetFacts
    from imaging.volume import Volume

_LUNGS_ML = 1200.0  # both lungs of a small adult at shallow breathing
_ONE_LUNG_ML = 250.0
_WHOLE_BODY_MM = 850.0  # length of a CT that shows most of the body
_KG_PER_LITRE = 0.9, 1.9  # of the body seen; 1.3 to 1.6 where the lower legs are missing


def image_checks(
    pet: Volume, ct: Volume | None, *, ct_frame_assumed: bool = False, weight_kg: float | None = None
) -> list[QualityCheck]:
    """What the images themselves show: coverage, extent, alignment, plausible SUV (where there is SUV), orientation.

    With a CT, also what `imaging.circumstances` can judge, and whether the weight fits the body seen.

    Args:
        pet: SUVbw, or "stored" where there is no SUV.
        ct: HU, where there is one.
        ct_frame_assumed: see `imaging.choice.Choice`.
        weight_kg: of the PET's headers.
    """
    anatomy = anatomy_of(ct) if ct is not None else None
    weight = _weight_fits(anatomy, weight_kg) if anatomy and weight_kg else None
    return [
        _ct_present(ct, assumed=ct_frame_assumed),
        _chest_covered(anatomy),
        _pet_extent(pet),
        _alignment(pet, ct),
        *([_suv_plausible(pet, ct)] if pet.unit == "g/ml" else []),
        _orientation(anatomy),
        *([weight] if weight else []),
        *(circumstance_checks(pet, ct) if ct is not None else []),
    ]


def header_checks(
    facts: PetFacts, *, disagreement: float, pet: Geometry, told_slices: float | None
) -> list[QualityCheck]:
    """What the headers tell: tracer, uptake time, dose, weight, slices.

    Args:
        facts: of the PET.
        disagreement: see `imaging.suv.Calibration`.
        pet: geometry of the PET.
        told_slices: NumberOfSlices of the PET, if given.
    """
    return [
        tracer_check(facts),
        _uptake_time(facts, disagreement),
        _dose(facts),
        _weight(facts),
        _slices(pet, told_slices),
    ]


def _ct_present(ct: Volume | None, *, assumed: bool) -> QualityCheck:
    if ct is None:
        return _fail("ct_present", Message("No CT in the frame of reference of the PET was found."))
    if assumed:
        told = Message("Neither PET nor CT names a frame of reference; same scanner, hour and place are taken for it.")
        return _warn("ct_present", told)
    return _pass("ct_present", Message("The CT shares the frame of reference of the PET."))


def _chest_covered(anatomy: Anatomy | None) -> QualityCheck:
    name = "chest_covered"
    if anatomy is None:
        return _fail(name, Message("Without a CT the lungs cannot be found."))
    right, left = anatomy.lung_ml(RIGHT), anatomy.lung_ml(LEFT)
    volumes = Message("right lung {right:.0f} ml, left lung {left:.0f} ml", right=right, left=left)
    if right + left >= _LUNGS_ML and min(right, left) < _ONE_LUNG_ML:
        return _warn(
            name, Message("One lung holds hardly any air (effusion, collapse, removal): {volumes}.", volumes=volumes)
        )
    if right + left < _LUNGS_ML:
        return _fail(
            name,
            Message(
                "The chest is not covered: {volumes}; two lungs of {n:.0f} ml expected.", volumes=volumes, n=_LUNGS_ML
            ),
        )
    if _ends_in_lungs(anatomy):
        return _warn(name, Message("The scan ends within the chest: {volumes}.", volumes=volumes))
    return _pass(name, Message("The chest is covered: {volumes}.", volumes=volumes))


def _ends_in_lungs(anatomy: Anatomy) -> bool:
    """The first or last slices show lung; the outermost ones may lie half outside of the CT."""
    span = anatomy.lung_slices
    return span is not None and (span[0] < 2 or span[1] > len(anatomy.lungs) - 3)


def _pet_extent(pet: Volume) -> QualityCheck:
    low, high = _head_foot(pet)
    extent = high - low
    reason = Message("The PET covers {mm:.0f} mm from head to foot (700 mm expected).", mm=extent)
    return _graded("pet_extent", reason, good=extent >= 700, bearable=extent >= 400)


def _alignment(pet: Volume, ct: Volume | None) -> QualityCheck:
    if ct is None:
        return _fail("alignment", Message("Without a CT the alignment cannot be judged."))
    (low, high), (ct_low, ct_high) = _head_foot(pet), _head_foot(ct)
    covered = max(0.0, min(high, ct_high) - max(low, ct_low)) / (high - low)
    shared = _body_agreement(pet, anatomy_of(ct))
    reason = Message(
        "The CT covers {covered:.0f} % of the PET's length; {shared:.0f} % of the activity lies in the body it shows.",
        covered=100 * covered,
        shared=100 * shared,
    )
    return _graded(
        "alignment", reason, good=covered >= 0.9 and shared >= 0.85, bearable=covered >= 0.6 and shared >= 0.6
    )


def _body_agreement(pet: Volume, anatomy: Anatomy) -> float:
    """Share of the PET's activity, within the length of the CT, inside the body seen on CT (1.6 cm margin)."""
    suv = resample(pet, Grid.of(anatomy.ct), outside=0.0).array
    body = ndimage.binary_dilation(anatomy.body, iterations=4)
    total = float(suv.sum())
    return float(suv[body].sum()) / total if total > 0 else 0.0


def _suv_plausible(pet: Volume, ct: Volume | None) -> QualityCheck:
    if ct is None:
        inside = pet.array[pet.array > 0.1]
        liver = None
    else:
        anatomy = anatomy_of(ct)
        suv = resample(pet, Grid.of(anatomy.ct), outside=np.nan).array
        inside = suv[anatomy.body & np.isfinite(suv)]
        sphere = liver_sphere(pet, ct)
        liver = None if isinstance(sphere, Message) else sphere.suv_mean
    mean = float(inside.mean()) if len(inside) else 0.0
    reason = Message(
        "Mean SUV of the body {mean:.2f} (0.3 to 3 expected){liver}.",
        mean=mean,
        liver="" if liver is None else Message(", of the liver {suv:.1f} (1 to 5 expected)", suv=liver),
    )
    good = 0.3 <= mean <= 3 and (liver is None or 1 <= liver <= 5)
    return _graded("suv_plausible", reason, good=good, bearable=0.1 <= mean <= 10)


def _orientation(anatomy: Anatomy | None) -> QualityCheck:
    """Upside down: the body 10 cm above the lungs (neck) must be smaller than 10 cm below them (abdomen)."""
    name = "orientation"
    span = anatomy.lung_slices if anatomy else None
    if anatomy is None or span is None:
        return _warn(name, Message("Without lungs the orientation cannot be judged."))
    area = anatomy.body.sum(axis=(1, 2)) * COARSE_MM**2 / 100
    away = round(100 / COARSE_MM)
    if span[0] - away < 0 or span[1] + away >= len(area):
        return _pass(
            name, Message("Not enough of neck and abdomen to judge; nothing speaks against the orientation given.")
        )
    above, below = float(area[span[1] + away]), float(area[span[0] - away])
    reason = Message(
        "Section of the body 10 cm above the lungs {above:.0f} cm², below {below:.0f} cm².", above=above, below=below
    )
    return _graded(name, reason, good=above <= below, bearable=above <= 1.3 * below)


def _weight_fits(anatomy: Anatomy, weight_kg: float) -> QualityCheck | None:
    """Pounds, or height and weight exchanged; None where too little of the body was scanned to tell."""
    litres = float(anatomy.body.sum()) * anatomy.ct.voxel_ml / 1000
    low, high = _head_foot(anatomy.ct)
    whole = high - low >= _WHOLE_BODY_MM
    if weight_kg < _KG_PER_LITRE[0] * litres or (whole and weight_kg > _KG_PER_LITRE[1] * litres):
        reason = Message(
            "A weight of {kg:.0f} kg does not fit the body seen on CT ({litres:.0f} litres): the SUV may be wrong.",
            kg=weight_kg,
            litres=litres,
        )
        return _warn("weight_fits", reason)
    if not whole:
        return None
    return _pass(
        "weight_fits",
        Message(
            "The weight of {kg:.0f} kg fits the body seen on CT ({litres:.0f} litres).", kg=weight_kg, litres=litres
        ),
    )


def _uptake_time(facts: PetFacts, disagreement: float) -> QualityCheck:
    name, minutes = "uptake_time", facts.uptake_min
    if minutes is None:
        return _warn(name, Message("Injection or scan time is missing: the uptake time is not known."))
    if abs(disagreement) > 0.02:
        return _warn(
            name,
            Message("The decay factor contradicts the scan time: SUV would differ by {p:.0f} %.", p=100 * disagreement),
        )
    reason = Message("Scan {minutes:.0f} min after injection (45 to 90 min expected).", minutes=minutes)
    return _graded(name, reason, good=45 <= minutes <= 90, bearable=30 <= minutes <= 180)


def _dose(facts: PetFacts) -> QualityCheck:
    if facts.dose_bq is None:
        return _warn("dose", Message("The administered dose is not given."))
    megabecquerels = facts.dose_bq / 1e6
    reason = Message("Administered dose {mbq:.0f} MBq (80 to 800 MBq expected).", mbq=megabecquerels)
    return _graded("dose", reason, good=80 <= megabecquerels <= 800, bearable=20 <= megabecquerels <= 2000)


def _weight(facts: PetFacts) -> QualityCheck:
    if facts.weight_kg is None:
        return _warn("weight", Message("The weight is not given."))
    reason = Message("Weight {kg:.1f} kg (30 to 200 kg expected).", kg=facts.weight_kg)
    return _graded("weight", reason, good=30 <= facts.weight_kg <= 200, bearable=10 <= facts.weight_kg <= 350)


def _slices(pet: Geometry, told: float | None) -> QualityCheck:
    name, (low, high) = "slices", pet.spacing_range
    if pet.copies:
        return _warn(
            name, Message("{n} slices of the PET were there twice; the copies were left out.", n=len(pet.copies))
        )
    if told is not None and told > pet.shape[0]:
        return _warn(
            name, Message("The PET has {n} slices, its headers announce {told:.0f}.", n=pet.shape[0], told=told)
        )
    return _pass(name, Message("{n} slices, {low:.2f} to {high:.2f} mm apart.", n=pet.shape[0], low=low, high=high))


def _head_foot(volume: Volume) -> tuple[float, float]:
    """Lowest and highest z of the voxels' faces, mm."""
    low, high = volume.bounds
    return float(low[2]), float(high[2])


def _graded(name: str, reason: Message, *, good: bool, bearable: bool) -> QualityCheck:
    return QualityCheck(name, Level.PASS if good else Level.WARN if bearable else Level.FAIL, reason)


def _pass(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, Level.PASS, reason)


def _warn(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, Level.WARN, reason)


def _fail(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, Level.FAIL, reason)
