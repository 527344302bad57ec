"""`fedpet report`: verify that a report is as fedpet wrote it; write its edition with the patient's identity."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.console import FAILED, messages, reported, write_json
from fedpet.core.errors import OutputError, ReportError
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from fedpet.core.messages import Language
    from fedpet.core.settings import Settings
    from reports.verification import Verification, VerificationFinding

commands = typer.Typer(help="Verify a report, or write its edition with the patient's identity.", no_args_is_help=True)


@commands.command()
def verify(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The report: the PDF, or the DICOM file with it.")
    ],
    case: Annotated[
        str | None, typer.Option(help="Identifier of its case in the application: compare with the files there.")
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="Certificate (PEM, DER) that the signature must descend from; may be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")] = False,
) -> None:
    """Check a report against its content, its fingerprint and its signature; exit code 2 where it was altered."""
    from reports.verification import verify_report

    with reported(as_json=json):
        settings = load_settings()
        found = verify_report(file, trust=trust or ())
        if case is not None:
            found = replace(found, findings=(*found.findings, _compare_with_case(found, file, case)))
    if json:
        write_json(_as_json(found))
    else:
        _show(found, settings.language)
    if not found.valid:
        raise typer.Exit(FAILED)


@commands.command()
def identify(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The report, a PDF without identity.")],
    study: Annotated[Path, typer.Argument(exists=True, help="The images that it was made of.")],
    out: Annotated[Path, typer.Option(help="The file to be written, apart from the report and outside of `home`.")],
) -> None:
    """Write the same report with the patient's identity on every page, read from the images and kept nowhere else."""
    from app.cases.options import input_limits
    from app.cli.audit import audit_trail
    from app.cli.options import operator
    from fedpet.imaging.dicom.printed_identity import read_printed_identity
    from reports.pdf.identified import identified_edition, report_subject

    with reported(as_json=False):
        settings = load_settings()
        _require_apart(file, out, settings)
        document = file.read_bytes()
        pseudonym, day = report_subject(document)
        identity = read_printed_identity(
            study, pseudonym=pseudonym, study_date=day, key=settings.pseudonym_key(), limits=input_limits(settings)
        )
        edition = identified_edition(document, identity)
        audit_trail().record(operator(), "report.identified", detail={"pseudonym": pseudonym})
        out.touch(mode=0o600)
        out.write_bytes(edition)


def _require_apart(file: Path, out: Path, settings: Settings) -> None:
    """Refuse to store an identity beside pseudonymous data.

    Raises:
        OutputError: the file would lie beside the report or inside `home`, or is there already.
    """
    target, home = out.resolve(), settings.folder.resolve()
    apart = target.parent != file.resolve().parent and not target.is_relative_to(home)
    if apart and target.parent.is_dir() and not target.exists():
        return
    raise OutputError(
        found=Message("The report with the patient's identity cannot be written there."),
        needed=Message("A new file in a folder that exists, apart from the report and from the application's folder."),
        advice=Message("Choose another --out, such as a folder of the hospital's own file."),
    )


def _compare_with_case(found: Verification, file: Path, case_id: str) -> VerificationFinding:
    """Whether the application has this report: the same file, or one of the same content."""
    from app.cases.store import Store
    from reports.verification import VerificationFinding

    store = Store.open(load_settings())
    if store.get(case_id) is None:
        raise ReportError(
            found=Message("There is no such case."),
            needed=Message("The identifier of a case of this application."),
            advice=Message("Copy it from the address of the case's page."),
        )
    data, numbers = file.read_bytes(), [version.number for version in store.versions(case_id)]
    folders = [*(store.version_folder(case_id, number) for number in numbers), store.folder(case_id)]
    if any(path.read_bytes() == data for folder in folders for path in folder.glob("report.*.pdf")):
        return VerificationFinding("case", passed=True, reason=Message("The application has this very file."))
    for version in store.versions(case_id):
        if (version.content_hash, version.report_uid) == (found.content_hash, found.report_uid):
            reason = Message(
                "The content is that of version {number}, signed by {reader}, "
                "but the file is not that of the application.",
                number=version.number,
                reader=version.reader,
            )
            return VerificationFinding("case", passed=True, reason=reason)
    return VerificationFinding("case", passed=False, reason=Message("The application has no such report of this case."))


def _as_json(found: Verification) -> dict[str, Any]:
    return {
        "valid": found.valid,
        "report_uid": found.report_uid,
        "version": found.version,
        "content_hash": found.content_hash,
        "identified": found.identified,
        "checks": [asdict(one) | {"reason": str(one.reason)} for one in found.findings],
        "signature": found.signature and asdict(found.signature),
    }


def _show(found: Verification, language: Language) -> None:
    translate = translate_message(language)
    for one in found.findings:
        line = f"{'✓' if one.passed else '✗'} {translate(one.reason)}"
        messages.print(line, style=None if one.passed else "bold red", highlight=False, markup=False)
    facts = {"uid": found.report_uid, "version": found.version, "hash": found.content_hash}
    verdict = (
        Message("VALID: report {uid}, version {version}, content {hash}", **facts)
        if found.valid
        else Message("ALTERED: report {uid}, version {version}, content {hash}", **facts)
    )
    messages.print(translate(verdict), style="bold", highlight=False, markup=False)
    if found.identified:
        edition = Message("The edition with the patient's identity: for the hospital's file only.")
        messages.print(translate(edition), highlight=False, markup=False)
    if found.signature is None:
        reason = Message(
            "Without a signature this excludes mistakes, not somebody who rewrites both content and hashes."
        )
        messages.print(translate(reason), highlight=False, markup=False)
