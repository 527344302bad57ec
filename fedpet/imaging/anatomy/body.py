"""Body, skeleton, brain, spine and lungs segmented on the CT, on a coarse grid along the patient's axes.

Good enough to say whether the chest was scanned, whether the patient is upside down and roughly where a lesion lies;
not a segmentation to measure on. `fedpet.imaging.anatomy.rules.organs` builds on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.bones import Spine, find_bones, find_brain, find_spine
from fedpet.imaging.anatomy.morphology import (
    GRID_MM,
    VOXEL_ML,
    binary_opening,
    bounding_box,
    components,
    dilate,
    erode,
    fill_holes,
    largest_component,
    voxels,
)
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.morphology import Mask

RIGHT, LEFT = 1, 2
_AIR_HU = -500.0  # denser is body
_LUNG_HU = -940.0, -650.0  # density of aerated lung
_LUNG_SHARE = 0.45  # minimum share of voxels of that density; bowel gas and air between arms and head have 0.2 to 0.4
_EMPHYSEMA_SHARE = 0.2  # enough where the component reaches behind the spine
_SMALLEST_LUNG_PART_ML = 40.0
_BEHIND_SPINE = 0.03  # share of voxels behind the spine that shows that a component reaches there
_AT_SKIN = 0.1  # maximum share of lung voxels next to the air outside
_TRACHEA_CM2 = 8.0  # largest section of a trachea


@dataclass(frozen=True, eq=False)
class BodySegmentation:
    """A segmented CT. All masks have the shape of `ct`.

    Attributes:
        ct: HU on cubic voxels of 4 mm; slices run to the head, rows to the back, columns to the left.
        body: the largest connected body, lungs and bowel gas included.
        bone: with its marrow.
        brain: the cavity of the skull.
        spine: its centre, slice by slice.
        lungs: uint8, 1 right lung, 2 left lung, 0 elsewhere.
    """

    ct: Volume
    body: Mask
    bone: Mask
    brain: Mask
    spine: Spine
    lungs: NDArray[np.uint8]

    def lung_ml(self, side: int) -> float:
        """Volume of one lung (`RIGHT` or `LEFT`), ml."""
        return float((self.lungs == side).sum()) * self.ct.voxel_ml

    @cached_property
    def midline(self) -> NDArray[np.float64]:
        """Column of the spine in every slice, shape (slices,); beyond the spine that of its last slice."""
        return _extrapolate(self.spine.column, _mean_position(self.body, axis=2))

    @cached_property
    def vertebral_row(self) -> NDArray[np.float64]:
        """Row of the middle of the vertebral column, shape (slices,); beyond it that of its last slice."""
        return _extrapolate(self.spine.row, _mean_position(self.body, axis=1))

    @property
    def lung_slices(self) -> tuple[int, int] | None:
        """Lowest and highest slice with at least 4 cm2 of lung; None without lungs."""
        area = (self.lungs > 0).sum(axis=(1, 2)) * GRID_MM**2
        with_lung = np.flatnonzero(area >= 400.0)
        return (int(with_lung[0]), int(with_lung[-1])) if len(with_lung) else None


def segment_body(ct: Volume) -> BodySegmentation:
    """Segment body, skeleton, brain, spine and lungs.

    Everything but the body is searched for in its bounding box, then put back on the whole grid.

    Args:
        ct: HU, any grid.
    """
    coarse = resample(_downsample(ct), Grid.around(ct, spacing_mm=GRID_MM), outside=-1024.0)
    body = _find_body(coarse.array)
    box = bounding_box(body)
    hu, inside = coarse.array[box], body[box]
    bone = find_bones(hu, inside)
    brain = find_brain(hu, bone)
    spine = find_spine(bone, inside, brain)
    lungs = _find_lungs(hu, inside, spine)
    outside = [(part.start, size - part.stop) for part, size in zip(box, body.shape, strict=True)]
    row, column = (
        np.pad(track + part.start, outside[0], constant_values=np.nan)
        for track, part in zip((spine.row, spine.column), box[1:], strict=True)
    )
    return BodySegmentation(
        ct=coarse,
        body=body,
        bone=np.pad(bone, outside),
        brain=np.pad(brain, outside),
        spine=Spine(row, column),
        lungs=np.pad(lungs, outside),
    )


def _downsample(ct: Volume) -> Volume:
    """Keep every n-th voxel along each axis, n as large as the coarse grid allows, averaged with one in between.

    The average of up to eight voxels reduces the noise of a low-dose CT.
    """
    steps = [max(1, int(GRID_MM / step)) for step in reversed(ct.spacing)]
    sizes = [(length - step // 2 - 1) // step + 1 for length, step in zip(ct.shape, steps, strict=True)]
    starts = [(0, step // 2) if step > 1 else (0,) for step in steps]
    total = np.zeros(sizes, np.result_type(ct.array.dtype, np.int32))
    for first in product(*starts):
        total += ct.array[tuple(slice(a, a + n * s, s) for a, n, s in zip(first, sizes, steps, strict=True))]
    affine = ct.affine @ np.diag([*steps[::-1], 1.0])
    affine[:3, 3] = ct.to_mm(np.array([np.mean(offsets) for offsets in starts]))
    count = int(np.prod([len(offsets) for offsets in starts]))
    return Volume((total // count).astype(np.int16), affine, ct.unit)


def _find_body(hu: NDArray[np.int16]) -> Mask:
    """The largest component denser than air without the table, thin walls restored, each axial slice filled."""
    dense = hu > _AIR_HU
    body = largest_component(binary_opening(dense, 2))
    for _ in range(2):
        body = dilate(body, 5) & dense
    ring = fill_holes(dilate(body, (1, 3, 3)))
    return erode(ring, (1, 3, 3)) | body


def _find_lungs(hu: NDArray[np.int16], body: Mask, spine: Spine) -> NDArray[np.uint8]:
    """Air inside the body that is neither bowel gas nor trachea; each axial component is assigned to a side."""
    air = (hu < _AIR_HU) & body
    midline = _extrapolate(spine.column, _mean_position(body, axis=2))
    part, sizes, offset, _ = _axial_parts(air, midline)
    trachea = (sizes * GRID_MM**2 / 100 <= _TRACHEA_CM2) & (np.abs(offset) <= voxels(12))
    air[air] = ~trachea[part]
    air &= _select_lungs(air, hu, body, spine)
    part, _, offset, spread = _axial_parts(air, midline)
    lateral = np.abs(offset) >= 0.6 * spread
    voxel_index = np.nonzero(air)
    side = np.where(lateral[part], offset[part], voxel_index[2] - midline[voxel_index[0]])
    lungs = np.zeros(air.shape, np.uint8)
    lungs[voxel_index] = np.where(side < 0, RIGHT, LEFT)
    return lungs


def _axial_parts(
    air: Mask, midline: NDArray[np.float64]
) -> tuple[NDArray[np.signedinteger], NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """Label axial components and measure their distance from the midline.

    Returns:
        Component number of each voxel of `air`; then, for each number, its size, the mean and the mean absolute
        distance to the left of the midline, voxels.
    """
    labels, sizes = components(air, in_plane=True)
    slices, _, columns = np.nonzero(air)
    part, distance = labels[air], columns - midline[slices]
    offset, spread = (np.bincount(part, weights=w, minlength=len(sizes)) for w in (distance, np.abs(distance)))
    voxel_count = np.maximum(sizes, 1)
    return part, sizes, offset / voxel_count, spread / voxel_count


def _select_lungs(air: Mask, hu: NDArray[np.int16], body: Mask, spine: Spine) -> Mask:
    """Keep components of at least 40 ml, no lower than the largest, of lung density or reaching behind the spine.

    Bowel gas and air between arms and head hold hardly any tissue; air under the back touches the skin.
    """
    labels, sizes = components(air)
    at_skin = np.bincount(labels[dilate(~body, 3) & air], minlength=len(sizes))
    is_lung = (sizes * VOXEL_ML >= _SMALLEST_LUNG_PART_ML) & (at_skin <= _AT_SKIN * sizes)
    index_of_part = {part: np.nonzero(labels == part) for part in np.flatnonzero(is_lung)}
    for part, voxel_index in index_of_part.items():
        lung_density = np.mean((hu[voxel_index] > _LUNG_HU[0]) & (hu[voxel_index] < _LUNG_HU[1]))
        behind = np.mean(voxel_index[1] > spine.row[voxel_index[0]])
        is_lung[part] = lung_density >= _LUNG_SHARE or (lung_density >= _EMPHYSEMA_SHARE and behind >= _BEHIND_SPINE)
    if is_lung.any():
        base = index_of_part[(sizes * is_lung).argmax()][0].min()
        for part in np.flatnonzero(is_lung):
            is_lung[part] = index_of_part[part][0].max() >= base
    return np.asarray(is_lung[labels])


def _extrapolate(track: NDArray[np.float64], default: float) -> NDArray[np.float64]:
    """A track of the spine, constant beyond its ends; without a spine, `default`."""
    known = np.flatnonzero(np.isfinite(track))
    if not len(known):
        return np.full(len(track), default)
    return np.asarray(np.interp(np.arange(len(track)), known, track[known]))


def _mean_position(body: Mask, *, axis: int) -> float:
    """Mean position of the body along an axis; without a body, the middle of the array."""
    profile = body.sum(axis=tuple({0, 1, 2} - {axis}))
    return float(np.average(np.arange(len(profile)), weights=profile + 1e-9))
