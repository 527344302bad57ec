"""Background computations and transfers, each in a process of its own, one of either kind at a time.

A process of its own keeps the pages responsive, frees its memory when it ends, and cannot crash the server. Its
progress is in the database, so that a browser may be closed and opened again. The processes are
`python -m app.jobs.case_process` and `python -m app.jobs.transfer_process`. They read their task on standard input:
neither their arguments nor their environment say anything about a case. That input stays open while the server lives,
so that they end with it however it ends: the next server takes the case up again, and must not find another process
working on it. Transfers have a queue of their own, so that a slow PACS does not delay a computation; they run one at a
time, since C-MOVE has one port to come back to.

A process holds the lock of its case's folder as long as it lives, so that no second server, nor the receiver, works at
the same case. Where the disk is full a case waits, says so, and is tried again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from app.cases.deliveries import Deliveries
from app.cases.store import INTERRUPTED
from app.cases.tables import Status
from app.database.connection import DatabaseError
from app.jobs.reporting import NO_MEMORY, NO_ROOM
from fedpet.core.errors import CaseError
from fedpet.core.locks import try_lock
from fedpet.core.messages import Message
from fedpet.core.scratch import sweep_scratch

_Program = Literal["case_process", "transfer_process"]
_TOO_LONG = -1000  # in place of an exit code
_MAX_ATTEMPTS = 2  # work that brings the server down is not started for ever
_RETRY_S = 20.0  # until a case that another process has, or for which there is no room, is tried again
_ENDING_S = 3.0  # in which the process of a server that was killed ends
_ROOM = 200 * 2**20  # bytes that must be free before a computation is started
_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from pathlib import Path

    from app.cases.store import Store
    from fedpet.core.settings import Settings


class JobScheduler:
    """The queue of computations and the queue of transfers."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._deliveries = Deliveries(store.engine)
        self._computations = ThreadPoolExecutor(max_workers=1, thread_name_prefix="case")
        self._transfers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transfer")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._of_case: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._timers: set[threading.Timer] = set()
        self._stopped = False

    def submit(self, case_id: str) -> None:
        """Fetch or compute a queued case, after those before it."""
        with self._lock:
            if self._stopped:  # the next server takes it up
                return
        case = self._store.get(case_id)
        if case is not None and case.status is Status.FETCHING:
            self._transfers.submit(self._fetch, case_id)
        else:
            self._computations.submit(self._work, "case_process", case_id)

    def cancel(self, case_id: str) -> None:
        """End the process that works at a case, if there is one; nothing of what it computed is stored any more.

        The case keeps its state: who cancels gives it another one, or submits it again.
        """
        with self._lock:
            process = self._of_case.get(case_id)
            if process is None:
                return
            self._cancelled.add(process)
            process.kill()
        process.wait()

    def send(self, case_id: str, version: int) -> None:
        """Send a signed version whose delivery is queued, after the transfers before it."""
        self._transfers.submit(self._send, case_id, version)

    def processes(self) -> tuple[subprocess.Popen[bytes], ...]:
        """The processes that run now."""
        with self._lock:
            return tuple(self._running)

    def resume(self) -> None:
        """Take up what was under way when the last server stopped; called once at the start."""
        for case in self._store.find_busy():
            self.submit(case.id)
        for delivery in self._deliveries.find_under_way():
            self.send(delivery.case, delivery.number)

    def stop(self) -> None:
        """Stop what is running and drop what waits; the next server takes it up again."""
        with self._lock:
            self._stopped = True
            for timer in self._timers:
                timer.cancel()
            for process in self._running:
                process.terminate()
        for queue in (self._computations, self._transfers):
            queue.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, case_id: str) -> None:
        """Fetch the images; the process queues their check, which is started here."""
        self._work("transfer_process", case_id)
        case = self._store.get(case_id)
        if case is not None and case.status is Status.CHECKING and not self._stopped:
            self.submit(case_id)

    def _send(self, case_id: str, version: int) -> None:
        code = self._run("transfer_process", {"case": case_id, "version": version})
        if code and not self._stopped:
            with suppress(CaseError):  # the process had recorded how it ended
                self._deliveries.record_failure(case_id, version, _died("transfer_process", code))

    def _work(self, program: _Program, case_id: str) -> None:
        """Work at a case; where that is not possible now, try again later."""
        if self._stopped:
            return
        try:
            done = self._attempt(program, case_id)
        except (OSError, DatabaseError) as error:  # no room for the database or for a process
            _logger.warning("case %s waits: %s", case_id, type(error).__name__)
            done = False
        if not done:
            self._later(case_id)

    def _attempt(self, program: _Program, case_id: str) -> bool:
        """Work at a case; False where another process has it, or there is no room."""
        folder = self._store.folder(case_id)
        if not folder.is_dir() or self._store.get(case_id) is None:  # erased
            return True
        lease = _lease(folder)
        if lease is None:
            return False
        try:
            return self._has_room(case_id) and self._run_once(program, case_id, lease)
        except CaseError:  # erased, or done by another process
            return True
        finally:
            os.close(lease)

    def _run_once(self, program: _Program, case_id: str, lease: int) -> bool:
        if self._store.start_attempt(case_id) > _MAX_ATTEMPTS:
            self._give_up(case_id, INTERRUPTED)
            return True
        code = self._run(program, {"case": case_id, "version": None}, lease)
        if code == NO_ROOM and not self._stopped:
            self._store.forget_attempt(case_id)
            return self._has_room(case_id, needed=True)
        if code and not self._stopped:
            self._give_up(case_id, _died(program, code))
        return True

    def _has_room(self, case_id: str, *, needed: bool = False) -> bool:
        """Whether there is room for a computation; where not, or where one needed more, the case says that it waits."""
        free = shutil.disk_usage(self._settings.folder).free
        if free > _ROOM and not needed:
            return True
        with suppress(CaseError):
            words = Message("Waiting for room on the disk: {free:.0f} MB are free.", free=free / 2**20)
            self._store.record_progress(case_id, 0.0, words)
        return False

    def _later(self, case_id: str) -> None:
        with self._lock:
            if self._stopped:
                return
            self._timers = {one for one in self._timers if one.is_alive()}
            timer = threading.Timer(_RETRY_S, self.submit, (case_id,))
            timer.daemon = True
            self._timers.add(timer)
            timer.start()

    def _run(self, program: _Program, task: dict[str, Any], lease: int | None = None) -> int:
        """Run a process to its end; returns its exit code, 0 where the server is stopping.

        Args:
            program: which.
            task: what it reads.
            lease: of the case, which the process holds as long as it lives.
        """
        with self._lock:
            if self._stopped:
                return 0
            command = [sys.executable, "-P", "-m", f"app.jobs.{program}"]  # -P: not the modules of the current folder
            held = () if lease is None else (lease,)
            process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, pass_fds=held)  # noqa: S603  our own modules
            self._running.add(process)
            self._of_case[task["case"]] = process
        line = json.dumps(task | {"settings": self._settings.model_dump(mode="json")}) + "\n"
        code = None
        try:
            with process, suppress(BrokenPipeError):  # its exit code says that it died
                if process.stdin is not None:
                    process.stdin.write(line.encode())
                code = self._wait(process)
        finally:
            cancelled = self._forget(process, task["case"])
        if cancelled:
            return 0
        return process.returncode if code is None else code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a process, for the longest time that one may take; returns its exit code."""
        try:
            return process.wait(self._settings.max_minutes * 60)
        except subprocess.TimeoutExpired:
            process.kill()
            return _TOO_LONG

    def _forget(self, process: subprocess.Popen[bytes], case_id: str) -> bool:
        """Forget a process that has ended; returns whether it was cancelled."""
        with self._lock:
            self._running.discard(process)
            if self._of_case.get(case_id) is process:
                del self._of_case[case_id]
            cancelled = process in self._cancelled
            self._cancelled.discard(process)
        sweep_scratch(self._settings.folder)  # a process that was killed leaves its temporary files
        return cancelled

    def _give_up(self, case_id: str, reason: Message) -> None:
        with suppress(CaseError):  # the process had recorded how it ended
            self._store.record_failure(case_id, reason)


def _died(program: _Program, code: int) -> Message:
    if code == _TOO_LONG:
        return Message("It took longer than one computation or transfer may (setting max_minutes).")
    if code in {NO_MEMORY, -signal.SIGABRT}:
        return Message("It needed more memory than one computation may have (setting max_memory_mb).")
    if program == "transfer_process":
        return Message("The transfer stopped unexpectedly (code {code}).", code=code)
    return Message("The computation stopped unexpectedly (code {code}).", code=code)


def _lease(folder: Path) -> int | None:
    """The lock of a case; None where another process works at it, also after a moment in which a former one may end."""
    end = time.monotonic() + _ENDING_S
    while (lease := try_lock(folder)) is None and time.monotonic() < end:
        time.sleep(0.1)
    return lease
