"""Receiving DICOM objects over an association: the handler of C-STORE, and a Storage SCP (PS3.4 annex B).

pynetdicom logs identifiers, and objects that cannot be read, with their values: its logs are silenced here. What went
wrong is said by our own errors and logs, which name no patient.
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import from a table

from app.pacs_shelf import MISMATCH, parse
from fedpet.errors import PacsError
from fedpet.messages import Message

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from pynetdicom.association import Association
    from pynetdicom.events import Event

    from app.pacs_shelf import Received

_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def receiver(keep: Callable[[Received, Association], int]) -> Callable[[Event], int]:
    """The handler of C-STORE requests: `keep` says what becomes of the object, as a DIMSE status.

    An object that cannot be parsed raises; pynetdicom then answers 0xC211, “unable to process”.
    """

    def handle(event: Event) -> int:
        item = parse(event.encoded_dataset())
        announced = event.file_meta.MediaStorageSOPInstanceUID
        return keep(item, event.assoc) if item.uid == announced else MISMATCH

    return handle


class _Gate(threading.Event):
    """Where an association's own thread waits while another one talks over it.

    pynetdicom tells the other thread that its own is waiting a moment before it does, and may then take away the answer
    that the other waits for, until the time-out (its issue 875). Here both happen at once.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open; the association counts as running before this returns."""
        with self._cond:  # type: ignore[attr-defined]  # the lock of threading.Event
            while not self.is_set():
                self._cond.wait(timeout)  # type: ignore[attr-defined]  # as above
            self._association._is_paused = False  # noqa: SLF001  see above
        return True


def opened(event: Event) -> None:
    """What a new connection of ours or to us needs (`EVT_CONN_OPEN`)."""
    association = event.assoc
    association._reactor_checkpoint = _Gate(association)  # noqa: SLF001  see `_Gate`
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        # Nagle's algorithm would hold every object back by some 40 ms
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Meter:
    """Cuts a connection whose next object grows beyond a limit: it is held in memory until it is whole."""

    def __init__(self, limit: int, exceeded: Callable[[Association], None] = lambda _: None) -> None:
        self._limit = limit
        self._exceeded = exceeded
        self._bytes: dict[Association, int] = {}

    def handlers(self) -> list[evt.EventHandlerType]:
        """To be bound to associations."""
        return [
            (evt.EVT_DATA_RECV, self._add),
            (evt.EVT_DIMSE_RECV, self._restart),
            (evt.EVT_CONN_CLOSE, self._restart),
        ]

    def _add(self, event: Event) -> None:
        self._bytes[event.assoc] = self._bytes.get(event.assoc, 0) + len(event.data)
        connection = event.assoc.dul.socket
        if self._bytes[event.assoc] > self._limit and connection is not None:
            self._exceeded(event.assoc)
            connection.close()

    def _restart(self, event: Event) -> None:
        self._bytes.pop(event.assoc, None)


@contextmanager
def storage_scp(
    keep: Callable[[Received, Association], int],
    *,
    ae_title: str,
    address: tuple[str, int],
    callers: Sequence[str] = (),
    max_bytes: int,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    closing: Callable[[Association], None] = lambda _: None,
) -> Iterator[int]:
    """Listen for C-STORE (and C-ECHO) while the context is open, which gives the port.

    Args:
        keep: what becomes of an object; called from the thread of its association.
        ae_title: ours; associations that call another are rejected.
        address: host and port to listen on.
        callers: AE titles that may associate; empty lets every one.
        max_bytes: the largest object.
        timeout_s: an association that is idle for longer is aborted.
        tls: our certificate, and whose we ask for.
        closing: told as soon as a connection ends, well or not; perhaps twice.

    Raises:
        PacsError: the address cannot be listened on.
    """
    ae = AE(ae_title)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    ae.require_called_aet, ae.require_calling_aet = True, list(callers)
    ae.network_timeout = ae.dimse_timeout = timeout_s
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_C_STORE, receiver(keep)),
        (evt.EVT_CONN_OPEN, opened),
        (evt.EVT_CONN_CLOSE, lambda event: closing(event.assoc)),
        *Meter(max_bytes, closing).handlers(),
    ]
    try:
        server = ae.start_server(address, block=False, ssl_context=tls, evt_handlers=handlers)
    except OSError as error:
        raise PacsError(
            found=Message("Images cannot be received at {host}, port {port}.", host=address[0], port=address[1]),
            needed=Message("An address of this machine and a port that no other program listens on."),
            advice=Message("Stop the other program (perhaps fedpet pacs listen), or set another port."),
        ) from error
    try:
        yield server.server_address[1] if server else address[1]
    finally:
        ae.shutdown()
