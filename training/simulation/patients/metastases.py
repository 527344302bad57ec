"""Where a patient's disease has spread: the lesions, drawn from burden, avidity and propensity to necrosis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.simulation.patients import reference_body as landmarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.simulation.patients.reference_body import Mm

LesionKind = Literal["primary", "node", "lung", "liver", "bone", "adrenal", "brain"]
KINDS: tuple[LesionKind, ...] = ("primary", "node", "lung", "liver", "bone", "adrenal", "brain")
_MAX_PER_ORGAN = 10

# log of the median diameter (mm), slope on burden, residual SD, smallest and largest diameter
_DIAMETERS: dict[LesionKind, tuple[float, float, float, float, float]] = {
    "primary": (math.log(44), 0.32, 0.30, 12, 100),
    "node": (math.log(19), 0.22, 0.28, 8, 52),
    "lung": (math.log(13), 0.15, 0.30, 7, 40),
    "liver": (math.log(23), 0.20, 0.30, 10, 62),
    "bone": (math.log(22), 0.12, 0.28, 10, 42),
    "adrenal": (math.log(24), 0.15, 0.30, 11, 58),
    "brain": (math.log(13), 0.10, 0.35, 6, 35),
}


@dataclass(frozen=True)
class LesionSpec:
    """One lesion. `centre` is in the reference body, `axes` (semi-axes) are real millimetres.

    `necrosis` is the necrotic share of the volume, `suv` the mean of the active part at 60 min.
    """

    kind: LesionKind
    place: str
    centre: Mm
    axes: Mm
    suv: float
    necrosis: float
    heterogeneity: float
    seed: int

    @property
    def ml(self) -> float:
        """Volume with its necrosis."""
        return 4 / 3 * math.pi * math.prod(self.axes) / 1000

    @property
    def active_ml(self) -> float:
        """Volume without its necrosis."""
        return self.ml * (1 - self.necrosis)


@dataclass(frozen=True)
class _Disease:
    rng: np.random.Generator
    burden: float
    avidity: float
    necrosis: float

    def chance(self, intercept: float, slope: float) -> bool:
        """A Bernoulli draw with a logistic probability in burden."""
        return bool(self.rng.random() < 1 / (1 + math.exp(-intercept - slope * self.burden)))

    def count(self, log_mean: float, slope: float) -> int:
        """A bounded Poisson draw, log-linear in burden."""
        return min(int(self.rng.poisson(math.exp(log_mean + slope * self.burden))), _MAX_PER_ORGAN)

    def around(self, centre: Mm, reach: Mm) -> Mm:
        """A uniform point of an ellipsoid."""
        direction = self.rng.normal(size=3)
        direction *= self.rng.random() ** (1 / 3) / np.linalg.norm(direction)
        x, y, z = (c + r * u for c, r, u in zip(centre, reach, direction, strict=True))
        return float(x), float(y), float(z)

    def choose(self, places: dict[str, Mm], number: int, jitter: float) -> list[tuple[str, Mm]]:
        """Distinct named places with a jitter, mm."""
        names = list(places)
        chosen = self.rng.permutation(len(names))[: min(number, len(names))]
        return [(names[i], self.around(places[names[i]], (jitter, jitter, jitter))) for i in chosen]

    def lesion(self, kind: LesionKind, place: str, centre: Mm) -> LesionSpec:
        """Size, uptake and necrosis of a lesion."""
        rng = self.rng
        median, slope, sd, low, high = _DIAMETERS[kind]
        diameter = min(max(math.exp(median + slope * self.burden + sd * rng.normal()), low), high)
        shape = np.exp(rng.normal(0, 0.14, 3))
        x, y, z = (float(v) for v in diameter / 2 * shape / np.prod(shape) ** (1 / 3))
        suv = math.exp(math.log(8.5) + 0.33 * self.avidity + 0.25 * rng.normal() + 0.22 * math.log(diameter / 25))
        share = 1 / (1 + math.exp(2.1 - self.necrosis - 1.25 * math.log(diameter / 35)))
        necrosis = min(max(share + 0.02 * rng.normal(), 0.0), 0.7) if diameter > 22 and kind != "brain" else 0.0
        heterogeneity = min(max(0.12 + 0.06 * self.necrosis + 0.05 * rng.normal(), 0.02), 0.4)
        return LesionSpec(
            kind=kind,
            place=place,
            centre=centre,
            axes=(x, y, z),
            suv=min(max(suv, 2.8), 30.0),
            necrosis=necrosis,
            heterogeneity=heterogeneity,
            seed=int(rng.integers(2**31)),
        )


def draw_lesions(rng: np.random.Generator, burden: float, avidity: float, necrosis: float) -> tuple[LesionSpec, ...]:
    """The primary tumour and at least one metastasis (the disease is metastatic by definition)."""
    disease = _Disease(rng, burden, avidity, necrosis)
    side = 1 if rng.random() < 0.45 else -1
    lesions = [disease.lesion("primary", _lung_name(side), _lung_point(disease, side))]
    for place, centre in disease.choose(landmarks.NODE_STATIONS, disease.count(-0.25, 0.42), 3.0):
        lesions.append(disease.lesion("node", place, centre))
    for _ in range(disease.count(-0.15, 0.55)):
        where = -side if rng.random() < 0.6 else side
        lesions.append(disease.lesion("lung", _lung_name(where), _lung_point(disease, where)))
    lesions += _haematogenous(disease)
    if not is_metastatic(lesions):
        lesions.append(disease.lesion("lung", _lung_name(-side), _lung_point(disease, -side)))
    return tuple(lesions)


def _haematogenous(disease: _Disease) -> list[LesionSpec]:
    """Liver, bone, adrenal and brain metastases."""
    lesions = []
    if disease.chance(-1.75, 0.8):
        for _ in range(1 + disease.count(0.1, 0.55)):
            centre = disease.around(landmarks.LIVER_CENTRE, landmarks.LIVER_REACH)
            lesions.append(disease.lesion("liver", "liver", centre))
    if disease.chance(-1.0, 0.75):
        for place, centre in disease.choose(landmarks.BONE_SITES, 1 + disease.count(0.25, 0.6), 2.0):
            lesions.append(disease.lesion("bone", place, centre))
    for place, centre in landmarks.ADRENALS.items():
        if disease.chance(-2.2, 0.7):
            lesions.append(disease.lesion("adrenal", place, centre))
    if disease.chance(-1.42, 0.45):
        for _ in range(1 + disease.count(-0.3, 0.3)):
            centre = disease.around(landmarks.BRAIN_CENTRE, landmarks.BRAIN_REACH)
            lesions.append(disease.lesion("brain", "brain", centre))
    return lesions


def is_metastatic(lesions: Sequence[LesionSpec]) -> bool:
    """Whether any lesion lies outside the primary's lung and the thoracic lymph nodes."""
    return bool(metastatic_organs(lesions))


def metastatic_organs(lesions: Sequence[LesionSpec]) -> frozenset[str]:
    """Organs with distant metastases."""
    primary = lesions[0].place
    organs = set()
    for lesion in lesions[1:]:
        if lesion.kind == "node":
            if lesion.place in landmarks.DISTANT_STATIONS:
                organs.add("node")
        elif lesion.kind != "lung" or lesion.place != primary:
            organs.add(lesion.kind)
    return frozenset(organs)


def _lung_point(disease: _Disease, side: int) -> Mm:
    x, y, z = disease.around(landmarks.LUNG_CENTRE, landmarks.LUNG_REACH)
    return side * x, y, z


def _lung_name(side: int) -> str:
    return "lung_left" if side > 0 else "lung_right"
