"""Quality checks of a loaded study: each passes, warns or fails, with its reason.

A failed check does not withhold the images: a prediction abstains, a reader is shown the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.quality.body_position import measure_sides, measure_upright
from fedpet.imaging.quality.ct_fit import measure_ct_fit
from fedpet.imaging.quality.pitfalls import pitfall_checks
from fedpet.imaging.quality.scanned_region import measure_scanned_region
from fedpet.imaging.quality.slice_levels import slice_level_check
from fedpet.imaging.quality.uptake_ranges import measure_uptake_ranges
from fedpet.imaging.study import CheckStatus, QualityCheck
from fedpet.imaging.suv.tracer import tracer_check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.dicom.geometry import SliceGeometry
    from fedpet.imaging.quality.centre_uptake import ScannerUptake
    from fedpet.imaging.study import PetFacts
    from fedpet.imaging.volume import Volume

_LUNGS_ML = 1200.0  # both lungs of a small adult at shallow breathing
_ONE_LUNG_ML = 250.0
_WHOLE_BODY_MM = 850.0  # length of a CT that shows most of the body
_KG_PER_LITRE = 0.9, 1.9  # plausible body weight per volume on CT; 1.2 to 1.6 where the lower legs are missing
_IMPOSSIBLE_KG_PER_LITRE = 0.75, 2.2


def image_checks(
    pet: Volume,
    anatomy: PatientAnatomy | None,
    *,
    ct_frame_assumed: bool = False,
    ct_problem: Message | None = None,
    weight_kg: float | None = None,
    height_m: float | None = None,
    uptake_min: float | None = None,
    usual: ScannerUptake | None = None,
) -> list[QualityCheck]:
    """Checks of the images themselves: coverage, position, alignment, plausible SUV (where there is SUV).

    With a CT also those of `fedpet.imaging.quality.pitfalls`, and whether the weight fits the body on the CT.

    Args:
        pet: SUVbw, or "stored" where there is no SUV.
        anatomy: of the same PET and its CT; None without a CT.
        ct_frame_assumed: see `fedpet.imaging.dicom.selection.SelectedSeries`.
        ct_problem: why the CT of this PET cannot be used, where there is one.
        weight_kg: as used for the SUV; None where missing.
        height_m: as the headers state it; None where missing.
        uptake_min: minutes from injection to the scan; None where not known.
        usual: uptake of healthy tissue on the centre's scanner; None for the published one.
    """
    ranges = None if anatomy is None or pet.unit != "g/ml" else measure_uptake_ranges(anatomy)
    body = None if anatomy is None else anatomy.body
    return [
        _ct_present(anatomy, assumed=ct_frame_assumed, problem=ct_problem),
        _chest_covered(body),
        _pet_extent(pet),
        slice_level_check(pet),
        *_position_checks(anatomy, height_m),
        _alignment(anatomy),
        *_suv_checks(pet, anatomy, weight_kg),
        *([] if ranges is None else ranges.checks(usual, uptake_min)),
        *([] if anatomy is None else pitfall_checks(anatomy, weight_kg)),
    ]


def _position_checks(anatomy: PatientAnatomy | None, height_m: float | None) -> list[QualityCheck]:
    """Which way round the body lies, whether the CT belongs to the PET, what was scanned."""
    upright = None if anatomy is None else measure_upright(anatomy.images)
    if anatomy is None or upright is None:
        return [_warn("orientation", Message("Without lungs the orientation cannot be judged."))]
    found = [measure_sides(anatomy), measure_ct_fit(anatomy), measure_scanned_region(anatomy, height_m)]
    return [upright.check(), *(one.check() for one in found if one is not None)]


def _suv_checks(pet: Volume, anatomy: PatientAnatomy | None, weight_kg: float | None) -> list[QualityCheck]:
    """Whether the SUV is plausible, and the weight it rests on."""
    weight = weight_check(anatomy.body, weight_kg) if anatomy and weight_kg else None
    checks = [weight] if weight else []
    if pet.unit != "g/ml":
        return checks
    return [*checks, _suv_plausible(pet, anatomy)]


def header_checks(
    facts: PetFacts, *, pet: SliceGeometry, stated_slices: float | None, phase_counts: Mapping[str, int] | None = None
) -> list[QualityCheck]:
    """Checks of the headers: tracer, uptake time, dose, weight, slices.

    Args:
        facts: of the PET.
        pet: geometry of the PET.
        stated_slices: Number of Slices (0054,0081) of the PET; None where missing.
        phase_counts: see `fedpet.imaging.dicom.series.phase_counts`.
    """
    return [
        tracer_check(facts),
        _uptake_time(facts),
        _dose(facts),
        _weight(facts),
        _slices(pet, stated_slices, phase_counts or {}),
    ]


def _ct_present(anatomy: PatientAnatomy | None, *, assumed: bool, problem: Message | None) -> QualityCheck:
    if anatomy is None and problem is not None:
        return _fail("ct_present", Message("The CT of this PET cannot be used. {problem}", problem=problem))
    if anatomy is None:
        return _fail("ct_present", Message("No CT in the frame of reference of the PET was found."))
    if assumed:
        reason = Message(
            "Neither PET nor CT states a frame of reference; same scanner, hour and position stand in for it."
        )
        return _warn("ct_present", reason)
    return _pass("ct_present", Message("The CT shares the frame of reference of the PET."))


def _chest_covered(body: BodySegmentation | None) -> QualityCheck:
    name = "chest_covered"
    if body is None:
        return _fail(name, Message("Without a CT the lungs cannot be found."))
    right, left = body.lung_ml(RIGHT), body.lung_ml(LEFT)
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
    if _ends_in_lungs(body):
        return _warn(name, Message("The scan ends within the chest: {volumes}.", volumes=volumes))
    return _pass(name, Message("The chest is covered: {volumes}.", volumes=volumes))


def _ends_in_lungs(body: BodySegmentation) -> bool:
    """Whether the first or last slices show lung; the outermost ones may lie half outside the CT."""
    lung_slices = body.lung_slices
    return lung_slices is not None and (lung_slices[0] < 2 or lung_slices[1] > len(body.lungs) - 3)


def _pet_extent(pet: Volume) -> QualityCheck:
    low, high = _head_foot(pet)
    extent = high - low
    reason = Message("The PET covers {mm:.0f} mm from head to foot (700 mm expected).", mm=extent)
    return _grade("pet_extent", reason, good=extent >= 700, acceptable=extent >= 400)


def _alignment(anatomy: PatientAnatomy | None) -> QualityCheck:
    if anatomy is None:
        return _fail("alignment", Message("Without a CT the alignment cannot be judged."))
    (low, high), (ct_low, ct_high) = _head_foot(anatomy.pet), _head_foot(anatomy.ct)
    covered = max(0.0, min(high, ct_high) - max(low, ct_low)) / (high - low)
    share_in_body = _body_agreement(anatomy)
    reason = Message(
        "The CT covers {covered:.0f} % of the PET's length; {shared:.0f} % of the activity lies in the body it shows.",
        covered=100 * covered,
        shared=100 * share_in_body,
    )
    return _grade(
        "alignment",
        reason,
        good=covered >= 0.9 and share_in_body >= 0.85,
        acceptable=covered >= 0.6 and share_in_body >= 0.6,
    )


def _body_agreement(anatomy: PatientAnatomy) -> float:
    """Share of the activity of the PET, within the length of the CT, inside the body on CT (1.6 cm margin)."""
    suv = np.nan_to_num(anatomy.suv)
    body = ndimage.binary_dilation(anatomy.body.body, iterations=4)
    total = float(suv.sum())
    return float(suv[body].sum()) / total if total > 0 else 0.0


def _suv_plausible(pet: Volume, anatomy: PatientAnatomy | None) -> QualityCheck:
    if anatomy is None:
        inside = pet.array[pet.array > 0.1]
        liver = None
    else:
        suv, sphere = anatomy.suv, anatomy.liver_sphere
        inside = suv[anatomy.body.body & np.isfinite(suv)]
        liver = None if isinstance(sphere, Message) else sphere.suv_mean
    mean = float(inside.mean()) if len(inside) else 0.0
    reason = Message(
        "Mean SUV of the body {mean:.2f} (0.3 to 3 expected){liver}.",
        mean=mean,
        liver="" if liver is None else Message(", of the liver {suv:.1f} (1 to 5 expected)", suv=liver),
    )
    good = 0.3 <= mean <= 3 and (liver is None or 1 <= liver <= 5)
    return _grade("suv_plausible", reason, good=good, acceptable=0.1 <= mean <= 10)


def weight_check(body: BodySegmentation, weight_kg: float) -> QualityCheck | None:
    """Whether the weight is in pounds, or exchanged with the height; None where too little of the body was scanned.

    Args:
        body: on the CT.
        weight_kg: as used for the SUV.
    """
    litres = float(body.body.sum()) * body.ct.voxel_ml / 1000
    low, high = _head_foot(body.ct)
    whole_body = high - low >= _WHOLE_BODY_MM
    ratio = weight_kg / max(litres, 1e-3)
    heavy = whole_body and ratio > _KG_PER_LITRE[1]
    if ratio < _KG_PER_LITRE[0] or heavy:
        impossible = ratio < _IMPOSSIBLE_KG_PER_LITRE[0] or (whole_body and ratio > _IMPOSSIBLE_KG_PER_LITRE[1])
        reason = Message(
            "A weight of {kg:.0f} kg does not fit the body seen on CT ({litres:.0f} litres, {low:.0f} to {high:.0f} kg "
            "expected): the SUV may be wrong. Look the weight up; it may be in pounds or of another patient.",
            kg=weight_kg,
            litres=litres,
            low=_KG_PER_LITRE[0] * litres,
            high=_KG_PER_LITRE[1] * litres,
        )
        return _fail("weight_fits", reason) if impossible else _warn("weight_fits", reason)
    if not whole_body:
        return None
    return _pass(
        "weight_fits",
        Message(
            "The weight of {kg:.0f} kg fits the body seen on CT ({litres:.0f} litres).", kg=weight_kg, litres=litres
        ),
    )


def _uptake_time(facts: PetFacts) -> QualityCheck:
    name, minutes = "uptake_time", facts.uptake_min
    if minutes is None:
        return _warn(name, Message("Injection or scan time is missing: the uptake time is not known."))
    reason = Message("Scan {minutes:.0f} min after injection (45 to 90 min expected).", minutes=minutes)
    return _grade(name, reason, good=45 <= minutes <= 90, acceptable=30 <= minutes <= 180)


def _dose(facts: PetFacts) -> QualityCheck:
    if facts.dose_bq is None:
        return _warn("dose", Message("The administered dose is not given."))
    megabecquerels = facts.dose_bq / 1e6
    reason = Message("Administered dose {mbq:.0f} MBq (80 to 800 MBq expected).", mbq=megabecquerels)
    return _grade("dose", reason, good=80 <= megabecquerels <= 800, acceptable=20 <= megabecquerels <= 2000)


def _weight(facts: PetFacts) -> QualityCheck:
    if facts.weight_kg is None:
        return _warn("weight", Message("The weight is not given."))
    reason = Message("Weight {kg:.1f} kg (30 to 200 kg expected).", kg=facts.weight_kg)
    return _grade("weight", reason, good=30 <= facts.weight_kg <= 200, acceptable=10 <= facts.weight_kg <= 350)


def _slices(pet: SliceGeometry, stated: float | None, phase_counts: Mapping[str, int]) -> QualityCheck:
    name, (low, high) = "slices", pet.spacing_range
    if pet.copies:
        return _warn(name, Message("{n} slices of the PET are duplicates and were left out.", n=len(pet.copies)))
    if stated is not None and stated > pet.shape[0]:
        return _warn(
            name, Message("The PET has {n} slices, its headers state {stated:.0f}.", n=pet.shape[0], stated=stated)
        )
    complete = Message("{n} slices, {low:.2f} to {high:.2f} mm apart.", n=pet.shape[0], low=low, high=high)
    if not phase_counts:
        return _pass(name, complete)
    counts = ", ".join(f"{keyword} {count}" for keyword, count in phase_counts.items())
    return _pass(
        name,
        Message(
            "{complete} The headers count {counts}; the images lie at different places and form one static series.",
            complete=complete,
            counts=counts,
        ),
    )


def _head_foot(volume: Volume) -> tuple[float, float]:
    """Lowest and highest z of the faces of the voxels, LPS mm."""
    low, high = volume.bounds
    return float(low[2]), float(high[2])


def _grade(name: str, reason: Message, *, good: bool, acceptable: bool) -> QualityCheck:
    return QualityCheck(
        name, CheckStatus.PASS if good else CheckStatus.WARN if acceptable else CheckStatus.FAIL, reason
    )


def _pass(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, CheckStatus.PASS, reason)


def _warn(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, CheckStatus.WARN, reason)


def _fail(name: str, reason: Message) -> QualityCheck:
    return QualityCheck(name, CheckStatus.FAIL, reason)
