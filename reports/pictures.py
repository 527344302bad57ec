"""Figures on paper: Pillow images embedded as JPEG, fitted into a box without distortion."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from reportlab.platypus import Image

from reports.tagging import Figure

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from imaging.lesions import Lesion, Quantities

_QUALITY = 88


def picture(figure: Pillow.Image, alt: str, *, width: float, height: float) -> Figure:
    """The figure as large as fits into `width` x `height` points; `alt` says what it shows."""
    data = BytesIO()
    figure.convert("RGB").save(data, "JPEG", quality=_QUALITY, subsampling=0)
    data.seek(0)
    scale = min(width / figure.width, height / figure.height)
    return Figure(Image(data, width=scale * figure.width, height=scale * figure.height), alt, align="CENTER")


def main_lesion(quantities: Quantities) -> Lesion | None:
    """The lesion of the largest volume, or None."""
    return max(quantities.lesions, key=lambda lesion: lesion.mtv_ml, default=None)
