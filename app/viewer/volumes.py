"""The volumes of a case as the browser reads them: raw little-endian arrays on axis-aligned grids, and a description.

`volumes.json` names each file with its element type ("runs" for labels), its shape `[slice, row, column]`, the voxel
spacing and the centre of the first voxel along (x, y, z) in LPS mm, and the factor from stored to shown value. Columns
run to the patient's left, rows to the back and slices to the head, so that the viewer needs no affine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from app.casework import focus_mm
from app.viewer.description import read_description, write_description
from imaging.mip import rotating_mip
from imaging.resampling import Grid, resample
from imaging.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from app.casework import CaseResult
    from imaging.study import Study

MIP_SUV = 25.0  # SUV of the brightest stored value of a projection
_MIP_FRAMES = 24
_MIP_SPACING_MM = 4.0
_BODY_SUV = 0.2
_BODY_SHARE = 0.02  # of the highest value, where there is no SUV
_MARGIN_MM = 20.0
_ALIGNED = 0.99999  # cosine beyond which an axis of the image is an axis of the patient: 0.26 degrees


def store_images(study: Study, folder: Path) -> None:
    """Write what can be seen before any answer: `pet.bin`, `mip.bin`, `volumes.json` and, where there is one, `ct.bin`.

    The PET is stored as uint16, scaled to its range. `quantity` is "SUV", or the PET's own units where the SUV cannot
    be computed.
    """
    pet = axis_aligned(study.pet, outside=0.0)
    highest = float(pet.array.max())
    entries = [_store_scaled("pet", pet, np.uint16, highest, folder)]
    if study.ct is not None:
        entries.append(_store("ct", axis_aligned(study.ct, outside=-1024.0), np.int16, 1.0, folder))
    known = study.pet.unit == "g/ml"
    description = {
        "volumes": entries,
        "mip": _store_mip(pet, folder, highest=MIP_SUV if known else highest or 1.0),
        "body": _body(pet, floor=_BODY_SUV if known else _BODY_SHARE * highest),
        "focus": focus_mm(study, None),
        "quantity": "SUV" if known else study.pet_facts.units or "–",
        "highest": highest,
    }
    write_description(folder, description)


def store_answer(result: CaseResult, folder: Path) -> None:
    """Add what the answer brings to what `store_images` wrote: `lesions.bin` and, where there is one, `saliency.bin`.

    The labels are all hot components where the answer knows them, so that those that are no lesions can be seen too.
    They are stored as runs: uint32 triples of first voxel, number of voxels and label, in the order of the array.
    The saliency map is left out where a gate failed: it must not be shown. It is stored as int16 relative to the 99.9th
    percentile of its absolute values, from -1 to 1. The crosshair starts at the largest lesion.
    """
    description = read_description(folder)
    images = [entry for entry in description["volumes"] if entry["name"] in ("pet", "ct")]
    (folder / "saliency.bin").unlink(missing_ok=True)
    hot = result.prediction.component_labels
    labels = axis_aligned(result.prediction.lesion_labels if hot is None else hot, outside=0.0)
    images.append(_store_labels("lesions", labels, folder))
    explanation = result.explanation
    if explanation is not None and explanation.reliable:
        attribution = axis_aligned(explanation.attribution, outside=0.0)
        high = float(np.quantile(np.abs(attribution.array), 0.999))
        relative = np.clip(attribution.array / (high or 1.0), -1.0, 1.0)
        images.append(_store_scaled("saliency", attribution.like(relative, "1"), np.int16, 1.0, folder))
    focus = focus_mm(result.study, result.prediction)
    write_description(folder, description | {"volumes": images, "focus": focus})


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
    return _entry(name, volume, scale) | {"dtype": np.dtype(dtype).name}


def _entry(name: str, volume: Volume, scale: float) -> dict[str, Any]:
    return {
        "name": name,
        "shape": volume.shape,
        "spacing": volume.spacing,
        "origin": volume.affine[:3, 3].tolist(),
        "scale": scale,
    }


def _store_labels(name: str, labels: Volume, folder: Path) -> dict[str, Any]:
    """Store the runs of equal labels, which are a hundredth of the volume or less; `highest` is the largest label."""
    flat = labels.array.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    runs = np.stack([starts[:-1], np.diff(starts), flat[starts[:-1]]], axis=1)
    runs = runs[runs[:, 2] > 0].astype("<u4")
    runs.tofile(folder / f"{name}.bin")
    entry = _entry(name, labels, 1.0)
    return entry | {"dtype": "runs", "bytes": runs.nbytes, "highest": int(flat.max())}


def _store_mip(pet: Volume, folder: Path, *, highest: float) -> dict[str, Any]:
    """Store the projections; `centre` is the axis of rotation (x, y) and `top` the z of the first row, mm."""
    frames = rotating_mip(pet, frames=_MIP_FRAMES, spacing_mm=_MIP_SPACING_MM)
    _integers(frames * (255.0 / highest), np.uint8).tofile(folder / "mip.bin")
    grid = Grid.around(pet, spacing_mm=_MIP_SPACING_MM)
    low, (slices, rows, columns) = grid.affine[:3, 3], grid.shape
    return {
        "frames": frames.shape[0],
        "height": frames.shape[1],
        "width": frames.shape[2],
        "spacing": _MIP_SPACING_MM,
        "scale": highest / 255.0,
        "centre": [low[0] + _MIP_SPACING_MM * (columns - 1) / 2, low[1] + _MIP_SPACING_MM * (rows - 1) / 2],
        "top": low[2] + _MIP_SPACING_MM * (slices - 1),
    }


def _body(pet: Volume, *, floor: float) -> list[list[float]]:
    """The box that holds the patient, mm: where a plane of the PET holds 1 cm2 above `floor`, and 2 cm around."""
    dx, dy, dz = pet.spacing
    inside = pet.array > floor
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
