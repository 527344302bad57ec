"""What a process of `app.jobs` is told, and what it tells the pages of its case: how far it is, and why it stopped."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from fedpet.messages import Message

if TYPE_CHECKING:
    from app.store import Store
    from fedpet.errors import FedpetError
    from fedpet.progress import Progress

_REPORT_SECONDS = 0.5  # the database is told no more often


def task() -> dict[str, Any]:
    """What the server asks for: a line on the standard input. When that input ends, so has the server: end with it."""

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=follow, daemon=True).start()
    return asked


def reporter(store: Store, case_id: str) -> Progress:
    """A progress that writes to the database, but not at every step."""
    last = float("-inf")

    def report(fraction: float, message: Message, /) -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            store.progress(case_id, fraction, message)

    return report


def reason(error: FedpetError) -> Message:
    """The three sentences of an error as one, to be kept and said later."""
    return Message("{found} {needed} {advice}", found=error.found, needed=error.needed, advice=error.advice)
