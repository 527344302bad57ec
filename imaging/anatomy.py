"""Body, bones, brain, spine and lungs in a CT, found on a coarse grid along the patient's axes.

Enough to tell whether the chest was scanned, whether the patient is upside down and roughly where a lesion lies; not a
segmentation to measure on. `imaging.organs` builds on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from imaging.coarse import COARSE_MM, VOXEL_ML, box_of, components, dilated, eroded, filled, largest, opened, voxels
from imaging.resampling import Grid, resample
from imaging.skeleton import Spine, find_bones, find_brain, find_spine
from imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.coarse import Mask

RIGHT, LEFT = 1, 2
_AIR_HU = -500.0
_LUNG_HU = -940.0, -650.0
_LUNG_LIKE = 0.45  # least share of such voxels; bowel gas and air between arms and head have 0.2 to 0.4, by their rims
_EMPHYSEMA = 0.2  # enough where the part reaches behind the spine
_SMALLEST_LUNG_PART_ML = 40.0
_BEHIND_SPINE = 0.03
_AT_SKIN = 0.1  # most share of a lung next to the air outside
_TRACHEA_CM2 = 8.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What was found.

    Attributes:
        ct: HU on cubic voxels of 4 mm; slices run to the head, rows to the back, columns to the left.
        body: the largest connected body, lungs and bowel gas included.
        bone: with its marrow.
        brain: the cavity of the skull.
        spine: its centre, slice by slice.
        lungs: uint8, 1 the right lung, 2 the left.
    """

    ct: Volume
    body: Mask
    bone: Mask
    brain: Mask
    spine: Spine
    lungs: NDArray[np.uint8]

    def lung_ml(self, side: int) -> float:
        """Volume of one lung, ml."""
        return float((self.lungs == side).sum()) * self.ct.voxel_ml

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """Column of the patient's middle in every slice: of the spine, beyond its ends that of its last slice."""
        return _continued(self.spine.column, _centre(self.body, axis=2))

    @cached_property
    def back(self) -> NDArray[np.float64]:
        """Row of the middle of the vertebral column in every slice, beyond its ends that of its last slice."""
        return _continued(self.spine.row, _centre(self.body, axis=1))

    @property
    def lung_slices(self) -> tuple[int, int] | None:
        """Lowest and highest slice with at least 4 cm2 of lung, or None."""
        area = (self.lungs > 0).sum(axis=(1, 2)) * COARSE_MM**2
        with_lung = np.flatnonzero(area >= 400.0)
        return (int(with_lung[0]), int(with_lung[-1])) if len(with_lung) else None


_known: WeakKeyDictionary[Volume, Anatomy] = WeakKeyDictionary()


def anatomy_of(ct: Volume) -> Anatomy:
    """Body and lungs of a CT in HU; found once for each CT in memory."""
    if ct not in _known:
        _known[ct] = _find(resample(_thinned(ct), Grid.around(ct, spacing_mm=COARSE_MM), outside=-1024.0))
    return _known[ct]


def _find(coarse: Volume) -> Anatomy:
    """Everything in the box around the body, set back into the whole grid."""
    body = _body(coarse.array)
    box = box_of(body)
    hu, inside = coarse.array[box], body[box]
    bone = find_bones(hu, inside)
    brain = find_brain(hu, bone)
    spine = find_spine(bone, inside, brain)
    lungs = _lungs(hu, inside, spine)
    outside = [(part.start, size - part.stop) for part, size in zip(box, body.shape, strict=True)]
    row, column = (
        np.pad(track + part.start, outside[0], constant_values=np.nan)
        for track, part in zip((spine.row, spine.column), box[1:], strict=True)
    )
    return Anatomy(
        ct=coarse,
        body=body,
        bone=np.pad(bone, outside),
        brain=np.pad(brain, outside),
        spine=Spine(row, column),
        lungs=np.pad(lungs, outside),
    )


def _thinned(ct: Volume) -> Volume:
    """Every n-th voxel along each axis, as long as that stays finer than the coarse grid, averaged with one between.

    The average, of up to eight voxels, tames the noise of a low-dose CT.
    """
    steps = [max(1, int(COARSE_MM / step)) for step in reversed(ct.spacing)]
    sizes = [(length - step // 2 - 1) // step + 1 for length, step in zip(ct.shape, steps, strict=True)]
    starts = [(0, step // 2) if step > 1 else (0,) for step in steps]
    total = np.zeros(sizes, np.result_type(ct.array.dtype, np.int32))
    for first in product(*starts):
        total += ct.array[tuple(slice(a, a + n * s, s) for a, n, s in zip(first, sizes, steps, strict=True))]
    affine = ct.affine @ np.diag([*steps[::-1], 1.0])
    affine[:3, 3] = ct.to_mm(np.array([np.mean(places) for places in starts]))
    count = int(np.prod([len(places) for places in starts]))
    return Volume((total // count).astype(np.int16), affine, ct.unit)


def _body(hu: NDArray[np.int16]) -> Mask:
    """Largest component denser than air once the table is cut off, thin walls put back, each axial slice filled."""
    dense = hu > _AIR_HU
    body = largest(opened(dense, 2))
    for _ in range(2):
        body = dilated(body, 5) & dense
    ring = filled(dilated(body, (1, 3, 3)))
    return eroded(ring, (1, 3, 3)) | body


def _lungs(hu: NDArray[np.int16], body: Mask, spine: Spine) -> NDArray[np.uint8]:
    """Air inside the body that is neither gas nor trachea; each axial part has its side."""
    air = (hu < _AIR_HU) & body
    middle = _continued(spine.column, _centre(body, axis=2))
    part, sizes, aside, _ = _axial_parts(air, middle)
    trachea = (sizes * COARSE_MM**2 / 100 <= _TRACHEA_CM2) & (np.abs(aside) <= voxels(12))
    air[air] = ~trachea[part]
    air &= _lung_like(air, hu, body, spine)
    part, _, aside, spread = _axial_parts(air, middle)
    one_sided = np.abs(aside) >= 0.6 * spread
    place = np.nonzero(air)
    side = np.where(one_sided[part], aside[part], place[2] - middle[place[0]])
    lungs = np.zeros(air.shape, np.uint8)
    lungs[place] = np.where(side < 0, RIGHT, LEFT)
    return lungs


def _axial_parts(
    air: Mask, middle: NDArray[np.float64]
) -> tuple[NDArray[np.signedinteger], NDArray[np.int_], NDArray[np.float64], NDArray[np.float64]]:
    """Axial components: of each voxel its number; of each number its size, and how far it lies from the middle.

    The last two are the mean and the mean absolute distance to the left of the patient's middle, voxels.
    """
    labels, sizes = components(air, in_plane=True)
    slices, _, columns = np.nonzero(air)
    part, away = labels[air], columns - middle[slices]
    aside, spread = (np.bincount(part, weights=w, minlength=len(sizes)) for w in (away, np.abs(away)))
    voxel_count = np.maximum(sizes, 1)
    return part, sizes, aside / voxel_count, spread / voxel_count


def _lung_like(air: Mask, hu: NDArray[np.int16], body: Mask, spine: Spine) -> Mask:
    """Parts of at least 40 ml, inside and at the height of the largest, with tissue in them or behind the spine.

    Gas of the bowel and air between arms and head have next to no tissue; air under the back lies at the skin.
    """
    labels, sizes = components(air)
    at_skin = np.bincount(labels[dilated(~body, 3) & air], minlength=len(sizes))
    kept = (sizes * VOXEL_ML >= _SMALLEST_LUNG_PART_ML) & (at_skin <= _AT_SKIN * sizes)
    places = {part: np.nonzero(labels == part) for part in np.flatnonzero(kept)}
    for part, place in places.items():
        like = np.mean((hu[place] > _LUNG_HU[0]) & (hu[place] < _LUNG_HU[1]))
        behind = np.mean(place[1] > spine.row[place[0]])
        kept[part] = like >= _LUNG_LIKE or (like >= _EMPHYSEMA and behind >= _BEHIND_SPINE)
    if kept.any():
        base = places[(sizes * kept).argmax()][0].min()
        for part in np.flatnonzero(kept):
            kept[part] = places[part][0].max() >= base
    return np.asarray(kept[labels])


def _continued(track: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    """A track of the spine, its ends held; without a spine, a constant."""
    known = np.flatnonzero(np.isfinite(track))
    if not len(known):
        return np.full(len(track), otherwise)
    return np.asarray(np.interp(np.arange(len(track)), known, track[known]))


def _centre(body: Mask, *, axis: int) -> float:
    """Mean position of the body along an axis; of an empty body, the middle of the array."""
    profile = body.sum(axis=tuple({0, 1, 2} - {axis}))
    return float(np.average(np.arange(len(profile)), weights=profile + 1e-9))
