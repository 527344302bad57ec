"""What all DICOM objects of a case share: identifiers derived from the content, dates, series, identity.

Objects are built from headers without identity and receive it only at the end (`Export.finish`): the libraries in
between cannot log, quote or store a name.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID, uuid5

from pydicom.uid import UID

import fedpet
from fedpet.core.messages import Message
from reports.content_hash import content_hash
from reports.labels import SYNTHETIC
from reports.locale import Locale

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from fedpet.core.messages import Language
    from fedpet.imaging.dicom.patient_identity import PatientHeaders
    from reports.content import ReportContent

ObjectKind = Literal["measurements", "lesions", "saliency", "report", "key_slices"]
_SERIES: Final[dict[ObjectKind, Message]] = {
    "measurements": Message("fedpet: PET measurements and prediction"),
    "lesions": Message("fedpet: lesions"),
    "saliency": Message("fedpet: saliency map"),
    "report": Message("fedpet: report"),
    "key_slices": Message("fedpet: key slices"),
}
_FIRST_SERIES, _SERIES_BLOCKS = 1_000_000, 90_000  # our series have numbers of seven digits, ten for each report
_SHORT_STRING: Final = 16  # characters of a value of SH (PS3.5 6.2)
_NAMESPACE: Final = UUID("5a1c7b0e-5f0d-4d52-9a0b-6a54e1f5c3d2")
_UTF_8: Final = "ISO_IR 192"
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")  # PS3.3 C.12.1.1.8; anything else is no zone


@dataclass(frozen=True, eq=False)
class Export:
    """A case to be written as DICOM objects in one language."""

    content: ReportContent
    sources: PatientHeaders
    language: Language
    label_map: bool = False  # the Segmentation as Label Map Segmentation Storage

    @cached_property
    def locale(self) -> Locale:
        """The language of the texts."""
        return Locale(self.language)

    @cached_property
    def digest(self) -> str:
        """The content hash printed on the report."""
        return content_hash(self.content)

    @cached_property
    def created(self) -> datetime:
        """The time of the report, in the time zone of the source."""
        return self.moment(self.content.created)

    @property
    def accepted(self) -> bool:
        """Whether a reader accepted and signed the answer."""
        return self.content.verdict is not None and self.content.verdict.decision == "accept"

    def moment(self, iso: str) -> datetime:
        """A time in ISO 8601 without zone: in the zone of the source where that names one, else as written.

        Timezone Offset From UTC, copied from the source, holds for every time of an object (PS3.3 C.12.1.1.8).
        """
        moment = datetime.fromisoformat(iso)
        offset = str(self.sources.patient.get("TimezoneOffsetFromUTC") or "")
        if moment.tzinfo is not None and _OFFSET.fullmatch(offset):
            moment = moment.astimezone(datetime.strptime(offset, "%z").tzinfo)
        return moment.replace(tzinfo=None, microsecond=0)

    def uid(self, *parts: str) -> UID:
        """A UID derived from the content, the language, the version of this software and `parts` (PS3.5 B.2)."""
        return deterministic_uid(self.digest, self.language, fedpet.__version__, *parts)

    def instance(self, kind: ObjectKind, payload: bytes) -> dict[str, Any]:
        """Arguments of highdicom's constructors: a new series with one instance, whose UID also covers `payload`."""
        date, time = self.created.date(), self.created.time()
        return {
            "series_instance_uid": self.uid(kind, "series"),
            "series_number": self._series_number(kind),
            "series_description": long_string(self.add_label(self.locale.translate(_SERIES[kind]))),
            "sop_instance_uid": self.uid(kind, sha256(payload).hexdigest()),
            "instance_number": 1,
            "manufacturer": "fedpet",
            "manufacturer_model_name": "fedpet",
            "software_versions": fedpet.__version__,
            "device_serial_number": self.content.prediction.model.digest[:16],
            "institution_name": long_string(self.content.centre) or None,
            "specific_character_set": _UTF_8,
            "content_date": date,
            "content_time": time,
            "series_date": date,
            "series_time": time,
        }

    def _series_number(self, kind: ObjectKind) -> int:
        """A number that depends on the content and the kind, and that no source series has.

        Other series of the study, such as those of earlier reports, are not known here: a number of seven digits that
        follows from the hash meets none of scanners, and those of two reports differ but for one pair in 90,000.
        """
        taken = {int(header.get("SeriesNumber") or 0) for header in (*self.sources.pet, *self.sources.ct)}
        block = int(sha256(f"{self.digest}/{self.language}".encode()).hexdigest(), 16) % _SERIES_BLOCKS
        while any(self._numbered(block, offset) in taken for offset in range(len(_SERIES))):
            block = (block + 1) % _SERIES_BLOCKS
        return self._numbered(block, list(_SERIES).index(kind))

    @staticmethod
    def _numbered(block: int, offset: int) -> int:
        return _FIRST_SERIES + 10 * block + offset + 1

    def add_label(self, title: str) -> str:
        """The title, followed by "SYNTHETIC MODEL" where the model was trained on synthetic patients."""
        return f"{title} – {self.locale.translate(SYNTHETIC)}" if self.content.prediction.model.synthetic else title

    def finish(self, built: Dataset) -> Dataset:
        """Add the patient's identity to an object, and remove what differs from one run to the next."""
        for element in self.sources.patient:
            built[element.tag] = deepcopy(element)
            if element.VR == "SH" and len(str(element.value or "")) > _SHORT_STRING:
                built[element.tag].value = ""  # such as a Study ID of 20 characters: unknown, as type 2 allows
        built.InstanceCreationDate, built.InstanceCreationTime = self.created.date(), self.created.time()
        for equipment in built.get("ContributingEquipmentSequence", ()):
            if "ContributionDateTime" in equipment:
                equipment.ContributionDateTime = self.created
        organization = self.uid("dimensions", built.SOPInstanceUID)
        for dimension in (*built.get("DimensionOrganizationSequence", ()), *built.get("DimensionIndexSequence", ())):
            dimension.DimensionOrganizationUID = organization
        return built


def deterministic_uid(*parts: str) -> UID:
    """A UID derived from `parts` alone: the same in every version of a report."""
    return UID(f"2.25.{uuid5(_NAMESPACE, '/'.join(parts)).int}")


def long_string(text: str) -> str:
    """The text as a Long String (PS3.5 6.2): no backslash, 64 bytes, for readers that count bytes."""
    return text.replace("\\", "/").encode()[:64].decode(errors="ignore").strip()


def number(x: float) -> float:
    """The number with six significant digits, as in the content hash."""
    return float(f"{x:.6g}")
