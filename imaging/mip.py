"""Rotating maximum intensity projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Volume


def rotating_mip(volume: Volume, *, frames: int = 24, spacing_mm: float = 4.0) -> NDArray[np.float32]:
    """Projections around the patient's head-foot axis.

    The image is brought onto a cubic grid along the patient's axes; each frame gathers, for every column of the
    projection, the nearest voxels along its line of sight and takes their maximum.

    Args:
        volume: any orientation; 0 is taken outside it.
        frames: number of projections over 360 degrees.
        spacing_mm: size of a pixel.

    Returns:
        (frames, height, width), head up. Frame 0 is seen from the front (the patient's right on the left of the image);
        the observer then walks towards the patient's left, so a quarter turn later the patient faces left.
    """
    cube = resample(volume, Grid.around(volume, spacing_mm=spacing_mm), outside=0.0).array.astype(np.float32)
    slices, rows, columns = cube.shape
    width = int(np.ceil(np.hypot(rows, columns)))
    padded = np.zeros((slices, rows * columns + 1), np.float32)  # the last place stands for outside
    padded[:, :-1] = cube[::-1].reshape(slices, -1)
    offsets = np.arange(width) - (width - 1) / 2
    depth, across = np.meshgrid(offsets, offsets, indexing="ij")
    projections = np.empty((frames, slices, width), np.float32)
    for frame, angle in enumerate(2 * np.pi * np.arange(frames) / frames):
        column = np.rint((columns - 1) / 2 + across * np.cos(angle) - depth * np.sin(angle)).astype(int)
        row = np.rint((rows - 1) / 2 + across * np.sin(angle) + depth * np.cos(angle)).astype(int)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        place = np.where(inside, row * columns + column, rows * columns)
        used = inside.any(axis=1)
        projections[frame] = np.max([padded[:, line] for line in place[used]], axis=0)
    return projections
