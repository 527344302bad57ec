"""The synthetic cohort on disk: DICOM, clinical tables and the truth, centre by centre.

OUT/cohort.json and, for each centre, OUT/<site>/: dicom/<patient_id>/{PT,CT}/*.dcm, clinical.csv (French column names)
and truth/ (see `cohort.truth`). The same arguments give the same bytes, whatever the number of workers.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from clinical.endpoints import DAYS_PER_MONTH
from clinical.reading import to_french_row
from cohort.ceilings import ceilings
from cohort.dicom import write_study
from cohort.instances import Encoding
from cohort.parallel import ordered_map
from cohort.population import draw_patient
from cohort.rendering import render
from cohort.risk import DEFAULT_SIGNAL, follow_up
from cohort.scanner import ct_image, pet_image
from cohort.sites import SITES, Site
from cohort.truth import patient_truth, write_json, write_masks
from fedpet import __version__
from fedpet.errors import SettingsError
from fedpet.messages import Message
from fedpet.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cohort.landmarks import Mm
    from cohort.population import Patient
    from cohort.rendering import Body
    from fedpet.progress import Progress
    from imaging.volume import Volume

Fidelity = Literal["coarse", "standard"]
FORMAT: Final = "fedpet-cohort-1"
_LEAST_CASES: Final = 3
_CEILING_PATIENTS: Final = 4000


@dataclass(frozen=True)
class _Quality:
    spacing_mm: Mm  # of the CT and of the rendering: column, row, slice
    native_pet: bool  # the centre's own PET voxels; else those of the CT
    encoding: Encoding


_QUALITIES: Final[dict[Fidelity, _Quality]] = {
    "coarse": _Quality((4.0, 4.0, 6.0), native_pet=False, encoding=Encoding(compressed=True, levels=4095)),
    "standard": _Quality((2.0, 2.0, 3.0), native_pet=True, encoding=Encoding(compressed=False)),
}


@dataclass(frozen=True)
class Case:
    """One patient to simulate."""

    site: Site
    number: int
    seed: int
    signal: float
    fidelity: Fidelity


@dataclass(frozen=True, eq=False)
class Scan:
    """One patient before the scanner (`body`) and after; PET in SUVbw g/ml, CT in HU."""

    patient: Patient
    body: Body
    pet: Volume
    ct: Volume
    encoding: Encoding


def simulate_cohort(
    *,
    patients: int,
    sites: int = len(SITES),
    seed: int,
    out: Path,
    fidelity: Fidelity = "standard",
    signal: float = DEFAULT_SIGNAL,
    workers: int = 1,
    progress: Progress = silent,
) -> None:
    """Simulate a cohort.

    Args:
        patients: in all, distributed over the centres in their proportions, at least three a centre where possible.
        sites: how many of the centres, the largest first.
        seed: of everything.
        out: folder to write; made if missing.
        fidelity: "coarse" for training (4 x 4 x 6 mm), "standard" for demonstrations (CT 2 x 2 x 3 mm, PET as the
            centre reconstructs it).
        signal: strength of the true risk, see `cohort.risk`.
        workers: processes.
        progress: told after each patient.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
    """
    counts = distribute(patients, sites)
    cases = cases_of(counts, seed=seed, signal=signal, fidelity=fidelity)
    rows: dict[str, list[dict[str, str]]] = {site.code: [] for site, _ in counts}
    truths: dict[str, dict[str, Any]] = {site.code: {} for site, _ in counts}
    simulated = ordered_map(partial(_simulate_case, out=out), cases, workers=workers)
    for done, (code, row, truth) in enumerate(simulated, start=1):
        rows[code].append(row)
        truths[code][row["patient_id"]] = truth
        progress(done / len(cases), Message("Simulating patients ({done} of {n})", done=done, n=len(cases)))
    for site, _ in counts:
        write_table(rows[site.code], out / site.code / "clinical.csv")
        write_json({"signal": signal, "patients": truths[site.code]}, out / site.code / "truth" / "truth.json")
    write_summary(out, counts, seed=seed, signal=signal, fidelity=fidelity)


def cases_of(counts: Iterable[tuple[Site, int]], *, seed: int, signal: float, fidelity: Fidelity) -> list[Case]:
    """The patients of all centres."""
    return [Case(site, number, seed, signal, fidelity) for site, count in counts for number in range(count)]


def write_summary(
    out: Path, counts: Iterable[tuple[Site, int]], *, seed: int, signal: float, **further: object
) -> None:
    """Write cohort.json: how the cohort was made, and what can be known of it (`cohort.ceilings`)."""
    summary = {
        "format": FORMAT,
        "software": __version__,
        "seed": seed,
        "signal": signal,
        "sites": {site.code: {"name": site.name, "patients": count} for site, count in counts},
        "ceilings": asdict(ceilings(patients=_CEILING_PATIENTS, seed=seed, signal=signal)),
        **further,
    }
    write_json(summary, out / "cohort.json")


def distribute(patients: int, sites: int) -> list[tuple[Site, int]]:
    """Patients of each centre: in the proportions of the centres, the remainders to the largest fractions.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
    """
    if not 1 <= sites <= len(SITES) or patients < sites:
        raise SettingsError(
            found=Message("{patients} patients at {sites} centres were asked for.", patients=patients, sites=sites),
            needed=Message("1 to {most} centres, and at least one patient each.", most=len(SITES)),
            advice=Message("Ask for more patients or for fewer centres."),
        )
    chosen = SITES[:sites]
    least = min(_LEAST_CASES, patients // sites)
    spare = patients - least * sites
    total = sum(site.cases for site in chosen)
    shares = [spare * site.cases / total for site in chosen]
    counts = [least + int(share) for share in shares]
    by_fraction = sorted(range(sites), key=lambda i: (int(shares[i]) - shares[i], i))
    for i in by_fraction[: patients - sum(counts)]:
        counts[i] += 1
    return list(zip(chosen, counts, strict=True))


def scan(case: Case) -> Scan:
    """Draw, render and scan one patient."""
    patient = draw_patient(case.site, case.number, seed=case.seed)
    quality = _QUALITIES[case.fidelity]
    body = render(patient, quality.spacing_mm)
    pet = pet_image(body, patient, voxel_mm=case.site.pet.voxel_mm if quality.native_pet else None)
    return Scan(patient, body, pet, ct_image(body, patient), quality.encoding)


def _simulate_case(case: Case, *, out: Path) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Write one patient's images and masks; return the centre, the table's row and the truth."""
    one = scan(case)
    root, patient = out / case.site.code, one.patient
    write_study(patient, one.pet, one.ct, root / "dicom" / patient.id, seed=case.seed, encoding=one.encoding)
    lesions = write_masks(patient, one.body, root / "truth" / patient.id)
    truth = patient_truth(patient, lesions, signal=case.signal)
    return case.site.code, table_row(patient, signal=case.signal), truth


def table_row(patient: Patient, *, signal: float) -> dict[str, str]:
    """A row of the centre's table: identifier, observed record and the dates of the endpoints."""
    events = follow_up(patient, signal=signal)
    pet_day = patient.acquisition.start.date()
    start = pet_day + timedelta(days=round(patient.record.pet_to_treatment_days or 0))

    def after(months: float | None) -> str:
        return "" if months is None else _day_after(start, months).isoformat()

    dates = {
        "date_tep": pet_day.isoformat(),
        "date_debut_ici": start.isoformat(),
        "date_progression": after(events.progression),
        "date_deces": after(events.death),
        "date_dernieres_nouvelles": after(events.death if events.death is not None else events.last_news),
    }
    return {"patient_id": patient.id, **to_french_row(patient.observed), **dates}


def _day_after(start: date, months: float) -> date:
    return start + timedelta(days=max(1, round(months * DAYS_PER_MONTH)))


def write_table(rows: Iterable[dict[str, str]], path: Path) -> None:
    """Write the rows of `table_row` as a centre's CSV."""
    ordered = sorted(rows, key=lambda row: row["patient_id"])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(ordered[0]), delimiter=";", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
