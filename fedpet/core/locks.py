"""Locks that end with their process: one server for a folder, one process for a case.

They are locks of the system (flock), so that a process that is killed holds none, and the clock plays no part.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Lock a folder or a file for this process and those that inherit the descriptor, which holds the lock.

    Args:
        path: of what exists.

    Returns:
        The descriptor, to be closed by `os.close`; None where another process holds the lock.

    Raises:
        OSError: it is not there.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def only_server(home: Path, name: str) -> Iterator[None]:
    """Hold the lock of a folder's only server, or receiver, while the context is open.

    Raises:
        SettingsError: another one holds it.
    """
    path = home / f"{name}.lock"
    path.touch(mode=0o600)
    held = try_lock(path)
    if held is None:
        raise SettingsError(
            found=Message("Another “fedpet {name}” uses this folder already.", name=name),
            needed=Message("One for each folder (setting home): two would compute the same cases."),
            advice=Message("Use the one that runs, stop it, or give this one a home and a database of its own."),
        )
    try:
        yield
    finally:
        os.close(held)
