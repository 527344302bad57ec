"""Node data without images from two public cohorts of lung cancer under immunotherapy, dealt out to pseudo-centres.

    python -m benchmarks.public_cohorts FOLDER OUT

FOLDER holds `nsclc_pd1_msk_2018` (240 patients, PD-1 blockade, Rizvi et al., J Clin Oncol 2018) and `nsclc_mskcc_2018`
(75, nivolumab + ipilimumab, Hellmann et al., Cancer Cell 2018), as cBioPortal gives them (ODbL). The pseudo-centres,
four and two, are drawn by the hash of the identifier: they differ by chance only, so that what is learned here is the
clinical branch on real patients and nothing about centres.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

from fedpet.clinical.endpoints import DAYS_PER_MONTH, SurvivalOutcome
from fedpet.clinical.reading import record_from_mapping
from fedpet.clinical.record import RecordReference
from fedpet.core.errors import RecordError
from fedpet.core.pseudonyms import pseudonym
from inference.input_contract import default_contract
from training.data.eligibility import Pairing
from training.data.node_data import PreparedCase, clear_cases, write_case, write_node
from training.data.prepare import case_without_images

CONTRACT = replace(default_contract(), shape=(1, 1, 1))
_KEY = b"public data"
_START = date(2015, 1, 1)
_CODES = {"LUAD": "adenocarcinoma", "LUSC": "squamous"}


def pd1(folder: Path) -> list[tuple[str, dict[str, str], str, bool]]:
    """(identifier, record, months, event) of the 240 patients."""
    samples = {row["PATIENT_ID"]: row for row in _rows(folder / "data_clinical_sample.txt")}
    return [
        (
            row["PATIENT_ID"],
            {
                "age": row["AGE"],
                "sex": row["SEX"][0],
                "smoking": "never" if row["SMOKER"] == "Never" else "former",
                "line": row["LINES_OF_TX"],
                "histology": _CODES.get(samples[row["PATIENT_ID"]]["ONCOTREE_CODE"], "other"),
                "pdl1_tps": samples[row["PATIENT_ID"]]["PDL1_SCORE"],
            },
            row["PFS_MONTHS"],
            row["PFS_STATUS"].startswith("1"),
        )
        for row in _rows(folder / "data_clinical_patient.txt")
    ]


def combined(folder: Path) -> list[tuple[str, dict[str, str], str, bool]]:
    """The same of the 75 patients; all in the first line."""
    return [
        (
            row["PATIENT_ID"],
            {
                "age": row["AGE_YRS"],
                "sex": row["SEX"][0],
                "smoking": row["SMOKING_STATUS"].lower(),
                "histology": "squamous" if row["HISTOLOGY"] == "Squamous" else "adenocarcinoma",
                "pdl1_tps": row["PDL1_EXP"],
                "ecog_ps": row["ECOG_PERFORMANCE_STATUS"],
                "line": "1",
            },
            row["PFS_MONTHS"],
            row["PFS_STATUS"].startswith("1"),
        )
        for row in _rows(folder / "data_clinical_patient.txt")
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_centres(patients: list[tuple[str, dict[str, str], str, bool]], out: Path, name: str, centres: int) -> None:
    """Deal the patients out and write the node data."""
    prepared: dict[Path, list[PreparedCase]] = {out / f"{name}{number + 1}": [] for number in range(centres)}
    columns: dict[str, dict[str, str]] = {}
    for folder in prepared:
        clear_cases(folder)
    for identifier, values, months, event in patients:
        try:
            record = record_from_mapping(
                {key: value for key, value in values.items() if value not in {"", "NA"}}
            ).record
        except RecordError as refused:
            sys.stderr.write(f"{name}: a patient is left out. {refused.found}\n")
            continue
        end = _START + timedelta(days=round(float(months) * DAYS_PER_MONTH))
        outcome = SurvivalOutcome.from_dates(
            start=_START, progression=end if event else None, death=None, last_news=end
        )
        if outcome is None or outcome.months <= 0:
            continue
        centre = int(sha256(identifier.encode()).hexdigest(), 16) % centres
        folder, case_id = out / f"{name}{centre + 1}", pseudonym(identifier, _KEY)
        pairing = Pairing(folder, identifier, record, outcome, RecordReference())
        write_case(folder, case_id, case_without_images(pairing, CONTRACT))
        prepared[folder].append(PreparedCase(case_id, outcome.months, outcome.event, delineated=False, vendor=""))
        columns[case_id] = {"pdl1_tps": "" if record.pdl1_tps is None else f"{record.pdl1_tps:g}"}
    for folder, of_centre in prepared.items():
        write_node(folder, of_centre, CONTRACT, columns)
        print(folder.name, len(of_centre))


def main() -> None:
    """Write OUT/A1 … A4 and OUT/B1, B2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    write_centres(pd1(given.folder / "nsclc_pd1_msk_2018"), given.out, "A", 4)
    write_centres(combined(given.folder / "nsclc_mskcc_2018"), given.out, "B", 2)


if __name__ == "__main__":
    main()
