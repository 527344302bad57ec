"""Node data of a synthetic cohort on a grid of its own, rendered without DICOM: what docs/evaluation.md evaluates.

    python benchmarks/evaluation_cohort.py OUT --patients 400 --spacing 16 --seed 41

`--spacing 0` draws the patients without any image: clinical data, outcomes and the true volume of the tumour.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from cohort.dicom import scanner_affine
from cohort.population import draw_patient
from cohort.rendering import render
from cohort.risk import follow_up, image_features, risk
from cohort.scanner import ct_image, pet_image
from cohort.simulate import distribute
from cohort.truth import concept_masks, write_json, write_masks
from imaging.loading import pseudonym
from imaging.volume import Volume
from inference.contract import default_contract
from inference.encoding import encode
from inference.preprocessing import model_grid, model_image, to_model_grid

if TYPE_CHECKING:
    from cohort.population import Patient
    from cohort.sites import Site
    from inference.contract import Contract

_SPACING_MM = (4.0, 4.0, 6.0)  # of the rendering
_KEY = b"synthetic patients have no identity"


def contract_of(spacing: float) -> Contract:
    """The default contract on a coarser grid of the same extent; one voxel for 0."""
    default = default_contract()
    if not spacing:
        return replace(default, shape=(1, 1, 1))
    shape = [round(n * default.spacing_mm / spacing) for n in default.shape]
    return replace(default, shape=(shape[0], shape[1], shape[2]), spacing_mm=spacing)


def write_site(site: Site, count: int, out: Path, contract: Contract, *, seed: int, signal: float) -> None:
    """One centre's node data."""
    (out / "cases").mkdir(parents=True)
    rows = [_write_case(draw_patient(site, n, seed=seed), out, contract, signal) for n in range(count)]
    with (out / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    header = {"site": site.code, "contract_fingerprint": contract.fingerprint, "synthetic": True, "signal": signal}
    write_json({**header, "vendor": site.vendor}, out / "node.json")


def _write_case(patient: Patient, out: Path, contract: Contract, signal: float) -> dict[str, object]:
    case_id = pseudonym(patient.id, _KEY)
    events = follow_up(patient, signal=signal)
    seen = [month for month in (events.progression, events.death) if month is not None]
    months = min(seen, default=events.last_news)
    image, concepts = _images(patient, contract)
    np.savez_compressed(
        out / "cases" / f"{case_id}.npz",
        image=image.astype(np.float16),
        clinical=encode(patient.observed, contract).values,
        months=np.float32(months),
        event=np.bool_(bool(seen)),
        concepts=concepts,
        supervised=np.full(len(contract.concepts), contract.shape != (1, 1, 1)),
    )
    return {
        "case_id": case_id,
        "months": f"{months:.4f}",
        "event": int(bool(seen)),
        "true_pfs_12m": f"{risk(patient, signal=signal).pfs_12m:.6f}",
        "tmtv_ml": f"{image_features(patient).tmtv_ml:.2f}",
    }


def _images(patient: Patient, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    concepts = np.zeros((len(contract.concepts), *contract.shape), np.uint8)
    if contract.shape == (1, 1, 1):
        return np.zeros((2, 1, 1, 1)), concepts
    body = render(patient, _SPACING_MM)
    scanned = (pet_image(body, patient), ct_image(body, patient))
    pet, ct = (Volume(one.array, scanner_affine(one.affine), one.unit) for one in scanned)
    study = SimpleNamespace(pet=pet, ct=ct)
    grid = model_grid(study, contract)
    with tempfile.TemporaryDirectory() as folder:
        write_masks(patient, body, Path(folder))
        masks = concept_masks(Path(folder))
    for i, name in enumerate(contract.concepts):
        concepts[i] = np.round(255 * to_model_grid(masks[name], grid))
    return model_image(study, contract), concepts


def main() -> None:
    """Write OUT/S1 … OUT/S8 and OUT/cohort.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--sites", type=int, default=8)
    parser.add_argument("--spacing", type=float, default=16.0)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--signal", type=float, default=0.85)
    given = parser.parse_args()
    contract = contract_of(given.spacing)
    for site, count in distribute(given.patients, given.sites):
        write_site(site, count, given.out / site.code, contract, seed=given.seed, signal=given.signal)
        print(site.code, count, flush=True)
    (given.out / "cohort.json").write_text(json.dumps({**vars(given), "out": given.out.name}, indent=1) + "\n")


if __name__ == "__main__":
    main()
