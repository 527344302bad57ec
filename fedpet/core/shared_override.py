"""A setting of another library, changed only while some thread of ours needs it.

A library such as pydicom keeps settings for the whole process. Setting one at import would change what every other
user of that library sees; setting and resetting it around a call would take it away from a thread that is still inside
such a call. Here the first thread that enters sets it, and the last one that leaves puts the old value back.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class SharedOverride:
    """A value for an attribute of `owner`, in force while at least one thread is inside `held`.

    Args:
        owner: object or module that holds the setting.
        name: of its attribute.
        value: what it is while held.
    """

    def __init__(self, owner: object, name: str, value: object) -> None:
        self._owner = owner
        self._name = name
        self._value = value
        self._lock = threading.Lock()
        self._inside = 0
        self._before: object = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the value; may be nested, and entered by several threads at once."""
        with self._lock:
            if self._inside == 0:
                self._before = getattr(self._owner, self._name)
                setattr(self._owner, self._name, self._value)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    setattr(self._owner, self._name, self._before)
