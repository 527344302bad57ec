"""The entries of the audit trail in words: what was done, and its details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app.screens.case.sign_off import DECISIONS
from app.screens.layout.sign_in import ROLES
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.audit.tables import AuditEntry
    from app.screens.layout.localization import Localization

ACTIONS: Final[Mapping[str, Message]] = {
    "access.refused": Message("access refused"),
    "answer.computed": Message("answer computed"),
    "answer.read": Message("answer read"),
    "audit.exported": Message("audit trail exported"),
    "audit.resealed": Message("broken audit trail taken note of"),
    "case.changed": Message("case changed"),
    "case.created": Message("case created"),
    "case.erased": Message("case erased"),
    "erasure.proven": Message("proof of erasure written"),
    "identity.confirmed": Message("identity of images and record confirmed"),
    "images.quarantined": Message("images put in quarantine"),
    "images.received": Message("images received"),
    "model.added": Message("model added"),
    "model.evaluated": Message("model evaluated"),
    "model.promoted": Message("model promoted"),
    "model.rolled_back": Message("model rolled back"),
    "outcomes.entered": Message("outcomes entered"),
    "pacs.searched": Message("PACS searched"),
    "quarantine.removed": Message("images in quarantine removed"),
    "reading.confirmed": Message("lesions confirmed"),
    "record.confirmed": Message("record confirmed"),
    "record.reopened": Message("record reopened"),
    "report.opened": Message("report opened"),
    "report.identified": Message("report with the patient's identity written"),
    "results.refused": Message("results refused by the PACS"),
    "results.sent": Message("results sent to the PACS"),
    "user.released": Message("user name released"),
    "user.signed_in": Message("user signed in"),
    "user.signed_out": Message("user signed out"),
    "verdict.signed": Message("verdict signed"),
    "version.opened": Message("new version opened"),
}
DETAILS: Final[Mapping[str, Message]] = {
    "answer": Message("answer"),
    "answers": Message("answers"),
    "bytes": Message("size"),
    "cases": Message("cases"),
    "content_hash": Message("content hash"),
    "corrections": Message("corrections"),
    "ct_series": Message("CT series"),
    "decision": Message("decision"),
    "edits": Message("lesions outlined or renamed"),
    "entries": Message("entries"),
    "estimate": Message("estimate"),
    "exclude": Message("components left out"),
    "files": Message("files"),
    "include": Message("components added"),
    "language": Message("language"),
    "lesions": Message("lesions"),
    "mask": Message("mask"),
    "method": Message("delineation"),
    "model": Message("model"),
    "name": Message("name"),
    "objects": Message("objects"),
    "origin": Message("origin"),
    "pacs": Message("PACS"),
    "pet_series": Message("PET series"),
    "proof": Message("proof"),
    "reason": Message("reason"),
    "role": Message("role"),
    "rois": Message("contours"),
    "rows_without_case": Message("rows without a case"),
    "sha256": Message("SHA-256"),
    "shown": Message("what was displayed"),
    "times": Message("times"),
    "user": Message("user"),
    "version": Message("version"),
    "what": Message("what"),
}
VALUES: Final[Mapping[object, Message]] = {
    "upload": Message("upload"),
    **{role.value: label for role, label in ROLES.items()},
    **{decision.value: label for decision, label in DECISIONS.items()},
}
_SHORT = 12  # characters of a digest


def row(entry: AuditEntry, loc: Localization) -> tuple[str, ...]:
    """An entry as cells: number, time, user, action, case, model, details."""
    known = ACTIONS.get(entry.action)
    action = f"{loc.translate(known)} ({entry.action})" if known else entry.action
    moment = entry.moment[:19].replace("T", " ")
    details = " · ".join(_detail(name, value, loc) for name, value in entry.detail.items())
    return str(entry.number), moment, entry.actor, action, entry.case[:8], entry.model[:_SHORT], details


def _detail(name: str, value: Any, loc: Localization) -> str:  # noqa: ANN401  any value of JSON
    if name == "bytes":
        words = loc.size(value)
    elif isinstance(value, dict) and set(value) == {"old", "new"}:
        words = f"{_value_text(value['old'], loc)} → {_value_text(value['new'], loc)}"
    elif name in {"sha256", "content_hash", "shown"}:
        words = f"{str(value)[:_SHORT]}…"
    else:
        words = _value_text(value, loc)
    return loc.translate(Message("{name}: {value}", name=DETAILS.get(name, name), value=words))


def _value_text(value: Any, loc: Localization) -> str:  # noqa: ANN401  any value of JSON
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return loc.text("yes") if value else loc.text("no")
    if isinstance(value, int | float):
        return loc.number(value, 0 if float(value).is_integer() else 2)
    if isinstance(value, list):
        return ", ".join(_value_text(one, loc) for one in value)
    if isinstance(value, dict):
        return " ".join(_value_text(one, loc) for one in value.values() if one not in (None, ""))
    return loc.translate(VALUES[value]) if value in VALUES else str(value)
