"""Two public cohorts of lung cancer under immunotherapy, read through the same path as a centre's table."""

import csv
from collections import Counter
from datetime import date, timedelta

import pytest

from fedpet.clinical.reading import read_table

pytestmark = pytest.mark.reference_data
START = date(2015, 1, 1)
SMOKING = {"Never": "jamais", "Former": "sevré", "Current": "actif"}


def read_tsv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def dates(months, event):
    """The four dates of a centre's table from months and status."""
    end = (START + timedelta(days=round(float(months) * 30.4375))).isoformat()
    return {
        "date_debut_ici": START.isoformat(),
        "date_progression": end if event else "",
        "date_deces": "",
        "date_dernieres_nouvelles": end,
    }


def as_table(rows, path):
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return read_table(path)


def test_durable_benefit_agrees_with_what_msk_2018_recorded(reference_data, tmp_path):
    source = read_tsv(reference_data / "clinical/nsclc_mskcc_2018/data_clinical_patient.txt")
    rows = [
        {
            "patient_id": row["PATIENT_ID"],
            "age_immunotherapie": row["AGE_YRS"],
            "sexe": row["SEX"],
            "tabagisme": SMOKING[row["SMOKING_STATUS"]],
            "pdl1_tps": row["PDL1_EXP"].replace(".", ","),
            "ecog_ps": row["ECOG_PERFORMANCE_STATUS"],
            **dates(row["PFS_MONTHS"], row["PFS_STATUS"] == "1:Event"),
        }
        for row in source
    ]
    table = as_table(rows, tmp_path / "msk.csv")
    assert Counter(row.record.sex for row in table) == {"F": 38, "M": 37}
    assert Counter(row.record.smoking for row in table) == {"former": 51, "never": 15, "current": 9}
    assert Counter(row.record.ecog_ps for row in table) == {1: 45, 0: 30}
    assert sum(row.record.pdl1_tps is None for row in table) == 5
    assert sum(row.record.pdl1_tps == 0 for row in table) == 25
    ages = sorted(row.record.age for row in table)
    assert ages[len(ages) // 2] == sorted(float(row["AGE_YRS"]) for row in source)[len(ages) // 2]
    pairs = Counter(
        (said["DURABLE_CLINICAL_BENEFIT"], row.outcome.durable_benefit) for said, row in zip(source, table, strict=True)
    )
    # Six patients censored before six months were recorded as "no benefit": for us they are unknown.
    assert pairs == {
        ("Durable Clinical Benefit", True): 37,
        ("No Durable Benefit", False): 32,
        ("No Durable Benefit", None): 6,
    }


def test_pd1_2018_refuses_the_two_seventh_lines_and_counts_benefit(reference_data, tmp_path):
    source = read_tsv(reference_data / "clinical/nsclc_pd1_msk_2018/data_clinical_patient.txt")
    rows = [
        {
            "identifiant": row["PATIENT_ID"],
            "age": row["AGE"],
            "sex": row["SEX"],
            "line": row["LINES_OF_TX"],
            **dates(row["PFS_MONTHS"], row["PFS_STATUS"] == "1:Progressed"),
        }
        for row in source
    ]
    table = as_table(rows, tmp_path / "pd1.csv")
    assert len(table) == 240
    refused = [row for row in table if row.refused is not None]
    assert len(refused) == 2
    assert all("Line of immunotherapy (ligne) is 7" in str(row.refused) for row in refused)
    lines = Counter(row.record.line for row in table if row.record is not None)
    assert lines == {1: 51, 2: 127, 3: 39, 4: 8, 5: 8, 6: 5}
    pairs = Counter(
        (said["DURABLE_CLINICAL_BENEFIT"], row.outcome.durable_benefit)
        for said, row in zip(source, table, strict=True)
        if row.outcome is not None
    )
    assert set(pairs) == {("YES", True), ("NO", False), ("NE", None)}  # "NE": not evaluable
    assert pairs["YES", True] + pairs["NO", False] + pairs["NE", None] == 238
