"""What is particular about a body: build, posture, variants of organs, operations, disease other than tumours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from training.simulation.patients.population import PatientAnatomy

KidneyVariant = Literal["two", "right only", "left only", "ptotic right", "horseshoe", "small left", "cystic"]
BowelPattern = Literal["quiet", "usual", "segmental", "metformin", "oral contrast"]
LungVariant = Literal["whole", "lobectomy", "pneumonectomy"]
Side = Literal[-1, 1]  # right, left


@dataclass(frozen=True, kw_only=True)
class BodyTraits:
    """The variants of one body; lengths in mm, volumes in ml.

    Attributes:
        segments: relative lengths of thighs and pelvis, abdomen, chest, neck, head.
        girth: factors on width and depth.
        scoliosis: amplitude of the lateral curve, positive to the left, and its height from end to end.
        domes: height of the right dome of the diaphragm above its usual place, and of the left one.
        muscle_activity: uptake of exercised muscle relative to resting muscle; 1 without exercise.
        side: of what is one-sided (operation of a lung, radiation, prosthesis).
    """

    sex: Literal["F", "M"]
    seed: int
    segments: tuple[float, float, float, float, float]
    girth: tuple[float, float]
    scoliosis: tuple[float, float]
    domes: tuple[float, float]
    side: Side
    kidneys: KidneyVariant
    bladder_ml: float
    urine_in_ureters: tuple[float, float]
    hydronephrosis: float
    bowel: BowelPattern
    stomach_ml: float
    hiatus_hernia: bool
    heart_size: float
    liver_size: float
    left_lobe_mm: float
    spleen_size: float
    gallbladder: bool
    uterus: bool
    lungs: LungVariant
    effusion: tuple[float, float]
    radiation_lung: bool
    thymus: bool
    brown_fat: bool
    implants: bool
    hip_prosthesis: bool
    spinal_rods: bool
    muscle_activity: float


def draw_traits(anatomy: PatientAnatomy) -> BodyTraits:
    """Draw the variants of a body; they follow from its `warp_seed` and `sex`."""
    rng = np.random.default_rng([anatomy.warp_seed, 7])

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    kidneys: list[KidneyVariant] = [
        "two",
        "right only",
        "left only",
        "ptotic right",
        "horseshoe",
        "small left",
        "cystic",
    ]
    bowels: list[BowelPattern] = ["quiet", "usual", "segmental", "metformin", "oral contrast"]
    lungs: list[LungVariant] = ["whole", "lobectomy", "pneumonectomy"]
    segments = 1 + rng.normal(0, [0.05, 0.06, 0.05, 0.10, 0.03])
    return BodyTraits(
        sex=anatomy.sex,
        seed=anatomy.warp_seed,
        segments=tuple(float(s) for s in np.clip(segments, 0.8, 1.25)),  # type: ignore[arg-type]  # five of them
        girth=(float(np.clip(rng.normal(1, 0.05), 0.88, 1.14)), float(np.clip(rng.normal(1, 0.07), 0.84, 1.2))),
        scoliosis=(float(rng.normal(0, 14) if chance(0.25) else rng.normal(0, 3)), float(rng.uniform(300, 600))),
        domes=(float(rng.normal(0, 14)), float(rng.normal(0, 14))),
        side=1 if chance(0.5) else -1,
        kidneys=kidneys[int(rng.choice(len(kidneys), p=[0.76, 0.04, 0.04, 0.05, 0.03, 0.04, 0.04]))],
        bladder_ml=float(np.exp(rng.uniform(np.log(15), np.log(650)))),
        urine_in_ureters=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
        hydronephrosis=float(rng.uniform(1.3, 2.2)) if chance(0.08) else float(rng.uniform(0.4, 1.2)),
        bowel=bowels[int(rng.choice(len(bowels), p=[0.25, 0.3, 0.2, 0.15, 0.1]))],
        stomach_ml=float(np.exp(rng.uniform(np.log(60), np.log(900)))),
        hiatus_hernia=chance(0.08),
        heart_size=float(np.clip(rng.normal(1.0, 0.09), 0.8, 1.3)),
        liver_size=float(np.clip(rng.normal(1.0, 0.09), 0.75, 1.3)),
        left_lobe_mm=float(rng.uniform(25, 100)),
        spleen_size=float(np.clip(np.exp(rng.normal(0, 0.16)), 0.65, 1.6)),
        gallbladder=chance(0.85),
        uterus=chance(0.75),
        lungs=lungs[int(rng.choice(3, p=[0.88, 0.08, 0.04]))],
        effusion=(float(rng.uniform(20, 110)) * chance(0.12), float(rng.uniform(20, 110)) * chance(0.12)),
        radiation_lung=chance(0.10),
        thymus=chance(0.12),
        brown_fat=chance(0.10),
        implants=anatomy.sex == "F" and chance(0.10),
        hip_prosthesis=chance(0.06),
        spinal_rods=chance(0.05),
        muscle_activity=float(rng.uniform(2, 6)) if chance(0.15) else 1.0,
    )


def with_whole_lungs(traits: BodyTraits) -> BodyTraits:
    """The same body before any operation of a lung."""
    return replace(traits, lungs="whole")
