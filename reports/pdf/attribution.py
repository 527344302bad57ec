"""The attribution map: a projection and the slices that weigh most; outlines, numbers and hatching as vectors.

Colour says in which direction an area acts; so does the hatching of what lowers the risk, for a print in grey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from reportlab.lib.units import mm
from reportlab.platypus import Flowable

from explain.figures.drawing import diverging, enlarge, inverted_grey
from explain.figures.panels import PanelStyle, project_masks, to_isotropic_pair
from explain.figures.projections import CORONAL, Frame, body_box, project_maximum, to_isotropic
from reports.pdf.key_slices import TILE, Tile, TileDrawing, cut, hottest_mm, square_around
from reports.pdf.outlines import anchor, outlines
from reports.pdf.projections import PIXELS_PER_MM, SUV_BLACK, Projections, View, hatch, jpeg
from reports.pdf.style import INK, REGULAR, WIDTH
from reports.pdf.tagging import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from explain.explanation import Explanation
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.pdf.outlines import Points

_TILES, _ACROSS = 6, 3  # lesions shown at most, and in a row
_TILE = 39 * mm
_GAP = 2 * mm
_LEAST = 62 * mm  # height of the projection
_KEY = 13.0  # points below the pictures, for the key
_HATCHED = 0.06  # of the attribution at the end of the colour scale: a quarter of its strength
_SIZE = 8.5  # points, of the key
_STEPS = 24  # of a colour scale
_PALE = 0.4  # of the PET below the map


def attribution_figure(content: ReportContent, found: Explanation, alternative: str, locale: Locale) -> Flowable:
    """The map of a reliable explanation."""
    style = PanelStyle(SUV_BLACK, (-160.0, 240.0), found.attribution)
    shares = {number: share for number, share in found.lesion_share.items() if number}
    shown = sorted(shares, key=lambda number: (-shares[number], number))[:_TILES]
    drawn = [TileDrawing(_tile(number, content, found, style, locale)) for number in shown]
    return Figure(_Map(_projection(shown, content, found, style, locale), drawn, locale), alternative)


class _Map(Flowable):
    """The projection, beside it the tiles, below them the key."""

    def __init__(self, view: View, drawn: Sequence[TileDrawing], locale: Locale) -> None:
        super().__init__()
        self._drawn, self._locale = drawn, locale
        rows = -(-len(drawn) // _ACROSS)
        beside = WIDTH - (_ACROSS * (_TILE + _GAP) if drawn else 0)
        tall = max(rows * (_TILE + _GAP), _LEAST)
        self._projection = Projections([view], locale, width=beside - _GAP, height=tall, grey_scale=False)
        self.width, self.height = WIDTH, max(self._projection.height, rows * (_TILE + _GAP)) + _KEY

    def wrap(self, _available_width: float, _available_height: float) -> tuple[float, float]:
        """Its size."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw everything from the upper left corner."""
        self._projection.drawOn(self.canv, 0, self.height - self._projection.height)
        left = self.width - _ACROSS * (_TILE + _GAP) + _GAP
        for place, tile in enumerate(self._drawn):
            row, column = divmod(place, _ACROSS)
            self.canv.saveState()
            self.canv.translate(left + column * (_TILE + _GAP), self.height - row * (_TILE + _GAP) - _TILE)
            self.canv.scale(_TILE / TILE, _TILE / TILE)
            tile.drawOn(self.canv, 0, 0)
            self.canv.restoreState()
        self._draw_key()

    def _draw_key(self) -> None:
        """The colour scale from what lowers the risk, hatched, to what raises it."""
        canvas, _ = self.canv, self._locale.text
        canvas.setFont(REGULAR, _SIZE)
        canvas.setFillColor(INK)
        lowers, wide = _("lowers the risk, hatched"), 3.0 * _STEPS
        canvas.drawString(0, 2, lowers)
        start = canvas.stringWidth(lowers, REGULAR, _SIZE) + 4
        for step, colour in enumerate(diverging(np.linspace(-1, 1, _STEPS, dtype=np.float32))):
            canvas.setFillColorRGB(*(float(part) for part in colour))
            canvas.rect(start + 3.0 * step, 1, 3.0, 8, stroke=0, fill=1)
        half = start + wide / 2
        hatch(canvas, [np.array([[start, 1.0], [half, 1.0], [half, 9.0], [start, 9.0]])])
        canvas.setFillColor(INK)
        canvas.drawString(start + wide + 4, 2, _("raises the risk"))


def _lowering(signed: NDArray[np.float32], style: PanelStyle, voxel: float) -> list[Points]:
    return outlines(signed < -_HATCHED * style.strength, voxel)


def _projection(
    shown: Sequence[int], content: ReportContent, found: Explanation, style: PanelStyle, locale: Locale
) -> View:
    """The front view: of the largest absolute attribution on each line of sight, over a pale PET."""
    _ = locale.text
    pet = content.study.pet
    frame = Frame(CORONAL, body_box(pet), PIXELS_PER_MM)
    suv, lesions = to_isotropic_pair(pet, content.prediction.lesion_labels, frame.box)
    signed = to_isotropic(found.attribution, frame.box, suv.spacing[0], outside=0.0)
    up, down = (project_maximum(signed.like(sign * signed.array, "1"), CORONAL) for sign in (1.0, -1.0))
    strongest = enlarge(np.where(up >= down, up, -down), frame.size)
    ground = inverted_grey(_PALE * enlarge(project_maximum(suv, CORONAL), frame.size) / SUV_BLACK)
    masks = {str(number): mask for number, mask in project_masks(lesions, frame).items()}
    voxel = suv.spacing[0] * frame.scale
    return View(
        frame,
        jpeg(style.overlay(ground, strongest)),
        {name: outlines(mask, voxel) for name, mask in masks.items()},
        {str(number): anchor(masks[str(number)]) for number in shown if str(number) in masks},
        (_("R"), _("L")),
        _lowering(strongest, style, voxel),
    )


def _tile(number: int, content: ReportContent, found: Explanation, style: PanelStyle, locale: Locale) -> Tile:
    """The slice through the hottest voxel of a lesion, as among the key slices, with the map over the CT."""
    _ = locale.text
    study, labels = content.study, content.prediction.lesion_labels
    point = hottest_mm(study.pet, labels, number)
    frame = square_around(labels, number, point)
    hu = None if study.ct is None else frame.slice(study.ct, point, outside=-1000.0)
    signed = frame.slice(found.attribution, point, outside=0.0)
    ground = style.background(frame.slice(study.pet, point, outside=0.0), hu)
    voxel = max(study.pet.spacing[:2]) * frame.scale
    lines = {str(one): outlines(mask, voxel) for one, mask in cut(frame, labels, point).items()}
    return Tile(
        jpeg(style.overlay(ground, signed)),
        str(number),
        lines,
        (_("R"), _("L")),
        50.0 * frame.scale,
        _lowering(signed, style, voxel),
    )
