"""The edition of a report for the hospital's file: the same pages with the patient's identity below the banner.

Report UID, attached content and content hash stay: both editions are of one report. The identity is on the pages
alone, in no property of the document. A seal does not survive, for the pages change.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pikepdf
from pikepdf import Array, Dictionary, Name, String
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from fedpet.core.errors import ReportError
from fedpet.core.messages import Message
from reports.locale import Locale
from reports.pdf.page import BANNER, MARGIN
from reports.pdf.pdfa import BLANK, CONTENT_NAME, IDENTIFIED, seal_fingerprint, verify_fingerprint
from reports.pdf.style import BOLD, INK, REGULAR, WIDTH, register_fonts, replace_unprintable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pikepdf import Object, Page, Pdf

    from fedpet.imaging.dicom.printed_identity import PrintedIdentity

_SIZE, _SMALLEST = 9.0, 5.0  # points
_FIRST, _LINE = 3.4 * mm, 3.6 * mm  # of the first baseline below the banner, and to the next one


def report_subject(document: bytes) -> tuple[str, str]:
    """Pseudonym of the patient and day of the examination of a report.

    Raises:
        ReportError: the file was changed since fedpet wrote it, or has the identity already.
    """
    whole, end = verify_fingerprint(document)
    if not whole:
        raise _refused(Message("The file is no report, or was changed since fedpet wrote it."))
    with pikepdf.open(BytesIO(document[:end])) as pdf:
        if IDENTIFIED in str(pdf.docinfo.get("/Keywords", "")):
            raise _refused(Message("The report has the patient's identity already."))
        study = json.loads(pdf.attachments[CONTENT_NAME].get_file().read_bytes())["study"]
    return str(study["pseudonym"]), str(study["study_date"])


def identified_edition(
    document: bytes, identity: PrintedIdentity, *, signer: Callable[[bytes], bytes] | None = None
) -> bytes:
    """The same report with the patient's identity on every page; the same arguments give the same bytes.

    Args:
        document: the report as fedpet wrote it, sealed or not.
        identity: of its patient: compare the images with `report_subject` first
            (`fedpet.imaging.dicom.printed_identity.read_printed_identity` does).
        signer: seals the new file.

    Raises:
        ReportError: the file was changed since fedpet wrote it, or has the identity already.
    """
    report_subject(document)
    with pikepdf.open(BytesIO(document[: verify_fingerprint(document)[1]])) as pdf:
        locale = Locale("fr" if str(pdf.Root.Lang).startswith("fr") else "en")
        with pikepdf.open(BytesIO(_strip(identity, locale))) as drawn:
            strip = pdf.copy_foreign(drawn.pages[0].as_form_xobject())
        for number, page in enumerate(pdf.pages):
            _place(pdf, page, strip, content=number == 0)
        pdf.docinfo["/Keywords"] = String(f"{pdf.docinfo['/Keywords']}, {IDENTIFIED}")
        with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
            metadata["pdf:Keywords"] = str(pdf.docinfo["/Keywords"])
            metadata["xmpMM:InstanceID"] = BLANK
        out = BytesIO()
        pdf.save(out, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.generate, min_version="1.7")
    finished = seal_fingerprint(out.getvalue())
    return finished if signer is None else signer(finished)


def identity_lines(identity: PrintedIdentity, locale: Locale) -> tuple[str, str]:
    """Name, birth date and sex; then the identifiers."""
    _ = locale.text
    born = Message("birth date {day}", day=locale.day(identity.birth_date) or "–")
    sexes = {"F": _("female"), "M": _("male")}
    who = [identity.name or _("name not stated"), locale.translate(born), sexes.get(identity.sex.upper(), identity.sex)]
    named = (
        (Message("Patient ID {x}", x=identity.patient_id), identity.patient_id),
        (Message("Accession number {x}", x=identity.accession), identity.accession),
        (Message("National identifier (INS) {x}", x=identity.national_id), identity.national_id),
    )
    numbers = [locale.translate(label) for label, value in named if value]
    return " · ".join(filter(None, who)), " · ".join(numbers)


def _strip(identity: PrintedIdentity, locale: Locale) -> bytes:
    """One page with nothing but the identity in its place."""
    register_fonts()
    out = BytesIO()
    fonts: Any = {"initialFontName": REGULAR}  # else the file names one that is not embedded; ReportLab's type is wrong
    canvas = Canvas(out, pagesize=A4, invariant=1, **fonts)
    canvas.setFillColor(INK)
    top = A4[1] - BANNER - _FIRST
    for line, (text, font) in enumerate(zip(identity_lines(identity, locale), (BOLD, REGULAR), strict=True)):
        said, size = replace_unprintable(text), _SIZE
        while canvas.stringWidth(said, font, size) > WIDTH and size > _SMALLEST:
            size -= 0.25  # never cut off: a shortened name is another name
        canvas.setFont(font, size)
        canvas.drawString(MARGIN, top - line * _LINE, f"{said} ")  # a space: the two lines are not glued
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def _place(pdf: Pdf, page: Page, strip: Object, *, content: bool) -> None:
    """Draw the strip: as a paragraph at the head of the first page, elsewhere as what every page repeats."""
    name = page.add_resource(strip, Name.XObject, Name("/Identity"))
    if not content:
        page.contents_add(f"q /Artifact BMC {name} Do EMC Q\n".encode(), prepend=True)
        return
    marks = pdf.Root.StructTreeRoot.ParentTree.Nums[2 * int(page.obj.StructParents) + 1]
    page.contents_add(f"q /P <</MCID {len(marks)}>> BDC {name} Do EMC Q\n".encode(), prepend=True)
    document = pdf.Root.StructTreeRoot.K[0]
    kid = Dictionary(Type=Name.MCR, Pg=page.obj, MCID=len(marks))
    element = pdf.make_indirect(Dictionary(Type=Name.StructElem, S=Name.P, P=document, K=Array([kid])))
    marks.append(element)
    document.K.insert(0, element)


def _refused(found: Message) -> ReportError:
    return ReportError(
        found=found,
        needed=Message("A report as fedpet wrote it: the PDF without identity."),
        advice=Message("Take the file from the application or from the PACS, not a print or an excerpt of it."),
    )
