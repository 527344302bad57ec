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
        """Compute a case when those before it are done; its record must be in the store."""
        if self._store.start(case_id):
            self._queue.submit(self._compute, case_id)

    def stop(self) -> None:
        """Stop the running computation and forget the waiting ones; they are marked as failed."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.terminate()
        self._queue.shutdown(wait=True, cancel_futures=True)
        self._store.fail_interrupted()

    def _compute(self, case_id: str) -> None:
        with self._lock:
            if self._stopped:
                return
            process = subprocess.Popen([sys.executable, "-m", "app.job"], stdin=subprocess.PIPE, text=True)
            self._running = process
        process.communicate(json.dumps({"case": case_id, "settings": self._settings.model_dump(mode="json")}))
        if process.returncode != 0:
            stopped = Message("The computation stopped unexpectedly (code {code}).", code=process.returncode)
            self._store.stop(case_id, Status.FAILED, INTERRUPTED if self._stopped else stopped)
