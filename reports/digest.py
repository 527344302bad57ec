"""The content hash of a report: SHA-256 over canonical JSON of what the report says.

It is the same for both languages and does not depend on fonts or layout. Numbers are rounded to six significant
digits, so that the last bits of a processor do not matter. Images enter through the identifiers of their DICOM
instances and the quantities read from them; voxels do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from fedpet.messages import Message
from imaging.volume import Volume

if TYPE_CHECKING:
    from reports.content import ReportContent

FORMAT = "fedpet.report/1"


def content_hash(content: ReportContent) -> str:
    """SHA-256 of `canonical_json`, hexadecimal."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def canonical_json(content: ReportContent) -> str:
    """Sorted keys, no spaces, ASCII; volumes as their shape and unit."""
    plain = {"format": FORMAT, **_plain(content)}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any value of a report, one return for each kind
    if isinstance(value, Message):
        return _plain(value.to_json())
    if isinstance(value, Volume):
        return {"shape": list(value.shape), "unit": value.unit}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return float(f"{value:.6g}") if isfinite(value) else str(value)
    return value
