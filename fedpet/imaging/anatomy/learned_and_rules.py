"""Organs of the learned network, checked by what rules find and completed by them.

The network knows shapes that vary, but calls a hot tumour after a hot organ; rules do not see uptake that they do not
expect, but know what air, bone and the course of a ureter are. An organ of which there is one is one piece: a second
piece is a tumour or chance, and is left to the rules. Of a kidney only what lies near the kidney of the rules counts,
where they found one: the gland above it, often a metastasis, is as hot as it is. A brain, heart or liver below
a least volume is none: a focus may be taken for it, and the rules decide. What is named wall of the heart, lies farther
from its cavity than a wall is thick and is much hotter than the wall beside the cavity is a tumour that touches it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM, VOXEL_ML, bounding_box, components, dilate, largest_component
from fedpet.imaging.anatomy.rules.abdomen import find_ureter
from fedpet.imaging.anatomy.structures import GROUPS, STRUCTURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation

_ONE_PIECE: Final = ("brain", "heart", "liver", "spleen", "kidney_right", "kidney_left", "bladder")
_LEAST_ML: Final = {"brain": 300.0, "heart": 150.0, "liver": 300.0}  # less is a hot focus, or is cut off
_YIELDING: Final = ("muscle", "great_vessels", "pancreas", "oesophagus", "trachea", "spinal_cord")
_KIDNEY_ML: Final = 40.0  # least volume of a kidney of the rules that can trim one of the network
_WALL_MM, _INNER_MM = 20.0, 10.0  # from the cavity: beyond the wall of a heart; its inner part
_MASS_ML, _MASS_TIMES = 3.0, 2.0  # of a tumour beside a heart: least volume; heat, relative to the inner wall
_MASS_SHARE: Final = 0.5  # of the heat of a tumour, down to which the wall around it belongs to it
_NEAR: Final = 5  # voxels: cube by which a kidney of the rules is widened


def combine(learned: OrganSegmentation, rules: OrganSegmentation, images: AlignedImages) -> OrganSegmentation:
    """The organs of the network, with those that it does not know from rules.

    Args:
        learned: of the network, on the grid of the body.
        rules: on the same grid.
        images: of the same patient, cropped to `images.box` of that grid.

    Returns:
        The organs of the network; `filled_in` names what rules added.
    """
    labels = learned.labels.array.copy()
    for name in _ONE_PIECE:
        mask = learned.mask(name)
        box = bounding_box(mask, margin=1)
        part = labels[box]
        part[mask[box] & ~largest_component(mask[box])] = 0
    dropped: set[str] = set()
    for name, least in _LEAST_ML.items():
        mask = replace(learned, labels=learned.labels.like(labels, "label")).mask(name)
        if mask.sum() * VOXEL_ML < least:
            labels[mask] = 0
            dropped |= {name, *GROUPS.get(name, ())}
    _leave_out_tumours_at_heart(labels, images)  # a heart stays one, however much of it was a tumour
    kept = replace(learned, labels=learned.labels.like(labels, "label"))
    for name in ("kidney_right", "kidney_left"):
        labels[kept.mask(name) & ~_near_kidney(rules.mask(name))] = 0
    believed = learned.known - dropped
    known = believed.union(*(names for names in GROUPS.values() if believed & set(names)))
    missing = sorted(rules.present - known)
    numbers = _numbers(missing)
    free = (labels == 0) | np.isin(labels, _numbers(_YIELDING))
    fill = free & np.isin(rules.labels.array, numbers)
    labels[fill] = rules.labels.array[fill]
    _trace_ureters(replace(learned, labels=learned.labels.like(labels, "label")), labels, images)
    return replace(learned, labels=learned.labels.like(labels, "label"), filled_in=frozenset(missing))


def _numbers(names: Iterable[str]) -> NDArray[np.uint8]:
    return np.array([STRUCTURES[name].number for name in names], np.uint8)


def _near_kidney(kidney: Mask) -> Mask:
    """Around a kidney of the rules; everywhere without one that is large enough."""
    if kidney.sum() * VOXEL_ML < _KIDNEY_ML:
        return np.ones_like(kidney)
    box = bounding_box(kidney, margin=_NEAR)
    near = np.zeros_like(kidney)
    near[box] = dilate(kidney[box], _NEAR)
    return near


def _leave_out_tumours_at_heart(labels: NDArray[np.uint8], images: AlignedImages) -> None:
    """Remove from the wall of the heart in `labels` what is too far from the cavity and much hotter than the rest."""
    part = labels[images.box]
    cavity, wall = (part == STRUCTURES[name].number for name in ("heart_cavity", "heart_wall"))
    if not cavity.any() or not wall.any():
        return
    box = bounding_box(cavity | wall, margin=1)
    suv, wall = images.suv[box], wall[box]
    depth = ndimage.distance_transform_edt(~cavity[box], sampling=GRID_MM)
    inner = wall & (depth <= _INNER_MM)
    if not inner.any():
        return
    bound = _MASS_TIMES * float(np.nanmedian(suv[inner]))
    far, sizes = components(wall & (depth > _WALL_MM) & (suv >= bound))
    for number in np.flatnonzero(sizes * VOXEL_ML >= _MASS_ML):
        heat = float(np.median(suv[far == number]))
        hot = components(wall & (depth > _INNER_MM) & (suv >= max(bound, _MASS_SHARE * heat)))[0]
        part[box][np.isin(hot, np.unique(hot[far == number]))] = 0


def _trace_ureters(organs: OrganSegmentation, labels: NDArray[np.uint8], images: AlignedImages) -> None:
    """Corridors of the ureters between the kidneys and the bladder that were found, in free voxels of `labels`."""
    bladder = organs.mask("bladder")[images.box]
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        kidney = organs.mask(f"kidney_{name}")[images.box]
        corridor = find_ureter(images, kidney, bladder, side=side)
        part = labels[images.box]
        part[np.isin(part, _numbers((f"ureter_{name}",)))] = 0
        free = (part == 0) | np.isin(part, _numbers(("muscle", "great_vessels")))
        part[corridor & free] = STRUCTURES[f"ureter_{name}"].number
