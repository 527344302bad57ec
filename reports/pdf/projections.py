"""Projections of the PET on the first page: a picture, and as vectors over it what names the lesions."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from reportlab.lib.colors import Color, black, white
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable

from explain.figures.drawing import enlarge, inverted_grey, lesion_colour, to_image
from explain.figures.panels import project_masks, to_isotropic_pair
from explain.figures.projections import CORONAL, SAGITTAL, Frame, body_box, project_maximum
from reports.lesion_numbers import letters
from reports.pdf.outlines import anchor, callouts, outlines
from reports.pdf.style import BOLD, INK, REGULAR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from explain.figures.drawing import Canvas
    from fedpet.imaging.volume import Volume
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.pdf.outlines import Points

SUV_BLACK = 10.0  # shown as black
NAMED = 24  # lesions at most that are numbered on the projections
PIXELS_PER_MM = 0.9
_QUALITY = 90
_GREYS = 20
_STRIPES = 3.0  # points between two lines of a hatching
_SIZE = 9.0  # points, of the numbers
_MARGIN = 13.0  # points beside a view, for the numbers
_LEGEND = 13.0  # points below the views


@dataclass(frozen=True, eq=False)
class View:
    """One projection; outlines and points are in pixels from its upper left corner.

    Attributes:
        frame: what it shows, at which scale.
        picture: PET in inverted grey.
        outlines: of each lesion by its number, and of each focus that was left out by its letter.
        named: the points that are named.
        sides: words at the left and at the right edge.
        hatched: outlines of the area that is hatched.
    """

    frame: Frame
    picture: ImageReader
    outlines: Mapping[str, Sequence[Points]]
    named: Mapping[str, tuple[float, float]]
    sides: tuple[str, str]
    hatched: Sequence[Points] = ()


class Projections(Flowable):
    """The PET from the front and from the left, as large as fits: lesions outlined, foci that are left out dashed."""

    def __init__(
        self, seen: Sequence[View], locale: Locale, *, width: float, height: float, grey_scale: bool = True
    ) -> None:
        super().__init__()
        self._views, self._locale, self._grey_scale = seen, locale, grey_scale
        sizes = [view.frame.box.extent(view.frame.view) for view in seen]
        across, high = sum(one[0] for one in sizes), sizes[0][1]
        margins = 2 * len(seen)
        self._scale = min((width - margins * _MARGIN) / across, (height - _LEGEND) / high)  # points a mm
        self.width, self.height = width, high * self._scale + _LEGEND
        self._beside = (width - across * self._scale) / margins

    def wrap(self, _available_width: float, _available_height: float) -> tuple[float, float]:
        """Its size."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw pictures, outlines, numbers, the words of the sides, scale and grey scale."""
        left = self._beside
        for view in self._views:
            self._draw_view(view, left)
            left += self._wide(view) + 2 * self._beside
        self._draw_legend()

    def _wide(self, view: View) -> float:
        return view.frame.box.extent(view.frame.view)[0] * self._scale

    def _draw_view(self, view: View, left: float) -> None:
        canvas, factor = self.canv, self._scale / view.frame.scale
        wide, high = self._wide(view), self.height - _LEGEND
        canvas.drawImage(view.picture, left, _LEGEND, wide, high)

        def place(x: float, y: float) -> tuple[float, float]:
            return left + x * factor, self.height - y * factor

        hatch(canvas, [np.array([left, self.height]) + line * (factor, -factor) for line in view.hatched])
        for name, lines in view.outlines.items():
            placed = [np.array([left, self.height]) + line * (factor, -factor) for line in lines]
            draw_outlines(canvas, placed, ink_of(name), dashed=not name.isdigit())
        points = {name: (x * factor, y * factor) for name, (x, y) in view.named.items()}
        for one in callouts(points, middle=wide / 2, height=high - 2 * _SIZE, step=1.15 * _SIZE):
            x, y = place(one.at[0] / factor, one.at[1] / factor)
            edge, height = left if one.left else left + wide, self.height - one.y - _SIZE
            canvas.setStrokeColor(INK)
            canvas.setLineWidth(0.5)
            canvas.line(edge, height, x, y)
            canvas.setFillColor(INK)
            canvas.circle(x, y, 0.9, stroke=0, fill=1)
            canvas.setFont(BOLD, _SIZE)
            (canvas.drawRightString if one.left else canvas.drawString)(
                edge - 1.5 if one.left else edge + 1.5, height - 0.35 * _SIZE, one.name
            )
        canvas.setFont(REGULAR, _SIZE)
        canvas.setFillColor(INK)
        self._draw_sides(view, left, wide)

    def _draw_sides(self, view: View, left: float, wide: float) -> None:
        """Words at the lower corners; beside the middle where the view is too narrow for them."""
        canvas, (first, second) = self.canv, view.sides
        if canvas.stringWidth(f"{first} {second}", REGULAR, _SIZE) < wide:
            canvas.drawString(left + 1, _LEGEND + 2, first)
            canvas.drawRightString(left + wide - 1, _LEGEND + 2, second)
        else:
            canvas.drawRightString(left + wide / 2 - 3, _LEGEND + 2, first)
            canvas.drawString(left + wide / 2 + 3, _LEGEND + 2, second)

    def _draw_legend(self) -> None:
        canvas, base = self.canv, 2.0
        canvas.setFont(REGULAR, _SIZE)
        canvas.setFillColor(INK)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1.2)
        start, bar = self._beside, 100 * self._scale
        canvas.line(start, base + 3, start + bar, base + 3)
        canvas.drawString(start + bar + 4, base, "10 cm")
        if not self._grey_scale:
            return
        start = self.width - self._beside - 40
        canvas.drawRightString(start - 3, base, "SUV 0")
        for i in range(_GREYS):
            canvas.setFillGray(1 - i / (_GREYS - 1))
            canvas.rect(start + 1.2 * i, base, 1.2, 7, stroke=0, fill=1)
        canvas.setLineWidth(0.3)
        canvas.rect(start, base, 1.2 * _GREYS, 7, fill=0)
        canvas.setFillColor(INK)
        canvas.drawString(start + 1.2 * _GREYS + 3, base, self._locale.decimal(SUV_BLACK, 0))


def views(content: ReportContent, locale: Locale) -> list[View]:
    """The front view and the left view of a case."""
    _ = locale.text
    pet, box = content.study.pet, body_box(content.study.pet)
    suv, lesions = to_isotropic_pair(pet, content.prediction.lesion_labels, box)
    foci = doubtful_foci(content)
    left_out = None if foci is None else to_isotropic_pair(pet, foci, box)[1]
    lettered = letters(content.prediction.components)
    largest = sorted(content.prediction.quantities.lesions, key=lambda one: -one.mtv_ml)[:NAMED]
    made = []
    for direction, sides in ((CORONAL, (_("R"), _("L"))), (SAGITTAL, (_("front"), _("back")))):
        frame = Frame(direction, box, PIXELS_PER_MM)
        picture = inverted_grey(enlarge(project_maximum(suv, direction), frame.size) / SUV_BLACK)
        masks = {str(number): mask for number, mask in project_masks(lesions, frame).items()}
        doubtful = {lettered[focus]: mask for focus, mask in project_masks(left_out, frame).items()}
        names = [*doubtful, *(str(one.id) for one in largest if str(one.id) in masks)]
        masks |= doubtful
        lines = {name: outlines(mask, suv.spacing[0] * frame.scale) for name, mask in masks.items()}
        made.append(View(frame, jpeg(picture), lines, {name: anchor(masks[name]) for name in names}, sides))
    return made


def doubtful_foci(content: ReportContent) -> Volume | None:
    """Label volume of what was left out by the reader, or is to be confirmed; None where there is nothing of it."""
    prediction = content.prediction
    shown = [one.id for one in prediction.components if not one.included and (one.switched or one.to_confirm)]
    if prediction.component_labels is None or not shown:
        return None
    labels = prediction.component_labels
    return labels.like(np.where(np.isin(labels.array, shown), labels.array, 0), labels.unit)


def jpeg(canvas: Canvas) -> ImageReader:
    """A canvas as a picture that ReportLab embeds as JPEG."""
    data = BytesIO()
    to_image(canvas).save(data, "JPEG", quality=_QUALITY, subsampling=0)
    data.seek(0)
    return ImageReader(data)


def draw_outlines(canvas: Any, lines: Sequence[Points], ink: Color, *, dashed: bool) -> None:  # noqa: ANN401  ReportLab's canvas, which has no types
    """Draw outlines (points, y upwards) in a colour on a light edge: legible in grey; what is left out is dashed."""
    for colour, width in ((white, 2.2), (ink, 1.0)):
        canvas.setStrokeColor(colour)
        canvas.setLineWidth(width)
        canvas.setDash([2.2, 1.6] if dashed and colour is ink else [])
        for line in lines:
            path = canvas.beginPath()
            path.moveTo(*line[0])
            for point in line[1:]:
                path.lineTo(*point)
            path.close()
            canvas.drawPath(path, stroke=1, fill=0)
    canvas.setDash([])


def hatch(canvas: Any, lines: Sequence[Points]) -> None:  # noqa: ANN401  ReportLab's canvas, which has no types
    """Fill closed lines (points, y upwards) with stripes, black on white, legible on every ground."""
    if not lines:
        return
    canvas.saveState()
    path = canvas.beginPath()
    for line in lines:
        path.moveTo(*line[0])
        for point in line[1:]:
            path.lineTo(*point)
        path.close()
    canvas.clipPath(path, stroke=0, fill=0)
    everything = np.concatenate(lines)
    (left, low), (right, high) = everything.min(axis=0), everything.max(axis=0)
    for colour, width in ((white, 1.1), (black, 0.5)):
        canvas.setStrokeColor(colour)
        canvas.setLineWidth(width)
        for start in np.arange(left - (high - low), right, _STRIPES):
            canvas.line(start, low, start + high - low, high)
    canvas.restoreState()


def ink_of(name: str) -> Color:
    """The colour of a lesion, by its number; black for the letter of what is left out."""
    return Color(*lesion_colour(int(name))) if name.isdigit() else INK
