"""Liver, spleen, kidneys, ureters, bladder and bowel: rules on place, density and uptake.

Each rule gives an empty mask where what it looks for was not scanned or cannot be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from imaging.anatomy import LEFT, RIGHT
from imaging.coarse import VOXEL_ML, box_of, closed, components, dilated, eroded, largest, opened, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.coarse import Mask
    from imaging.scene import Scene


SOFT_HU = -20.0, 220.0
_ALIKE_HU, _RIM_HU = 20.0, 45.0  # half-width of the window around an organ's median density: smoothed, at its rim
_LIVER_ML, _SPLEEN_ML, _BLADDER_ML = 300.0, 40.0, 10.0
_KIDNEY_ML = 25.0, 450.0
_KIDNEY_SHARES = 0.6, 1.0, 1.4  # of the liver's uptake
_POLE, _WAIST = 0.35, 0.8  # of the largest section of a kidney, of the smaller lobe
_UPPER_PART_MM = 64.0  # above its lower end, beyond the open sinus
_RENAL_RIM_HU = -20.0
_LEAST_SEEDS = 50


def liver_seeds(scene: Scene, free: Mask) -> Mask:
    """Thick soft tissue 1 to 6 cm under the right lung; without lungs, the thickest of the right side."""
    soft, above = _soft(scene) & free, scene.above_floor()
    right = (scene.left() < -25) & (scene.behind() < 40)
    if above is not None:
        under = (scene.lungs == RIGHT).any(axis=0) & (above < -12) & (above > -60)
        return np.asarray(eroded(soft, 5) & under & right)
    return np.asarray(eroded(soft, 13) & right & (scene.suv > 1) & scene.has_spine[:, None, None])


def find_liver(scene: Scene, seeds: Mask, free: Mask) -> Mask:
    """Soft tissue like its seeds in density, and of at least half their uptake, connected to most of them."""
    above = scene.above_floor()
    place = free & (scene.left() < 120) & (scene.behind() < 75) & ((scene.left() < 35) | (scene.behind() < -25))
    if above is not None:
        place &= (above < 0) & (above > -280)
    liver = _alike(scene, seeds, place, reach=7)
    return liver if liver.sum() * VOXEL_ML >= _LIVER_ML else np.zeros_like(liver)


def find_spleen(scene: Scene, free: Mask) -> Mask:
    """Soft tissue under the left lung, in the back of the left side; without lungs, the thickest there."""
    soft, above = _soft(scene) & free, scene.above_floor()
    aside = (scene.left() > 60) & (np.abs(scene.behind()) < 45)
    place = free & (scene.left() > 35) & (scene.behind() > -70)
    if above is not None:
        under = (scene.lungs == LEFT).any(axis=0) & (above < -12) & (above > -70)
        seeds, place = eroded(soft, 3) & under & aside, place & (above < 0) & (above > -200)
    else:
        top = int(np.flatnonzero(scene.body.any(axis=(1, 2)))[-1]) if scene.body.any() else 0
        upper = (scene.level() > top - voxels(120)) & scene.has_spine[:, None, None]
        seeds, place = eroded(soft, 7) & aside & upper & (scene.suv > 1), place & upper
    spleen = _alike(scene, seeds, place, reach=1)
    return spleen if spleen.sum() * VOXEL_ML >= _SPLEEN_ML else np.zeros_like(spleen)


def _soft(scene: Scene) -> Mask:
    inside: Mask = (scene.smooth > SOFT_HU[0]) & (scene.smooth < SOFT_HU[1]) & (scene.hu > -60) & ~scene.bone
    return inside & scene.body


def _alike(scene: Scene, seeds: Mask, place: Mask, *, reach: int) -> Mask:
    """The thick part of a place that looks like seeds and is connected to most of them, holes filled.

    Thinner parts are taken within a cube of `reach` voxels around it, then its rim.
    """
    organ = np.zeros_like(seeds)
    if seeds.sum() < _LEAST_SEEDS:
        return organ
    box = box_of(place, margin=1)
    seeds, place, smooth = seeds[box], place[box], scene.smooth[box]
    density, uptake = _mode(smooth[seeds]), np.percentile(scene.suv[box][seeds], 25)
    soft = place & _soft(scene)[box]
    alike = soft & (np.abs(smooth - density) < _ALIKE_HU) & (scene.suv[box] >= 0.6 * uptake)
    labels, sizes = components(opened(alike, 5))
    hits = np.bincount(labels[seeds], minlength=len(sizes))
    hits[0] = 0
    if hits.any():
        core = labels == hits.argmax()
        core |= dilated(core, reach) & opened(alike, 3)
        rim = soft & (np.abs(scene.hu[box] - density) < _RIM_HU)
        organ[box] = closed(dilated(core, 3) & rim, 7) & place & (smooth > SOFT_HU[0])
    return organ


def _mode(values: NDArray[np.float32]) -> float:
    """The most frequent density, by a histogram of 4 HU smoothed over 12 HU."""
    counts, edges = np.histogram(values, np.arange(SOFT_HU[0], SOFT_HU[1] + 1, 4.0))
    return float(edges[ndimage.uniform_filter1d(counts.astype(float), 3).argmax()] + 2.0)


def find_kidney(scene: Scene, free: Mask, *, side: int, liver_suv: float, lowest: float | None) -> Mask:
    """The thick soft tissue beside the spine with more uptake than muscle, and what lies inside it.

    Where that runs into its neighbours (muscle of high uptake, bowel), only what is as hot as the liver, or hotter.
    """
    left = scene.left() * (1 if side == LEFT else -1)
    place = free & (left > 24) & (left < 105) & (scene.behind() > -55) & (scene.behind() < 40)
    place &= scene.has_spine[:, None, None] & (scene.level() >= (lowest or 0))
    above = scene.above_floor()
    if above is not None:
        place &= (above < -15) & (above > -300)
    box = box_of(place, margin=2)
    soft = place[box] & (scene.smooth[box] > -10) & (scene.smooth[box] < 350)
    usual = np.exp(-(((left - 62) / 22) ** 2) - ((scene.behind() - 5) / 25) ** 2)[box[0], box[1], box[2]]
    kidney = np.zeros_like(free)
    for share in _KIDNEY_SHARES:
        labels, sizes = components(opened(soft & (scene.suv[box] > share * liver_suv), 3))
        score = np.bincount(labels.ravel(), weights=usual.ravel(), minlength=len(sizes))
        score[(sizes * VOXEL_ML < _KIDNEY_ML[0]) | (sizes * VOXEL_ML > _KIDNEY_ML[1])] = 0
        if score.any():
            core = closed(labels == score.argmax(), 7)
            rim = dilated(core, 3) & place[box] & (scene.hu[box] > _RENAL_RIM_HU) & (scene.suv[box] > share * liver_suv)
            kidney[box] = _without_cap(core | rim) & free[box]
            break
    return kidney


def _without_cap(kidney: Mask) -> Mask:
    """Less what lies above it: beyond a waist in its upper part the stomach, bridged by a hot adrenal gland.

    Else what sits more than 1 cm above the slices of at least a third of the largest section: the gland alone.
    """
    section = kidney.sum(axis=(1, 2))
    every = np.arange(len(section))
    wider = np.minimum(np.maximum.accumulate(section), np.maximum.accumulate(section[::-1])[::-1])
    waist = (section > 0) & (section <= _WAIST * wider) & (every >= np.flatnonzero(section)[0] + voxels(_UPPER_PART_MM))
    if waist.any():
        section = np.where(every <= np.where(waist, section, np.inf).argmin(), section, 0)
    top = np.flatnonzero(section >= _POLE * section.max())[-1] + (0 if waist.any() else voxels(10))
    return np.asarray(kidney & (every <= top)[:, None, None])


def find_bladder(scene: Scene, free: Mask, *, bottom: float | None) -> Mask:
    """The hottest part of the middle of the pelvis, or water-like tissue there where nothing is hot."""
    if bottom is None:
        return np.zeros_like(free)
    level = scene.level()
    place = free & (level >= bottom) & (level < bottom + voxels(150)) & (np.abs(scene.left()) < 75)
    place &= (scene.behind() < 20) & (scene.smooth > -60)
    most = float(scene.suv[place].max(initial=0.0))
    labels, sizes = components(opened(place & (scene.suv > max(3.0, 0.3 * most)), 3))
    low = labels[: int(bottom) + voxels(90)]
    activity = np.bincount(low.ravel(), weights=scene.suv[: len(low)].ravel(), minlength=len(sizes))
    activity[sizes * VOXEL_ML < _BLADDER_ML] = 0
    if activity.any():
        return closed(labels == activity.argmax(), 5) & free
    water = largest(opened(place & (scene.smooth > -10) & (scene.smooth < 25), 5))
    return water if water.sum() * VOXEL_ML >= 2 * _BLADDER_ML else np.zeros_like(water)


def find_ureter(scene: Scene, kidney: Mask, bladder: Mask, *, side: int) -> Mask:
    """Corridor of 2.4 cm from the kidney's middle along the front of the psoas to the bladder."""
    mask = np.zeros_like(kidney)
    if not kidney.any():
        return mask
    sign = 1 if side == LEFT else -1
    level, row, column = (axis.mean() for axis in np.nonzero(kidney))
    spine = scene.spine_row[int(level)], scene.spine_column[int(level)]
    knots = [(level, row - spine[0] - 2, sign * (column - spine[1]) - 5), (level - 15, -5.5, 10.0)]
    end = level - voxels(180)
    if bladder.any():
        at, back, _ = (axis.mean() for axis in np.nonzero(bladder))
        end = at
        brim = at + 0.45 * (level - at)
        knots += [(brim, -4.5, 9.5), (at + 6, -1.0, 11.0), (at, back + 4 - scene.spine_row[int(at)], 6.0)]
    else:
        knots += [(end, -4.5, 9.5)]
    heights, rows, columns = (np.array(axis)[::-1] for axis in zip(*knots, strict=True))
    for slice_ in range(max(int(end), 0), int(level)):
        at_row = scene.spine_row[slice_] + np.interp(slice_, heights, rows)
        at_column = scene.spine_column[slice_] + sign * np.interp(slice_, heights, columns)
        away = np.hypot(np.arange(mask.shape[1])[:, None] - at_row, np.arange(mask.shape[2]) - at_column)
        mask[slice_] = away <= 3.0
    return mask


def find_bowel(scene: Scene, free: Mask, *, bottom: float | None) -> Mask:
    """Soft tissue and gas inside the wall of the abdomen that is no other organ: stomach, bowel, pancreas."""
    above, aside, behind = scene.above_floor(), np.abs(scene.left()), scene.behind()
    inside = _cavity(scene) & free & np.where(aside < 65, behind < -22, behind < 30)
    inside &= (above < 0) if above is not None else scene.has_spine[:, None, None]
    if bottom is not None:
        level, crest = scene.level(), bottom + voxels(190)
        inside &= (level >= bottom + voxels(30)) & ((level > crest) | (aside < 90))
    return inside & (((scene.smooth > SOFT_HU[0]) & (scene.hu > -60)) | (scene.hu < -300))


def _cavity(scene: Scene) -> Mask:
    """What lies at least 12 mm inside the wall of muscle, slice by slice."""
    wall = eroded(dilated(scene.body & (scene.smooth > -30), (1, 5, 5)), (1, 5, 5))
    labels, sizes = components(np.pad(~wall, ((0, 0), (1, 1), (1, 1)), constant_values=True), in_plane=True)
    outer = np.zeros(len(sizes), bool)
    outer[np.unique(labels[:, 0])] = True
    outer[0] = False
    inner = ~outer[labels][:, 1:-1, 1:-1]
    return eroded(inner, (1, 7, 7))
