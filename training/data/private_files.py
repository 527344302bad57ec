"""Files that only their owner may read: what is kept here names patients and stays in the hospital."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal


def private_folder(folder: Path) -> Path:
    """The folder, made if missing, closed to everybody else."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def open_private(path: Path, mode: Literal["w", "a"] = "w") -> TextIO:
    """Open a text file for writing that is readable by its owner only, also where it was there before."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if mode == "a" else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, mode, encoding="utf-8", newline="")


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read."""
    with open_private(path) as file:
        file.write(text)
