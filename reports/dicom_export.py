"""What every DICOM object of a case shares: identifiers that follow from the content, dates, series, identity.

Objects are built from headers without identity and receive it only at the end (`finished`): the libraries in between
cannot log, quote or keep a name.
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
from fedpet.messages import Message
from reports.digest import content_hash
from reports.edition import Edition
from reports.wording import SYNTHETIC

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from fedpet.messages import Language
    from imaging.identity import SourceHeaders
    from reports.content import ReportContent

Kind = Literal["measurements", "lesions", "saliency", "report"]
_SERIES: Final[dict[Kind, tuple[int, Message]]] = {
    "measurements": (9101, Message("fedpet: PET measurements and prediction")),
    "lesions": (9102, Message("fedpet: lesions")),
    "saliency": (9103, Message("fedpet: saliency map")),
    "report": (9104, Message("fedpet: report")),
}
_NAMESPACE: Final = UUID("5a1c7b0e-5f0d-4d52-9a0b-6a54e1f5c3d2")
_UTF_8: Final = "ISO_IR 192"
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")  # PS3.3 C.12.1.1.8; anything else tells no zone


@dataclass(frozen=True, eq=False)
class Export:
    """One case about to become DICOM objects in one language."""

    content: ReportContent
    sources: SourceHeaders
    language: Language

    @cached_property
    def edition(self) -> Edition:
        """How sentences are said."""
        return Edition(self.language)

    @cached_property
    def digest(self) -> str:
        """The content hash that the report prints."""
        return content_hash(self.content)

    @cached_property
    def created(self) -> datetime:
        """When the report was made."""
        return self.moment(self.content.created)

    @property
    def accepted(self) -> bool:
        """Whether a reader signed the answer as it is."""
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
        """A UID that follows from the content, the language, this software's version and `parts` (PS3.5 B.2)."""
        return lasting_uid(self.digest, self.language, fedpet.__version__, *parts)

    def instance(self, kind: Kind, payload: bytes) -> dict[str, Any]:
        """Arguments of highdicom's constructors: a new series with one instance, whose UID also covers `payload`."""
        number, description = _SERIES[kind]
        date, time = self.created.date(), self.created.time()
        return {
            "series_instance_uid": self.uid(kind, "series"),
            "series_number": number,
            "series_description": long_string(self.labelled(self.edition.say(description))),
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

    def labelled(self, title: str) -> str:
        """The title, followed by "SYNTHETIC MODEL" where the model was trained on synthetic patients."""
        return f"{title} – {self.edition.say(SYNTHETIC)}" if self.content.prediction.model.synthetic else title

    def finished(self, built: Dataset) -> Dataset:
        """The object with the patient's identity, and without what differs from one run to the next."""
        for element in self.sources.patient:
            built[element.tag] = deepcopy(element)
        built.InstanceCreationDate, built.InstanceCreationTime = self.created.date(), self.created.time()
        for equipment in built.get("ContributingEquipmentSequence", ()):
            if "ContributionDateTime" in equipment:
                equipment.ContributionDateTime = self.created
        organization = self.uid("dimensions", built.SOPInstanceUID)
        for dimension in (*built.get("DimensionOrganizationSequence", ()), *built.get("DimensionIndexSequence", ())):
            dimension.DimensionOrganizationUID = organization
        return built


def lasting_uid(*parts: str) -> UID:
    """A UID that follows from `parts` alone: the same in every version of a report."""
    return UID(f"2.25.{uuid5(_NAMESPACE, '/'.join(parts)).int}")


def long_string(text: str) -> str:
    """The text as a Long String (PS3.5 6.2), no backslash; 64 bytes, for readers that do not count in characters."""
    return text.replace("\\", "/").encode()[:64].decode(errors="ignore").strip()


def number(x: float) -> float:
    """Six significant digits, as in the content hash: the last bits of a processor do not matter."""
    return float(f"{x:.6g}")
