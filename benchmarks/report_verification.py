"""How often `fedpet report verify` finds a report that was changed, and how often it calls a good one changed.

    python -m benchmarks.report_verification --bits 100

Reports of two cases in both languages, each as written, with the patient's identity, and as the DICOM object of the
PACS. Planted: a flipped bit anywhere, a page of the other case, pages in another order, a page taken out, the other
case's QR code over the page's own, the other case's attachment, the file saved again by another program, its end cut
off; of the object also the other case's document under its header.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pikepdf
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage

from fedpet.core.errors import FedpetError
from fedpet.imaging.dicom.patient_identity import PatientHeaders
from fedpet.imaging.dicom.printed_identity import PrintedIdentity
from reports.dicom.encapsulated_pdf import encapsulated_pdf
from reports.dicom.export import Export
from reports.pdf.document import write_pdf
from reports.pdf.identified import identified_edition
from reports.pdf.pdfa import CONTENT_NAME
from reports.verification import verify_report
from tests.support import report_content as cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fedpet.core.messages import Language
    from reports.content import ReportContent

WHO = PrintedIdentity("LEFÈVRE Zoé", "1958-07-04", "F", "HOSP-4711", "ACC-1", "258077512345678")
CODE = pikepdf.Rectangle(42, 14, 88, 60)  # where the QR code is, points


def main() -> None:
    """Print for each form of a report and each fault how many were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=100, help="flipped bits for each form")
    bits, rng = parser.parse_args().bits, np.random.default_rng(19)
    content = cases.make_content()
    first, second = cases.signed(content), cases.abstained(content)
    tried, found = Counter[str](), Counter[str]()
    good, alarms = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report"
        for name, data, other in forms(first, second, Path(folder)):
            good, alarms = good + 1, alarms + (not holds(file, data))
            for fault, changed in faults(data, other, rng, bits):
                tried[f"{name}: {fault}"] += 1
                found[f"{name}: {fault}"] += not holds(file, changed)
    for fault, count in tried.items():
        print(f"{fault}: {found[fault]} of {count} found")
    print(f"all: {found.total()} of {tried.total()} found; good ones called changed: {alarms} of {good}")


def forms(first: ReportContent, second: ReportContent, folder: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, the report of the first case and that of the second, in every form and language."""
    languages: tuple[Language, ...] = ("fr", "en")
    for language in languages:
        pair = []
        for content in (first, second):
            write_pdf(content, folder / "as_written.pdf", language=language)
            pair.append((folder / "as_written.pdf").read_bytes())
        yield "pseudonymous", pair[0], pair[1]
        yield "identified", identified_edition(pair[0], WHO), identified_edition(pair[1], WHO)
        yield "DICOM", held(first, pair[0], language), held(second, pair[1], language)


def held(content: ReportContent, pdf: bytes, language: Language) -> bytes:
    """The report as the DICOM object for the PACS, beside one made-up image."""
    image = Dataset()
    image.StudyInstanceUID, image.SOPInstanceUID = "2.25.1", "2.25.2"
    image.SOPClassUID = PositronEmissionTomographyImageStorage
    export = Export(content, PatientHeaders(Dataset(), (image,), ()), language)
    out = BytesIO()
    export.finish(encapsulated_pdf(export, pdf)).save_as(out, enforce_file_format=True)
    return out.getvalue()


def holds(file: Path, data: bytes) -> bool:
    """Whether a file passes; what cannot be read does not."""
    file.write_bytes(data)
    try:
        return verify_report(file).valid
    except FedpetError:
        return False


def faults(data: bytes, other: bytes, rng: np.random.Generator, bits: int) -> Iterator[tuple[str, bytes]]:
    """Changed copies of a report, each with its fault."""
    start = data.index(b"%PDF")  # of the document: what stands before it in a DICOM file is another patient's affair
    for place in rng.integers(start, data.rindex(b"%%EOF"), bits):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        yield "a flipped bit", bytes(changed)
    yield "its end cut off", data[: int(0.9 * len(data))]
    edits: dict[str, Callable[[pikepdf.Pdf, pikepdf.Pdf], None]] = {
        "a page of another case": _page_of_another,
        "pages in another order": _reordered,
        "a page taken out": _page_out,
        "another case's QR code": _other_code,
        "another case's attachment": _other_attachment,
        "saved again": lambda _pdf, _other: None,
    }
    for name, edit in edits.items():
        yield name, _edited(data, other, edit)
    if data[128:132] == b"DICM":
        yield "another case's document", _replaced(data, dcmread(BytesIO(other)).EncapsulatedDocument)


def _edited(data: bytes, other: bytes, edit: Callable[[pikepdf.Pdf, pikepdf.Pdf], None]) -> bytes:
    out = BytesIO()
    with pikepdf.open(BytesIO(_document(data))) as pdf, pikepdf.open(BytesIO(_document(other))) as foreign:
        edit(pdf, foreign)
        pdf.save(out)
    return _replaced(data, out.getvalue()) if data[128:132] == b"DICM" else out.getvalue()


def _document(data: bytes) -> bytes:
    return bytes(dcmread(BytesIO(data)).EncapsulatedDocument) if data[128:132] == b"DICM" else data


def _replaced(data: bytes, document: bytes) -> bytes:
    """The object with another document."""
    dataset, out = dcmread(BytesIO(data)), BytesIO()
    dataset.EncapsulatedDocument = document + b"\\0" * (len(document) % 2)
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _page_of_another(pdf: pikepdf.Pdf, other: pikepdf.Pdf) -> None:
    pdf.pages[1] = other.pages[1]


def _reordered(pdf: pikepdf.Pdf, _other: pikepdf.Pdf) -> None:
    pdf.pages.reverse()


def _page_out(pdf: pikepdf.Pdf, _other: pikepdf.Pdf) -> None:
    del pdf.pages[1]


def _other_code(pdf: pikepdf.Pdf, other: pikepdf.Pdf) -> None:
    page = other.pages[0]
    page.mediabox = page.cropbox = page.trimbox = pikepdf.Array([CODE.llx, CODE.lly, CODE.urx, CODE.ury])
    pdf.pages[0].add_overlay(page, CODE)


def _other_attachment(pdf: pikepdf.Pdf, other: pikepdf.Pdf) -> None:
    content = other.attachments[CONTENT_NAME].get_file().read_bytes()
    pdf.attachments[CONTENT_NAME] = pikepdf.AttachedFileSpec(pdf, content)


if __name__ == "__main__":
    main()
