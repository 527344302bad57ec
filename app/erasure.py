"""Erasing cases by age, or those of a patient (GDPR, article 17), with a proof that names nobody.

The proof is a JSON file under the settings' folder: what was erased, when and by whom, how many files and bytes each
case had, the SHA-256 over their checksums, and the entries of the audit trail that say the same. A patient stands in it
as the SHA-256 of the pseudonym, so that whoever holds the patient's identifier and the key of the centre can tell that
the proof is theirs, and nobody else can tell whose it is.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.store import Store
    from app.tables import Case
    from app.workflow import Workflow


def outdated(store: Store, days: int) -> Sequence[Case]:
    """The cases made more than so many days ago, oldest first; none where `days` is 0, which keeps every one."""
    return store.made_before(datetime.now(UTC) - timedelta(days=days)) if days else ()


def purge(workflow: Workflow, days: int, folder: Path, *, actor: str) -> Path | None:
    """Erase the cases older than so many days; the proof, or None where there is none."""
    cases = outdated(workflow.store, days)
    return _erase(workflow, cases, folder, actor=actor, what="retention", reason=f"older than {days} days")


def erase_patient(workflow: Workflow, pseudonym: str, folder: Path, *, actor: str, reason: str) -> Path | None:
    """Erase every case of a patient; the proof, or None where there is no case."""
    cases = workflow.store.of_patient(pseudonym)
    digest = hashlib.sha256(pseudonym.encode()).hexdigest()
    return _erase(workflow, cases, folder, actor=actor, what="patient", reason=reason, pseudonym_sha256=digest)


def _erase(
    workflow: Workflow, cases: Sequence[Case], folder: Path, *, actor: str, what: str, reason: str, **facts: str
) -> Path | None:
    if not cases:
        return None
    erased: list[dict[str, Any]] = []
    left: list[str] = []
    for case in cases:
        entry = workflow.erase(case.id, actor=actor, reason=reason)
        if entry is None:  # being computed
            left.append(case.id)
        else:
            counts = {name: entry.detail[name] for name in ("files", "bytes", "sha256")}
            erased.append({"case": case.id, **counts, "audit_entry": entry.number, "audit_digest": entry.digest})
    proof = {
        "what": what,
        "reason": reason,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": actor,
        **facts,
        "cases": len(erased),
        "files": sum(one["files"] for one in erased),
        "bytes": sum(one["bytes"] for one in erased),
        "erased": erased,
        "left_because_busy": left,
    }
    content = json.dumps(proof, indent=1, ensure_ascii=False) + "\n"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"erasure-{uuid.uuid4()}.json"
    path.write_text(content, encoding="utf-8")
    detail = {"proof": path.name, "sha256": hashlib.sha256(content.encode()).hexdigest(), "cases": len(erased)}
    workflow.audit.record(actor, "erasure.proven", detail=detail)
    return path
