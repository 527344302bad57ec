"""The image input of the network from a study: the one preprocessing of training, prediction and explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.errors import SeriesNotFoundError
from fedpet.core.messages import Message
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.study import PetCtStudy
    from inference.input_contract import InputContract


def model_grid(study: PetCtStudy, contract: InputContract) -> Grid:
    """The model grid for a patient: LPS axes, top at the top of the PET, centred on the PET in plane.

    A PET shorter than the grid leaves empty slices at the feet; a longer one is cut off there.
    """
    low, high = study.pet.bounds
    slices, rows, columns = contract.shape
    step = contract.spacing_mm
    affine = np.diag([step, step, step, 1.0])
    affine[0, 3] = (low[0] + high[0]) / 2 - (columns - 1) / 2 * step
    affine[1, 3] = (low[1] + high[1]) / 2 - (rows - 1) / 2 * step
    affine[2, 3] = high[2] - (slices - 0.5) * step
    return Grid(contract.shape, affine)


def model_image(study: PetCtStudy, contract: InputContract) -> NDArray[np.float32]:
    """SUVbw (g/ml) and HU on the model grid, shape (2, slices, rows, columns), clipped as the contract defines.

    Zeros for a model that reads no images: its lesion table needs both series all the same.

    Raises:
        SeriesNotFoundError: the study holds no CT.
    """
    if study.ct is None:
        raise SeriesNotFoundError(
            found=Message("The study holds a PET but no CT."),
            needed=Message("The model needs both."),
            advice=Message("Add the CT series of the same PET/CT examination."),
        )
    if not contract.reads_images:
        return blank_image(contract)
    grid = model_grid(study, contract)
    suv = averaged(study.pet, grid, outside=0.0)
    hu = averaged(study.ct, grid, outside=contract.outside_hu)
    return np.stack([np.clip(suv, *contract.suv_range), np.clip(hu, *contract.hu_range)])


def blank_image(contract: InputContract) -> NDArray[np.float32]:
    """The image input of a network that reads none, zeros: (2, slices, rows, columns), or of crops of no lesion."""
    return np.zeros(contract.image_shape, np.float32)


def to_model_grid(mask: Volume, grid: Grid) -> NDArray[np.float32]:
    """Fraction (0 to 1) of each voxel of `grid` that a 0/1 mask covers."""
    return np.clip(averaged(Volume(mask.array.astype(np.float32), mask.affine, "1"), grid, outside=0.0), 0.0, 1.0)


def averaged(volume: Volume, grid: Grid, *, outside: float) -> NDArray[np.float32]:
    """Resample onto a coarser grid without aliasing: linear at 2 x 2 x 2 points inside each voxel, averaged.

    Where the source is finer than half the spacing of the grid it is first averaged over whole blocks of voxels.
    """
    source = _shrink(volume, 0.5 * grid.affine[0, 0])
    fine = grid.affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= grid.affine[:3, :3].sum(axis=1) / 4
    slices, rows, columns = grid.shape
    dense = resample(source, Grid((2 * slices, 2 * rows, 2 * columns), fine), outside=outside).array
    blocks = dense.astype(np.float32, copy=False).reshape(slices, 2, rows, 2, columns, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)


def _shrink(volume: Volume, target_mm: float) -> Volume:
    """Average whole blocks of voxels so that no spacing is finer than half of `target_mm`."""
    factors = [max(1, int(target_mm / step)) for step in reversed(volume.spacing)]  # slice, row, column
    if factors == [1, 1, 1]:
        return volume
    sizes = [n // f for n, f in zip(volume.shape, factors, strict=True)]
    cut = volume.array[tuple(slice(n * f) for n, f in zip(sizes, factors, strict=True))]
    blocks = cut.reshape(sizes[0], factors[0], sizes[1], factors[1], sizes[2], factors[2])
    affine = volume.affine.copy()
    steps = np.array(factors[::-1], float)  # column, row, slice
    affine[:3, 3] += volume.affine[:3, :3] @ ((steps - 1) / 2)
    affine[:3, :3] = volume.affine[:3, :3] * steps
    return Volume(blocks.mean(axis=(1, 3, 5), dtype=np.float32), affine, volume.unit)
