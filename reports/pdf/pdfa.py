"""Turns drawn pages into a document for the archive: structure, properties, colours, attached content, fingerprint.

Built to PDF/A-3u (ISO 19005-3): embedded fonts, an sRGB output intent, XMP equal to the document information, and the
hashed content as an associated file. Tagged, but without a claim to level A or to PDF/UA.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING

import pikepdf
from pikepdf import Array, Dictionary, Name, String
from pikepdf.models.metadata import encode_pdf_date
from PIL import ImageCms

from reports.pdf.tagging import Element, TagMark

if TYPE_CHECKING:
    from pikepdf import Object, Pdf

CONTENT_NAME = "fedpet-report.json"
IDENTIFIED = "identified edition"  # among the keywords of the edition with the patient's identity
BLANK = "sha256:" + "0" * 64  # replaced by a digest of the same length
_ZERO = BLANK.encode()
_FINGERPRINT = re.compile(rb"sha256:[0-9a-f]{64}")
_PROFILE_DATE = slice(24, 36)  # in an ICC header: the date of the profile


def to_pdfa(pages: bytes, structure: Element, *, content: str, created: str) -> bytes:
    """Finish the document; the same arguments give the same bytes.

    Args:
        pages: the PDF as drawn, with its document information.
        structure: what was drawn.
        content: `reports.content_hash.canonical_json` of the report, to be attached.
        created: date of the report, ISO 8601.

    Returns:
        The bytes of the PDF.
    """
    moment = datetime.fromisoformat(created)
    with pikepdf.open(BytesIO(pages)) as pdf:
        del pdf.docinfo["/Trapped"]  # ReportLab always says "False"; the XMP below cannot hold it
        pdf.docinfo["/CreationDate"] = pdf.docinfo["/ModDate"] = String(encode_pdf_date(moment))
        _attach(pdf, content, moment)
        _structure(pdf, structure)
        _colours(pdf)
        pdf.Root.ViewerPreferences = Dictionary(DisplayDocTitle=True)
        with pdf.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as metadata:
            metadata.load_from_docinfo(pdf.docinfo)
            metadata["dc:language"] = {str(pdf.Root.Lang)}
            metadata["pdfaid:part"], metadata["pdfaid:conformance"] = "3", "U"
            metadata["xmpMM:InstanceID"] = BLANK
        out = BytesIO()
        pdf.save(out, deterministic_id=True, object_stream_mode=pikepdf.ObjectStreamMode.generate, min_version="1.7")
    return seal_fingerprint(out.getvalue())


def verify_fingerprint(data: bytes) -> tuple[bool, int]:
    """Whether the bytes start with a document that `to_pdfa` wrote.

    Args:
        data: the bytes of the file.

    Returns:
        Whether they do, and where that document ends; 0 where they do not.
    """
    found = _FINGERPRINT.search(data)
    if found is None:
        return False, 0
    stated = found.group().removeprefix(b"sha256:").decode()
    blank = data[: found.start()] + _ZERO + data[found.end() :]
    for end in (match.end() for match in re.finditer(rb"%%EOF\n", blank)):
        if hashlib.sha256(blank[:end]).hexdigest() == stated:
            return True, end
    return False, 0


def seal_fingerprint(data: bytes) -> bytes:
    """The document with its own SHA-256, which was computed with zeros in its place."""
    return data.replace(_ZERO, b"sha256:" + hashlib.sha256(data).hexdigest().encode(), 1)


def _attach(pdf: Pdf, content: str, moment: datetime) -> None:
    """The content as an associated file (PDF/A-3, 6.8)."""
    file = pikepdf.AttachedFileSpec(
        pdf,
        content.encode("ascii"),
        description="Content of the report, of which the printed SHA-256 is taken",
        filename=CONTENT_NAME,
        mime_type="application/json",
        creation_date=encode_pdf_date(moment),
        mod_date=encode_pdf_date(moment),
        relationship=Name.Data,
    )
    pdf.attachments[CONTENT_NAME] = file
    pdf.Root.AF = Array([file.obj])


def _colours(pdf: Pdf) -> None:
    """Declare that the RGB of the pages is sRGB."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_PROFILE_DATE] = b"\x07\xd0\x00\x01\x00\x01" + bytes(6)  # 1 January 2000, so that bytes stay the same
    intent = Dictionary(
        Type=Name.OutputIntent,
        S=Name.GTS_PDFA1,
        OutputConditionIdentifier=String("sRGB"),
        Info=String("sRGB IEC61966-2.1"),
        DestOutputProfile=pdf.make_stream(bytes(profile), N=3),
    )
    pdf.Root.OutputIntents = Array([pdf.make_indirect(intent)])


def _structure(pdf: Pdf, document: Element) -> None:
    """The structure tree, and the way back from the marks of each page to their elements (PDF 1.7, 14.7)."""
    owners: list[dict[int, Object]] = [{} for _ in pdf.pages]
    root = pdf.make_indirect(Dictionary(Type=Name.StructTreeRoot))
    root.K = Array([_element(pdf, document, root, owners)])
    for number, page in enumerate(pdf.pages):
        page.obj.StructParents = number
        page.obj.Tabs = Name.S
    numbered = Array()
    for number, owned in enumerate(owners):
        numbered.append(number)
        numbered.append(pdf.make_indirect(Array([owned[mark] for mark in range(len(owned))])))
    root.ParentTree, root.ParentTreeNextKey = pdf.make_indirect(Dictionary(Nums=numbered)), len(owners)
    pdf.Root.StructTreeRoot, pdf.Root.MarkInfo = root, Dictionary(Marked=True)


def _element(pdf: Pdf, element: Element, parent: Object, owners: list[dict[int, Object]]) -> Object:
    node = pdf.make_indirect(Dictionary(Type=Name.StructElem, S=Name("/" + element.tag), P=parent))
    if element.alt:
        node.Alt = String(element.alt)
    if element.tag == "TH":
        node.A = Dictionary(O=Name.Table, Scope=Name.Column)
    if element.box is not None:
        corners = Array([round(x, 2) for x in element.box])
        node.A = Dictionary(O=Name.Layout, BBox=corners, Placement=Name.Block)
    kids = Array()
    for kid in element.kids:
        if isinstance(kid, TagMark):
            owners[kid.page][kid.number] = node
            kids.append(Dictionary(Type=Name.MCR, Pg=pdf.pages[kid.page].obj, MCID=kid.number))
        else:
            kids.append(_element(pdf, kid, node, owners))
    node.K = kids
    return node
