"""A whole varied body in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.patients.reference_body import SPINE
from training.simulation.phantom.body_outline import Trunk, paint_couch, paint_head, paint_outline
from training.simulation.phantom.bones import paint_femora, paint_pelvis, paint_ribs, paint_shoulders, paint_vertebra
from training.simulation.phantom.organs import paint_cavity
from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.abdomen import (
    paint_adrenals,
    paint_bowel,
    paint_liver,
    paint_spleen,
    paint_stomach,
)
from training.simulation.phantom.varied.canvas import VariedCanvas
from training.simulation.phantom.varied.chest import (
    Diaphragm,
    paint_heart,
    paint_lungs,
    paint_mediastinum,
    paint_vessels,
)
from training.simulation.phantom.varied.pelvis import paint_genital_organs, paint_kidneys
from training.simulation.phantom.varied.traits import draw_traits

if TYPE_CHECKING:
    from training.simulation.patients.population import PatientAnatomy
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Lattice, Mask
    from training.simulation.phantom.varied.traits import BodyTraits

_BONE: Final = (Tissue.BONE, Tissue.MARROW, Tissue.SKULL, Tissue.FATTY_MARROW)
_SPINE_PARTS: Final = {"L": "spine_lumbar", "T": "spine_thoracic", "C": "spine_cervical"}
_BROWN_FAT: Final[tuple[Mm, ...]] = (
    (48, -2, 792),
    (40, 10, 820),
    (84, 30, 772),
    (34, 52, 640),
    (32, 54, 600),
    (30, 54, 560),
)


def paint_varied(anatomy: PatientAnatomy, lattice: Lattice, traits: BodyTraits | None = None) -> VariedCanvas:
    """All healthy tissue of a patient, with the given variants or those of `draw_traits`."""
    canvas = VariedCanvas(anatomy, lattice, traits or draw_traits(anatomy))
    trunk = Trunk(anatomy)
    paint_outline(canvas, anatomy, trunk)
    canvas.claim("humeri", _BONE)  # no other bone is there yet
    if anatomy.sex == "F":
        _paint_implants(canvas)
    _paint_head(canvas)
    paint_cavity(canvas, trunk)
    diaphragm = Diaphragm(canvas)
    paint_lungs(canvas, diaphragm)
    _paint_skeleton(canvas)
    paint_heart(canvas)
    paint_vessels(canvas)
    paint_mediastinum(canvas)
    paint_liver(canvas, diaphragm)
    paint_spleen(canvas, diaphragm)
    paint_stomach(canvas, diaphragm)
    paint_adrenals(canvas)
    paint_kidneys(canvas)
    paint_bowel(canvas)
    paint_genital_organs(canvas)
    _paint_implanted_metal(canvas)
    if canvas.traits.brown_fat:
        _paint_brown_fat(canvas)
    canvas.structures[(canvas.structures == 0) & (canvas.labels == Tissue.MUSCLE)] = canvas.number("muscle")
    paint_couch(canvas)
    return canvas


def _paint_head(canvas: VariedCanvas) -> None:
    with canvas.organ(None, (0, 0, 940), shift=(3, 4, 4), scale=0.04, wobble=2.5):
        paint_head(canvas, canvas.rng)
        box = canvas.box((-90, -120, 815), (90, 110, 1050))
        y, z = canvas.y[box], canvas.z[box]
        canvas.claim("skull", (Tissue.SKULL,), np.abs(canvas.x[box]) < 85, box)
        canvas.claim("brain", (Tissue.CORTEX, Tissue.WHITE_MATTER), None, box)
        canvas.claim("brain", (Tissue.FLUID,), y > -60, box)
        canvas.claim("eyes", (Tissue.FLUID,), y <= -60, box)
        canvas.claim("salivary_glands", (Tissue.GLAND,), z > 815, box)
        canvas.claim("tonsils", (Tissue.TONSIL,), None, box)


def _paint_skeleton(canvas: VariedCanvas) -> None:
    with canvas.organ(None, (0, 40, 600), shift=(2, 3, 3), scale=0.03, wobble=2, reach=330):
        for vertebra in SPINE:
            canvas.structure = _SPINE_PARTS[vertebra.name[0]]
            paint_vertebra(canvas, vertebra)
    with canvas.organ("ribs", (0, 0, 640), shift=3, scale=0.03, wobble=3, reach=220):
        paint_ribs(canvas)
    sternum = canvas.box((-30, -112, 590), (30, -60, 765), margin=-50)
    middle = (np.abs(canvas.x[sternum]) < 27) & (canvas.y[sternum] < -62)
    canvas.claim("sternum", _BONE, middle & (canvas.z[sternum] > 590) & (canvas.z[sternum] < 765), sternum)
    for name, painter, centre in (
        ("scapulae", paint_shoulders, (0.0, 20.0, 740.0)),
        ("hip_bones", paint_pelvis, (0.0, 20.0, 290.0)),
        ("femora", paint_femora, (0.0, 8.0, 180.0)),
    ):
        with canvas.organ(name, centre, shift=3, scale=0.04, wobble=2.5, reach=230):
            painter(canvas)
            x, y, z = canvas.x, canvas.y, canvas.z
            if name == "scapulae":
                heads = (np.abs(x) - 150) ** 2 + (y - 13) ** 2 + (z - 744) ** 2 < 26**2
                canvas.claim("clavicles", _BONE, (y < 28) & _was(canvas, name))
                canvas.claim("humeri", _BONE, heads)
            if name == "hip_bones":
                canvas.claim("sacrum", _BONE, (np.abs(x) < 52) & (y > 38) & (z > 215) & (z < 352) & _was(canvas, name))
    canvas.structures[np.isin(canvas.labels, (Tissue.DISC, Tissue.CORD))] = 0
    canvas.claim("spinal_cord", (Tissue.CORD,))


def _was(canvas: VariedCanvas, name: str) -> Mask:
    return np.asarray(canvas.structures == canvas.number(name))


def _paint_implants(canvas: VariedCanvas) -> None:
    if canvas.traits.implants:
        for side in (-1, 1):
            with canvas.organ(None, (side * 72, -118, 640), shift=4, scale=0.1, wobble=3):
                implant = canvas.ellipsoid((side * 72, -118, 640), (50, 28, 48))
                canvas.paint(implant.box, implant.inside, Tissue.SILICONE, over=(Tissue.FAT, Tissue.TENDON, Tissue.AIR))


def _paint_implanted_metal(canvas: VariedCanvas) -> None:
    side = canvas.traits.side
    if canvas.traits.hip_prosthesis:
        with canvas.organ("femora", (side * 92, 8, 226), shift=2, scale=0.03, wobble=1):
            head = canvas.ellipsoid((side * 92, 8, 226), (22, 22, 22))
            canvas.paint(head.box, head.inside, Tissue.METAL)
            canvas.tube([(side * 94, 8, 222), (side * 122, 12, 190), (side * 112, 8, 100)], 8, Tissue.METAL)
    if canvas.traits.spinal_rods:
        with canvas.organ(None, (0, 70, 400), shift=2, scale=0.02, wobble=1):
            for one in (-1, 1):
                canvas.tube([(one * 22, 78, 360), (one * 22, 74, 440)], 4, Tissue.METAL)
                for z in (365.0, 400.0, 435.0):
                    canvas.tube([(one * 22, 76, z), (one * 12, 36, z)], 3, Tissue.METAL)


def _paint_brown_fat(canvas: VariedCanvas) -> None:
    for x, y, z in _BROWN_FAT:
        for side in (-1, 1):
            with canvas.organ("brown_fat", (side * x, y, z), shift=5, scale=0.2, wobble=3):
                size = float(canvas.rng.uniform(5, 14))
                spot = canvas.ellipsoid((side * x, y, z), (size, size, 1.3 * size))
                canvas.paint(
                    spot.box, spot.inside, Tissue.BROWN_FAT, over=(Tissue.FAT, Tissue.MUSCLE, Tissue.MEDIASTINUM)
                )
