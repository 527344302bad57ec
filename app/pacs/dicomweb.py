"""A PACS by DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 sections 8.3 to 10.6), with dicomweb-client.

See `app.pacs.http_client` for the client and its errors.
"""

from __future__ import annotations

from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length

from app.pacs.http_client import NOT_UNDERSTOOD, web_client
from app.pacs.object_store import STORED, parse
from app.pacs.query import FIELDS, criteria, matches, row
from app.pacs.transfer import StoreResponse, TransferStatus
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dicomweb_client.web import DICOMwebClient

    from app.pacs.object_store import StudyStore
    from app.pacs.query import Level, Query, Row
    from app.pacs.transfer import InstanceList
    from fedpet.core.pacs_settings import PacsSettings

_ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: nothing is recompressed on the way
_PAGE = 1000  # instances a page
_BATCH = 2**26  # bytes of one STOW-RS request, but for a larger single object
_MAX_TEXT = 2**27  # bytes of an answer to a search
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NO_REASON = 0x0110  # processing failure (PS3.7 annex C): a refusal without its reason


class WebPacs:
    """The operations of a PACS over DICOMweb."""

    def __init__(self, name: str, settings: PacsSettings) -> None:
        self.name = name
        self.settings = settings

    def echo(self) -> None:
        """Check that the PACS answers a search.

        Raises:
            PacsError: it does not.
        """
        with self._client(_MAX_TEXT) as client:
            client.search_for_studies(limit=1)

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """QIDO-RS: at most `limit` answers. It has no patient level: patients are collected from the studies.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        request: dict[str, Any] = {
            "search_filters": criteria(query, level),
            "fields": list(FIELDS[level].values()),
            "limit": limit,
        }
        with self._client(_MAX_TEXT) as client:
            if level == "series":
                answers = client.search_for_series(query.study_uid, **request)
            else:
                answers = client.search_for_studies(**request)
            rows = [row(Dataset.from_json(answer), level) for answer in answers]
        distinct = {tuple(found.values()): found for found in rows if matches(found, query, level)}
        return list(distinct.values())[:limit]

    def images(self, study_uid: str, modalities: Collection[str] = ()) -> InstanceList:
        """QIDO-RS of series, then of the images of each, page by page.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        with self._client(_MAX_TEXT) as client:
            answers = client.search_for_series(study_uid, fields=["Modality"])
            series = [row(Dataset.from_json(answer), "series") for answer in answers]
            chosen = [one["series_uid"] for one in series if not modalities or one["modality"] in modalities]
            return {series_uid: _paged(client, study_uid, series_uid) for series_uid in chosen}

    def fetch(self, wanted: InstanceList, store: StudyStore) -> TransferStatus:
        """WADO-RS of series of the study of the store; an object whose end is missing counts as failed.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
            UnreadableStudyError: the study is beyond the limits.
        """
        failed = 0
        for series_uid in wanted:
            with self._client(store.limits.max_bytes + _MAX_TEXT) as client:
                try:
                    for dataset in client.iter_series(store.study_uid, series_uid, _ANY_SYNTAX):
                        store.put(parse(_encoded(dataset)))
                        store.check()
                except NOT_UNDERSTOOD:  # the objects that follow cannot be separated
                    failed += 1
        return TransferStatus(failed=failed)

    def send(self, files: Sequence[Path]) -> Iterator[StoreResponse]:
        """STOW-RS of files, some at a time; stored is what the answer says is stored.

        Raises:
            PacsError: the PACS cannot be reached or refuses; what was not yielded was not sent.
        """
        with values_as_written():
            for batch in _batches(files):
                datasets = {file: dcmread(file) for file in batch}
                with self._client(_MAX_TEXT) as client:
                    answer = _stored(client, list(datasets.values()))
                stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []}
                reasons = {
                    str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or _NO_REASON)
                    for item in answer.get("FailedSOPSequence") or []
                }
                for file, dataset in datasets.items():
                    uid = str(dataset.SOPInstanceUID)
                    yield StoreResponse(file, STORED if uid in stored else reasons.get(uid))

    def _client(self, max_bytes: int) -> AbstractContextManager[DICOMwebClient]:
        return web_client(self.name, self.settings, max_bytes)


def _stored(client: DICOMwebClient, datasets: list[Dataset]) -> Dataset:
    """The answer to STOW-RS; a refusal of all objects has one too (PS3.18 table 10.5.3-1)."""
    try:
        return client.store_instances(datasets)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != HTTPStatus.CONFLICT:
            raise
        return Dataset.from_json(error.response.json())


def _paged(client: DICOMwebClient, study_uid: str, series_uid: str) -> dict[str, str]:
    """The images of a series and their classes."""
    found: dict[str, str] = {}
    while True:
        known = len(found)
        for answer in client.search_for_instances(study_uid, series_uid, limit=_PAGE, offset=known):
            one = Dataset.from_json(answer)
            found[str(one.SOPInstanceUID)] = str(one.get("SOPClassUID", ""))
        if len(found) == known:  # no page, or the same again
            return found


def _encoded(dataset: Dataset) -> bytes:
    """The file of an object.

    Raises:
        EOFError: an image lacks pixels that its header announces, as when a stream ends early.
    """
    pixels = next((dataset[name].value for name in _PIXELS if name in dataset), b"")
    packed = dataset.file_meta.TransferSyntaxUID.is_compressed
    if "Rows" in dataset and (not pixels or (not packed and len(pixels) < get_expected_length(dataset))):
        raise EOFError
    stream = BytesIO()
    dcmwrite(stream, dataset)
    return stream.getvalue()


def _batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if batch and size + length > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += length
    yield batch
