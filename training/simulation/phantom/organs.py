"""Organs of the chest and the abdomen, and the whole body in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.simulation.phantom.body_outline import Trunk, paint_couch, paint_head, paint_outline
from training.simulation.phantom.bones import CAGE, paint_skeleton
from training.simulation.phantom.canvas import Canvas
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.simulation.patients.population import PatientAnatomy
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Box, Field, Lattice, Mask

DOME_MM = 585.0  # z of the right dome of the diaphragm in the reference body
_SOFT = (Tissue.FAT, Tissue.MUSCLE, Tissue.MEDIASTINUM)


def paint_patient(anatomy: PatientAnatomy, lattice: Lattice) -> Canvas:
    """All healthy tissue of a patient."""
    canvas = Canvas(anatomy, lattice)
    rng = np.random.default_rng(anatomy.texture_seed)
    trunk = Trunk(anatomy)
    paint_outline(canvas, anatomy, trunk)
    paint_head(canvas, rng)
    paint_cavity(canvas, trunk)
    _paint_lungs(canvas, rng, effusion=anatomy.effusion)
    paint_skeleton(canvas)
    _paint_heart(canvas)
    _paint_vessels(canvas)
    paint_airways(canvas)
    _paint_upper_abdomen(canvas, rng)
    _paint_kidneys(canvas, rng)
    _paint_bowel(canvas, rng)
    _paint_lower_pelvis(canvas, anatomy, rng)
    paint_couch(canvas)
    return canvas


def _dome(canvas: Canvas, box: Box) -> Field:
    """Height of the diaphragm over each column of the trunk, reference mm."""
    x, y = canvas.x[box], canvas.y[box]
    right = DOME_MM - ((x + 70) ** 2 + (y + 10) ** 2) / 150
    left = DOME_MM - 14 - ((x - 72) ** 2 + (y + 10) ** 2) / 150
    middle = 555 - (x**2 + (y + 40) ** 2) / 90
    return np.asarray(np.maximum(np.maximum(right, left), middle), np.float32)


def paint_cavity(canvas: Canvas, trunk: Trunk) -> None:
    """Peritoneal and retroperitoneal fat inside the muscle wall; psoas and paraspinal muscles stay."""
    box = canvas.box((-160, -130, 205), (160, 130, 600))
    z, y, x = canvas.z[box], canvas.y[box], canvas.x[box]
    inside = trunk.level(canvas, box, 17) < 1
    floor = 198 + 95 * np.sqrt((x / 100) ** 2 + ((y - 8) / 74) ** 2) ** 3
    back = np.where(z < 360, 54, 60) - 0.0022 * x * x
    inside &= (z > floor) & (y < back)
    canvas.paint(box, inside, Tissue.FAT, over=(Tissue.MUSCLE,))
    for side in (-1, 1):
        canvas.tube(
            [(side * 38, 44, 470), (side * 46, 38, 380), (side * 66, 8, 270), (side * 92, -4, 215)], 17, Tissue.MUSCLE
        )
        fossa = canvas.ellipsoid((side * 38, 62, 200), (20, 24, 34))
        canvas.paint(fossa.box, fossa.inside, Tissue.FAT, over=(Tissue.MUSCLE,))
        hip = canvas.ellipsoid((side * 96, 4, 232), (66, 66, 120))
        plane = (np.abs(hip.level - 0.97) < 0.025) & (canvas.y[hip.box] > 20)
        canvas.paint(hip.box, plane, Tissue.FAT, over=(Tissue.MUSCLE,))


def _paint_lungs(canvas: Canvas, rng: np.random.Generator, *, effusion: bool) -> None:
    box = canvas.box((-150, -110, 480), (150, 110, 800))
    x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
    level = z[:, :1, :1]
    width = np.interp(level, CAGE[:, 0], CAGE[:, 1]).astype(np.float32)
    depth = np.interp(level, CAGE[:, 0], CAGE[:, 2]).astype(np.float32)
    u, v = np.abs(x / width), np.abs(y / depth)
    cage = u * u + v * v * np.sqrt(v) < 1
    above = z > _dome(canvas, box)
    middle = np.interp(level, [560, 640, 690, 740, 790], [52, 50, 42, 34, 24]).astype(np.float32)
    reach = middle * (0.28 + 0.72 * np.exp(-((y / 58) ** 2)))
    gutter = x * x + (y - 56) ** 2 < 27**2
    lung: Mask = cage & above & (np.abs(x) > reach) & ~gutter & (z < 788)
    canvas.paint(
        box, cage & (z > 555) & ~lung & (np.abs(x) < 70) & above, Tissue.MEDIASTINUM, over=(Tissue.MUSCLE, Tissue.FAT)
    )
    canvas.paint(box, lung, Tissue.LUNG)
    paint_lung_vessels(canvas, rng)
    if effusion:
        side = -1 if rng.random() < 0.5 else 1
        pool = lung & (side * x > 0) & (y > 44 + 0.35 * (z - 600))
        canvas.paint(box, pool, Tissue.FLUID, over=(Tissue.LUNG, Tissue.VESSEL))


def paint_lung_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    """Branches from the hilum that thin out towards the pleura."""
    for side in (-1, 1):
        hilum = np.array([side * 36.0, 6.0, 676.0])
        for _ in range(16):
            direction = rng.normal(size=3) * [0.5, 0.8, 1.0] + [0.75 * side, 0, 0]
            direction /= np.linalg.norm(direction)
            end = hilum + direction * rng.uniform(60, 100)
            middle = hilum + 0.5 * (end - hilum) + rng.normal(0, 6, 3)
            canvas.tube([_mm(hilum), _mm(middle)], 3.4, Tissue.VESSEL, over=(Tissue.LUNG,))
            canvas.tube([_mm(middle), _mm(end)], 2.1, Tissue.VESSEL, over=(Tissue.LUNG,))
            for _ in range(2):
                twig = middle + direction * 30 + rng.normal(0, 22, 3)
                canvas.tube([_mm(middle), _mm(twig)], 1.6, Tissue.VESSEL, over=(Tissue.LUNG,))


def _mm(point: NDArray[np.float64]) -> Mm:
    x, y, z = (float(v) for v in point)
    return x, y, z


def _paint_heart(canvas: Canvas) -> None:
    heart = canvas.ellipsoid((20, -30, 618), (58, 46, 50), yaw=0.6, tilt=-0.35)
    canvas.paint(heart.box, heart.level < 1.10, Tissue.FAT, over=(Tissue.LUNG, Tissue.VESSEL, *_SOFT))
    canvas.paint(heart.box, heart.inside, Tissue.BLOOD, over=(Tissue.FAT, *_SOFT))
    ventricle = canvas.ellipsoid((42, -32, 600), (33, 28, 38), yaw=0.7, tilt=-0.5)
    base = canvas.x[ventricle.box] - 0.8 * (canvas.y[ventricle.box] + 32) < 18
    wall = ventricle.inside & (ventricle.level > 0.66) & ~base
    canvas.paint(ventricle.box, wall, Tissue.MYOCARDIUM, over=(Tissue.BLOOD, Tissue.FAT, Tissue.MEDIASTINUM))


def _paint_vessels(canvas: Canvas) -> None:
    through = (*_SOFT, Tissue.LUNG, Tissue.VESSEL)
    arch = [(6, -24, 650), (-6, -30, 690), (-4, -22, 722), (10, 2, 736), (24, 26, 720), (25, 42, 690), (20, 40, 600)]
    canvas.tube(arch, 14, Tissue.BLOOD, over=through)
    canvas.tube([(20, 40, 600), (10, 32, 520), (4, 12, 440), (2, 12, 385)], 10, Tissue.BLOOD, over=through)
    canvas.tube([(14, -36, 655), (16, -26, 690)], 14, Tissue.BLOOD, over=through)
    canvas.tube([(-40, 0, 684), (0, -8, 690), (40, 4, 690)], 10, Tissue.BLOOD, over=through)
    canvas.tube([(-24, -18, 752), (-24, -16, 690), (-22, -16, 650)], 9, Tissue.BLOOD, over=through)
    canvas.tube(
        [(-24, 0, 600), (-22, 12, 560), (-20, 14, 470), (-16, 14, 385)], 11, Tissue.BLOOD, over=(*_SOFT, Tissue.LIVER)
    )
    for side in (-1, 1):
        canvas.tube([(side * 6, 12, 385), (side * 30, 24, 330), (side * 58, -4, 265), (side * 70, -34, 215),
                     (side * 78, -30, 60)], 6.5, Tissue.BLOOD, over=_SOFT)  # fmt: skip
        canvas.tube([(side * 8, -14, 738), (side * 24, -8, 790), (side * 30, -2, 850)], 4.5, Tissue.BLOOD, over=_SOFT)
        canvas.tube([(side * 26, -20, 752), (side * 36, -16, 800), (side * 36, -6, 850)], 6, Tissue.BLOOD, over=_SOFT)


def paint_airways(canvas: Canvas) -> None:
    """Trachea, main bronchi, thyroid and oesophagus."""
    through = (*_SOFT, Tissue.LUNG, Tissue.VESSEL, Tissue.BLOOD, Tissue.TENDON)
    canvas.tube([(0, -12, 825), (0, 0, 760), (0, 4, 694)], 11, Tissue.TENDON, over=_SOFT)
    canvas.tube([(0, -22, 862), (0, -14, 825), (0, 0, 760), (0, 4, 694)], 8.5, Tissue.AIRWAY)
    for side in (-1, 1):
        canvas.tube([(0, 4, 694), (side * 26, 8, 674), (side * 50, 8, 656)], 6.5, Tissue.AIRWAY, over=through)
        thyroid = canvas.ellipsoid((side * 18, -14, 800), (9, 9, 20))
        canvas.paint(thyroid.box, thyroid.inside, Tissue.GLAND, over=_SOFT)
    canvas.tube(
        [(2, 12, 840), (6, 20, 700), (12, 24, 600), (14, 10, 560)], 6.5, Tissue.GUT_LOW, over=(*_SOFT, Tissue.LUNG)
    )


def _paint_upper_abdomen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Liver, gall bladder, spleen, stomach and pancreas."""
    box = canvas.box((-150, -110, 400), (130, 110, 600))
    x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
    tip = 432 + rng.uniform(-14, 14)
    lobe = canvas.ellipsoid((-58, -10, 515), (84, 92, 92), power=2.6)
    under = z > tip + 0.62 * np.maximum(x + 105, 0) + 0.25 * np.maximum(y - 10, 0)
    free = (Tissue.FAT, Tissue.MUSCLE, Tissue.MEDIASTINUM)
    width = np.interp(z[:, :1, :1], CAGE[:, 0], CAGE[:, 1]).astype(np.float32) - 5
    depth = np.interp(z[:, :1, :1], CAGE[:, 0], CAGE[:, 2]).astype(np.float32) - 5
    inside = (x / width) ** 2 + np.abs(y / depth) ** 2.5 < 1
    gutter = x * x + (y - 46) ** 2 > 42**2
    below = inside & gutter & under & (z < _dome(canvas, box) - 3)
    liver = np.zeros(canvas.labels.shape, bool)
    liver[lobe.box] = lobe.inside
    canvas.paint(box, liver[box] & below, Tissue.LIVER, over=free)
    left = canvas.ellipsoid((18, -48, 540), (60, 36, 34))
    liver[:] = False
    liver[left.box] = left.inside
    canvas.paint(box, liver[box] & inside & (z < _dome(canvas, box) - 3), Tissue.LIVER, over=free)
    gall = canvas.ellipsoid((-46, -56, 470), (15, 17, 25))
    canvas.paint(gall.box, gall.inside, Tissue.FLUID, over=(Tissue.FAT, Tissue.LIVER))
    spleen = canvas.ellipsoid((98, 38, 522), (29, 42, 48), yaw=0.45)
    canvas.paint(
        spleen.box, spleen.inside & (canvas.z[spleen.box] < _dome(canvas, spleen.box) - 3), Tissue.SPLEEN, over=free
    )
    for centre, radii in (((62, -20, 528), (36, 42, 38)), ((34, -52, 485), (40, 24, 22))):
        stomach = canvas.ellipsoid(centre, radii, yaw=-0.4)
        clear = canvas.z[stomach.box] < _dome(canvas, stomach.box) - 4
        canvas.paint(stomach.box, stomach.inside & clear, Tissue.TENDON, over=free)
        canvas.paint(stomach.box, (stomach.level < 0.88) & clear, Tissue.STOMACH, over=(Tissue.TENDON,))
        canvas.paint(
            stomach.box,
            (stomach.level < 0.8) & (canvas.y[stomach.box] < centre[1] - 12),
            Tissue.GAS,
            over=(Tissue.STOMACH,),
        )
    canvas.tube([(-34, -10, 462), (0, -8, 480), (44, 8, 500), (76, 22, 512)], 11, Tissue.GLAND, over=(Tissue.FAT,))


def _paint_kidneys(canvas: Canvas, rng: np.random.Generator) -> None:
    for side, z in ((-1, 446), (1, 458)):
        fat = canvas.ellipsoid((side * 64, 40, z), (40, 36, 66), yaw=side * 0.5)
        canvas.paint(fat.box, fat.inside, Tissue.FAT, over=(Tissue.MUSCLE,))
        kidney = canvas.ellipsoid((side * 64, 40, z), (29, 25, 54), yaw=side * 0.5)
        canvas.paint(
            kidney.box, kidney.inside, Tissue.KIDNEY, over=(Tissue.FAT, Tissue.MUSCLE, Tissue.LIVER, Tissue.SPLEEN)
        )
        sinus = canvas.ellipsoid((side * 54, 36, z), (15, 13, 26))
        canvas.paint(sinus.box, sinus.inside, Tissue.FAT)
        calyces = canvas.ellipsoid((side * 55, 36, z), (8, 7, 19))
        canvas.paint(calyces.box, calyces.inside, Tissue.URINE)
        ureter: list[Mm] = [(side * 44, 34, z - 14), (side * 40, 28, 390), (side * 42, 30, 330), (side * 34, 32, 262),
                            (side * 16, 14, 226)]  # fmt: skip
        start = int(rng.integers(0, 3))
        canvas.tube(ureter, 2.0, Tissue.TENDON, over=(Tissue.FAT, Tissue.MUSCLE))
        canvas.tube(ureter[start : start + 2], 2.2, Tissue.URINE)
        adrenal: list[Mm] = [(side * 34, 26, 514), (side * 42, 34, 496)]
        canvas.tube(adrenal, 3.2, Tissue.GLAND, over=(Tissue.FAT,))


def _paint_bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    """Small bowel loops, and the colon with stool and gas."""
    kinds = (Tissue.GUT_LOW, Tissue.GUT, Tissue.GUT_HIGH)
    over = (Tissue.FAT,)
    for _ in range(12):
        knots = rng.uniform([-84, -72, 272], [84, 16, 430], size=(5, 3))
        t = np.linspace(0, 4, 40)
        path = np.stack([np.interp(t, np.arange(5), knots[:, i]) for i in range(3)], axis=1)
        path += 10 * np.sin(np.outer(t * 4.2, [1.0, 0.8, 1.2]) + rng.uniform(0, 6.3, 3))
        points = [_mm(point) for point in path]
        canvas.tube(points, 11, Tissue.TENDON, over=over)
        canvas.tube(points, 8.5, kinds[int(rng.choice(3, p=[0.45, 0.4, 0.15]))], over=(Tissue.TENDON,))
    colon: list[Mm] = [(-92, 4, 300), (-98, 0, 410), (-88, -34, 446), (-30, -70, 424 + rng.normal(0, 8)),
                       (40, -70, 432), (86, -30, 466), (104, 8, 440), (104, 12, 330), (70, 4, 272), (30, 10, 286),
                       (10, 38, 268), (0, 48, 240), (0, 52, 208)]  # fmt: skip
    through = (*over, Tissue.TENDON, *kinds, Tissue.MUSCLE)
    canvas.tube(colon, 20, Tissue.TENDON, over=through)
    for start in range(0, len(colon) - 1, 2):
        kind = kinds[int(rng.choice(3, p=[0.5, 0.35, 0.15]))]
        canvas.tube(colon[start : start + 3], 17, kind, over=(Tissue.TENDON,))
    for index in rng.choice(np.arange(1, 10), size=5, replace=False):
        x, y, z = colon[int(index)]
        gas = canvas.ellipsoid((x, y - 5, z), (13, 10, 18))
        canvas.paint(gas.box, gas.inside, Tissue.GAS, over=kinds)


def _paint_lower_pelvis(canvas: Canvas, anatomy: PatientAnatomy, rng: np.random.Generator) -> None:
    filling = rng.uniform(0.75, 1.15)
    bladder = canvas.ellipsoid((0, -20, 232), (36 * filling, 30 * filling, 28 * filling))
    canvas.paint(bladder.box, bladder.level < 1.1, Tissue.TENDON)
    canvas.paint(bladder.box, bladder.inside, Tissue.URINE)
    if anatomy.sex == "F":
        uterus = canvas.ellipsoid((0, 20, 250), (28, 20, 24))
        canvas.paint(
            uterus.box,
            uterus.inside,
            Tissue.GLAND,
            over=(Tissue.FAT, Tissue.MUSCLE, Tissue.TENDON, Tissue.GUT, Tissue.GUT_LOW),
        )
        return
    prostate = canvas.ellipsoid((0, 2, 192), (21, 17, 17))
    canvas.paint(prostate.box, prostate.inside, Tissue.GLAND)
