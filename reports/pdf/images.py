"""Figures in a PDF: Pillow images embedded as JPEG, fitted into a box without distortion."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from reportlab.platypus import Image

from reports.pdf.tagging import Figure

if TYPE_CHECKING:
    from PIL import Image as Pillow

_QUALITY = 88


def embed_image(figure: Pillow.Image, alt: str, *, width: float, height: float) -> Figure:
    """The figure, as large as fits into `width` x `height` points; `alt` is its text for screen readers."""
    data = BytesIO()
    figure.convert("RGB").save(data, "JPEG", quality=_QUALITY, subsampling=0)
    data.seek(0)
    scale = min(width / figure.width, height / figure.height)
    return Figure(Image(data, width=scale * figure.width, height=scale * figure.height), alt, align="CENTER")
