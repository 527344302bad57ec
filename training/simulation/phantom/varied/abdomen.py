"""Liver, spleen, stomach, pancreas, adrenals and bowel of a varied body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.chest import inside_cage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.varied.canvas import VariedCanvas
    from training.simulation.phantom.varied.chest import Diaphragm

_FREE: Final = (Tissue.FAT, Tissue.MUSCLE, Tissue.MEDIASTINUM)
_GUT: Final = (Tissue.GUT_LOW, Tissue.GUT, Tissue.GUT_HIGH)
_COLON: Final = np.array([
    (-88, 0, 292), (-98, 0, 350), (-98, 0, 412), (-84, -34, 446), (-30, -70, 428), (36, -70, 432), (84, -30, 470),
    (100, 12, 470), (104, 14, 400), (100, 12, 330), (74, 4, 282), (30, 0, 276), (8, 26, 284), (0, 46, 268),
    (0, 48, 240), (0, 50, 206),
], float)  # fmt: skip
_COLON_FREEDOM: Final = np.array([12, 12, 10, 14, 22, 24, 16, 12, 12, 14, 16, 22, 18, 8, 6, 4], float)[:, None]


def _points(path: NDArray[np.float64]) -> list[Mm]:
    return [(float(x), float(y), float(z)) for x, y, z in path]


def smooth_path(knots: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """A Catmull-Rom curve through `knots` (n, 3)."""
    padded = np.concatenate([knots[:1], knots, knots[-1:]])
    at = np.linspace(0, len(knots) - 1 - 1e-6, number)
    first = at.astype(int)
    t = (at - first)[:, None]
    a, b, c, d = (padded[first + i] for i in range(4))
    curve = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    return np.asarray(0.5 * curve, float)


def paint_liver(canvas: VariedCanvas, diaphragm: Diaphragm) -> None:
    """A right lobe under its dome, a left lobe of any length, the gall bladder."""
    rng, traits = canvas.rng, canvas.traits
    tip = 438 + rng.normal(0, 16)
    slope, back = 0.62 + rng.normal(0, 0.12), 0.25 + rng.normal(0, 0.12)
    with canvas.organ("liver", (-50, -10, 515), shift=(5, 5, 6), scale=0.04, wobble=5, grow=traits.liver_size):
        box = canvas.box((-150, -110, 380), (150, 110, 610))
        x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
        lobe = canvas.ellipsoid((-58, -8, 515), (78, 84, 90), power=2.6)
        left = canvas.ellipsoid((0.35 * traits.left_lobe_mm, -48, 538), (30 + traits.left_lobe_mm * 0.6, 36, 34))
        mass = np.zeros(canvas.labels.shape, bool)
        mass[lobe.box] |= lobe.inside
        right = mass[box] & (z > tip + slope * np.maximum(x + 105, 0) + back * np.maximum(y - 10, 0))
        mass[:] = False
        mass[left.box] |= left.inside
        gutter = x * x + (y - 46) ** 2 > 40**2
        hilum = (x + 18) ** 2 / 20**2 + (y - 8) ** 2 / 16**2 + (z - 490) ** 2 / 30**2 > 1
        inside = inside_cage(canvas, box, 4) & (z < diaphragm.over(canvas, box) - 2) & gutter & hilum
        inside |= (z < 490) & (x < 0) & gutter
        canvas.paint(
            box, (right | mass[box]) & inside & (z < diaphragm.over(canvas, box) - 2), Tissue.LIVER, over=_FREE
        )
    if traits.gallbladder:
        with canvas.organ("gallbladder", (-46, -50, 470), shift=7, scale=0.2, wobble=3):
            gall = canvas.ellipsoid((-46, -52, 470), (15, 18, 25))
            canvas.paint(gall.box, gall.inside, Tissue.FLUID, over=(*_FREE, Tissue.LIVER))


def paint_spleen(canvas: VariedCanvas, diaphragm: Diaphragm) -> None:
    """A crescent under the left dome."""
    rng = canvas.rng
    with canvas.organ("spleen", (96, 36, 522), shift=(5, 7, 10), scale=0.08, wobble=5, grow=canvas.traits.spleen_size):
        spleen = canvas.ellipsoid((98, 36, 522), (33, 48, 54), yaw=0.45 + rng.normal(0, 0.25), tilt=rng.normal(0, 0.2))
        dent = canvas.ellipsoid((58, 0, 522), (36, 38, 60))
        hollow = np.zeros(canvas.labels.shape, bool)
        hollow[dent.box] = dent.inside
        z = canvas.z[spleen.box]
        mask = spleen.inside & ~hollow[spleen.box] & (z < diaphragm.over(canvas, spleen.box) - 2)
        mask &= inside_cage(canvas, spleen.box, 2) | (z < 500)
        canvas.paint(spleen.box, mask, Tissue.SPLEEN, over=_FREE)


def paint_stomach(canvas: VariedCanvas, diaphragm: Diaphragm) -> None:
    """A J from the fundus to the duodenum, empty or full, with gas in front; the pancreas behind it."""
    rng, traits = canvas.rng, canvas.traits
    wide = (traits.stomach_ml / 300) ** (1 / 3)
    sag = rng.uniform(0, 60)
    knots = np.array([(58, 14, 545), (64, -10, 520), (54, -38, 490 - 0.4 * sag), (26, -54, 472 - sag),
                      (-14, -46, 476 - 0.5 * sag), (-34, -26, 474)], float)  # fmt: skip
    knots += rng.normal(0, [7, 6, 8], knots.shape)
    radii = np.interp(np.linspace(0, 1, 40), [0, 0.2, 0.5, 0.8, 1], [27, 30, 23, 17, 11])
    with canvas.organ("stomach", (40, -20, 505), shift=5, scale=0.06, wobble=4):
        path = smooth_path(knots, 40)
        for inset, tissue, over in ((0.0, Tissue.TENDON, _FREE), (4.0, Tissue.STOMACH, (Tissue.TENDON,))):
            for point, radius in zip(path, radii, strict=True):
                size = max(wide * radius, 9.0) - inset
                ball = canvas.ellipsoid(_points(point[None])[0], (size, size, size))
                clear = canvas.z[ball.box] < diaphragm.over(canvas, ball.box) - 3
                canvas.paint(ball.box, ball.inside & clear, tissue, over=over)
        box = canvas.box((-70, -110, 380), (120, 60, 600))
        level = rng.uniform(-70, 20)
        gas = (canvas.structures[box] == canvas.number("stomach")) & (canvas.y[box] < level)
        canvas.paint(box, gas, Tissue.GAS, over=(Tissue.STOMACH,))
    with canvas.organ("small_bowel", (-40, -10, 440), shift=5, scale=0.08, wobble=4):
        loop = smooth_path(
            np.array([(-34, -26, 474), (-44, 0, 455), (-40, 6, 415), (0, 4, 405), (30, 0, 440)], float), 30
        )
        canvas.tube(_points(loop), 12, Tissue.TENDON, over=_FREE)
        canvas.tube(_points(loop), 9, _GUT[int(rng.integers(2))], over=(Tissue.TENDON,))
    with canvas.organ("pancreas", (20, 0, 485), shift=5, scale=0.08, wobble=4):
        canvas.tube([(-34, -10, 462), (0, -8, 480), (44, 8, 500), (76, 22, 512)], 13, Tissue.GLAND, over=_FREE)


def paint_adrenals(canvas: VariedCanvas) -> None:
    """Two limbs on each side."""
    for side, name in ((-1, "adrenal_right"), (1, "adrenal_left")):
        with canvas.organ(name, (side * 38, 28, 506), shift=5, scale=0.12, wobble=2):
            limbs: tuple[list[Mm], ...] = (
                [(side * 34, 22, 516), (side * 42, 34, 496)],
                [(side * 34, 22, 516), (side * 33, 36, 498)],
            )
            for limb in limbs:
                canvas.tube(limb, float(canvas.rng.uniform(2.6, 4.6)), Tissue.ADRENAL, over=(Tissue.FAT, Tissue.MUSCLE))


def paint_bowel(canvas: VariedCanvas) -> None:
    """Small bowel wherever the cavity has room, and a colon of variable course and content."""
    rng, traits = canvas.rng, canvas.traits
    _paint_small_bowel(canvas)
    knots = _COLON + np.clip(rng.normal(size=_COLON.shape), -2, 2) * _COLON_FREEDOM * [0.8, 0.6, 1.0]
    knots[4:6, 2] -= rng.uniform(0, 90) * (rng.random() < 0.5)  # a transverse colon that hangs down
    path = smooth_path(knots, 160)
    through: tuple[Tissue, ...] = (Tissue.FAT, Tissue.TENDON, *_GUT, Tissue.MUSCLE, Tissue.CONTRAST_GUT)
    width = np.interp(np.linspace(0, 1, 160), np.linspace(0, 1, 9), rng.uniform(10, 24, 9))
    with canvas.organ("colon", (0, -10, 340), shift=4, scale=0.05, wobble=4, reach=180):
        for start in range(0, 159, 8):
            part, radius = _points(path[start : start + 9]), float(width[start])
            canvas.tube(part, radius + 3, Tissue.TENDON, over=through)
            kind = _colon_content(canvas)
            canvas.tube(part, radius, kind, over=(Tissue.TENDON,))
            if rng.random() < 0.35 and radius > 12:
                x, y, z = part[4]
                gas = canvas.ellipsoid((x, y - 5, z), (0.8 * radius, 0.6 * radius, 1.2 * radius))
                canvas.paint(gas.box, gas.inside, Tissue.GAS, over=(kind,))
    if traits.bowel == "quiet":
        _quieten(canvas)


def _colon_content(canvas: VariedCanvas) -> Tissue:
    pattern, rng = canvas.traits.bowel, canvas.rng
    if pattern == "metformin":
        return Tissue.GUT_HIGH if rng.random() < 0.8 else Tissue.GUT
    if pattern == "oral contrast" and rng.random() < 0.6:
        return Tissue.CONTRAST_GUT
    return (*_GUT, Tissue.STOMACH)[int(rng.choice(4, p=[0.45, 0.25, 0.12, 0.18]))]


def _quieten(canvas: VariedCanvas) -> None:
    hot = np.isin(canvas.labels, (Tissue.GUT, Tissue.GUT_HIGH))
    canvas.labels[hot] = Tissue.GUT_LOW


def _paint_small_bowel(canvas: VariedCanvas) -> None:
    """Loops of smooth random course within the cavity."""
    rng, traits = canvas.rng, canvas.traits
    high = {"quiet": 0.0, "usual": 0.1, "segmental": 0.3, "metformin": 0.6, "oral contrast": 0.1}[traits.bowel]
    low, top = 250 + rng.uniform(-15, 25), 435 + rng.uniform(-25, 15)
    with canvas.organ("small_bowel", (0, -20, 350), shift=5, scale=0.06, wobble=3):
        for _ in range(int(rng.integers(20, 60))):
            knots = np.empty((5, 3))
            knots[0] = rng.uniform([-82, -84, low], [82, 26, top])
            steps = rng.normal(0, [26, 18, 18], (4, 3))
            knots[1:] = knots[0] + np.cumsum(steps, axis=0)
            knots = np.clip(knots, [-90, -88, low - 10], [90, 34, top + 10])
            radius = float(rng.uniform(8, 14))
            points = _points(smooth_path(knots, 30))
            kind = Tissue.GUT_HIGH if rng.random() < high else _GUT[int(rng.integers(2))]
            if traits.bowel == "oral contrast" and rng.random() < 0.6:
                kind = Tissue.CONTRAST_GUT
            canvas.tube(points, radius, Tissue.TENDON, over=(Tissue.FAT,))
            canvas.tube(points, radius - 2.5, kind, over=(Tissue.TENDON,))
            if rng.random() < 0.15:
                canvas.tube(points[10:14], radius - 4, Tissue.GAS, over=(kind,))
