"""Figures of a case for the report and the app: maximum intensity projections, fused slices, attribution.

Radiological convention, cubic millimetres, no torch and no plotting library. Every figure is an RGB Pillow image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from explain.drawing import (
    BLACK,
    WHITE,
    Legend,
    blend,
    crosshair,
    diverging,
    enlarge,
    grey,
    hot_iron,
    inverted_grey,
    legends,
    lesion_colour,
    number_lesions,
    outline,
    scale_bar,
    to_image,
    write,
)
from explain.views import AXIAL, CORONAL, SAGITTAL, Frame, body_box, isotropic, projected
from fedpet.messages import translator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from explain.drawing import Canvas, Colour, Mask
    from explain.explanation import Explanation
    from explain.views import Box, View
    from fedpet.messages import Language
    from imaging.study import Study
    from imaging.volume import Volume

    Position = tuple[float, float, float]

_GAP = 6  # pixels between panels
_STRIP = 48  # pixels for the legends below the panels
_AIR_HU = -1000.0
_STEP_MM = (1.5, 4.0)  # finest and coarsest voxel of a projection


@dataclass(frozen=True, eq=False)
class _Panel:
    """One image of a figure: what it shows, and what is drawn on it."""

    frame: Frame
    canvas: Canvas
    masks: dict[int, Mask]
    smooth: float  # standard deviation of the smoothing of the lesion outlines, pixels
    ink: Colour
    caption: str = ""
    cross: Position | None = None


def mip_with_lesions(study: Study, labels: Volume | None, *, suv_max: float = 10.0, height: int = 900) -> Image.Image:
    """Maximum intensity projections from the front and from the left, in inverted grey, lesions outlined and numbered.

    Args:
        study: its PET is shown.
        labels: label volume on any grid, 0 is background; None where nothing was delineated.
        suv_max: SUV shown as black.
        height: of the image, pixels; the width follows from the patient.
    """
    box = body_box(study.pet)
    scale = (height - _STRIP) / box.extent(CORONAL)[1]
    pet, lesions = _isotropic_pair(study.pet, labels, box)
    panels = []
    for view in (CORONAL, SAGITTAL):
        frame = Frame(view, box, scale)
        canvas = inverted_grey(enlarge(projected(pet, view), frame.size) / suv_max)
        panels.append(_Panel(frame, canvas, _projected_masks(lesions, frame), pet.spacing[0] * scale * 0.7, BLACK))
    return _compose(panels, WHITE, [Legend(inverted_grey, "SUV 0", f"{suv_max:g}")])


def fused_slices(
    study: Study,
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
        language: of the legend.
    """
    frames = _row((AXIAL, CORONAL, SAGITTAL), body_box(study.pet), width)
    look = _Look(suv_max, window, attribution, _strength(attribution))
    panels = [_slice_panel(study, labels, frame, position_mm, look) for frame in frames]
    background = BLACK if study.ct is not None or attribution is not None else WHITE
    return _compose(panels, background, look.legends(language, ct=study.ct is not None))


def saliency_figure(
    study: Study,
    labels: Volume | None,
    explanation: Explanation,
    *,
    suv_max: float = 10.0,
    window: tuple[float, float] = (-160.0, 240.0),
    width: int = 1800,
    language: Language = "fr",
) -> Image.Image:
    """The attribution projected from the front, and its slices through the voxel that weighs most.

    Where a gate of the explanation failed, the same PET/CT without the attribution, and a line that says so.
    """
    peak = np.unravel_index(np.abs(explanation.attribution.array).argmax(), explanation.attribution.shape)
    x, y, z = explanation.attribution.to_mm(np.array(peak, float))
    shown = explanation.attribution if explanation.reliable else None
    look = _Look(suv_max, window, shown, _strength(shown))
    box = body_box(study.pet)
    first, *frames = _row((CORONAL, AXIAL, CORONAL, SAGITTAL), box, width)
    panels = [_slice_panel(study, labels, frame, (float(x), float(y), float(z)), look) for frame in frames]
    _ = translator(language)
    warning = "" if explanation.reliable else _("attribution map not reliable")
    bars = look.legends(language, ct=study.ct is not None)
    return _compose([_projection_panel(study.pet, labels, first, look), *panels], BLACK, bars, warning=warning)


@dataclass(frozen=True, eq=False)
class _Look:
    """How voxels become colours."""

    suv_max: float
    window: tuple[float, float]
    attribution: Volume | None
    strength: float  # absolute attribution at the ends of the colour scale

    def background(self, suv: NDArray[np.float32], hu: NDArray[np.float32] | None) -> Canvas:
        """CT with the PET over it; CT alone, or a dark PET, below an attribution; the PET alone in inverted grey."""
        low, high = self.window
        heat = suv / self.suv_max
        if hu is None:
            return inverted_grey(heat) if self.attribution is None else grey(0.6 * heat)
        ct = grey((hu - low) / (high - low))
        if self.attribution is not None:
            return ct
        return blend(ct, hot_iron(heat), np.clip(0.1 + 1.6 * heat, 0.0, 0.75))

    def overlay(self, canvas: Canvas, attribution: NDArray[np.float32]) -> Canvas:
        """The attribution over the canvas."""
        x = np.clip(attribution / self.strength, -1.0, 1.0)
        return blend(canvas, diverging(x), np.clip(2.0 * np.abs(x) - 0.04, 0.0, 0.9))

    def legends(self, language: Language, *, ct: bool) -> list[Legend]:
        """The scales of what is shown."""
        if self.attribution is not None:
            _ = translator(language)
            return [Legend(diverging, _("lowers the risk"), _("raises the risk"), low=-1.0)]
        low, high = self.window
        pet = Legend(hot_iron if ct else inverted_grey, "SUV 0", f"{self.suv_max:g}")
        return [pet, Legend(grey, f"CT {low:.0f}", f"{high:.0f} HU")] if ct else [pet]


def _row(views: Sequence[View], box: Box, width: int) -> list[Frame]:
    """Frames that fill `width` side by side, as high as the axial one, and never magnified more than it."""
    depth = box.extent(AXIAL)[1]
    shares = [1.0 / max(box.extent(view)[1], depth) for view in views]
    mm = [box.extent(view)[0] for view in views]
    height = (width - _GAP * (len(views) - 1)) / float(np.dot(mm, shares))
    return [Frame(view, box, height * share) for view, share in zip(views, shares, strict=True)]


def _slice_panel(study: Study, labels: Volume | None, frame: Frame, position: Position, look: _Look) -> _Panel:
    point = np.array(position)
    suv = frame.slice(study.pet, point, outside=0.0)
    hu = None if study.ct is None else frame.slice(study.ct, point, outside=_AIR_HU)
    canvas = look.background(suv, hu)
    if look.attribution is not None:
        canvas = look.overlay(canvas, frame.slice(look.attribution, point, outside=0.0))
    masks = {} if labels is None else _masks(frame.slice(labels, point, outside=0.0, nearest=True))
    axis = int(np.argmax(np.abs(np.cross(frame.view.right, frame.view.down))))
    return _Panel(
        frame=frame,
        canvas=canvas,
        masks=masks,
        smooth=0.7 * frame.scale * min(study.pet.spacing),
        ink=BLACK if hu is None and look.attribution is None else WHITE,
        caption=f"{frame.view.name}  {'xyz'[axis]} {position[axis]:.0f} mm",
        cross=position,
    )


def _projection_panel(pet: Volume, labels: Volume | None, frame: Frame, look: _Look) -> _Panel:
    """The PET projected on black, and over it the attribution of the largest absolute value on each line of sight."""
    suv, lesions = _isotropic_pair(pet, labels, frame.box)
    canvas = grey(enlarge(projected(suv, frame.view), frame.size) / look.suv_max)
    if look.attribution is not None:
        signed = isotropic(look.attribution, frame.box, suv.spacing[0], outside=0.0)
        up, down = (projected(signed.like(sign * signed.array, "1"), frame.view) for sign in (1.0, -1.0))
        canvas = look.overlay(0.75 * canvas, enlarge(np.where(up >= down, up, -down), frame.size))
    masks = _projected_masks(lesions, frame)
    return _Panel(frame, canvas, masks, suv.spacing[0] * frame.scale * 0.7, WHITE, caption="MIP")


def _isotropic_pair(pet: Volume, labels: Volume | None, box: Box) -> tuple[Volume, Volume | None]:
    """PET and labels in the box on one axis-aligned grid, about as fine as the PET."""
    step = float(np.clip(min(pet.spacing), *_STEP_MM))
    lesions = None if labels is None else isotropic(labels, box, step, outside=0.0, nearest=True)
    return isotropic(pet, box, step, outside=0.0), lesions


def _masks(labels: NDArray[np.float32]) -> dict[int, Mask]:
    return {int(label): labels == label for label in np.unique(labels) if label}


def _projected_masks(labels: Volume | None, frame: Frame) -> dict[int, Mask]:
    """The shadow of each lesion on the frame's pixels."""
    if labels is None:
        return {}
    shadows = {}
    for label in (int(value) for value in np.unique(labels.array) if value):
        shadow = projected(labels.like((labels.array == label).astype(np.uint8), "label"), frame.view)
        shadows[label] = enlarge(shadow, frame.size, smooth=False) > 0.5
    return shadows


def _strength(attribution: Volume | None) -> float:
    """The absolute attribution at the ends of the colour scale: the 99.5th percentile where there is any."""
    if attribution is None:
        return 1.0
    size = np.abs(attribution.array[attribution.array != 0])
    return float(np.percentile(size, 99.5)) if size.size else 1.0


def _compose(panels: Sequence[_Panel], background: Colour, bars: Sequence[Legend], *, warning: str = "") -> Image.Image:
    """The panels side by side, the legends below."""
    images = [_render(panel) for panel in panels]
    height = max(image.height for image in images)
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    figure = to_image(np.full((height + _STRIP, width, 3), background, np.float32))
    left = 0
    for image in images:
        figure.paste(image, (left, (height - image.height) // 2))
        left += image.width + _GAP
    legends(figure, bars, top=height, ink=_opposite(background), halo=background, warning=warning)
    return figure


def _render(panel: _Panel) -> Image.Image:
    """Outlines, crosshair, letters, caption, scale bar and lesion numbers on the panel's image."""
    for label, mask in panel.masks.items():
        outline(panel.canvas, mask, lesion_colour(label), smooth=panel.smooth, width=2.5)
    if panel.cross is not None:
        crosshair(panel.canvas, panel.frame.to_pixel(np.array(panel.cross)), panel.ink)
    image = to_image(panel.canvas)
    width, height = image.size
    size, halo = float(np.clip(height / 36, 15, 26)), _opposite(panel.ink)
    places = ((6, height / 2, "lm"), (width - 6, height / 2, "rm"), (width / 2, 5, "mt"), (width / 2, height - 6, "mb"))
    for letter, (x, y, anchor) in zip(panel.frame.view.letters, places, strict=True):
        write(image, (x, y), letter, size=size, ink=panel.ink, halo=halo, anchor=anchor)
    write(image, (8, 8 + size), panel.caption, size=0.8 * size, ink=panel.ink, halo=halo, anchor="lt")
    scale_bar(image, panel.frame.scale, size=0.8 * size, ink=panel.ink, halo=halo)
    number_lesions(image, panel.masks, size=size, halo=halo)
    return image


def _opposite(ink: Colour) -> Colour:
    return WHITE if ink == BLACK else BLACK
