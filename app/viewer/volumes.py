"""The volumes of a case as the browser reads them: raw little-endian arrays on axis-aligned grids, and a description.

`volumes.json` names each file with its element type ("runs" for labels), its shape `[slice, row, column]`, the voxel
spacing and the centre of the first voxel along (x, y, z) in LPS mm, and the factor from stored to shown value. Columns
run to the patient's left, rows to the back and slices to the head, so that the viewer needs no affine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from app.viewer.description import read_description, write_description
from explain.figures.panels import colour_limit, colour_strength
from fedpet.imaging.anatomy.pet_only import body_bounds
from fedpet.imaging.anatomy.reference_uptake import ReferenceOrgan
from fedpet.imaging.lesions.quantities import main_point
from fedpet.imaging.mip import rotating_mip
from fedpet.imaging.resampling import Grid, align_to_patient_axes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from app.cases.pipeline import CaseResult
    from fedpet.imaging.analysis import StudyAnalysis
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume
    from inference.prediction import Prediction

MIP_SUV = 25.0  # SUV of the brightest stored value of a projection
_MIP_FRAMES = 24
_MIP_SPACING_MM = 4.0


def store_images(study: PetCtStudy, folder: Path) -> None:
    """Write the images, before any answer: `pet.bin`, `mip.bin`, `volumes.json` and, where there is a CT, `ct.bin`.

    The PET is stored as uint16, scaled to its range. `quantity` is "SUV", or the PET's own units where the SUV cannot
    be computed.
    """
    pet = align_to_patient_axes(study.pet, outside=0.0)
    highest = float(pet.array.max())
    entries = [_store_scaled("pet", pet, np.uint16, highest, folder)]
    if study.ct is not None:
        entries.append(_store("ct", align_to_patient_axes(study.ct, outside=-1024.0), np.int16, 1.0, folder))
    known = study.pet.unit == "g/ml"
    description = {
        "volumes": entries,
        "mip": _store_mip(pet, folder, highest=MIP_SUV if known else highest or 1.0),
        "body": body_bounds(pet),
        "focus": study.pet.centre,
        "quantity": "SUV" if known else study.pet_facts.units or "–",
        "highest": highest,
    }
    write_description(folder, description)


def store_prediction(result: CaseResult, folder: Path) -> None:
    """Add the lesions and the influence map of an answer to the images: `lesions.bin` and, where shown, `saliency.bin`.

    The labels are all hot components where the answer has them, so that those that are no lesions can be shown too.
    They are stored as runs: uint32 triples of first voxel, number of voxels and label, in the order of the array.
    `references.bin`, stored alike, is where healthy organs were measured: 1 liver, 2 blood pool, 3 spleen, 4 marrow.
    The saliency map is left out where a gate failed: it must not be shown. It is stored as int16, the strength of the
    colour of the report's pictures, from -1 to 1. The crosshair starts at the largest lesion.
    """
    store_labels(result.prediction, folder)
    _store_references(result.analysis, folder)
    description = read_description(folder)
    images = list(description["volumes"])
    explanation = result.explanation
    if explanation is not None and explanation.reliable:
        attribution = align_to_patient_axes(explanation.attribution, outside=0.0)
        relative = colour_strength(attribution.array, colour_limit(attribution))
        images.append(_store_scaled("saliency", attribution.like(relative, "1"), np.int16, 1.0, folder))
    labels, quantities = result.prediction.lesion_labels, result.prediction.quantities
    focus = main_point(result.study.pet, labels, quantities)
    write_description(folder, description | {"volumes": images, "focus": focus})


def store_labels(prediction: Prediction, folder: Path) -> None:
    """Write the labels of a prediction: `lesions.bin`; an influence map of other lesions is removed."""
    description = read_description(folder)
    images = [entry for entry in description["volumes"] if entry["name"] in ("pet", "ct", "references")]
    (folder / "saliency.bin").unlink(missing_ok=True)
    hot = prediction.component_labels
    labels = align_to_patient_axes(prediction.lesion_labels if hot is None else hot, outside=0.0)
    images.append(_store_labels("lesions", labels, folder))
    write_description(folder, description | {"volumes": images})


def _store_references(analysis: StudyAnalysis, folder: Path) -> None:
    """Write where healthy organs were measured, by their place in `ReferenceOrgan` from 1; nothing without a CT."""
    if analysis.anatomy is None:
        return
    pet = analysis.study.pet
    array = np.zeros(pet.shape, np.uint8)
    names = get_args(ReferenceOrgan)
    for name, index in analysis.anatomy.reference_voxels.items():
        array[tuple(index.T)] = names.index(name) + 1
    entry = _store_labels("references", align_to_patient_axes(pet.like(array, "label"), outside=0.0), folder)
    description = read_description(folder)
    kept = [one for one in description["volumes"] if one["name"] != "references"]
    write_description(folder, description | {"volumes": [*kept, entry]})


def label_runs(labels: Volume) -> NDArray[np.uint32]:
    """The runs of equal labels on the grid of the viewer, as in `lesions.bin`: first voxel, number of voxels, label."""
    return _runs(align_to_patient_axes(labels, outside=0.0))


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
    runs = _runs(labels)
    draft = folder / f".{name}.bin"
    runs.tofile(draft)
    draft.replace(folder / f"{name}.bin")
    entry = _entry(name, labels, 1.0)
    return entry | {"dtype": "runs", "bytes": runs.nbytes, "highest": int(labels.array.max())}


def _runs(labels: Volume) -> NDArray[np.uint32]:
    flat = labels.array.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    runs = np.stack([starts[:-1], np.diff(starts), flat[starts[:-1]]], axis=1)
    found: NDArray[np.uint32] = runs[runs[:, 2] > 0].astype("<u4")
    return found


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


def _integers(array: NDArray[Any], dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """Rounded, clipped to the type's range, little-endian."""
    limits = np.iinfo(dtype)
    clipped: NDArray[Any] = np.clip(np.rint(array), limits.min, limits.max)
    return clipped.astype(np.dtype(dtype).newbyteorder("<"))
