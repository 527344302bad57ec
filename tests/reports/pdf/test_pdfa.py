"""What the file carries beside its pages: structure, content, properties, colours, fingerprint."""

import json
import re
import subprocess
from dataclasses import replace

import pikepdf
import pytest

from reports.content_hash import canonical_json
from reports.pdf.document import write_pdf
from reports.pdf.pdfa import CONTENT_NAME, verify_fingerprint
from tests.support import report_content as cases

OPERATOR = re.compile(rb"(/(\w+)\s*<<\s*/MCID (\d+)\s*>>\s*BDC)|(/Artifact BMC)|\bEMC\b|\b(Tj|TJ|Do|S|s|f|B|b)\b")


@pytest.fixture(scope="module")
def content():
    return cases.corrected(cases.with_organs(cases.make_content()))


@pytest.fixture(scope="module")
def file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "report.pdf"
    write_pdf(content, path, language="fr")
    return path


@pytest.fixture
def pdf(file):
    with pikepdf.open(file) as opened:
        yield opened


def walk(element):
    """The elements below one, in order."""
    kids = element.get("/K", [])
    for kid in kids:
        if kid.get("/Type") == "/StructElem":
            yield kid
            yield from walk(kid)


def text_of(element):
    """Whether an element holds a mark of something drawn."""
    return any("/MCID" in kid or kid.get("/Type") == "/StructElem" for kid in element.K)


def test_the_content_that_was_hashed_is_attached_as_an_associated_file(content, pdf):
    assert pdf.attachments[CONTENT_NAME].get_file().read_bytes().decode() == canonical_json(content)
    (associated,) = pdf.Root.AF
    assert associated.AFRelationship == "/Data"
    assert associated.EF.F.Subtype == "/application/json"
    assert "/ModDate" in associated.EF.F.Params


def test_the_archival_claim_and_what_it_asks_for(pdf, file):
    assert pdf.check_pdf_syntax() == []
    metadata = pdf.open_metadata()
    assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"]) == ("3", "U")
    assert metadata["dc:title"] == str(pdf.docinfo["/Title"])
    assert metadata["pdf:Keywords"] == str(pdf.docinfo["/Keywords"])
    assert metadata["xmp:CreateDate"].startswith("2026-11-24T14:03:00")
    (intent,) = pdf.Root.OutputIntents
    assert intent.S == "/GTS_PDFA1"
    assert intent.DestOutputProfile.read_bytes()[12:20] == b"mntrRGB "
    assert len(pdf.trailer.ID) == 2
    assert b"/Encrypt" not in file.read_bytes()
    assert file.read_bytes().endswith(b"%%EOF\n")
    for obj in pdf.objects:
        if isinstance(obj, pikepdf.Stream):
            assert "LZW" not in str(obj.get("/Filter", ""))
        if isinstance(obj, pikepdf.Dictionary) and obj.get("/Type") == "/FontDescriptor":
            assert "/FontFile2" in obj
        if isinstance(obj, pikepdf.Dictionary) and obj.get("/Type") == "/Font":
            assert "/ToUnicode" in obj  # the "U" of PDF/A-3u
    for stream in re.findall(rb"[^\r\n]endstream", file.read_bytes()):
        pytest.fail(f"no end of line before endstream: {stream!r}")


def test_every_stroke_is_content_with_an_element_or_decoration(pdf):
    """Nothing lies outside a marked-content sequence, sequences do not nest, and numbers run from 0 on each page."""
    for page in pdf.pages:
        page.contents_coalesce()
        depth, marks = 0, []
        for found in OPERATOR.finditer(page.Contents.read_bytes()):
            text = found.group()
            if text.endswith((b"BDC", b"BMC")):
                depth += 1
                assert depth == 1
                if found.group(3):
                    marks.append(int(found.group(3)))
            elif text == b"EMC":
                depth -= 1
                assert depth == 0
            else:
                assert depth == 1, text
        assert depth == 0
        assert marks
        assert marks == list(range(len(marks)))
        assert len(pdf.Root.StructTreeRoot.ParentTree.Nums[2 * int(page.obj.StructParents) + 1]) == len(marks)


def test_headings_tables_and_figures_are_known_as_such(pdf):
    assert pdf.Root.MarkInfo.Marked
    elements = list(walk(pdf.Root.StructTreeRoot))
    tags = [str(one.S) for one in elements]
    assert tags[0] == "/Document"
    assert tags.count("/H1") == 1
    assert tags.count("/H2") >= 14
    assert "/H3" not in tags  # no level is left out
    assert tags.index("/H1") < tags.index("/H2")
    for one in elements:
        if one.S == "/Figure":
            assert len(str(one.Alt)) > 10
            left, bottom, right, top = (float(x) for x in one.A.BBox)
            assert 0 <= left < right <= 595.5
            assert 0 <= bottom < top <= 842
        if one.S == "/TH":
            assert one.A.Scope == "/Column"
        if one.S == "/TR":
            assert one.P.S == "/Table"
            assert {str(kid.S) for kid in one.K} <= {"/TH", "/TD"}
    assert tags.count("/Figure") == 12  # projections, scale, six lesions, map, terms, curve, thirds
    assert all(one.S != "/TH" or text_of(one) for one in elements)


def test_a_screen_reader_hears_what_is_printed(file, content):
    """Poppler reads the structure back."""
    told = subprocess.run(["pdfinfo", "-struct-text", file], check=True, capture_output=True, encoding="utf-8").stdout
    told = " ".join(told.split())
    told = told.replace("\xa0", " ").replace("\u202f", " ")
    for words in ("TEP/TDM au FDG avant immunothérapie", "intervalle 26–42 % : précision", "Virgule oubliée"):
        assert words in told
    glued = "environ 34 sont en vie sans progression à 12 mois, et 66 ont progressé ou sont décédés."
    assert glued in told  # over three lines: no two words run together
    assert content.study.pseudonym in told
    assert "SHA-256 du contenu" not in told  # the footer is decoration


def test_the_document_is_in_one_language_with_its_title_shown_and_bookmarks(pdf):
    assert pdf.Root.Lang == "fr-FR"
    assert pdf.Root.ViewerPreferences.DisplayDocTitle
    with pdf.open_outline() as outline:
        titles = [entry.title for entry in outline.root]
    assert titles[0] == "TEP/TDM au FDG avant immunothérapie"
    assert {"Lésions et mesures TEP", "Coupes clés", "Contrôles qualité des images"} <= set(titles)


def test_the_fingerprint_covers_every_byte(file):
    data = file.read_bytes()
    assert verify_fingerprint(data) == (True, len(data))
    for place in (10, len(data) // 3, len(data) // 2, len(data) - 20):
        changed = bytearray(data)
        changed[place] ^= 1
        assert verify_fingerprint(bytes(changed)) == (False, 0)
    assert verify_fingerprint(data + b"\n% more") == (True, len(data))
    assert verify_fingerprint(b"%PDF-1.7\n%%EOF\n") == (False, 0)


def test_same_content_same_bytes_other_date_other_bytes(content, file, tmp_path):
    again, later = tmp_path / "again.pdf", tmp_path / "later.pdf"
    write_pdf(content, again, language="fr")
    write_pdf(replace(content, created="2026-11-25T14:03:00+01:00"), later, language="fr")
    assert again.read_bytes() == file.read_bytes()
    assert later.read_bytes() != file.read_bytes()
    with pikepdf.open(later) as pdf:
        assert str(pdf.docinfo["/CreationDate"]).startswith("D:20261125140300+01")
        told = json.loads(pdf.attachments[CONTENT_NAME].get_file().read_bytes())
    assert told["created"] == "2026-11-25T14:03:00+01:00"
