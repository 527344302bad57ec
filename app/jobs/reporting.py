"""How the scheduler and a process talk: the task, the progress, and the reason why it stopped."""

from __future__ import annotations

import errno
import json
import os
import resource
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.database.connection import DatabaseError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cases.store import Store
    from fedpet.core.errors import FedpetError
    from fedpet.core.progress import Progress
    from fedpet.core.settings import Settings

NO_MEMORY = 71  # exit code of a process that needed more memory than it may have (EX_OSERR)
NO_ROOM = 74  # exit code of a process that found the disk full (EX_IOERR)
_REPORT_SECONDS = 0.5  # between two writes to the database


def read_task() -> dict[str, Any]:
    """Read the task, a line of JSON on standard input.

    The process ends as soon as that input does, since the server has ended then.
    """

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    task: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=follow, daemon=True).start()
    return task


def progress_reporter(store: Store, case_id: str) -> Progress:
    """A progress that writes to the database, at most every half second.

    It raises `CaseError` where the case is no longer busy, which ends the work on it.
    """
    last = float("-inf")

    def report(fraction: float, message: Message, /) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            store.record_progress(case_id, fraction, message)

    return report


def limit_memory(settings: Settings) -> None:
    """Limit the memory of this process, so that one study cannot take that of the whole machine."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = settings.max_memory_mb * 2**20 or machine * 3 // 4
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


@contextmanager
def full_disk_told() -> Iterator[None]:
    """End the process with the code `NO_ROOM` where the disk or the database is full, `NO_MEMORY` where memory is."""
    try:
        yield
    except MemoryError:
        raise SystemExit(NO_MEMORY) from None
    except (OSError, DatabaseError) as error:
        if not _is_full(error):
            raise
        raise SystemExit(NO_ROOM) from None


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that there is no room."""
    while error is not None:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def reason(error: FedpetError) -> Message:
    """The three sentences of an error as one message, to be stored and translated later."""
    found, needed, advice = error.sentences
    return Message("{found} {needed} {advice}", found=found, needed=needed, advice=advice)
