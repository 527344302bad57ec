"""The PACS of the settings, and the cases that come from it and go back to it."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydicom import dcmread

from app.pacs_dimse import DimsePacs
from app.pacs_transfer import fetch_study, send_files
from app.pacs_web import WebPacs
from fedpet.errors import PacsError
from fedpet.messages import Message
from fedpet.progress import silent
from imaging.intake import IntakeLimits

if TYPE_CHECKING:
    from pathlib import Path

    from app.audit import Audit
    from app.pacs_transfer import Pacs, Shipped
    from app.workflow import Workflow
    from fedpet.messages import Language
    from fedpet.pacs_settings import PacsSettings
    from fedpet.progress import Progress
    from fedpet.settings import Settings

USED = ("PT", "CT")  # modalities of which a case is made
RESULTS = "dicom"  # folder of the DICOM objects, in the folder of a case or of a signed version


def connect(settings: Settings, name: str = "") -> Pacs:
    """The PACS of this name, or the only one. No connection is opened yet.

    Raises:
        PacsError: there is none, or several and no name.
    """
    names = sorted(settings.pacs)
    if not name and len(names) == 1:
        name = names[0]
    if name not in settings.pacs:
        raise PacsError(
            found=Message("No PACS is named “{name}”.", name=name) if name else Message("No PACS is chosen."),
            needed=Message("One of the PACS in the settings: {names}.", names=", ".join(names) or "–"),
            advice=Message("Name it, or describe it in fedpet.toml as [pacs.NAME]; see docs/pacs.md."),
        )
    ours = settings.pacs[name]
    return WebPacs(name, ours) if ours.url else DimsePacs(name, ours)


def limits(settings: Settings) -> IntakeLimits:
    """The bounds of a study."""
    return IntakeLimits(max_files=settings.max_files, max_bytes=settings.max_upload_mb * 2**20)


def viewer_link(ours: PacsSettings, study_uid: str) -> str:
    """The address of a study in OHIF; "" where none is configured."""
    return ours.ohif.replace("{study_uid}", quote(study_uid, safe="")) if ours.ohif else ""


def import_case(
    workflow: Workflow,
    settings: Settings,
    pacs: Pacs,
    study_uid: str,
    *,
    language: Language,
    actor: str,
    progress: Progress = silent,
) -> str:
    """Fetch the PET and CT series of a study; returns the identifier of the case, which exists once all are here.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudy: the study is beyond the limits.
    """
    staged = settings.folder / "pacs" / "fetched" / uuid.uuid4().hex
    try:
        fetched = fetch_study(pacs, study_uid, staged, limits=limits(settings), modalities=USED, progress=progress)
        case = workflow.create(language, actor=actor, origin=f"pacs:{pacs.name}")
        staged.rename(workflow.store.source(case.id))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    workflow.received(case.id, files=fetched.images, size=fetched.size, actor=actor)
    return case.id


def send_results(
    audit: Audit, pacs: Pacs, case_id: str, folder: Path, *, actor: str, progress: Progress = silent
) -> Shipped:
    """Send a folder of DICOM objects of a case, and write beside it (`<folder>.sent.json`) that this was done.

    Raises:
        PacsError: there is none, the PACS cannot be reached, or objects were refused after every retry.
    """
    shipped = send_files(pacs, folder, progress=progress)
    detail = {"pacs": pacs.name, "objects": shipped.objects}
    audit.record(actor, "results.sent", case=case_id, detail=detail)
    note = {**detail, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    sent_note(folder).write_text(json.dumps(note), encoding="utf-8")
    return shipped


def study_of(folder: Path) -> str:
    """Study Instance UID of a folder of DICOM objects."""
    first = min(folder.iterdir())
    return str(dcmread(first, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def sent_note(folder: Path) -> Path:
    """The file that says that the objects of a folder were sent."""
    return folder.with_name(f"{folder.name}.sent.json")
