"""The process that computes one case: `python -m app.job`, told on standard input what `app.jobs` asks for."""

from __future__ import annotations

import json
import shutil
import sys
import time
from typing import TYPE_CHECKING

from app.casework import run_case, write_reports
from app.store import Store
from app.tables import Status
from app.viewer.volumes import store_viewer_volumes
from clinical.reading import record_from_mapping
from fedpet.errors import FedpetError, RecordRefused, StudyRefused
from fedpet.messages import LANGUAGES, Message
from fedpet.progress import part
from fedpet.settings import Settings
from inference.bundle import Bundle

if TYPE_CHECKING:
    from app.tables import Case
    from fedpet.progress import Progress

_REPORT_SECONDS = 0.5  # the database is told no more often


def compute(store: Store, case: Case, settings: Settings) -> None:
    """Compute a running case and store its answer, or why there is none.

    The files as received are removed once they are no longer needed: after the answer, or where they cannot be used.
    An error that fedpet does not raise on purpose ends the process; `app.jobs` then marks the case as failed.
    """
    try:
        _answer(store, case, settings)
    except (StudyRefused, RecordRefused) as refused:
        store.stop(case.id, Status.REFUSED, _reason(refused))
    except FedpetError as error:
        store.stop(case.id, Status.FAILED, _reason(error))
        return
    shutil.rmtree(store.upload(case.id))


def _answer(store: Store, case: Case, settings: Settings) -> None:
    folder, upload = store.folder(case.id), store.upload(case.id)
    files = list(upload.iterdir())
    progress = _reporter(store, case.id)
    bundle = Bundle.chosen(settings.model)
    result = run_case(
        files[0] if len(files) == 1 else upload,  # one file is an archive
        record_from_mapping(case.record).record,
        bundle=bundle,
        out=folder,
        settings=settings,
        language="en" if case.language == "en" else "fr",
        progress=part(progress, 0.0, 0.85),
    )
    progress(0.85, Message("Preparing the images for the viewer"))
    store_viewer_volumes(result, folder)
    progress(0.95, Message("Writing the reports"))
    paths = {language: folder / f"report.{language}.pdf" for language in LANGUAGES}
    write_reports(result, bundle, settings, paths=paths)
    store.finish(
        case.id,
        pseudonym=result.study.pseudonym,
        study_date=result.study.study_date,
        result=json.loads((folder / "result.json").read_text(encoding="utf-8")),
    )


def _reporter(store: Store, case_id: str) -> Progress:
    """A progress that writes to the database, but not at every step."""
    told = float("-inf")

    def report(fraction: float, message: Message, /) -> None:
        nonlocal told
        if time.monotonic() - told > _REPORT_SECONDS:
            told = time.monotonic()
            store.progress(case_id, fraction, message)

    return report


def _reason(error: FedpetError) -> Message:
    return Message("{found} {needed} {advice}", found=error.found, needed=error.needed, advice=error.advice)


def _main() -> None:
    asked = json.load(sys.stdin)
    settings = Settings(**asked["settings"])
    store = Store.open(settings)
    case = store.get(asked["case"])
    if case is not None:
        compute(store, case, settings)


if __name__ == "__main__":
    _main()
