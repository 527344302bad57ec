"""Anchors of the audit trail: the digest of each entry, where fedpet's administrators cannot rewrite it."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.audit.tables import AuditEntry

_logger = logging.getLogger(__name__)
SYSLOG: Final = "syslog"


class Anchor:
    """Where digests are anchored.

    Args:
        target: "" for nowhere, "syslog", or the path of a file, as on another machine, that is only appended to.
        socket: of the system's log.
    """

    def __init__(self, target: str, *, socket: str = "/dev/log") -> None:
        self._file = Path(target).expanduser() if target not in {"", SYSLOG} else None
        self._socket = socket if target == SYSLOG else ""

    def write(self, entry: AuditEntry) -> None:
        """Anchor an entry. Where that is not possible the log says so, and the work goes on."""
        fact = json.dumps({"number": entry.number, "digest": entry.digest, "moment": entry.moment})
        try:
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(f"{fact}\n")
                    file.flush()
                    os.fsync(file.fileno())
            elif self._socket:
                handler = logging.handlers.SysLogHandler(self._socket, logging.handlers.SysLogHandler.LOG_AUTHPRIV)
                handler.emit(logging.LogRecord("fedpet", logging.INFO, "", 0, f"fedpet audit {fact}", None, None))
                handler.close()
        except OSError as error:
            _logger.critical("audit entry %d is not anchored: %s", entry.number, type(error).__name__)

    def digests(self) -> Mapping[int, str]:
        """The anchored digests by number, where they can be read back; the first one of a number holds."""
        if self._file is None or not self._file.is_file():
            return {}
        known: dict[int, str] = {}
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                fact = json.loads(line)
                known.setdefault(int(fact["number"]), str(fact["digest"]))
            except (ValueError, KeyError, TypeError):  # a line that was cut off when the disk was full
                continue
        return known
