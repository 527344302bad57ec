"""Computations outside of the pages: one process per case, one case at a time.

A process of its own keeps the pages fluent, gives its memory back, and cannot take the server down. Its progress is in
the database, so that a browser may be closed and opened again. The process is `python -m app.job`, which reads what it
needs on its standard input: neither its arguments nor its environment say anything about a case.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from app.store import INTERRUPTED
from app.tables import Status
from fedpet.messages import Message

_MOST_ATTEMPTS = 2  # a computation that takes the server down with it is not begun for ever

if TYPE_CHECKING:
    from app.store import Store
    from fedpet.settings import Settings


class Jobs:
    """The queue of cases to compute."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="case")
        self._running: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def submit(self, case_id: str) -> None:
        """Compute a case that the store has queued, when those before it are done."""
        self._queue.submit(self._compute, case_id)

    def resume(self) -> None:
        """Take up again what was under way when the server stopped; called once when it starts."""
        for case in self._store.interrupted():
            self.submit(case.id)

    def stop(self) -> None:
        """Stop the running computation and forget the waiting ones; the next server takes them up again."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.terminate()
        self._queue.shutdown(wait=True, cancel_futures=True)

    def _compute(self, case_id: str) -> None:
        with self._lock:
            attempts = 0 if self._stopped else self._store.begin(case_id)
            if not attempts:
                return
            if attempts > _MOST_ATTEMPTS:
                self._give_up(case_id, INTERRUPTED)
                return
            process = subprocess.Popen([sys.executable, "-m", "app.job"], stdin=subprocess.PIPE, text=True)
            self._running = process
        process.communicate(json.dumps({"case": case_id, "settings": self._settings.model_dump(mode="json")}))
        if process.returncode != 0 and not self._stopped:
            self._give_up(
                case_id, Message("The computation stopped unexpectedly (code {code}).", code=process.returncode)
            )

    def _give_up(self, case_id: str, why: Message) -> None:
        """A case whose process died: to be read again if it was being signed, else failed."""
        if not self._store.not_signed(case_id, why):
            self._store.stop(case_id, Status.FAILED, why)
