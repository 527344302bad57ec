"""The body and the lungs in a CT, found on a coarse grid along the patient's axes.

Enough to tell whether the chest was scanned, whether the patient is upside down and roughly where a lesion lies; not a
segmentation to measure on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from scipy import ndimage

from imaging.resampling import Grid, resample
from imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIGHT, LEFT = 1, 2
COARSE_MM = 4.0
_AIR_HU = -500.0
_SMALLEST_LUNG_PART_ML = 100.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What was found.

    Attributes:
        ct: HU on cubic voxels of 4 mm; slices run to the head, rows to the back, columns to the left.
        body: the largest connected body, lungs and bowel gas included.
        lungs: uint8, 1 the right lung, 2 the left.
    """

    ct: Volume
    body: NDArray[np.bool_]
    lungs: NDArray[np.uint8]

    def lung_ml(self, side: int) -> float:
        """Volume of one lung, ml."""
        return float((self.lungs == side).sum()) * self.ct.voxel_ml

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
        coarse = resample(_thinned(ct), Grid.around(ct, spacing_mm=COARSE_MM), outside=-1024.0)
        body = _body(coarse.array)
        _known[ct] = Anatomy(coarse, body, _lungs(coarse, body))
    return _known[ct]


def _thinned(ct: Volume) -> Volume:
    """Every n-th voxel along each axis, as long as that stays finer than the coarse grid."""
    columns, rows, slices = (max(1, int(COARSE_MM / step)) for step in ct.spacing)
    affine = ct.affine @ np.diag([columns, rows, slices, 1.0])
    return Volume(np.ascontiguousarray(ct.array[::slices, ::rows, ::columns]), affine, ct.unit)


def _body(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Largest component denser than air once the table is opened away, each axial slice filled."""
    dense = ndimage.binary_opening(hu > _AIR_HU)
    labels, count = ndimage.label(dense)
    if not count:
        return np.zeros(hu.shape, bool)
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.stack([ndimage.binary_fill_holes(axial) for axial in largest])


def _lungs(coarse: Volume, body: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Air inside the body in parts of at least 100 ml, split at the middle of the body at their height."""
    labels, _ = ndimage.label((coarse.array < _AIR_HU) & body)
    sizes = np.bincount(labels.ravel()) * coarse.voxel_ml
    sizes[0] = 0.0
    air = (sizes >= _SMALLEST_LUNG_PART_ML)[labels]
    heights = air.any(axis=(1, 2))
    if not heights.any():
        return np.zeros(air.shape, np.uint8)
    middle = np.average(np.arange(air.shape[2]), weights=body[heights].sum(axis=(0, 1)))
    return np.where(air, np.where(np.arange(air.shape[2]) < middle, RIGHT, LEFT), 0).astype(np.uint8)
