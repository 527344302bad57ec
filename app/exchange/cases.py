"""The PACS of the settings, the cases imported from it and the results sent back to it."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydicom import dcmread

from app.cases.options import input_limits
from app.cases.remains import FETCHED
from app.pacs.dicomweb import WebPacs
from app.pacs.dimse import DimsePacs
from app.pacs.transfer import fetch_study, send_files
from fedpet.core.errors import PacsError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from pathlib import Path

    from app.audit.trail import AuditTrail
    from app.cases.workflow import Workflow
    from app.pacs.transfer import Pacs, TransferSummary
    from fedpet.core.messages import Language
    from fedpet.core.pacs_settings import PacsSettings
    from fedpet.core.progress import Progress
    from fedpet.core.settings import Settings

USED = ("PT", "CT")  # modalities of a case
RESULTS = "dicom"  # folder of the DICOM objects, in the folder of a case or of a signed version


def connect(settings: Settings, name: str = "") -> Pacs:
    """The PACS of this name, or the only one; no connection is opened yet.

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
    progress: Progress = no_progress,
) -> str:
    """Fetch the PET and CT series of a study and make a case of them.

    Returns:
        The identifier of the case, which exists once all images are here.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudyError: the study is beyond the limits.
    """
    staged = settings.folder / FETCHED / uuid.uuid4().hex
    try:
        fetched = fetch_study(
            pacs, study_uid, staged, limits=input_limits(settings), modalities=USED, progress=progress
        )
        case = workflow.create(language, actor=actor, origin=f"pacs:{pacs.name}")
        staged.rename(workflow.store.source(case.id))
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    workflow.receive_images(case.id, files=fetched.images, size=fetched.size, actor=actor)
    return case.id


def send_results(
    audit: AuditTrail, pacs: Pacs, case_id: str, folder: Path, *, actor: str, progress: Progress = no_progress
) -> TransferSummary:
    """Send a folder of DICOM objects of a case, and record that beside it (`<folder>.sent.json`).

    Raises:
        PacsError: there are none, the PACS cannot be reached, or objects were refused after every retry.
    """
    shipped = send_files(pacs, folder, progress=progress)
    detail = {"pacs": pacs.name, "objects": shipped.objects}
    audit.record(actor, "results.sent", case=case_id, detail=detail)
    note = {**detail, "when": datetime.now(UTC).isoformat(timespec="seconds")}
    delivery_record(folder).write_text(json.dumps(note), encoding="utf-8")
    return shipped


@values_as_written()
def study_of(folder: Path) -> str:
    """Study Instance UID of a folder of DICOM objects."""
    first = min(folder.iterdir())
    return str(dcmread(first, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def delivery_record(folder: Path) -> Path:
    """The file that records that the objects of a folder were sent."""
    return folder.with_name(f"{folder.name}.sent.json")
