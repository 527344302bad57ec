"""A folder into which another program puts DICOM files: each is moved to the inbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.errors import InvalidDicomError

from app.pacs.object_store import STORED, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.exchange.inbox import Inbox

_NO_DICOM = (InvalidDicomError, KeyError, ValueError, EOFError, AttributeError, TypeError, NotImplementedError)
_Look = tuple[int, int]  # size and time of change: the same at two looks means that the file is finished


class FolderWatcher:
    """Watches a folder. Files that are not DICOM, too large or refused by the inbox stay there.

    Where the disk has no room for a file, it is tried again at every scan.
    """

    def __init__(self, folder: Path, inbox: Inbox, max_bytes: int) -> None:
        self._folder = folder
        self._inbox = inbox
        self._max_bytes = max_bytes
        self._scanned: dict[Path, _Look] = {}
        self._left: dict[Path, _Look] = {}

    def scan(self) -> None:
        """Move the files that have not changed since the last scan to the inbox."""
        now = dict(self._files())
        for path, look in now.items():
            if 2 * look[0] > self._inbox.free_bytes():
                continue
            if self._scanned.get(path) == look and self._left.get(path) != look and not self._take(path, look[0]):
                self._left[path] = look
        self._scanned = now
        self._left = {path: look for path, look in self._left.items() if path in now}

    def _take(self, path: Path, size: int) -> bool:
        if size > self._max_bytes:
            return False
        try:
            item = parse(path.read_bytes())
        except (*_NO_DICOM, OSError):
            return False
        if self._inbox.receive(item) != STORED:
            return False
        path.unlink()
        return True

    def _files(self) -> Iterator[tuple[Path, _Look]]:
        """Regular files below the folder; links are not followed."""
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = Path(parent, name)
                try:
                    facts = path.stat(follow_symlinks=False)
                except FileNotFoundError:  # removed meanwhile
                    continue
                if path.is_file() and not path.is_symlink():
                    yield path, (facts.st_size, facts.st_mtime_ns)
