"""A private folder for temporary files inside `home`, so that none that identifies a patient is made anywhere else.

Each process has one of its own and holds a lock on it. What a process that was killed left there is without a lock: the
next process removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRATCH: Final = "scratch"  # in `home`
_VARIABLE: Final = "TMPDIR"  # what child processes and other programs obey


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """Let all temporary files of this process be made in a private folder below `home`, removed on leaving.

    Args:
        home: folder of the settings.

    Raises:
        OSError: it cannot be written to.
    """
    folder = home / SCRATCH
    folder.mkdir(mode=0o700, exist_ok=True)
    with _only_one(folder):
        _sweep(folder)
        own = Path(tempfile.mkdtemp(dir=folder))
        lock = os.open(own, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    before, inherited = tempfile.tempdir, os.environ.get(_VARIABLE)
    tempfile.tempdir = os.environ[_VARIABLE] = str(own)
    try:
        yield own
    finally:
        tempfile.tempdir = before
        if inherited is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = inherited
        shutil.rmtree(own, ignore_errors=True)  # what is left is swept by the next process
        os.close(lock)


def sweep_scratch(home: Path) -> None:
    """Remove what processes that were killed left behind."""
    folder = home / SCRATCH
    if folder.is_dir():
        with _only_one(folder):
            _sweep(folder)


def _sweep(folder: Path) -> None:
    for left in folder.iterdir():
        if not left.is_dir():
            continue
        lock = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its process lives
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other processes from sweeping a folder whose lock is not held yet."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
