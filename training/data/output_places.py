"""Where results may be written: asked before hours of work, and before anything of the hospital's is overwritten."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedpet.core.errors import OutputError
from fedpet.core.locks import try_lock
from fedpet.core.messages import Message
from training.data.html_page import is_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OTHER_FILE = Message("Give another name; nothing is overwritten.")
_OTHER_FOLDER = Message("Give another folder; nothing is overwritten.")
_CASE_SUFFIXES = frozenset({".npz", ".part"})


def require_page_place(out: Path, title: Message, dicom_dir: Path) -> None:
    """Refuse a place where a page would overwrite something else than an earlier page, or cannot be written.

    Args:
        out: file of the page.
        title: of the page.
        dicom_dir: folder of the images.

    Raises:
        OutputError: the name does not end in .html, the file is no page of this title, lies in the folder of the
            images, or cannot be written.
    """
    if out.suffix.casefold() != ".html":
        raise OutputError(
            found=Message("The page would be called {name}.", name=out.name),
            needed=Message("A name that ends in .html."),
            advice=Message("Give --out a name such as check.html."),
        )
    _require_outside(out, dicom_dir)
    if out.exists() and not is_page(out, title):
        raise OutputError(
            found=Message("{name} exists and is no earlier page of this command.", name=out.name),
            needed=Message("A new file, or the page of an earlier check."),
            advice=_OTHER_FILE,
        )
    parent = out.resolve().parent
    if not parent.is_dir():
        raise OutputError(
            found=Message("The folder {name} does not exist.", name=parent.name),
            needed=Message("A folder that this program may write."),
            advice=Message("Make the folder first, or give another one."),
        )
    _require_writable(out if out.exists() else parent)


def require_node_place(out: Path, dicom_dir: Path) -> None:
    """Refuse a folder for node data that is a file, holds files of somebody else's, or cannot be written.

    Args:
        out: folder of the node data, new or of an earlier run.
        dicom_dir: folder of the images.

    Raises:
        OutputError: see above, or it lies in the folder of the images.
    """
    _require_outside(out, dicom_dir)
    whole = out.resolve()
    nearest = next(place for place in (whole, *whole.parents) if place.exists())
    if not nearest.is_dir():
        raise OutputError(
            found=Message("{name} is a file.", name=nearest.name),
            needed=Message("A folder for the node data, new or of an earlier run."),
            advice=_OTHER_FOLDER,
        )
    _require_writable(nearest)
    cases = whole / "cases"
    if cases.exists() and (not cases.is_dir() or any(one.suffix not in _CASE_SUFFIXES for one in cases.iterdir())):
        raise OutputError(
            found=Message("{name}/cases holds files that are no cases of fedpet.", name=whole.name),
            needed=Message("A folder for the node data, new or of an earlier run."),
            advice=_OTHER_FOLDER,
        )


def _require_outside(out: Path, dicom_dir: Path) -> None:
    if out.resolve().is_relative_to(dicom_dir.resolve()):
        raise OutputError(
            found=Message("The output {name} lies in the folder of the images.", name=out.name),
            needed=Message("A place outside of it: each folder there is taken for a patient."),
            advice=Message("Give another --out."),
        )


def _require_writable(place: Path) -> None:
    if not os.access(place, os.W_OK):
        raise OutputError(
            found=Message("{name} cannot be written.", name=place.name or str(place)),
            needed=Message("A folder that this program may write."),
            advice=Message("Check the rights and the free space, or give another folder."),
        )


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold the lock of a folder of node data, which is made if there is none, while it is written.

    Raises:
        OutputError: another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    held = try_lock(out)
    if held is None:
        raise OutputError(
            found=Message("Another command prepares {name} now.", name=out.name),
            needed=Message("One at a time: two would remove each other's cases."),
            advice=Message("Wait until it ends, or give another folder."),
        )
    try:
        yield
    finally:
        os.close(held)
