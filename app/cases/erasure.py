"""Erasing cases by age, or those of a patient (GDPR, article 17), with a proof that names nobody.

The proof is a JSON file in the settings' folder: what was erased, when and by whom, how many files and bytes each case
had, the SHA-256 of their checksums, the matching entries of the audit trail, and what a search of the inbox, of
temporary files and of the database's own files found afterwards. The patient appears as the SHA-256 of the pseudonym:
only someone with both the patient's identifier and the key of the centre can tell whose proof it is.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.cases.remains import Patient, find_waiting_since, remove_remains
from app.cases.store import require_shown
from app.cases.tables import digest_of
from fedpet.core.errors import ErasureError, SettingsError, TransitionError
from fedpet.core.messages import Message

_CLOCK_MAY_DIFFER = timedelta(days=1)
_LONGEST_SILENCE = timedelta(days=366)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.cases.store import Store
    from app.cases.tables import Case
    from app.cases.workflow import Workflow


@dataclass(frozen=True)
class Expired:
    """What is older than the retention.

    Attributes:
        cases: created before it, oldest first.
        waiting: folders of studies outside the cases (half received, quarantined, fetched) to which nothing was added
            since.
    """

    cases: Sequence[Case] = ()
    waiting: Sequence[Path] = ()

    def __bool__(self) -> bool:
        return bool(self.cases or self.waiting)

    @property
    def digest(self) -> str:
        """Digest of what is displayed of it."""
        return digest_of([digest_of_cases(self.cases), [one.name for one in self.waiting]])


def find_expired(store: Store, days: int) -> Expired:
    """What is more than so many days old; nothing where `days` is 0, which keeps all."""
    if not days:
        return Expired()
    before = datetime.now(UTC) - timedelta(days=days)
    return Expired(store.find_created_before(before), find_waiting_since(store.home, before))


def digest_of_cases(cases: Sequence[Case]) -> str:
    """Digest of what is displayed of cases that are to be erased."""
    return digest_of([(one.id, one.digest) for one in cases])


def purge(workflow: Workflow, days: int, folder: Path, *, actor: str, shown: str | None = None) -> Path | None:
    """Erase the cases older than so many days, and studies that waited as long in inbox and quarantine.

    Args:
        workflow: of the cases.
        days: age; 0 keeps all.
        folder: for the proof.
        actor: user who erases them.
        shown: digest of the `Expired` that was displayed; None where nothing was.

    Returns:
        The file of the proof; None where nothing is as old.

    Raises:
        ErasureError: something is still there; the proof, which is written all the same, says what.
        OutdatedError: other cases were displayed; nothing is erased.
        SettingsError: the clock of this machine jumped; nothing is erased.
    """
    _require_clock(workflow)
    expired = find_expired(workflow.store, days)
    require_shown(shown, expired.digest)
    return _erase(workflow, expired, folder, actor=actor, what="retention", reason=f"older than {days} days")


def _require_clock(workflow: Workflow) -> None:
    """Refuse to go by the age of cases where the clock of this machine jumped.

    Raises:
        SettingsError: it is before the latest entry of the audit trail, or more than a year after it.
    """
    newest = workflow.audit.entries(newest=1)
    if not newest:
        return
    last, now = datetime.fromisoformat(newest[0].moment), datetime.now(UTC)
    if not last - _CLOCK_MAY_DIFFER <= now <= last + _LONGEST_SILENCE:
        raise SettingsError(
            found=Message("The clock says {now:%Y-%m-%d}, the latest entry of the audit trail {last:%Y-%m-%d}.",
                          now=now, last=last),
            needed=Message("A clock that is right: cases would be erased by their age."),
            advice=Message("Set the clock; where it is right, open the application once, then try again."),
        )  # fmt: skip


def erase_patient(
    workflow: Workflow, pseudonym: str, folder: Path, *, actor: str, reason: str, shown: str | None = None
) -> Path | None:
    """Erase all cases of a patient.

    Args:
        workflow: of the cases.
        pseudonym: of the patient.
        folder: for the proof.
        actor: user who erases them.
        reason: why, never who.
        shown: `digest_of_cases` of those that were displayed; None where nothing was.

    Returns:
        The file of the proof; None where there is no such case, nor anything else of the patient.

    Raises:
        ErasureError: something is still there; the proof, which is written all the same, says what.
        OutdatedError: other cases were displayed; nothing is erased.
    """
    cases = workflow.store.find_by_patient(pseudonym)
    require_shown(shown, digest_of_cases(cases))
    return _erase(workflow, Expired(cases), folder, actor=actor, what="patient", reason=reason, pseudonym=pseudonym)


def _erase(
    workflow: Workflow,
    old: Expired,
    folder: Path,
    *,
    actor: str,
    what: str,
    reason: str,
    pseudonym: str = "",
) -> Path | None:
    erased: list[dict[str, Any]] = []
    left: list[str] = []
    failed: list[str] = []
    for case in old.cases:
        try:
            entry = workflow.erase(case.id, actor=actor, reason=reason)
        except TransitionError:  # it is being computed
            left.append(case.id)
            continue
        except ErasureError:
            failed.append(case.id)
            continue
        counts = {name: entry.detail[name] for name in ("files", "bytes", "sha256")}
        erased.append({"case": case.id, **counts, "audit_entry": entry.number, "audit_digest": entry.digest})
    everything = pseudonym if not (left or failed) else ""
    remains = remove_remains(workflow.store, Patient(everything, [one["case"] for one in erased]), old.waiting)
    if not old and not remains["removed"]:
        return None
    proof = {
        "what": what,
        "reason": reason,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": actor,
        **({"pseudonym_sha256": hashlib.sha256(pseudonym.encode()).hexdigest()} if pseudonym else {}),
        "cases": len(erased),
        "files": sum(one["files"] for one in erased),
        "bytes": sum(one["bytes"] for one in erased),
        "erased": erased,
        "left_because_busy": left,
        "not_removed": failed,
        "elsewhere": remains,
    }
    path = _write(proof, folder, workflow, actor)
    if failed or remains["found"]:
        raise ErasureError(
            found=Message(
                "The erasure is not complete: {n} cases, and {places}, still hold data of the patient.",
                n=len(failed),
                places=", ".join(remains["found"]) or "–",
            ),
            needed=Message("Every file removed; the proof {name} says what is left.", name=path.name),
            advice=Message("Let the folder belong to the account of fedpet, stop the receiver, then erase again."),
        )
    return path


def _write(proof: dict[str, Any], folder: Path, workflow: Workflow, actor: str) -> Path:
    """Write a proof, with its entry in the audit trail."""
    content = json.dumps(proof, indent=1, ensure_ascii=False) + "\n"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"erasure-{uuid.uuid4()}.json"
    path.write_text(content, encoding="utf-8")
    detail = {"proof": path.name, "sha256": hashlib.sha256(content.encode()).hexdigest(), "cases": proof["cases"]}
    workflow.audit.record(actor, "erasure.proven", detail=detail)
    return path
