"""The receiver: studies that a PACS sends, or that are put into a folder, become cases; results are sent back.

A study becomes a case when it is quiet: no association sends it, nothing was added for a time, and every series ended
normally. With `check`, the images that the PACS lists for the study and that are missing are fetched. An incomplete
study waits on disk, with a notice of the reason.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cases.options import input_limits
from app.cases.tables import Status
from app.database.connection import DatabaseError
from app.exchange import cases as pacs
from app.exchange.inbox import Inbox
from app.exchange.quarantine import REASONS
from app.exchange.watched_folder import FolderWatcher
from app.pacs import errors as pacs_errors
from app.pacs.storage_scp import storage_scp
from app.pacs.transfer import complete
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from pynetdicom.association import Association

    from app.cases.workflow import Workflow
    from app.exchange.incoming_study import IncomingStudy
    from app.pacs.object_store import ReceivedObject
    from app.pacs.transfer import Pacs
    from fedpet.core.settings import Settings

_logger = logging.getLogger(__name__)
_ACTOR = "fedpet"
_MAX_WAIT_S = 3600.0  # between two attempts to send results back
_RESULTS_S = 10.0  # between two searches for results
_IDLE_S = 600.0  # after which a silent association is aborted


@dataclass(frozen=True)
class Notice:
    """An event.

    `kind` is "listening", "queued", "waiting", "refused", "repeated", "quarantined", "sent" or "unsent".
    """

    kind: str
    message: Message
    case: str = ""


def log_notice(notice: Notice) -> None:
    """Write a notice to the log; it names no patient."""
    level = logging.INFO if notice.kind in {"listening", "queued", "sent"} else logging.WARNING
    _logger.log(level, "%s %s %s", notice.kind, notice.case, notice.message)


class Listener:
    """Receives studies, makes cases of them and sends results back; `run` repeats `step` and `send_back`."""

    def __init__(self, settings: Settings, workflow: Workflow, notify: Callable[[Notice], None] = log_notice) -> None:
        self._settings = settings
        self._ours = settings.pacs_listen
        self._workflow = workflow
        self._notify = notify
        self._origin = f"pacs:{self._ours.pacs}"
        self._pacs = pacs.connect(settings, self._ours.pacs) if self._ours.pacs else None
        self._senders: set[Association] = set()
        self._unsent: dict[Path, tuple[float, float]] = {}  # results: when they are due again, and the wait after that
        most = self._ours.max_waiting_mb * 2**20
        self.inbox = Inbox(settings.folder, settings.pseudonym_key(), input_limits(settings), max_bytes=most)
        largest = self._ours.max_instance_mb * 2**20
        self._watch = FolderWatcher(self._ours.watch, self.inbox, largest) if self._ours.watch else None

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set.

        Raises:
            PacsError: it is not possible to listen on the address.
        """
        ours = self._ours
        scp = storage_scp(
            self._receive,
            ae_title=ours.ae,
            address=(ours.host, ours.port),
            callers=ours.callers,
            max_bytes=ours.max_instance_mb * 2**20,
            timeout_s=_IDLE_S,
            tls=pacs_errors.certificate_refused("pacs_listen", ours.listener_context),
            closing=self.inbox.note_closing,
        )
        self.resume()
        with scp as port:
            open_now = Message("Listening as {ae} on {host}, port {port}.", ae=ours.ae, host=ours.host, port=port)
            self._notify(Notice("listening", open_now))
            look = time.monotonic()
            while not stop.wait(min(1.0, ours.quiet_s / 4)):
                if not self._goes_on(self.step):
                    stop.wait(min(_RESULTS_S, ours.quiet_s))
                if time.monotonic() >= look:
                    self._goes_on(self.send_back)
                    look = time.monotonic() + min(_RESULTS_S, ours.quiet_s)
        self._sweep()

    def _goes_on(self, work: Callable[[], None]) -> bool:
        """Do a piece of work; False where the disk or the database does not let it now: it is done again later."""
        try:
            work()
        except (OSError, DatabaseError) as error:
            self._notify(Notice("waiting", Message("Nothing can be stored now ({why}).", why=type(error).__name__)))
            return False
        return True

    def resume(self) -> None:
        """Finish what a former process started, and forget the studies whose case was erased."""
        store = self._workflow.store
        for case in store.find_busy():
            if case.origin == self._origin and case.status is not Status.FETCHING:
                self._workflow.jobs.submit(case.id)
        with self.inbox.lock:
            for study in list(self.inbox.studies.values()):
                if study.case and store.get(study.case) is None:
                    study.forget()
                if study.moving:
                    self._move(study)
                elif not study.case and not len(study.objects):
                    self.inbox.remove(study)

    def step(self) -> None:
        """Receive new files, and make cases of the complete studies."""
        self.inbox.drop_erased()
        self._sweep()
        if self._watch is not None:
            self._watch.scan()
        self._tell_apart()
        for study in self.inbox.unfinished():
            with self.inbox.lock:
                self._move(study)
        for study in self.inbox.quiet(self._ours.quiet_s):
            self._settle(study)

    def _tell_apart(self) -> None:
        with self.inbox.lock:
            apart = dict(self.inbox.apart)
            self.inbox.apart.clear()
        for reason, count in apart.items():
            words = Message("{n} objects are in quarantine: {why}.", n=count, why=REASONS[reason])
            self._notify(Notice("quarantined", words))
            self._workflow.audit.record(_ACTOR, "images.quarantined", detail={"files": count, "reason": reason})

    def send_back(self) -> None:
        """Send the results that are ready and were not sent yet, where the settings say so."""
        if self._pacs is None or self._ours.send_back == "no":
            return
        store = self._workflow.store
        for case_id, folder in store.find_results(self._origin, unsigned=self._ours.send_back == "ready"):
            if (folder / pacs.RESULTS).is_dir():
                self._send(self._pacs, case_id, folder / pacs.RESULTS)

    def _receive(self, item: ReceivedObject, sender: Association) -> int:
        with self.inbox.lock:
            self._senders.add(sender)
            return self.inbox.receive(item, sender)

    def _sweep(self) -> None:
        """Close the series of associations that have ended: how they ended is known once their thread has."""
        with self.inbox.lock:
            for sender in [one for one in self._senders if not one.is_alive()]:
                self._senders.discard(sender)
                self.inbox.end(sender, well=sender.is_released)

    def _settle(self, study: IncomingStudy) -> None:
        """Make a case of a quiet study, or notify why not."""
        if study.refused is not None:
            self._notify_once(study, "refused", study.refused.found)
            with self.inbox.lock:
                study.clear()
                if not study.case:
                    self.inbox.remove(study)
            return
        if not self._is_complete(study):
            return
        with self.inbox.lock:
            if study not in self.inbox.quiet(self._ours.quiet_s):  # images arrived during the check
                return
            if study.case and self._workflow.store.get(study.case) is None:
                study.forget()
            change_since_last = study.change_since_last()
            if change_since_last == "same":
                self._notify_once(study, "repeated", Message("A study was received again; its case is there already."))
                study.clear()
            elif change_since_last == "part":
                late = Message("Images came for a study that is a case already; a new case needs all of them again.")
                self._notify_once(study, "waiting", late)
            else:
                self._queue(study)

    def _is_complete(self, study: IncomingStudy) -> bool:
        """Whether the study has all its images, by the PACS, or because all its senders ended normally."""
        if not self._ours.check or self._pacs is None:
            if study.open:
                broken = Message("A sender broke off: the study waits until its images are sent again.")
                self._notify_once(study, "waiting", broken)
            return not study.open
        try:
            complete(self._pacs, study.study_store(), pacs.USED)
        except FedpetError as error:
            self._notify_once(study, "waiting", error.found)
            study.last = time.monotonic()  # checked again after the same time
            return False
        return True

    def _queue(self, study: IncomingStudy) -> None:
        """Make a case of the study; `resume` continues after every step."""
        case = self._workflow.create(self._settings.language, actor=_ACTOR, origin=self._origin)
        study.assign(case.id)
        self._move(study)

    def _move(self, study: IncomingStudy) -> None:
        store = self._workflow.store
        target = store.source(study.case)
        study.move(target)
        sizes = [path.stat().st_size for path in target.iterdir()]
        if store.require(study.case).status is Status.RECEIVED:  # a receiver that stopped here may have done this
            self._workflow.receive_images(study.case, files=len(sizes), size=sum(sizes), actor=_ACTOR)
            if self._ours.predict:
                self._workflow.confirm_record(study.case, actor=_ACTOR)
        study.mark_imported()
        self._notify(Notice("queued", Message("A study of {n} images became a case.", n=len(sizes)), study.case))

    def _send(self, archive: Pacs, case_id: str, folder: Path) -> None:
        due, wait = self._unsent.get(folder, (0.0, max(1.0, self._ours.quiet_s)))
        if pacs.delivery_record(folder).exists() or time.monotonic() < due:
            return
        try:
            shipped = pacs.send_results(self._workflow.audit, archive, case_id, folder, actor=_ACTOR)
        except FedpetError as error:
            self._unsent[folder] = (time.monotonic() + wait, min(2 * wait, _MAX_WAIT_S))
            self._notify(Notice("unsent", error.found, case_id))
        else:
            self._unsent.pop(folder, None)
            self._notify(Notice("sent", Message("{n} objects went back to the PACS.", n=shipped.objects), case_id))

    def _notify_once(self, study: IncomingStudy, kind: str, message: Message) -> None:
        """Notify, but not again while nothing changes."""
        if study.notice != str(message):
            study.notice = str(message)
            self._notify(Notice(kind, message, study.case))
