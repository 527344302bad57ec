"""Objects that contradict what is there: of a known UID with other content, or of another patient than their study.

Nothing is overwritten and nothing is dropped: such objects are kept apart, by study and reason, until an administrator
makes a case of them or removes them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from app.cases.remains import QUARANTINE
from app.cases.store import remove_folder
from app.cases.tables import digest_of
from app.pacs.object_store import ObjectStore, content_digest
from fedpet.core.errors import CaseNotFoundError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

    from app.cases.workflow import Workflow
    from app.pacs.object_store import ReceivedObject
    from fedpet.core.messages import Language
    from fedpet.imaging.dicom.files import InputLimits

Reason = Literal["content", "patient"]
REASONS: Final[dict[Reason, Message]] = {
    "content": Message("images of a known identifier with other content"),
    "patient": Message("images of a known study with another identity of the patient"),
}
_FACTS: Final = "quarantine.json"
_IMAGES: Final = "images"


@dataclass(frozen=True)
class Quarantined:
    """What is kept apart of one study, for one reason.

    Attributes:
        folder: its name reveals nothing.
        reason: why.
        case: identifier of the case that has the study; "" where there is none.
        since: ISO 8601.
        images: how many.
    """

    folder: Path
    reason: Reason
    case: str
    since: str
    images: int

    @property
    def digest(self) -> str:
        """Digest of what is displayed of it."""
        return digest_of([self.folder.name, self.reason, self.case, self.images])


def keep_apart(home: Path, study: str, reason: Reason, item: ReceivedObject, case: str, limits: InputLimits) -> None:
    """Keep an object apart.

    Args:
        home: folder of the settings.
        study: digest of its study.
        reason: why.
        item: the object.
        case: identifier of the case that has the study; "" where there is none.
        limits: of one study.

    Raises:
        UnreadableStudyError: beyond the limits.
    """
    folder = home / QUARANTINE / f"{study}-{reason}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, content = folder / _FACTS, content_digest(item.content)
    facts = {"reason": reason, "case": case, "since": datetime.now(UTC).isoformat(timespec="seconds"), "contents": []}
    if path.exists():
        facts = json.loads(path.read_text(encoding="utf-8"))
    if content in facts["contents"]:  # sent again
        return
    ObjectStore(folder / _IMAGES, limits).put(f"{item.uid} {content}", item.content)  # beside another of this UID
    part = path.with_suffix(".part")
    part.write_text(json.dumps(facts | {"contents": [*facts["contents"], content]}), encoding="utf-8")
    part.replace(path)


def quarantined(home: Path) -> list[Quarantined]:
    """What is kept apart now, oldest first."""
    found = []
    for path in (home / QUARANTINE).glob(f"*/{_FACTS}"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        images = sum(1 for _ in (path.parent / _IMAGES).glob("*"))
        found.append(Quarantined(path.parent, facts["reason"], facts["case"], facts["since"], images))
    return sorted(found, key=lambda one: one.since)


def release(workflow: Workflow, one: Quarantined, *, language: Language, origin: str, actor: str) -> str:
    """Make a case of what is kept apart; returns its identifier.

    Raises:
        CaseNotFoundError: it is not there any more.
    """
    _require(one)
    case = workflow.create(language, actor=actor, origin=origin)
    (one.folder / _IMAGES).rename(workflow.store.source(case.id))
    remove_folder(one.folder)
    files = [path.stat().st_size for path in workflow.store.source(case.id).iterdir()]
    workflow.receive_images(case.id, files=len(files), size=sum(files), actor=actor)
    return case.id


def discard(workflow: Workflow, one: Quarantined, *, actor: str, reason: str) -> None:
    """Remove what is kept apart for good.

    Raises:
        CaseNotFoundError: it is not there any more.
        ErasureError: a file cannot be removed.
    """
    _require(one)
    remove_folder(one.folder)
    detail = {"files": one.images, "reason": reason, "shown": one.digest}
    workflow.audit.record(actor, "quarantine.removed", case=one.case, detail=detail)


def _require(one: Quarantined) -> None:
    if not one.folder.is_dir():
        raise CaseNotFoundError(
            found=Message("These images are not in the quarantine any more."),
            needed=Message("What the page lists now."),
            advice=Message("Reload the page."),
        )
