"""Whether the learned term finds a planted effect that no quantity of the lesion table measures, and stays out without.

    python -m benchmarks.learned_term CROPS [PATIENTS] [SEEDS]

Whole patients of four centres are simulated with stranding around their lesions (coarse fidelity, 1.4 s a patient), and
the crops of their drawn lesions are kept in CROPS. For each seed their outcomes are drawn anew, with the effect and
without it (the stranding stays on the images), and the gate is run: each centre left out, the table fitted to the
others, the learned term trained on it. Tables are drawn with the errors of a measurement
(`benchmarks/drawn_tables.py`). CROPS/results.jsonl gets a line after each gate; a run that was stopped goes on there.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.drawn_tables import drawn_table
from fedpet.imaging.study import PetCtStudy
from inference.encoding import encode
from inference.input_contract import CROPS_VERSION, ClinicalTerm, CropGrid, crop_contract
from inference.lesion_crops import lesion_crops
from training.bundle.held_out import scores
from training.data.lesion_cases import UNKNOWN_FACTS
from training.data.node_data import NodeCase, Patients
from training.evaluation.in_process_newton import fit_newton
from training.evaluation.learned_gate import gate_in_process
from training.simulation.cohort import cases_of, distribute, scan
from training.simulation.patients.risk import follow_up
from training.task.learned_term import LearnedTerm
from training.task.losses import survival_nll_by_patient
from training.task.method import UNPROTECTED_METHOD, Aggregation
from training.task.task import TrainingTask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from training.simulation.cohort import SimulatedCase

SITES, SEED, SIGNAL = 4, 2026, 0.85
RESULTS = "results.jsonl"
LEARNED = LearnedTerm(rounds=6)
CONTRACT = replace(crop_contract(), crops=CropGrid(size=16, spacing_mm=5.0, lesions=6, version=CROPS_VERSION))


def simulated(patients: int) -> list[SimulatedCase]:
    """Patients of the largest centres, with stranding."""
    counts = distribute(patients, SITES)
    return cases_of(counts, seed=SEED, signal=SIGNAL, fidelity="coarse", anatomy="schematic", stranding=True)


def render(folder: Path, patients: int) -> None:
    """Write the crops of each patient whom the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in sorted(simulated(patients), key=lambda one: (one.number, one.site.code)):
        path = folder / f"{case.site.code}-{case.number}.npz"
        if path.exists():
            continue
        one = scan(case)
        active = one.pet.like(np.where(one.body.necrosis, 0, one.body.lesions), "label")
        study = PetCtStudy("simulated", one.pet, one.ct, UNKNOWN_FACTS, (), ())
        bag = lesion_crops(study, active, CONTRACT).bag(drawn_table(one.patient))
        np.savez_compressed(path, bag=bag.astype(np.float16))


@dataclass(frozen=True, eq=False)
class Cohort:
    """The simulated patients that were rendered, with the crops and encoded tables of each."""

    cases: list[SimulatedCase]
    images: list[NDArray[np.float16]]
    inputs: list[NDArray[np.float32]]

    def centres(self, seed: int, *, planted: bool) -> list[Patients]:
        """Patients with outcomes drawn by a seed, with the effect or without."""
        found: dict[str, tuple[list[str], list[NodeCase]]] = {}
        blank = np.zeros((len(CONTRACT.concepts), 1, 1, 1), np.uint8)
        for case, image, inputs in zip(self.cases, self.images, self.inputs, strict=True):
            patient = replace(case.patient(), outcome_seed=seed * 1_000_003 + case.number)
            lived = follow_up(patient if planted else replace(patient, stranding=None), signal=SIGNAL)
            happened = [months for months in (lived.progression, lived.death) if months is not None]
            names, cases = found.setdefault(case.site.code, ([], []))
            names.append(patient.id)
            months = min([*happened, lived.last_news])
            cases.append(NodeCase(image, inputs, months, bool(happened), blank, np.zeros(len(blank), bool)))
        return [Patients(site, tuple(names), tuple(cases)) for site, (names, cases) in sorted(found.items())]

    @staticmethod
    def read(folder: Path) -> Cohort:
        """Everybody whose crops are there."""
        paths = {f"{case.site.code}-{case.number}": case for case in simulated(5000)}
        cases = [paths[path.stem] for path in sorted(folder.glob("*.npz"))]
        images = [np.load(folder / f"{case.site.code}-{case.number}.npz")["bag"] for case in cases]
        patients = [case.patient() for case in cases]
        inputs = [encode(patient.observed, CONTRACT, drawn_table(patient)).values for patient in patients]
        return Cohort(cases, images, inputs)


def gain_of_truth(cohort: Cohort, centres: list[Patients]) -> tuple[float, float]:
    """Mean gain of a patient at centres left out if the true stranding were an input, and its standard error."""
    stranding = {case.patient().id: case.patient().stranding or 0.0 for case in cohort.cases}
    term = ClinicalTerm("stranding", "number", ("stranding",))
    told = replace(CONTRACT, terms=(*CONTRACT.terms, term))
    at, gains = len(CONTRACT.terms), []
    for out in centres:
        losses = []
        for contract in (CONTRACT, told):
            sites = centres if contract is CONTRACT else [_with(one, stranding, at) for one in centres]
            fitted, _ = fit_newton(table_task(contract), [one for one in sites if one.site != out.site])
            (left,) = [one for one in sites if one.site == out.site]
            _, logits = scores(fitted.network, left.cases)
            months, event = (torch.tensor([getattr(case, name) for case in left.cases]) for name in ("months", "event"))
            losses.append(
                survival_nll_by_patient(torch.from_numpy(logits), months, event, CONTRACT.month_edges).numpy()
            )
        gains.append(losses[0] - losses[1])
    every = np.concatenate(gains)
    return float(every.mean()), float(every.std() / np.sqrt(len(every)))


def _with(centre: Patients, stranding: dict[str, float], at: int) -> Patients:
    cases = tuple(
        replace(case, clinical=np.insert(case.clinical, at, stranding[name]).astype(np.float32))
        for name, case in zip(centre.case_ids, centre.cases, strict=True)
    )
    return replace(centre, cases=cases)


def table_task(contract: InputContract) -> TrainingTask:
    """The exact fit of the table, in clear."""
    method = UNPROTECTED_METHOD.model_copy(update={"aggregation": Aggregation(method="newton")})
    return TrainingTask(contract=contract, network="table", rounds=8, batch_size=64, method=method)


def judge(folder: Path, seeds: int) -> None:
    """Write a line for each seed, with the effect and without."""
    cohort, result = Cohort.read(folder), folder / RESULTS
    result.touch()
    done = {(row["seed"], row["planted"]) for row in map(json.loads, result.read_text(encoding="utf-8").splitlines())}
    for seed, planted in product(range(seeds), (True, False)):
        if (seed, planted) in done:
            continue
        start = time.monotonic()
        centres = cohort.centres(seed, planted=planted)
        gate = gate_in_process(table_task(CONTRACT), LEARNED, centres)
        truth, error = gain_of_truth(cohort, centres)
        told = {"seed": seed, "planted": planted, **gate.to_json(), "truth": truth, "truth_error": error}
        with result.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**told, "seconds": round(time.monotonic() - start)}) + "\n")
    summarise(result)


def summarise(result: Path) -> None:
    """Print how often the term entered, and its gain beside that of the truth."""
    rows = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    for planted in (True, False):
        chosen = [row for row in rows if row["planted"] is planted]
        if chosen:
            gain, truth = (np.array([row[name] for row in chosen]) for name in ("gain", "truth"))
            print(
                f"planted {planted}: let in {sum(row['included'] for row in chosen)} of {len(chosen)}; gain of a"
                f" patient {gain.mean():+.4f} ({gain.min():+.4f} to {gain.max():+.4f}), by the truth"
                f" {truth.mean():+.4f};"
                f" at least half of it in {int((gain >= truth / 2).sum())}; {chosen[0]['patients']} patients"
            )


def main() -> None:
    """Render whom the folder lacks, then judge."""
    folder, *further = sys.argv[1:]
    patients, seeds = (int(given) for given in (*further, *("320", "5")[len(further) :]))
    render(Path(folder), patients)
    judge(Path(folder), seeds)


if __name__ == "__main__":
    main()
