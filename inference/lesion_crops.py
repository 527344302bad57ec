"""Crops around the lesions, the input of the learned term that stands beside the lesion table.

A crop is a small cube of fixed size and spacing (`inference.input_contract.CropGrid`) along the LPS axes, centred on
the lesion: SUVbw, HU and the share of each voxel that belongs to the lesion. Crops are cut from the lesions as they
were delineated or corrected, for node data and for predictions alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.resampling import Grid
from fedpet.imaging.volume import Volume
from inference.preprocessing import averaged, blank_image

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.lesions.lesion_table import LesionTable
    from fedpet.imaging.study import PetCtStudy
    from inference.input_contract import CropGrid, InputContract

_MARGIN_VOXELS = 12  # of the images beyond a crop, so that its border is averaged as its middle is
_BLOCK = 12  # voxels: 1, 2, 3 or 4 of them are averaged first


@dataclass(frozen=True, eq=False)
class LesionCrops:
    """The crops of a patient.

    Attributes:
        contract: whose grid and ranges they have.
        by_lesion: (3, size, size, size) by number of the lesion: SUVbw in g/ml, HU, share of the lesion (0 to 1).
    """

    contract: InputContract
    by_lesion: Mapping[int, NDArray[np.float32]]

    def bag(self, table: LesionTable) -> NDArray[np.float32]:
        """The image input of the network for the lesions of a table.

        Args:
            table: of the same patient, with all lesions or with some of them.

        Returns:
            (lesions, 3, size, size, size): the largest lesions by volume first; zeros where there are no more.
        """
        return self.bag_of(largest_lesions(table, len(blank_image(self.contract))))

    def bag_of(self, lesions: Collection[int]) -> NDArray[np.float32]:
        """The same for lesions by number, in this order."""
        bag = blank_image(self.contract)
        for place, number in enumerate(lesions):
            bag[place] = self.by_lesion[number]
        return bag


def largest_lesions(table: LesionTable, most: int) -> tuple[int, ...]:
    """Numbers of the largest lesions of a table by MTV, the largest first; of equal ones the lower number."""
    ordered = sorted(table.lesions, key=lambda one: (-one.mtv_ml, one.id))
    return tuple(one.id for one in ordered[:most])


def image_input(contract: InputContract, table: LesionTable, crops: LesionCrops | None) -> NDArray[np.float32]:
    """The image input of a model of the lesion table: crops where its contract has them, else zeros.

    Raises:
        ArgumentError: crops are missing, or those of another contract.
    """
    if contract.crops is None:
        return blank_image(contract)
    if crops is None or crops.contract.fingerprint != contract.fingerprint:
        raise ArgumentError(
            found=Message("No crops around the lesions, or those of another input contract."),
            needed=Message("The crops of the same patient by the contract of the model."),
            advice=Message("Cut them with inference.lesion_crops.lesion_crops."),
        )
    return crops.bag(table)


def lesion_crops(study: PetCtStudy, labels: Volume, contract: InputContract) -> LesionCrops:
    """Cut a crop around each lesion.

    Args:
        study: PET in SUVbw (g/ml) and CT (HU).
        labels: lesion numbers on the PET grid, 0 is background.
        contract: of a model with a learned term.

    Raises:
        ArgumentError: the contract has no crops, or the study no CT.
    """
    crops, ct = contract.crops, study.ct
    if crops is None or ct is None:
        raise ArgumentError(
            found=Message("A study without a CT, or an input contract without crops."),
            needed=Message("Both, for the learned term of a model."),
            advice=Message("Give the CT, or take a model without a learned term."),
        )
    found = {}
    boxes: Sequence[tuple[slice, ...] | None] = find_objects(labels.array)
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        grid = _grid_around(labels, box, crops)
        here = _near(labels, grid)
        mask = here.like((here.array == number).astype(np.float32), "1")
        suv, hu = (
            averaged(_near(volume, grid), grid, outside=outside)
            for volume, outside in ((study.pet, 0.0), (ct, contract.outside_hu))
        )
        share = averaged(mask, grid, outside=0.0)
        found[number] = np.stack(
            [np.clip(suv, *contract.suv_range), np.clip(hu, *contract.hu_range), np.clip(share, 0.0, 1.0)]
        ).astype(np.float32)
    return LesionCrops(contract, found)


def crops_of(study: PetCtStudy, labels: Volume, contract: InputContract) -> LesionCrops | None:
    """The crops where a contract has them, else None; arguments as of `lesion_crops`."""
    return None if contract.crops is None else lesion_crops(study, labels, contract)


def _grid_around(labels: Volume, box: tuple[slice, ...], crops: CropGrid) -> Grid:
    """The cube of a lesion, centred on the middle of its bounding box."""
    middle = labels.to_mm(np.array([(side.start + side.stop - 1) / 2 for side in box]))
    affine = np.diag([crops.spacing_mm] * 3 + [1.0])
    affine[:3, 3] = middle - (crops.size - 1) / 2 * crops.spacing_mm
    return Grid((crops.size,) * 3, affine)


def _near(volume: Volume, grid: Grid) -> Volume:
    """The part of an image that a grid can need, from a voxel on where a block of voxels of the whole image begins."""
    corners = np.array(np.meshgrid(*[(-1, size) for size in grid.shape[::-1]], indexing="ij")).reshape(3, -1).T
    index = volume.to_index(corners @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    low = np.clip(np.floor(index.min(0)).astype(int) - _MARGIN_VOXELS, 0, np.array(volume.shape) - 1)
    low -= low % _BLOCK
    high = np.clip(np.ceil(index.max(0)).astype(int) + _MARGIN_VOXELS + 1, low + 1, volume.shape)
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm(low.astype(float))
    return Volume(volume.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], affine, volume.unit)
