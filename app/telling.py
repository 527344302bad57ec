"""What a process tells the pages of its case: how far it is, and why it stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fedpet.messages import Message

if TYPE_CHECKING:
    from app.store import Store
    from fedpet.errors import FedpetError
    from fedpet.progress import Progress

_REPORT_SECONDS = 0.5  # the database is told no more often


def reporter(store: Store, case_id: str) -> Progress:
    """A progress that writes to the database, but not at every step."""
    told = float("-inf")

    def report(fraction: float, message: Message, /) -> None:
        nonlocal told
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            store.progress(case_id, fraction, message)

    return report


def reason(error: FedpetError) -> Message:
    """The three sentences of an error as one, to be kept and said later."""
    return Message("{found} {needed} {advice}", found=error.found, needed=error.needed, advice=error.advice)
