"""Drawing on images of known scale: colour maps, lesion outlines, numbers beside them, colour bars.

Canvases are float32 arrays (height, width, 3) with values from 0 to 1; text is drawn on the finished Pillow image.
"""

from __future__ import annotations

from colorsys import hls_to_rgb
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Canvas = NDArray[np.float32]
    Mask = NDArray[np.bool_]
    Colour = tuple[float, float, float]
    _Rectangle = tuple[float, float, float, float]  # left, top, right, bottom
    Palette = Callable[[NDArray[np.float32]], Canvas]

# Green, blue, vermilion, purple, orange, sky blue: distinct with every type of colour vision (Okabe and Ito, 2008), and
# visible on white, on grey and (the first ones) on hot iron.
LESION_COLOURS: tuple[Colour, ...] = (
    (0.00, 0.66, 0.48),
    (0.05, 0.50, 0.85),
    (0.89, 0.37, 0.00),
    (0.83, 0.45, 0.66),
    (0.92, 0.64, 0.00),
    (0.34, 0.72, 0.92),
)
_GOLDEN = 0.6180339887  # of a turn
WARNING: Colour = LESION_COLOURS[2]
WHITE: Colour = (1.0, 1.0, 1.0)
BLACK: Colour = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Legend:
    """One colour scale: the palette from `low` to 1 with a text at each end."""

    palette: Palette
    left: str
    right: str
    low: float = 0.0


def lesion_colour(label: int) -> Colour:
    """The colour of a lesion, the same in every figure and in the viewer.

    Args:
        label: number of the lesion, from 1.

    Returns:
        Red, green, blue from 0 to 1. The first six are distinct with every colour vision; those that follow go round
        the hues by the golden angle, in turn lighter and darker, so that no two lesions have the same colour.
    """
    if label <= len(LESION_COLOURS):
        return LESION_COLOURS[label - 1]
    turn = (label * _GOLDEN) % 1.0
    return hls_to_rgb(turn, 0.62 if label % 2 else 0.42, 0.75)


def grey(x: NDArray[np.float32]) -> Canvas:
    """0 black, 1 white."""
    return np.repeat(np.clip(x, 0.0, 1.0)[..., None], 3, axis=-1)


def inverted_grey(x: NDArray[np.float32]) -> Canvas:
    """0 white, 1 black: how a PET is read."""
    return grey(1.0 - x)


def hot_iron(x: NDArray[np.float32]) -> Canvas:
    """Black, red, yellow, white (the Hot Iron palette of DICOM PS3.6 B.1.1)."""
    return np.stack([np.clip(2 * x, 0, 1), np.clip(2 * x - 1, 0, 1), np.clip(4 * x - 3, 0, 1)], axis=-1)


def diverging(x: NDArray[np.float32]) -> Canvas:
    """-1 pale cyan over blue, 0 dark, +1 pale yellow over vermilion: distinct with every type of colour vision."""
    stops = np.array([-1.0, -0.4, 0.0, 0.4, 1.0])
    red, green, blue = (0.70, 0.05, 0.15, 0.85, 1.0), (0.95, 0.45, 0.15, 0.30, 0.95), (1.0, 0.90, 0.15, 0.0, 0.45)
    return np.stack([np.interp(x, stops, channel) for channel in (red, green, blue)], axis=-1).astype(np.float32)


def blend(below: Canvas, above: Canvas, opacity: NDArray[np.float32]) -> Canvas:
    """`above` over `below`; opacity (height, width), 0 to 1."""
    return below + (above - below) * opacity[..., None]


def enlarge(image: NDArray[np.float32], size: tuple[int, int], *, smooth: bool = True) -> NDArray[np.float32]:
    """The image at (width, height) pixels; bicubic, or the nearest pixel where it is not to be smoothed."""
    filter_ = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(image, np.float32)).resize(size, filter_), np.float32)


def outline(canvas: Canvas, mask: Mask, colour: Colour, *, smooth: float, width: float) -> None:
    """Draw the border of a mask on the canvas, in place, smoothed and anti-aliased.

    Args:
        canvas: (height, width, 3), changed.
        mask: (height, width).
        colour: red, green, blue, 0 to 1.
        smooth: standard deviation of the smoothing of the mask's steps, pixels.
        width: width of the line, pixels.
    """
    if not mask.any():
        return
    crop = _box(mask, pad=int(4 * smooth + width) + 2)
    soft = ndimage.gaussian_filter(mask[crop].astype(np.float32), smooth, mode="nearest")
    level = min(0.5, 0.5 * float(soft.max()))  # a lesion narrower than the smoothing keeps its border
    slope = np.hypot(*np.gradient(soft))
    distance = np.abs(soft - level) / np.maximum(slope, 1e-3)
    part = canvas[crop]
    for extra, ink in ((1.0, (0.0, 0.0, 0.0) if canvas.mean() < 0.5 else (1.0, 1.0, 1.0)), (0.0, colour)):
        opacity = np.clip(width / 2 + extra + 0.5 - distance, 0.0, 1.0) * np.where(extra, 0.6, 1.0)
        part[:] = blend(part, np.array(ink, np.float32), opacity.astype(np.float32))


def _box(mask: Mask, *, pad: int) -> tuple[slice, slice]:
    """Bounding box of a mask that is not empty, enlarged by `pad` and kept inside."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - pad), int(rows[-1]) + 1 + pad),
        slice(max(0, int(columns[0]) - pad), int(columns[-1]) + 1 + pad),
    )


def font(size: float) -> ImageFont.FreeTypeFont:
    """Pillow's own font (ASCII only), so that figures are the same on every machine.

    Raises:
        OSError: Pillow was built without FreeType.
    """
    default = ImageFont.load_default(size)
    if not isinstance(default, ImageFont.FreeTypeFont):
        raise OSError("Pillow was built without FreeType")
    return default


def write(
    image: Image.Image, xy: tuple[float, float], text: str, *, size: float, ink: Colour, halo: Colour, anchor: str
) -> None:
    """Text with a halo that keeps it readable on anything. `anchor` as in Pillow, for example "mm"."""
    ImageDraw.Draw(image).text(
        xy,
        text,
        fill=_rgb(ink),
        font=font(size),
        anchor=anchor,
        stroke_width=max(1, round(size / 10)),
        stroke_fill=_rgb(halo),
    )


def number_lesions(image: Image.Image, masks: Mapping[int, Mask], *, size: float, ink: Colour, halo: Colour) -> None:
    """Write each lesion's number beside its mask, where it covers no other number; legible in grey."""
    placed: list[_Rectangle] = []
    for label, mask in masks.items():
        width, height = font(size).getlength(str(label)), 0.75 * size
        box_of_number = min(
            _candidate_boxes(mask, width, height, gap=0.4 * size), key=lambda box: _overlap(box, placed, image.size)
        )
        placed.append(box_of_number)
        centre = ((box_of_number[0] + box_of_number[2]) / 2, (box_of_number[1] + box_of_number[3]) / 2)
        write(image, centre, str(label), size=size, ink=ink, halo=halo, anchor="mm")


def _candidate_boxes(mask: Mask, width: float, height: float, *, gap: float) -> Iterable[_Rectangle]:
    """Boxes (left, top, right, bottom) for a text beside the mask, the best first."""
    rows, columns = _box(mask, pad=0)
    x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    reach_x, reach_y = (columns.stop - columns.start + width) / 2, (rows.stop - rows.start + height) / 2
    for times in (1.0, 2.5, 4.0):
        for right, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)):
            cx, cy = x + right * (reach_x + times * gap), y + down * (reach_y + times * gap)
            yield cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _overlap(box: _Rectangle, placed: Iterable[_Rectangle], size: tuple[int, int]) -> float:
    """Area of `box` that covers other boxes or lies outside the image, pixels^2."""
    left, top, right, bottom = box
    inside = max(0.0, min(right, size[0]) - max(left, 0.0)) * max(0.0, min(bottom, size[1]) - max(top, 0.0))
    outside = (right - left) * (bottom - top) - inside
    return outside + sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in placed
    )


def legends(image: Image.Image, bars: Sequence[Legend], *, top: float, ink: Colour, halo: Colour, warning: str) -> None:
    """Draw the colour scales in a row below `top`, and a warning at the right."""
    middle = (top + image.height) / 2
    size = 0.42 * (image.height - top)
    bar_width, bar_height = min(220, image.width // 6), round(0.4 * (image.height - top))
    draw, face = ImageDraw.Draw(image), font(size)
    x = float(size)
    for bar in bars:
        write(image, (x, middle), bar.left, size=size, ink=ink, halo=halo, anchor="lm")
        x += draw.textlength(bar.left, font=face) + size / 2
        colours = bar.palette(np.linspace(bar.low, 1.0, bar_width, dtype=np.float32))
        corner = (round(x), round(middle - bar_height / 2))
        image.paste(to_image(np.repeat(colours[None], bar_height, axis=0)), corner)
        draw.rectangle((*corner, corner[0] + bar_width, corner[1] + bar_height), outline=_rgb(ink))
        x += bar_width + size / 2
        write(image, (x, middle), bar.right, size=size, ink=ink, halo=halo, anchor="lm")
        x += draw.textlength(bar.right, font=face) + 2 * size
    write(image, (image.width - size, middle), warning, size=size, ink=WARNING, halo=halo, anchor="rm")


def scale_bar(image: Image.Image, scale: float, *, size: float, ink: Colour, halo: Colour) -> None:
    """A bar of 5 cm at the lower left; `scale` in pixels per mm."""
    left, bottom, length = 10.0, image.height - 10.0, 50.0 * scale
    draw = ImageDraw.Draw(image)
    draw.line((left, bottom, left + length, bottom), fill=_rgb(ink), width=3)
    write(image, (left + length / 2, bottom - 5), "5 cm", size=size, ink=ink, halo=halo, anchor="mb")


def crosshair(canvas: Canvas, pixel: tuple[float, float], ink: Colour) -> None:
    """Mark a pixel (x, y) by four lines that leave it free, in place."""
    height, width = canvas.shape[:2]
    column, row = (int(np.clip(value, 0, limit - 1)) for value, limit in zip(pixel, (width, height), strict=True))
    gap = max(8, min(height, width) // 25)
    for line in (
        (row, slice(0, max(0, column - gap))),
        (row, slice(column + gap, width)),
        (slice(0, max(0, row - gap)), column),
        (slice(row + gap, height), column),
    ):
        canvas[line] = 0.5 * canvas[line] + 0.5 * np.array(ink, np.float32)


def to_image(canvas: Canvas) -> Image.Image:
    """The canvas as an 8-bit RGB image."""
    return Image.fromarray((np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in colour)
    return red, green, blue
