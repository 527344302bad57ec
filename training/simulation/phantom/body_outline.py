"""The outside of the body: trunk, thighs, arms, head with its brain and face, and the couch under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.simulation.phantom.canvas import noise_field
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from training.simulation.patients.population import PatientAnatomy
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Box, Canvas, Field, Mask

# Muscle wall of trunk, neck and head: z, half-width, half-depth, centre y (mm)
_CORE = np.array([
    (112, 90, 8, 2), (135, 140, 62, 2), (165, 153, 90, 4), (215, 160, 100, 6), (260, 154, 98, 6),
    (310, 142, 91, 4), (360, 134, 85, 2), (410, 132, 86, 0), (460, 136, 92, 0), (520, 146, 99, 0),
    (580, 151, 102, 0), (640, 153, 102, 0), (690, 156, 99, 2), (730, 166, 89, 6), (755, 160, 75, 10),
    (772, 118, 66, 13), (788, 80, 59, 15), (805, 60, 55, 16), (830, 55, 53, 13), (850, 55, 56, 8),
    (868, 59, 72, 2), (890, 67, 86, 0), (930, 74, 95, 0), (965, 73, 93, 0), (995, 62, 79, 0),
    (1015, 42, 55, 0), (1030, 20, 28, 0), (1040, 2, 3, 0),
])  # fmt: skip
_FAT = np.array([(0, 1.0), (150, 1.1), (260, 1.2), (400, 1.0), (560, 0.85), (700, 0.7), (770, 0.5), (800, 0.35),
                 (850, 0.25), (890, 0.15), (1040, 0.12)])  # fmt: skip
_NECK_MM = 800.0


class Trunk:
    """Cross-sections of trunk and head at any height, with the patient's build."""

    def __init__(self, anatomy: PatientAnatomy) -> None:
        self.bmi = anatomy.bmi
        women = anatomy.sex == "F"
        self.fat_mm = min(max(3 + 1.35 * (self.bmi - 16), 3), 36) * (1.15 if women else 0.9)
        self.build = 1 + 0.004 * (self.bmi - 24) - 0.03 * women

    def level(self, canvas: Canvas, box: Box, inset_mm: float, *, fat: bool = False) -> Field:
        """Superellipse of the muscle wall moved in by `inset_mm` (with `fat`: of the skin), below 1 inside."""
        z = canvas.z[box][:, :1, :1]
        belly = 0.011 * (self.bmi - 24) * np.exp(-(((z - 430) / 110) ** 2))
        grow = self.build + belly if inset_mm < 30 else self.build
        outer = self.fat_mm * np.interp(z, _FAT[:, 0], _FAT[:, 1]) if fat else 0.0
        width = np.maximum(np.interp(z, _CORE[:, 0], _CORE[:, 1]) * grow + outer - inset_mm, 1)
        depth = np.maximum(np.interp(z, _CORE[:, 0], _CORE[:, 2]) * grow + outer - inset_mm, 1)
        centre = np.interp(z, _CORE[:, 0], _CORE[:, 3])
        u = np.abs(canvas.x[box] / width.astype(np.float32))
        v = np.abs((canvas.y[box] - centre.astype(np.float32)) / depth.astype(np.float32))
        square = u * u + v * v
        rounded = u * u * np.sqrt(u) + v * v * np.sqrt(v)  # power 2.5: flatter than an ellipse
        return np.asarray(np.where(z > _NECK_MM, square, rounded), np.float32)


def paint_outline(canvas: Canvas, anatomy: PatientAnatomy, trunk: Trunk) -> None:
    """Skin, fat and muscle of trunk, thighs, arms and head."""
    wall = canvas.box((-250, -200, 140), (250, 200, 1045))
    canvas.paint(wall, trunk.level(canvas, wall, 0, fat=True) < 1, Tissue.FAT)
    _paint_thighs(canvas, trunk)
    canvas.paint(wall, trunk.level(canvas, wall, 0) < 1, Tissue.MUSCLE)
    _paint_arms(canvas, trunk, up=anatomy.arms_up)
    if anatomy.sex == "F":
        for side in (-1, 1):
            breast = canvas.ellipsoid((side * 72, -100 - 0.3 * trunk.fat_mm, 640), (56, 30 + 0.5 * trunk.fat_mm, 52))
            canvas.paint(breast.box, breast.inside, Tissue.FAT, over=(Tissue.AIR,))
            gland = canvas.ellipsoid((side * 72, -108, 638), (30, 16, 28))
            canvas.paint(gland.box, gland.inside, Tissue.TENDON, over=(Tissue.FAT,))


def _paint_thighs(canvas: Canvas, trunk: Trunk) -> None:
    box = canvas.box((-250, -160, -20), (250, 160, 185))
    z = canvas.z[box][:, :1, :1]
    radius = (70 + 0.055 * z) * trunk.build
    x, y = np.abs(canvas.x[box]) - 86 * trunk.build, canvas.y[box] - 2
    distance = np.sqrt(x * x + y * y)
    canvas.paint(box, distance < radius + 0.9 * trunk.fat_mm, Tissue.FAT, over=(Tissue.AIR,))
    canvas.paint(box, distance < radius, Tissue.MUSCLE)
    angle = np.arctan2(y, x)
    septum = np.abs(((angle + 0.6) % 2.1) - 1.05) * distance < 2.5
    canvas.paint(box, septum & (distance > 22) & (distance < radius) & (z < 150), Tissue.FAT)


def _paint_arms(canvas: Canvas, trunk: Trunk, *, up: bool) -> None:
    wide = 150 + 0.6 * trunk.fat_mm
    muscle = 30 * trunk.build
    for side in (-1, 1):
        if up:
            upper: list[Mm] = [
                (side * 148, 14, 742),
                (side * 140, 0, 815),
                (side * 112, -22, 930),
                (side * 92, -38, 1010),
            ]
            fore: list[Mm] = [(side * 92, -38, 1010), (side * 60, -62, 1060), (side * 20, -72, 1075)]
        else:
            out = wide + 42
            upper = [(side * 152, 14, 742), (side * out, 22, 640), (side * (out + 6), 26, 470)]
            fore = [(side * (out + 6), 26, 470), (side * (out + 4), 6, 340), (side * (out - 6), -6, 225)]
        shell, free = muscle + 0.3 * trunk.fat_mm, (Tissue.AIR,)
        canvas.tube(upper, shell, Tissue.FAT, over=free)
        canvas.tube(fore, 0.8 * shell, Tissue.FAT, over=free)
        canvas.tube(upper, muscle, Tissue.MUSCLE, over=(Tissue.FAT, Tissue.AIR))
        canvas.tube(fore, 0.75 * muscle, Tissue.MUSCLE, over=(Tissue.FAT, Tissue.AIR))
        canvas.tube(upper, 11, Tissue.SKULL)
        canvas.tube(upper, 6, Tissue.FATTY_MARROW)
        for shift in (-9, 9):
            bone: list[Mm] = [(x + shift, y, z) for x, y, z in fore]
            canvas.tube(bone, 6, Tissue.SKULL)


def paint_head(canvas: Canvas, rng: np.random.Generator) -> None:
    """Skull, brain, eyes, face and airways."""
    _paint_face(canvas)
    skull = canvas.ellipsoid((0, 2, 948), (71, 91, 74))
    canvas.paint(skull.box, skull.inside, Tissue.SKULL)
    _paint_brain(canvas, rng)
    for side in (-1, 1):
        socket = canvas.ellipsoid((side * 31, -70, 912), (17, 24, 16))
        canvas.paint(socket.box, socket.inside, Tissue.FAT)
        eye = canvas.ellipsoid((side * 31, -80, 912), (12, 12, 12))
        canvas.paint(eye.box, eye.inside, Tissue.FLUID)
        mastoid = canvas.ellipsoid((side * 58, 26, 890), (12, 16, 16))
        canvas.paint(mastoid.box, mastoid.inside, Tissue.SKULL)
        parotid = canvas.ellipsoid((side * 56, 0, 862), (11, 16, 20))
        canvas.paint(parotid.box, parotid.inside, Tissue.GLAND)
        submandibular = canvas.ellipsoid((side * 28, -34, 838), (9, 12, 9))
        canvas.paint(submandibular.box, submandibular.inside, Tissue.GLAND)
        tonsil = canvas.ellipsoid((side * 17, -16, 858), (6, 9, 11))
        canvas.paint(tonsil.box, tonsil.inside, Tissue.TONSIL)


def _paint_face(canvas: Canvas) -> None:
    jaw = canvas.ellipsoid((0, -36, 866), (52, 50, 40))
    canvas.paint(jaw.box, jaw.inside, Tissue.FAT, over=(Tissue.AIR,))
    flesh = canvas.ellipsoid((0, -34, 866), (48, 46, 37))
    canvas.paint(flesh.box, flesh.inside, Tissue.MUSCLE, over=(Tissue.FAT, Tissue.AIR))
    nose = canvas.ellipsoid((0, -94, 902), (12, 16, 20))
    canvas.paint(nose.box, nose.inside, Tissue.TENDON, over=(Tissue.AIR,))
    mandible = canvas.ellipsoid((0, -30, 858), (45, 44, 40))
    arch: Mask = mandible.inside & (mandible.level > 0.78) & (canvas.z[mandible.box] < 860)
    canvas.paint(mandible.box, arch & (canvas.y[mandible.box] < 4), Tissue.SKULL)
    maxilla = canvas.ellipsoid((0, -46, 886), (38, 42, 24))
    canvas.paint(maxilla.box, maxilla.inside & (maxilla.level > 0.7), Tissue.SKULL)
    for side in (-1, 1):
        sinus = canvas.ellipsoid((side * 22, -54, 890), (13, 16, 14))
        canvas.paint(sinus.box, sinus.inside, Tissue.AIRWAY)
    for centre, radii in (((0, -58, 894), (7, 34, 18)), ((0, -22, 878), (12, 10, 26)), ((0, -40, 866), (20, 26, 4))):
        cavity = canvas.ellipsoid(centre, radii)
        canvas.paint(cavity.box, cavity.inside, Tissue.AIRWAY)
    frontal = canvas.ellipsoid((0, -84, 926), (18, 6, 12))
    canvas.paint(frontal.box, frontal.inside, Tissue.AIRWAY, over=(Tissue.SKULL,))


def _paint_brain(canvas: Canvas, rng: np.random.Generator) -> None:
    brain = canvas.ellipsoid((0, 2, 950), (64, 84, 66))
    x, y, z = canvas.x[brain.box], canvas.y[brain.box] - 2, canvas.z[brain.box]
    sigma = [6.5 / step for step in canvas.lattice.spacing[::-1]]
    folds = noise_field(rng, (brain.level.shape[0], brain.level.shape[1], brain.level.shape[2]), sigma)
    above = brain.inside & (z > 905 - 0.12 * y)
    canvas.paint(brain.box, above, Tissue.WHITE_MATTER)
    ribbon = (brain.level > 0.79 + 0.07 * folds) | (np.abs(x) < 4) | ((folds > 1.25) & (brain.level > 0.5))
    canvas.paint(brain.box, above & ribbon, Tissue.CORTEX)
    nuclei = ((np.abs(x) - 23) / 12) ** 2 + ((y + 2) / 25) ** 2 + ((z - 945) / 15) ** 2 < 1
    canvas.paint(brain.box, nuclei, Tissue.CORTEX)
    ventricles = ((np.abs(x) - 10) / 6) ** 2 + ((y + 2) / 32) ** 2 + ((z - 956) / 11) ** 2 < 1
    canvas.paint(brain.box, ventricles, Tissue.FLUID)
    fissure = (np.abs(x) < 1.5) & (brain.level > 0.7) & above
    canvas.paint(brain.box, fissure, Tissue.FLUID)
    cerebellum = canvas.ellipsoid((0, 46, 902), (48, 32, 24))
    canvas.paint(
        cerebellum.box,
        cerebellum.inside,
        Tissue.CORTEX,
        over=(Tissue.SKULL, Tissue.MUSCLE, Tissue.WHITE_MATTER, Tissue.FAT),
    )
    stem = canvas.ellipsoid((0, 14, 898), (14, 14, 32))
    canvas.paint(stem.box, stem.inside, Tissue.WHITE_MATTER)


def paint_couch(canvas: Canvas) -> None:
    """A carbon-fibre couch: two thin shells under the back, the same in every slice."""
    occupied = (canvas.labels != Tissue.AIR).any(axis=0)
    _, ys, xs = canvas.lattice.axes()
    spine = occupied[:, np.abs(xs) < 60].any(axis=1)
    top = float(ys[spine].max()) + canvas.lattice.spacing[1]
    surface = top + 4 - 26 * (xs / 200) ** 4
    below = ys[:, None] - surface[None]
    thick = max(canvas.lattice.spacing[1], 3.0)
    shells = ((below >= 0) & (below < thick)) | ((below >= 22) & (below < 22 + thick))
    couch = shells & (np.abs(xs)[None] < 205)
    plane: Mask = np.broadcast_to(couch, canvas.labels.shape)
    canvas.labels[plane & (canvas.labels == Tissue.AIR)] = Tissue.COUCH
