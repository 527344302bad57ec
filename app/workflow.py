"""What a reader does with a case, each step with its line in the audit trail.

Pages, the command and the receiving PACS come through here, so that nothing happens to a case without a trace.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.models import answered_by
from app.options import CaseOptions
from app.outbox import Outbox
from app.tables import BUSY, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.audit import Audit
    from app.jobs import Jobs
    from app.pacs_query import Query, Row
    from app.pacs_transfer import Pacs
    from app.store import Store
    from app.tables import Case, Decision, Entry
    from fedpet.messages import Language


PROGRAM = "fedpet"  # the actor of what the program does by itself


@dataclass(frozen=True)
class Workflow:
    """The steps of a reading. `actor` is who does it, as the sign-in named them."""

    store: Store
    audit: Audit
    jobs: Jobs

    def create(
        self, language: Language, *, actor: str, record: Mapping[str, Any] | None = None, origin: str = "upload"
    ) -> Case:
        """A new case, its images still to come. What the program itself takes in belongs to every reader."""
        case = self.store.create(language, record, owner="" if actor == PROGRAM else actor, origin=origin)
        self.audit.record(actor, "case.created", case=case.id, detail={"origin": origin})
        return case

    def fetch(self, language: Language, *, pacs: str, study_uid: str, actor: str) -> Case:
        """A new case whose images are asked of a PACS; they come outside of the page, then they are checked."""
        case = self.create(language, actor=actor, origin=f"pacs:{pacs}")
        self.store.request(case.id, pacs=pacs, study_uid=study_uid)
        self.jobs.submit(case.id)
        return case

    def search(self, archive: Pacs, query: Query, *, limit: int, actor: str) -> list[Row]:
        """Ask a PACS for studies. The trail keeps that it was asked, not what for.

        Raises:
            PacsError: it cannot be reached, or refuses.
        """
        found = archive.find(query, "study", limit)
        self.audit.record(actor, "pacs.searched", detail={"pacs": archive.name, "answers": len(found)})
        return found

    def received(self, case_id: str, *, files: int, size: int, actor: str) -> None:
        """The images are in `Store.source`: keep how many, and let them be checked."""
        self.store.receive(case_id, files=files, size=size)
        self.audit.record(actor, "images.received", case=case_id, detail={"files": files, "bytes": size})
        self.check(case_id)

    def check(self, case_id: str) -> None:
        """Let the images be fetched where they are still to come, else read and checked; also after a failure."""
        if self.store.request_again(case_id) or self.store.start(case_id):
            self.jobs.submit(case_id)

    def confirm(self, case_id: str, *, actor: str) -> None:
        """The clinical record is complete: compute the answer, at once or when the check is done."""
        now = self.store.confirm(case_id)
        self.audit.record(actor, "record.confirmed", case=case_id)
        if now:
            self.jobs.submit(case_id)
        else:
            self.check(case_id)

    def change_images(self, case_id: str, options: CaseOptions, *, actor: str) -> bool:
        """Other series or corrections: everything is computed anew. False while the case is busy."""
        return self._change(case_id, options, actor=actor, checked=False)

    def change_lesions(self, case_id: str, options: CaseOptions, *, actor: str) -> bool:
        """Another delineation, other components, another model: the answer is computed anew. False while busy."""
        if not self._change(case_id, options, actor=actor, checked=True):
            return False
        if self.store.confirm(case_id):
            self.jobs.submit(case_id)
        return True

    def change_record(self, case_id: str, *, actor: str) -> bool:
        """Open the clinical record of an answered case again. False while the case is busy."""
        opened = self.store.reopen(case_id, checked=True)
        if opened:
            self.audit.record(actor, "record.reopened", case=case_id)
        return opened

    def read(self, case: Case, *, actor: str) -> None:
        """A reader opened an answer."""
        if self.store.read(case.id):
            detail = {"version": case.version}
            self.audit.record(actor, "answer.read", case=case.id, model=answered_by(case), detail=detail)

    def sign(self, case_id: str, decision: Decision, comment: str, *, actor: str) -> bool:
        """Sign the verdict: the final report is written, then the version is kept. False where it cannot be signed.

        The line in the audit trail is written when the version is there (`app.job`).
        """
        queued = self.store.sign(case_id, decision=decision, comment=comment.strip(), reader=actor)
        if queued:
            self.jobs.submit(case_id)
        return queued

    def send(self, case_id: str, version: int, *, pacs: str, actor: str) -> bool:
        """Send the DICOM objects of a signed version to a PACS; False while they are on their way.

        The line in the audit trail is written when the PACS has answered (`app.transfer`).
        """
        queued = Outbox(self.store.engine).queue(case_id, version, pacs=pacs, actor=actor)
        if queued:
            self.jobs.send(case_id, version)
        return queued

    def amend(self, case_id: str, *, actor: str) -> bool:
        """Open a signed case for a new version; the old one stays."""
        case = self.store.get(case_id)
        if case is None or case.status is not Status.SIGNED or not self.store.reopen(case_id, checked=True):
            return False
        self.audit.record(actor, "version.opened", case=case_id, detail={"version": case.version + 1})
        return True

    def erase(self, case_id: str, *, actor: str, reason: str = "") -> Entry | None:
        """Remove a case with its images, reports and versions; what is left is the proof in the audit trail.

        The proof names how many files and bytes were there and the SHA-256 over their checksums, nothing of what they
        held. None while the case is busy.
        """
        case = self.store.get(case_id)
        if case is None or case.status in BUSY:
            return None
        files = sorted(path for path in self.store.folder(case_id).rglob("*") if path.is_file())
        total, size = hashlib.sha256(), 0
        for path in files:
            with path.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
            size += path.stat().st_size
        self.store.delete(case_id)
        proof = {"files": len(files), "bytes": size, "sha256": total.hexdigest(), "reason": reason}
        return self.audit.record(actor, "case.erased", case=case_id, detail=proof)

    def _change(self, case_id: str, options: CaseOptions, *, actor: str, checked: bool) -> bool:
        before = self.store.get(case_id)
        if before is None or not self.store.reopen(case_id, options=options.to_json(), checked=checked):
            return False
        old, new = CaseOptions.from_json(before.options).to_json(), options.to_json()
        changed = {name: {"old": old[name], "new": new[name]} for name in new if old[name] != new[name]}
        self.audit.record(actor, "case.changed", case=case_id, detail=changed)
        if not checked:
            self.check(case_id)
        return True
