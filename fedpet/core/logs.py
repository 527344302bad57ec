"""Logs without what a person wrote: of an error they hold its type and the places that it passed, never its words.

The text of an exception may be the value of a field, a file name or a query; the place where it was raised says what a
maintainer needs.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

_logger = logging.getLogger(__name__)


def describe(error: BaseException) -> str:
    """The type of an error, of those that caused it, and where each was raised."""
    lines: list[str] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        frames = traceback.extract_tb(one.__traceback__)
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        lines.append(f"{type(one).__name__} at {places or '?'}")
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return " from ".join(lines)


def discreet_logs() -> None:
    """Let every logger of this process, and every error that ends it or a thread, be written by `describe` only."""
    made = logging.getLogRecordFactory()
    if getattr(made, "discreet", False):
        return

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        one = made(*args, **kwargs)
        if one.exc_info and (error := one.exc_info[1]) is not None:
            one.exc_info, one.exc_text = None, describe(error)
        if isinstance(one.args, tuple):
            one.args = tuple(type(value).__name__ if isinstance(value, BaseException) else value for value in one.args)
        if isinstance(one.msg, BaseException):
            one.msg, one.args = "%s", (type(one.msg).__name__,)
        return one

    record.discreet = True  # type: ignore[attr-defined]  # a mark, so that it is not wrapped twice
    logging.setLogRecordFactory(record)
    sys.excepthook = _tell
    threading.excepthook = lambda ended: _tell(ended.exc_type, ended.exc_value, None)


def _tell(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        _logger.critical("stopped: %s", describe(error))
