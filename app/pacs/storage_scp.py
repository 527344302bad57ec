"""Receives DICOM objects over an association: the handler of C-STORE, and a Storage SCP (PS3.4 annex B)."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # created at import from a table

from app.pacs.connection_guard import HANDSHAKE_S, MOST_ASSOCIATIONS, ConnectionGuard
from app.pacs.object_store import MISMATCH, parse
from fedpet.core.errors import PacsError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from pynetdicom.association import Association
    from pynetdicom.events import Event

    from app.pacs.object_store import ReceivedObject


_PDU_S = 60.0  # longest time for one PDU of an association, once it has begun
_AT_ONCE = 2  # objects of the largest size in memory, over all associations


def application_entity(ae_title: str) -> AE:
    """Our side of associations. From the first one on, pynetdicom logs nothing in this process.

    It logs identifiers and the values of unreadable objects, also from threads that end after the association. Problems
    are reported by our own errors and logs, which name no patient.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    return AE(ae_title)


def store_handler(put: Callable[[ReceivedObject, Association], int]) -> Callable[[Event], int]:
    """The handler of C-STORE requests: `put` stores an object and returns a DIMSE status.

    An object that cannot be parsed raises; pynetdicom then answers 0xC211, “unable to process”.
    """

    def handle(event: Event) -> int:
        item = parse(event.encoded_dataset())
        announced = event.file_meta.MediaStorageSOPInstanceUID
        return put(item, event.assoc) if item.uid == announced else MISMATCH

    return handle


class _ReactorCheckpoint(threading.Event):
    """Where an association's own thread waits while another one uses it.

    pynetdicom marks its own thread as waiting a moment before it waits, and may then consume the answer that the other
    thread expects, until the time-out (its issue 875). Here both happen at once.
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


def configure_connection(event: Event) -> None:
    """Configure a new connection, incoming or outgoing (`EVT_CONN_OPEN`)."""
    association = event.assoc
    association._reactor_checkpoint = _ReactorCheckpoint(association)  # noqa: SLF001  see `_ReactorCheckpoint`
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        # Nagle's algorithm would delay every object by some 40 ms
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class ObjectSizeLimiter:
    """Closes a connection whose next object exceeds a limit, since objects are in memory until they are complete.

    All connections together may hold twice that limit.
    """

    def __init__(self, limit: int, exceeded: Callable[[Association], None] = lambda _: None) -> None:
        self._limit = limit
        self._exceeded = exceeded
        self._bytes: dict[Association, int] = {}

    def handlers(self) -> list[evt.EventHandlerType]:
        """The event handlers for an association."""
        return [
            (evt.EVT_DATA_RECV, self._add),
            (evt.EVT_DIMSE_RECV, self._restart),
            (evt.EVT_CONN_CLOSE, self._restart),
        ]

    def _add(self, event: Event) -> None:
        self._bytes[event.assoc] = self._bytes.get(event.assoc, 0) + len(event.data)
        connection, total = event.assoc.dul.socket, sum(list(self._bytes.values()))
        if (self._bytes[event.assoc] > self._limit or total > _AT_ONCE * self._limit) and connection is not None:
            self._exceeded(event.assoc)
            connection.close()

    def _restart(self, event: Event) -> None:
        self._bytes.pop(event.assoc, None)


@contextmanager
def storage_scp(
    put: Callable[[ReceivedObject, Association], int],
    *,
    ae_title: str,
    address: tuple[str, int],
    callers: Sequence[str] = (),
    max_bytes: int,
    timeout_s: float,
    tls: ssl.SSLContext | None = None,
    closing: Callable[[Association], None] = lambda _: None,
    handshake_s: float = HANDSHAKE_S,
) -> Iterator[int]:
    """Listen for C-STORE (and C-ECHO) while the context is open, which gives the port.

    Args:
        put: stores an object and returns a DIMSE status; called from the thread of its association.
        ae_title: ours; associations that call another are rejected.
        address: host and port to listen on.
        callers: AE titles that may associate; empty for all.
        max_bytes: the largest object.
        timeout_s: an association that is idle for longer is aborted.
        tls: our certificate, and the certificates that we accept.
        closing: called as soon as a connection ends, for whatever reason; perhaps twice.
        handshake_s: a connection that is no association by then is closed.

    Raises:
        PacsError: it is not possible to listen on the address.
    """
    ae = application_entity(ae_title)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    ae.require_called_aet, ae.require_calling_aet = True, list(callers)
    ae.network_timeout = ae.dimse_timeout = timeout_s
    ae.acse_timeout, ae.maximum_associations = handshake_s, MOST_ASSOCIATIONS
    guard = ConnectionGuard(min(timeout_s, _PDU_S), handshake_s)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_C_STORE, store_handler(put)),
        (evt.EVT_CONN_OPEN, configure_connection),
        (evt.EVT_CONN_CLOSE, lambda event: closing(event.assoc)),
        *guard.handlers(),
        *ObjectSizeLimiter(max_bytes, closing).handlers(),
    ]
    try:
        server = ae.start_server(address, block=False, ssl_context=tls, evt_handlers=handlers)
        if server is not None:
            guard.protect(server)
    except OSError as error:
        raise PacsError(
            found=Message("Images cannot be received at {host}, port {port}.", host=address[0], port=address[1]),
            needed=Message("An address of this machine and a port that no other program listens on."),
            advice=Message("Stop the other program (perhaps fedpet pacs listen), or set another port."),
        ) from error
    try:
        with values_as_written():
            yield server.server_address[1] if server else address[1]
    finally:
        ae.shutdown()
