"""A simulated warehouse of each form gives back the cohort's table, cell for cell; who objects is never read."""

import csv
import json

import pytest

from training.data.warehouse import tables
from training.data.warehouse.extraction import STUDY_COLUMN, ExtractionFiles, extract, table_row, write_extraction
from training.data.warehouse.page import extraction_page
from training.data.warehouse.rules import read_rules
from training.simulation.cohort import table_row as simulated_row
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.warehouse.writing import centre_stories, write_database, write_parquet, write_warehouse

PATIENTS, SEED, SIGNAL = 30, 3, 0.85
SITE = SITES[6]  # what its table lacks most often


@pytest.fixture(scope="module")
def stories():
    return centre_stories(SITE, PATIENTS, seed=SEED, signal=SIGNAL)


@pytest.fixture(scope="module")
def expected():
    rows = [simulated_row(draw_patient(SITE, number, seed=SEED), signal=SIGNAL) for number in range(PATIENTS)]
    return {row["patient_id"]: row for row in rows}


def rows_of(found):
    return {row["patient_id"]: row for row in map(table_row, found.patients)}


@pytest.mark.parametrize("form", ["osiris", "omop", "fhir"])
def test_files_give_back_the_table(form, stories, expected, tmp_path):
    write_warehouse(stories, form, tmp_path)
    found = extract(str(tmp_path), read_rules(None, form))
    assert rows_of(found) == expected
    assert next(iter(rows_of(found).values())).keys() == next(iter(expected.values())).keys()
    assert (found.objecting, found.unstated, found.left_out) == (PATIENTS // 10, 0, ())
    assert not [one for patient in found.patients for one in patient.contradictions]


@pytest.mark.parametrize("form", ["osiris", "omop"])
def test_parquet_gives_back_the_table(form, stories, expected, tmp_path):
    write_parquet(stories, form, tmp_path)
    assert rows_of(extract(str(tmp_path), read_rules(None, form))) == expected


@pytest.mark.parametrize("form", ["osiris", "omop"])
def test_sqlite_gives_back_the_table(form, stories, expected, tmp_path):
    url = f"sqlite:///{tmp_path / 'base.db'}"
    write_database(stories, form, url)
    assert rows_of(extract(url, read_rules(None, form))) == expected


@pytest.mark.parametrize("form", ["osiris", "omop"])
def test_postgresql_gives_back_the_table(form, stories, expected, postgresql):
    url = postgresql.empty()
    write_database(stories, form, url)
    assert rows_of(extract(url, read_rules(None, form))) == expected


def test_bundles_with_addresses_of_their_own_give_back_the_table(stories, expected, tmp_path):
    """One transaction bundle a patient, in which resources refer to each other by urn:uuid."""
    write_warehouse(stories, "fhir", tmp_path / "ndjson")
    by_patient = {}
    for path in sorted((tmp_path / "ndjson").iterdir()):
        for line in path.read_text(encoding="utf-8").splitlines():
            resource = json.loads(line)
            subject = resource.get("subject") or resource.get("patient")
            name = subject["reference"].partition("/")[2] if subject else resource["id"]
            if subject:
                subject["reference"] = f"urn:uuid:{name}"
            url = f"urn:uuid:{resource['id']}"
            by_patient.setdefault(name, []).append({"fullUrl": url, "resource": resource})
    (tmp_path / "bundles").mkdir()
    for name, entries in by_patient.items():
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (tmp_path / "bundles" / f"{name}.json").write_text(json.dumps(bundle), encoding="utf-8")
    assert rows_of(extract(str(tmp_path / "bundles"), read_rules(None, "fhir"))) == expected


def test_rows_of_patients_who_object_never_leave_the_store(stories, tmp_path, monkeypatch):
    """Of them only the key and the objection are looked at."""
    write_warehouse(stories, "osiris", tmp_path)
    seen = []
    original = tables.FolderTables.rows

    def rows(self, table, column="", values=None, only=()):
        for line, row in original(self, table, column, values, only):
            seen.append((table, only, row.get("patientid")))
            yield line, row

    monkeypatch.setattr(tables.FolderTables, "rows", rows)
    extract(str(tmp_path), read_rules(None, "osiris"))
    objecting = {story.patient_id for story in stories if story.objects}
    touched = {(table, only) for table, only, patient in seen if patient in objecting}
    assert touched == {("Patient", ("PatientId",)), ("Information", ("PatientId", "NonOpposition"))}
    assert len({patient for table, _, patient in seen if table == "Medication"}) == PATIENTS


def test_who_states_nothing_is_left_out_or_kept_as_the_rules_say(stories, tmp_path):
    write_warehouse(stories, "osiris", tmp_path)
    lines = (tmp_path / "Information.csv").read_text().splitlines()
    (tmp_path / "Information.csv").write_text("\n".join([lines[0], *lines[2:]]))
    rules = read_rules(None, "osiris")
    found = extract(str(tmp_path), rules)
    assert (len(found.patients), found.unstated) == (PATIENTS - 1, 1)
    changed = tmp_path / "rules.toml"
    from training.data.warehouse.rules import shipped_rules

    changed.write_text(shipped_rules("osiris").replace('unstated = "leave_out"', 'unstated = "keep"'), encoding="utf-8")
    assert len(extract(str(tmp_path), read_rules(changed, "osiris")).patients) == PATIENTS


def test_every_value_has_its_row_and_the_studies_their_identifier(stories, expected, tmp_path):
    write_warehouse(stories, "osiris", tmp_path / "base")
    rules, files = read_rules(None, "osiris"), ExtractionFiles(tmp_path / "clinical.csv")
    found = extract(str(tmp_path / "base"), rules)
    write_extraction(found, files, extraction_page(found, rules, files, first="fr"))
    for path in (files.table, files.provenance, files.studies, files.page):
        assert path.stat().st_mode & 0o077 == 0
    with files.table.open(encoding="utf-8") as file:
        assert {row["patient_id"]: row for row in csv.DictReader(file, delimiter=";")} == expected
    with files.provenance.open(encoding="utf-8") as file:
        told = {(row["patient_id"], row["variable"]): row for row in csv.DictReader(file, delimiter=";")}
    for name, row in expected.items():
        stated = {column for column, cell in row.items() if cell and column not in {"patient_id", "egfr_alk_ros1"}}
        assert all(told[name, column]["table"] and told[name, column]["ligne"] for column in stated)
        assert all(told[name, column]["valeur"] == row[column] for column in stated)
        albumin = told[name, "albumine"]
        if row["albumine"]:
            line = (tmp_path / "base" / "Measure.csv").read_text().splitlines()[int(albumin["ligne"]) - 1]
            assert row["albumine"] in line
            assert "ALBUMINE" in line
            assert albumin["regle"] == "variables.albumine"
    with files.studies.open(encoding="utf-8") as file:
        linked = {row["patient_id"]: row for row in csv.DictReader(file, delimiter=";")}
    assert {name: row[STUDY_COLUMN] for name, row in linked.items()} == {
        name: row[STUDY_COLUMN] for name, row in expected.items()
    }
    page = files.page.read_text(encoding="utf-8")
    assert rules.explanation("variables.albumine").replace("'", "&#x27;") in page
    assert not any(story.patient_id in page for story in stories if story.objects)


def test_queries_take_patients_in_parts(stories, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_PATIENTS_A_QUERY", 7)
    url = f"sqlite:///{tmp_path / 'base.db'}"
    write_database(stories, "osiris", url)
    assert rows_of(extract(url, read_rules(None, "osiris"))) == expected
