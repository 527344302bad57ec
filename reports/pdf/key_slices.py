"""A tile for each lesion: the slice through its hottest voxel, fused and on the CT, outlines and numbers as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from reportlab.lib.colors import black, white
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Spacer, Table

from explain.figures.panels import PanelStyle
from explain.figures.projections import AXIAL, BoundingBox, Frame
from fedpet.core.messages import Message
from reports.lesion_numbers import letters
from reports.pdf.outlines import outlines
from reports.pdf.projections import doubtful_foci, draw_outlines, hatch, ink_of, jpeg
from reports.pdf.style import BOLD, WIDTH, Heading, cell_style, paragraph
from reports.pdf.tagging import LAYOUT, Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reportlab.lib.utils import ImageReader

    from explain.figures.drawing import Canvas, Mask
    from fedpet.imaging.lesions.lesion import Lesion
    from fedpet.imaging.volume import Point, Volume
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.pdf.outlines import Points

TILE = 43 * mm
_GAP = 2 * mm
_FIELD_MM, _AROUND = 150.0, 2.0  # of a tile: at least, and times the extent of the lesion
_KEY_FIELD_MM = 260.0  # of the tile of a key image
_PIXELS = 380
_WINDOW = (-160.0, 240.0)  # HU
_SUV_TOP = 10.0
_AIR_HU = -1000.0
_SIZE = 8.5  # points, of what is written on a tile


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture of a lesion; outlines are in pixels from the upper left corner.

    Attributes:
        picture: of the slice.
        name: number of the lesion, or of the key image.
        outlines: of what the slice cuts, by number or letter.
        sides: letters at the left and at the right edge.
        bar: length of 5 cm, pixels.
        hatched: outlines of the area that is hatched.
    """

    picture: ImageReader
    name: str
    outlines: Mapping[str, Sequence[Points]]
    sides: tuple[str, str]
    bar: float
    hatched: Sequence[Points] = ()


class TileDrawing(Flowable):
    """A tile on paper."""

    def __init__(self, tile: Tile) -> None:
        super().__init__()
        self.tile, self.width, self.height = tile, TILE, TILE

    def wrap(self, _available_width: float, _available_height: float) -> tuple[float, float]:
        """Its size."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw the picture, the outlines, the number, the sides and the scale."""
        canvas, tile, factor = self.canv, self.tile, TILE / _PIXELS
        canvas.drawImage(tile.picture, 0, 0, TILE, TILE)
        clip = canvas.beginPath()
        clip.rect(0, 0, TILE, TILE)
        canvas.saveState()
        canvas.clipPath(clip, stroke=0, fill=0)
        hatch(canvas, self._placed(tile.hatched))
        for name, lines in tile.outlines.items():
            draw_outlines(canvas, self._placed(lines), ink_of(name), dashed=name != tile.name)
        canvas.restoreState()
        canvas.setStrokeColor(white)
        canvas.setLineWidth(1.2)
        canvas.line(TILE - 4 - tile.bar * factor, 5, TILE - 4, 5)
        self._write(3, TILE - 10, tile.name, size=10)
        self._write(3, TILE / 2, tile.sides[0])
        self._write(TILE - 3, TILE / 2, tile.sides[1], right=True)
        self._write(TILE - 4, 8, "5 cm", right=True)

    def _placed(self, lines: Sequence[Points]) -> list[Points]:
        factor = TILE / _PIXELS
        return [np.column_stack([line[:, 0] * factor, TILE - line[:, 1] * factor]) for line in lines]

    def _write(self, x: float, y: float, text: str, *, size: float = _SIZE, right: bool = False) -> None:
        """White on black, so that it is read on anything."""
        canvas = self.canv
        wide = canvas.stringWidth(text, BOLD, size)
        left = x - wide if right else x
        canvas.setFillColor(black)
        canvas.rect(left - 1, y - 0.22 * size, wide + 2, 1.1 * size, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont(BOLD, size)
        canvas.drawString(left, y, text)


def key_slices(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Two tiles for each lesion, two lesions in a row; nothing where there is no lesion."""
    lesions = content.prediction.quantities.lesions
    if not lesions:
        return []
    _ = locale.text
    explained = _(
        "The slice through the hottest voxel of each lesion, fused and CT alone. Solid: the lesion named;"
        " dashed: others."
    )
    if content.study.ct is None:
        explained = _("The slice of the PET through the hottest voxel of each lesion. Solid: the lesion named;"
                      " dashed: others.")  # fmt: skip
    return _section(_("Key slices"), explained, [_lesion(lesion, content, locale) for lesion in lesions])


def key_images(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The slices that the reader kept, in the order in which they were kept; nothing where there is none."""
    _ = locale.text
    points = () if content.verdict is None else content.verdict.key_points
    if not points:
        return []
    cells = [_key_image(place, np.array(point), content, locale) for place, point in enumerate(points, start=1)]
    return _section(_("The reader's key images"), _("Axial slices through the points that the reader kept."), cells)


def _section(title: str, explained: str, cells: list[list[Flowable]]) -> list[Flowable]:
    """A heading and two cells in a row."""
    tables: list[Flowable] = [_row(cells[i : i + 2]) for i in range(0, len(cells), 2)]
    first = KeepTogether([Heading(title), paragraph(explained, "quiet"), Spacer(0, 1.5 * mm), tables[0]])
    return [first, *tables[1:]]


def _key_image(place: int, point: Point, content: ReportContent, locale: Locale) -> list[Flowable]:
    where = " · ".join(locale.decimal(float(x), 0) for x in point)
    said = Message("★{place} · {where} mm (left, back, up)", place=place, where=where)
    half = _KEY_FIELD_MM / 2
    frame = Frame(AXIAL, BoundingBox(point - half, point + half), _PIXELS / _KEY_FIELD_MM)
    pictures = [TileDrawing(tile) for tile in _tiles(frame, point, f"★{place}", content, locale)]
    drawn = Figure(_Row(pictures), locale.translate(Message("Key image of the reader: {what}", what=said)))
    return [paragraph(locale.translate(said), "small"), drawn]


def _row(cells: list[list[Flowable]]) -> Table:
    return Table(
        [[*cells, *[[Spacer(0, 0)]] * (2 - len(cells))]],
        colWidths=[WIDTH / 2] * 2,
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[("VALIGN", (0, 0), (-1, -1), "TOP"), *cell_style(horizontal=0, vertical=3)],
    )


def _lesion(lesion: Lesion, content: ReportContent, locale: Locale) -> list[Flowable]:
    site = locale.translate(lesion.place)
    said = Message(
        "{number} · {site} · SUVmax {suv} · {volume} ml",
        number=lesion.id,
        site=site,
        suv=locale.decimal(lesion.suv_max),
        volume=locale.decimal(lesion.mtv_ml),
    )
    alternative = Message(
        "Axial slice through lesion {number}, {site}, outlined: {kind}.",
        number=lesion.id,
        site=site,
        kind=Message("PET over CT, then CT alone") if content.study.ct is not None else Message("PET"),
    )
    pictures = [TileDrawing(tile) for tile in tiles(lesion, content, locale)]
    drawn = Figure(_Row(pictures), locale.translate(alternative))
    return [paragraph(locale.translate(said), "small"), drawn]


class _Row(Flowable):
    """Tiles beside each other."""

    def __init__(self, drawn: Sequence[TileDrawing]) -> None:
        super().__init__()
        self._drawn = drawn
        self.width, self.height = len(drawn) * (TILE + _GAP) - _GAP, TILE

    def wrap(self, _available_width: float, _available_height: float) -> tuple[float, float]:
        """Its size."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw them from the left."""
        for place, tile in enumerate(self._drawn):
            tile.drawOn(self.canv, place * (TILE + _GAP), 0)


def tiles(lesion: Lesion, content: ReportContent, locale: Locale) -> list[Tile]:
    """The fused tile and that of the CT; without a CT, one of the PET."""
    labels = content.prediction.lesion_labels
    point = hottest_mm(content.study.pet, labels, lesion.id)
    return _tiles(square_around(labels, lesion.id, point), point, str(lesion.id), content, locale)


def _tiles(frame: Frame, point: Point, name: str, content: ReportContent, locale: Locale) -> list[Tile]:
    """The plane of the frame through a point, fused and on the CT; without a CT, the PET."""
    _ = locale.text
    study, labels = content.study, content.prediction.lesion_labels
    named = {str(number): mask for number, mask in cut(frame, labels, point).items()}
    foci, lettered = doubtful_foci(content), letters(content.prediction.components)
    if foci is not None:
        named |= {lettered[focus]: mask for focus, mask in cut(frame, foci, point).items()}
    lines = {name: outlines(mask, max(study.pet.spacing[:2]) * frame.scale) for name, mask in named.items()}
    style = PanelStyle(_SUV_TOP, _WINDOW, None)
    suv = frame.slice(study.pet, point, outside=0.0)
    hu = None if study.ct is None else frame.slice(study.ct, point, outside=_AIR_HU)
    pictures: list[Canvas] = [style.background(suv, hu)]
    if hu is not None:
        low, high = _WINDOW
        pictures.append(np.repeat(np.clip((hu - low) / (high - low), 0.0, 1.0)[..., None], 3, axis=-1))
    sides = (_("R"), _("L"))
    return [Tile(jpeg(one), name, lines, sides, 50.0 * frame.scale) for one in pictures]


def hottest_mm(pet: Volume, labels: Volume, number: int) -> Point:
    """LPS mm of the hottest voxel of a lesion."""
    voxels = np.flatnonzero(labels.array == number)
    hottest = voxels[np.argmax(pet.array.ravel()[voxels])]
    return pet.to_mm(np.array(np.unravel_index(hottest, pet.shape), float))


def square_around(labels: Volume, number: int, point: Point) -> Frame:
    """A square around the lesion in the plane of the point; at its edges a little empty where the scan ends."""
    where = np.argwhere(labels.array == number)
    corners = np.array([labels.to_mm(corner.astype(float)) for corner in (where.min(axis=0), where.max(axis=0))])
    extent = float(np.abs(np.diff(corners, axis=0))[0, :2].max())
    half = max(_FIELD_MM, _AROUND * extent) / 2
    middle = np.where([True, True, False], corners.mean(axis=0), point)
    low, high = middle - half, middle + half
    return Frame(AXIAL, BoundingBox(low, high), _PIXELS / (2 * half))


def cut(frame: Frame, labels: Volume, point: Point) -> dict[int, Mask]:
    """What the plane cuts of each label, (height, width)."""
    plane = frame.slice(labels, point, outside=0.0, nearest=True)
    return {int(number): plane == number for number in np.unique(plane) if number}
