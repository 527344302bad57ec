"""How many faults of a hospital's export `fedpet cohort check` names, and how many good rows it alarms on.

python -m benchmarks.hospital_check [PATIENTS]

Synthetic patients of the eight centres; what their headers state is taken from the patient, not from files. Planted,
one at a time: exchanged folders and exchanged rows, where images and table share an identifier and where they do not;
misspelt columns; and, as good cases, the export as it is and columns that mean nothing to fedpet. Intervals: Wilson,
95 %.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections import Counter
from math import sqrt
from pathlib import Path

from fedpet.clinical.reading import read_table
from fedpet.core.pseudonyms import identifier_digest
from fedpet.imaging.study import PatientFacts
from training.data.site_check.comparison import USABLE, compare_site
from training.data.study_folders import StudyFolder
from training.simulation.cohort import table_row
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import Patient, draw_patient

KEY = b"benchmark"
STRANGE = (
    "ipp",
    "service",
    "medecin",
    "commentaire",
    "num_sejour",
    "date_naissance",
    "code_postal",
    "essai",
    "tnm",
    "ttf1",
)


def table_of(rows: list[dict[str, str]]) -> Path:
    """The rows as a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False, encoding="utf-8") as file:
        file.write(text.getvalue())
    return Path(file.name)


def folder_of(patient: Patient, name: str, identifier: str) -> StudyFolder:
    """What the headers of a patient's images state, in a folder of this name."""
    facts = PatientFacts(
        identifier=identifier_digest(identifier, KEY),
        sex=patient.anatomy.sex,
        age_years=int(patient.record.age or 0),
        age_source="patient_age",
        weight_kg=patient.anatomy.weight_kg,
        height_m=patient.anatomy.height_m,
        pet_dates=(patient.acquisition.start.date().isoformat(),),
    )
    images = (("CT", 1), ("PT", 1))
    return StudyFolder(Path(name), "", patient_ids=(identifier,), facts=facts, images=images)


def results(rows: list[dict[str, str]], folders: list[StudyFolder]) -> dict[str, tuple[str, str]]:
    """Code and remarks by identifier of the row."""
    path = table_of(rows)
    site = compare_site(read_table(path), tuple(folders), KEY)
    path.unlink()
    return {one.row.patient_id: (one.code, " ".join(map(str, one.remarks))) for one in site.patients if one.row}


def share(name: str, count: int, of: int) -> None:
    """Print a share with its interval."""
    p, z = count / of, 1.96
    centre, spread = p + z**2 / (2 * of), z * sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    low, high = (max((centre + sign * spread) / (1 + z**2 / of), 0.0) for sign in (-1, 1))
    print(f"{name}: {count} of {of}, {p:.1%} ({low:.1%} – {high:.1%})")


def exchanged(patients: list[Patient], rows: list[dict[str, str]]) -> None:
    """Neighbours of a centre exchange folders (same identifiers, then none in common) or the contents of their rows."""
    named, caught, traced, mixed = 0, 0, 0, 0
    pairs = [(i, i + 1) for i in range(0, len(patients) - 1, 2)]
    for i, j in pairs:
        names = rows[i]["patient_id"], rows[j]["patient_id"]
        bare = [{**rows[k], "id_examen_tep": ""} for k in (i, j)]
        same = results(bare, [folder_of(patients[i], names[1], names[0]), folder_of(patients[j], names[0], names[1])])
        named += all(code == USABLE and "named" in said for code, said in same.values())
        other = results(bare, [folder_of(patients[i], names[1], "IPP-1"), folder_of(patients[j], names[0], "IPP-2")])
        caught += all(code == "record_contradicts" for code, _ in other.values())
        traced += all("fit the row" in said for _, said in other.values())
        swapped = [{**bare[1], "patient_id": names[0]}, {**bare[0], "patient_id": names[1]}]
        right = [folder_of(patients[i], names[0], names[0]), folder_of(patients[j], names[1], names[1])]
        mixed += all(code == "record_contradicts" for code, _ in results(swapped, right).values())
    share("exchanged folders, identifiers in the images: paired rightly and named", named, len(pairs))
    share("exchanged folders, other identifiers in the images: left out", caught, len(pairs))
    share("  and the right row named", traced, len(pairs))
    share("exchanged rows: left out", mixed, len(pairs))


def misspelt(rows: list[dict[str, str]]) -> None:
    """Each column with a letter lost, two letters exchanged, a unit appended; then columns of other things."""
    columns = [name for name in rows[0] if len(name) > 4 and name not in {"patient_id", "id_examen_tep"}]
    found, tried = Counter[str](), 0
    for column in columns:
        middle = len(column) // 2
        forms = {
            "a letter lost": column[:middle] + column[middle + 1 :],
            "two letters exchanged": column[: middle - 1] + column[middle] + column[middle - 1] + column[middle + 1 :],
            "a unit appended": f"{column}_g_l",
        }
        tried += 1
        for fault, written in forms.items():
            path = table_of([{(written if name == column else name): cell for name, cell in rows[0].items()}])
            found[fault] += [one.nearest for one in read_table(path).unread] == [column]
            path.unlink()
    for fault, count in found.items():
        share(f"column with {fault}: the right one named", count, tried)
    path = table_of([{**rows[0], **dict.fromkeys(STRANGE, "x")}])
    alarms = [one for one in read_table(path).unread if one.nearest]
    path.unlink()
    share("columns of other things: another one named", len(alarms), len(STRANGE))
    print("  ", [(one.name, one.nearest) for one in alarms])


def main() -> None:
    """Measure everything."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    patients = [draw_patient(site, number, seed=31) for site in SITES for number in range(count // len(SITES))]
    rows = [table_row(patient, signal=0.6) for patient in patients]
    good = results(rows, [folder_of(p, p.id, p.id) for p in patients])
    share("good rows left out", sum(code != USABLE for code, _ in good.values()), len(rows))
    share("good rows with another patient named", sum("row of" in said for _, said in good.values()), len(rows))
    exchanged(patients, rows)
    misspelt(rows)


if __name__ == "__main__":
    main()
