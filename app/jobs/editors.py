"""The editor processes (`app.jobs.editor_process`): one for each case whose lesions are being corrected, two at most.

A process starts when a reader opens the lesions, so that it has read the images when the first correction comes; it
ends after a time without one, with the server, or where another case needs its place.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.cases.lesion_editing import OF_THE_LESIONS
from app.cases.options import CaseOptions
from app.cases.tables import digest_of
from fedpet.core.errors import ArgumentError, CaseError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from app.cases.tables import Case
    from fedpet.core.settings import Settings

_AT_ONCE = 2
_IDLE_S = 600.0
_LONGEST_S = 180.0  # for an answer, the reading of the images included


class EditorError(CaseError):
    """The lesions cannot be corrected now."""


@dataclass(eq=False)
class _Editor:
    """A process, and what it has read."""

    process: subprocess.Popen[str]
    read: str
    used: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)


class Editors:
    """The processes of one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._editors: dict[str, _Editor] = {}
        self._lock = threading.Lock()

    def ask(self, case: Case, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the editor of a case; the first answer takes as long as reading its images.

        Raises:
            EditorError: the process ended or took too long.
            ArgumentError: it refused the request, with its sentences.
        """
        editor = self._editor(case)
        with editor.turn:
            editor.used = time.monotonic()
            watch = threading.Timer(_LONGEST_S, editor.process.kill)
            watch.start()
            try:
                line = _exchange(editor.process, request)
            finally:
                watch.cancel()
            editor.used = time.monotonic()
        if not line:
            self._forget(case.id, editor)
            raise EditorError(
                found=Message("The lesions could not be measured: their process ended."),
                needed=Message("Memory and time for the images of this case."),
                advice=Message("Try again, or let the case be computed anew."),
            )
        said: dict[str, Any] = json.loads(line)
        if "refused" in said:
            found, needed, advice = map(Message.from_json, said["refused"])
            raise ArgumentError(found=found, needed=needed, advice=advice)
        return said

    def warm(self, case: Case) -> None:
        """Let the images of a case be read, in the background."""
        editor = self._editor(case)
        if editor.turn.locked():
            return

        def read() -> None:
            with suppress(CaseError, ArgumentError):  # the first correction will say it
                self.ask(case, {"warm": True})

        threading.Thread(target=read, daemon=True).start()

    def close(self, case_id: str) -> None:
        """End the editor of a case, if there is one."""
        with self._lock:
            editor = self._editors.pop(case_id, None)
        if editor is not None:
            _end(editor)

    def stop(self) -> None:
        """End all of them."""
        for case_id in list(self._editors):
            self.close(case_id)

    def _editor(self, case: Case) -> _Editor:
        """The editor of a case; a new one where its images, record or model are not those that were read."""
        given = CaseOptions.from_json(case.options).to_json()
        options = {name: value for name, value in given.items() if name not in OF_THE_LESIONS}
        read = digest_of([case.record, options, case.inspection])
        with self._lock:
            self._end_idle()
            known = self._editors.get(case.id)
            if known is not None and known.read == read and known.process.poll() is None:
                return known
            if known is not None:
                _end(self._editors.pop(case.id))
            while len(self._editors) >= _AT_ONCE:
                oldest = min(self._editors, key=lambda one: self._editors[one].used)
                _end(self._editors.pop(oldest))
            editor = _Editor(self._start(case.id), read)
            self._editors[case.id] = editor
            return editor

    def _start(self, case_id: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "app.jobs.editor_process"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
        task = {"case": case_id, "settings": self._settings.model_dump(mode="json")}
        if process.stdin is not None:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        return process

    def _end_idle(self) -> None:
        now = time.monotonic()
        for case_id in [one for one, editor in self._editors.items() if now - editor.used > _IDLE_S]:
            _end(self._editors.pop(case_id))

    def _forget(self, case_id: str, editor: _Editor) -> None:
        with self._lock:
            if self._editors.get(case_id) is editor:
                del self._editors[case_id]
        _end(editor)


def _exchange(process: subprocess.Popen[str], request: dict[str, Any]) -> str:
    """Send a request and wait for its answer; "" where the process has ended."""
    if process.stdin is None or process.stdout is None:
        return ""
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    return ""


def _end(editor: _Editor) -> None:
    editor.process.kill()
    with suppress(BrokenPipeError):
        editor.process.communicate()
