"""Who objects or states nothing clear is never read; what the rules name and the source lacks stops the extraction."""

import json
from dataclasses import replace

import pytest

from fedpet.core.errors import OutputError, WarehouseError
from training.data.warehouse.extraction import ExtractionFiles, extract, require_place, write_extraction
from training.data.warehouse.fhir import read_fhir
from training.data.warehouse.page import extraction_page
from training.data.warehouse.rules import read_rules, shipped_rules
from training.simulation.patients.centres import SITES
from training.simulation.warehouse.writing import centre_stories, write_warehouse

PATIENTS = 12


@pytest.fixture(scope="module")
def stories():
    return centre_stories(SITES[6], PATIENTS, seed=3, signal=0.85)


def kept_anyway(form, tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(shipped_rules(form).replace('unstated = "leave_out"', 'unstated = "keep"'), encoding="utf-8")
    return read_rules(path, form)


def consents(tmp_path, *written):
    patient = {"resourceType": "Patient", "id": "p"}
    rows = [{"resourceType": "Consent", "patient": {"reference": "Patient/p"}, **one} for one in written]
    path = tmp_path / "x.ndjson"
    path.write_text("\n".join(json.dumps(one) for one in [patient, *rows]), encoding="utf-8")
    found = read_fhir(path, kept_anyway("fhir", tmp_path))
    return len(found.histories), found.objecting, found.unclear


PERMIT, DENY = {"type": "permit"}, {"type": "deny"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([{"status": "active", "provision": PERMIT}], (1, 0, 0)),
        ([{"status": "inactive", "provision": PERMIT}, {"status": "active", "provision": PERMIT}], (1, 0, 0)),
        ([], (1, 0, 0)),
        ([{"status": "active", "provision": DENY}], (0, 1, 0)),
        ([{"status": "rejected"}], (0, 1, 0)),
        ([{"status": "rejected", "provision": PERMIT}], (0, 1, 0)),
        ([{"status": "active", "provision": {**PERMIT, "provision": [PERMIT, DENY]}}], (0, 1, 0)),
        ([{"status": "active", "provision": {"provision": [{"provision": [DENY]}]}}], (0, 1, 0)),
        ([{"status": "active", "provision": PERMIT}, {"status": "rejected"}], (0, 1, 0)),
        ([{"status": "inactive", "provision": PERMIT}], (0, 0, 1)),
        ([{"status": "entered-in-error", "provision": PERMIT}], (0, 0, 1)),
        ([{"provision": PERMIT}], (0, 0, 1)),
        ([{"status": "active"}], (0, 0, 1)),
    ],
)
def test_only_an_active_consent_that_permits_accepts(written, expected, tmp_path):
    assert consents(tmp_path, *written) == expected


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "3", '{"resourceType": "Bundle", "entry": null}',
     '{"resourceType": "Bundle", "entry": [{"resource": null}]}', '{"resourceType": "Bundle", "entry": [null]}',
     '{"resourceType": "Consent", "patient": "p"}', "{",
     '{"resourceType": "Patient", "id": "p", "name": 1, "meta": []}'],
)  # fmt: skip
def test_files_that_are_no_fhir_are_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(WarehouseError):
        extract(str(tmp_path), read_rules(None, "fhir"))


def changed(folder, table, *replaced):
    path = folder / f"{table}.csv"
    text = path.read_text(encoding="utf-8")
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def test_a_statement_in_other_words_leaves_the_patient_out(stories, tmp_path):
    write_warehouse(stories, "omop", tmp_path)
    rules = read_rules(None, "omop")
    changed(tmp_path, "observation", (";NON;", ";REFUS;"))
    found = extract(str(tmp_path), rules)
    assert (len(found.patients), found.objecting, found.unclear) == (PATIENTS, 0, 1)
    assert any("neither refuses nor accepts: 1" in str(one) for one in found.remarks)
    page = extraction_page(found, rules, ExtractionFiles(tmp_path / "c.csv"), first="en")
    assert 'class="bad">Objection' in page


def test_an_objection_that_selects_no_row_stops_the_extraction(stories, tmp_path):
    write_warehouse(stories, "omop", tmp_path)
    changed(tmp_path, "observation", ("NonOpposition", "NON_OPPOSITION"))
    with pytest.raises(WarehouseError, match="selects no row of table observation"):
        extract(str(tmp_path), read_rules(None, "omop"))


def test_keys_with_spaces_are_the_same_patient_and_unknown_ones_are_said(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    changed(tmp_path, "Information", (";OUI;NON", " ;OUI;NON"))
    assert extract(str(tmp_path), read_rules(None, "osiris")).objecting == 1
    changed(tmp_path, "Information", (" ;OUI;NON", "X;OUI;NON"))
    assert any(
        "fit no listed patient: 1" in str(one) for one in extract(str(tmp_path), read_rules(None, "osiris")).remarks
    )


@pytest.mark.parametrize("table", ["VitalStatus", "Progression", "Imaging"])
def test_a_missing_table_stops_the_extraction(table, stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    (tmp_path / f"{table}.csv").unlink()
    with pytest.raises(WarehouseError, match=f"no table {table}"):
        extract(str(tmp_path), read_rules(None, "osiris"))


@pytest.mark.parametrize(
    ("table", "column"), [("VitalStatus", "DeathDate"), ("Progression", "ProgressionDate"), ("Measure", "MeasureUnit")]
)
def test_a_misnamed_column_stops_the_extraction(table, column, stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    changed(tmp_path, table, (column, f"{column}X"))
    with pytest.raises(WarehouseError, match=f"{table} has no column {column}"):
        extract(str(tmp_path), read_rules(None, "osiris"))


def test_unreadable_dates_and_no_progression_at_all_are_said(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    rules = read_rules(None, "osiris")
    assert extract(str(tmp_path), rules).remarks == ()
    changed(tmp_path, "Progression", (";20", ";le 20"))
    said = " ".join(map(str, extract(str(tmp_path), rules).remarks))
    assert "Progression (kind = “measure”): rows not counted" in said
    assert "No patient has a progression" in said


def test_cells_beyond_the_header_are_refused_with_table_and_line(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    path = tmp_path / "Measure.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] += ";1"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(WarehouseError, match="Table Measure, line 3"):
        extract(str(tmp_path), read_rules(None, "osiris"))


def test_a_row_of_the_future_is_said(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    path = tmp_path / "Imaging.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.append(lines[1].replace(lines[1].split(";")[1], "2190/01/01"))
    path.write_text("\n".join(lines), encoding="utf-8")
    found = extract(str(tmp_path), read_rules(None, "osiris"))
    said = [str(message) for one in found.patients for _, message in one.contradictions]
    assert said.count("A row is dated in the future.") == 1


def test_a_simulated_warehouse_without_a_progression_has_the_table(stories, tmp_path):
    write_warehouse([replace(one, progressions=()) for one in stories], "osiris", tmp_path)
    found = extract(str(tmp_path), read_rules(None, "osiris"))
    assert any("Progression (kind = “measure”): no row was taken" in str(one) for one in found.remarks)


def test_written_tables_hold_nothing_that_a_spreadsheet_runs(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    rules = read_rules(None, "osiris")
    for path in tmp_path.glob("*.csv"):
        path.write_text(path.read_text(encoding="utf-8").replace(stories[0].patient_id, "=1+1"), encoding="utf-8")
    files = ExtractionFiles(tmp_path / "out.csv")
    write_extraction(extract(str(tmp_path), rules), files, "")
    for path in (files.table, files.provenance, files.studies):
        text = path.read_text(encoding="utf-8")
        assert "'=1+1;" in text
        assert "\n=" not in text


def test_a_table_that_would_lie_elsewhere_than_it_should_is_refused(tmp_path):
    source = tmp_path / "base"
    source.mkdir()
    require_place(ExtractionFiles(tmp_path / "clinical.csv"), str(source))
    for out in ("c2.html", "c2.HTML", "base/clinical.csv", "nowhere/clinical.csv"):
        with pytest.raises(OutputError):
            require_place(ExtractionFiles(tmp_path / out), str(source))


@pytest.mark.parametrize("spoil", ["cut", "zeros in the middle", "no Parquet"])
def test_a_damaged_parquet_file_is_refused_in_words(tmp_path, spoil):
    import pyarrow as pa
    from pyarrow import parquet

    from training.data.warehouse.tables import FolderTables

    path = tmp_path / "patient.parquet"
    parquet.write_table(pa.table({"id": [str(number) for number in range(1000)]}), path)
    whole = path.read_bytes()
    assert sum(1 for _ in FolderTables(tmp_path).rows("patient")) == 1000
    zeros = whole[:40] + bytes(len(whole) // 2) + whole[40 + len(whole) // 2 :]
    path.write_bytes({"cut": whole[:-20], "zeros in the middle": zeros, "no Parquet": b"id\n1\n"}[spoil])
    with pytest.raises(WarehouseError, match="no whole Parquet file"):
        list(FolderTables(tmp_path).rows("patient"))
