"""Which PET and which CT of the series found are used, and why each other one is not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, StudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.ct_matching import (
    first_broken_ct,
    in_other_frame_of_reference,
    match_ct,
    rank_ct_candidates,
    series_number,
)
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.patient_module import one_patient
from fedpet.imaging.dicom.series import Series, series_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fedpet.imaging.dicom.ct_matching import Criterion
    from fedpet.imaging.study import SeriesFacts

_CHOSEN_BY_READER = Message("chosen by the reader")


@dataclass(frozen=True, eq=False)
class SelectedSeries:
    """The series found and the two chosen.

    `ct` is None where no CT belongs to the PET, or where `ct_problem` says why it forms no volume. `ct_frame_assumed`:
    neither names a frame of reference.
    """

    series: tuple[Series, ...]
    pet: Series
    ct: Series | None
    reasons: dict[Series, Message]
    ct_frame_assumed: bool = False
    ct_problem: Message | None = None

    def facts(self) -> tuple[SeriesFacts, ...]:
        """One line for each series found."""
        chosen = (self.pet, self.ct, *(self.ct.joined if self.ct else ()))
        return tuple(series_facts(one, self.reasons[one], chosen=one in chosen) for one in self.series)


def select_series(
    series: tuple[Series, ...], usable: Callable[[Series], None], *, pet: int | None = None, ct: int | None = None
) -> SelectedSeries:
    """The PET and the CT to be used.

    Among attenuation-corrected PET series that form a volume and that `usable` accepts: the longest, then an original
    before a derived one, one with a CT, the one with most slices, the first acquired. Its CT:
    `fedpet.imaging.dicom.ct_matching.match_ct`.

    Args:
        series: as `fedpet.imaging.dicom.stacks.split_into_stacks` returns.
        usable: raises a `StudyError` for a PET whose values cannot be converted.
        pet: id of the PET that a person chose instead.
        ct: the same of the CT.

    Raises:
        SeriesNotFoundError: no attenuation-corrected PET, PETs of several patients or examinations, a series
            whose images name several patients, or a person's choice that is not there or cannot be used.
        SliceGeometryError, SuvError: the PET, or the CT that a person chose, cannot be used.
    """
    pets = [one for one in series if one.modality == "PT"] if pet is None else [_named(series, pet, "PT")]
    _refuse_mixed_patients(series)
    refusals = {one: _refusal(one, usable) for one in pets if one.unfit is None}
    reasons = {one: one.unfit or Message("not needed") for one in series}
    reasons |= {one: why.found for one, why in refusals.items() if why is not None}
    fit = [one for one, why in refusals.items() if why is None]
    if not fit:
        raise _no_pet(series, refusals)
    _refuse_several(fit)
    best, lost = rank_ct_candidates(fit, _pet_criteria(series))
    reasons |= lost
    several = Message("attenuation-corrected PET, the best of {n}", n=len(fit))
    only = several if len(fit) > 1 else Message("the only attenuation-corrected PET that can be used")
    reasons[best] = only if pet is None else _CHOSEN_BY_READER
    chosen_ct, ct_reasons = match_ct(series, best) if ct is None else _chosen_ct(_named(series, ct, "CT"), best)
    assumed = chosen_ct is not None and not chosen_ct.frames
    problem = None if chosen_ct else first_broken_ct(series, best)
    return SelectedSeries(series, best, chosen_ct, reasons | ct_reasons, assumed, problem)


def _pet_criteria(series: Sequence[Series]) -> list[Criterion]:
    cts = [one for one in series if one.modality == "CT" and one.unfit is None]
    return [
        (lambda one: -round(_length(one), -1), Message("another attenuation-corrected PET is longer")),
        (lambda one: one.derived, Message("derived image; the original PET is there")),
        (
            lambda one: not any(in_other_frame_of_reference(ct, one) is None for ct in cts),
            Message("no CT belongs to it"),
        ),
        (lambda one: -len(one.instances), Message("another PET of this length has more slices")),
        (_seconds, Message("acquired later than another PET of this length")),
        (series_number, Message("another PET as good has a lower series number")),
    ]


def _chosen_ct(ct: Series, pet: Series) -> tuple[Series, dict[Series, Message]]:
    """A person's CT, if it can be used with the PET."""
    if (why := in_other_frame_of_reference(ct, pet)) is not None:
        raise _unfit_choice(ct.id, why)
    ct.ordered()
    return ct, {ct: _CHOSEN_BY_READER}


def _named(series: Iterable[Series], chosen: int, modality: str) -> Series:
    """The series a person chose by its number.

    Raises:
        SeriesNotFoundError: there is none of this modality by that number, or it can never be used.
    """
    found = next((one for one in series if one.id == chosen and one.modality == modality), None)
    if found is None:
        raise _unfit_choice(chosen, Message("there is no {modality} series with this number", modality=modality))
    if found.unfit is not None:
        raise _unfit_choice(chosen, found.unfit)
    return found


def _refusal(pet: Series, usable: Callable[[Series], None]) -> StudyError | None:
    """Why an attenuation-corrected PET cannot be used, or None."""
    try:
        pet.ordered()
        usable(pet)
    except StudyError as refusal:
        return refusal
    return None


def _length(series: Series) -> float:
    if isinstance(series.geometry, SliceGeometryError):
        return 0.0
    low, high = series.geometry.head_foot_mm
    return high - low


def _seconds(series: Series) -> float:
    return series.start.timestamp() if series.start else float("inf")


def _unfit_choice(chosen: int, reason: Message) -> SeriesNotFoundError:
    return SeriesNotFoundError(
        found=Message("Series {number} cannot be used: {reason}.", number=chosen, reason=reason),
        needed=Message("A PET or CT series that can be used, by its number in the list of series."),
        advice=Message("Choose another series, or let the program choose."),
    )


def _no_pet(series: Sequence[Series], refusals: Mapping[Series, StudyError | None]) -> StudyError:
    """Why no PET can be used: of several, what is said of the one of most images."""
    refused = max(refusals, key=lambda one: len(one.instances), default=None)
    if refused is not None and (why := refusals[refused]) is not None:
        return why
    kinds = sorted({one.modality for one in series})
    unfit = [one.unfit for one in series if one.modality == "PT" and one.unfit is not None]
    return SeriesNotFoundError(
        found=Message("No PET series that can be used: {reason}.", reason=unfit[0])
        if unfit
        else Message("No PET among the series found ({kinds}).", kinds=", ".join(kinds)),
        needed=Message("A static, attenuation-corrected PET series (ATTN in Corrected Image)."),
        advice=Message("Export the attenuation-corrected PET together with its CT."),
    )


def _refuse_mixed_patients(series: Iterable[Series]) -> None:
    """Refuse a PET or CT series whose images name different patients, although they bear one SeriesInstanceUID."""
    mixed: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for one in series:
        if one.modality in ("PT", "CT"):
            mixed[tuple(text(one.first, f"{level}InstanceUID") for level in ("Study", "Series"))].append(one)
    for parts in mixed.values():
        one_patient(module for part in parts for module in part.patients.elements())


def _refuse_several(pets: Sequence[Series]) -> None:
    """Refuse usable PETs of more than one patient or examination: which one is meant is not ours to guess."""
    studies = {(text(pet.first, "PatientID"), text(pet.first, "StudyInstanceUID")) for pet in pets}
    if len(studies) > 1:
        raise SeriesNotFoundError(
            found=Message("PET series of {n} different examinations.", n=len(studies)),
            needed=Message("One examination of one patient."),
            advice=Message("Separate the examinations and load one at a time, or choose the PET by its number."),
        )
