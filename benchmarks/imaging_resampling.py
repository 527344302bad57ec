"""CPU time of `fedpet.imaging.resampling.resample` against SimpleITK, SciPy and torch, linear interpolation.

CT of 300 x 512 x 512, PET of 300 x 200 x 200: CT -> PET grid, CT -> cubic voxels of 2 mm, PET -> CT grid, and a tilted
CT -> PET grid. Every way takes and gives a NumPy array, on one thread; `REPEATS` runs each, taking turns. The
difference is the largest one between float32 images in the 16 middle slices, two voxels or more from the border of the
source: at the border the four disagree on what is outside. Run: `python -m benchmarks.imaging_resampling [slices]`.
Compare ratios, not seconds.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK
import torch
from scipy import ndimage

from benchmarks.figures import Comparison, report
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fedpet.imaging.volume import Affine

REPEATS = 5
sitk: Any = SimpleITK  # its methods are not typed


def ours(volume: Volume, grid: Grid, outside: float) -> NDArray[Any]:
    """`fedpet.imaging.resampling`."""
    return resample(volume, grid, outside=outside).array


def simpleitk(volume: Volume, grid: Grid, outside: float) -> NDArray[Any]:
    """`SimpleITK.Resample` in index space."""
    mapping = np.linalg.inv(volume.affine) @ grid.affine
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(mapping[:3, :3].ravel().tolist())
    transform.SetTranslation(mapping[:3, 3].tolist())
    image, size = sitk.GetImageFromArray(volume.array), grid.shape[::-1]
    axes = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ()
    result = sitk.Resample(image, size, transform, sitk.sitkLinear, *axes, float(outside))
    array: NDArray[Any] = sitk.GetArrayFromImage(result)
    return array


def scipy(volume: Volume, grid: Grid, outside: float) -> NDArray[Any]:
    """`scipy.ndimage.affine_transform`, by its faster path where the axes are parallel."""
    mapping = np.linalg.inv(volume.affine) @ grid.affine
    matrix, offset = mapping[2::-1, 2::-1], mapping[2::-1, 3]
    if np.allclose(matrix, np.diag(np.diag(matrix)), atol=1e-12):
        matrix = np.diag(matrix)
    array: NDArray[Any] = ndimage.affine_transform(volume.array, matrix, offset, grid.shape, order=1, cval=outside)
    return array


def torch_grid_sample(volume: Volume, grid: Grid, outside: float) -> NDArray[Any]:  # noqa: ARG001  it has no such value
    """`torch.nn.functional.grid_sample`."""
    mapping = np.linalg.inv(volume.affine) @ grid.affine
    size, wanted = np.array(volume.shape[::-1], float), np.array(grid.shape[::-1], float)
    normalise, expand = np.diag([*2 / (size - 1), 1.0]), np.diag([*(wanted - 1) / 2, 1.0])
    normalise[:3, 3], expand[:3, 3] = -1, (wanted - 1) / 2
    theta = torch.tensor((normalise @ mapping @ expand)[:3], dtype=torch.float32)[None]
    places = torch.nn.functional.affine_grid(theta, [1, 1, *grid.shape], align_corners=True)
    image = torch.from_numpy(volume.array).float()[None, None]
    return torch.nn.functional.grid_sample(image, places, align_corners=True, padding_mode="border")[0, 0].numpy()


WAYS: tuple[Callable[[Volume, Grid, float], NDArray[Any]], ...] = (ours, simpleitk, scipy, torch_grid_sample)


def affine(spacing: tuple[float, float, float], origin: tuple[float, float, float], *, tilt: float = 0.0) -> Affine:
    """Along the patient's axes; `tilt` mm from slice to slice along the columns, as of a tilted gantry."""
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3], matrix[1, 2] = origin, tilt
    return matrix


def timed(volume: Volume, grid: Grid, outside: float) -> dict[str, list[float]]:
    """CPU seconds of each run of each way."""
    seconds: dict[str, list[float]] = {way.__name__: [] for way in WAYS}
    for _ in range(REPEATS):
        for way in WAYS:
            before = time.process_time()
            way(volume, grid, outside)
            seconds[way.__name__].append(time.process_time() - before)
    return seconds


def differences(volume: Volume, grid: Grid, outside: float) -> dict[str, float]:
    """Largest difference of each other way from ours, in float32, in the middle slices of the grid."""
    exact = Volume(volume.array.astype(np.float32), volume.affine, volume.unit)
    shift = np.eye(4)
    shift[2, 3] = grid.shape[0] // 2 - 8
    middle = Grid((16, *grid.shape[1:]), grid.affine @ shift)
    centres = np.moveaxis(np.indices(middle.shape, float), 0, -1).reshape(-1, 3)
    places = volume.to_index(Volume(np.empty(middle.shape), middle.affine, "1").to_mm(centres))
    inside = ((places >= 2) & (places <= np.array(volume.shape) - 3)).all(axis=1).reshape(middle.shape)
    reference = ours(exact, middle, outside)
    return {way.__name__: float(np.abs(way(exact, middle, outside) - reference)[inside].max()) for way in WAYS[1:]}


def main() -> None:
    """Measure and print."""
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    random = np.random.default_rng(0)
    hu = random.integers(-1024, 2000, (slices, 512, 512), dtype=np.int16)
    ct = Volume(hu, affine((0.977, 0.977, 3.0), (-250.0, -250.0, 0.0)), "HU")
    tilted = Volume(hu, affine((0.977, 0.977, 3.0), (-250.0, -250.0, 0.0), tilt=0.5), "HU")
    pet_array = random.uniform(0, 10, (slices, 200, 200)).astype(np.float32)
    pet = Volume(pet_array, affine((2.5, 2.5, 3.0), (-248.7, -248.7, 0.4)), "g/ml")
    cases = {
        "CT -> PET grid": (ct, Grid.of(pet), -1024.0),
        "CT -> 2 mm": (ct, Grid.around(ct, spacing_mm=2.0), -1024.0),
        "PET -> CT grid": (pet, Grid.of(ct), 0.0),
        "tilted CT -> PET grid": (tilted, Grid.of(pet), -1024.0),
    }
    tables = []
    for name, (volume, grid, outside) in cases.items():
        taken, apart = timed(volume, grid, outside), differences(volume, grid, outside)
        differing = ", ".join(f"{way} {difference:.2g} {volume.unit}" for way, difference in apart.items())
        tables.append(Comparison(name, "CPU s", "ours", taken, notes=(f"Largest difference from ours: {differing}.",)))
    report(*tables)


if __name__ == "__main__":
    main()
