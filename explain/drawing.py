"""Drawing on images of known scale: colour maps, lesion outlines, numbers beside them, colour bars.

Canvases are float32 arrays (height, width, 3) with values from 0 to 1; text is drawn on the finished Pillow image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    Canvas = NDArray[np.float32]
    Mask = NDArray[np.bool_]
    Colour = tuple[float, float, float]
    Palette = Callable[[NDArray[np.float32]], Canvas]

# Vermilion, blue, green, purple, orange, sky blue: told apart with every colour vision (Okabe and Ito, 2008), and
# visible on white as on black.
LESION_COLOURS: tuple[Colour, ...] = (
    (0.89, 0.37, 0.00),
    (0.05, 0.50, 0.85),
    (0.00, 0.66, 0.48),
    (0.83, 0.45, 0.66),
    (0.92, 0.64, 0.00),
    (0.34, 0.72, 0.92),
)


def lesion_colour(label: int) -> Colour:
    """The colour of a lesion, the same in every figure."""
    return LESION_COLOURS[(label - 1) % len(LESION_COLOURS)]


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
    """-1 pale cyan over blue, 0 dark, +1 pale yellow over vermilion: told apart with every colour vision."""
    stops = np.array([-1.0, -0.4, 0.0, 0.4, 1.0])
    red, green, blue = (0.70, 0.05, 0.15, 0.85, 1.0), (0.95, 0.45, 0.15, 0.30, 0.95), (1.0, 0.90, 0.15, 0.0, 0.45)
    return np.stack([np.interp(x, stops, channel) for channel in (red, green, blue)], axis=-1).astype(np.float32)


def blend(below: Canvas, above: Canvas, opacity: NDArray[np.float32]) -> Canvas:
    """`above` over `below`; opacity (height, width), 0 to 1."""
    return below + (above - below) * opacity[..., None]


def enlarge(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The image at (width, height) pixels, bicubic."""
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), np.float32)


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
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise OSError("Pillow was built without FreeType")
    return found


def write(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *, size: float, ink: Colour, anchor: str) -> None:
    """Text with a halo of the opposite lightness. `anchor` as in Pillow, for example "mm"."""
    halo = (0, 0, 0) if sum(ink) > 1.2 else (255, 255, 255)
    draw.text(xy, text, fill=_rgb(ink), font=font(size), anchor=anchor, stroke_width=max(1, round(size / 12)), stroke_fill=halo)


def number_lesions(image: Image.Image, masks: Mapping[int, Mask], *, size: float, halo: tuple[int, int, int]) -> None:
    """Write each lesion's number beside its mask, where it covers no other number."""
    draw = ImageDraw.Draw(image)
    face = font(size)
    taken: list[tuple[float, float, float, float]] = []
    for label, mask in masks.items():
        text = str(label)
        width, height = draw.textlength(text, font=face), 0.75 * size
        box = min(_places(mask, width, height, gap=0.35 * size), key=lambda place: _clash(place, taken, image.size))
        taken.append(box)
        draw.text(
            ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            text,
            fill=_rgb(lesion_colour(label)),
            font=face,
            anchor="mm",
            stroke_width=max(2, round(size / 8)),
            stroke_fill=halo,
        )


def _places(mask: Mask, width: float, height: float, *, gap: float) -> Iterable[tuple[float, float, float, float]]:
    """Boxes (left, top, right, bottom) for a text beside the mask, the best first."""
    rows, columns = _box(mask, pad=0)
    x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    reach_x, reach_y = (columns.stop - columns.start + width) / 2, (rows.stop - rows.start + height) / 2
    for times in (1.0, 2.5, 4.0):
        for right, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)):
            cx, cy = x + right * (reach_x + times * gap), y + down * (reach_y + times * gap)
            yield cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _clash(
    box: tuple[float, float, float, float], taken: Iterable[tuple[float, float, float, float]], size: tuple[int, int]
) -> float:
    """Area of `box` that covers other boxes or lies outside the image, pixels^2."""
    left, top, right, bottom = box
    inside = max(0.0, min(right, size[0]) - max(left, 0.0)) * max(0.0, min(bottom, size[1]) - max(top, 0.0))
    outside = (right - left) * (bottom - top) - inside
    return outside + sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )


def colour_bar(
    image: Image.Image,
    box: tuple[int, int, int, int],
    palette: Palette,
    *,
    span: tuple[float, float],
    ticks: Mapping[float, str],
    caption: str,
    ink: Colour,
) -> None:
    """A vertical colour bar with its scale at the right of `box` (left, top, right, bottom) and the caption above.

    Args:
        image: changed.
        box: place of the coloured part, pixels.
        palette: colours of values, called with `span[0]` (bottom) to `span[1]` (top).
        span: values at the bottom and at the top.
        ticks: value -> text.
        caption: for example "SUV".
        ink: colour of frame and text.
    """
    left, top, right, bottom = box
    values = np.linspace(span[1], span[0], bottom - top, dtype=np.float32)
    strip = np.repeat(palette(values)[:, None], right - left, axis=1)
    image.paste(to_image(strip), (left, top))
    draw = ImageDraw.Draw(image)
    draw.rectangle((left, top, right, bottom), outline=_rgb(ink))
    size = max(11.0, 0.8 * (right - left))
    for value, text in ticks.items():
        y = bottom - (value - span[0]) / (span[1] - span[0]) * (bottom - top)
        draw.line((right, y, right + size / 3, y), fill=_rgb(ink))
        draw.text((right + size / 2, y), text, fill=_rgb(ink), font=font(size), anchor="lm")
    draw.text(((left + right) / 2, top - 0.7 * size), caption, fill=_rgb(ink), font=font(size), anchor="mb")


def to_image(canvas: Canvas) -> Image.Image:
    """The canvas as an 8-bit RGB image."""
    return Image.fromarray((np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in colour)
    return red, green, blue
