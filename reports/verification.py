"""Whether a report is as fedpet wrote it.

What each check can find is in `docs/report.md`. None of the checks without a signature stops somebody who writes both
the content and its hash anew; they find what was changed by accident, by another program or by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pikepdf
import pypdfium2

from fedpet.errors import ReportRefused
from fedpet.messages import Message
from reports.archive import CONTENT_NAME, intact
from reports.digest import FORMAT, hash_of
from reports.signing import read_signature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reports.signing import Signature


@dataclass(frozen=True)
class Finding:
    """One check of the file. `name` is "content", "pages", "properties", "file", "signature" or "case"."""

    name: str
    passed: bool
    reason: Message


@dataclass(frozen=True)
class Verification:
    """What was found of one report.

    Attributes:
        report_uid: as the attached content says.
        version: of the reading.
        content_hash: of the attached content, computed now.
        findings: every check.
        signature: of the file, None where it has none.
    """

    report_uid: str
    version: int
    content_hash: str
    findings: tuple[Finding, ...]
    signature: Signature | None

    @property
    def valid(self) -> bool:
        """True where every check passed."""
        return all(finding.passed for finding in self.findings)


def verify_report(file: Path, *, trust: Sequence[Path] = ()) -> Verification:
    """Check a report against its own content, its fingerprint and its signature.

    Args:
        file: the PDF.
        trust: files of certificates (PEM or DER) from which the signer's must descend, and the file must be signed;
            without any, the signer is only told.

    Raises:
        ReportRefused: the file is no PDF, or holds no content of a report.
        SettingsError: the file is signed and pyHanko is not installed, or a certificate to trust cannot be read.
    """
    data = file.read_bytes()
    try:
        content, properties = _carried(data)
        pages = _texts(data)
    except (pikepdf.PdfError, pypdfium2.PdfiumError) as error:
        raise _refused(Message("The file is not a PDF that can be read.")) from error
    told = _read(content)
    digest, uid = hash_of(content), str(told["report_uid"])
    signature = read_signature(data, trust)
    findings = [
        _content(content, told),
        _pages(pages, digest, uid),
        _properties(properties, digest, uid),
        _file(data, signature),
        *([_signed(signature)] if signature or trust else []),
    ]
    return Verification(uid, int(told["version"]), digest, tuple(findings), signature)


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
        told = json.loads(content)
    except ValueError as error:
        raise _refused(Message("The content that the file carries cannot be read.")) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT or not {"report_uid", "version"} <= set(told):
        raise _refused(Message("The content that the file carries is not that of a report of this version."))
    return told


def _refused(found: Message) -> ReportRefused:
    return ReportRefused(
        found=found,
        needed=Message("A PDF report as fedpet wrote it."),
        advice=Message("Take the file from the application or from the PACS, not a print or an excerpt of it."),
    )


def _content(content: bytes, told: dict[str, Any]) -> Finding:
    again = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    if again != content:
        return Finding("content", passed=False, reason=Message("The attached content is not in the form of fedpet."))
    return Finding("content", passed=True, reason=Message("The attached content is complete."))


def _pages(pages: list[str], digest: str, uid: str) -> Finding:
    """The hash and the identifier printed on every page are those of the content."""
    wrong = [number for number, text in enumerate(pages, start=1) if digest not in text or uid not in text]
    if wrong:
        reason = Message(
            "The hash or the identifier printed on page {numbers} is not that of the attached content.",
            numbers=", ".join(map(str, wrong)),
        )
        return Finding("pages", passed=False, reason=reason)
    return Finding("pages", passed=True, reason=Message("The hash printed on every page is that of the content."))


def _properties(keywords: str, digest: str, uid: str) -> Finding:
    if digest in keywords and uid in keywords:
        return Finding(
            "properties", passed=True, reason=Message("The hash in the document properties is that of the content.")
        )
    return Finding(
        "properties", passed=False, reason=Message("The hash in the document properties is not that of the content.")
    )


def _file(data: bytes, signature: Signature | None) -> Finding:
    """No byte changed since fedpet wrote the file, but for a signature after it."""
    whole, end = intact(data)
    if not whole:
        reason = Message("The file was changed or saved anew after fedpet wrote it.")
        return Finding("file", passed=False, reason=reason)
    if data[end:].strip(b"\0") and signature is None:
        return Finding("file", passed=False, reason=Message("Something was added to the file after fedpet wrote it."))
    return Finding("file", passed=True, reason=Message("No byte of the file changed since fedpet wrote it."))


def _signed(signature: Signature | None) -> Finding:
    """What the electronic signature is worth; who names certificates to trust expects one."""
    if signature is None:
        return Finding("signature", passed=False, reason=Message("The file is not signed electronically."))
    who = {"subject": signature.subject, "time": signature.time or "–"}
    if not signature.intact:
        reason = Message("The electronic signature of {subject} does not fit the file.", **who)
        return Finding("signature", passed=False, reason=reason)
    if signature.trusted is False:
        reason = Message("Signed by {subject}, {time}, whom none of the trusted certificates vouches for.", **who)
        return Finding("signature", passed=False, reason=reason)
    if signature.trusted:
        return Finding("signature", passed=True, reason=Message("Signed by {subject}, {time}; trusted.", **who))
    reason = Message("Signed by {subject}, {time}; whether that certificate is the centre's was not checked.", **who)
    return Finding("signature", passed=True, reason=reason)
