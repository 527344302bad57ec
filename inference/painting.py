"""A PET with the uptake of some lesions painted out: what the model is to see where a lesion does not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from imaging.volume import Volume

_SHELL_MM = 10.0, 20.0
_OUTSIDE_SUV = 0.1  # below it is the air around the patient
_NEIGHBOURS = np.ones((3, 3, 3), bool)


def painted_out(pet: Volume, labels: Volume, absent: Collection[int]) -> Volume:
    """The PET with the uptake of some lesions replaced by that of the tissue around each.

    Their voxels, and one more around them, get the median SUV of a shell of healthy tissue 1 to 2 cm away.

    Args:
        pet: SUV.
        labels: lesions by number on the same grid; 0 is background.
        absent: numbers of those to paint out. The voxels of every other lesion keep their values.
    """
    suv = pet.array.copy()
    margin = [int(np.ceil(_SHELL_MM[1] / step)) + 1 for step in reversed(pet.spacing)]
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if box is None or number not in absent:
            continue
        around = tuple(
            slice(max(0, side.start - more), side.stop + more) for side, more in zip(box, margin, strict=True)
        )
        here = labels.array[around]
        lesion = here == number
        grown = ndimage.binary_dilation(lesion, _NEIGHBOURS) & (lesion | (here == 0))
        tissue = pet.array[around][_shell(pet.array[around], here, lesion, pet.spacing)]
        suv[around][grown] = np.median(tissue if tissue.size else pet.array[labels.array == 0])
    return pet.like(suv, pet.unit)


def _shell(
    suv: NDArray[np.float32], labels: NDArray[np.uint16], lesion: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """The tissue around a lesion, away from every lesion and from the air."""
    distance = ndimage.distance_transform_edt(~lesion, sampling=spacing[::-1])
    healthy = ~ndimage.binary_dilation(labels > 0, _NEIGHBOURS)
    near, far = _SHELL_MM
    shell: NDArray[np.bool_] = healthy & (distance >= near) & (distance <= far) & (suv > _OUTSIDE_SUV)
    return shell
