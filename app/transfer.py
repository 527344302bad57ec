"""The process of one transfer: `python -m app.transfer`, told on standard input what `app.jobs` asks for.

It fetches the study of a case that is "fetching", or sends the objects of a signed version. Either is done as a whole
or said not to be.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from app.audit import Audit
from app.outbox import Outbox
from app.pacs import RESULTS, USED, connect, limits, send_results
from app.pacs_transfer import fetch_study
from app.store import Store
from app.tables import Sending, Status
from app.telling import reason, reporter, task
from fedpet.errors import FedpetError
from fedpet.settings import Settings

if TYPE_CHECKING:
    from app.tables import Case, Delivery


def fetch(store: Store, audit: Audit, case: Case, settings: Settings) -> None:
    """Bring the images of a case and queue their check, or keep why they did not come."""
    source = store.source(case.id)
    staged = source.with_name("fetched")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        archive = connect(settings, case.received["pacs"])
        told = reporter(store, case.id)
        uid = case.received["study_uid"]
        came = fetch_study(archive, uid, staged, limits=limits(settings), modalities=USED, progress=told)
    except FedpetError as error:
        store.stop(case.id, Status.FAILED, reason(error))
        return
    shutil.rmtree(source, ignore_errors=True)
    staged.rename(source)
    if store.fetched(case.id, files=came.images, size=came.size):
        audit.record(case.owner, "images.received", case=case.id, detail={"files": came.images, "bytes": came.size})


def deliver(store: Store, audit: Audit, asked: Delivery, settings: Settings) -> None:
    """Send the objects of a signed version, and keep whether the PACS has them now."""
    outbox, folder = Outbox(store.engine), store.version_folder(asked.case, asked.number) / RESULTS
    try:
        send_results(audit, connect(settings, asked.pacs), asked.case, folder, actor=asked.actor)
    except FedpetError as error:
        audit.record(asked.actor, "results.refused", case=asked.case, detail={"pacs": asked.pacs})
        outbox.end(asked.case, asked.number, Sending.REFUSED, reason(error))
    else:
        outbox.end(asked.case, asked.number, Sending.DONE)


def _main() -> None:
    asked = task()
    settings = Settings(**asked["settings"])
    store = Store.open(settings)
    audit = Audit(store.engine, settings.folder)
    if asked["version"] is not None:
        delivery = Outbox(store.engine).get(asked["case"], asked["version"])
        if delivery is not None:
            deliver(store, audit, delivery, settings)
    elif (case := store.get(asked["case"])) is not None:
        fetch(store, audit, case, settings)


if __name__ == "__main__":
    _main()
