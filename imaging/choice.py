"""Which PET and which CT of the series found are used, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.errors import GeometryRefused, SeriesNotFound, StudyRefused
from fedpet.messages import Message
from imaging.header import number, text
from imaging.series import series_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from imaging.geometry import Geometry
    from imaging.series import Series
    from imaging.study import SeriesFacts


@dataclass(frozen=True, eq=False)
class Choice:
    """The series found and the two chosen. `ct` is None where no CT shares the PET's frame of reference."""

    series: tuple[Series, ...]
    pet: Series
    ct: Series | None
    reasons: dict[Series, Message]

    def facts(self) -> tuple[SeriesFacts, ...]:
        """One line for each series found."""
        return tuple(series_facts(one, self.reasons[one], chosen=one in (self.pet, self.ct)) for one in self.series)


def choose(series: tuple[Series, ...], usable: Callable[[Series], None]) -> Choice:
    """The PET and the CT to be used.

    Among attenuation-corrected PET series that form a volume and that `usable` accepts: the longest, then an original
    before a derived one, one with a CT in its frame of reference, the one with most slices. Its CT: `choose_ct`.

    Args:
        series: as `grouped` returns.
        usable: raises a `StudyRefused` for a PET whose values cannot be converted.

    Raises:
        SeriesNotFound: no attenuation-corrected PET, or PETs of several patients or examinations.
        GeometryRefused, SuvNotComputable: the PET, or the CT of its frame, cannot be used.
    """
    pets = [one for one in series if one.modality == "PT"]
    refusals = {one: _refusal(one, usable) for one in pets if one.unfit is None}
    reasons = {one: one.unfit or Message("not needed") for one in series}
    reasons |= {one: why.found for one, why in refusals.items() if why is not None}
    fit = sorted((one for one, why in refusals.items() if why is None), key=lambda one: _pet_rank(one, series))
    if not fit:
        raise _no_pet(series, [why for why in refusals.values() if why is not None])
    _refuse_several(fit)
    pet = fit[0]
    reasons |= dict.fromkeys(fit[1:], Message("another attenuation-corrected PET is longer or has more slices"))
    reasons[pet] = Message("attenuation-corrected PET, the longest of {n}", n=len(fit))
    ct, ct_reasons = choose_ct(series, pet)
    return Choice(series, pet, ct, reasons | ct_reasons)


def choose_ct(series: tuple[Series, ...], pet: Series) -> tuple[Series | None, dict[Series, Message]]:
    """The CT in the PET's frame of reference, and what is said of each CT.

    Order of preference: covers most of the PET (in steps of 5 %), original before derived, without contrast agent,
    closest in time, slice spacing closest to the PET's, lowest series number.

    Raises:
        GeometryRefused: a CT of this frame is there, but none forms a volume.
    """
    reasons: dict[Series, Message] = {}
    here: list[Series] = []
    for one in series:
        if one.modality != "CT" or one.unfit is not None:
            continue
        if not pet.frame or one.frame != pet.frame:
            reasons[one] = Message("another frame of reference than the PET")
        elif isinstance(one.geometry, GeometryRefused):
            reasons[one] = one.geometry.found
        else:
            here.append(one)
    if not here:
        for one in series:
            if one in reasons and one.frame == pet.frame and isinstance(one.geometry, GeometryRefused):
                raise one.geometry
        return None, reasons
    here.sort(key=lambda one: _ct_rank(one, pet))
    reasons |= dict.fromkeys(here, Message("another CT fits the PET better"))
    reasons[here[0]] = Message(
        "frame of reference of the PET, covers {percent:.0f} % of it{contrast}",
        percent=100 * overlap(here[0].geometry, pet.geometry),
        contrast=Message(", with contrast agent") if here[0].contrast else "",
    )
    return here[0], reasons


def overlap(ct: Geometry | GeometryRefused, pet: Geometry | GeometryRefused) -> float:
    """Share of the PET's head-foot extent that the CT covers, 0 to 1."""
    if isinstance(ct, GeometryRefused) or isinstance(pet, GeometryRefused):
        return 0.0
    (low, high), (ct_low, ct_high) = pet.head_foot_mm, ct.head_foot_mm
    slack = ct.spacing[2]  # centres of the outermost slices need not coincide
    covered = min(high, ct_high + slack) - max(low, ct_low - slack)
    return max(0.0, covered / (high - low)) if high > low else 0.0


def _refusal(pet: Series, usable: Callable[[Series], None]) -> StudyRefused | None:
    """Why an attenuation-corrected PET cannot be used, or None."""
    try:
        pet.ordered()
        usable(pet)
    except StudyRefused as refusal:
        return refusal
    return None


def _length(series: Series) -> float:
    if isinstance(series.geometry, GeometryRefused):
        return 0.0
    low, high = series.geometry.head_foot_mm
    return high - low


def _pet_rank(pet: Series, series: tuple[Series, ...]) -> tuple[float, ...]:
    matched = any(one.modality == "CT" and one.unfit is None and one.frame == pet.frame for one in series)
    length = round(_length(pet), -1)
    return -length, pet.derived, not matched, -len(pet.instances), number(pet.first, "SeriesNumber") or 0.0


def _ct_rank(ct: Series, pet: Series) -> tuple[float, ...]:
    covered = round(20 * overlap(ct.geometry, pet.geometry))
    start, pet_start = ct.start(), pet.start()
    apart = abs((start - pet_start).total_seconds()) if start and pet_start else float("inf")
    fit = -covered, ct.derived, ct.contrast, apart, _step_difference(ct, pet)
    return *fit, number(ct.first, "SeriesNumber") or 0.0


def _step_difference(ct: Series, pet: Series) -> float:
    if isinstance(ct.geometry, GeometryRefused) or isinstance(pet.geometry, GeometryRefused):
        return float("inf")
    return abs(ct.geometry.spacing[2] - pet.geometry.spacing[2])


def _no_pet(series: tuple[Series, ...], refusals: list[StudyRefused]) -> StudyRefused:
    if refusals:
        return refusals[0]
    kinds = sorted({one.modality for one in series})
    uncorrected = any(one.modality == "PT" for one in series)
    return SeriesNotFound(
        found=Message("No attenuation-corrected PET, only PET series that cannot be used.")
        if uncorrected
        else Message("No PET among the series found ({kinds}).", kinds=", ".join(kinds)),
        needed=Message("A static, attenuation-corrected PET series (ATTN in Corrected Image)."),
        advice=Message("Export the attenuation-corrected PET together with its CT."),
    )


def _refuse_several(pets: list[Series]) -> None:
    """Refuse usable PETs of more than one patient or examination: which one is meant is not ours to guess."""
    studies = {(text(pet.first, "PatientID"), text(pet.first, "StudyInstanceUID")) for pet in pets}
    if len(studies) > 1:
        raise SeriesNotFound(
            found=Message("PET series of {n} different examinations.", n=len(studies)),
            needed=Message("One examination of one patient."),
            advice=Message("Separate the examinations and load one at a time."),
        )
