"""Connections that cost more than they may: garbage, silence, many at once; senders go on meanwhile."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from app.pacs.storage_scp import storage_scp

HANDSHAKE_S = 1.0


@pytest.fixture
def port():
    with storage_scp(
        lambda *_: 0,
        ae_title="FEDPETIN",
        address=("127.0.0.1", 0),
        max_bytes=2**26,
        timeout_s=5.0,
        handshake_s=HANDSHAKE_S,
    ) as opened:
        yield opened


def _echo(port):
    ae = AE("MAINPACS")
    ae.add_requested_context(Verification)
    ae.acse_timeout = 5
    association = ae.associate("127.0.0.1", port, ae_title="FEDPETIN")
    answered = association.is_established and association.send_c_echo().Status == 0
    if association.is_established:
        association.release()
    return answered


def _memory_mb():
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def _closed_after(opened):
    """Seconds until the other side closes a connection."""
    opened.settimeout(10)
    start = time.monotonic()
    try:
        while opened.recv(1024):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


@pytest.mark.parametrize("kind", [1, 4])
def test_garbage_before_an_association_takes_no_memory_and_is_cut(port, kind):
    before, sent = _memory_mb(), 0
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFFF))
        with suppress(OSError):  # a broken pipe or a reset
            while sent < 400:
                opened.sendall(bytes(2**20))
                sent += 1
    assert sent < 50
    assert _memory_mb() - before < 50
    assert _echo(port)


def test_silent_connections_are_closed_at_the_deadline_and_block_nobody(port):
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(12)]
        for number, one in enumerate(idle):
            if number % 2:
                one.sendall(b"\x01\x00")  # a PDU that has begun
        assert max(map(_closed_after, idle)) < 3 * HANDSHAKE_S
    assert _echo(port)


def test_a_pdu_that_comes_byte_by_byte_ends_with_the_deadline(port):
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as opened, suppress(OSError):
        opened.sendall(struct.pack(">BBL", 1, 0, 1000))
        while time.monotonic() - start < 10:
            opened.sendall(b"\0")
            time.sleep(0.1)
    assert time.monotonic() - start < 3 * HANDSHAKE_S


def test_other_senders_go_on_while_one_address_has_all_the_silent_connections_it_may(port):
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert _echo(port)
