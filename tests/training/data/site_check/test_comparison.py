"""Broken exports of a hospital: each is named, and the same export without the fault passes."""

import json
import os
import re
import stat
import sys
from datetime import date, timedelta
from html import unescape

import pytest

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import translate_message
from tests.support.hospital import french_day
from training.data.site_check.comparison import USABLE, check_site
from training.data.site_check.page import CODES, check_page, column_remarks

KEY = b"a secret of the centre"


@pytest.fixture
def checked(hospital):
    """Check the hospital's folder and table; codes and remarks by identifier, or by folder where there is no row."""

    def check(table=None, **options):
        site = check_site(hospital.dicom, table or hospital.write(), KEY, **options)
        name = {id(one): one.row.patient_id if one.row else one.study.folder.name for one in site.patients}
        codes = {name[id(one)]: one.code for one in site.patients}
        said = {name[id(one)]: " ".join(map(str, (*one.reasons, *one.remarks))) for one in site.patients}
        return site, codes, said

    return check


def test_a_good_export_is_usable_as_a_whole(hospital, checked):
    site, codes, _ = checked()
    assert set(codes.values()) == {USABLE}
    assert len(codes) == len(hospital.rows)
    assert not site.table.unread
    assert all(column.there for column in site.columns)
    assert not list(column_remarks(site))
    assert "stade, tnm_t" in check_page(site, first="en")
    assert [str(item.name) for item in site.patients[0].concordance.contradictions] == []


def test_swapped_folders_are_paired_by_their_images_and_named(hospital, checked):
    one, two, *_ = (row["patient_id"] for row in hospital.rows)
    hospital.swap_folders(one, two)
    site, codes, said = checked()
    assert set(codes.values()) == {USABLE}
    assert {patient.study.folder.name: patient.row.patient_id for patient in site.patients}[one] == two
    assert f"named “{one}” like another patient" in said[two]


def test_swapped_folders_without_a_common_identifier_contradict_and_the_right_row_is_named(hospital, checked):
    one, two, *_ = hospital.rows
    hospital.study(one, one["patient_id"], PatientID="IPP-1")  # the table's numbers are those of the inclusion
    for row, identifier in ((one, "IPP-1"), (two, "IPP-2")):
        for path in (hospital.dicom / row["patient_id"]).iterdir():
            path.unlink()
        hospital.study(row, row["patient_id"], PatientID=identifier, StudyID="")
    hospital.swap_folders(one["patient_id"], two["patient_id"])
    _, codes, said = checked()
    for this, other in ((one, two), (two, one)):
        assert codes[this["patient_id"]] == "record_contradicts"
        assert f"The images fit the row of “{other['patient_id']}”." in said[this["patient_id"]]
        assert "by the name of the folder alone" in said[this["patient_id"]]


def test_images_of_another_identifier_are_found_by_their_study_id_and_day(hospital, checked):
    row = hospital.rows[0]
    for path in (hospital.dicom / row["patient_id"]).iterdir():
        path.unlink()
    (hospital.dicom / row["patient_id"]).rmdir()
    hospital.study(row, "export-17", PatientID="IPP-1")
    _, codes, said = checked()
    assert codes[row["patient_id"]] == USABLE
    assert "by the Study ID" in said[row["patient_id"]]


def test_an_identifier_that_lost_its_zeros_is_the_same(hospital, checked):
    row = hospital.rows[0]
    hospital.study(row, "zeros", PatientID="0004711", StudyID="")
    row["patient_id"], row["id_examen_tep"] = "4711", ""
    _, codes, _ = checked()
    assert codes["4711"] == USABLE


def test_several_patients_in_one_folder(hospital, checked):
    one, two, *_ = hospital.rows
    hospital.study(two, one["patient_id"])
    _, codes, said = checked()
    assert codes[one["patient_id"]] in {"several_patients", "no_study"}
    assert any(one["patient_id"] in text and two["patient_id"] in text for text in said.values())
    assert "several_patients" in {patient.code for patient in checked()[0].patients}


@pytest.mark.parametrize(
    ("column", "spoil", "named"),
    [
        ("sexe", lambda cell: "F" if cell == "M" else "M", "sex"),
        ("age_immunotherapie", lambda cell: str(float(cell) - 9), "age"),
        ("poids_kg", lambda cell: str(float(cell) + 40), "weight"),
        ("date_tep", lambda cell: (date.fromisoformat(cell) - timedelta(3)).isoformat(), "day of the PET"),
    ],
)
def test_what_contradicts_the_images_is_named(hospital, checked, column, spoil, named):
    row = hospital.rows[1]
    row[column] = spoil(row[column])
    row["delai_tep_ici"] = ""
    _, codes, said = checked()
    assert codes.pop(row["patient_id"]) == "record_contradicts"
    assert named in said[row["patient_id"]]
    assert set(codes.values()) == {USABLE}


def test_a_misspelt_column_is_missing_for_everybody_and_named(hospital, checked):
    hospital.rename("albumine", "albumne_g_l")
    site, codes, _ = checked()
    albumin = next(column for column in site.columns if column.column == "albumine")
    assert (albumin.there, albumin.filled, albumin.meant) == (False, 0, "albumne_g_l")
    assert [(one.name, one.nearest) for one in site.table.unread] == [("albumne_g_l", "albumine")]
    assert set(codes.values()) == {USABLE}
    for language, title in (("fr", "Colonnes du tableau"), ("en", "Columns of the table")):
        (main,) = re.findall(rf'<main lang="{language}">.*?</main>', check_page(site, first="fr"), re.DOTALL)
        assert "albumne_g_l" in main.split(title)[0]


@pytest.mark.parametrize("form", ["utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("above", ["", "sep=;\r\n", "Extraction du 3 mars;;\r\nService;pneumologie;\r\n;;\r\n"])
def test_encodings_separator_lines_and_titles_change_nothing(hospital, checked, form, above):
    expected = checked()[0].table.rows
    table = hospital.write(above + hospital.text(), encoding=form)
    assert [row.record for row in checked(table)[0].table] == [row.record for row in expected]


def test_a_workbook_is_read_below_its_title(hospital, checked):
    expected = checked()[0].table.rows
    table = hospital.write_workbook(["Extraction pneumologie"], [])
    assert [row.record for row in checked(table)[0].table] == [row.record for row in expected]
    assert [row.outcome for row in checked(table)[0].table] == [row.outcome for row in expected]


def test_dates_with_the_day_first_are_read_where_they_prove_it(hospital, checked):
    expected = [(row.pet_date, row.first_dose, row.outcome) for row in checked()[0].table]
    for column in [name for name in hospital.rows[0] if name.startswith("date_")]:
        hospital.column(column, french_day)
    site, codes, _ = checked()
    assert [(row.pet_date, row.first_dose, row.outcome) for row in site.table] == expected
    assert set(codes.values()) == {USABLE}
    assert any("day first" in str(note) for note in site.table.notes)


def test_dates_that_prove_nothing_or_the_contrary_are_refused(hospital, checked):
    for row in hospital.rows:
        row["date_tep"] = "03/04/2019"
    site, codes, said = checked()
    assert set(codes.values()) == {"record_refused"}
    assert all("“date_tep” may have the day first" in text for text in said.values())
    page = check_page(site, first="en")
    assert page.count("Nothing in the file proves") == 1
    assert page.count("Dates are written YYYY-MM-DD") == 0
    hospital.rows[0]["date_tep"], hospital.rows[1]["date_tep"] = "25/04/2019", "04/25/2019"
    assert set(checked()[1].values()) == {"record_refused"}


def test_results_below_the_limit_of_detection_are_read_and_said(hospital, checked):
    row = hospital.rows[0]
    row["pdl1_tps"], row["crp"] = "<1 %", "<0,6"
    site, codes, said = checked()
    record = site.patients[0].row.record
    assert (record.pdl1_tps, record.crp, codes[row["patient_id"]]) == (0.0, 0.3, USABLE)
    assert "below the limit of detection (0.6): read as 0.3" in said[row["patient_id"]]
    row["pdl1_tps"] = "<50"  # no limit of detection
    assert checked()[1][row["patient_id"]] == "record_refused"


def test_news_from_the_future_are_refused(hospital, checked):
    row = hospital.rows[0]
    row["date_dernieres_nouvelles"], row["date_deces"] = "2031-01-01", ""
    _, codes, said = checked()
    assert codes[row["patient_id"]] == "record_refused"
    assert "date_dernieres_nouvelles” lies in the future" in said[row["patient_id"]]
    assert checked(today=date(2031, 1, 2))[1][row["patient_id"]] == USABLE


def test_every_wrong_cell_of_a_row_is_named_at_once(hospital, checked):
    row = hospital.rows[0]
    row["hemoglobine"], row["date_tep"], row["sexe"] = "135", "hier", "?x"
    _, _, said = checked()
    assert all(word in said[row["patient_id"]] for word in ("hemoglobine", "date_tep", "sexe"))


def test_a_row_that_repeats_another_is_named(hospital, checked):
    one, two, three, _ = hospital.rows
    hospital.rows[1] = {**one, "patient_id": two["patient_id"]}
    _, _, said = checked()
    assert f"repeats that of “{two['patient_id']}”" in said[one["patient_id"]]
    assert "repeats" not in said[three["patient_id"]]


def test_a_corrected_table_is_checked_without_reading_the_images_again(hospital, checked, tmp_path, monkeypatch):
    memory = tmp_path / "headers.jsonl"
    hospital.rows[0]["sexe"] = "?x"
    assert checked(memory=memory)[1][hospital.rows[0]["patient_id"]] == "record_refused"
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    hospital.rows[0]["sexe"] = hospital.rows[1]["sexe"]
    monkeypatch.setattr("training.data.study_folders.read_headers", lambda *_, **__: pytest.fail("read again"))
    again, _, _ = checked(memory=memory)
    assert len(again.studies) == len(hospital.rows)
    with memory.open("a") as file:
        file.write('{"of": "cut off')
    changed = next(hospital.dicom.iterdir())
    os.utime(next(changed.iterdir()), (1, 1))
    with pytest.raises(pytest.fail.Exception, match="read again"):
        checked(memory=memory)


def test_a_damaged_folder_is_a_line_and_no_end(hospital, checked):
    (hospital.dicom / "empty").mkdir()
    broken = hospital.dicom / "broken"
    broken.mkdir()
    (broken / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 500)
    _, codes, said = checked()
    assert (codes.pop("empty"), codes.pop("broken")) == ("study_refused", "study_refused")
    assert set(codes.values()) == {USABLE}
    assert "There is a study" not in said["empty"] + said["broken"]


def test_a_folder_without_ct_is_not_called_usable(hospital, checked):
    row = hospital.rows[0]
    for path in (hospital.dicom / row["patient_id"]).iterdir():
        path.unlink()
    hospital.study(row, row["patient_id"], ct=False)
    _, codes, said = checked()
    assert codes.pop(row["patient_id"]) == "study_refused"
    assert "no CT" in said[row["patient_id"]]
    assert set(codes.values()) == {USABLE}


@pytest.mark.parametrize("flat", [True, False])
def test_images_without_a_folder_for_each_patient_are_refused_at_once(hospital, checked, flat):
    for folder in list(hospital.dicom.iterdir()):
        for path in folder.iterdir():
            path.rename(hospital.dicom / f"{folder.name}-{path.name}") if flat else path.unlink()
        folder.rmdir()
    with pytest.raises(NodeDataError, match="no folder of a patient"):
        checked()


def test_lost_and_nearly_empty_columns_are_points_to_correct(hospital, checked):
    hospital.rename("poids_kg", "masse")
    hospital.column("crp", lambda _: "")
    site, codes, _ = checked()
    assert [(one.column, one.there, one.filled) for one in site.sparse] == [("poids_kg", False, 0), ("crp", True, 0)]
    (main,) = re.findall(r'<main lang="fr">.*?</main>', check_page(site, first="fr"), re.DOTALL)
    to_correct = main.split("Colonnes du tableau")[0]
    assert all(name in to_correct for name in ("poids_kg", "masse", f"crp (0/{len(codes)})"))


def test_the_page_says_everything_in_both_languages(hospital, checked):
    row = hospital.rows[0]
    row["sexe"] = "F" if row["sexe"] == "M" else "M"
    row["crp"] = "<0,6"
    hospital.rename("albumine", "albumne")
    site, _, _ = checked()
    page = unescape(check_page(site, first="fr"))
    french, english = re.findall(r"<main lang=.*?</main>", page, re.DOTALL)
    assert row["patient_id"] in french
    assert all(translate_message("fr")(CODES[one.code]) in french for one in site.patients)
    assert all(str(CODES[one.code]) in english for one in site.patients)
    assert "sous la limite de détection (0,6), lu 0,3" in french
    assert "albumne" in french
    assert "0.3" in english
    assert "<script" not in page


def test_the_command_writes_a_private_page_and_fails_where_nobody_is_usable(hospital, tmp_path):
    import subprocess

    from tests.support import ROOT

    page = tmp_path / "page.html"
    environment = {**os.environ, "FEDPET_HOME": str(tmp_path / "home"), "COLUMNS": "400"}
    command = [sys.executable, "-m", "app.cli", "cohort", "check", str(hospital.dicom)]

    def run(table):
        whole = [*command, str(table), "--out", str(page), "--workers", "1"]
        return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    hospital.rename("albumine", "albumne")
    good = run(hospital.write())
    assert good.returncode == 0, good.stderr
    assert str(page) in good.stderr
    assert "« albumne »" in good.stderr.replace("\u00a0", " ")
    table = hospital.write()
    kept = table.read_bytes()
    page, replaced = table, page
    assert run(table).returncode == 2
    assert table.read_bytes() == kept
    page = replaced
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    hospital.column("sexe", lambda _: "?x")
    assert run(hospital.write()).returncode == 2


def test_remembered_headers_hold_no_name(checked, tmp_path):
    memory = tmp_path / "headers.jsonl"
    checked(memory=memory)
    assert all("NOM" not in json.dumps(json.loads(line)) for line in memory.read_text().splitlines())
