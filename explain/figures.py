"""Figures of a case for the report and the app: maximum intensity projections, fused slices, attribution.

Radiological convention, millimetres, no torch and no plotting library. Every figure is an RGB Pillow image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from explain.drawing import (
    blend,
    diverging,
    enlarge,
    grey,
    hot_iron,
    inverted_grey,
    legend,
    number_lesions,
    outline,
    lesion_colour,
    to_image,
    write,
)
from explain.views import AXIAL, CORONAL, SAGITTAL, Box, Frame, body_box, isotropic, projected
from fedpet.messages import translator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from explain.drawing import Canvas, Mask
    from explain.explanation import Explanation
    from fedpet.messages import Language
    from imaging.study import Study
    from imaging.volume import Point, Volume

_GAP = 6  # pixels between panels
_STRIP = 44  # pixels for the legends below the panels
_WHITE, _BLACK, _CROSS = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.35, 0.85, 0.35)
_NO_CT_HU = -1000.0


@dataclass(frozen=True, eq=False)
class _Panel:
    """One image of a figure: what it shows, and the lesions to draw on it."""

    frame: Frame
    canvas: Canvas
    masks: dict[int, Mask]
    smooth: float  # pixels
    cross: Point | None = None  # LPS mm
