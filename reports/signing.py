"""An electronic seal on the finished file: PAdES (ETSI EN 319 142-1, level B-B) by pyHanko, which is optional.

The certificate and its key come from a PKCS#12 file of the centre. The signature says that the centre's fedpet wrote
this file and that no byte has changed since; the reader's own decision is recorded in the audit trail of the
application. There is no time stamp of an authority: the time of signing is that of this machine.
"""

from __future__ import annotations

import logging
import os
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pyhanko.sign.validation import EmbeddedPdfSignature

PASSWORD = "FEDPET_REPORT_SIGNER_PASSWORD"  # noqa: S105  the name of the environment variable, not what it holds
FIELD = "fedpet"
logging.getLogger("pyhanko").addHandler(logging.NullHandler())  # its findings are reported by `read_signature`
_INSTALL = Message("Install fedpet with its extra “sign”: pip install 'fedpet[sign]'.")


@dataclass(frozen=True)
class Signature:
    """The signature of a file, checked.

    Attributes:
        subject: of the certificate, "–" where it cannot be read.
        sha256: fingerprint of the certificate, "" where it cannot be read.
        time: of signing, by the clock of the signer's machine, ISO 8601; "" where it is not stated.
        intact: the signed bytes are unchanged, and nothing was added but what the signature allows.
        trusted: the certificate descends from a trusted one; None where there are no trusted ones.
    """

    subject: str
    sha256: str
    time: str
    intact: bool
    trusted: bool | None


def signer(file: Path, *, password_file: Path | None = None) -> Callable[[bytes], bytes]:
    """A function that seals a report.

    Args:
        file: PKCS#12 file with the certificate and its key.
        password_file: holds its password; None for the environment variable `PASSWORD`.

    Returns:
        A function from the bytes of a PDF to those of the sealed PDF.

    Raises:
        SettingsError: pyHanko is not installed, or a file or the password cannot be used.
    """
    try:
        from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter  # noqa: PLC0415  optional
        from pyhanko.sign import fields, signers  # noqa: PLC0415  as above
    except ImportError as error:
        raise _not_installed() from error
    loaded = signers.SimpleSigner.load_pkcs12(  # type: ignore[no-untyped-call]  # pyHanko types it in part
        file, passphrase=_password(password_file)
    )
    if loaded is None:
        raise SettingsError(
            found=Message("The certificate that signs reports cannot be opened."),
            needed=Message(
                "A PKCS#12 file (.p12, .pfx) with certificate and key, its password in {name} or in a file.",
                name=PASSWORD,
            ),
            advice=Message("Check the setting report_signer and the password."),
        )

    def seal(document: bytes) -> bytes:
        meta = signers.PdfSignatureMetadata(
            field_name=FIELD,
            md_algorithm="sha256",
            subfilter=fields.SigSeedSubFilter.PADES,
            certify=True,
            docmdp_permissions=fields.MDPPerm.NO_CHANGES,
        )
        sealed = signers.sign_pdf(IncrementalPdfFileWriter(BytesIO(document)), meta, loaded)
        return bytes(sealed.getvalue())

    return seal


def _password(file: Path | None) -> bytes:
    """The password, from a file that only its owner may read, else from the environment."""
    if file is None:
        return os.environ.get(PASSWORD, "").encode()
    try:
        private, password = file.stat().st_mode & 0o077 == 0, file.read_bytes().strip()
    except OSError:
        private, password = False, b""
    if not private:
        raise SettingsError(
            found=Message("The password of the certificate that signs reports cannot be used."),
            needed=Message("A file that the application can read, and nobody but its owner (chmod 600)."),
            advice=Message("Check the setting report_signer_password_file."),
        )
    return password


def _not_installed() -> SettingsError:
    return SettingsError(
        found=Message("The library for electronic signatures, pyHanko, is not installed."),
        needed=Message("pyHanko, to sign a report and to check a signed one."),
        advice=_INSTALL,
    )


def read_signature(document: bytes, trust: Sequence[Path] = ()) -> Signature | None:
    """Read and check the signature of a file.

    Revocation is not looked up: nothing leaves this machine.

    Args:
        document: the bytes of the PDF.
        trust: files of certificates (PEM or DER) that the signer's must descend from; without any, whether it is
            trusted is not decided.

    Returns:
        The signature; of several, one that fails. None where the file has none.

    Raises:
        SettingsError: the file is signed and pyHanko is not installed, or a certificate to trust cannot be read.
    """
    if b"/ByteRange" not in document:
        return None
    try:
        from pyhanko.keys import load_certs_from_pemder  # noqa: PLC0415  optional
        from pyhanko.pdf_utils.misc import PdfError  # noqa: PLC0415  as above
        from pyhanko.pdf_utils.reader import PdfFileReader  # noqa: PLC0415  as above
    except ImportError as error:
        raise _not_installed() from error
    try:
        roots = list(load_certs_from_pemder(trust))  # type: ignore[no-untyped-call]  # pyHanko types it in part
    except (OSError, ValueError) as error:
        raise SettingsError(
            found=Message("A certificate to trust cannot be read."),
            needed=Message("Certificates as PEM or DER files."),
            advice=Message("Check these files."),
        ) from error
    try:
        found = [_checked(one, document, roots) for one in PdfFileReader(BytesIO(document)).embedded_signatures]
    # what damaged files raise, a number that is none among them (decimal.InvalidOperation)
    except (PdfError, zlib.error, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        found = []
    broken = Signature("–", "", "", intact=False, trusted=False if roots else None)
    return min(found, key=lambda one: (one.intact, one.trusted is not False), default=broken)


def _checked(embedded: EmbeddedPdfSignature, document: bytes, roots: list[Any]) -> Signature:
    from pyhanko.sign.validation import validate_pdf_signature  # noqa: PLC0415  optional
    from pyhanko.sign.validation.settings import KeyUsageConstraints  # noqa: PLC0415  as above
    from pyhanko_certvalidator import ValidationContext  # noqa: PLC0415  as above

    context = ValidationContext(trust_roots=roots or [embedded.signer_cert], allow_fetching=False)
    usage = KeyUsageConstraints(key_usage={"digital_signature", "non_repudiation"}, match_all_key_usages=False)
    status = validate_pdf_signature(embedded, context, key_usage_settings=usage)
    time = status.signer_reported_dt
    return Signature(
        subject=status.signing_cert.subject.human_friendly,
        sha256=status.signing_cert.sha256.hex(),
        time=time.isoformat() if time else "",
        intact=bool(status.intact and status.valid and status.docmdp_ok) and _tidy(embedded, document),
        trusted=status.trusted if roots else None,
    )


def _tidy(embedded: EmbeddedPdfSignature, document: bytes) -> bool:
    """Whether the one part that no signature covers, its own, holds the signature, zeros and nothing else."""
    from asn1crypto.cms import ContentInfo  # noqa: PLC0415  optional

    _, start, end, _ = embedded.byte_range
    digits, value = document[start + 1 : end - 1], bytes(embedded.pkcs7_content)
    used = len(ContentInfo.load(value).dump())
    return digits in {value.hex().encode(), value.hex().upper().encode()} and not any(value[used:])
