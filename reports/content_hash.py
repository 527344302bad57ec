"""The content hash of a report: SHA-256 over canonical JSON of what the report says.

It is the same for both languages and does not depend on fonts or layout. Numbers are rounded to six significant
digits, so that differences between processors do not matter. Images enter through the identifiers of their DICOM
instances and the quantities measured on them, not through their voxels. The JSON is attached to the report, so it holds
nothing that could lead to other files of the patient: descriptions of series and the frame of reference are left out,
and the identifiers of instances are replaced by their number and a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from explain.explanation import Explanation
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message
from fedpet.imaging.study import PatientFacts, PetCtStudy, SeriesFacts
from fedpet.imaging.volume import Volume
from inference.prediction import Prediction
from reports.content import ReportContent

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT = "fedpet.report/2"
_LEFT_OUT: Mapping[type, frozenset[str]] = {
    PetCtStudy: frozenset({"frame_of_reference", "study_uid", "identity", "header_checks", "ct_frame_assumed"}),
    SeriesFacts: frozenset({"description"}),
    PatientFacts: frozenset({"identifier"}),
    Prediction: frozenset({"origin"}),
    ReportContent: frozenset({"tracking"}),
    Explanation: frozenset({"origin", "risk_score"}),
}


def content_hash(content: ReportContent) -> str:
    """SHA-256 of `canonical_json`, in hexadecimal."""
    return hash_of(canonical_json(content).encode("ascii"))


def hash_of(canonical: bytes) -> str:
    """The content hash of a canonical JSON, as attached to a report, in hexadecimal."""
    return hashlib.sha256(canonical).hexdigest()


def canonical_json(content: ReportContent) -> str:
    """The content as JSON with sorted keys, without spaces, in ASCII; volumes by their shape and unit only."""
    plain = {"format": FORMAT, **_fields(content)}
    plain["study"]["checks"] = plain.pop("checks")
    plain["study"]["source_uids"] = {name: _counted(uids) for name, uids in content.study.source_uids.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _counted(uids: Sequence[str]) -> dict[str, Any]:
    return {"count": len(uids), "sha256": hash_of("\n".join(sorted(uids)).encode("ascii"))}


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass of a report
    hidden = _LEFT_OUT.get(type(value), frozenset())
    return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.name not in hidden}


def _plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any value of a report, one return for each kind
    if isinstance(value, Message):
        return _plain(value.to_json())
    if isinstance(value, Volume):
        return {"shape": list(value.shape), "unit": value.unit}
    if isinstance(value, FedpetError):
        return [_plain(sentence) for sentence in (value.found, value.needed, value.advice)]
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if isfinite(value) else str(value)
    return value
