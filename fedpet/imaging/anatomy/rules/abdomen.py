"""Liver, spleen, kidneys, ureters, bladder and bowel: rules on location, density and uptake.

Every function takes the aligned images and the voxels that no organ has been assigned yet, and returns a mask of the
same shape: empty where the organ was not scanned or cannot be recognised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import (
    GRID_MM,
    VOXEL_ML,
    binary_closing,
    binary_opening,
    bounding_box,
    components,
    dilate,
    erode,
    largest_component,
    voxels,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask


SOFT_HU = -20.0, 220.0  # soft tissue, contrast medium included
_SIMILAR_HU, _RIM_HU = (
    20.0,
    45.0,
)  # half-width of the window around an organ's usual density: of smoothed HU, of HU at its rim
_LIVER_ML, _SPLEEN_ML, _BLADDER_ML = 300.0, 40.0, 10.0  # minimum volumes
_KIDNEY_ML = 25.0, 450.0
_KIDNEY_SHARES = 0.6, 1.0, 1.4  # thresholds of uptake, relative to the liver, tried in turn
_POLE_SHARE, _WAIST_SHARE = 0.35, 0.8  # of the largest section of a kidney; of the smaller of two lobes
_UPPER_PART_MM = 64.0  # above the lower end of a kidney, beyond its open sinus
_RENAL_RIM_HU = -20.0
_MIN_SEEDS = 50
_LOWER_MM = 10.0  # of the right kidney below the left one
_KIDNEY_OF_LIVER, _RENAL_PELVIS_ML = 1.25, 2.0  # uptake of a kidney relative to the liver; least volume of it


def liver_seeds(images: AlignedImages, unassigned: Mask) -> Mask:
    """Thick soft tissue 1 to 6 cm below the right lung; without lungs, the thickest on the right."""
    soft, above = _soft_tissue(images) & unassigned, images.above_lung_base_mm()
    right = (images.left_mm() < -25) & (images.posterior_mm() < 40)
    if above is not None:
        under = (images.lungs == RIGHT).any(axis=0) & (above < -12) & (above > -60)
        return np.asarray(erode(soft, 5) & under & right)
    return np.asarray(erode(soft, 13) & right & (images.suv > 1) & images.has_spine[:, None, None])


def find_liver(images: AlignedImages, seeds: Mask, unassigned: Mask) -> Mask:
    """Soft tissue of the density of its seeds, with at least 60 % of their lower uptake, connected to most of them."""
    above = images.above_lung_base_mm()
    region = (
        unassigned
        & (images.left_mm() < 120)
        & (images.posterior_mm() < 75)
        & ((images.left_mm() < 35) | (images.posterior_mm() < -25))
    )
    if above is not None:
        region &= (above < 0) & (above > -280)
    liver = _grow_from_seeds(images, seeds, region, reach=7)
    return liver if liver.sum() * VOXEL_ML >= _LIVER_ML else np.zeros_like(liver)


def find_spleen(images: AlignedImages, unassigned: Mask) -> Mask:
    """Soft tissue below the left lung, posterior on the left; without lungs, the thickest there."""
    soft, above = _soft_tissue(images) & unassigned, images.above_lung_base_mm()
    lateral = (images.left_mm() > 60) & (np.abs(images.posterior_mm()) < 45)
    region = unassigned & (images.left_mm() > 35) & (images.posterior_mm() > -70)
    if above is not None:
        under = (images.lungs == LEFT).any(axis=0) & (above < -12) & (above > -70)
        seeds, region = erode(soft, 3) & under & lateral, region & (above < 0) & (above > -200)
    else:
        top = int(np.flatnonzero(images.body.any(axis=(1, 2)))[-1]) if images.body.any() else 0
        upper = (images.level() > top - voxels(120)) & images.has_spine[:, None, None]
        seeds, region = erode(soft, 7) & lateral & upper & (images.suv > 1), region & upper
    spleen = _grow_from_seeds(images, seeds, region, reach=1)
    return spleen if spleen.sum() * VOXEL_ML >= _SPLEEN_ML else np.zeros_like(spleen)


def _soft_tissue(images: AlignedImages) -> Mask:
    inside: Mask = (images.smooth_hu > SOFT_HU[0]) & (images.smooth_hu < SOFT_HU[1]) & (images.hu > -60) & ~images.bone
    return inside & images.body


def _grow_from_seeds(images: AlignedImages, seeds: Mask, region: Mask, *, reach: int) -> Mask:
    """The thick part of a region that resembles the seeds and is connected to most of them, holes filled.

    Thinner parts within a cube of `reach` voxels around it are added, then its rim.
    """
    organ = np.zeros_like(seeds)
    if seeds.sum() < _MIN_SEEDS:
        return organ
    box = bounding_box(region, margin=1)
    seeds, region, smooth = seeds[box], region[box], images.smooth_hu[box]
    density, uptake = _mode(smooth[seeds]), np.percentile(images.suv[box][seeds], 25)
    soft = region & _soft_tissue(images)[box]
    similar = soft & (np.abs(smooth - density) < _SIMILAR_HU) & (images.suv[box] >= 0.6 * uptake)
    labels, sizes = components(binary_opening(similar, 5))
    hits = np.bincount(labels[seeds], minlength=len(sizes))
    hits[0] = 0
    if hits.any():
        core = labels == hits.argmax()
        core |= dilate(core, reach) & binary_opening(similar, 3)
        rim = soft & (np.abs(images.hu[box] - density) < _RIM_HU)
        organ[box] = binary_closing(dilate(core, 3) & rim, 7) & region & (smooth > SOFT_HU[0])
    return organ


def _mode(values: NDArray[np.float32]) -> float:
    """The most frequent density, from a histogram with bins of 4 HU smoothed over 12 HU."""
    counts, edges = np.histogram(values, np.arange(SOFT_HU[0], SOFT_HU[1] + 1, 4.0))
    return float(edges[ndimage.uniform_filter1d(counts.astype(float), 3).argmax()] + 2.0)


def find_kidney(images: AlignedImages, unassigned: Mask, *, side: int, liver_suv: float, lowest: float | None) -> Mask:
    """Thick soft tissue beside the spine with more uptake than muscle, and what it encloses.

    Where that merges with its neighbours (muscle of high uptake, bowel), the threshold is raised to the uptake of the
    liver, then above it.

    Args:
        images: aligned images.
        unassigned: voxels of no organ yet.
        side: `RIGHT` or `LEFT`.
        liver_suv: lower uptake of the liver.
        lowest: slice below which no kidney lies; None where not known.
    """
    outward = images.left_mm() * (1 if side == LEFT else -1)
    region = (
        unassigned & (outward > 24) & (outward < 105) & (images.posterior_mm() > -55) & (images.posterior_mm() < 40)
    )
    region &= images.has_spine[:, None, None] & (images.level() >= (lowest or 0))
    above = images.above_lung_base_mm()
    if above is not None:
        region &= (above < -15) & (above > -300)
    box = bounding_box(region, margin=2)
    soft = region[box] & (images.smooth_hu[box] > -10) & (images.smooth_hu[box] < 350)
    expected = np.exp(-(((outward - 62) / 22) ** 2) - ((images.posterior_mm() - 5) / 25) ** 2)[box[0], box[1], box[2]]
    kidney = np.zeros_like(unassigned)
    for share in _KIDNEY_SHARES:
        labels, sizes = components(binary_opening(soft & (images.suv[box] > share * liver_suv), 3))
        score = np.bincount(labels.ravel(), weights=expected.ravel(), minlength=len(sizes))
        score[(sizes * VOXEL_ML < _KIDNEY_ML[0]) | (sizes * VOXEL_ML > _KIDNEY_ML[1])] = 0
        if score.any():
            core = binary_closing(labels == score.argmax(), 7)
            rim = (
                dilate(core, 3) & region[box] & (images.hu[box] > _RENAL_RIM_HU) & (images.suv[box] > share * liver_suv)
            )
            kidney[box] = _remove_cap(core | rim) & unassigned[box]
            break
    return kidney


def find_kidney_in_liver(images: AlignedImages, liver: Mask, left_kidney: Mask, liver_suv: float) -> Mask:
    """The right kidney where it has the density of the liver and was taken for a part of it.

    Its renal pelvis and cortex take up more than the liver, at the place where the other kidney is mirrored.

    Args:
        images: aligned images.
        liver: with the kidney.
        left_kidney: not empty.
        liver_suv: lower uptake of the liver.
    """
    level, row, column = (float(axis.mean()) for axis in np.nonzero(left_kidney))
    near = int(level)
    lateral = (column - images.midline[near]) * GRID_MM
    behind = (row - images.vertebral_row[near]) * GRID_MM
    apart = np.sqrt(
        (((images.level() - level) * GRID_MM + _LOWER_MM) / 42) ** 2
        + ((images.left_mm() + lateral) / 34) ** 2
        + ((images.posterior_mm() - behind) / 34) ** 2
    )
    bed = images.body & ~images.bone & (images.lungs == 0) & (images.left_mm() < -18) & (apart < 1)
    hot = bed & (images.suv > _KIDNEY_OF_LIVER * liver_suv)
    labels, sizes = components(binary_opening(hot, 2))
    kidney = np.zeros_like(liver)
    kept = sizes * VOXEL_ML >= _RENAL_PELVIS_ML
    if kept.any():
        core = dilate(binary_closing(kept[labels], 7), 3)
        kidney = binary_closing(core & bed & (images.smooth_hu > _RENAL_RIM_HU), 3) & bed
    return kidney if (kidney & liver).sum() * VOXEL_ML >= _RENAL_PELVIS_ML else np.zeros_like(kidney)


def _remove_cap(kidney: Mask) -> Mask:
    """Cut off what sits on top of a kidney.

    Beyond a waist in its upper part that is the stomach, connected by a hot adrenal gland; without a waist, what lies
    more than 1 cm above the slices of at least 35 % of the largest section, the gland alone.
    """
    section = kidney.sum(axis=(1, 2))
    slice_number = np.arange(len(section))
    wider = np.minimum(np.maximum.accumulate(section), np.maximum.accumulate(section[::-1])[::-1])
    waist = (
        (section > 0)
        & (section <= _WAIST_SHARE * wider)
        & (slice_number >= np.flatnonzero(section)[0] + voxels(_UPPER_PART_MM))
    )
    if waist.any():
        section = np.where(slice_number <= np.where(waist, section, np.inf).argmin(), section, 0)
    top = np.flatnonzero(section >= _POLE_SHARE * section.max())[-1] + (0 if waist.any() else voxels(10))
    return np.asarray(kidney & (slice_number <= top)[:, None, None])


def find_bladder(images: AlignedImages, unassigned: Mask, *, bottom: float | None) -> Mask:
    """The hottest part of the central pelvis above `bottom`, or water-like tissue there where nothing is hot."""
    if bottom is None:
        return np.zeros_like(unassigned)
    level = images.level()
    region = unassigned & (level >= bottom) & (level < bottom + voxels(150)) & (np.abs(images.left_mm()) < 75)
    region &= (images.posterior_mm() < 20) & (images.smooth_hu > -60)
    highest = float(images.suv[region].max(initial=0.0))
    labels, sizes = components(binary_opening(region & (images.suv > max(3.0, 0.3 * highest)), 3))
    low = labels[: int(bottom) + voxels(90)]
    activity = np.bincount(low.ravel(), weights=images.suv[: len(low)].ravel(), minlength=len(sizes))
    activity[sizes * VOXEL_ML < _BLADDER_ML] = 0
    if activity.any():
        return binary_closing(labels == activity.argmax(), 5) & unassigned
    water = largest_component(binary_opening(region & (images.smooth_hu > -10) & (images.smooth_hu < 25), 5))
    return water if water.sum() * VOXEL_ML >= 2 * _BLADDER_ML else np.zeros_like(water)


def find_ureter(images: AlignedImages, kidney: Mask, bladder: Mask, *, side: int) -> Mask:
    """A corridor of 2.4 cm from the middle of the kidney along the front of the psoas to the bladder."""
    mask = np.zeros_like(kidney)
    if not kidney.any():
        return mask
    sign = 1 if side == LEFT else -1
    level, row, column = (axis.mean() for axis in np.nonzero(kidney))
    spine = images.vertebral_row[int(level)], images.midline[int(level)]
    knots = [(level, row - spine[0] - 2, sign * (column - spine[1]) - 5), (level - 15, -5.5, 10.0)]
    end = level - voxels(180)
    if bladder.any():
        bladder_level, bladder_row, _ = (axis.mean() for axis in np.nonzero(bladder))
        end = bladder_level
        brim = bladder_level + 0.45 * (level - bladder_level)
        knots += [
            (brim, -4.5, 9.5),
            (bladder_level + 6, -1.0, 11.0),
            (bladder_level, bladder_row + 4 - images.vertebral_row[int(bladder_level)], 6.0),
        ]
    else:
        knots += [(end, -4.5, 9.5)]
    heights, rows, columns = (np.array(axis)[::-1] for axis in zip(*knots, strict=True))
    for slice_ in range(max(int(end), 0), int(level)):
        at_row = images.vertebral_row[slice_] + np.interp(slice_, heights, rows)
        at_column = images.midline[slice_] + sign * np.interp(slice_, heights, columns)
        distance = np.hypot(np.arange(mask.shape[1])[:, None] - at_row, np.arange(mask.shape[2]) - at_column)
        mask[slice_] = distance <= 3.0
    return mask


def find_bowel(images: AlignedImages, unassigned: Mask, *, bottom: float | None) -> Mask:
    """Soft tissue and gas inside the abdominal wall that belong to no other organ: stomach, bowel, pancreas."""
    above, lateral, posterior = images.above_lung_base_mm(), np.abs(images.left_mm()), images.posterior_mm()
    inside = _cavity(images) & unassigned & np.where(lateral < 65, posterior < -22, posterior < 30)
    inside &= (above < 0) if above is not None else images.has_spine[:, None, None]
    if bottom is not None:
        level, crest = images.level(), bottom + voxels(190)
        inside &= (level >= bottom + voxels(30)) & ((level > crest) | (lateral < 90))
    return inside & (((images.smooth_hu > SOFT_HU[0]) & (images.hu > -60)) | (images.hu < -300))


def _cavity(images: AlignedImages) -> Mask:
    """What lies at least 12 mm inside the muscular wall, slice by slice."""
    wall = erode(dilate(images.body & (images.smooth_hu > -30), (1, 5, 5)), (1, 5, 5))
    labels, sizes = components(np.pad(~wall, ((0, 0), (1, 1), (1, 1)), constant_values=True), in_plane=True)
    outer = np.zeros(len(sizes), bool)
    outer[np.unique(labels[:, 0])] = True
    outer[0] = False
    inner = ~outer[labels][:, 1:-1, 1:-1]
    return erode(inner, (1, 7, 7))
