"""A PACS by DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 sections 8.3 to 10.6), with dicomweb-client.

The client and the libraries below it log addresses, which hold what was searched: their logs are silenced here.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import get_expected_length
from requests.adapters import HTTPAdapter

from app import pacs_errors
from app.pacs_query import FIELDS, criteria, matches, row
from app.pacs_shelf import STORED, parse
from app.pacs_transfer import Outcome, Sent
from fedpet.errors import PacsError
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from requests import PreparedRequest

    from app.pacs_query import Level, Query, Row
    from app.pacs_shelf import Basket
    from fedpet.pacs_settings import PacsSettings

for _name in ("dicomweb_client", "urllib3", "requests"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

_ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: nothing is recompressed on the way
_PAGE = 1000  # instances a page
_BATCH = 2**26  # bytes of one STOW-RS request, but for a larger single object
_MOST_TEXT = 2**27  # bytes of an answer to a search
_UNTOLD = 0x0110  # processing failure (PS3.7 annex C): a refusal without its reason
_NOT_UNDERSTOOD = (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError)


class WebPacs:
    """The operations of a PACS over DICOMweb."""

    def __init__(self, name: str, settings: PacsSettings) -> None:
        self.name = name
        self.settings = settings

    def echo(self) -> None:
        """Whether the PACS answers a search to us.

        Raises:
            PacsError: it does not, and why.
        """
        with self._client(_MOST_TEXT) as client:
            client.search_for_studies(limit=1)

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """QIDO-RS: at most `limit` answers. It has no level of patients: theirs are gathered from the studies.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        asked: dict[str, Any] = {
            "search_filters": criteria(query, level),
            "fields": list(FIELDS[level].values()),
            "limit": limit,
        }
        with self._client(_MOST_TEXT) as client:
            if level == "series":
                answers = client.search_for_series(query.study_uid, **asked)
            else:
                answers = client.search_for_studies(**asked)
            rows = [row(Dataset.from_json(answer), level) for answer in answers]
        distinct = {tuple(found.values()): found for found in rows if matches(found, query, level)}
        return list(distinct.values())[:limit]

    def images(self, study_uid: str, series_uid: str) -> dict[str, str]:
        """QIDO-RS: SOP instances of a series and their classes, page by page.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        found: dict[str, str] = {}
        with self._client(_MOST_TEXT) as client:
            while True:
                page = client.search_for_instances(study_uid, series_uid, limit=_PAGE, offset=len(found))
                known = len(found)
                for answer in map(Dataset.from_json, page):
                    found[str(answer.SOPInstanceUID)] = str(answer.get("SOPClassUID", ""))
                if len(found) == known:  # no page, or the same again
                    return found

    def fetch(self, series_uid: str, wanted: Mapping[str, str], basket: Basket) -> Outcome:  # noqa: ARG002  the PACS is asked for the series
        """WADO-RS of one series of the basket's study; an object whose end is missing counts as failed.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
            UnreadableStudy: the study is beyond the limits.
        """
        failed = 0
        with self._client(basket.limits.max_bytes + _MOST_TEXT) as client:
            try:
                for dataset in client.iter_series(basket.study_uid, series_uid, _ANY_SYNTAX):
                    if not _whole(dataset):
                        raise EOFError
                    basket.keep(parse(_encoded(dataset)))
                    basket.check()
            except _NOT_UNDERSTOOD:  # nothing that follows can be told apart
                failed = 1
        return Outcome(failed=failed)

    def send(self, files: Sequence[Path]) -> Iterator[Sent]:
        """STOW-RS of files, some at a time; stored is what the answer says is stored.

        Raises:
            PacsError: the PACS cannot be reached or refuses; what was not yielded was not sent.
        """
        for batch in _batches(files):
            datasets = {file: dcmread(file) for file in batch}
            with self._client(_MOST_TEXT) as client:
                answer = _stored(client, list(datasets.values()))
            stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []}
            reasons = {
                str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or _UNTOLD)
                for item in answer.get("FailedSOPSequence") or []
            }
            for file, dataset in datasets.items():
                uid = str(dataset.SOPInstanceUID)
                yield Sent(file, STORED if uid in stored else reasons.get(uid))

    @contextmanager
    def _client(self, most_bytes: int) -> Iterator[DICOMwebClient]:
        """A client whose errors are ours and whose answers are bounded."""
        with requests.Session() as session:
            session.trust_env = False  # no password file or proxy of this machine comes between
            session.max_redirects = 0  # the secret goes to no other address
            session.headers["Accept"] = "application/dicom+json"
            session.headers.update(self._secret())
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(most_bytes))
            if self.settings.ca_file is not None:
                session.verify = str(self.settings.ca_file)
            if self.settings.cert_file is not None:
                session.cert = (str(self.settings.cert_file), str(self.settings.key_file or self.settings.cert_file))
            client = DICOMwebClient(self.settings.url, session, timeout=self.settings.timeout_s)
            client.set_http_retry_params(retry=False)
            try:
                yield client
            except requests.HTTPError as error:  # it holds the address, as those below
                code = 0 if error.response is None else error.response.status_code
                raise pacs_errors.http_failed(self.name, code) from None
            except (requests.ConnectTimeout, requests.exceptions.SSLError):
                raise pacs_errors.unreachable(self.name) from None
            except (requests.Timeout, requests.exceptions.ChunkedEncodingError):
                raise pacs_errors.broken(self.name, "HTTP") from None
            except requests.ConnectionError:
                raise pacs_errors.unreachable(self.name) from None
            except (requests.RequestException, *_NOT_UNDERSTOOD):
                raise pacs_errors.not_understood(self.name) from None

    def _secret(self) -> dict[str, str]:
        ours = self.settings
        if not (ours.secret_env or ours.secret_file):
            return {}
        if not (secret := ours.secret()):
            raise PacsError(
                found=Message("The secret of the PACS “{name}” is missing.", name=self.name),
                needed=Message("The value of its header in the variable secret_env or in the file secret_file."),
                advice=Message("Set the variable or write the file, readable by you only."),
            )
        return {ours.auth_header: secret}


class _Adapter(HTTPAdapter):
    """What dicomweb-client leaves to be said and heard otherwise: see the comments."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most = most_bytes

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, and bound its answer."""
        path, _, query = (request.url or "").partition("?")
        if query:  # Orthanc knows the wildcards in this form only, which a query may have (RFC 3986 section 3.4)
            request.url = f"{path}?{query.replace('%2A', '*').replace('%3F', '?')}"
        response = super().send(request, *args, **kwargs)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind.endswith("json"):
            response.headers["Content-Type"] = kind  # the client does not expect parameters there
        read = response.iter_content

        def bounded(chunk_size: int | None = 1, **_: object) -> Iterator[bytes]:
            left = self._most
            for chunk in read(chunk_size):
                left -= len(chunk)
                if left < 0:
                    raise requests.exceptions.ContentDecodingError
                yield chunk

        response.iter_content = bounded  # type: ignore[assignment]  # requests has no other bound for a body
        return response


def _stored(client: DICOMwebClient, datasets: list[Dataset]) -> Dataset:
    """The answer to STOW-RS; a refusal of all objects has one too (PS3.18 table 10.5.3-1)."""
    try:
        return client.store_instances(datasets)
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != HTTPStatus.CONFLICT:
            raise
        return Dataset.from_json(error.response.json())


def _whole(dataset: Dataset) -> bool:
    """Whether the pixels that an uncompressed image announces are there: a stream that ends early reads as one."""
    if "Rows" not in dataset:
        return True
    pixels = next((dataset[name] for name in _PIXELS if name in dataset), None)
    if pixels is None or dataset.file_meta.TransferSyntaxUID.is_compressed:
        return pixels is not None
    return len(pixels.value) >= get_expected_length(dataset)


_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _encoded(dataset: Dataset) -> bytes:
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
