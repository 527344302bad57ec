"""The synthetic cohort on disk: DICOM, clinical tables and ground truth, centre by centre.

OUT/cohort.json and, for each centre, OUT/<site>/: dicom/<patient_id>/{PT,CT}/*.dcm, clinical.csv (French column names)
and truth/ (see `training.simulation.acquisition.ground_truth`). The same arguments give the same bytes, whatever the
number of workers.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from fedpet import __version__
from fedpet.clinical.endpoints import DAYS_PER_MONTH
from fedpet.clinical.reading import to_french_row
from fedpet.core.errors import OutputError, SettingsError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from training.data.node_data import write_json
from training.data.process_pool import ordered_map
from training.simulation.acquisition.dicom_series import study_id, write_study
from training.simulation.acquisition.dicom_writer import Encoding
from training.simulation.acquisition.ground_truth import patient_truth, write_masks
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.achievable_performance import achievable_performance
from training.simulation.patients.centres import SITES, SimulatedCentre
from training.simulation.patients.population import draw_patient, with_stranding
from training.simulation.patients.risk import DEFAULT_SIGNAL, follow_up
from training.simulation.phantom.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fedpet.core.progress import Progress
    from fedpet.imaging.volume import Volume
    from training.data.process_pool import Workers
    from training.simulation.patients.population import Patient
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.rendering import Body

RenderingQuality = Literal["coarse", "standard"]
AnatomyKind = Literal["schematic", "varied"]
FORMAT: Final = "fedpet-cohort-1"
SUMMARY: Final = "cohort.json"
_UNFINISHED: Final = "cohort.unfinished.json"  # what is being written; gone when the summary is there
_LEAST_CASES: Final = 3
_CEILING_PATIENTS: Final = 4000


@dataclass(frozen=True)
class _Quality:
    spacing_mm: Mm  # of the CT and of the rendering: column, row, slice
    native_pet: bool  # the centre's own PET voxels; else those of the CT
    encoding: Encoding


_QUALITIES: Final[dict[RenderingQuality, _Quality]] = {
    "coarse": _Quality((4.0, 4.0, 6.0), native_pet=False, encoding=Encoding(compressed=True, levels=4095)),
    "standard": _Quality((2.0, 2.0, 3.0), native_pet=True, encoding=Encoding(compressed=False)),
}


@dataclass(frozen=True)
class SimulatedCase:
    """One patient to simulate."""

    site: SimulatedCentre
    number: int
    seed: int
    signal: float
    fidelity: RenderingQuality
    anatomy: AnatomyKind = "schematic"
    stranding: bool = False

    def patient(self) -> Patient:
        """The patient, drawn; the anatomy decides how the body is painted, and nothing else about him."""
        drawn = draw_patient(self.site, self.number, seed=self.seed)
        if self.stranding:
            drawn = with_stranding(drawn, seed=self.seed)
        return replace(drawn, anatomy=replace(drawn.anatomy, varied=self.anatomy == "varied"))


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """One patient before the scanner (`body`) and after; PET in SUVbw g/ml, CT in HU."""

    patient: Patient
    body: Body
    pet: Volume
    ct: Volume
    encoding: Encoding


def simulate_cohort(  # noqa: PLR0913  the options of the command, each with a name
    *,
    patients: int,
    sites: int = len(SITES),
    seed: int,
    out: Path,
    fidelity: RenderingQuality = "standard",
    signal: float = DEFAULT_SIGNAL,
    anatomy: AnatomyKind = "schematic",
    stranding: bool = False,
    workers: Workers = 1,
    progress: Progress = no_progress,
) -> None:
    """Simulate a cohort.

    Args:
        patients: in all, distributed over the centres in their proportions, at least three a centre where possible.
        sites: how many of the centres, the largest first.
        seed: of everything.
        out: folder to write; made if missing.
        fidelity: "coarse" for training (4 x 4 x 6 mm), "standard" for demonstrations (CT 2 x 2 x 3 mm, PET as the
            centre reconstructs it).
        signal: strength of the true risk, see `training.simulation.patients.risk`.
        anatomy: "schematic", one reference anatomy deformed; "varied", bodies that differ as people do
            (`training.simulation.phantom.varied`).
        stranding: plant the effect that no quantity of the lesion table measures
            (`training.simulation.patients.population.with_stranding`).
        workers: processes, or a cluster.
        progress: reports each patient.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
        OutputError: the folder holds something else than the same cohort.
    """
    counts = distribute(patients, sites)
    facts = cohort_facts(counts, seed=seed, signal=signal, stranding=stranding, fidelity=fidelity, anatomy=anatomy)
    claim_place(out, facts)
    cases = cases_of(counts, seed=seed, signal=signal, fidelity=fidelity, anatomy=anatomy, stranding=stranding)
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
    write_summary(out, facts)


def cases_of(
    counts: Iterable[tuple[SimulatedCentre, int]],
    *,
    seed: int,
    signal: float,
    fidelity: RenderingQuality,
    anatomy: AnatomyKind,
    stranding: bool = False,
) -> list[SimulatedCase]:
    """The patients of all centres."""
    return [
        SimulatedCase(site, number, seed, signal, fidelity, anatomy, stranding)
        for site, count in counts
        for number in range(count)
    ]


def cohort_facts(
    counts: Iterable[tuple[SimulatedCentre, int]],
    *,
    seed: int,
    signal: float,
    stranding: bool = False,
    **further: object,
) -> dict[str, Any]:
    """How a cohort is made: two cohorts with the same facts have the same patients."""
    return {
        "format": FORMAT,
        "software": __version__,
        "seed": seed,
        "signal": signal,
        "sites": {site.code: {"name": site.name, "patients": count} for site, count in counts},
        **({"stranding": True} if stranding else {}),
        **further,
    }


def claim_place(out: Path, facts: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but this cohort, whole or begun, and note there what is being written.

    Args:
        out: folder of the cohort; made if missing.
        facts: of `cohort_facts`.

    Raises:
        OutputError: it is a file, or holds another cohort or something else.
    """
    if out.exists() and not out.is_dir():
        raise _other_content(out, Message("{name} is a file.", name=out.name))
    if out.is_dir() and any(out.iterdir()):
        held = _facts_in(out)
        if held is None:
            raise _other_content(out, Message("{name} holds files that are no simulated cohort.", name=out.name))
        if held != facts:
            raise _other_content(out, _what_differs(out, held, facts))
    out.mkdir(parents=True, exist_ok=True)
    if not (out / SUMMARY).exists():
        write_json(facts, out / _UNFINISHED)


def _facts_in(out: Path) -> dict[str, Any] | None:
    """The facts of the cohort in a folder; None where there is none, or none that can be read."""
    path = next((out / name for name in (SUMMARY, _UNFINISHED) if (out / name).is_file()), None)
    try:
        held = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    return {name: value for name, value in held.items() if name != "ceilings"} if isinstance(held, dict) else None


def _what_differs(out: Path, held: dict[str, Any], facts: dict[str, Any]) -> Message:
    names = [name for name in {**held, **facts} if held.get(name) != facts.get(name)]
    return Message("{name} holds another cohort; it differs in: {what}.", name=out.name, what=", ".join(names))


def _other_content(out: Path, found: Message) -> OutputError:
    return OutputError(
        found=found,
        needed=Message("A new or empty folder, or one with the same cohort: two would mix their patients."),
        advice=Message("Give another --out, or remove the folder {name} first.", name=out.name),
    )


def write_summary(out: Path, facts: dict[str, Any]) -> None:
    """Write cohort.json: how the cohort was made, and what a model can reach on it (`achievable_performance`).

    Args:
        out: folder of the cohort.
        facts: of `cohort_facts`.
    """
    ceilings = achievable_performance(
        patients=_CEILING_PATIENTS,
        seed=facts["seed"],
        signal=facts["signal"],
        stranding=facts.get("stranding", False),
    )
    write_json({**facts, "ceilings": asdict(ceilings)}, out / SUMMARY)
    (out / _UNFINISHED).unlink(missing_ok=True)


def distribute(patients: int, sites: int) -> list[tuple[SimulatedCentre, int]]:
    """Patients of each centre: in the proportions of the centres, the remainders to the largest fractions.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
    """
    if not 1 <= sites <= len(SITES) or patients < sites:
        raise SettingsError(
            found=Message("{patients} patients at {sites} centres.", patients=patients, sites=sites),
            needed=Message("1 to {most} centres, and at least one patient each.", most=len(SITES)),
            advice=Message("Request more patients or fewer centres."),
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


def scan(case: SimulatedCase) -> SimulatedScan:
    """Draw, render and scan one patient."""
    patient = case.patient()
    quality = _QUALITIES[case.fidelity]
    body = render(patient, quality.spacing_mm)
    pet = pet_image(body, patient, voxel_mm=case.site.pet.voxel_mm if quality.native_pet else None)
    return SimulatedScan(patient, body, pet, ct_image(body, patient), quality.encoding)


def _simulate_case(case: SimulatedCase, *, out: Path) -> tuple[str, dict[str, str], dict[str, Any]]:
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
    study = {"id_examen_tep": study_id(patient)}
    return {"patient_id": patient.id, **to_french_row(patient.observed), **dates, **study}


def _day_after(start: date, months: float) -> date:
    return start + timedelta(days=max(1, round(months * DAYS_PER_MONTH)))


def write_table(rows: Iterable[dict[str, str]], path: Path) -> None:
    """Write the rows of `table_row` as a centre's CSV."""
    ordered = sorted(rows, key=lambda row: row["patient_id"])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(ordered[0]), delimiter=";", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
