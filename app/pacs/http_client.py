"""The client of a DICOMweb service: with bounded answers, without redirections, and with our errors.

dicomweb-client and the libraries below it log addresses, which contain the searched values: their logs are silenced.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.errors import InvalidDicomError
from requests.adapters import HTTPAdapter

from app.pacs import errors as pacs_errors
from fedpet.core.errors import PacsError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import PreparedRequest

    from fedpet.core.pacs_settings import PacsSettings

for _name in ("dicomweb_client", "urllib3", "requests"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

# what the client and pydicom raise on an answer that is not DICOMweb
NOT_UNDERSTOOD = (
    InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError,
)  # fmt: skip


@contextmanager
def web_client(name: str, settings: PacsSettings, max_bytes: int) -> Iterator[DICOMwebClient]:
    """A client for a few requests.

    Args:
        name: of the PACS.
        settings: of the PACS.
        max_bytes: of one answer.

    Raises:
        PacsError: inside the context, for every way in which a request can fail.
    """
    with values_as_written(), requests.Session() as session:
        session.trust_env = False  # no password file or proxy of this machine comes between
        session.max_redirects = 0  # the secret goes to no other address
        session.headers["Accept"] = "application/dicom+json"
        session.headers.update(_secret(name, settings))
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(max_bytes))
        if settings.ca_file is not None:
            session.verify = str(settings.ca_file)
        if settings.cert_file is not None:
            session.cert = (str(settings.cert_file), str(settings.key_file or settings.cert_file))
        client = DICOMwebClient(settings.url, session, timeout=settings.timeout_s)
        client.set_http_retry_params(retry=False)
        try:
            yield client
        except requests.HTTPError as error:  # it holds the address, as those below
            code = 0 if error.response is None else error.response.status_code
            raise pacs_errors.http_failed(name, code) from None
        except (requests.ConnectTimeout, requests.exceptions.SSLError):
            raise pacs_errors.unreachable(name) from None
        except (requests.Timeout, requests.exceptions.ChunkedEncodingError):
            raise pacs_errors.broken(name, "HTTP") from None
        except requests.ConnectionError:
            raise pacs_errors.unreachable(name) from None
        except (requests.RequestException, *NOT_UNDERSTOOD):
            raise pacs_errors.invalid_response(name) from None
        except OSError:  # of requests, for a certificate that is not there
            raise pacs_errors.no_certificates(name) from None


def _secret(name: str, settings: PacsSettings) -> dict[str, str]:
    if not (settings.secret_env or settings.secret_file):
        return {}
    if not (secret := settings.secret()):
        raise PacsError(
            found=Message("The secret of the PACS “{name}” is missing.", name=name),
            needed=Message("The value of its header in the variable secret_env or in the file secret_file."),
            advice=Message("Set the variable or write the file, readable by you only."),
        )
    return {settings.auth_header: secret}


class _Adapter(HTTPAdapter):
    """Adapts requests and responses of dicomweb-client: see the comments."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, and limit the size of its answer."""
        path, _, query = (request.url or "").partition("?")
        if query:  # Orthanc knows the wildcards in this form only, which a query may have (RFC 3986 section 3.4)
            request.url = f"{path}?{query.replace('%2A', '*').replace('%3F', '?')}"
        response = super().send(request, *args, **kwargs)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind.endswith("json"):
            response.headers["Content-Type"] = kind  # the client does not expect parameters there
        read = response.iter_content

        def bounded(chunk_size: int | None = 1, **_: object) -> Iterator[bytes]:
            left = self._max_bytes
            for chunk in read(chunk_size):
                left -= len(chunk)
                if left < 0:
                    raise requests.exceptions.ContentDecodingError
                yield chunk

        response.iter_content = bounded  # type: ignore[assignment]  # requests has no other bound for a body
        return response
