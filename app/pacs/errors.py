"""The errors of a PACS that cannot be reached, refuses or fails. None names a patient, a study or a value."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from fedpet.core.errors import PacsError, PacsUnavailableError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynetdicom.pdu_primitives import A_ASSOCIATE

    from fedpet.core.pacs_settings import PacsSettings

Context = TypeVar("Context")
_CALLER_UNKNOWN, _CALLED_UNKNOWN = (1, 3), (1, 7)  # source and diagnostic of a rejection (PS3.8 table 9-21)
_LATER = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


def unreachable(name: str) -> PacsUnavailableError:
    """No connection."""
    return PacsUnavailableError(
        found=Message("The PACS “{name}” does not answer at its address.", name=name),
        needed=Message("A connection to the address in the settings, with or without TLS as the PACS wants it."),
        advice=Message("Check the address, the port, the certificates, the firewall, and that the PACS runs."),
    )


def broken(name: str, operation: str) -> PacsUnavailableError:
    """A connection that ended or fell silent."""
    return PacsUnavailableError(
        found=Message("The connection to the PACS “{name}” broke during {operation}.", name=name, operation=operation),
        needed=Message("An answer to every request."),
        advice=Message("Try again; if it stays so, raise timeout_s or ask the administrator of the PACS."),
    )


def rejected(name: str, settings: PacsSettings, answer: A_ASSOCIATE) -> PacsError:
    """An association that was rejected."""
    known = {
        _CALLER_UNKNOWN: Message("it does not know our AE title “{ae}”", ae=settings.our_ae),
        _CALLED_UNKNOWN: Message("“{ae}” is not its AE title", ae=settings.called_ae),
    }
    why = known.get((answer.result_source or 0, answer.diagnostic or 0), Message("no reason given"))
    kind = PacsUnavailableError if answer.result == 2 else PacsError  # rejected-transient
    return kind(
        found=Message("The PACS “{name}” rejects the association: {why}.", name=name, why=why),
        needed=Message("AE titles that both sides know."),
        advice=Message("Correct called_ae and our_ae, or ask the administrator of the PACS to register us."),
    )


def not_offered(name: str) -> PacsError:
    """A service that the PACS does not offer us."""
    return PacsError(
        found=Message("The PACS “{name}” does not offer this operation to us.", name=name),
        needed=Message("A PACS that allows it for our AE title."),
        advice=Message("Ask its administrator; to fetch, the other of C-GET and C-MOVE may be allowed."),
    )


def failed(name: str, operation: str, status: int) -> PacsError:
    """A DIMSE status of failure (PS3.7 annex C); out of resources may be temporary."""
    kind = PacsUnavailableError if 0xA700 <= status <= 0xA7FF and status != 0xA801 else PacsError
    if status == 0xA801:
        advice = Message("Ask the administrator of the PACS to register our AE title with our address and port.")
    else:
        advice = Message("The administrator of the PACS can look the status up in its log.")
    return kind(
        found=Message(
            "The PACS “{name}” answers {operation} with status {status}.",
            name=name,
            operation=operation,
            status=f"{status:04X}",
        ),
        needed=Message("The status of success."),
        advice=advice,
    )


def http_failed(name: str, code: int) -> PacsError:
    """An HTTP status of failure."""
    if code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return PacsError(
            found=Message("The PACS “{name}” does not accept our credentials (HTTP {code}).", name=name, code=code),
            needed=Message("The value of its header, in secret_env or secret_file."),
            advice=Message("Renew the secret, or ask for the right to read and store."),
        )
    kind = PacsUnavailableError if code in _LATER else PacsError
    return kind(
        found=Message("The PACS “{name}” answers with HTTP {code}.", name=name, code=code),
        needed=Message("The DICOMweb services QIDO-RS, WADO-RS and STOW-RS at the configured address."),
        advice=Message("Check url in the settings, and the log of the PACS."),
    )


def invalid_response(name: str) -> PacsError:
    """An answer that is not DICOMweb, is redirected, or is larger than any answer may be."""
    return PacsError(
        found=Message("The answer of the PACS “{name}” cannot be used.", name=name),
        needed=Message("The DICOMweb services QIDO-RS, WADO-RS and STOW-RS at the configured address."),
        advice=Message("Check url in the settings: it is the address of the service itself, which does not redirect."),
    )


def certificate_refused(name: str, context: Callable[[], Context]) -> Context:
    """The TLS context that `context` makes of the certificates in the settings.

    Raises:
        PacsError: one of the files is missing, or is not what it should be.
    """
    try:
        return context()
    except OSError as error:  # ssl.SSLError is one
        raise no_certificates(name) from error


def no_certificates(name: str) -> PacsError:
    """Certificates that cannot be read."""
    return PacsError(
        found=Message("The certificates of the PACS “{name}” cannot be read.", name=name),
        needed=Message("Files in PEM for ca_file, cert_file and key_file, the key without a password."),
        advice=Message("Check these settings and the right to read the files."),
    )


def no_study(name: str) -> PacsError:
    """A study without images."""
    return PacsError(
        found=Message("The PACS “{name}” lists no image of this study in the requested series.", name=name),
        needed=Message("A study that this PACS holds."),
        advice=Message("Search for it with fedpet pacs find, and check the requested modalities."),
    )


def incomplete(name: str, *, received: int, expected: int, why: Message) -> PacsError:
    """A study of which a part is missing."""
    return PacsError(
        found=Message(
            "Only {received} of {expected} images came from the PACS “{name}”: {why}",
            received=received,
            expected=expected,
            name=name,
            why=why,
        ),
        needed=Message("The whole study: a part of it is not used."),
        advice=Message("Try again later; if it stays so, look for the missing images in the PACS."),
    )


def count_of_transfers(failed: int, remaining: int) -> Message:
    """The counts of failed and remaining transfers by the PACS."""
    return Message("it counts {failed} failed and {remaining} remaining transfers.", failed=failed, remaining=remaining)


def refused(name: str, *, refused: int, total: int, statuses: str) -> PacsError:
    """Objects that the PACS did not store."""
    return PacsError(
        found=Message(
            "The PACS “{name}” did not store {refused} of {total} objects (status {statuses}).",
            name=name,
            refused=refused,
            total=total,
            statuses=statuses,
        ),
        needed=Message("A PACS that stores these kinds of objects from us."),
        advice=Message("Ask its administrator for the right to store, or send again later."),
    )
