"""The steps of a reading, each with its entry in the audit trail.

The pages, the command line and the PACS receiver all use these, so that nothing happens to a case without a trace.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from app.cases.deliveries import Deliveries
from app.cases.lesion_editing import take_step
from app.cases.lifecycle import CaseEvent, next_status
from app.cases.model_choice import answering_model_digest
from app.cases.options import CaseOptions
from app.cases.reading import Reading, Stamp, checked_marks
from app.cases.store import require_answered, require_shown
from app.cases.tables import BUSY, Status
from fedpet.core.errors import FedpetError, TransitionError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.printed_identity import PrintedIdentity, read_printed_identity
from inference.record_concordance import RecordConfirmation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.audit.tables import AuditEntry
    from app.audit.trail import AuditTrail
    from app.cases.store import Store
    from app.cases.tables import Case, Decision
    from app.pacs.query import Query, Row
    from app.pacs.transfer import Pacs
    from fedpet.core.messages import Language
    from inference.record_concordance import RecordConcordance


PROGRAM = "fedpet"  # the actor of what the program does on its own


class Queue(Protocol):
    """Runs computations and transfers in the background (`app.jobs.scheduler.JobScheduler`)."""

    def submit(self, case_id: str) -> None:
        """Fetch or compute a queued case."""

    def cancel(self, case_id: str) -> None:
        """End the process that works at a case, if there is one; nothing of what it computed is stored any more."""

    def send(self, case_id: str, version: int) -> None:
        """Send a signed version whose delivery is queued."""


@dataclass(frozen=True)
class Workflow:
    """The steps of a reading.

    `actor` is the user who takes the step, by the name of their sign-in. `shown` is the digest of what was displayed to
    a user who decides (`Case.digest`), None where nothing was; it stands in the entry. A step that the state of the
    case does not allow, or that was decided on something else, raises `CaseError` and changes nothing.
    """

    store: Store
    audit: AuditTrail
    jobs: Queue

    def create(
        self, language: Language, *, actor: str, record: Mapping[str, Any] | None = None, origin: str = "upload"
    ) -> Case:
        """Create a case whose images are still to come. One that the program creates belongs to every reader."""
        case = self.store.create(language, record, owner="" if actor == PROGRAM else actor, origin=origin)
        self.audit.record(actor, "case.created", case=case.id, detail={"origin": origin})
        return case

    def create_from_pacs(self, language: Language, *, pacs: str, study_uid: str, actor: str) -> Case:
        """Create a case whose images are fetched from a PACS in the background, then checked."""
        case = self.create(language, actor=actor, origin=f"pacs:{pacs}")
        self.store.request_transfer(case.id, pacs=pacs, study_uid=study_uid)
        self.jobs.submit(case.id)
        return case

    def search_pacs(self, archive: Pacs, query: Query, *, limit: int, actor: str) -> list[Row]:
        """Search a PACS for studies. The audit trail records that it was searched, not for what.

        Raises:
            PacsError: it cannot be reached, or refuses.
        """
        found = archive.find(query, "study", limit)
        self.audit.record(actor, "pacs.searched", detail={"pacs": archive.name, "answers": len(found)})
        return found

    def receive_images(self, case_id: str, *, files: int, size: int, actor: str) -> None:
        """Record that the images are in `Store.source`, and have them checked."""
        self.store.record_images(case_id, files=files, size=size)
        self.audit.record(actor, "images.received", case=case_id, detail={"files": files, "bytes": size})
        self.start_check(case_id)

    def start_check(self, case_id: str) -> None:
        """Have the images checked, and before that fetched where they are still to come; also after a failure."""
        self.store.start_check(case_id)
        self.jobs.submit(case_id)

    def confirm_record(
        self,
        case_id: str,
        *,
        actor: str,
        contradicting: RecordConcordance | None = None,
        reason: str = "",
        shown: str | None = None,
    ) -> None:
        """Confirm that the clinical record is complete: the answer is computed at once, or when the check is done.

        Args:
            case_id: the case.
            actor: who confirms it.
            contradicting: what of the record contradicts the images and is confirmed all the same.
            reason: why.
            shown: digest of what was displayed.
        """
        options, detail = None, _seen(shown)
        if contradicting is not None and contradicting.contradictions:
            confirmation = RecordConfirmation(reason.strip(), actor, contradicting.digest)
            before = CaseOptions.from_json(self.store.require(case_id).options)
            options = replace(before, confirmation=confirmation).to_json()
            items = [item.name for item in contradicting.contradictions]
            detail |= {"contradictions": items, "reason": confirmation.reason}
        computed_now = self.store.confirm_record(case_id, options=options, shown=shown)
        self.audit.record(actor, "record.confirmed", case=case_id, detail=detail)
        if computed_now:
            self.jobs.submit(case_id)
        elif self.store.require(case_id).status not in BUSY:
            self.start_check(case_id)

    def change_images(self, case_id: str, options: CaseOptions, *, actor: str, shown: str | None = None) -> None:
        """Choose other series or corrections: everything is computed again."""
        before = self.store.require(case_id)
        self.store.reopen_images(case_id, options=options.to_json(), shown=shown)
        self._record_change(before, options, actor, shown)
        self.start_check(case_id)

    def change_lesions(self, case_id: str, options: CaseOptions, *, actor: str, shown: str | None = None) -> None:
        """Choose another delineation, other lesions or another model: the answer is computed again."""
        before = self.store.require(case_id)
        self.store.reopen_record(case_id, options=options.to_json(), shown=shown)
        self._record_change(before, options, actor, shown)
        if self.store.confirm_record(case_id):
            self.jobs.submit(case_id)

    def reopen_record(self, case_id: str, *, actor: str, shown: str | None = None) -> None:
        """Open the clinical record of an answered case again."""
        self.store.reopen_record(case_id, shown=shown)
        self.audit.record(actor, "record.reopened", case=case_id, detail=_seen(shown))

    def named_patient(self, case: Case, key: bytes) -> PrintedIdentity | None:
        """Whom the images of a case name, read from them now and kept nowhere; None where there are none.

        Of a pile with several patients it is the one whose images were used.

        Args:
            case: the case.
            key: secret of the pseudonyms.

        Raises:
            StudyError: no images of the case's patient and day are there.
        """
        source = self.store.source(case.id)
        if not source.is_dir() or not case.pseudonym:
            return None
        return read_printed_identity(source, pseudonym=case.pseudonym, study_date=case.study_date, key=key)

    def needs_identity(self, case: Case) -> bool:
        """Whether a reader still has to say that images and record are of one patient."""
        return Reading.of(case).identity is None and self.store.source(case.id).is_dir()

    def confirm_identity(self, case_id: str, *, actor: str, shown: str | None = None) -> None:
        """Record that images and record are of one patient, as a reader says."""
        self.store.save_reading(
            case_id, lambda reading: reading.model_copy(update={"identity": Stamp.now(actor)}), shown=shown
        )
        self.audit.record(actor, "identity.confirmed", case=case_id, detail=_seen(shown))

    def confirm_reading(
        self, case_id: str, *, actor: str, estimate: float | None, blind: bool, shown: str | None = None
    ) -> None:
        """Record that the lesions are as the reader sees them; the answer is shown from now on.

        Args:
            case_id: the case.
            actor: the reader.
            estimate: of the reader, probability of no progression at 12 months, 0 to 1; None without one.
            blind: whether the answer was kept back until now.
            shown: digest of what was displayed.

        Raises:
            TransitionError: there is no answer yet, or whose images these are was not said yet.
        """
        case = self.store.require(case_id)
        result = case.stored_result
        if result is None or self.needs_identity(case):
            raise TransitionError(
                found=Message("The reading is not complete yet."),
                needed=Message("Lesions, and that images and record are of one patient."),
                advice=Message("Say at the left that they are of one patient, then confirm the lesions."),
            )
        main = result.prediction.endpoint("pfs_12m")
        said = {
            "confirmed": Stamp.now(actor),
            "estimate": estimate,
            "answer": None if main is None else main.probability,
            "blind": blind,
        }
        self.store.save_reading(case_id, lambda reading: reading.model_copy(update=said), shown=shown)
        detail = {"lesions": len(result.prediction.quantities.lesions), "estimate": estimate, "answer": said["answer"]}
        self.audit.record(actor, "reading.confirmed", case=case_id, detail={**detail, **_seen(shown)})

    def correct_lesions(
        self,
        case_id: str,
        step: Mapping[str, Any],
        *,
        actor: str,
        measure: Callable[[CaseOptions], Mapping[str, Any]],
        shown: str | None = None,
    ) -> None:
        """Take a step of the correction of lesions, or take one back; the answer follows at once.

        Args:
            case_id: the case.
            step: see `app.cases.lesion_editing.apply_step`; or `do` is "undo" or "redo".
            actor: the reader.
            measure: "prediction" and "references" with given options, as plain data of the result.
            shown: digest of what was displayed.

        Raises:
            ArgumentError: the step does not fit the case.
        """
        case = self.store.require(case_id)
        require_shown(shown, case.digest)
        require_answered(case)
        options, result = CaseOptions.from_json(case.options), case.stored_result
        if result is None:
            return
        changed, reading = take_step(options, result.prediction, Reading.of(case), step)
        if changed == options:
            return
        self.jobs.cancel(case_id)  # map and reports of the lesions as they were, and their files
        try:
            measured = measure(changed)
            self.store.edit_lesions(
                case_id, options=changed.to_json(), measured=measured, reading=reading, shown=case.digest
            )
        except FedpetError:
            if case.status is Status.RUNNING:
                self.jobs.submit(case_id)
            raise
        self.jobs.cancel(case_id)  # one that was started meanwhile
        self._record_change(case, changed, actor, shown)

    def refresh(self, case_id: str) -> None:
        """Have what hangs on corrected lesions computed, behind their answer."""
        self.store.start_refresh(case_id)
        self.jobs.submit(case_id)

    def keep_marks(self, case_id: str, marks: Mapping[str, Any]) -> None:
        """Keep the measurements and key images of the viewer with the case.

        Raises:
            ArgumentError: they are not what the viewer sends.
        """
        kept = checked_marks(marks)
        self.store.save_reading(case_id, lambda reading: reading.model_copy(update={"marks": kept}))

    def mark_read(self, case: Case, *, actor: str) -> None:
        """Record that a reader says to have read the answer as it is in `case`; only the first time is recorded."""
        if case.status is Status.READY and self.store.mark_read(case.id, shown=case.digest):
            detail = {"version": case.version, **_seen(case.digest)}
            self.audit.record(actor, "answer.read", case=case.id, model=answering_model_digest(case), detail=detail)

    def sign(
        self,
        case_id: str,
        decision: Decision,
        comment: str,
        *,
        actor: str,
        conclusion: str = "",
        shown: str | None = None,
    ) -> None:
        """Sign the verdict: the final report is written, then the version is stored.

        A conclusion stands in the place of the sentences that the report composes. The entry in the audit trail is
        written once the version is stored (`app.jobs.case_process`).
        """
        self.store.start_signing(
            case_id,
            decision=decision,
            comment=comment.strip(),
            conclusion=conclusion.strip(),
            reader=actor,
            shown=shown,
        )
        self.jobs.submit(case_id)

    def send(self, case_id: str, version: int, *, pacs: str, actor: str) -> None:
        """Send the DICOM objects of a signed version to a PACS.

        The entry in the audit trail is written once the PACS has answered (`app.jobs.transfer_process`).
        """
        Deliveries(self.store.engine).queue(case_id, version, pacs=pacs, actor=actor)
        self.jobs.send(case_id, version)

    def open_version(self, case_id: str, *, actor: str, shown: str | None = None) -> None:
        """Open a signed case for a new version; the signed one stays."""
        self.store.open_version(case_id, shown=shown)
        version = self.store.require(case_id).version
        self.audit.record(actor, "version.opened", case=case_id, detail={"version": version})

    def erase(self, case_id: str, *, actor: str, reason: str = "", shown: str | None = None) -> AuditEntry:
        """Erase a case with its images, reports and versions.

        Returns:
            The proof in the audit trail: how many files and bytes there were, and the SHA-256 of their checksums.
        """
        next_status(self.store.require(case_id).status, CaseEvent.DELETE)  # before the files are read
        files = sorted(path for path in self.store.folder(case_id).rglob("*") if path.is_file())
        total, size = hashlib.sha256(), 0
        for path in files:
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
            size += path.stat().st_size
        self.store.delete(case_id, shown=shown)
        proof = {"files": len(files), "bytes": size, "sha256": total.hexdigest(), "reason": reason, **_seen(shown)}
        return self.audit.record(actor, "case.erased", case=case_id, detail=proof)

    def _record_change(self, before: Case, options: CaseOptions, actor: str, shown: str | None) -> None:
        old, new = CaseOptions.from_json(before.options).to_json(), options.to_json()
        changed = {name: {"old": old[name], "new": new[name]} for name in new if old[name] != new[name]}
        self.audit.record(actor, "case.changed", case=before.id, detail={**changed, **_seen(shown)})


def _seen(shown: str | None) -> dict[str, Any]:
    """The digest of what was displayed, for an entry of the audit trail."""
    return {} if shown is None else {"shown": shown}
