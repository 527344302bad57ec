"""Draw the pictures of docs/cohort.md: `python -m benchmarks.cohort_pictures docs/images`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.difficult_studies import CASES, scanned
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import Patient, draw_patient
from training.simulation.phantom.rendering import Body, render

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

PATIENTS = ((0, 3), (2, 5), (4, 1), (7, 1))  # site, number
PIXEL_MM = 3.5
TILE = 152, 360  # pixels for one coronal plane


def grey(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Window to 0-255."""
    return (np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def scaled(plane: NDArray[np.uint8], row_mm: float, column_mm: float) -> NDArray[np.uint8]:
    """Isotropic pixels."""
    size = round(plane.shape[1] * column_mm / PIXEL_MM), round(plane.shape[0] * row_mm / PIXEL_MM)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


def stacked(planes: list[NDArray[np.uint8]], fill: int) -> Image.Image:
    """Side by side, aligned at the feet."""
    height = max(len(plane) for plane in planes)
    return Image.fromarray(
        np.concatenate(
            [np.pad(plane, ((height - len(plane), 0), (4, 4)), constant_values=fill) for plane in planes], axis=1
        )
    )


def mips(pet: Volume) -> list[NDArray[np.uint8]]:
    """Anterior and lateral maximum projections, head up, SUV 0 to 8 in inverted grey."""
    x, y, z = pet.spacing
    front, side = pet.array.max(axis=1)[::-1], pet.array.max(axis=2)[::-1]
    return [scaled(255 - grey(front, 0, 8), z, x), scaled(255 - grey(side, 0, 8), z, y)]


def ct_planes(patient: Patient, body: Body) -> list[NDArray[np.uint8]]:
    """Two coronal planes and one column of axial slices."""
    ct = ct_image(body, patient)
    x, y, z = ct.spacing
    middle = ct.shape[1] // 2
    planes = [scaled(grey(ct.array[::-1, middle + round(mm / y)], -200, 300), z, x) for mm in (-20, 15)]
    scale = patient.anatomy.height_m / 1.70
    axial = [grey(ct.array[round(mm * scale / z)], -160, 240) for mm in (950, 680, 520)]
    return [*planes, np.concatenate([scaled(one, y, x) for one in axial])[: len(planes[0])]]


def unfavourable() -> Image.Image:
    """The unfavourable cases that show on images: anterior projection of the PET, a coronal plane of the CT."""
    tiles = []
    for case in CASES.values():
        if case.speaker == "record":
            continue
        scans = scanned(case)
        tile = Image.new("L", (2 * TILE[0], TILE[1]), 255)
        place(tile, 0, scans.pet, 255 - grey(scans.pet.array.max(axis=1)[::-1], 0, 8))
        if scans.ct is not None:
            place(tile, TILE[0], scans.ct, grey(scans.ct.array[::-1, scans.ct.shape[1] // 2 + 4], -200, 300))
        ImageDraw.Draw(tile).text((4, 2), case.name, fill=0)
        tiles.append(np.asarray(tile))
    return Image.fromarray(np.concatenate([np.concatenate(tiles[i : i + 4], axis=1) for i in range(0, len(tiles), 4)]))


def place(tile: Image.Image, left: int, volume: Volume, plane: NDArray[np.uint8]) -> None:
    """Paste a coronal plane where it lies: the feet of the rendering at the bottom, its middle in the middle."""
    x, _, z = volume.spacing
    picture = Image.fromarray(scaled(plane, z, x))
    low = volume.bounds[0]
    column = left + TILE[0] // 2 + round(low[0] / PIXEL_MM)
    tile.paste(picture, (column, TILE[1] - picture.height - round(low[2] / PIXEL_MM)))


def main(out: Path) -> None:
    """Render and draw."""
    projections: list[NDArray[np.uint8]] = []
    for site, number in PATIENTS:
        patient = draw_patient(SITES[site], number, seed=1)
        body = render(patient, (2.0, 2.0, 3.0))
        projections += mips(pet_image(body, patient, voxel_mm=patient.site.pet.voxel_mm))
        if (site, number) == PATIENTS[0]:
            stacked(ct_planes(patient, body), 0).save(out / "cohort_ct.png", optimize=True)
    stacked(projections, 255).save(out / "cohort_mip.png", optimize=True)
    unfavourable().save(out / "cohort_unfavourable.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
