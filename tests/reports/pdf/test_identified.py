"""The edition with the patient's identity is the same report, and its identity is on its pages alone."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pikepdf
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from typer.testing import CliRunner

from app.cli.main import main
from fedpet.core.errors import ReportError, SeriesNotFoundError
from fedpet.imaging.dicom.printed_identity import PrintedIdentity, read_printed_identity
from fedpet.imaging.loading import load_study
from reports.pdf.document import write_pdf
from reports.pdf.identified import identified_edition, report_subject
from reports.verification import verify_report
from tests.support import report_content as cases

KEY = b"k" * 32
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100", "PatientName": "LEFÈVRE^Zoé", "PatientID": "HOSP-4711",
    "PatientBirthDate": "19580704", "PatientSex": "F", "AccessionNumber": "ACC-1",
}  # fmt: skip
ZOE = PrintedIdentity("LEFÈVRE Zoé", "1958-07-04", "F", "HOSP-4711", "ACC-1", "258077512345678")
WORDS = (
    "LEFÈVRE Zoé · date de naissance 4 juillet 1958 · femme",
    "IPP HOSP-4711 · N° d’accession ACC-1 · INS 258077512345678",
)


@pytest.fixture(scope="module")
def content():
    return cases.signed(replace(cases.without_lesions(cases.make_content())))


@pytest.fixture(scope="module")
def document(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("reports") / "report.pdf"
    write_pdf(content, path, language="fr")
    return path.read_bytes()


def pages(path):
    told = subprocess.run(["pdftotext", "-raw", path, "-"], check=True, capture_output=True, encoding="utf-8").stdout
    return [" ".join(page.split()) for page in told.split("\f")[:-1]]


def test_both_editions_are_one_report_and_only_one_names_the_patient(content, document, tmp_path):
    plain, named = tmp_path / "plain.pdf", tmp_path / "named.pdf"
    plain.write_bytes(document)
    named.write_bytes(identified_edition(document, ZOE))
    first, second = verify_report(plain), verify_report(named)
    assert first.valid
    assert second.valid
    assert (first.report_uid, first.content_hash) == (second.report_uid, second.content_hash)
    assert (first.identified, second.identified) == (False, True)
    for before, after in zip(pages(plain), pages(named), strict=True):
        assert all(words in after for words in WORDS)
        assert content.study.pseudonym in after
        assert not any(part in before for part in ("LEFÈVRE", "HOSP-4711"))
    assert identified_edition(document, ZOE) == named.read_bytes()  # and nothing of it depends on the time
    told = subprocess.run(["pdfinfo", "-struct-text", named], check=True, capture_output=True, encoding="utf-8").stdout
    assert WORDS[0] in told
    with pikepdf.open(named) as pdf:
        assert "LEFÈVRE" not in f"{pdf.docinfo} {pdf.open_metadata()} {json.dumps(str(pdf.attachments))}"


def test_what_is_not_the_report_as_written_gets_no_identity(document):
    with pytest.raises(ReportError, match="changed since"):
        identified_edition(document.replace(b"/Type", b"/type", 1), ZOE)
    with pytest.raises(ReportError, match="already"):
        identified_edition(identified_edition(document, ZOE), ZOE)


def test_a_long_name_is_never_cut_off_and_odd_characters_show(document, tmp_path):
    path = tmp_path / "long.pdf"
    name = "MONTMORENCY-BOUTEVILLE DE LA ROCHEFOUCAULD Marie-Élisabeth Françoise Anne-Sophie 王"
    path.write_bytes(identified_edition(document, replace(ZOE, name=name)))
    assert name.replace("王", "\ufffd") in pages(path)[0]
    scripts = {
        "Иванов Пётр": "Иванов Пётр", "Nguyễn Thị Ánh": "Nguyễn Thị Ánh", "Zoe\u0301": "Zoé", "王小明": 3 * "\ufffd",
        "راضي": 4 * "\ufffd", "דוד": 3 * "\ufffd", "राम": 3 * "\ufffd", "Zoé 🙂": "Zoé \ufffd",
        "A\u202eBC": "A\ufffdBC",
    }  # fmt: skip
    path.write_bytes(identified_edition(document, replace(ZOE, name=" | ".join(scripts))))
    assert " | ".join(scripts.values()) in pages(path)[0]


@pytest.fixture(scope="module")
def folder(dicom, tmp_path_factory):
    rng, where = np.random.default_rng(5), tmp_path_factory.mktemp("study")
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "258077512345678", "TEXT"
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.250.1.213.1.4.8", "ISO"
    other.IssuerOfPatientIDQualifiersSequence = Sequence([issuer])
    unnamed = Dataset()
    unnamed.PatientID = "another number"
    national = {"OtherPatientIDsSequence": Sequence([unnamed, other])}
    for series in (dicom.pet(rng.uniform(0.5, 3.0, (8, 10, 12)), **PATIENT | national),
                   dicom.ct(rng.integers(-100, 100, (8, 10, 12)), **PATIENT | national)):  # fmt: skip
        dicom.save(series, where, shuffle=3)
    return where


def test_the_identity_is_read_from_the_images_of_that_patient_and_day_alone(folder):
    study = load_study(folder, pseudonym_key=KEY)
    found = read_printed_identity(folder, pseudonym=study.pseudonym, study_date=study.study_date, key=KEY)
    assert found == ZOE
    assert "LEF" not in repr(found)
    for wrong in ({"pseudonym": "P-0"}, {"study_date": "1999-01-01"}, {"key": b"x" * 32}):
        given = {"pseudonym": study.pseudonym, "study_date": study.study_date, "key": KEY} | wrong
        with pytest.raises(SeriesNotFoundError, match="not of the patient and the day"):
            read_printed_identity(folder, **given)


@pytest.mark.parametrize("place", ["a", "z"])
def test_of_a_pile_of_two_patients_the_one_of_the_report_is_named(folder, dicom, tmp_path, place):
    """Whether the other patient's images come first or last; `place` is where they lie."""
    study = load_study(folder, pseudonym_key=KEY)
    shutil.copytree(folder, tmp_path / "pile" / "m")
    somebody = PATIENT | {"PatientName": "AUTRE^PERSONNE", "PatientID": "4711", "PatientBirthDate": "19300102"}
    dicom.save([*dicom.pet(np.ones((8, 10, 12)), **somebody)], tmp_path / "pile" / place)
    pile = tmp_path / "pile"
    assert read_printed_identity(pile, pseudonym=study.pseudonym, study_date=study.study_date, key=KEY) == ZOE


def test_the_command_writes_it_apart_from_pseudonymous_data(content, folder, tmp_path, monkeypatch):
    home, secret = tmp_path / "home", tmp_path / "hospital"
    secret.mkdir()
    monkeypatch.setenv("FEDPET_HOME", str(home))
    monkeypatch.setenv("FEDPET_LANGUAGE", "en")
    from fedpet.core.settings import load_settings

    study = load_study(folder, pseudonym_key=load_settings().pseudonym_key())
    seen = replace(content.study, pseudonym=study.pseudonym, study_date=study.study_date)
    report = tmp_path / "reports" / "report.pdf"
    report.parent.mkdir()
    write_pdf(replace(content, study=seen), report, language="en")
    assert report_subject(report.read_bytes()) == (study.pseudonym, study.study_date)
    for out in (report.with_name("named.pdf"), home / "named.pdf", tmp_path / "nowhere" / "named.pdf"):
        refused = CliRunner().invoke(main, ["report", "identify", str(report), str(folder), "--out", str(out)])
        assert refused.exit_code == 2
        assert not out.exists()
    out = secret / "named.pdf"
    done = CliRunner().invoke(main, ["report", "identify", str(report), str(folder), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "LEFÈVRE Zoé · birth date 4 July 1958 · female" in pages(out)[0]
    assert out.stat().st_mode & 0o077 == 0
    assert "LEF" not in done.output
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert not re.search("LEFÈVRE|HOSP-4711".encode(), kept)
    verified = CliRunner().invoke(main, ["report", "verify", str(out), "--json"])
    assert json.loads(verified.stdout)["identified"]
