"""The receiver: studies that a PACS sends, or that are put into a folder, become cases; results go back.

A study becomes a case when it is quiet: no association brings it, nothing came for a time, and every series ended
well. With `check`, the PACS is asked which images the study has, and those missing are fetched. Whatever is not whole
waits on disk, and why is told.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import pacs, pacs_errors
from app.pacs_inbox import Inbox
from app.pacs_storage import storage_scp
from app.pacs_transfer import complete
from app.pacs_watch import Watch
from app.tables import ANSWERED, Status
from fedpet.errors import FedpetError
from fedpet.messages import Message

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from pynetdicom.association import Association

    from app.pacs_parcel import Parcel
    from app.pacs_shelf import Received
    from app.pacs_transfer import Pacs
    from app.tables import Case
    from app.workflow import Workflow
    from fedpet.settings import Settings

_logger = logging.getLogger(__name__)
_ACTOR = "fedpet"
_LONGEST_WAIT = 3600.0  # seconds between two attempts to send results back
_LOOK = 10.0  # seconds between two looks for results
_IDLE = 600.0  # seconds after which a silent association is aborted


@dataclass(frozen=True)
class Notice:
    """What happened: `kind` is "listening", "queued", "waiting", "refused", "repeated", "sent" or "unsent"."""

    kind: str
    message: Message
    case: str = ""


def log_notice(notice: Notice) -> None:
    """Write a notice to the log; it names no patient."""
    level = logging.INFO if notice.kind in {"listening", "queued", "sent"} else logging.WARNING
    _logger.log(level, "%s %s %s", notice.kind, notice.case, notice.message)


class Listener:
    """Takes in, makes cases and sends results back; `run` does it until it is stopped, by `step` and `send_back`."""

    def __init__(self, settings: Settings, workflow: Workflow, tell: Callable[[Notice], None] = log_notice) -> None:
        self._settings = settings
        self._ours = settings.pacs_listen
        self._workflow = workflow
        self._tell = tell
        self._origin = f"pacs:{self._ours.pacs}"
        self._pacs = pacs.connect(settings, self._ours.pacs) if self._ours.pacs else None
        self._senders: set[Association] = set()
        self._unsent: dict[Path, tuple[float, float]] = {}  # results: when they are due again, and the wait after that
        most = self._ours.max_waiting_mb * 2**20
        folder = settings.folder / "pacs" / "inbox"
        self.inbox = Inbox(folder, settings.pseudonym_key(), pacs.limits(settings), max_bytes=most)
        largest = self._ours.max_instance_mb * 2**20
        self._watch = Watch(self._ours.watch, self.inbox, largest) if self._ours.watch else None

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set.

        Raises:
            PacsError: the address cannot be listened on.
        """
        ours = self._ours
        scp = storage_scp(
            self._take,
            ae_title=ours.ae,
            address=(ours.host, ours.port),
            callers=ours.callers,
            max_bytes=ours.max_instance_mb * 2**20,
            timeout_s=_IDLE,
            tls=pacs_errors.certified("pacs_listen", ours.listener_context),
            closing=self.inbox.closing,
        )
        self.resume()
        with scp as port:
            open_now = Message("Listening as {ae} on {host}, port {port}.", ae=ours.ae, host=ours.host, port=port)
            self._tell(Notice("listening", open_now))
            look = time.monotonic()
            while not stop.wait(min(1.0, ours.quiet_s / 4)):
                self.step()
                if time.monotonic() >= look:
                    self.send_back()
                    look = time.monotonic() + min(_LOOK, ours.quiet_s)
        self._sweep()

    def resume(self) -> None:
        """Finish what a former process began, and forget the studies whose case was erased."""
        store = self._workflow.store
        for case in store.interrupted():
            if case.origin == self._origin and case.status is not Status.FETCHING:
                self._workflow.jobs.submit(case.id)
        with self.inbox.lock:
            for parcel in list(self.inbox.parcels.values()):
                if parcel.case and store.get(parcel.case) is None:
                    parcel.forget()
                if parcel.moving:
                    self._move(parcel)
                elif not parcel.case and not len(parcel.shelf):
                    self.inbox.remove(parcel)

    def step(self) -> None:
        """Take in what came, and make cases of the studies that are whole."""
        self._sweep()
        if self._watch is not None:
            self._watch.scan()
        for parcel in self.inbox.quiet(self._ours.quiet_s):
            self._settle(parcel)

    def send_back(self) -> None:
        """Send the results that are there, of the newest cases, where that is wanted."""
        if self._pacs is None or self._ours.send_back == "no":
            return
        for case in self._workflow.store.newest():
            if case.origin == self._origin:
                for folder in self._results(case):
                    self._send(self._pacs, case.id, folder)

    def _take(self, item: Received, sender: Association) -> int:
        with self.inbox.lock:
            self._senders.add(sender)
            return self.inbox.take(item, sender)

    def _sweep(self) -> None:
        """Close what ended associations brought. Their thread ends last, so that their end is known then."""
        with self.inbox.lock:
            for sender in [one for one in self._senders if not one.is_alive()]:
                self._senders.discard(sender)
                self.inbox.ended(sender, well=sender.is_released)

    def _settle(self, parcel: Parcel) -> None:
        """A quiet study: a case, or why not."""
        if parcel.refused is not None:
            self._once(parcel, "refused", parcel.refused.found)
            with self.inbox.lock:
                parcel.clear()
                if not parcel.case:
                    self.inbox.remove(parcel)
            return
        if not self._is_whole(parcel):
            return
        with self.inbox.lock:
            if parcel not in self.inbox.quiet(self._ours.quiet_s):  # something came during the check
                return
            if parcel.case and self._workflow.store.get(parcel.case) is None:
                parcel.forget()
            news = parcel.news()
            if news == "same":
                self._once(parcel, "repeated", Message("A study was received again; its case is there already."))
                parcel.clear()
            elif news == "part":
                late = Message("Images came for a study that is a case already; a new case needs all of them again.")
                self._once(parcel, "waiting", late)
            else:
                self._queue(parcel)

    def _is_whole(self, parcel: Parcel) -> bool:
        """Whether the study has all its images; the PACS knows, else its senders must have ended well."""
        if not self._ours.check or self._pacs is None:
            if parcel.open:
                broken = Message("A sender broke off: the study waits until its images are sent again.")
                self._once(parcel, "waiting", broken)
            return not parcel.open
        try:
            complete(self._pacs, parcel.basket(), pacs.USED)
        except FedpetError as error:
            self._once(parcel, "waiting", error.found)
            parcel.last = time.monotonic()  # asked again after the same time
            return False
        return True

    def _queue(self, parcel: Parcel) -> None:
        """Make a case of the study. Every step can be taken up again by `resume`."""
        case = self._workflow.create(self._settings.language, actor=_ACTOR, origin=self._origin)
        parcel.assign(case.id)
        self._move(parcel)

    def _move(self, parcel: Parcel) -> None:
        store = self._workflow.store
        target = store.source(parcel.case)
        parcel.move(target)
        sizes = [path.stat().st_size for path in target.iterdir()]
        self._workflow.received(parcel.case, files=len(sizes), size=sum(sizes), actor=_ACTOR)
        if self._ours.predict:
            self._workflow.confirm(parcel.case, actor=_ACTOR)
        parcel.settle()
        self._tell(Notice("queued", Message("A study of {n} images became a case.", n=len(sizes)), parcel.case))

    def _results(self, case: Case) -> list[Path]:
        """The folders of DICOM objects that are to go back: of signed versions, and of an answer still to be read."""
        store = self._workflow.store
        folders = [store.version_folder(case.id, version.number) for version in store.versions(case.id)]
        if self._ours.send_back == "ready" and case.status in ANSWERED - {Status.SIGNED}:
            folders.append(store.folder(case.id))
        return [folder / pacs.RESULTS for folder in folders if (folder / pacs.RESULTS).is_dir()]

    def _send(self, archive: Pacs, case_id: str, folder: Path) -> None:
        due, wait = self._unsent.get(folder, (0.0, max(1.0, self._ours.quiet_s)))
        if pacs.sent_note(folder).exists() or time.monotonic() < due:
            return
        try:
            shipped = pacs.send_results(self._workflow.audit, archive, case_id, folder, actor=_ACTOR)
        except FedpetError as error:
            self._unsent[folder] = (time.monotonic() + wait, min(2 * wait, _LONGEST_WAIT))
            self._tell(Notice("unsent", error.found, case_id))
        else:
            self._unsent.pop(folder, None)
            self._tell(Notice("sent", Message("{n} objects went back to the PACS.", n=shipped.objects), case_id))

    def _once(self, parcel: Parcel, kind: str, message: Message) -> None:
        """Tell it, but not again while nothing changes."""
        if parcel.told != str(message):
            parcel.told = str(message)
            self._tell(Notice(kind, message, parcel.case))
