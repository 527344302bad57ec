"""Which CT belongs to a PET, and which of several is preferred."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING

from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.attenuation_ct import (
    attenuation_ct_criteria,
    attenuation_ct_score,
    contrast,
    is_referenced,
    referenced_series,
)
from fedpet.imaging.dicom.headers.attributes import number, text
from fedpet.imaging.dicom.headers.patient_module import same_patient
from fedpet.imaging.dicom.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fedpet.imaging.dicom.geometry import SliceGeometry

    Criterion = tuple[Callable[[Series], float], Message]  # the smaller value wins; what is said of the loser

_ENOUGH = 0.9  # share of the PET that a CT covers, beyond which more does not matter
_SAME_EXAMINATION = timedelta(hours=1)  # longest time between CT and PET without frames of reference


def match_ct(series: tuple[Series, ...], pet: Series) -> tuple[Series | None, dict[Series, Message]]:
    """The CT that belongs to the PET, and what is said of each CT.

    It lies in the PET's frame of reference. Order of preference: covers most of the PET (in steps of 5 %, up to 90 %),
    original before derived, the PET refers to it, without contrast agent, most signs of being the CT for attenuation
    correction (`fedpet.imaging.dicom.attenuation_ct`), closest in time, slice spacing closest to the PET's, lowest
    series number. Where none covers 90 %, series that make one volume together are joined.
    """
    fit = [one for one in series if one.modality == "CT" and one.unfit is None]
    reasons = {one: why for one in fit if (why := in_other_frame_of_reference(one, pet)) is not None}
    here = [one for one in fit if one not in reasons]
    broken = {one: one.geometry for one in here if isinstance(one.geometry, SliceGeometryError)}
    reasons |= {one: refusal.found for one, refusal in broken.items()}
    whole = [one for one in here if one not in broken]
    best, lost = rank_ct_candidates(whole, _ct_criteria(whole, pet)) if whole else (None, {})
    reasons |= lost
    if best is None or _covered(best, pet) < _ENOUGH:
        joined = _joined(here, pet)
        if joined is not None and (best is None or _covered(joined, pet) > _covered(best, pet)):
            return joined, reasons | dict.fromkeys(joined.joined, _why_ct(joined, pet))
    if best is not None:
        return best, reasons | {best: _why_ct(best, pet)}
    return None, reasons


def first_broken_ct(series: tuple[Series, ...], pet: Series) -> Message | None:
    """Why the first CT in the PET's frame of reference forms no volume; None where there is none."""
    cts = (one for one in series if one.modality == "CT" and one.unfit is None)
    broken = (one.geometry for one in cts if in_other_frame_of_reference(one, pet) is None)
    return next((geometry.found for geometry in broken if isinstance(geometry, SliceGeometryError)), None)


def overlap(ct: SliceGeometry | SliceGeometryError, pet: SliceGeometry | SliceGeometryError) -> float:
    """Share of the PET's head-foot extent that the CT covers, 0 to 1."""
    if isinstance(ct, SliceGeometryError) or isinstance(pet, SliceGeometryError):
        return 0.0
    (low, high), (ct_low, ct_high) = pet.head_foot_mm, ct.head_foot_mm
    slack = ct.spacing[2]  # centres of the outermost slices need not coincide
    covered = min(high, ct_high + slack) - max(low, ct_low - slack)
    return min(1.0, max(0.0, covered / (high - low))) if high > low else 0.0


def _ct_criteria(cts: Sequence[Series], pet: Series) -> list[Criterion]:
    uids = referenced_series(pet) if len(cts) > 1 else set()
    return [
        (lambda one: -round(20 * min(_ENOUGH, _covered(one, pet))), Message("another CT covers more of the PET")),
        (lambda one: one.derived, Message("derived image; the original CT is there")),
        (lambda one: not is_referenced(one, uids), Message("the PET refers to another CT")),
        (contrast, Message("with contrast agent; another CT is without")),
        (
            lambda one: -attenuation_ct_score(one, pet),
            Message("diagnostic CT: another has more signs of the CT for attenuation correction"),
        ),
        (lambda one: _minutes_apart(one, pet), Message("another CT is closer to the PET in time")),
        (lambda one: _step_difference(one, pet), Message("the slices of another CT are spaced more like the PET's")),
        (series_number, Message("another CT as good has a lower series number")),
    ]


def _why_ct(ct: Series, pet: Series) -> Message:
    signs = [Message("with contrast agent")] if contrast(ct) else []
    if not ct.frames:
        signs.append(
            Message("neither names a frame of reference: same scanner, same hour and same place are taken for it")
        )
    if ct.joined:
        signs.append(Message("{n} series together", n=len(ct.joined)))
    covers = Message("frame of reference of the PET, covers {percent:.0f} % of it", percent=100 * _covered(ct, pet))
    return reduce(
        lambda one, other: Message("{one}, {other}", one=one, other=other),
        [*signs, *attenuation_ct_criteria(ct, pet)],
        covers,
    )


def in_other_frame_of_reference(ct: Series, pet: Series) -> Message | None:
    """Why a CT does not belong to the PET, or None."""
    if text(ct.first, "PatientID") != text(pet.first, "PatientID") or same_patient(ct.patients, pet.patients) is None:
        return Message("another patient than the PET's")
    if ct.frames or pet.frames:
        other = Message("another frame of reference than the PET")
        lone = Message("only one of PET and CT names a frame of reference")
        return None if ct.frames == pet.frames else other if ct.frames and pet.frames else lone
    same = all(
        text(ct.first, keyword) == text(pet.first, keyword) != ""
        for keyword in ("StudyInstanceUID", "Manufacturer", "ManufacturerModelName")
    )
    near = _minutes_apart(ct, pet) * 60 <= _SAME_EXAMINATION.total_seconds()
    if same and near and (isinstance(ct.geometry, SliceGeometryError) or _covered(ct, pet) >= _ENOUGH):
        return None
    return Message("neither names a frame of reference, and it is not certain that both belong together")


def rank_ct_candidates(
    candidates: Sequence[Series], criteria: Sequence[Criterion]
) -> tuple[Series, dict[Series, Message]]:
    """The best candidate, and what decided against each other one: the first criterion in which they differ."""
    values = {one: tuple(value(one) for value, _ in criteria) for one in candidates}
    best = min(candidates, key=values.__getitem__)
    lost = {}
    for one in candidates:
        differing = [
            why for (_, why), mine, its in zip(criteria, values[one], values[best], strict=True) if mine != its
        ]
        if one is not best:
            lost[one] = (
                differing[0] if differing else Message("no better than the one chosen, which comes first in the list")
            )
    return best, lost


def _joined(cts: Sequence[Series], pet: Series) -> Series | None:
    """The series put together of those like the one that covers most of the PET, if they make one volume."""
    if len(cts) < 2:
        return None
    look = max(cts, key=lambda one: _covered(one, pet))
    alike = tuple(one for one in cts if _look(one) == _look(look))
    joined = Series(tuple(instance for one in alike for instance in one.instances), look.id, joined=alike)
    sound = not isinstance(joined.geometry, SliceGeometryError) and not joined.geometry.copies
    return joined if len(alike) > 1 and sound else None


def _look(ct: Series) -> tuple[object, ...]:
    keywords = "ConvolutionKernel", "RescaleSlope", "RescaleIntercept", "RescaleType", "KVP"
    return contrast(ct), ct.derived, *(text(ct.first, keyword) for keyword in keywords)


def _covered(ct: Series, pet: Series) -> float:
    return overlap(ct.geometry, pet.geometry)


def _step_difference(ct: Series, pet: Series) -> float:
    if isinstance(ct.geometry, SliceGeometryError) or isinstance(pet.geometry, SliceGeometryError):
        return float("inf")
    return round(abs(ct.geometry.spacing[2] - pet.geometry.spacing[2]), 2)


def _minutes_apart(one: Series, other: Series) -> float:
    if one.start is None or other.start is None:
        return float("inf")
    return abs((one.start - other.start).total_seconds()) // 60


def series_number(series: Series) -> float:
    """SeriesNumber, the last resort in a ranking; 0 where absent."""
    return number(series.first, "SeriesNumber") or 0.0
