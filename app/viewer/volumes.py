"""The volumes of a case as the browser reads them: raw little-endian arrays on axis-aligned grids, and a description.

`volumes.json` names each file with its element type, its shape `[slice, row, column]`, the voxel spacing and the centre
of the first voxel along (x, y, z) in LPS mm, and the factor from stored to shown value. Columns run to the patient's
left, rows to the back and slices to the head, so that the viewer needs no affine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from app.casework import focus_mm
from app.viewer.description import DESCRIPTION
from imaging.mip import rotating_mip
from imaging.resampling import Grid, resample
from imaging.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from app.casework import CaseResult

MIP_SUV = 25.0  # SUV of the brightest stored value of a projection
_MIP_FRAMES = 24
_MIP_SPACING_MM = 4.0
_BODY_SUV = 0.2
_MARGIN_MM = 20.0
_ALIGNED = 0.99999  # cosine beyond which an axis of the image is an axis of the patient: 0.26 degrees


def store_viewer_volumes(result: CaseResult, folder: Path) -> None:
    """Write `pet.bin`, `lesions.bin`, `mip.bin`, `volumes.json` and, where there is one, `ct.bin` and `saliency.bin`.

    The saliency map is left out where a gate failed: it must not be shown. PET is stored as uint16 and saliency as
    int16, both scaled to their range; saliency is given relative to the 99.9th percentile of its absolute values, from
    -1 to 1.
    """
    pet = axis_aligned(result.study.pet, outside=0.0)
    entries = [
        _store_scaled("pet", pet, np.uint16, float(pet.array.max()), folder),
        _store("lesions", axis_aligned(result.prediction.lesion_labels, outside=0.0), np.uint16, 1.0, folder),
    ]
    if result.study.ct is not None:
        entries.append(_store("ct", axis_aligned(result.study.ct, outside=-1024.0), np.int16, 1.0, folder))
    explanation = result.explanation
    if explanation is not None and explanation.reliable:
        attribution = axis_aligned(explanation.attribution, outside=0.0)
        high = float(np.quantile(np.abs(attribution.array), 0.999))
        relative = np.clip(attribution.array / (high or 1.0), -1.0, 1.0)
        entries.append(_store_scaled("saliency", attribution.like(relative, "1"), np.int16, 1.0, folder))
    description = {
        "volumes": entries,
        "mip": _store_mip(pet, folder),
        "body": _body(pet),
        "focus": focus_mm(result.study, result.prediction),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))


def axis_aligned(volume: Volume, *, outside: float) -> Volume:
    """The volume with columns to the patient's left, rows to the back and slices to the head.

    Axes that are those of the patient already are only swapped and reversed, which keeps every value; an oblique volume
    is resampled (linear, or nearest for labels) onto the smallest axis-aligned grid that holds it, at its smallest
    spacing.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if np.abs(directions).max(axis=0).min() < _ALIGNED:
        interpolation: Literal["nearest", "linear"] = "nearest" if volume.unit == "label" else "linear"
        grid = Grid.around(volume, spacing_mm=min(volume.spacing))
        return resample(volume, grid, interpolation=interpolation, outside=outside)
    source = np.abs(directions).argmax(axis=1)  # patient axis x, y, z -> image axis column, row, slice
    array = volume.array.transpose([2 - source[axis] for axis in (2, 1, 0)])
    corner = np.zeros(3)  # (column, row, slice) of the voxel that comes first
    for axis in range(3):
        if directions[axis, source[axis]] < 0:
            array = np.flip(array, 2 - axis)
            corner[source[axis]] = volume.array.shape[2 - source[axis]] - 1
    affine = np.diag([*np.abs(volume.affine[[0, 1, 2], source]), 1.0])
    affine[:3, 3] = volume.affine[:3, :3] @ corner + volume.affine[:3, 3]
    return Volume(np.ascontiguousarray(array), affine, volume.unit)


def _store_scaled(
    name: str, volume: Volume, dtype: type[np.integer[Any]], highest: float, folder: Path
) -> dict[str, Any]:
    """Store values up to `highest` over the whole range of an integer type."""
    scale = (highest or 1.0) / np.iinfo(dtype).max
    return _store(name, volume.like(volume.array / scale, volume.unit), dtype, scale, folder)


def _store(name: str, volume: Volume, dtype: type[np.integer[Any]], scale: float, folder: Path) -> dict[str, Any]:
    _integers(volume.array, dtype).tofile(folder / f"{name}.bin")
    return {
        "name": name,
        "dtype": np.dtype(dtype).name,
        "shape": volume.shape,
        "spacing": volume.spacing,
        "origin": volume.affine[:3, 3].tolist(),
        "scale": scale,
    }


def _store_mip(pet: Volume, folder: Path) -> dict[str, Any]:
    """Store the projections; `centre` is the axis of rotation (x, y) and `top` the z of the first row, mm."""
    frames = rotating_mip(pet, frames=_MIP_FRAMES, spacing_mm=_MIP_SPACING_MM)
    _integers(frames * (255.0 / MIP_SUV), np.uint8).tofile(folder / "mip.bin")
    grid = Grid.around(pet, spacing_mm=_MIP_SPACING_MM)
    low, (slices, rows, columns) = grid.affine[:3, 3], grid.shape
    return {
        "frames": frames.shape[0],
        "height": frames.shape[1],
        "width": frames.shape[2],
        "spacing": _MIP_SPACING_MM,
        "scale": MIP_SUV / 255.0,
        "centre": [low[0] + _MIP_SPACING_MM * (columns - 1) / 2, low[1] + _MIP_SPACING_MM * (rows - 1) / 2],
        "top": low[2] + _MIP_SPACING_MM * (slices - 1),
    }


def _body(pet: Volume) -> list[list[float]]:
    """The box that holds the patient, mm: where a plane of the PET holds 1 cm2 of uptake, and 2 cm around."""
    dx, dy, dz = pet.spacing
    inside = pet.array > _BODY_SUV
    low, high = [], []
    for axis, (step, area) in enumerate(((dx, dy * dz), (dy, dx * dz), (dz, dx * dy))):
        planes = np.flatnonzero(inside.sum(axis=tuple(a for a in range(3) if a != 2 - axis)) * area > 100.0)
        last = pet.array.shape[2 - axis] - 1
        first, end = (planes[0], planes[-1]) if planes.size else (0, last)
        margin = _MARGIN_MM / step
        low.append(float(pet.affine[axis, 3] + step * max(first - margin, 0)))
        high.append(float(pet.affine[axis, 3] + step * min(end + margin, last)))
    return [low, high]


def _integers(array: NDArray[Any], dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """Rounded, clipped to the type's range, little-endian."""
    limits = np.iinfo(dtype)
    clipped: NDArray[Any] = np.clip(np.rint(array), limits.min, limits.max)
    return clipped.astype(np.dtype(dtype).newbyteorder("<"))
