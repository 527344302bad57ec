"""Figures of a case for the report and the app: maximum intensity projections, fused slices, attribution.

Radiological convention, isotropic millimetres, no torch and no plotting library. Every figure is an RGB Pillow image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain.figures.drawing import BLACK, WHITE, Legend, enlarge, inverted_grey
from explain.figures.panels import (
    GAP,
    LEGEND_HEIGHT,
    Panel,
    PanelStyle,
    compose,
    project_masks,
    projection_panel,
    slice_panel,
    to_isotropic_pair,
)
from explain.figures.projections import AXIAL, CORONAL, SAGITTAL, Frame, body_box, project_maximum
from fedpet.core.messages import gettext_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from explain.explanation import Explanation
    from explain.figures.panels import Position
    from explain.figures.projections import BoundingBox, View
    from fedpet.core.messages import Language
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Point, Volume

_WIDEST = 0.7  # of the height: letters of a wide picture would be too small on paper


def mip_with_lesions(
    study: PetCtStudy,
    labels: Volume | None,
    *,
    suv_max: float = 10.0,
    height: int = 900,
    language: Language = "fr",
) -> Image.Image:
    """Maximum intensity projections from the front and from the left, in inverted grey, lesions outlined and numbered.

    Args:
        study: its PET is shown.
        labels: label volume on any grid, 0 is background; None where nothing was delineated.
        suv_max: SUV shown as black.
        height: of the image, pixels, less where the study is short; the width follows from the patient.
        language: of the letters.
    """
    box = body_box(study.pet)
    width = sum(box.extent(view)[0] for view in (CORONAL, SAGITTAL))
    scale = min((height - LEGEND_HEIGHT) / box.extent(CORONAL)[1], _WIDEST * height / width)
    pet, lesions = to_isotropic_pair(study.pet, labels, box)
    panels = []
    for view in (CORONAL, SAGITTAL):
        frame = Frame(view, box, scale)
        canvas = inverted_grey(enlarge(project_maximum(pet, view), frame.size) / suv_max)
        panels.append(Panel(frame, canvas, project_masks(lesions, frame), pet.spacing[0] * scale * 0.7, BLACK))
    return compose(panels, WHITE, [Legend(inverted_grey, "SUV 0", f"{suv_max:g}")], language=language)


def fused_slices(
    study: PetCtStudy,
    labels: Volume | None,
    position_mm: Position,
    *,
    attribution: Volume | None = None,
    suv_max: float = 10.0,
    window: tuple[float, float] = (-160.0, 240.0),
    width: int = 1800,
    language: Language = "fr",
) -> Image.Image:
    """Axial, coronal and sagittal PET/CT through a point, or the attribution over the CT.

    Args:
        study: without a CT the PET is shown alone.
        labels: label volume on any grid, or None.
        position_mm: the point, LPS mm, marked by a crosshair.
        attribution: signed, shown instead of the PET: vermilion raises the risk, blue lowers it.
        suv_max: SUV at the top of the PET's colour scale.
        window: HU shown as black and as white.
        width: of the image, pixels; the height follows from the patient.
        language: of the letters and the legend.
    """
    frames = _row((AXIAL, CORONAL, SAGITTAL), body_box(study.pet), width)
    style = PanelStyle(suv_max, window, attribution)
    panels = [slice_panel(study, labels, frame, position_mm, style) for frame in frames]
    background = BLACK if study.ct is not None or attribution is not None else WHITE
    return compose(panels, background, style.legends(language, ct=study.ct is not None), language=language)


def saliency_figure(
    study: PetCtStudy,
    labels: Volume | None,
    explanation: Explanation,
    *,
    suv_max: float = 10.0,
    window: tuple[float, float] = (-160.0, 240.0),
    width: int = 1800,
    language: Language = "fr",
) -> Image.Image:
    """The attribution projected from the front, and its slices through the middle of the lesion that weighs most.

    Where no lesion weighs: through the voxel that weighs most.

    Where a gate of the explanation failed: the PET/CT through the middle of the body, without the attribution, and a
    line that says so.
    """
    box = body_box(study.pet)
    shown = explanation.attribution if explanation.reliable else None
    style = PanelStyle(suv_max, window, shown)
    x, y, z = (box.low + box.high) / 2 if shown is None else heaviest_point(shown, labels)
    first, *frames = _row((CORONAL, AXIAL, CORONAL, SAGITTAL), box, width)
    panels = [slice_panel(study, labels, frame, (float(x), float(y), float(z)), style) for frame in frames]
    _ = gettext_for(language)
    warning = "" if explanation.reliable else _("attribution map not reliable")
    bars = style.legends(language, ct=study.ct is not None)
    panels.insert(0, projection_panel(study.pet, labels, first, style))
    return compose(panels, BLACK, bars, language=language, warning=warning)


def heaviest_point(attribution: Volume, labels: Volume | None) -> Point:
    """LPS mm of the voxel nearest to the centre of influence of the lesion with the largest absolute sum."""
    if labels is None or not labels.on_grid_of(attribution):
        return _peak(attribution)
    size = np.abs(attribution.array).astype(np.float64)
    sums = np.bincount(labels.array.ravel().astype(np.int64), size.ravel())
    sums[0] = 0.0
    if not sums.any():
        return _peak(attribution)
    voxels = np.argwhere(labels.array == sums.argmax())
    centre = np.average(voxels, axis=0, weights=size[tuple(voxels.T)])
    nearest = voxels[np.linalg.norm((voxels - centre) * attribution.spacing[::-1], axis=1).argmin()]
    return attribution.to_mm(nearest.astype(float))


def _peak(volume: Volume) -> Point:
    """LPS mm of the largest absolute value."""
    return volume.to_mm(np.array(np.unravel_index(np.abs(volume.array).argmax(), volume.shape), float))


def _row(views: Sequence[View], box: BoundingBox, width: int) -> list[Frame]:
    """Frames that fill `width` side by side, as high as the axial one, and never magnified more than it."""
    depth = box.extent(AXIAL)[1]
    shares = [1.0 / max(box.extent(view)[1], depth) for view in views]
    mm = [box.extent(view)[0] for view in views]
    height = (width - GAP * (len(views) - 1)) / float(np.dot(mm, shares))
    return [Frame(view, box, height * share) for view, share in zip(views, shares, strict=True)]
