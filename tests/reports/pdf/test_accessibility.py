"""What can be checked of PDF/UA-1 and of the QR code without a person: by pdfua, and by a reader of bar codes."""

import re
from dataclasses import replace

import pikepdf
import pypdfium2
import pytest
import zxingcpp
from pdfua import validate

from fedpet.imaging.dicom.printed_identity import PrintedIdentity
from reports.pdf.document import write_pdf
from reports.pdf.identified import identified_edition
from tests.support import report_content as cases

CASES = {
    "draft": lambda content: content,
    "rejected": lambda content: cases.signed(cases.with_organs(cases.contradicted(content)), "reject", "Non."),
    "abstained": lambda content: cases.corrected(cases.abstained(content)),
    "no_lesion": cases.without_lesions,
    "two_dates": cases.with_two_dates,
}
NOT_CLAIMED = {"UA-28-004"}  # the identification of PDF/UA in the metadata: a claim that no person has tested
NOT_EVALUATED = {"UA-14-001"}  # empty headings: pdfua 0.1.3 cannot read the array of marks; tested below


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, content = tmp_path_factory.mktemp("pages"), cases.make_content()
    paths = {}
    for name, change in CASES.items():
        paths[name] = folder / f"{name}.pdf"
        write_pdf(change(content), paths[name], language="fr" if name != "two_dates" else "en")
    named = folder / "identified.pdf"
    identity = PrintedIdentity("DUPONT Zoé", "1960-01-02", "F", "1", "2", "")
    named.write_bytes(identified_edition(paths["draft"].read_bytes(), identity))
    return {**paths, "identified": named}


@pytest.mark.parametrize("name", [*CASES, "identified"])
def test_no_rule_of_pdf_ua_that_pdfua_knows_is_broken(made, name):
    report = validate(made[name])
    assert {found.rule_id for found in report.findings} <= NOT_CLAIMED
    assert {skipped.rule_id for skipped in report.skipped} <= NOT_EVALUATED


def headings(path):
    """Level and number of marks of each heading, in reading order."""

    def walk(element):
        for kid in element.get("/K", []):
            if kid.get("/Type") == "/StructElem":
                yield str(kid.S), len(kid.K)
                yield from walk(kid)

    with pikepdf.open(path) as pdf:
        return [one for one in walk(pdf.Root.StructTreeRoot) if re.fullmatch(r"/H\d", one[0])]


@pytest.mark.parametrize("name", [*CASES, "identified"])
def test_headings_are_not_empty_and_leave_out_no_level(made, name):
    found = headings(made[name])
    assert found[0][0] == "/H1"
    assert {level for level, _ in found[1:]} == {"/H2"}
    assert all(marks for _, marks in found)


def _without_figure_texts(pdf):
    for one in pdf.objects:
        if isinstance(one, pikepdf.Dictionary) and "/Alt" in one:
            del one.Alt


def _without(owner, name):
    return lambda pdf: delattr(owner(pdf), name)


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("UA-06-001", _without(lambda pdf: pdf.Root, "Lang")),
        ("UA-01-002", _without(lambda pdf: pdf.Root.MarkInfo, "Marked")),
        ("UA-07-002", _without(lambda pdf: pdf.Root, "ViewerPreferences")),
        ("UA-13-004", _without_figure_texts),
    ],
)
def test_the_checks_find_what_is_planted(made, tmp_path, rule, spoil):
    with pikepdf.open(made["draft"]) as pdf:
        spoil(pdf)
        pdf.save(tmp_path / "spoiled.pdf")
    assert rule in {found.rule_id for found in validate(tmp_path / "spoiled.pdf").findings}


@pytest.mark.parametrize("scale", [100 / 72, 150 / 72])
def test_the_qr_code_of_every_page_says_uid_and_hash(made, scale):
    content = cases.make_content()
    with pypdfium2.PdfDocument(made["identified"]) as document:
        for page in document:
            (code,) = zxingcpp.read_barcodes(page.render(scale=scale).to_pil())
            uid, digest = re.fullmatch(r"URN:OID:([\d.]+) SHA256:([0-9A-F]{64})", code.text).groups()
            assert uid == content.report_uid
            assert digest.lower() in page.get_textpage().get_text_range()


def test_another_report_has_another_code(tmp_path):
    path = tmp_path / "other.pdf"
    write_pdf(replace(cases.without_lesions(cases.make_content()), report_uid="2.25.1"), path, language="en")
    with pypdfium2.PdfDocument(path) as document:
        assert "URN:OID:2.25.1 " in zxingcpp.read_barcodes(document[0].render(scale=2).to_pil())[0].text
