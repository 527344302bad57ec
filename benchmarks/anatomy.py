"""How well the automatic anatomy finds the organs, references and regions of synthetic patients.

    python -m benchmarks.anatomy [--patients N] [--seed S] [--spacing X Y Z]

The patients are drawn from the eight centres of `cohort` in turn; their bodies are rendered, and scanned by PET and CT,
on voxels of `--spacing`. The truth is read off the painted tissues, without lesions, on the coarse grid of
`fedpet.imaging.anatomy.body`. Ureters and salivary glands are corridors: of them only the share of the true organ that
they cover says something. A lesion's region agrees if it is one of `expected_regions`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.regions import locate_lesions
from fedpet.imaging.anatomy.rules.organs import KNOWN
from fedpet.imaging.quality.pitfalls import pitfall_checks
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.reference_body import SPINE
from training.simulation.phantom.canvas import Canvas
from training.simulation.phantom.rendering import render
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from training.simulation.patients.metastases import LesionSpec
    from training.simulation.patients.population import Patient
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.rendering import Body

    Mask = NDArray[np.bool_]

_GUT: Final = (Tissue.GUT_LOW, Tissue.GUT, Tissue.GUT_HIGH, Tissue.STOMACH, Tissue.GAS, Tissue.TENDON)
_BONE: Final = (Tissue.BONE, Tissue.MARROW, Tissue.SKULL, Tissue.FATTY_MARROW)
_BRAIN: Final = (Tissue.CORTEX, Tissue.WHITE_MATTER)
_CORRIDORS: Final = ("salivary_glands", "ureter_right", "ureter_left")
_STATIONS: Final = {
    "2R": ("mediastinum",),
    "4R": ("mediastinum",),
    "4L": ("mediastinum",),
    "5": ("mediastinum",),
    "7": ("mediastinum",),
    "10R": ("hilum_right",),
    "10L": ("hilum_left",),
    "supraclavicular_R": ("supraclavicular_right",),
    "supraclavicular_L": ("supraclavicular_left",),
    "coeliac": ("retroperitoneum",),
    "para_aortic": ("retroperitoneum",),
    "adrenal_R": ("adrenal_right",),
    "adrenal_L": ("adrenal_left",),
}
_BONES: Final = {
    "L": "bone_spine_lumbar",
    "T": "bone_spine_thoracic",
    "iliac": "bone_pelvis",
    "sacrum": "bone_pelvis",
    "femur": "bone_femur",
    "sternum": "bone_sternum",
    "rib": "bone_rib",
    "humerus": "bone_humerus",
}


@dataclass(frozen=True, eq=False)
class Case:
    """A synthetic patient, scanned."""

    patient: Patient
    body: Body
    pet: Volume
    ct: Volume

    @staticmethod
    def draw(number: int, *, seed: int, spacing: Mm) -> Case:
        """Patient `number` over all centres."""
        return Case.of(draw_patient(SITES[number % len(SITES)], number // len(SITES), seed=seed), spacing)

    @staticmethod
    def of(patient: Patient, spacing: Mm) -> Case:
        """A patient rendered and scanned."""
        body = render(patient, spacing)
        return Case(patient, body, pet_image(body, patient), ct_image(body, patient))

    @cached_property
    def anatomy(self) -> PatientAnatomy:
        """What was found in the images."""
        return PatientAnatomy(self.pet, self.ct)

    @cached_property
    def regions(self) -> dict[int, str]:
        """Region that was found for each lesion, by its number."""
        return locate_lesions(Volume(self.body.lesions, self.body.lattice.affine, "label"), self.anatomy)

    @property
    def references(self) -> OrganReferences:
        """References that were measured."""
        return self.anatomy.references

    @cached_property
    def warned(self) -> dict[str, bool]:
        """Whether each circumstance that was judged gave a warning."""
        return {check.name: check.level is CheckStatus.WARN for check in pitfall_checks(self.anatomy)}

    @cached_property
    def true_circumstances(self) -> dict[str, bool]:
        """What the checks should say; no synthetic patient has brown fat or an extravasation."""
        anatomy = self.patient.anatomy
        return {
            "arms": not anatomy.arms_up,
            "contrast_ct": self.patient.acquisition.contrast,
            "effusion": anatomy.effusion,
            "extravasation": False,
            "brown_fat": False,
        }

    @cached_property
    def true_organs(self) -> dict[str, Mask]:
        """Organs as they were painted, on the coarse grid; lesions belong to none."""
        return {name: self.on_coarse_grid(mask & (self.body.lesions == 0)) for name, mask in _painted(self).items()}

    def found(self, organ: str) -> Mask:
        """An organ as it was found, without what is lesion; vertebral marrow belongs to the bone too."""
        organs = self.anatomy.organs
        mask = organs.mask(organ) | organs.mask("marrow") if organ == "bone" else organs.mask(organ)
        return mask & ~self._lesions

    @cached_property
    def _lesions(self) -> Mask:
        return self.on_coarse_grid(self.body.lesions > 0)

    def on_coarse_grid(self, mask: Mask) -> Mask:
        """A mask of the body on the grid of the organs."""
        volume = Volume(mask.astype(np.uint8), self.body.lattice.affine, "label")
        grid = Grid.of(self.anatomy.body.ct)
        return np.asarray(resample(volume, grid, interpolation="nearest", outside=0).array > 0)

    def dice(self, organ: str) -> float:
        """Agreement of an organ with the truth."""
        truth, found = self.true_organs[organ], self.found(organ)
        return float(2 * (truth & found).sum() / max(truth.sum() + found.sum(), 1))

    def covered(self, organ: str) -> float:
        """Share of the true organ that was found."""
        truth = self.true_organs[organ]
        return float((truth & self.found(organ)).sum() / max(truth.sum(), 1))

    @property
    def aorta_in_blood(self) -> float:
        """Share of the aorta found above the diaphragm that is blood."""
        organs = self.anatomy.organs
        aorta = organs.mask("aorta")
        aorta[: int(self.anatomy.landmarks.diaphragm or 0)] = False
        return float(self.on_coarse_grid(self.body.tissues == Tissue.BLOOD)[aorta].mean())

    def true_suv(self, organ: str) -> float:
        """Mean uptake of the healthy organ as the calibrated scanner shows it."""
        inside = (self.body.tissues == Tissue[organ.upper()]) & (self.body.lesions == 0)
        return float(self.body.suv[inside].mean()) * self.patient.acquisition.calibration


def _painted(case: Case) -> dict[str, Mask]:
    """Organs on the body's lattice, told apart by tissue and place in the reference body."""
    tissues = case.body.tissues
    place = Canvas(case.patient.anatomy, case.body.lattice)
    x, y, z = place.x, place.y, place.z

    def made_of(*kinds: Tissue) -> Mask:
        return np.isin(tissues, kinds)

    urine, lung = made_of(Tissue.URINE), made_of(Tissue.LUNG, Tissue.VESSEL)
    kidney = ndimage.binary_closing((made_of(Tissue.KIDNEY) | urine) & (z > 385), iterations=3)
    tube = urine & (z > 268) & ~ndimage.binary_dilation(kidney)
    heart = ndimage.binary_opening(made_of(Tissue.BLOOD, Tissue.MYOCARDIUM), np.ones((5, 9, 9)))
    return {
        "brain": made_of(*_BRAIN) & (z > 890),
        "salivary_glands": made_of(Tissue.GLAND) & (z > 825),
        "heart": heart,
        "aorta": made_of(Tissue.BLOOD) & ~heart & (x > -9) & (z > 385) & (z < 720) & (y > _front_of_aorta(z)),
        "liver": made_of(Tissue.LIVER),
        "spleen": made_of(Tissue.SPLEEN),
        "kidney_right": kidney & (x < 0),
        "kidney_left": kidney & (x > 0),
        "ureter_right": tube & (x < 0),
        "ureter_left": tube & (x > 0),
        "bladder": urine & (z < 268),
        "bowel": made_of(*_GUT) & (z > 272) & (z < 560) & (np.abs(x) < 125) & (y < 48),
        "bone": made_of(*_BONE),
        "marrow": made_of(Tissue.BONE, Tissue.MARROW, Tissue.DISC) & _vertebral(x, y, z),
        "lung_right": lung & (x < 0),
        "lung_left": lung & (x > 0),
    }


def _front_of_aorta(z: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.interp(z, [385, 440, 520, 600, 720], [-2, -2, 18, 20, 20]).astype(np.float32)


def _vertebral(x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]) -> Mask:
    """Within the vertebral bodies, L5 to T1, and their discs."""
    bodies = [one for one in SPINE if one.name[0] in "LT"]
    heights = [one.centre[2] for one in bodies]
    row = np.interp(z, heights, [one.centre[1] for one in bodies])
    width = np.interp(z, heights, [one.half_width for one in bodies])
    return np.asarray((np.abs(x) < width) & (np.abs(y - row) < 18) & (z > heights[0] - 15) & (z < heights[-1] + 8))


def expected_regions(lesion: LesionSpec) -> tuple[str, ...]:
    """Regions that say rightly where a lesion was drawn."""
    if lesion.kind in {"primary", "lung"}:
        return lesion.place, f"{lesion.place}_upper", f"{lesion.place}_lower"
    if lesion.kind == "bone":
        stem = lesion.place.split("_")[0]
        return (_BONES[stem if stem in _BONES else stem[0]],)
    return _STATIONS.get(lesion.place, (lesion.place,))


def on_the_other_side(lesion: LesionSpec, region: str) -> bool:
    """Whether a region names the side of the body where the lesion is not."""
    sides = {"R": "left", "right": "left", "L": "right", "left": "right"}
    wrong = sides.get(lesion.place.split("_")[-1])
    return wrong is not None and wrong in region.split("_")


def report(cases: Sequence[Case]) -> None:
    """Print all figures."""
    print(f"{len(cases)} synthetic patients, voxels {cases[0].pet.spacing} mm")
    _report_organs(cases)
    _report_references(cases)
    _report_regions(cases)
    _report_circumstances(cases)


def _report_organs(cases: Sequence[Case]) -> None:
    print("organ              found     Dice median  10th pct.   covered median")
    for organ in sorted(KNOWN):
        known = [case for case in cases if case.true_organs[organ].any()]
        dice = np.array([case.dice(organ) for case in known])
        covered = np.median([case.covered(organ) for case in known])
        found = f"{sum(case.found(organ).any() for case in known)}/{len(known)}"
        agrees = (
            f"{np.median(dice):12.2f} {np.percentile(dice, 10):12.2f}" if organ not in _CORRIDORS else f"{'-':>12}" * 2
        )
        print(f"  {organ:16} {found:>6} {agrees} {covered:14.2f}")
    inside = [case.aorta_in_blood for case in cases]
    print(f"  aorta above the diaphragm within blood: {np.median(inside):.2f} {np.percentile(inside, 10):.2f}")


def _report_references(cases: Sequence[Case]) -> None:
    print("reference: error of the mean against the true uptake, median of the amounts and largest; not measured")
    for name, tissue in (("liver", "liver"), ("blood_pool", "blood"), ("spleen", "spleen"), ("marrow", "marrow")):
        measured = [(case.true_suv(tissue), getattr(case.references, name)) for case in cases]
        error = np.abs([one.suv_mean / truth - 1 for truth, one in measured if one])
        missing = [str(case.references.reasons[name]) for case in cases if name in case.references.reasons]
        print(f"  {name:11} {np.median(error):6.1%} {error.max():7.1%}   {missing}")


def _report_regions(cases: Sequence[Case]) -> None:
    print("region of lesions: agrees; on the other side; what else")
    rows: Mapping[str, list[tuple[LesionSpec, str]]] = defaultdict(list)
    for case in cases:
        for number, region in case.regions.items():
            lesion = case.patient.lesions[number - 1]
            rows[lesion.kind].append((lesion, region))
    for kind, found in rows.items():
        agrees = sum(region in expected_regions(lesion) for lesion, region in found)
        swapped = sum(on_the_other_side(lesion, region) for lesion, region in found)
        others = [f"{one.place}: {region}" for one, region in found if region not in expected_regions(one)]
        print(f"  {kind:8} {agrees}/{len(found)}   {swapped}   {', '.join(others)}")


def _report_circumstances(cases: Sequence[Case]) -> None:
    print("check: false alarms / patients without it; warned / patients with it")
    for name in cases[0].true_circumstances:
        judged = [(case.true_circumstances[name], case.warned[name]) for case in cases if name in case.warned]
        without = [warned for true, warned in judged if not true]
        present = [warned for true, warned in judged if true]
        print(f"  {name:14} {sum(without)}/{len(without)}   {sum(present)}/{len(present)}")


def main() -> None:
    """Draw the patients and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--spacing", type=float, nargs=3, default=(4.0, 4.0, 6.0))
    options = parser.parse_args()
    x, y, z = options.spacing
    report([Case.draw(number, seed=options.seed, spacing=(x, y, z)) for number in range(options.patients)])


if __name__ == "__main__":
    main()
