"""Computations and transfers outside of the pages, each in a process of its own, one of either kind at a time.

A process of its own keeps the pages fluent, gives its memory back, and cannot take the server down. Its progress is in
the database, so that a browser may be closed and opened again. The processes are `python -m app.job` and
`python -m app.transfer`, which read what they need on their standard input: neither their arguments nor their
environment say anything about a case. That input stays open while the server lives, so that they end with it however it
ends: the next server takes a case up again, and must not meet another process at it. Transfers have a line of their
own, so that a slow PACS does not keep a case from being computed, and one at a time, since C-MOVE has one port to come
back to.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from app.outbox import Outbox
from app.store import INTERRUPTED
from app.tables import Sending, Status
from fedpet.messages import Message

_Program = Literal["job", "transfer"]
_MOST_ATTEMPTS = 2  # a process that takes the server down with it is not begun for ever

if TYPE_CHECKING:
    from app.store import Store
    from fedpet.settings import Settings


class Jobs:
    """The queues of what is to be computed and of what is to be transferred."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._outbox = Outbox(store.engine)
        self._computations = ThreadPoolExecutor(max_workers=1, thread_name_prefix="case")
        self._transfers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transfer")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def submit(self, case_id: str) -> None:
        """Fetch or compute a case that the store has queued, when those before it are done."""
        case = self._store.get(case_id)
        if case is not None and case.status is Status.FETCHING:
            self._transfers.submit(self._fetch, case_id)
        else:
            self._computations.submit(self._work, "job", case_id)

    def send(self, case_id: str, version: int) -> None:
        """Send what the outbox has queued, when the transfers before it are done."""
        self._transfers.submit(self._send, case_id, version)

    def resume(self) -> None:
        """Take up again what was under way when the server stopped; called once when it starts."""
        for case in self._store.interrupted():
            self.submit(case.id)
        for delivery in self._outbox.interrupted():
            self.send(delivery.case, delivery.number)

    def stop(self) -> None:
        """Stop what is running and forget what waits; the next server takes it up again."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
        for queue in (self._computations, self._transfers):
            queue.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, case_id: str) -> None:
        """Fetch the images; the process queues their check, which is begun here."""
        self._work("transfer", case_id)
        case = self._store.get(case_id)
        if case is not None and case.status is Status.CHECKING and not self._stopped:
            self.submit(case_id)

    def _send(self, case_id: str, version: int) -> None:
        code = self._run("transfer", {"case": case_id, "version": version})
        if code and not self._stopped:
            self._outbox.end(case_id, version, Sending.REFUSED, _died("transfer", code))

    def _work(self, program: _Program, case_id: str) -> None:
        attempts = 0 if self._stopped else self._store.begin(case_id)
        if attempts > _MOST_ATTEMPTS:
            self._give_up(case_id, INTERRUPTED)
        elif attempts and (code := self._run(program, {"case": case_id, "version": None})) and not self._stopped:
            self._give_up(case_id, _died(program, code))

    def _run(self, program: _Program, asked: dict[str, Any]) -> int:
        """Run a process to its end; returns its code, 0 where the server is stopping."""
        with self._lock:
            if self._stopped:
                return 0
            command = [sys.executable, "-m", f"app.{program}"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603  our own modules
            self._running.add(process)
        line = json.dumps(asked | {"settings": self._settings.model_dump(mode="json")}) + "\n"
        with process, suppress(BrokenPipeError):  # its code tells that it died
            if process.stdin is not None:
                process.stdin.write(line.encode())
            process.wait()
        with self._lock:
            self._running.discard(process)
        return process.returncode

    def _give_up(self, case_id: str, why: Message) -> None:
        """A case whose process died: to be read again if it was being signed, else failed."""
        if not self._store.not_signed(case_id, why):
            self._store.stop(case_id, Status.FAILED, why)


def _died(program: _Program, code: int) -> Message:
    if program == "transfer":
        return Message("The transfer stopped unexpectedly (code {code}).", code=code)
    return Message("The computation stopped unexpectedly (code {code}).", code=code)
