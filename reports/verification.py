"""Whether a report is as fedpet wrote it, as a PDF or as the DICOM Encapsulated PDF of it.

What each check can find is in `docs/report.md`. Without a signature, no check stops somebody who rewrites both the
content and its hash; they find what was changed by accident, by another program or by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pikepdf
import pypdfium2
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from fedpet.core.errors import ReportError
from fedpet.core.messages import LANGUAGES, Message
from reports.content_hash import FORMAT, hash_of
from reports.dicom.export import deterministic_uid
from reports.pdf.pdfa import CONTENT_NAME, IDENTIFIED, verify_fingerprint
from reports.signing import read_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset

    from reports.signing import Signature

_HELD = ["SOPInstanceUID", "SoftwareVersions", "EncapsulatedDocument", "EncapsulatedDocumentLength"]


@dataclass(frozen=True)
class VerificationFinding:
    """One check of the file: "content", "pages", "properties", "file", "object", "signature" or "case"."""

    name: str
    passed: bool
    reason: Message


@dataclass(frozen=True)
class Verification:
    """The result of the checks of one report.

    Attributes:
        report_uid: in the attached content.
        version: of the reading.
        content_hash: of the attached content, computed now.
        findings: every check.
        signature: of the file, None where it has none.
        identified: it is the edition with the patient's identity.
    """

    report_uid: str
    version: int
    content_hash: str
    findings: tuple[VerificationFinding, ...]
    signature: Signature | None
    identified: bool = False

    @property
    def valid(self) -> bool:
        """True where every check passed."""
        return all(finding.passed for finding in self.findings)


def verify_report(file: Path, *, trust: Sequence[Path] = ()) -> Verification:
    """Check a report against its own content, its fingerprint and its signature.

    Args:
        file: the PDF, or a DICOM file that encapsulates it.
        trust: files of certificates (PEM or DER) from which the signer's must descend, and the file must be signed;
            without any, the signer is only named.

    Raises:
        ReportError: the file is no PDF, or holds no content of a report.
        SettingsError: the file is signed and pyHanko is not installed, or a certificate to trust cannot be read.
    """
    data, header = _pdf(file.read_bytes())
    try:
        content, properties = _carried(data)
        pages = _texts(data)
    except (pikepdf.PdfError, pypdfium2.PdfiumError) as error:
        raise _refused(Message("The file is not a PDF that can be read.")) from error
    carried = _read(content)
    digest, uid = hash_of(content), str(carried["report_uid"])
    signature = read_signature(data, trust)
    findings = [
        _content(content, carried),
        _pages(pages, digest, uid),
        _properties(properties, digest, uid),
        _file(data, signature),
        *([] if header is None else [_object(header, data, digest)]),
        *([_signed(signature)] if signature or trust else []),
    ]
    return Verification(uid, int(carried["version"]), digest, tuple(findings), signature, IDENTIFIED in properties)


def _pdf(data: bytes) -> tuple[bytes, Dataset | None]:
    """The PDF in a file; where that is DICOM, the document that it encapsulates (PS3.3 A.45.1), and what holds it."""
    if data[128:132] != b"DICM":
        return data, None
    try:
        held = dcmread(BytesIO(data), specific_tags=_HELD)
        document, length = held.get("EncapsulatedDocument"), held.get("EncapsulatedDocumentLength")
    except (InvalidDicomError, EOFError, ValueError) as error:
        raise _refused(Message("The DICOM file cannot be read.")) from error
    if not isinstance(document, bytes):
        raise _refused(Message("The DICOM file holds no document: it is not the report.dcm of a case."))
    return document[:length] if length == len(document) - 1 else document, held


def _carried(data: bytes) -> tuple[bytes, str]:
    """The attached content and the keywords of the document information."""
    with pikepdf.open(BytesIO(data)) as pdf:
        if CONTENT_NAME not in pdf.attachments:
            raise _refused(Message("The file does not carry the content of a report."))
        return pdf.attachments[CONTENT_NAME].get_file().read_bytes(), str(pdf.docinfo.get("/Keywords", ""))


def _texts(data: bytes) -> list[str]:
    with pypdfium2.PdfDocument(data) as document:
        return [page.get_textpage().get_text_bounded() for page in document]


def _read(content: bytes) -> dict[str, Any]:
    try:
        carried = json.loads(content)
    except ValueError as error:
        raise _refused(Message("The content that the file carries cannot be read.")) from error
    if (
        not isinstance(carried, dict)
        or carried.get("format") != FORMAT
        or not {"report_uid", "version"} <= set(carried)
    ):
        raise _refused(Message("The content that the file carries is not that of a report of this version."))
    return carried


def _refused(found: Message) -> ReportError:
    return ReportError(
        found=found,
        needed=Message("A report as fedpet wrote it: the PDF, or the DICOM file with it (report.dcm)."),
        advice=Message("Take the file from the application or from the PACS, not a print or an excerpt of it."),
    )


def _content(content: bytes, carried: dict[str, Any]) -> VerificationFinding:
    again = json.dumps(carried, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    if again != content:
        return VerificationFinding(
            "content", passed=False, reason=Message("The attached content is not in the form of fedpet.")
        )
    return VerificationFinding("content", passed=True, reason=Message("The attached content is complete."))


def _pages(pages: list[str], digest: str, uid: str) -> VerificationFinding:
    """Whether every page has the hash and the identifier of the content."""
    wrong = [number for number, text in enumerate(pages, start=1) if digest not in text or uid not in text]
    if wrong:
        reason = Message(
            "The hash or the identifier printed on page {numbers} is not that of the attached content.",
            numbers=", ".join(map(str, wrong)),
        )
        return VerificationFinding("pages", passed=False, reason=reason)
    return VerificationFinding(
        "pages", passed=True, reason=Message("The hash printed on every page is that of the content.")
    )


def _properties(keywords: str, digest: str, uid: str) -> VerificationFinding:
    if digest in keywords and uid in keywords:
        return VerificationFinding(
            "properties", passed=True, reason=Message("The hash in the document properties is that of the content.")
        )
    return VerificationFinding(
        "properties", passed=False, reason=Message("The hash in the document properties is not that of the content.")
    )


def _file(data: bytes, signature: Signature | None) -> VerificationFinding:
    """Whether no byte changed since fedpet wrote the file, except for a signature after it."""
    whole, end = verify_fingerprint(data)
    if not whole:
        reason = Message("The file was changed or saved again after fedpet wrote it.")
        return VerificationFinding("file", passed=False, reason=reason)
    if data[end:].strip(b"\0") and signature is None:
        return VerificationFinding(
            "file", passed=False, reason=Message("Something was added to the file after fedpet wrote it.")
        )
    return VerificationFinding(
        "file", passed=True, reason=Message("No byte of the file changed since fedpet wrote it.")
    )


def _object(header: Dataset, data: bytes, digest: str) -> VerificationFinding:
    """Whether the DICOM object was made for this document: its UID follows from the content and from every byte."""
    parts = [(digest, language, str(header.get("SoftwareVersions", ""))) for language in LANGUAGES]
    made = [deterministic_uid(*of, "report", sha256(data).hexdigest()) for of in parts]
    if header.get("SOPInstanceUID") in made:
        return VerificationFinding("object", passed=True, reason=Message("The DICOM file was made for this document."))
    reason = Message("The DICOM file was made for another document, or its identifiers were changed.")
    return VerificationFinding("object", passed=False, reason=reason)


def _signed(signature: Signature | None) -> VerificationFinding:
    """Whether the electronic signature holds; it is required where certificates to trust are named."""
    if signature is None:
        return VerificationFinding("signature", passed=False, reason=Message("The file is not signed electronically."))
    who = {"subject": signature.subject, "time": signature.time or "–"}
    if not signature.intact:
        reason = Message("The electronic signature of {subject} does not fit the file.", **who)
        return VerificationFinding("signature", passed=False, reason=reason)
    if signature.trusted is False:
        reason = Message("Signed by {subject}, {time}, whom none of the trusted certificates vouches for.", **who)
        return VerificationFinding("signature", passed=False, reason=reason)
    if signature.trusted:
        return VerificationFinding(
            "signature", passed=True, reason=Message("Signed by {subject}, {time}; trusted.", **who)
        )
    reason = Message("Signed by {subject}, {time}; whether that certificate is the centre's was not checked.", **who)
    return VerificationFinding("signature", passed=True, reason=reason)
