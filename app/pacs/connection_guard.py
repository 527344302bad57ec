"""What a connection to our Storage SCP may cost before and after it is an association.

pynetdicom reads a whole PDU, of up to 4 GB as its sender states, before it looks at it, waits for the rest of one
without end, and does the handshake of TLS in the thread that accepts connections. Here every PDU has a limit and a
deadline, and every peer a number of connections.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from pynetdicom import evt

if TYPE_CHECKING:
    import socket

    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationServer, AssociationSocket

HANDSHAKE_S: Final = 10.0  # from the connection to the association, TLS included
MOST_ASSOCIATIONS: Final = 10
_PER_PEER: Final = 8  # connections of one address
_PENDING: Final = 4  # of them, those that are no association yet
_REQUEST_BYTES: Final = 2**18  # of a PDU before the association: 128 contexts with all transfer syntaxes are 100 kB
_PDU_BYTES: Final = 2**20  # of a PDU of an association; we ask for 16 kB
_CHUNK: Final = 2**16


class ConnectionGuard:
    """Limits of one server.

    Args:
        pdu_s: longest time for one PDU of an association, once it has begun.
        handshake_s: longest time from the connection to the association.
    """

    def __init__(self, pdu_s: float, handshake_s: float = HANDSHAKE_S) -> None:
        self._pdu_s = pdu_s
        self._handshake_s = handshake_s
        self._lock = threading.Lock()
        self._open: dict[Association, str] = {}  # connection: address

    def protect(self, server: AssociationServer) -> None:
        """Let a server, which has our handlers, refuse what a peer may not have, and accept without waiting for TLS."""
        server.verify_request = lambda _, address: self._admit(str(address[0]))  # type: ignore[assignment,method-assign]
        context = server.ssl_context
        if context is None:
            return
        server.ssl_context = None  # so that it does not do the handshake where it accepts

        def get_request() -> tuple[socket.socket, tuple[str, int]]:
            plain, address = cast("socket.socket", server.socket).accept()
            return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

        server.get_request = get_request  # type: ignore[method-assign]

    def handlers(self) -> list[evt.EventHandlerType]:
        """The event handlers of the server."""
        return [(evt.EVT_CONN_OPEN, self._opened), (evt.EVT_CONN_CLOSE, self._closed)]

    def _admit(self, address: str) -> bool:
        with self._lock:
            self._open = {one: peer for one, peer in self._open.items() if one.is_alive() or one.ident is None}
            of_peer = [one for one, peer in self._open.items() if peer == address]
        return len(of_peer) < _PER_PEER and sum(not one.is_established for one in of_peer) < _PENDING

    def _opened(self, event: Event) -> None:
        association, connection = event.assoc, event.assoc.dul.socket
        with self._lock:
            self._open[association] = str(event.address[0])  # type: ignore[attr-defined]  # of this event
        if connection is not None:
            began = time.monotonic()
            connection.recv = partial(self._receive, association, connection, began=began)  # type: ignore[method-assign]

    def _closed(self, event: Event) -> None:
        with self._lock:
            self._open.pop(event.assoc, None)

    def _receive(
        self, association: Association, connection: AssociationSocket, nr_bytes: int, *, began: float
    ) -> bytearray:
        """Read `nr_bytes` of a PDU; fewer where the sender has ended.

        Raises:
            OSError: more than a PDU may have, or not in time; pynetdicom then closes the connection.
        """
        joined, opened = association.is_established, connection.socket
        if opened is None or nr_bytes > (_PDU_BYTES if joined else _REQUEST_BYTES):
            raise OSError("a PDU that is too long")
        end = time.monotonic() + self._pdu_s if joined else began + self._handshake_s
        received = bytearray()
        while len(received) < nr_bytes:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("a PDU that does not end")
            opened.settimeout(left)
            chunk = opened.recv(min(_CHUNK, nr_bytes - len(received)))
            if not chunk:
                break
            received += chunk
        opened.settimeout(None)
        return received
