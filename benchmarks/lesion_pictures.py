"""Pictures of a scan to be looked at: projection of the PET with organs and lesions; see `lesions_table.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.lesions.delineation import Delineation

    Mask = NDArray[np.bool_]

_PIXEL_MM, _HIGHEST_SUV = 4.0, 8.0
_TILE: Final = 128, 300  # pixels
_ORGANS: Final = {
    "brain": (120, 60, 160), "heart": (200, 80, 160), "lung_right": (150, 200, 230), "lung_left": (150, 200, 230),
    "liver": (150, 110, 40), "spleen": (60, 140, 60), "kidney_right": (0, 150, 150), "kidney_left": (0, 150, 150),
    "bladder": (200, 170, 0),
}  # fmt: skip
_COUNTED, _TO_CONFIRM, _MISSED = (220, 0, 0), (255, 140, 0), (0, 60, 255)
LEGEND: Final = "red: counted; orange: to be confirmed; blue: a lesion that is not counted; outlines: organs"


def tile(anatomy: PatientAnatomy, found: Delineation, truth: NDArray[np.integer], title: str) -> Image.Image:
    """Anterior projection, head up: organs outlined, lesions filled by what became of them.

    Args:
        anatomy: with the PET.
        found: the delineation.
        truth: numbers of the lesions on the PET grid, 0 elsewhere.
        title: written above.
    """
    pet = anatomy.pet
    shown = 255 * (1 - np.clip(pet.array.max(axis=1) / _HIGHEST_SUV, 0, 1))
    picture = np.repeat(shown[..., None], 3, axis=2)
    organs = resample(anatomy.organs.labels, Grid.of(pet), interpolation="nearest", outside=0)
    on_pet = type(anatomy.organs)(organs, anatomy.organs.source)
    for name, colour in _ORGANS.items():
        flat = on_pet.mask(name).any(axis=1)
        picture[flat & ~ndimage.binary_erosion(flat)] = colour
    counted = found.lesions.array > 0
    doubtful = np.isin(found.labels.array, [one.id for one in found.components if one.to_confirm and not one.included])
    missed = np.isin(truth, np.setdiff1d(np.unique(truth), np.unique(truth[counted])))
    for mask, colour in ((counted, _COUNTED), (doubtful, _TO_CONFIRM), (missed & (truth > 0), _MISSED)):
        picture[mask.any(axis=1)] = 0.35 * picture[mask.any(axis=1)] + 0.65 * np.array(colour)
    size = round(picture.shape[1] * pet.spacing[0] / _PIXEL_MM), round(picture.shape[0] * pet.spacing[2] / _PIXEL_MM)
    scaled = Image.fromarray(picture[::-1].astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    framed = Image.new("RGB", _TILE, (255, 255, 255))
    framed.paste(scaled, ((_TILE[0] - size[0]) // 2, 14))
    ImageDraw.Draw(framed).text((2, 1), title, fill=(0, 0, 0))
    return framed


def sheet(folder: Path, out: Path, *, columns: int = 5, at_most: int = 10) -> None:
    """All tiles of a folder in one picture, with its legend."""
    tiles = [Image.open(path) for path in sorted(folder.glob("*.png"))[:at_most]]
    rows = -(-len(tiles) // columns)
    whole = Image.new("RGB", (columns * _TILE[0], rows * _TILE[1] + 14), (255, 255, 255))
    for number, one in enumerate(tiles):
        whole.paste(one, (number % columns * _TILE[0], number // columns * _TILE[1]))
    ImageDraw.Draw(whole).text((2, rows * _TILE[1] + 1), LEGEND, fill=(0, 0, 0))
    whole.save(out, optimize=True)
