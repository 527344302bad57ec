"""What the images of an examination state of their patient (Patient and Patient Study modules, PS3.3 C.7.1.1, C.7.2.2).

Read from every image: two patients in one examination are refused, and nothing rests on the first file alone. Name,
birth date and issuer live here while a study is loaded and no longer; what stays is `PatientFacts` and the pseudonym.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import SeriesNotFoundError
from fedpet.core.messages import Message
from fedpet.core.pseudonyms import SaltedDigests, comparable, identifier_digest, is_placeholder, pseudonym
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_date
from fedpet.imaging.study import PatientFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.study import AgeSource, PetFacts

_SEXES: Final[Mapping[str, str]] = {"M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}  # others (O) state nothing
_UNITS_A_YEAR: Final = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}  # of Age String (PS3.5 6.2)
_NO_BIRTH_DATES: Final = frozenset({date(1800, 1, 1), date(1900, 1, 1), date(1901, 1, 1), date(1111, 11, 11)})
_OLDEST: Final = 115  # years; beyond it a date or an age is a filler
_REMOVED: Final = "YES"
_MODIFIED: Final = ("MODIFIED", "REMOVED")
_IDENTIFYING: Final[Mapping[str, Message]] = {
    "patient_id": Message("different identifiers"),
    "issuer": Message("different issuers of the identifier"),
    "name": Message("different names"),
    "birth_date": Message("different birth dates"),
}
_DEIDENTIFIED: Final = "deidentified"
_COMPARED: Final[Mapping[str, Message]] = {**_IDENTIFYING, "sex": Message("different sexes")}


@dataclass(frozen=True, repr=False)
class PatientModule:
    """What one image states; "" is not stated. Holds an identity: never log it, never keep it.

    Attributes:
        patient_id: PatientID as written; "" where it is a placeholder.
        issuer: IssuerOfPatientID, reduced to letters and digits.
        name: family and given name of PatientName, likewise.
        birth_date: YYYYMMDD; "" where it is a filler.
        sex: "F", "M" or "".
        age: PatientAge in completed years; None where not stated.
        dates_modified: a de-identification moved or removed the dates (PS3.3 C.7.2.1).
        deidentified: PatientIdentityRemoved is YES.
    """

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""
    age: int | None = None
    dates_modified: bool = False
    deidentified: bool = False

    @classmethod
    def from_header(cls, header: Dataset) -> PatientModule:
        """Read a header that still has its identity, or a whole object."""
        identifier, issuer = text(header, "PatientID"), text(header, "IssuerOfPatientID")
        born = _date(text(header, "PatientBirthDate"))
        return cls(
            patient_id="" if is_placeholder(identifier) else identifier,
            issuer=comparable(issuer),
            name=_name(text(header, "PatientName")),
            birth_date="" if born is None or born in _NO_BIRTH_DATES else f"{born:%Y%m%d}",
            sex=_SEXES.get(text(header, "PatientSex").upper(), ""),
            age=_years(text(header, "PatientAge")),
            dates_modified=text(header, "LongitudinalTemporalInformationModified").upper() in _MODIFIED,
            deidentified=text(header, "PatientIdentityRemoved").upper() == _REMOVED,
        )

    @property
    def person(self) -> str:
        """What identifies the person beside PatientID, in one form; "" where nothing is stated."""
        stated = (self.issuer, self.name, self.birth_date)
        return "\0".join(stated) if any(stated) else ""

    def pseudonym(self, examination_uid: str, key: bytes) -> str:
        """The keyed pseudonym: of PatientID and person, or of the examination where there is no identifier.

        Two anonymous patients must not be one; nor two persons who bear one identifier.
        """
        if self.patient_id:
            return pseudonym(self.patient_id, key, person=self.person)
        return pseudonym(examination_uid, key, person=self.person)

    def digests(self) -> SaltedDigests:
        """What may be kept for `contradictions`."""
        return SaltedDigests.of(self._compared())

    def contradictions(self, images: SaltedDigests) -> list[Message]:
        """What an object states otherwise than its images do; nothing where one of them alone is de-identified."""
        differing = images.differing(self._compared())
        if _DEIDENTIFIED in differing:
            return []
        return [_COMPARED[name] for name in differing]

    def comparable_with(self, images: SaltedDigests) -> bool:
        """Whether both state the patient, or both a pseudonym."""
        return _DEIDENTIFIED not in images.differing(self._compared())

    def _compared(self) -> dict[str, str]:
        """What identifies the person, reduced to what counts."""
        return {
            "patient_id": comparable(self.patient_id).lstrip("0"),
            "issuer": self.issuer,
            "name": self.name,
            "birth_date": self.birth_date,
            "sex": self.sex,
            _DEIDENTIFIED: str(self.deidentified),
        }

    def facts(self, key: bytes, dates: Sequence[str], pet: PetFacts) -> PatientFacts:
        """What may be kept.

        Args:
            key: secret of the centre.
            dates: StudyDate, SeriesDate and AcquisitionDate of the PET, as written.
            pet: weight and height as the SUV uses them.
        """
        days = [] if self.dates_modified else sorted({day for value in dates if (day := _date(value))})
        age, source = self._age(days)
        return PatientFacts(
            identifier=identifier_digest(self.patient_id, key),
            sex=self.sex,
            age_years=age,
            age_source=source,
            weight_kg=pet.weight_kg,
            height_m=pet.height_m,
            pet_dates=tuple(day.isoformat() for day in days),
        )

    def _age(self, days: Sequence[date]) -> tuple[int | None, AgeSource]:
        born = _date(self.birth_date)
        if born is not None and days:
            years = completed_years(born, days[0])
            if 0 < years <= _OLDEST:
                return years, "birth_date"
        return (None, "") if self.age is None else (self.age, "patient_age")


def one_patient(modules: Iterable[PatientModule]) -> PatientModule:
    """The one patient whom all these images name; what some of them leave out is taken from the others.

    Raises:
        SeriesNotFoundError: two of them name different patients, sexes or ages.
    """
    counts = Counter(modules)
    for field, label in _IDENTIFYING.items():
        if len(images := _images_by_value(counts, field)) > 1:
            raise _several(Message("{n} {what}", n=len(images), what=label), images.values())
    if len(images := _images_by_value(counts, "sex")) > 1:
        raise _several(Message("both sexes"), images.values())
    ages = Counter(one.age for one in counts.elements() if one.age is not None)
    if ages and max(ages) - min(ages) > 1:  # a birthday lies between two series at most once
        raise _several(Message("ages from {low} to {high} years", low=min(ages), high=max(ages)), ages.values())
    stated = {field: next(iter(_images_by_value(counts, field)), "") for field in (*_IDENTIFYING, "sex")}
    return PatientModule(
        patient_id=stated["patient_id"],
        issuer=stated["issuer"],
        name=stated["name"],
        birth_date=stated["birth_date"],
        sex=stated["sex"],
        age=min(ages, default=None),
        dates_modified=any(one.dates_modified for one in counts),
        deidentified=any(one.deidentified for one in counts),
    )


def same_patient(*images: Iterable[PatientModule]) -> PatientModule | None:
    """The patient whom all images name, None where they name several; they may be of years apart, so without age."""
    try:
        return one_patient(replace(module, age=None) for modules in images for module in modules)
    except SeriesNotFoundError:
        return None


def examination_uid(header: Dataset) -> str:
    """What stands for a patient without identifier: StudyInstanceUID, or the nearest thing to it.

    Raises:
        SeriesNotFoundError: there is none.
    """
    keywords = ("StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "SOPInstanceUID")
    uid = next((found for keyword in keywords if (found := text(header, keyword))), "")
    if not uid:
        raise SeriesNotFoundError(
            found=Message("The images name neither a patient nor an examination."),
            needed=Message("A patient identifier or a Study Instance UID: two patients must never be taken for one."),
            advice=Message("Export the examination again from the PACS."),
        )
    return uid


def completed_years(born: date, day: date) -> int:
    """Age in completed years."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _images_by_value(counts: Counter[PatientModule], field: str) -> Counter[str]:
    """Number of images for each value of a text; those that state none are left out."""
    images: Counter[str] = Counter()
    for module, count in counts.items():
        if value := getattr(module, field):
            images[value] += count
    return images


def _several(found: Message, images: Iterable[int]) -> SeriesNotFoundError:
    numbers = ", ".join(str(count) for count in sorted(images, reverse=True))
    return SeriesNotFoundError(
        found=Message("Images that belong together state {found} ({numbers} images).", found=found, numbers=numbers),
        needed=Message("Images that all name the same patient."),
        advice=Message("Export the examination of one patient again from the PACS; do not mix the files of two."),
    )


def _name(written: str) -> str:
    """Family and given name of the first component group that is stated (PS3.5 6.2.1.1)."""
    group = next(filter(None, (part.strip() for part in written.split("="))), "")
    name = comparable("".join(group.split("^")[:2]))
    return "" if is_placeholder(name) else name


def _years(written: str) -> int | None:
    found = re.fullmatch(r"(\d{1,3})([YMWD]?)", written.upper().replace(" ", ""))
    if found is None:
        return None
    years = int(int(found[1]) / _UNITS_A_YEAR[found[2] or "Y"])
    return years if 0 < years <= _OLDEST else None


def _date(written: str) -> date | None:
    try:
        return read_date.__wrapped__(written)  # birth dates are not kept in its cache
    except UnreadableValueError:
        return None
