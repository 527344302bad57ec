import csv
import io
import json
import random
from dataclasses import asdict

import pytest

from fedpet.clinical.reading import read_record, read_table, record_from_mapping, to_french_row
from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import RecordError


def random_record(rng):
    """A record within the warn ranges; each variable is missing one time in four."""

    def draw(variable):
        if rng.random() < 0.25:
            return None
        if variable.choices:
            return rng.choice(variable.choices).value
        low, high = variable.warn
        if variable.kind == "integer":
            return rng.randint(int(low), int(high))
        return rng.choice([round(rng.uniform(low, high), 2), rng.uniform(low, high), float(int(high))])

    return ClinicalRecord(**{name: draw(variable) for name, variable in VARIABLES.items()})


@pytest.fixture(params=range(40))
def record(request):
    return random_record(random.Random(request.param))  # noqa: S311 - test data, reproducible


def french_csv(rows, separator=";", decimal=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows([{k: v.replace(".", decimal) if k != "patient_id" else v for k, v in row.items()} for row in rows])
    return out.getvalue()


def test_round_trip_through_the_french_row(record):
    assert record_from_mapping(to_french_row(record)).record == record


def test_round_trip_through_json_with_english_names(record, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(asdict(record)), encoding="utf-8")
    assert read_record(path).record == record


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"), [(";", ",", "utf-8-sig"), (",", ".", "utf-8"), ("\t", ",", "cp1252")]
)
def test_round_trip_through_csv_as_spreadsheets_write_it(tmp_path, separator, decimal, encoding):
    rng = random.Random(7)  # noqa: S311 - test data, reproducible
    records = [random_record(rng) for _ in range(12)]
    rows = [{"patient_id": f"N°{i}", **to_french_row(r)} for i, r in enumerate(records)]
    path = tmp_path / "centre.csv"
    path.write_bytes(french_csv(rows, separator, decimal).encode(encoding))
    table = read_table(path)
    assert [row.record for row in table] == records
    assert [row.patient_id for row in table] == [f"N°{i}" for i in range(12)]
    assert all(row.outcome is None and row.refused is None for row in table)


def test_the_written_row_is_what_a_french_centre_writes():
    row = to_french_row(ClinicalRecord(age=64.0, sex="M", smoking="former", steroids=False, crp=7.25, ecog_ps=1))
    given = {name: value for name, value in row.items() if value}
    expected = {"age_immunotherapie": "64", "sexe": "M", "ecog_ps": "1", "tabagisme": "sevre"}
    assert given == {**expected, "crp": "7.25", "corticoides": "non"}
    assert set(row) == {variable.french for variable in VARIABLES.values()}


def warnings_of(**values):
    return " ".join(map(str, record_from_mapping(values).warnings))


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        ({"leucocytes": 7.0, "neutrophils": 6.0, "lymphocytes": 1.11}, "fewer than neutrophils"),
        ({"smoking": "never", "pack_years": 10}, "never smoker"),
        ({"ldh": 300}, "without the laboratory's upper limit"),
        ({"pet_to_treatment_days": -3}, "the model refuses"),
        ({"line": 2, "prior_systemic_lines": 0}, "No systemic treatment line before"),
        ({"stade": "stade IVA", "tnm_m": "cM0"}, "Stage IVA does not go with M0"),
        ({"stage": "IIIB", "m_category": "M1b"}, "Stage IIIB does not go with M1b"),
        ({"tnm_m": "M0", "meta_hepatiques": "oui"}, "M0 is given with metastases"),
        ({"age": 95}, "95 years, outside the usual 40 to 90"),
        ({"line": 3}, "outside the usual 1 to 2"),
        ({"couleur": "bleu"}, "“couleur” is not known"),
        (
            {"date_tep": "2025-01-01", "date_debut_ici": "2025-01-11", "delai_tep_ici": 12},
            "12 days, but the dates give 10",
        ),
    ],
)
def test_warnings(values, fragment):
    assert fragment in warnings_of(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"leucocytes": 7.0, "neutrophils": 6.0, "lymphocytes": 1.1},
        {"smoking": "never", "pack_years": 0},
        {"smoking": "former", "pack_years": 30},
        {"ldh": 300, "ldh_uln": 248},
        {"pet_to_treatment_days": 0, "age": 90},
        {"line": 1, "prior_systemic_lines": 1},  # adjuvant
        {"stade": "IVB", "tnm_t": "pT2a", "tnm_n": "n3", "tnm_m": "cM1c", "meta_osseuses": "oui"},
        {"patient_id": "x", "centre": "y", "date_deces": "", "delai_injection": "60"},
    ],
)
def test_plausible_values_give_no_warning(values):
    assert warnings_of(**values) == ""


def test_the_delay_comes_from_the_dates_where_it_is_not_given():
    read = record_from_mapping({"date_tep": "2025-01-20", "date_debut_ici": "2025-01-11"})
    assert read.record.pet_to_treatment_days == -9
    assert "the model refuses" in str(read.warnings[0])


def test_a_refused_row_does_not_stop_the_table(tmp_path):
    path = tmp_path / "centre.csv"
    path.write_text(
        "identifiant;age_immunotherapie;date_debut_ici;date_progression;date_deces;date_dernieres_nouvelles\n"
        "a;64,5;2024-01-01;2024-03-01;;2024-06-01\n"
        "b;640;2024-01-01;;;2024-06-01\n"
        "c;70;2024-01-01;2023-12-01;;\n"
        ";;;;;\n"
        "d;;2024-01-01;;;2024-06-29\n",
        encoding="utf-8",
    )
    a, b, c, d = read_table(path)
    assert (a.record.age, a.outcome.event, round(a.outcome.months * 30.4375)) == (64.5, True, 60)
    assert b.record is None
    assert "640" in str(b.refused)
    assert c.record is None
    assert "before the first dose" in str(c.refused)
    assert d.record == ClinicalRecord()
    assert (d.outcome.event, round(d.outcome.months * 30.4375)) == (False, 180)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("age;sexe\n64;F\n", "no patient column"),
        ("patient_id;age\n", "a header and no rows"),
        ("", "not a table"),
        ("patient_id;age\nx;64\nx;65\n", "Row 3 has no patient identifier, or repeats that of row 2"),
        ("patient_id;age\n ;64\n", "Row 2 has no patient identifier"),
        ("patient_id,ldh,crp\nx,200,3,5\n", "Row 2 has 4 cells, the header 3"),
        ("patient_id;age;age\nx;64;64\n", "“age” is given twice"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, text, fragment):
    path = tmp_path / "centre.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=fragment):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('{"age": 64,', "not valid JSON"),
        ("age;sexe\n64;F\n65;M\n", "has 2 rows"),
        ('{"age": 64, "age_immunotherapie": 64}', "given twice"),
        ('{"age": {"years": 64}}', "A number"),
    ],
)
def test_records_that_cannot_be_read_are_refused(tmp_path, text, fragment):
    path = tmp_path / "record"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=fragment):
        read_record(path)


def test_a_file_that_is_not_there_is_refused_without_its_name(tmp_path):
    with pytest.raises(RecordError) as refusal:
        read_record(tmp_path / "dupont_jean.json")
    assert "dupont" not in str(refusal.value)
