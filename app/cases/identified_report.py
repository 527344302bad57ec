"""The report of a case with its patient's identity, made when somebody asks for it and kept nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cases.options import input_limits
from fedpet.imaging.dicom.printed_identity import read_printed_identity
from reports.pdf.identified import identified_edition, report_subject
from reports.signing import signer

if TYPE_CHECKING:
    from app.cases.store import Store
    from fedpet.core.messages import Language
    from fedpet.core.settings import Settings


def identified_report(store: Store, case_id: str, version: int, language: Language, settings: Settings) -> bytes:
    """The signed report of a version for the hospital's file; sealed where the settings name a certificate.

    Args:
        store: of the cases.
        case_id: the case.
        version: a signed one.
        language: of the report.
        settings: with the key of the pseudonyms.

    Raises:
        ReportError: the file was changed since it was signed.
        StudyError: the images are gone, or are not those of the report.
        SettingsError: the certificate cannot be used.
    """
    document = (store.version_folder(case_id, version) / f"report.{language}.pdf").read_bytes()
    pseudonym, day = report_subject(document)
    identity = read_printed_identity(
        store.source(case_id),
        pseudonym=pseudonym,
        study_date=day,
        key=settings.pseudonym_key(),
        limits=input_limits(settings),
    )
    seal = None
    if settings.report_signer is not None:
        seal = signer(settings.report_signer, password_file=settings.report_signer_password_file)
    return identified_edition(document, identity, signer=seal)
