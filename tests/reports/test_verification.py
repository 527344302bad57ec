"""`fedpet report verify`: a report as written, altered in many ways, signed, and kept by the application."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO

import pikepdf
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from app.cases.pipeline import CaseResult, write_reports
from app.cases.store import Store
from app.cases.tables import Decision, SignedVersion, Status
from app.cli.main import main
from fedpet.core.errors import ReportError, SettingsError
from fedpet.core.settings import Settings, load_settings
from inference.prediction import PredictionOrigin
from reports.content_hash import content_hash
from reports.dicom.export import deterministic_uid
from reports.pdf.document import write_pdf
from reports.pdf.pdfa import CONTENT_NAME
from reports.signing import PASSWORD, read_signature, signer
from reports.verification import verify_report
from tests.support import report_content as cases
from tests.support.header_checks_only import HeaderChecksOnly

PDFSIG = shutil.which("pdfsig")


@pytest.fixture(scope="module")
def content():
    return cases.signed(replace(cases.make_content(), explanation=None), comment="Agreed.")


@pytest.fixture(scope="module")
def file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "report.pdf"
    write_pdf(content, path, language="fr")
    return path


def failed(path, **kwargs):
    """Names of the checks that a file does not pass."""
    return {one.name for one in verify_report(path, **kwargs).findings if not one.passed}


def rewritten(file, path, change):
    """The file as another program saves it, after `change`."""
    with pikepdf.open(file) as pdf:
        change(pdf)
        pdf.save(path)
    return path


def test_a_report_as_written_is_valid(content, file):
    found = verify_report(file)
    assert found.valid
    assert (found.report_uid, found.version, found.content_hash) == (content.report_uid, 2, content_hash(content))
    assert [one.name for one in found.findings] == ["content", "pages", "properties", "file"]
    assert found.signature is None


@pytest.mark.parametrize("place", [0.02, 0.2, 0.5, 0.8, 0.97])
def test_a_flipped_byte_is_detected(file, tmp_path, place):
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 4
    path = tmp_path / "flipped.pdf"
    path.write_bytes(data)
    with suppress(ReportError):  # no PDF any more
        assert "file" in failed(path)


def test_another_number_on_a_page_is_detected(file, tmp_path):
    """The hash on the page, the properties and the attachment still agree: the fingerprint does not."""

    def change(pdf):
        page = pdf.pages[0]
        page.contents_coalesce()
        page.Contents = pdf.make_stream(page.Contents.read_bytes().replace(b"30 Tf", b"31 Tf"))

    assert failed(rewritten(file, tmp_path / "page.pdf", change)) == {"file"}


def test_another_attachment_is_detected(file, tmp_path):
    def change(pdf):
        told = json.loads(pdf.attachments[CONTENT_NAME].get_file().read_bytes())
        told["verdict"]["decision"] = "reject"
        text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        pdf.attachments[CONTENT_NAME] = pikepdf.AttachedFileSpec(pdf, text)

    assert failed(rewritten(file, tmp_path / "content.pdf", change)) == {"pages", "properties", "file"}


def test_content_in_another_form_is_detected(file, tmp_path):
    def change(pdf):
        told = json.loads(pdf.attachments[CONTENT_NAME].get_file().read_bytes())
        pdf.attachments[CONTENT_NAME] = pikepdf.AttachedFileSpec(pdf, json.dumps(told, indent=1).encode())

    assert "content" in failed(rewritten(file, tmp_path / "form.pdf", change))


def test_a_page_of_another_report_is_detected(content, file, tmp_path):
    other = tmp_path / "other.pdf"
    write_pdf(replace(content, report_uid="2.25.77"), other, language="fr")

    def change(pdf):
        with pikepdf.open(other) as foreign:
            pdf.pages[1] = foreign.pages[1]

    path = rewritten(file, tmp_path / "mixed.pdf", change)
    (reason,) = [one.reason for one in verify_report(path).findings if one.name == "pages"]
    assert "page 2 " in str(reason)


def test_something_added_behind_is_detected_but_not_the_padding_of_dicom(file, tmp_path):
    path = tmp_path / "more.pdf"
    path.write_bytes(file.read_bytes() + b"\0")
    assert verify_report(path).valid
    path.write_bytes(file.read_bytes() + b"% a comment\n")
    assert failed(path) == {"file"}


def test_the_report_of_a_pacs_is_verified_as_it_is(content, file, tmp_path):
    """The DICOM file with the PDF in it, padded to an even length."""
    held = Dataset()
    data = file.read_bytes()
    parts = content_hash(content), "fr", "0.2.0", "report", sha256(data).hexdigest()
    held.SOPClassUID, held.SOPInstanceUID = EncapsulatedPDFStorage, deterministic_uid(*parts)
    held.SoftwareVersions, held.EncapsulatedDocumentLength = "0.2.0", len(data)
    held.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    held.file_meta = FileMetaDataset()
    held.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    held.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    found = verify_report(tmp_path / "report.dcm")
    assert (found.valid, found.report_uid) == (True, content.report_uid)
    held.SOPInstanceUID = generate_uid()
    held.save_as(tmp_path / "another.dcm", enforce_file_format=True)
    assert failed(tmp_path / "another.dcm") == {"object"}
    altered = bytearray((tmp_path / "report.dcm").read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / "altered.dcm").write_bytes(altered)
    with suppress(ReportError):
        assert not verify_report(tmp_path / "altered.dcm").valid
    del held.EncapsulatedDocument
    held.save_as(tmp_path / "none.dcm", enforce_file_format=True)
    with pytest.raises(ReportError, match="holds no document"):
        verify_report(tmp_path / "none.dcm")


def test_what_is_no_report_is_refused(tmp_path):
    path = tmp_path / "no.pdf"
    path.write_bytes(b"no PDF")
    with pytest.raises(ReportError, match="not a PDF"):
        verify_report(path)
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(path)
    with pytest.raises(ReportError, match="does not carry"):
        verify_report(path)
    for content in (b"[]", b"{}", b'{"format":"fedpet.report/1","report_uid":"1","version":1}', b"\xff"):
        with pikepdf.new() as pdf:
            pdf.add_blank_page()
            pdf.attachments[CONTENT_NAME] = pikepdf.AttachedFileSpec(pdf, content)
            pdf.save(path)
        with pytest.raises(ReportError):
            verify_report(path)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    pytest.importorskip("pyhanko", reason="pip install 'fedpet[sign]'")
    return cases.certificate("Centre Exemple", tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def sealed(content, keys, tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "sealed.pdf"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD, "secret")
        assert write_pdf(content, path, language="en", signer=signer(keys[0])) == content_hash(content)
    return path


def test_a_signed_report_is_valid_and_names_its_signer(sealed, keys):
    found = verify_report(sealed)
    assert found.valid
    assert found.signature.subject == "Common Name: Centre Exemple"
    assert found.signature.intact
    assert found.signature.trusted is None
    assert "was not checked" in str(found.findings[-1].reason)
    trusting = verify_report(sealed, trust=[keys[1]])
    assert trusting.valid
    assert trusting.signature.trusted


@pytest.mark.skipif(not PDFSIG and os.environ.get("CI") != "true", reason="poppler is missing")
def test_another_program_finds_the_signature_valid(sealed):
    told = subprocess.run(["pdfsig", "-nocert", sealed], check=True, capture_output=True, text=True).stdout
    for words in ("ETSI.CAdES.detached", "Total document signed", "Signature is Valid"):
        assert words in told


def test_a_signature_that_nobody_trusted_vouches_for(sealed, tmp_path):
    _, foreign = cases.certificate("Somebody else", tmp_path)
    assert failed(sealed, trust=[foreign]) == {"signature"}


def test_who_trusts_a_certificate_expects_a_signature(file, sealed, keys, tmp_path):
    assert failed(file, trust=[keys[1]]) == {"signature"}
    stripped = tmp_path / "stripped.pdf"
    stripped.write_bytes(sealed.read_bytes()[: sealed.read_bytes().index(b"%%EOF\n") + 6])
    assert verify_report(stripped).valid  # the report as it was before it was signed
    assert failed(stripped, trust=[keys[1]]) == {"signature"}


def test_a_flipped_byte_in_a_signed_report_is_detected(sealed, tmp_path):
    data, path = sealed.read_bytes(), tmp_path / "flipped.pdf"
    hole = data.index(b"/Contents <") + len(b"/Contents <")
    for place in (len(data) // 4, len(data) // 2, hole + 300, data.index(b">", hole) - 5, len(data) - 300):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with suppress(ReportError):  # no PDF any more
            assert failed(path) & {"file", "signature"}


def test_something_added_to_a_signed_report_is_detected(sealed, tmp_path):
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

    writer = IncrementalPdfFileWriter(BytesIO(sealed.read_bytes()))
    writer.root["/Lang"] = writer.root["/Lang"]
    writer.root["/OpenAction"] = writer.root["/Outlines"]
    writer.update_root()
    path = tmp_path / "added.pdf"
    with path.open("wb") as out:
        writer.write(out)
    assert "signature" in failed(path)


def test_a_signer_that_cannot_sign_is_said_so(keys, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(SettingsError, match=PASSWORD):
        signer(keys[0])
    with pytest.raises(SettingsError, match="report_signer"):
        signer(tmp_path / "missing.p12")
    with pytest.raises(SettingsError, match="trust"):
        read_signature(b"/ByteRange", [tmp_path / "missing.pem"])


def test_without_pyhanko_a_signature_is_not_called_valid(sealed, keys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyhanko"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"fedpet\[sign\]"):
        verify_report(sealed)
    with pytest.raises(SettingsError, match=r"fedpet\[sign\]"):
        signer(keys[0])


def test_reports_are_sealed_once_they_are_signed(content, keys, untrained_bundle, tmp_path):
    password, out = tmp_path / "password", tmp_path / "out"
    password.write_text("secret\n")
    out.mkdir()
    settings = Settings(home=tmp_path, report_signer=keys[0], report_signer_password_file=password)
    model = replace(content.prediction.model, digest=untrained_bundle.digest)
    analysis = HeaderChecksOnly(content.study)
    origin = PredictionOrigin.of(analysis, content.record)
    prediction = replace(content.prediction, model=model, origin=origin)
    result = CaseResult(analysis, content.record, prediction, None, out)

    def write(name, verdict):
        paths = {language: out / f"{name}.{language}.pdf" for language in ("fr", "en")}
        return write_reports(result, untrained_bundle, settings, paths=paths, verdict=verdict)

    password.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        write("signed", content.verdict)
    assert not list(out.iterdir())
    password.chmod(0o600)
    written, digest = write("signed", content.verdict)
    for path in out.iterdir():
        found = verify_report(path, trust=[keys[1]])
        assert found.valid
        assert (found.report_uid, found.content_hash) == (written.report_uid, digest)
        padded = tmp_path / "padded.pdf"
        padded.write_bytes(path.read_bytes() + b"\0")  # as a DICOM object holds a document of odd length
        assert verify_report(padded, trust=[keys[1]]).valid
    write("draft", None)
    assert failed(out / "draft.fr.pdf", trust=[keys[1]]) == {"signature"}
    assert verify_report(out / "draft.fr.pdf").signature is None


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDPET_LANGUAGE", "en")
    return lambda *words: CliRunner().invoke(main, ["report", "verify", *map(str, words)])


def test_the_command_says_valid_or_altered(run, file, tmp_path):
    told = run(file)
    assert told.exit_code == 0
    assert "VALID: report 2.25.2091" in told.stderr
    assert "excludes mistakes" in told.stderr
    altered = tmp_path / "altered.pdf"
    altered.write_bytes(file.read_bytes() + b"%")
    told = run(altered, "--json")
    assert told.exit_code == 2
    data = json.loads(told.stdout)
    assert not data["valid"]
    assert {one["name"]: one["passed"] for one in data["checks"]} == {
        "content": True, "pages": True, "properties": True, "file": False,
    }  # fmt: skip
    altered.write_bytes(b"nothing")
    told = run(altered, "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["error"]["kind"] == "ReportError"


def test_the_command_compares_with_what_the_application_keeps(run, content, file, tmp_path):
    store = Store.open(load_settings())
    case = store.create("fr")
    told = run(file, "--case", case.id, "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["checks"][-1] == {
        "name": "case", "passed": False, "reason": "The application has no such report of this case.",
    }  # fmt: skip
    keep_version(store, case.id, content)
    assert "but the file is not that of the application" in run(file, "--case", case.id, "--json").stdout
    folder = store.version_folder(case.id, 1)
    folder.mkdir(parents=True)
    (folder / "report.fr.pdf").write_bytes(file.read_bytes())
    told = run(file, "--case", case.id, "--json")
    assert told.exit_code == 0
    assert "this very file" in told.stdout
    draft = tmp_path / "draft.pdf"
    write_pdf(replace(content, verdict=None, report_uid="2.25.5"), draft, language="fr")
    assert run(draft, "--case", case.id).exit_code == 2
    (store.folder(case.id) / "report.fr.pdf").write_bytes(draft.read_bytes())
    assert run(draft, "--case", case.id).exit_code == 0
    assert run(file, "--case", "00000000-0000-0000-0000-000000000000").exit_code == 2
    store.close()


def keep_version(store, case_id, content):
    """The case as signed."""
    verdict = content.verdict
    store.start_check(case_id)
    store.finish_check(case_id, pseudonym="P-1", study_date="", inspection={"refused": None})
    store.confirm_record(case_id)
    store.finish_computation(case_id, result={})
    store.mark_read(case_id)
    store.start_signing(case_id, decision=Decision.ACCEPT, comment=verdict.comment, reader=verdict.reader)
    version = SignedVersion(
        case=case_id, number=1, signed=datetime.now(UTC), reader=verdict.reader, decision=Decision.ACCEPT,
        comment=verdict.comment, report_uid=content.report_uid, content_hash=content_hash(content), result={},
    )  # fmt: skip
    store.finish_signing(version)
    assert store.get(case_id).status is Status.SIGNED
