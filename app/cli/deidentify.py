"""`fedpet deidentify`: a copy of a study that may leave the hospital's record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import progress_bar, reported, say, write_json
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from fedpet.imaging.deidentification.study_copy import DeidentificationReport


def deidentify(
    source: Annotated[Path, typer.Argument(exists=True, help="Folder, zip or file in DICOM.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the copy.")],
    json: Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")] = False,
) -> None:
    """Copy a study without what identifies the patient, so that its SUV stays what it is.

    Text burned into the pixels and faces that can be recognised are not removed; see docs/deidentification.md.
    """
    from app.cases.options import input_limits
    from fedpet.imaging.deidentification.study_copy import deidentify as copy

    with reported(as_json=json):
        settings = load_settings()
        with progress_bar(settings.language) as progress:
            report = copy(source, out, key=settings.pseudonym_key(), limits=input_limits(settings), progress=progress)
    if json:
        write_json(report.to_json())
    else:
        _show(report)


def _show(report: DeidentificationReport) -> None:
    for number, (modality, files) in enumerate(report.series, start=1):
        say(Message("{series}: {n} files", series=f"{number:02d}-{modality}", n=files))
    for reason, files in report.left_out.items():
        say(Message("left out, {why}: {n} files", why=reason.replace("_", " "), n=files), style="yellow")
    say(Message("Other files, skipped: {n}", n=report.skipped))
