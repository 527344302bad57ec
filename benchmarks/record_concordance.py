"""How often another patient's record is caught, and how often a patient's own record is taken for another's.

    fedpet cohort simulate --patients 48 --seed 31 --fidelity coarse --out COHORT
    python -m benchmarks.record_concordance COHORT

Every study of the cohort is loaded and compared with every row of the clinical tables, as `fedpet predict` does. The
centres' rows lack what the centres did not collect. Of the swapped pairs the share caught is given by item and for sets
of items, with a 95 % interval from 2,000 bootstrap samples of the patients (pairs of one patient are not independent).

The rows of the simulation repeat the headers exactly, which hospitals' do not. False alarms are therefore also counted
on 20,000 copies of true pairs whose record differs from the headers as reported values differ from measured ones
(70 and older: height +1.23 cm, SD 2.84; weight -0.88 kg, SD 2.55), as weights change between PET and first dose (SD
7.7 % in 3 months), and whose age at the first dose is in completed years, rounded, or with a decimal.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from math import floor, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpet.clinical.reading import read_table
from fedpet.clinical.record import RecordReference
from fedpet.core.pseudonyms import identifier_digest
from fedpet.imaging.loading import load_study
from inference.record_concordance import LABELS, Agreement, compare_record

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.study import PatientFacts

KEY = bytes(32)
NAMES = tuple(LABELS)
SETS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in NAMES},
    "sex, age, weight, height": ("sex", "age", "weight", "height"),
    "those and the days": ("sex", "age", "weight", "height", "pet_date", "first_dose"),
    "all": NAMES,
}
BOOTSTRAPS, COPIES = 2000, 20_000


@dataclass(frozen=True)
class Subject:
    """One patient of the cohort: what the images state, and the row of the table."""

    images: PatientFacts
    record: ClinicalRecord
    reference: RecordReference


def subjects(cohort: Path) -> list[Subject]:
    """Every study with its own row."""
    found = []
    for centre in sorted(path.parent for path in cohort.glob("*/clinical.csv")):
        for row in read_table(centre / "clinical.csv"):
            if row.record is not None:
                study = load_study(centre / "dicom" / row.patient_id, pseudonym_key=KEY)
                identifier = identifier_digest(row.patient_id, KEY)
                reference = RecordReference(identifier=identifier, pet_date=row.pet_date, first_dose=row.first_dose)
                found.append(Subject(study.patient, row.record, reference))
    return found


def verdicts(images: PatientFacts, record: ClinicalRecord, reference: RecordReference) -> NDArray[np.int8]:
    """(7,) 1 where an item differs, 0 where it agrees, -1 where it is not stated."""
    codes = {Agreement.DIFFER: 1, Agreement.AGREE: 0, Agreement.NOT_STATED: -1}
    return np.array([codes[item.verdict] for item in compare_record(record, reference, images).items], np.int8)


def caught(table: NDArray[np.int8], chosen: Collection[str], sample: NDArray[np.intp]) -> tuple[float, float]:
    """Share of swapped pairs of the sampled patients with a difference, of all and of those where all is stated."""
    columns = [NAMES.index(name) for name in chosen]
    pairs = table[np.ix_(sample, sample)][:, :, columns]
    swapped = sample[:, None] != sample[None, :]
    differs, stated = (pairs == 1).any(axis=2)[swapped], (pairs >= 0).all(axis=2)[swapped]
    return float(differs.mean()), float(differs[stated].mean()) if stated.any() else float("nan")


def report_swaps(everyone: Sequence[Subject], rng: np.random.Generator) -> None:
    """Print the table of swapped records."""
    table = np.array([[verdicts(one.images, two.record, two.reference) for two in everyone] for one in everyone])
    number = len(everyone)
    samples = [np.sort(rng.integers(number, size=number)) for _ in range(BOOTSTRAPS)]
    print(f"{number} patients, {number * (number - 1)} swapped records; true pairs with a difference:",
          int((table[np.arange(number), np.arange(number)] == 1).any(axis=1).sum()))  # fmt: skip
    print(f"{'item':26} {'caught':>7} {'95 % interval':>16} {'where stated':>13}")
    for title, chosen in SETS.items():
        share, where_stated = caught(table, chosen, np.arange(number))
        low, high = np.percentile([caught(table, chosen, sample)[0] for sample in samples], [2.5, 97.5])
        print(f"{title:26} {share:7.2%} {low:7.2%} – {high:6.2%} {where_stated:13.2%}")


def as_written(one: Subject, rng: np.random.Generator) -> ClinicalRecord:
    """A record of the same patient as a hospital may have written it."""
    record, images = one.record, one.images
    days = record.pet_to_treatment_days or 0.0
    born_before = (images.age_years or 0) + rng.random()  # age at the PET; headers give it in completed years
    age = born_before + days / 365.25
    written = rng.choice([floor(age), round(age), round(age, 1)])
    weight = (images.weight_kg or 0.0) * (1 + 0.077 * sqrt(days / 91) * rng.normal()) + rng.normal(-0.88, 2.55)
    height = round(100 * (images.height_m or 0.0) + rng.normal(1.23, 2.84))
    return replace(record, age=float(written), weight_kg=round(weight, 1), height_cm=float(height))


def report_false_alarms(everyone: Sequence[Subject], rng: np.random.Generator) -> None:
    """Print how often a patient's own record, written as hospitals write, contradicts the images."""
    found = []
    for number in range(COPIES):
        one = everyone[number % len(everyone)]
        found.append(verdicts(one.images, as_written(one, rng), one.reference))
    differs = np.array(found) == 1
    alarms = int(differs.any(axis=1).sum())
    share = alarms / COPIES
    z = 1.96  # Wilson's interval
    centre, spread = share + z**2 / (2 * COPIES), z * sqrt(share * (1 - share) / COPIES + z**2 / (4 * COPIES**2))
    low, high = ((centre + sign * spread) / (1 + z**2 / COPIES) for sign in (-1, 1))
    by_item = ", ".join(f"{name} {share:.2%}" for name, share in zip(NAMES, differs.mean(axis=0), strict=True) if share)
    print(f"false alarms on {COPIES} own records: {share:.2%} ({low:.2%} – {high:.2%}); {by_item}")


def main() -> None:
    """Read the cohort and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cohort", type=Path)
    everyone = subjects(parser.parse_args().cohort)
    rng = np.random.default_rng(1)
    report_swaps(everyone, rng)
    report_false_alarms(everyone, rng)


if __name__ == "__main__":
    main()
