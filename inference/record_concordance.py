"""Whether the clinical record and the images are of one patient and one examination.

Compared are the identifier (as a keyed digest), sex, age, weight, height, the day of the PET and the first dose. Each
agrees, differs, or is not stated on one side. A difference fails the check `record_fits`, until a person confirms it
with a reason; a PET of another day cannot be confirmed. docs/clinical.md gives the reasons and the measured error rates
of the tolerances.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import reduce
from math import floor, sqrt
from typing import TYPE_CHECKING, Final, Literal

from fedpet.clinical.reading import ReadRecord
from fedpet.clinical.record import RecordReference
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import RecordMismatchError
from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.study import PatientFacts, PetCtStudy

ItemName = Literal["identifier", "sex", "age", "weight", "height", "pet_date", "first_dose"]
CHECK: Final = "record_fits"
AGE_TOLERANCE_YEARS: Final = 1  # of completed years: a birthday between PET and first dose, rounding
HEIGHT_TOLERANCE_CM: Final = 8.0  # reported against measured, 70 and older: +1.2 cm, SD 2.8 cm
DELAY_TOLERANCE_DAYS: Final = 1.0  # the day itself counted or not
_LONGEST_DELAY_DAYS: Final = 92.0  # taken where the delay is not stated
_SHORTEST_DELAY_DAYS: Final = 14.0  # a weight of the record is seldom of the day it is used
_REPORTED_SD_KG: Final = 2.55  # reported against measured weight, 70 and older
_QUARTER_SD: Final = 0.077  # of the weight, three months under immunotherapy
_QUARTER_DAYS: Final = 91.0
_Z: Final = 3.0  # standard deviations


class Agreement(StrEnum):
    """What a comparison found."""

    AGREE = "agree"
    DIFFER = "differ"
    NOT_STATED = "not_stated"  # on one side at least


@dataclass(frozen=True)
class ComparedItem:
    """One item with the values found; None where a side states none. An identifier is never shown."""

    name: ItemName
    verdict: Agreement
    record: Message | None
    images: Message | None


@dataclass(frozen=True)
class RecordConfirmation:
    """That a person takes the record for right although it contradicts the images.

    Attributes:
        reason: why; not empty, or nothing is confirmed.
        by: who.
        of: digest of the contradictions confirmed (`RecordConcordance.digest`); "" for whatever is found.
    """

    reason: str
    by: str = ""
    of: str = ""


@dataclass(frozen=True)
class RecordConcordance:
    """Every item compared, and a person's confirmation, if there is one."""

    items: tuple[ComparedItem, ...]
    confirmation: RecordConfirmation | None = None

    @property
    def contradictions(self) -> tuple[ComparedItem, ...]:
        """The items that differ."""
        return tuple(item for item in self.items if item.verdict is Agreement.DIFFER)

    @property
    def digest(self) -> str:
        """SHA-256 of the contradictions: a confirmation of them holds for no others."""
        found = [
            [item.name, *(side and side.to_json() for side in (item.record, item.images))]
            for item in self.contradictions
        ]
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    @property
    def confirmed(self) -> bool:
        """Whether a person confirmed these contradictions."""
        given = self.confirmation
        return given is not None and bool(given.reason.strip()) and given.of in ("", self.digest)

    @property
    def same_pet(self) -> bool:
        """Whether the record is not of a PET of another day."""
        return not any(item.name == "pet_date" for item in self.contradictions)

    def check(self) -> QualityCheck:
        """The check `record_fits`."""
        if self.contradictions:
            differences = _listed(map(_difference, self.contradictions))
            if self.confirmed and self.same_pet:
                confirmed = Message(
                    "The record contradicts the images: {differences}. A person confirmed it.", differences=differences
                )
                return QualityCheck(CHECK, CheckStatus.WARN, confirmed)
            found = Message("The record contradicts the images: {differences}.", differences=differences)
            return QualityCheck(CHECK, CheckStatus.FAIL, found)
        agreeing = [LABELS[item.name] for item in self.items if item.verdict is Agreement.AGREE]
        if not agreeing:
            nothing = Message("Record and images state nothing that could be compared.")
            return QualityCheck(CHECK, CheckStatus.WARN, nothing)
        return QualityCheck(
            CHECK, CheckStatus.PASS, Message("Record and images agree: {items}.", items=_listed(agreeing))
        )

    def require_confirmed(self) -> None:
        """Refuse contradictions that nobody confirmed.

        Raises:
            RecordMismatchError: there are some.
        """
        if self.contradictions and not self.confirmed:
            raise RecordMismatchError(
                found=self.check().reason,
                needed=Message("The clinical record of the patient and of the examination in the images."),
                advice=Message(
                    "Give the right record or correct it; if both are right, confirm with a reason (--confirm-record)."
                ),
            )


LABELS: Final[Mapping[ItemName, Message]] = {
    "identifier": Message("identifier"),
    "sex": Message("sex"),
    "age": Message("age"),
    "weight": Message("weight"),
    "height": Message("height"),
    "pet_date": Message("day of the PET"),
    "first_dose": Message("first dose"),
}
_ITEM_OF: Final[Mapping[str, ItemName]] = {
    "sex": "sex",
    "age": "age",
    "weight_kg": "weight",
    "height_cm": "height",
    "pet_date": "pet_date",
}


def compare_record(
    record: ClinicalRecord,
    reference: RecordReference,
    images: PatientFacts,
    *,
    confirmation: RecordConfirmation | None = None,
) -> RecordConcordance:
    """Compare a record with what the images state of their patient.

    Args:
        record: the variables.
        reference: whose record it is, and of which days.
        images: `PetCtStudy.patient`.
        confirmation: a person's, if there is one.
    """
    items = (
        _identifier(reference, images),
        _sex(record, images),
        _age(record, images),
        _weight(record, images),
        _height(record, images),
        _pet_date(reference, images),
        _first_dose(record, reference, images),
    )
    copied = {_ITEM_OF[name] for name in reference.copied & _ITEM_OF.keys()}
    taken = Message("taken from the images")
    return RecordConcordance(
        tuple(replace(one, verdict=Agreement.NOT_STATED, record=taken) if one.name in copied else one for one in items),
        confirmation,
    )


@dataclass(frozen=True, eq=False)
class JoinedRecord:
    """A study and the record that goes with it.

    Attributes:
        analysis: of the study, with the check `record_fits`.
        record: with the delay that the images and the first dose give, where it states none.
        concordance: what was compared.
    """

    analysis: StudyAnalysis
    record: ClinicalRecord
    concordance: RecordConcordance

    @classmethod
    def of(
        cls,
        study: PetCtStudy | StudyAnalysis,
        record: ClinicalRecord | ReadRecord,
        *,
        confirmation: RecordConfirmation | None = None,
    ) -> JoinedRecord:
        """Compare a study and a record; contradictions that nobody confirmed fail the check `record_fits`.

        A record as it was read (`fedpet.read_record`) also says whose it is and of which days. Its identifier is
        compared under the key of this machine: where the study was loaded with another key, give `ReadRecord.record`.
        """
        if isinstance(record, ReadRecord):
            return _joined(StudyAnalysis.of(study), record.record, record.reference(), confirmation)
        return _joined(StudyAnalysis.of(study), record, RecordReference(), confirmation)


def join_record(
    analysis: StudyAnalysis,
    record: ClinicalRecord,
    reference: RecordReference,
    *,
    confirmation: RecordConfirmation | None = None,
) -> JoinedRecord:
    """Join a study and its record.

    Raises:
        RecordMismatchError: they contradict each other, and nobody confirmed it.
    """
    joined = _joined(analysis, record, reference, confirmation)
    joined.concordance.require_confirmed()
    return joined


@stage(Stage.RECORD)
def _joined(
    analysis: StudyAnalysis,
    record: ClinicalRecord,
    reference: RecordReference,
    confirmation: RecordConfirmation | None,
) -> JoinedRecord:
    images = analysis.study.patient
    completed = complete_record(record, reference, images)
    concordance = compare_record(completed, reference, images, confirmation=confirmation)
    return JoinedRecord(analysis.with_check(concordance.check()), completed, concordance)


def complete_record(record: ClinicalRecord, reference: RecordReference, images: PatientFacts) -> ClinicalRecord:
    """The record with the delay from the images' PET to the stated first dose, where it states no delay itself."""
    if record.pet_to_treatment_days is not None or reference.first_dose is None or not images.pet_dates:
        return record
    return replace(record, pet_to_treatment_days=_days_to_dose(reference.first_dose, images))


def weight_tolerance_kg(weight_kg: float, days: float | None) -> float:
    """How far two weights of one patient may lie apart.

    Args:
        weight_kg: of the images.
        days: between PET and first dose; None where not stated.
    """
    apart = max(abs(_LONGEST_DELAY_DAYS if days is None else days), _SHORTEST_DELAY_DAYS)
    change_kg = _QUARTER_SD * weight_kg * sqrt(apart / _QUARTER_DAYS)
    return _Z * sqrt(_REPORTED_SD_KG**2 + change_kg**2)


def with_days(message: Message, written: Callable[[str], str]) -> Message:
    """A value of an item with its day, YYYY-MM-DD, written as the reader's language does."""
    if "day" not in message.values:
        return message
    return message.with_values({**message.values, "day": written(message.values["day"])})


def _identifier(reference: RecordReference, images: PatientFacts) -> ComparedItem:
    stated = Message("stated, not shown")
    sides = stated if reference.identifier else None, stated if images.identifier else None
    return _item("identifier", *sides, agree=reference.identifier == images.identifier)


def _sex(record: ClinicalRecord, images: PatientFacts) -> ComparedItem:
    said = {choice.value: choice.label for choice in VARIABLES["sex"].choices}
    return _item("sex", said.get(record.sex or ""), said.get(images.sex), agree=record.sex == images.sex)


def _age(record: ClinicalRecord, images: PatientFacts) -> ComparedItem:
    found = None
    if images.age_years is not None and images.age_source == "birth_date":
        found = Message("the birth date gives {years} years", years=images.age_years)
    elif images.age_years is not None:
        found = Message("{years:g} years", years=images.age_years)
    stated = None if record.age is None else Message("{years:g} years", years=record.age)
    apart = abs(floor(record.age or 0) - (images.age_years or 0))
    return _item("age", stated, found, agree=apart <= AGE_TOLERANCE_YEARS)


def _weight(record: ClinicalRecord, images: PatientFacts) -> ComparedItem:
    stated, found = (kg and Message("{kg:g} kg", kg=round(kg, 1)) for kg in (record.weight_kg, images.weight_kg))
    apart = abs((record.weight_kg or 0.0) - (images.weight_kg or 0.0))
    tolerance = weight_tolerance_kg(images.weight_kg or 0.0, record.pet_to_treatment_days)
    return _item("weight", stated or None, found or None, agree=apart <= tolerance)


def _height(record: ClinicalRecord, images: PatientFacts) -> ComparedItem:
    cm = 100 * images.height_m if images.height_m else None
    stated, found = (one and Message("{cm:g} cm", cm=round(one, 1)) for one in (record.height_cm, cm))
    apart = abs((record.height_cm or 0.0) - (cm or 0.0))
    return _item("height", stated or None, found or None, agree=round(apart, 6) <= HEIGHT_TOLERANCE_CM)


def _pet_date(reference: RecordReference, images: PatientFacts) -> ComparedItem:
    """Exact: the days of study, series and acquisition are all right."""
    day = reference.pet_date and reference.pet_date.isoformat()
    stated = Message("PET of {day}", day=day) if day else None
    found = Message("PET of {day}", day=images.pet_dates[0]) if images.pet_dates else None
    return _item("pet_date", stated, found, agree=day in images.pet_dates)


def _first_dose(record: ClinicalRecord, reference: RecordReference, images: PatientFacts) -> ComparedItem:
    """The days from the images' PET to the first dose against the delay stated, or against its accepted range."""
    if reference.first_dose is None:
        return _item("first_dose", None, None, agree=False)
    delay, day = record.pet_to_treatment_days, reference.first_dose.isoformat()
    stated = Message("first dose on {day}", day=day)
    if delay is not None:
        stated = Message("first dose on {day}, {days:g} days after the PET", day=day, days=delay)
    if not images.pet_dates:
        return _item("first_dose", stated, None, agree=False)
    computed = _days_to_dose(reference.first_dose, images)
    found = Message("{days:g} days after the PET of the images", days=computed)
    low, high = VARIABLES["pet_to_treatment_days"].reject or (-_LONGEST_DELAY_DAYS, _LONGEST_DELAY_DAYS)
    agree = low <= computed <= high if delay is None else abs(computed - delay) <= DELAY_TOLERANCE_DAYS
    return _item("first_dose", stated, found, agree=agree)


def _days_to_dose(first_dose: date, images: PatientFacts) -> float:
    return float((first_dose - date.fromisoformat(images.pet_dates[0])).days)


def _item(name: ItemName, record: Message | None, images: Message | None, *, agree: bool) -> ComparedItem:
    if record is None or images is None:
        return ComparedItem(name, Agreement.NOT_STATED, record, images)
    return ComparedItem(name, Agreement.AGREE if agree else Agreement.DIFFER, record, images)


def _difference(item: ComparedItem) -> Message:
    if item.name == "identifier":
        return Message("the identifier differs")
    return Message(
        "{item}: {record} in the record, {images} in the images",
        item=LABELS[item.name],
        record=item.record,
        images=item.images,
    )


def _listed(messages: Iterable[Message]) -> Message:
    return reduce(lambda one, other: Message("{one}; {other}", one=one, other=other), messages)
