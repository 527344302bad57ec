"""`fedpet deidentify`: a copy of a study that may leave the hospital's record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import messages, progress_bar, reported, write_json
from fedpet.settings import load_settings

if TYPE_CHECKING:
    from imaging.deidentify import DeidentificationReport


def deidentify(
    source: Annotated[Path, typer.Argument(exists=True, help="Folder, zip or file in DICOM.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the copy.")],
    json: Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")] = False,
) -> None:
    """Copy a study without what identifies the patient, so that its SUV stays what it is.

    Text burned into the pixels and faces that can be recognised are not removed; see docs/deidentification.md.
    """
    from imaging.deidentify import deidentify as copy
    from imaging.intake import IntakeLimits

    with reported(as_json=json):
        settings = load_settings()
        limits = IntakeLimits(settings.max_files, settings.max_upload_mb * 2**20)
        with progress_bar(settings.language) as progress:
            report = copy(source, out, key=settings.pseudonym_key(), limits=limits, progress=progress)
    if json:
        write_json(report.to_json())
    else:
        _show(report)


def _show(report: DeidentificationReport) -> None:
    for number, (modality, files) in enumerate(report.series, start=1):
        messages.print(f"{number:02d}-{modality}: {files} files", highlight=False)
    for reason, files in report.left_out.items():
        messages.print(f"left out, {reason.replace('_', ' ')}: {files} files", style="yellow", highlight=False)
    messages.print(f"{report.skipped} other files skipped", highlight=False)
