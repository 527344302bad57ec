"""Lungs, heart, great vessels and airways of a varied body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.bones import CAGE
from training.simulation.phantom.organs import DOME_MM, paint_airways, paint_lung_vessels
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from training.simulation.phantom.canvas import Box, Field, Mask
    from training.simulation.phantom.varied.canvas import VariedCanvas

_SOFT: Final = (Tissue.FAT, Tissue.MUSCLE, Tissue.MEDIASTINUM)
_LUNG: Final = (Tissue.LUNG, Tissue.VESSEL)
_HEART: Final = (20.0, -30.0, 618.0)


class Diaphragm:
    """Height of the diaphragm over each column of the trunk."""

    def __init__(self, canvas: VariedCanvas) -> None:
        rng, traits = canvas.rng, canvas.traits
        right, left = traits.domes
        if traits.lungs != "whole":  # the dome of the side that was operated on rises
            lift = 35.0 if traits.lungs == "lobectomy" else 60.0
            right, left = right + lift * (traits.side < 0), left + lift * (traits.side > 0)
        self.right, self.left = DOME_MM + right, DOME_MM - 14 + left
        self.middle = 555 + 0.5 * (right + left)
        self.curvature = 150 * float(np.exp(rng.normal(0, 0.2)))

    def over(self, canvas: VariedCanvas, box: Box) -> Field:
        """Reference mm."""
        x, y = canvas.x[box], canvas.y[box]
        right = self.right - ((x + 70) ** 2 + (y + 10) ** 2) / self.curvature
        left = self.left - ((x - 72) ** 2 + (y + 10) ** 2) / self.curvature
        middle = self.middle - (x**2 + (y + 40) ** 2) / 90
        return np.asarray(np.maximum(np.maximum(right, left), middle), np.float32)


def inside_cage(canvas: VariedCanvas, box: Box, inset_mm: float = 0.0, power: float = 2.5) -> Mask:
    """Within the rib cage, `inset_mm` from the ribs."""
    level = canvas.z[box]
    width = np.interp(level, CAGE[:, 0], CAGE[:, 1]).astype(np.float32) - inset_mm
    depth = np.interp(level, CAGE[:, 0], CAGE[:, 2]).astype(np.float32) - inset_mm
    u, v = np.abs(canvas.x[box] / width), np.abs(canvas.y[box] / depth)
    return np.asarray(u * u + v**power < 1)


def paint_lungs(canvas: VariedCanvas, diaphragm: Diaphragm) -> None:
    """Lungs around a mediastinum of variable width; what operations, fluid and radiation have left of them."""
    rng, traits = canvas.rng, canvas.traits
    wide = float(np.exp(rng.normal(0, 0.12)))
    with canvas.organ(None, (0, 0, 640), shift=4, scale=0.03, wobble=4, reach=200):
        box = canvas.box((-150, -110, 440), (150, 110, 800))
        x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
        cage, above = inside_cage(canvas, box), z > diaphragm.over(canvas, box)
        middle = wide * np.interp(z, [560, 640, 690, 740, 790], [52, 50, 42, 34, 24]).astype(np.float32)
        reach = middle * (0.28 + 0.72 * np.exp(-(((y + rng.normal(0, 6)) / 58) ** 2)))
        gutter = x * x + (y - 56) ** 2 < 27**2
        top = 788 + rng.normal(0, 5)
        lung: Mask = cage & above & (np.abs(x) > reach) & ~gutter & (z < top)
        between = cage & (z > 530) & ~lung & (np.abs(x) < 75) & above
        canvas.paint(box, between, Tissue.MEDIASTINUM, over=(Tissue.MUSCLE, Tissue.FAT))
        canvas.paint(box, lung, Tissue.LUNG)
        paint_lung_vessels(canvas, rng)
        canvas.claim("lung_right", _LUNG, x < 0, box)
        canvas.claim("lung_left", _LUNG, x >= 0, box)
        _paint_pleura(canvas, box)
        if traits.radiation_lung:
            field = (np.abs(traits.side * x - 55 - 0.2 * (z - 680)) < rng.uniform(12, 35)) & (
                np.abs(z - rng.uniform(640, 730)) < rng.uniform(30, 70)
            )
            scar = field & np.isin(canvas.labels[box], _LUNG)
            canvas.labels[box][scar] = Tissue.FIBROSIS


def _paint_pleura(canvas: VariedCanvas, box: Box) -> None:
    """Effusions, and the fluid that fills the side of a pneumonectomy."""
    x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
    for side, depth in zip((-1, 1), canvas.traits.effusion, strict=True):
        if depth:
            slope = canvas.rng.uniform(0.1, 0.6)
            pool = (side * x > 0) & (y > 80 - depth + slope * (z - 560))
            canvas.paint(box, pool, Tissue.FLUID, over=_LUNG)
    if canvas.traits.lungs == "pneumonectomy":
        kind = Tissue.FLUID if canvas.rng.random() < 0.7 else Tissue.FAT
        canvas.paint(box, canvas.traits.side * x > 0, kind, over=_LUNG)


def paint_heart(canvas: VariedCanvas) -> None:
    """Four chambers in their walls, fat around them."""
    rng = canvas.rng
    turn, tilt = 0.6 + rng.normal(0, 0.18), -0.35 + rng.normal(0, 0.15)
    with canvas.organ("heart_wall", _HEART, shift=(7, 5, 8), scale=0.06, wobble=4, grow=canvas.traits.heart_size):
        heart = canvas.ellipsoid(_HEART, (62, 50, 54), yaw=turn, tilt=tilt)
        sac = (heart.level < 1.06 + 0.10 * rng.random()) & ~heart.inside
        structure = canvas.structures[heart.box].copy()
        canvas.paint(heart.box, sac, Tissue.FAT, over=(*_LUNG, *_SOFT))
        canvas.structures[heart.box][sac] = np.where(canvas.labels[heart.box][sac] == Tissue.FAT, 0, structure[sac])
        canvas.paint(heart.box, heart.inside, Tissue.RIGHT_HEART, over=(*_LUNG, *_SOFT))
        wall = canvas.ellipsoid((38, -38, 604), (38, 34, 44), yaw=turn + 0.1, tilt=tilt - 0.15)
        canvas.paint(wall.box, wall.inside, Tissue.MYOCARDIUM, over=(Tissue.RIGHT_HEART,))
    chambers = (
        ((39, -36, 605), (27, 23, 34), Tissue.MYOCARDIUM),  # left ventricle
        ((6, -50, 610), (38, 20, 38), Tissue.RIGHT_HEART),  # right ventricle
        ((-18, -24, 628), (24, 27, 32), Tissue.RIGHT_HEART),  # right atrium
        ((16, -2, 645), (34, 20, 26), Tissue.RIGHT_HEART),  # left atrium
    )
    for centre, radii, inside in chambers:
        with canvas.organ(
            "heart_cavity", centre, shift=3, scale=0.10, wobble=2.5, grow=1.15 * canvas.traits.heart_size
        ):
            chamber = canvas.ellipsoid(centre, radii, yaw=turn, tilt=tilt)
            canvas.paint(chamber.box, chamber.inside, Tissue.BLOOD, over=(inside, Tissue.RIGHT_HEART))


def paint_vessels(canvas: VariedCanvas) -> None:
    """Aorta with its arch, great veins and pulmonary arteries, iliac and neck vessels."""
    through = (*_SOFT, *_LUNG)
    wide = float(np.exp(canvas.rng.normal(0, 0.12)))
    with canvas.organ("aorta", (15, 10, 560), shift=3, scale=0.04, wobble=4, reach=220):
        arch = [(6.0, -24.0, 650.0), (-6.0, -30.0, 690.0), (-4.0, -22.0, 722.0), (10.0, 2.0, 736.0),
                (24.0, 26.0, 720.0), (25.0, 42.0, 690.0), (20.0, 40.0, 600.0)]  # fmt: skip
        canvas.tube(arch, 14 * wide, Tissue.BLOOD, over=through)
        canvas.tube([(20, 40, 600), (10, 32, 520), (4, 12, 440), (2, 12, 385)], 9.5 * wide, Tissue.BLOOD, over=through)
    with canvas.organ("great_vessels", (0, 0, 450), shift=3, scale=0.02, wobble=4, reach=420):
        canvas.tube([(14, -36, 655), (16, -26, 690)], 13, Tissue.BLOOD, over=through)
        canvas.tube([(-40, 0, 684), (0, -8, 690), (40, 4, 690)], 10, Tissue.BLOOD, over=through)
        canvas.tube([(-24, -18, 752), (-24, -16, 690), (-22, -16, 650)], 9, Tissue.BLOOD, over=through)
        canvas.tube([(-24, 0, 600), (-22, 12, 560), (-20, 14, 470), (-16, 14, 385)], 11, Tissue.BLOOD,
                    over=(*_SOFT, Tissue.LIVER))  # fmt: skip
        for side in (-1, 1):
            canvas.tube([(side * 6, 12, 385), (side * 30, 24, 330), (side * 58, -4, 265), (side * 70, -34, 215),
                         (side * 78, -30, 60)], 6.5, Tissue.BLOOD, over=_SOFT)  # fmt: skip
            canvas.tube(
                [(side * 8, -14, 738), (side * 24, -8, 790), (side * 30, -2, 850)], 4.5, Tissue.BLOOD, over=_SOFT
            )
            canvas.tube(
                [(side * 26, -20, 752), (side * 36, -16, 800), (side * 36, -6, 850)], 6, Tissue.BLOOD, over=_SOFT
            )


def paint_mediastinum(canvas: VariedCanvas) -> None:
    """Airways, thyroid, oesophagus, thymus, a hiatus hernia."""
    rng, traits = canvas.rng, canvas.traits
    with canvas.organ("trachea", (0, 0, 740), shift=3, scale=0.04, wobble=3):
        paint_airways(canvas)
    box = canvas.box((-60, -60, 540), (60, 60, 870))
    canvas.claim(
        "thyroid", (Tissue.GLAND,), (canvas.z[box] > 760) & (canvas.z[box] < 830) & (np.abs(canvas.x[box]) < 40), box
    )
    canvas.claim("oesophagus", (Tissue.GUT_LOW,), None, box)
    if rng.random() < 0.4:
        with canvas.organ("thyroid", (0, -16, 797), shift=4, scale=0.2, wobble=3):
            for side in (-1, 1):
                lobe = canvas.ellipsoid((side * 18, -14, 797), (11, 11, 24))
                canvas.paint(lobe.box, lobe.inside, Tissue.GLAND, over=_SOFT)
    if traits.thymus:
        with canvas.organ(None, (4, -62, 700), shift=5, scale=0.2, wobble=4):
            thymus = canvas.ellipsoid((4, -66, 700), (22, 11, 34))
            canvas.paint(thymus.box, thymus.inside, Tissue.THYMUS, over=(*_SOFT, *_LUNG))
    if traits.hiatus_hernia:
        with canvas.organ("stomach", (14, 22, 585), shift=5, scale=0.2, wobble=4):
            pouch = canvas.ellipsoid((14, 24, 585), (25, 18, 26))
            canvas.paint(pouch.box, pouch.inside, Tissue.STOMACH, over=(*_SOFT, *_LUNG, Tissue.GUT_LOW))
