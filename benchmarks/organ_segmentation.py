"""How well the learned organs and the rules agree with the truth, on bodies that neither was made on.

    python -m benchmarks.organ_segmentation [--network DIR] [--patients N] [--seed S] [--icrp DIR] [--picture FILE]

Held-out bodies: varied patients of another seed than any that was trained on, rendered on 4 mm and scanned as their
centre does, lesions included (a voxel of a lesion keeps the structure it lies in). ICRP 110 male: labels of a real man
(`benchmarks/icrp_phantom.py`), never trained on, in `../shared/data/icrp110`. Dice on the 4 mm grid of the anatomy:
median over the patients that have the organ, and 10th percentile. "Rules" are what is used without a network.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from benchmarks.icrp_phantom import IcrpMale
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.segmenters.organ_network import SHIPPED, LearnedOrgans
from fedpet.imaging.volume import Volume
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render
from training.simulation.phantom.varied.structures import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation
    from training.simulation.phantom.rendering import Body

    Mask = NDArray[np.bool_]

SPACING: Final = (4.0, 4.0, 4.0)
GOAL: Final = ("brain", "heart", "lung_right", "lung_left", "liver", "spleen", "kidney_right", "kidney_left", "bladder")
ALSO: Final = (
    "aorta", "stomach", "small_bowel", "colon", "gallbladder", "pancreas", "adrenal_right", "adrenal_left",
    "ureter_right", "ureter_left", "salivary_glands", "thyroid", "prostate", "muscle", "skull", "spine_cervical",
    "spine_thoracic", "spine_lumbar", "sacrum", "sternum", "ribs_right", "ribs_left", "hip_bone_right", "femur_left",
)  # fmt: skip
_JOINED: Final = {
    "heart": ("heart_wall", "heart_cavity"),
    "kidney_right": ("kidney_right", "renal_pelvis_right"),
    "kidney_left": ("kidney_left", "renal_pelvis_left"),
}
_UNSIDED: Final = {"ribs": "ribs", "hip_bone": "hip_bones", "femur": "femora"}


@dataclass(frozen=True, eq=False)
class Case:
    """A scanned body and the structures it was made of."""

    pet: Volume
    ct: Volume
    truth: Volume
    names: dict[str, tuple[int, ...]]

    def mask(self, name: str, grid: Grid) -> Mask:
        """True voxels of a structure on a grid."""
        chosen = np.isin(self.truth.array, self.names.get(name, ())).astype(np.uint8)
        volume = Volume(chosen, self.truth.affine, "label")
        return np.asarray(resample(volume, grid, interpolation="nearest", outside=0).array > 0)


def simulated(number: int, seed: int) -> Case:
    """A varied patient of another seed than the training."""
    drawn = draw_patient(SITES[number % len(SITES)], number, seed=seed)
    patient = replace(drawn, anatomy=replace(drawn.anatomy, varied=True))
    body = render(patient, SPACING)
    return structures_of(pet_image(body, patient), ct_image(body, patient), body)


def structures_of(pet: Volume, ct: Volume, body: Body) -> Case:
    """A varied body, scanned, with the structures that it was made of."""
    truth = np.zeros(body.lattice.shape, np.uint8) if body.structures is None else body.structures
    numbers = {name: i for i, name in enumerate(NAMES, start=1)}
    names = {
        name: tuple(numbers[one] for one in _JOINED.get(name, (name,)) if one in numbers) for name in (*GOAL, *ALSO)
    }
    return Case(pet, ct, Volume(truth, body.lattice.affine, "label"), names)


def icrp_male(folder: Path) -> Case:
    """The ICRP 110 male without lesions."""
    scan = IcrpMale.read(folder).render(())
    names = {name: tuple(STRUCTURES[one].number for one in _JOINED.get(name, (name,))) for name in (*GOAL, *ALSO)}
    return Case(scan.pet, scan.ct, scan.organs.labels, names)


def dices(case: Case, found: OrganSegmentation, names: Sequence[str]) -> dict[str, float]:
    """Dice of every organ that is there."""
    grid = Grid.of(found.labels)
    result = {}
    for name in names:
        truth, mask = case.mask(name, grid), found.mask(name)
        if truth.any():
            result[name] = float(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
    return result


@dataclass(frozen=True, eq=False)
class Comparison:
    """Dice of one body, by organ, and CPU seconds of the network."""

    learned: dict[str, float]
    rules: dict[str, float]
    seconds: float


def compare(case: Case, network: LearnedOrgans) -> Comparison:
    """Both ways on one body, each on the grid of the anatomy."""
    started = time.process_time()
    found = network.segment(case.ct, case.pet)
    seconds = time.process_time() - started
    anatomy = PatientAnatomy(case.pet, case.ct)
    learned = dices(case, found.on(Grid.of(anatomy.body.ct)), (*GOAL, *ALSO))
    return Comparison(learned, dices(case, anatomy.organs, GOAL), seconds)


def report(title: str, compared: Sequence[Comparison]) -> None:
    """Print the table of some bodies."""
    print(f"{title}: {len(compared)} bodies; network {np.median([one.seconds for one in compared]):.2f} CPU s")
    print("  organ            bodies  network: median  10th pct.  rules: median  10th pct.")
    for name in (*GOAL, *ALSO):
        learned = [one.learned[name] for one in compared if name in one.learned]
        rules = [one.rules[name] for one in compared if name in one.rules]
        if learned:
            row = f"  {name:16} {len(learned):6} {np.median(learned):16.2f} {np.percentile(learned, 10):10.2f}"
            print(row + (f" {np.median(rules):14.2f} {np.percentile(rules, 10):10.2f}" if rules else ""))


def picture(case: Case, network: LearnedOrgans, path: Path) -> None:
    """Coronal slices of CT, PET, truth and network side by side."""
    found = network.segment(case.ct, case.pet).labels
    grid = Grid.of(found)
    colours = np.random.default_rng(3).integers(50, 255, (256, 3)).astype(np.uint8)
    colours[0] = 0
    hu = resample(case.ct, grid, outside=-1000).array
    suv = resample(case.pet, grid, outside=0).array
    truth = resample(case.truth, grid, interpolation="nearest", outside=0).array
    rows = []
    for row in np.linspace(0.35, 0.65, 4) * hu.shape[1]:
        at = int(row)
        grey = [np.clip((hu[:, at] + 200) / 450, 0, 1) * 255, 255 - np.clip(suv.max(axis=1) / 8, 0, 1) * 255]
        panels = [np.repeat(one[..., None], 3, axis=2).astype(np.uint8) for one in grey]
        panels += [colours[truth[:, at]], colours[found.array[:, at]]]
        rows.append(np.concatenate(panels, axis=1)[::-1])
    Image.fromarray(np.concatenate(rows)).save(path)


def _held_out(patients: int, seed: int) -> Iterator[Case]:
    return (simulated(number, seed) for number in range(patients))


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=SHIPPED)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=909)
    parser.add_argument("--icrp", type=Path, default=Path(__file__).resolve().parents[2] / "shared/data/icrp110")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    network = LearnedOrgans.load(options.network, threads=1)
    if options.patients:
        report(
            "varied simulated patients", [compare(case, network) for case in _held_out(options.patients, options.seed)]
        )
    if options.icrp.is_dir():
        male = icrp_male(options.icrp)
        report("ICRP 110 male", [compare(male, network)])
        if options.picture:
            picture(male, network, options.picture)


if __name__ == "__main__":
    main()
