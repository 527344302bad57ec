"""The panels of a figure: one view of the patient each, with lesions, orientation letters, scale and crosshair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from explain.figures.drawing import (
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
from explain.figures.projections import project_maximum, to_isotropic
from fedpet.core.messages import Message, gettext_for, translate_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from explain.figures.drawing import Canvas, Colour, Mask
    from explain.figures.projections import BoundingBox, Frame
    from fedpet.core.messages import Language
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume

    Position = tuple[float, float, float]  # LPS mm

LETTERS: Mapping[str, Message] = {  # sides of the patient (DICOM PS3.3 C.7.6.1.1.1), as figures and viewer write them
    "R": Message("R"),
    "L": Message("L"),
    "A": Message("A"),
    "P": Message("P"),
    "H": Message("H"),
    "F": Message("F"),
}
GAP = 6  # pixels between panels
LEGEND_HEIGHT = 48  # pixels for the legends below the panels
_AIR_HU = -1000.0
_STEP_MM = (1.5, 4.0)  # finest and coarsest voxel of a projection


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a figure: what it shows, and what is drawn on it."""

    frame: Frame
    canvas: Canvas
    masks: dict[int, Mask]
    smooth: float  # standard deviation of the smoothing of the lesion outlines, pixels
    ink: Colour
    caption: str = ""
    cross: Position | None = None


def colour_limit(attribution: Volume) -> float:
    """The absolute attribution at the ends of a colour scale: the 99.5th percentile where there is any, else 1.

    A map of lesions is zero nearly everywhere: over all voxels that percentile would be zero.
    """
    size = np.abs(attribution.array[attribution.array != 0])
    return float(np.percentile(size, 99.5)) if size.size else 1.0


def colour_strength(attribution: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Strength of the colour from -1 to 1: the signed square root of the share of the limit.

    A large lesion spreads its share over many voxels: on a scale without the root the lesion that weighs most could
    stay grey beside a small one.

    Args:
        attribution: any shape.
        limit: see `colour_limit`.
    """
    return np.sign(attribution) * np.sqrt(np.minimum(np.abs(attribution) / limit, 1.0))


@dataclass(frozen=True, eq=False)
class PanelStyle:
    """How voxels become colours."""

    suv_max: float
    window: tuple[float, float]
    attribution: Volume | None

    @cached_property
    def strength(self) -> float:
        """The absolute attribution at the ends of the colour scale."""
        return 1.0 if self.attribution is None else colour_limit(self.attribution)

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
        x = colour_strength(attribution, self.strength)
        return blend(canvas, diverging(x), np.clip(2.0 * np.abs(x) - 0.04, 0.0, 0.9))

    def legends(self, language: Language, *, ct: bool) -> list[Legend]:
        """The colour scales of what is shown."""
        _ = gettext_for(language)
        if self.attribution is not None:
            return [Legend(diverging, _("lowers the risk"), _("raises the risk"), low=-1.0)]
        low, high = self.window
        pet = Legend(hot_iron if ct else inverted_grey, "SUV 0", f"{self.suv_max:g}")
        return [pet, Legend(grey, f"{_('CT')} {low:.0f}", f"{high:.0f} {_('HU')}")] if ct else [pet]


def slice_panel(study: PetCtStudy, labels: Volume | None, frame: Frame, position: Position, style: PanelStyle) -> Panel:
    """The plane of the frame's view through a point, with a crosshair on it."""
    point = np.array(position)
    suv = frame.slice(study.pet, point, outside=0.0)
    hu = None if study.ct is None else frame.slice(study.ct, point, outside=_AIR_HU)
    canvas = style.background(suv, hu)
    if style.attribution is not None:
        canvas = style.overlay(canvas, frame.slice(style.attribution, point, outside=0.0))
    masks = {} if labels is None else _masks(frame.slice(labels, point, outside=0.0, nearest=True))
    axis = int(np.argmax(np.abs(np.cross(frame.view.right, frame.view.down))))
    return Panel(
        frame=frame,
        canvas=canvas,
        masks=masks,
        smooth=0.7 * frame.scale * min(study.pet.spacing),
        ink=BLACK if hu is None and style.attribution is None else WHITE,
        caption=f"{frame.view.name}\n{'xyz'[axis]} {position[axis]:.0f} mm",
        cross=position,
    )


def projection_panel(pet: Volume, labels: Volume | None, frame: Frame, style: PanelStyle) -> Panel:
    """The PET projected on black, and over it the attribution of the largest absolute value on each line of sight."""
    suv, lesions = to_isotropic_pair(pet, labels, frame.box)
    canvas = grey(enlarge(project_maximum(suv, frame.view), frame.size) / style.suv_max)
    if style.attribution is not None:
        signed = to_isotropic(style.attribution, frame.box, suv.spacing[0], outside=0.0)
        up, down = (project_maximum(signed.like(sign * signed.array, "1"), frame.view) for sign in (1.0, -1.0))
        canvas = style.overlay(0.75 * canvas, enlarge(np.where(up >= down, up, -down), frame.size))
    masks = project_masks(lesions, frame)
    return Panel(frame, canvas, masks, suv.spacing[0] * frame.scale * 0.7, WHITE, caption="MIP")


def to_isotropic_pair(pet: Volume, labels: Volume | None, box: BoundingBox) -> tuple[Volume, Volume | None]:
    """PET and labels in the box on one axis-aligned grid, about as fine as the PET."""
    step = float(np.clip(min(pet.spacing), *_STEP_MM))
    lesions = None if labels is None else to_isotropic(labels, box, step, outside=0.0, nearest=True)
    return to_isotropic(pet, box, step, outside=0.0), lesions


def _masks(labels: NDArray[np.float32]) -> dict[int, Mask]:
    return {int(label): labels == label for label in np.unique(labels) if label}


def project_masks(labels: Volume | None, frame: Frame) -> dict[int, Mask]:
    """The projection of each lesion onto the pixels of the frame."""
    if labels is None:
        return {}
    projections = {}
    for label in (int(value) for value in np.unique(labels.array) if value):
        projection = project_maximum(labels.like((labels.array == label).astype(np.uint8), "label"), frame.view)
        projections[label] = enlarge(projection, frame.size, smooth=False) > 0.5
    return projections


def compose(
    panels: Sequence[Panel], background: Colour, bars: Sequence[Legend], *, language: Language, warning: str = ""
) -> Image.Image:
    """The panels side by side, the legends below."""
    images = [_render(panel, language) for panel in panels]
    height = max(image.height for image in images)
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    figure = to_image(np.full((height + LEGEND_HEIGHT, width, 3), background, np.float32))
    left = 0
    for image in images:
        figure.paste(image, (left, (height - image.height) // 2))
        left += image.width + GAP
    legends(figure, bars, top=height, ink=_opposite(background), halo=background, warning=warning)
    return figure


def _render(panel: Panel, language: Language) -> Image.Image:
    """Outlines, crosshair, letters, caption, scale bar and lesion numbers on the panel's image."""
    for label, mask in panel.masks.items():
        outline(panel.canvas, mask, lesion_colour(label), smooth=panel.smooth, width=2.5)
    if panel.cross is not None:
        crosshair(panel.canvas, panel.frame.to_pixel(np.array(panel.cross)), panel.ink)
    image = to_image(panel.canvas)
    width, height = image.size
    size, halo = float(np.clip(height / 32, 20, 28)), _opposite(panel.ink)
    positions = (
        (6, height / 2, "lm"),
        (width - 6, height / 2, "rm"),
        (width / 2, 5, "mt"),
        (width / 2, height - 6, "mb"),
    )
    translate = translate_message(language)
    for letter, (x, y, anchor) in zip(panel.frame.view.letters, positions, strict=True):
        write(image, (x, y), translate(LETTERS[letter]), size=size, ink=panel.ink, halo=halo, anchor=anchor)
    write(image, (8, 5 + 1.2 * size), panel.caption, size=0.8 * size, ink=panel.ink, halo=halo, anchor="la")
    scale_bar(image, panel.frame.scale, size=0.8 * size, ink=panel.ink, halo=halo)
    number_lesions(image, panel.masks, size=size, ink=panel.ink, halo=halo)
    return image


def _opposite(ink: Colour) -> Colour:
    return WHITE if ink == BLACK else BLACK
