"""The adult male reference phantom of ICRP Publication 110 as a PET/CT with planted lesions.

Organ labels of a real man, from the head to the thighs, that nobody here drew: what no rule was written on. They are
read from the reference data (`../shared/data/icrp110`, or `FEDPET_REFERENCE_DATA`) and are no part of this repository.
Source: ICRP Publication 110 (2009), data set 1.2, as distributed with Geant4.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

PET_MM: Final = (4.0, 4.0, 4.0)
FWHM_MM, NOISE = 6.0, 0.07
_TUMOUR_HU = 40.0
_FWHM_TO_SD = 2.3548
_SKY: Final = ("Air inside body",)
# Beginning of the name of an ICRP organ -> structure; the first that fits. {side} stands for right or left.
_STRUCTURE_OF: Final = (
    ("Adrenal, {side}", "adrenal_{side}"),
    ("Humeri", "humerus_{side}"), ("Clavicles", "clavicle_{side}"), ("Cranium", "skull"), ("Mandible", "skull"),
    ("Teeth", "skull"), ("Femora", "femur_{side}"), ("Pelvis,", "hip_bone_{side}"), ("Ribs", "ribs_{side}"),
    ("Scapulae", "scapula_{side}"), ("Cervical spine", "spine_cervical"), ("Thoracic spine", "spine_thoracic"),
    ("Lumbar spine", "spine_lumbar"), ("Sacrum", "sacrum"), ("Sternum", "sternum"), ("Ulnae", "bone"),
    ("Wrists", "bone"), ("Tibiae", "bone"), ("Ankles", "bone"), ("Brain", "brain"), ("Eye lense, {side}", "eye_{side}"),
    ("Eye bulb, {side}", "eye_{side}"), ("Gall bladder", "gallbladder"), ("Stomach", "stomach"),
    ("Small intestine", "small_bowel"), ("Ascending colon", "colon"), ("Transverse colon", "colon"),
    ("Descending colon", "colon"), ("Sigmoid colon", "colon"), ("Rectum", "colon"), ("Heart wall", "heart_wall"),
    ("Heart contents", "heart_cavity"), ("Kidney, {side}, pelvis", "renal_pelvis_{side}"),
    ("Kidney, {side}", "kidney_{side}"), ("Liver", "liver"), ("Lung, {side}", "lung_{side}"), ("Muscle", "muscle"),
    ("Oesophagus", "oesophagus"), ("Pancreas", "pancreas"), ("Prostate", "prostate"), ("Salivary", "salivary_glands"),
    ("Spinal cord", "spinal_cord"), ("Spleen", "spleen"), ("Testis", "testes"), ("Thyroid", "thyroid"),
    ("Tonsils", "tonsils"), ("Ureter, {side}", "ureter_{side}"), ("Urinary bladder", "bladder"), ("Trachea", "trachea"),
    ("Blood vessels, trunk", "great_vessels"),
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A lesion to plant: the ICRP organ whose voxels its centre is drawn from, volume and true SUV."""

    site: str
    ml: float
    suv: float


SIX: Final = (
    Planted("Lung, left, tissue", 12.0, 9.0),
    Planted("Lung, right, tissue", 3.0, 6.0),
    Planted("Liver", 5.0, 7.0),
    Planted("Thoracic spine, spongiosa", 4.0, 7.0),
    Planted("Adrenal, right", 4.0, 8.0),
    Planted("Residual tissue, trunk", 4.0, 7.0),
)
PELVIC: Final = "Residual tissue, trunk"


@dataclass(frozen=True, eq=False)
class IcrpScan:
    """A rendered PET/CT.

    Attributes:
        pet: SUVbw, voxels of 4 mm.
        ct: HU, on the grid of the labels.
        truth: number of the planted lesion, on the PET grid.
        organs: the labels as structures, on the grid of the labels.
    """

    pet: Volume
    ct: Volume
    truth: Volume
    organs: OrganSegmentation


@dataclass(frozen=True, eq=False)
class IcrpMale:
    """The phantom: labels and, by organ number, name, density and usual SUV."""

    labels: Volume
    names: tuple[str, ...]
    density: NDArray[np.float32]
    suv: NDArray[np.float32]

    @staticmethod
    def read(folder: Path) -> IcrpMale:
        """From `icrp110_AM.npz` and its table."""
        held = np.load(folder / "icrp110_AM.npz")
        dz, dy, dx = (float(step) for step in held["spacing_mm"])
        labels = held["labels"]
        affine = np.diag([dx, dy, dz, 1.0])
        affine[:3, 3] = [-dx * labels.shape[2] / 2, -dy * labels.shape[1] / 2, 0.0]
        with (folder / "icrp110_AM_organs.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        size = 1 + max(int(row["id"]) for row in rows)
        names, density, suv = ["" for _ in range(size)], np.full(size, 0.001, np.float32), np.zeros(size, np.float32)
        for row in rows:
            number = int(row["id"])
            names[number] = row["organ"]
            density[number], suv[number] = float(row["density_g_cm3"]), float(row["suv"])
        return IcrpMale(Volume(labels, affine, "label"), tuple(names), density, suv)

    def organ(self, name: str) -> Mask:
        """Voxels of the organs whose names begin so."""
        numbers = [number for number, one in enumerate(self.names) if one.startswith(name)]
        return np.isin(self.labels.array, numbers)

    @cached_property
    def organs(self) -> OrganSegmentation:
        """The labels as structures; what lies on either side of the midline is told by its place."""
        table = np.zeros((2, len(self.names)), np.uint8)
        for row, side in enumerate(("right", "left")):
            for number, name in enumerate(self.names):
                for beginning, structure in _STRUCTURE_OF:
                    if name.startswith(beginning.format(side=side)):
                        table[row, number] = STRUCTURES[structure.format(side=side)].number
                        break
                    if "{side}" in beginning and name.startswith(beginning.format(side=_other(side))):
                        table[row, number] = STRUCTURES[structure.format(side=_other(side))].number
                        break
        middle = self.labels.shape[2] // 2
        left = np.arange(self.labels.shape[2]) >= middle  # columns run to the left
        array = np.where(left, table[1][self.labels.array], table[0][self.labels.array])
        known = frozenset(name for name, one in STRUCTURES.items() if (array == one.number).any())
        return OrganSegmentation(self.labels.like(array, "label"), OrganSource.GIVEN, "ICRP 110", known)

    @cached_property
    def ct(self) -> NDArray[np.int16]:
        """HU from the densities."""
        d = self.density
        hu = np.where(d < 1.06, (d - 1) * 1000, (d - 1) * 900)
        hu[[number for number, name in enumerate(self.names) if name.endswith(", tissue") and "Lung" in name]] = -780
        return hu[self.labels.array].astype(np.int16)

    def render(
        self,
        planted: Sequence[Planted] = SIX,
        *,
        seed: int = 0,
        uptake: Mapping[str, float] | None = None,
        fwhm_mm: float = FWHM_MM,
        noise: float = NOISE,
    ) -> IcrpScan:
        """Plant lesions and scan.

        Args:
            planted: lesions; each lies at a place drawn from its organ, at least 2 cm from the others.
            seed: of the places and the noise.
            uptake: beginning of an ICRP organ's name -> another SUV, such as {"Ureter": 10.0}.
            fwhm_mm: resolution.
            noise: standard deviation, relative.
        """
        rng = np.random.default_rng([110, seed])
        uptakes = self.suv.copy()
        for name, suv in (uptake or {}).items():
            uptakes[[number for number, one in enumerate(self.names) if one.startswith(name)]] = suv
        suv, hu = uptakes[self.labels.array], self.ct.astype(np.float32)
        marked = self._places(planted, rng)
        for number, lesion in enumerate(planted, start=1):
            inside = marked.array == number
            suv[inside] = lesion.suv
            hu[inside & (hu < _TUMOUR_HU)] = _TUMOUR_HU
        grid = self._pet_grid()
        blurred = ndimage.gaussian_filter(suv, [fwhm_mm / _FWHM_TO_SD / step for step in self.labels.spacing[::-1]])
        pet = resample(self.labels.like(blurred, "g/ml"), grid, outside=0.0)
        grain = ndimage.gaussian_filter(rng.standard_normal(pet.shape), 0.8)
        pet = pet.like((pet.array * (1 + noise * grain / grain.std())).clip(0).astype(np.float32), "g/ml")
        grain_ct = rng.standard_normal(hu.shape).astype(np.float32) * 12
        ct = self.labels.like(np.where(self.labels.array > 0, hu + grain_ct, -1000).astype(np.int16), "HU")
        truth = resample(marked, grid, interpolation="nearest", outside=0)
        return IcrpScan(pet, ct, truth, self.organs)

    def _pet_grid(self) -> Grid:
        low, high = self.labels.bounds
        x, y, z = PET_MM
        affine = np.diag([x, y, z, 1.0])
        affine[:3, 3] = low + np.array(PET_MM) / 2
        columns, rows, slices = (int(n) for n in (high - low) / np.array(PET_MM))
        return Grid((slices, rows, columns), affine)

    def _places(self, planted: Sequence[Planted], rng: np.random.Generator) -> Volume:
        """Balls around places drawn from the sites, at least 2 cm of tissue from each other."""
        array = np.zeros(self.labels.shape, np.uint8)
        centres: list[NDArray[np.float64]] = []
        for number, lesion in enumerate(planted, start=1):
            radius = (3000 * lesion.ml / (4 * np.pi)) ** (1 / 3)
            candidates = self._candidates(lesion)
            while True:
                centre = self.labels.to_mm(candidates[rng.integers(len(candidates))].astype(float))
                if all(np.linalg.norm(centre - other) > 20 + 2 * radius for other in centres):
                    break
            centres.append(centre)
            array[self._ball(centre, radius)] = number
        return self.labels.like(array, "label")

    def _candidates(self, lesion: Planted) -> NDArray[np.int_]:
        """Voxels where the centre of a lesion may lie."""
        inside = self.organ(lesion.site)
        if lesion.site == PELVIC:  # fat of the pelvis, beside its organs
            hips = np.flatnonzero(self.organ("Pelvis,").any(axis=(1, 2)))
            inside[: hips[0] + 6] = inside[hips[-1] - 6 :] = False
            middle = self.labels.shape[2] // 2
            inside[:, :, : middle - 25] = inside[:, :, middle + 25 :] = False
            bladder = ndimage.distance_transform_edt(~self.organ("Urinary bladder"), sampling=self.labels.spacing[::-1])
            inside &= (bladder > 12) & (bladder < 60)
        elif "Adrenal" not in lesion.site and "spine" not in lesion.site:
            inside = ndimage.binary_erosion(inside, iterations=2) if inside.sum() > 20_000 else inside
        return np.argwhere(inside)

    def _ball(self, centre: NDArray[np.float64], radius: float) -> Mask:
        index = self.labels.to_index(centre)
        offsets = [
            ((np.arange(size) - middle) * step) ** 2
            for size, middle, step in zip(self.labels.shape, index, self.labels.spacing[::-1], strict=True)
        ]
        distance: NDArray[Any] = offsets[0][:, None, None] + offsets[1][:, None] + offsets[2]
        return np.asarray(distance <= radius**2)


def _other(side: str) -> str:
    return "left" if side == "right" else "right"
