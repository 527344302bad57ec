"""Small random changes of a training image that preserve its physical meaning and its anatomy.

The scanner's calibration (SUV within 10 %), PET and CT noise, and a CT offset. No flips: the liver stays on its side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from monai.transforms import Compose, RandGaussianNoised, RandScaleIntensityd, RandShiftIntensityd

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from inference.input_contract import InputContract


def augmentation(contract: InputContract, seed: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A random transform of images (2, slices, rows, columns) in SUVbw (g/ml) and HU, within the contract's ranges.

    Of crops, (lesions, 3, size, size, size), each is mirrored along random axes too: a lesion has no side.

    Args:
        contract: gives the ranges.
        seed: of the random changes; the same seed gives the same sequence.
    """
    if contract.crops is not None:
        return _of_crops(contract, seed)
    change = Compose(
        [
            RandScaleIntensityd("suv", factors=0.1, prob=1.0),
            RandGaussianNoised("suv", std=0.1, prob=0.5),
            RandShiftIntensityd("hu", offsets=15.0, prob=1.0),
            RandGaussianNoised("hu", std=10.0, prob=0.5),
        ]
    )
    change.set_random_state(seed)

    def apply(image: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = change({"suv": image[0], "hu": image[1]})
        return np.stack(
            [
                np.clip(np.asarray(changed["suv"], np.float32), *contract.suv_range),
                np.clip(np.asarray(changed["hu"], np.float32), *contract.hu_range),
            ]
        )

    return apply


def _of_crops(contract: InputContract, seed: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def apply(bag: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = np.stack([np.flip(crop, tuple(1 + axis for axis in range(3) if rng.random() < 0.5)) for crop in bag])
        changed[:, 0] = np.clip(changed[:, 0] * rng.uniform(0.9, 1.1), *contract.suv_range)
        changed[:, 1] = np.clip(changed[:, 1] + rng.uniform(-15, 15), *contract.hu_range)
        return changed

    return apply
