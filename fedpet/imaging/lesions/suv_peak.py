"""SUVpeak: mean of the PET over a sphere of 1 cm3.

Definitions differ, and considerably. The reference values of IBSI count the voxels whose centres lie in the sphere;
those published for its soft-tissue sarcomas are reproduced to 1e-5. Weighting each voxel by its share of the sphere, as
QIBA words it, lowers the global peak by 2 to 7 % on voxels of 5 mm. PERCIST (Wahl 2009) leaves it open. Both are
available, under different names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft

if TYPE_CHECKING:
    from fedpet.imaging.volume import Affine, Volume

Kernel = NDArray[np.float64]  # weights in (slice, row, column), odd along each axis, sum 1

RADIUS_MM = (3000.0 / (4.0 * np.pi)) ** (1 / 3)  # 6.2035 mm: a sphere of 1 cm3
_SUBDIVISIONS = 15  # of a voxel along each axis, to measure its share of the sphere


def binary_sphere_kernel(affine: Affine) -> Kernel:
    """Kernel of the voxels whose centres lie in the sphere, of equal weight; `affine` is that of the PET."""
    return _kernel(affine, np.zeros((1, 3)))


def fractional_sphere_kernel(affine: Affine) -> Kernel:
    """Kernel of all voxels, each weighted by the share of it in the sphere; `affine` is that of the PET."""
    steps = (np.arange(_SUBDIVISIONS) + 0.5) / _SUBDIVISIONS - 0.5
    return _kernel(affine, np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3))


def _kernel(affine: Affine, points: NDArray[np.float64]) -> Kernel:
    """Weight of each voxel: the share of `points` (m, 3; voxels from its centre) in the sphere, normalised to sum 1."""
    axes = affine[:3, :3][:, ::-1].T  # mm per step of (slice, row, column), one in each row
    reach = np.ceil(RADIUS_MM * np.linalg.norm(np.linalg.inv(axes), axis=0)).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1)
    share = np.zeros(offsets.shape[:3])
    for point in points:
        share += np.linalg.norm((offsets + point) @ axes, axis=-1) <= RADIUS_MM
    return np.asarray(share / share.sum(), float)


def sphere_means(pet: Volume, index: NDArray[np.intp], kernel: Kernel) -> NDArray[np.float64]:
    """Weighted mean of the PET around each of n voxels.

    Args:
        pet: any unit.
        index: shape (n, 3), `[slice, row, column]`.
        kernel: weights; beyond the image its border continues.

    Returns:
        Shape (n,), in the unit of the PET.
    """
    reach = np.array(kernel.shape) // 2
    low = index.min(axis=0)
    ranges = [np.arange(a - r, b + r + 1) for a, b, r in zip(low, index.max(axis=0), reach, strict=True)]
    inside = [np.clip(positions, 0, size - 1) for positions, size in zip(ranges, pet.shape, strict=True)]
    box = pet.array[np.ix_(*inside)].astype(float)
    means: NDArray[np.float64] = _convolve(box, kernel)[tuple((index - low).T)]
    return means


def _convolve(box: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """Where the kernel lies wholly in the box; `scipy.signal`, which has it too, costs half a second to import."""
    size = [fft.next_fast_len(n, real=True) for n in box.shape]
    whole = fft.irfftn(fft.rfftn(box, size) * fft.rfftn(kernel, size), size)
    inside = tuple(slice(k - 1, n) for k, n in zip(kernel.shape, box.shape, strict=True))
    return np.asarray(whole[inside], float)
