"""The description of a case's volumes, which pages read without importing `app.viewer.volumes`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DESCRIPTION = "volumes.json"


def read_description(folder: Path) -> dict[str, Any]:
    """Read the description of the files of a case; its `stamp` changes whenever they do."""
    path = folder / DESCRIPTION
    description: dict[str, Any] = json.loads(path.read_text())
    return description | {"stamp": str(path.stat().st_mtime_ns)}


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write the description in one step: a page that reads at the same time finds the old one or the new one."""
    draft = folder / f".{DESCRIPTION}"
    draft.write_text(json.dumps(description, indent=1))
    draft.replace(folder / DESCRIPTION)
