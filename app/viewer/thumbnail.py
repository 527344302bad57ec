"""The small picture of a case for lists: its projection from the front, as the viewer stores it."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from app.viewer.description import has_images, read_description

if TYPE_CHECKING:
    from pathlib import Path

_SUV = 10.0  # of the darkest grey
_HEIGHT = 96  # pixels


def thumbnail(folder: Path) -> str:
    """A PNG as a data URL, inverted grey from SUV 0 to 10 (without SUV, over the range); "" without images.

    Args:
        folder: of the case.
    """
    path = folder / "mip.bin"
    if not has_images(folder) or not path.is_file():
        return ""
    description = read_description(folder)
    mip = description["mip"]
    first = np.fromfile(path, np.uint8, count=mip["height"] * mip["width"])
    if first.size < mip["height"] * mip["width"]:
        return ""
    high = _SUV if description["quantity"] == "SUV" else 255.0 * mip["scale"]
    grey = 255.0 * (1.0 - np.minimum(first.reshape(mip["height"], mip["width"]) * mip["scale"] / high, 1.0))
    picture = Image.fromarray(grey.astype(np.uint8))
    picture.thumbnail((_HEIGHT, _HEIGHT))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{b64encode(out.getvalue()).decode()}"
