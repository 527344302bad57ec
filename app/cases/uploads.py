"""Uploaded studies: from the memory of the page to the folder of the case, under neutral names."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from streamlit.runtime.uploaded_file_manager import UploadedFile


def store_study(files: Sequence[UploadedFile], target: Path) -> int:
    """Write uploaded files to disk and free their memory.

    Their names may identify the patient: they are not logged, and none of them is the name of a file here.

    Args:
        files: of one study.
        target: folder; what was there before is removed.

    Returns:
        Their size in bytes.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700)
    for number, file in enumerate(files):
        with (target / f"{number:06d}").open("wb") as copy:
            shutil.copyfileobj(file, copy)
        release(file)
    return sum(file.size for file in files)


def release(file: UploadedFile) -> None:
    """Remove a file from the server's memory, where Streamlit would hold it until the session ends."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
