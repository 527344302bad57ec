"""The description of a case's volumes, read by the page without loading what makes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DESCRIPTION = "volumes.json"


def read_description(folder: Path) -> dict[str, Any]:
    """What `app.viewer.volumes` wrote about the files of a case; `stamp` changes whenever they do."""
    path = folder / DESCRIPTION
    description: dict[str, Any] = json.loads(path.read_text())
    return description | {"stamp": str(path.stat().st_mtime_ns)}


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write it in one step: a page that reads meanwhile finds the old one or the new one."""
    draft = folder / f".{DESCRIPTION}"
    draft.write_text(json.dumps(description, indent=1))
    draft.replace(folder / DESCRIPTION)
