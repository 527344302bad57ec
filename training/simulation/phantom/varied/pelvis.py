"""Kidneys, urinary tract and genital organs of a varied body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.abdomen import smooth_path

if TYPE_CHECKING:
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.varied.canvas import VariedCanvas

_ROOM: Final = (Tissue.FAT, Tissue.MUSCLE, Tissue.LIVER, Tissue.SPLEEN)
_PELVIS: Final = (Tissue.FAT, Tissue.MUSCLE, Tissue.TENDON, Tissue.GUT, Tissue.GUT_LOW, Tissue.GUT_HIGH,
                  Tissue.CONTRAST_GUT, Tissue.GAS, Tissue.STOMACH)  # fmt: skip
_SIDES: Final = ((-1, "right"), (1, "left"))


def paint_kidneys(canvas: VariedCanvas) -> None:
    """Both kidneys in their fat, or the variants of `BodyTraits.kidneys`, with pelves and ureters."""
    variant = canvas.traits.kidneys
    for side, name in _SIDES:
        if (variant == "right only" and side > 0) or (variant == "left only" and side < 0):
            continue
        height = (446.0 if side < 0 else 458.0) + canvas.rng.normal(0, 10)
        grow = {"right only": 1.22, "left only": 1.22}.get(variant, 1.0)
        if variant == "ptotic right" and side < 0:
            height -= canvas.rng.uniform(50, 120)
        if variant == "small left" and side > 0:
            grow = canvas.rng.uniform(0.55, 0.75)
        if variant == "horseshoe":
            height -= 30
        _paint_kidney(canvas, side, name, height, grow)
    if variant == "horseshoe":
        with canvas.organ("kidney_right", (0, 5, 385), shift=3, scale=0.08, wobble=3):
            canvas.tube([(-52, 28, 392), (-24, 2, 380), (0, -4, 378)], 14, Tissue.KIDNEY, over=_ROOM)
        with canvas.organ("kidney_left", (0, 5, 385), shift=3, scale=0.08, wobble=3):
            canvas.tube([(52, 28, 392), (24, 2, 380), (0, -4, 378)], 14, Tissue.KIDNEY, over=_ROOM)


def _paint_kidney(canvas: VariedCanvas, side: int, name: str, z: float, grow: float) -> None:
    rng = canvas.rng
    yaw, tilt = side * (0.5 + rng.normal(0, 0.2)), side * (-0.2 + rng.normal(0, 0.12))
    centre: Mm = (side * 64.0, 38.0, z)
    with canvas.organ(f"kidney_{name}", centre, shift=(5, 5, 3), scale=0.07, wobble=3, grow=grow):
        outer, canvas_fat = canvas.ellipsoid(centre, (40, 35, 66), yaw=yaw, tilt=tilt), Tissue.FAT
        canvas.erase(outer.box, outer.inside, canvas_fat, over=(Tissue.MUSCLE,))
        kidney = canvas.ellipsoid(centre, (29, 26, 55), yaw=yaw, tilt=tilt)
        hilum = canvas.ellipsoid((side * 40, 26, z), (16, 14, 20))
        dent = np.zeros(canvas.labels.shape, bool)
        dent[hilum.box] = hilum.inside
        canvas.paint(kidney.box, kidney.inside & ~dent[kidney.box], Tissue.KIDNEY, over=_ROOM)
        sinus = canvas.ellipsoid((side * 54, 34, z), (14, 12, 26), yaw=yaw, tilt=tilt)
        canvas.paint(sinus.box, sinus.inside, Tissue.FAT, over=(Tissue.KIDNEY, Tissue.FAT))
        if canvas.traits.kidneys == "cystic":
            _paint_cysts(canvas, centre)
        size = canvas.traits.hydronephrosis
        canvas.structure = f"renal_pelvis_{name}"
        pelvis = canvas.ellipsoid((side * 51, 34, z - 2), (10 * size, 8 * size, 20 * size**0.5), yaw=yaw, tilt=tilt)
        canvas.paint(pelvis.box, pelvis.inside, Tissue.URINE, over=(Tissue.FAT, Tissue.KIDNEY, Tissue.MUSCLE))
    _paint_ureter(canvas, side, name, z)


def _paint_cysts(canvas: VariedCanvas, centre: Mm) -> None:
    for _ in range(int(canvas.rng.integers(1, 5))):
        x, y, z = (float(c + d) for c, d in zip(centre, canvas.rng.uniform(-1, 1, 3) * (24, 20, 46), strict=True))
        size = float(canvas.rng.uniform(6, 22))
        cyst = canvas.ellipsoid((x, y, z), (size, size, size))
        canvas.paint(cyst.box, cyst.inside, Tissue.FLUID, over=(Tissue.KIDNEY, Tissue.FAT))


def _paint_ureter(canvas: VariedCanvas, side: int, name: str, z: float) -> None:
    """The ureter, with urine in any of its stretches."""
    rng, full = canvas.rng, canvas.traits.urine_in_ureters[side > 0]
    knots = np.array([(side * 44, 32, z - 12), (side * 40, 26, min(z - 40, 405)), (side * 40, 27, 365),
                      (side * 42, 30, 325), (side * 50, 36, 285), (side * 44, 34, 250), (side * 18, 14, 222)],
                     float)  # fmt: skip
    knots[1:-1] += rng.normal(0, [5, 4, 4], (5, 3))
    with canvas.organ(f"ureter_{name}", (side * 42, 28, 340), shift=2, scale=0.02, wobble=2):
        path = smooth_path(knots, 80)
        points: list[Mm] = [(float(a), float(b), float(c)) for a, b, c in path]
        canvas.tube(points, 2.4, Tissue.TENDON, over=(Tissue.FAT, Tissue.MUSCLE))
        for start in range(0, 79, 8):
            if rng.random() < full:
                canvas.tube(points[start : start + 9], float(rng.uniform(2.2, 4.0)), Tissue.URINE,
                            over=(*_PELVIS, Tissue.BLOOD))  # fmt: skip


def paint_genital_organs(canvas: VariedCanvas) -> None:
    """Uterus and ovaries, or prostate and testes; the bladder in front, small to very full."""
    rng, traits = canvas.rng, canvas.traits
    radius = (traits.bladder_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    flat = float(np.clip(radius / 42, 0.55, 1.15)) * float(np.exp(rng.normal(0, 0.08)))
    wide = radius / flat**0.5
    base = 206.0
    if traits.sex == "F" and traits.uterus:
        with canvas.organ("uterus", (0, 18, 250), shift=(9, 5, 7), scale=0.15, wobble=4):
            uterus = canvas.ellipsoid((0, 18, 252), (27, 22, 30), tilt=rng.normal(0, 0.3))
            canvas.paint(uterus.box, uterus.inside, Tissue.GLAND, over=_PELVIS)
    if traits.sex == "F":
        for side in (-1, 1):
            with canvas.organ("ovaries", (side * 42, 16, 258), shift=6, scale=0.15, wobble=2):
                ovary = canvas.ellipsoid((side * 42, 16, 258), (10, 12, 14))
                canvas.paint(ovary.box, ovary.inside, Tissue.GONAD, over=_PELVIS)
    else:
        with canvas.organ("prostate", (0, 4, 192), shift=(2, 3, 3), scale=0.1, wobble=2, grow=rng.uniform(0.85, 1.35)):
            prostate = canvas.ellipsoid((0, 4, 192), (23, 18, 18))
            canvas.paint(prostate.box, prostate.inside, Tissue.GLAND, over=(Tissue.FAT, Tissue.MUSCLE, Tissue.TENDON))
            base += 4
    with canvas.organ("bladder", (0, -18, base + wide * flat), shift=(5, 3, 2), scale=0.05, wobble=3):
        centre: Mm = (0.0, -22.0, base + wide * flat)
        wall = canvas.ellipsoid(centre, (wide + 4, 0.85 * wide + 4, wide * flat + 4), tilt=rng.normal(0, 0.1))
        inner = canvas.ellipsoid(centre, (wide, 0.85 * wide, wide * flat), tilt=0.0)
        over = (*_PELVIS, Tissue.GLAND, Tissue.GONAD, Tissue.URINE)
        canvas.paint(wall.box, wall.inside, Tissue.TENDON, over=over)
        canvas.paint(inner.box, inner.inside, Tissue.URINE, over=over)
    if traits.sex == "M":
        _paint_testes(canvas)


def _paint_testes(canvas: VariedCanvas) -> None:
    with canvas.organ(None, (0, -84, 128), shift=(4, 6, 10), scale=0.1, wobble=2):
        sac = canvas.ellipsoid((0, -84, 128), (34, 27, 36))
        canvas.paint(sac.box, sac.inside, Tissue.FAT, over=(Tissue.AIR,))
        canvas.structure = "testes"
        for side in (-1, 1):
            testis = canvas.ellipsoid((side * 16, -84, 124), (13, 14, 20))
            canvas.paint(testis.box, testis.inside, Tissue.GONAD, over=(Tissue.FAT, Tissue.AIR))
