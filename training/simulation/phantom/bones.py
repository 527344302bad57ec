"""Bones: spine, rib cage, shoulders, pelvis and femora."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.simulation.patients.reference_body import SPINE
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from training.simulation.patients.reference_body import Mm, Vertebra
    from training.simulation.phantom.canvas import Canvas

_SOFT = (Tissue.FAT, Tissue.MUSCLE)
# Inside of the rib cage: z, half-width, half-depth (mm)
CAGE = np.array([
    (480, 120, 82), (520, 126, 86), (560, 130, 88), (600, 131, 88), (640, 129, 87), (680, 122, 82),
    (715, 110, 74), (745, 91, 62), (765, 70, 50), (782, 48, 40), (800, 28, 28),
])  # fmt: skip


def paint_skeleton(canvas: Canvas) -> None:
    """All bones but the skull and the bones of the arms."""
    for vertebra in SPINE:
        paint_vertebra(canvas, vertebra)
    paint_ribs(canvas)
    paint_shoulders(canvas)
    paint_pelvis(canvas)
    paint_femora(canvas)


def paint_vertebra(canvas: Canvas, vertebra: Vertebra) -> None:
    """A body with its disc, arch, processes and canal."""
    x, y, z = vertebra.centre
    width, height = vertebra.half_width, vertebra.height
    disc = canvas.ellipsoid((x, y, z + height / 2), (0.95 * width, 0.75 * width, 0.30 * height), power=4)
    canvas.paint(disc.box, disc.inside, Tissue.DISC)
    body = canvas.ellipsoid((x, y, z), (width, 0.8 * width, 0.43 * height), power=4)
    canvas.paint(body.box, body.inside, Tissue.BONE)
    canvas.paint(body.box, body.level < 0.90, Tissue.MARROW)
    back = y + 0.8 * width
    arch = canvas.ellipsoid((x, back + 11, z - 2), (0.85 * width, 14, 0.36 * height), power=3)
    canvas.paint(arch.box, arch.inside & (arch.level > 0.35), Tissue.BONE)
    canvas.tube([(x, back + 20, z - 4), (x, back + 34, z - 10)], 4.5, Tissue.BONE, over=(*_SOFT, Tissue.BONE))
    if vertebra.name[0] != "C":
        span = width + 17
        canvas.tube([(-span, back + 6, z), (span, back + 6, z)], 4, Tissue.BONE, over=_SOFT)
    canal = canvas.ellipsoid((x, back + 8, z), (9, 7.5, 0.62 * height), power=3)
    canvas.paint(canal.box, canal.inside, Tissue.CORD)


def paint_ribs(canvas: Canvas) -> None:
    """Twelve ribs a side, and the sternum."""
    cord = {v.name: v.centre for v in SPINE}
    for number in range(1, 13):
        _, back, top = cord[f"T{number}"]
        last = 2.75 if number <= 7 else 2.45 - 0.16 * (number - 8)
        theta = np.linspace(0.16, last, 60)
        drop = (14 + 6.5 * min(number, 9)) * np.sin(np.minimum(theta, 2.2) / 2.2 * np.pi / 2)
        z = top + 6 - drop
        half_width = np.interp(z, CAGE[:, 0], CAGE[:, 1]) + 5
        half_depth = np.interp(z, CAGE[:, 0], CAGE[:, 2]) + 5
        y = half_depth * np.sign(np.cos(theta)) * np.abs(np.cos(theta)) ** 0.8
        y = np.where(theta < 0.5, np.minimum(y, back + 22 + 60 * theta), y)
        for side in (-1, 1):
            x = side * half_width * np.sin(theta) ** 0.8
            points: list[Mm] = [(float(a), float(b), float(c)) for a, b, c in zip(x, y, z, strict=True)]
            canvas.tube(points, 4.6, Tissue.BONE, over=(*_SOFT, Tissue.LUNG))
            if number in {2, 4, 6, 8}:
                canvas.tube(points[4:40], 2.2, Tissue.MARROW, over=(Tissue.BONE,))
    sternum = canvas.ellipsoid((0, -95, 664), (18, 7, 66), power=3)
    canvas.paint(sternum.box, sternum.inside, Tissue.BONE, over=(*_SOFT, Tissue.BONE))
    canvas.paint(sternum.box, sternum.level < 0.75, Tissue.MARROW, over=(Tissue.BONE,))
    handle = canvas.ellipsoid((0, -80, 742), (26, 8, 20), power=3, tilt=0.0)
    canvas.paint(handle.box, handle.inside, Tissue.BONE, over=(*_SOFT, Tissue.BONE))


def paint_shoulders(canvas: Canvas) -> None:
    """Clavicles, scapulae and the heads of the humeri."""
    for side in (-1, 1):
        canvas.tube([(side * 18, -74, 760), (side * 70, -52, 778), (side * 138, 0, 768)], 6.5, Tissue.BONE, over=_SOFT)
        blade = canvas.ellipsoid((side * 100, 84, 696), (50, 6, 66), yaw=side * -0.45)
        canvas.paint(blade.box, blade.inside, Tissue.BONE, over=_SOFT)
        canvas.tube([(side * 70, 92, 722), (side * 125, 58, 762)], 6, Tissue.BONE, over=_SOFT)
        head = canvas.ellipsoid((side * 150, 13, 744), (23, 23, 23))
        canvas.paint(head.box, head.inside, Tissue.BONE)
        canvas.paint(head.box, head.level < 0.86, Tissue.MARROW)
        canvas.paint(head.box, head.level < 0.45, Tissue.FATTY_MARROW)


def paint_pelvis(canvas: Canvas) -> None:
    """Hip bones and sacrum."""
    for side in (-1, 1):
        wing = canvas.ellipsoid((side * 62, 24, 338), (56, 62, 92), tilt=side * 0.25)
        x, y, z = side * canvas.x[wing.box], canvas.y[wing.box], canvas.z[wing.box]
        shell = wing.inside & (wing.level > 0.80) & (x > 52) & (z > 240) & (z < 388) & (y > -60 + 0.5 * (z - 240))
        canvas.paint(wing.box, shell, Tissue.BONE, over=_SOFT)
        canvas.paint(wing.box, shell & (wing.level > 0.85) & (wing.level < 0.95), Tissue.MARROW, over=(Tissue.BONE,))
        joint = canvas.ellipsoid((side * 92, 10, 228), (34, 32, 34))
        canvas.paint(joint.box, joint.inside & (joint.level > 0.76) & (side * canvas.x[joint.box] < 104), Tissue.BONE)
        canvas.tube([(side * 84, 18, 250), (side * 78, 30, 290)], 17, Tissue.BONE, over=_SOFT)
        canvas.tube([(side * 84, 18, 250), (side * 78, 30, 290)], 12, Tissue.MARROW, over=(Tissue.BONE,))
        canvas.tube([(side * 70, 40, 215), (side * 58, 46, 172)], 15, Tissue.BONE, over=(*_SOFT, Tissue.BONE))
        canvas.tube([(side * 72, -8, 222), (side * 12, -44, 204)], 8.5, Tissue.BONE, over=_SOFT)
        canvas.tube([(side * 14, -42, 200), (side * 54, 30, 172)], 6.5, Tissue.BONE, over=_SOFT)
    sacrum = canvas.ellipsoid((0, 62, 298), (50, 18, 50), power=2.5)
    wedge = sacrum.inside & (np.abs(canvas.x[sacrum.box]) < 14 + 0.45 * (canvas.z[sacrum.box] - 240))
    canvas.paint(sacrum.box, wedge, Tissue.BONE)
    canvas.paint(sacrum.box, wedge & (sacrum.level < 0.87), Tissue.MARROW)
    canvas.tube([(0, 74, 252), (0, 66, 222)], 7, Tissue.BONE, over=_SOFT)


def paint_femora(canvas: Canvas) -> None:
    """Heads, necks and shafts."""
    for side in (-1, 1):
        head = canvas.ellipsoid((side * 92, 8, 226), (24, 24, 24))
        canvas.paint(head.box, head.inside, Tissue.BONE)
        canvas.paint(head.box, head.level < 0.88, Tissue.FATTY_MARROW)
        canvas.tube([(side * 94, 8, 222), (side * 124, 12, 190)], 16, Tissue.BONE)
        canvas.tube([(side * 94, 8, 222), (side * 124, 12, 190)], 11, Tissue.FATTY_MARROW)
        shaft = [(side * 122, 12, 192), (side * 112, 8, 120), (side * 96, 2, -40)]
        canvas.tube(shaft, 14, Tissue.SKULL)
        canvas.tube(shaft, 7.5, Tissue.FATTY_MARROW)
