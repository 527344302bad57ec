"""The description of a case's volumes, which pages read without importing `app.viewer.volumes`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DESCRIPTION = "volumes.json"


def has_images(folder: Path) -> bool:
    """Whether the images of a case are there to be shown."""
    return (folder / DESCRIPTION).is_file()


def read_description(folder: Path) -> dict[str, Any]:
    """Read the description of the files of a case; the `stamp` of each changes whenever it does.

    That of the whole is the stamp of the PET: lesions and influence map may change below the same images.
    """
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    volumes = [one | {"stamp": _stamp(folder / f"{one['name']}.bin")} for one in description["volumes"]]
    return description | {"volumes": volumes, "stamp": _stamp(folder / "pet.bin")}


def _stamp(path: Path) -> str:
    return str(path.stat().st_mtime_ns) if path.is_file() else ""


def write_description(folder: Path, description: Mapping[str, Any]) -> None:
    """Write the description in one step: a page that reads at the same time finds the old one or the new one."""
    draft = folder / f".{DESCRIPTION}"
    draft.write_text(json.dumps(description, indent=1))
    draft.replace(folder / DESCRIPTION)
