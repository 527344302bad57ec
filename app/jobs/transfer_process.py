"""The process of one transfer, `python -m app.jobs.transfer_process`; its task comes on standard input.

It fetches the study of a case that is "fetching", or sends the DICOM objects of a signed version, completely or not at
all.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from app.audit.trail import AuditTrail
from app.cases.deliveries import Deliveries
from app.cases.options import input_limits
from app.cases.store import Store
from app.exchange.cases import RESULTS, USED, connect, send_results
from app.jobs.reporting import full_disk_told, limit_memory, progress_reporter, read_task, reason
from app.pacs.transfer import fetch_study
from fedpet.core.errors import CaseError, FedpetError
from fedpet.core.logs import discreet_logs
from fedpet.core.scratch import scratch_folder
from fedpet.core.settings import Settings

if TYPE_CHECKING:
    from app.cases.tables import Case, Delivery


def fetch(store: Store, audit: AuditTrail, case: Case, settings: Settings) -> None:
    """Fetch the images of a case and queue their check, or record why they could not be fetched."""
    source = store.source(case.id)
    staged = source.with_name("fetched")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        archive = connect(settings, case.received["pacs"])
        progress = progress_reporter(store, case.id)
        uid = case.received["study_uid"]
        fetched = fetch_study(archive, uid, staged, limits=input_limits(settings), modalities=USED, progress=progress)
    except CaseError:
        raise
    except FedpetError as error:
        store.record_failure(case.id, reason(error))
        return
    shutil.rmtree(source, ignore_errors=True)
    staged.rename(source)
    store.finish_transfer(case.id, files=fetched.images, size=fetched.size)
    audit.record(case.owner, "images.received", case=case.id, detail={"files": fetched.images, "bytes": fetched.size})


def deliver(store: Store, audit: AuditTrail, delivery: Delivery, settings: Settings) -> None:
    """Send the objects of a signed version, and record whether the PACS has them."""
    deliveries, folder = Deliveries(store.engine), store.version_folder(delivery.case, delivery.number) / RESULTS
    try:
        send_results(audit, connect(settings, delivery.pacs), delivery.case, folder, actor=delivery.actor)
    except FedpetError as error:
        audit.record(delivery.actor, "results.refused", case=delivery.case, detail={"pacs": delivery.pacs})
        deliveries.record_failure(delivery.case, delivery.number, reason(error))
    else:
        deliveries.record_success(delivery.case, delivery.number)


def _main() -> None:
    task = read_task()
    settings = Settings(**task["settings"])
    discreet_logs()
    limit_memory(settings)
    store = Store.open(settings)
    audit = AuditTrail.of(store.engine, settings)
    with (
        full_disk_told(),
        scratch_folder(settings.folder),
        suppress(CaseError),
    ):  # the case was erased, or another process was faster: nothing of this belongs to it
        if task["version"] is None:
            fetch(store, audit, store.require(task["case"]), settings)
        elif (delivery := Deliveries(store.engine).get(task["case"], task["version"])) is not None:
            deliver(store, audit, delivery, settings)


if __name__ == "__main__":
    _main()
