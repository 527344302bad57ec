"""Maximum intensity projections: rotating, or one from the front as a picture."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume


def front_view_png(pet: Volume, *, suv_max: float = 10.0, spacing_mm: float = 4.0) -> bytes:
    """The projection from the front as a PNG, from white (0) to black.

    Args:
        pet: any orientation.
        suv_max: shown as black; a PET without SUV is scaled to its 99.9th percentile instead.
        spacing_mm: size of a pixel.
    """
    top = float(np.percentile(pet.array, 99.9)) if pet.unit == "stored" else suv_max
    (front,) = rotating_mip(pet, frames=1, spacing_mm=spacing_mm)
    grey = 255.0 * (1.0 - np.clip(front / max(top, 1e-6), 0.0, 1.0))
    out = BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def rotating_mip(volume: Volume, *, frames: int = 24, spacing_mm: float = 4.0) -> NDArray[np.float32]:
    """Projections around the patient's head-foot axis.

    The image is resampled onto a cubic grid along the patient's axes; each frame takes, for every column of the
    projection, the maximum of the nearest voxels along its line of sight.

    Args:
        volume: any orientation and unit; 0 outside it.
        frames: number of projections over 360 degrees.
        spacing_mm: size of a pixel.

    Returns:
        (frames, height, width), head up. Frame 0 is seen from the front (the patient's right on the left of the image);
        the observer then walks towards the patient's left, so a quarter turn later the patient faces left.
    """
    cube = resample(volume, Grid.around(volume, spacing_mm=spacing_mm), outside=0.0).array.astype(np.float32)
    slices, rows, columns = cube.shape
    width = int(np.ceil(np.hypot(rows, columns)))
    padded = np.zeros((slices, rows * columns + 1), np.float32)  # the last element stands for outside
    padded[:, :-1] = cube[::-1].reshape(slices, -1)
    offsets = np.arange(width) - (width - 1) / 2
    depth, across = np.meshgrid(offsets, offsets, indexing="ij")
    projections = np.empty((frames, slices, width), np.float32)
    for frame, angle in enumerate(2 * np.pi * np.arange(frames) / frames):
        column = np.rint((columns - 1) / 2 + across * np.cos(angle) - depth * np.sin(angle)).astype(int)
        row = np.rint((rows - 1) / 2 + across * np.sin(angle) + depth * np.cos(angle)).astype(int)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        voxel = np.where(inside, row * columns + column, rows * columns)
        reached = inside.any(axis=1)
        projections[frame] = np.max([padded[:, line] for line in voxel[reached]], axis=0)
    return projections
