"""The image viewer: a Streamlit component on 2D canvases, and the volumes it reads."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import streamlit as st

from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

_folder = resources.files(__name__)
_component = st.components.v2.component(
    "fedpet_viewer", js=(_folder / "viewer.js").read_text(), css=(_folder / "viewer.css").read_text()
)

LABELS: Mapping[str, Message] = {
    "viewer": Message("PET/CT images"),
    "mode": Message("Images shown"),
    "mode_fused": Message("Fusion"),
    "mode_pet": Message("PET"),
    "mode_ct": Message("CT"),
    "mode_grid": Message("3 × 3"),
    "fused": Message("Fusion"),
    "pet": Message("PET"),
    "ct": Message("CT"),
    "axial": Message("Axial"),
    "coronal": Message("Coronal"),
    "sagittal": Message("Sagittal"),
    "projection": Message("Maximum intensity projection"),
    "angle": Message("Angle of the projection"),
    "play": Message("Turn"),
    "pause": Message("Stop"),
    "window": Message("CT window"),
    "window_soft": Message("soft tissue"),
    "window_lung": Message("lung"),
    "window_bone": Message("bone"),
    "window_liver": Message("liver"),
    "palette": Message("PET colours"),
    "palette_grey": Message("inverted grey"),
    "palette_hot": Message("hot"),
    "from": Message("from"),
    "to": Message("to"),
    "opacity": Message("PET opacity"),
    "saliency_opacity": Message("Influence map"),
    "saliency_threshold": Message("Influence from"),
    "contours": Message("Lesion contours"),
    "reset": Message("Reset the view"),
    "position": Message("Position"),
    "hu": Message("HU"),
    "saliency": Message("Influence"),
    "lesion": Message("Lesion"),
    "lesions": Message("Lesions"),
    "no_lesion": Message("No lesion was delineated."),
    "jump": Message("Show this lesion"),
    "legend_pet": Message("PET, fused"),
    "legend_raises": Message("raises the predicted risk"),
    "legend_lowers": Message("lowers the predicted risk"),
    "loading": Message("Loading the images"),
    "failed": Message("The images could not be loaded. Reload the page."),
    "help": Message("How to use the viewer"),
    "mouse": Message(
        "Mouse: click or drag to move the crosshair, wheel to change the slice, Ctrl + wheel to zoom, right button to "
        "move the image, double click to reset."
    ),
    "keys": Message(
        "Keyboard: arrows move the crosshair (Shift: five voxels), Page up and Page down change the slice, + and − "
        "zoom, 0 resets."
    ),
}


def show_viewer(key: str, **data: Any) -> None:
    """Mount the viewer; `data` is described in docs/app.md."""
    _component(key=key, data=data)
