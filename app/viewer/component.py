"""The image viewer: a Streamlit component on 2D canvases, and the volumes it reads."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import streamlit as st

from explain.figures.panels import LETTERS
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

_folder = resources.files("app.viewer") / "frontend"
_MODULES = (
    *(
        "dom",
        "volume",
        "colours",
        "windowing",
        "plane",
        "brush",
        "panel",
        "reading",
        "measures",
        "marks",
        "keys",
        "segment",
        "liver",
    ),
    *("projection", "loading", "controls", "lesions", "viewer"),
)
_LINKS = re.compile(r"^import .*\n|^export (?!default)", re.MULTILINE)


def script() -> str:
    """The modules of the viewer as one script, since Streamlit takes one; each comes after those that it imports."""
    return "\n".join(_LINKS.sub("", (_folder / f"{name}.js").read_text(encoding="utf-8")) for name in _MODULES)


_component = st.components.v2.component(
    "fedpet_viewer", js=script(), css=(_folder / "viewer.css").read_text(encoding="utf-8")
)

LABELS: Mapping[str, Message] = {
    "viewer": Message("PET/CT images"),
    "mode": Message("Images shown"),
    "mode_mip": Message("MIP first"),
    "mode_fused": Message("Fusion"),
    "mode_pet": Message("PET"),
    "mode_ct": Message("CT"),
    "mode_grid": Message("3 × 3"),
    "mode_dates": Message("Two dates"),
    "fused": Message("Fusion"),
    "pet": Message("PET"),
    "ct": Message("CT"),
    "axial": Message("Axial"),
    "coronal": Message("Coronal"),
    "sagittal": Message("Sagittal"),
    "projection": Message("Maximum intensity projection"),
    "turned": Message("Angle of the projection"),
    "play": Message("Turn"),
    "pause": Message("Stop"),
    "window": Message("CT window"),
    "window_soft": Message("soft tissue"),
    "window_lung": Message("lung"),
    "window_bone": Message("bone"),
    "window_liver": Message("liver"),
    "window_brain": Message("brain"),
    "palette": Message("PET colours"),
    "palette_grey": Message("inverted grey"),
    "palette_hot": Message("hot"),
    "from": Message("from"),
    "to": Message("to"),
    "opacity": Message("PET opacity"),
    "influence": Message("Influence map"),
    "saliency_opacity": Message("Opacity"),
    "saliency_threshold": Message("Influence from"),
    "contours": Message("Lesion contours"),
    "excluded": Message("Uptake not counted"),
    "references": Message("Where healthy organs were measured"),
    "window_custom": Message("by drag"),
    "tools": Message("Tools"),
    "windowing": Message("Window"),
    "segment": Message("Segment"),
    "segment_start": Message("Click on uptake that is to be a lesion."),
    "segment_help": Message("wheel or [ ] changes the threshold, Enter keeps it"),
    "keep": Message("Keep"),
    "cancel": Message("Cancel"),
    "computing": Message("being computed …"),
    "sphere": Message("Sphere"),
    "spheres": Message("Spheres"),
    "mean": Message("mean"),
    "key_image": Message("Key image"),
    "key_images": Message("Key images"),
    "save_picture": Message("Save the picture"),
    "undo": Message("Undo the last correction of the lesions"),
    "redo": Message("Redo the correction"),
    "liver": Message("Liver reference"),
    "liver_help": Message("click or drag places the sphere of 3 cm, L at the crosshair"),
    "liver_show": Message("Show"),
    "liver_move": Message("Move"),
    "liver_reset": Message("Where it was found"),
    "region": Message("Region"),
    "reset": Message("Reset the view"),
    "distance": Message("Distance"),
    "distances": Message("Distances"),
    "angle": Message("Angle"),
    "angles": Message("Angles"),
    "brush": Message("Brush"),
    "erase": Message("Eraser"),
    "new_lesion": Message("New lesion"),
    "brush_from": Message("What the brush adds"),
    "brush_all": Message("all that it covers"),
    "brush_help": Message("drag draws, wheel or [ ] changes the size, Shift + wheel the slice"),
    "close": Message("Close"),
    "merge": Message("Merge with …"),
    "remove": Message("Remove"),
    "position": Message("Position"),
    "hu": Message("HU"),
    **{f"side_{side}": letter for side, letter in LETTERS.items()},
    "saliency": Message("Influence"),
    "lesion": Message("Lesion"),
    "lesions": Message("Lesions"),
    "no_lesion": Message("No lesion was delineated."),
    "show": Message("Show on the images"),
    "display": Message("Display"),
    "to_confirm": Message("To be confirmed"),
    "estimate": Message("Your estimate before the answer"),
    "estimated": Message("alive without progression at 12 months"),
    "no_estimate": Message("No estimate"),
    "confirm": Message("Confirm the reading and see the answer"),
    "unreachable": Message("The application does not answer; nothing was kept. Try again."),
    "counts": Message("Counts"),
    "method": Message("Delineation"),
    "apply": Message("Apply"),
    "new_list": Message("Another delineation makes a new list: what was switched by hand is lost."),
    "legend_pet": Message("PET, fused"),
    "legend_raises": Message("raises the predicted risk"),
    "legend_lowers": Message("lowers the predicted risk"),
    "loading": Message("Loading the images"),
    "failed": Message("The images could not be loaded. Reload the page."),
    "help": Message("How to use the viewer"),
    "mouse": Message(
        "Mouse: click or drag to move the crosshair, wheel to change the slice, Ctrl + wheel to zoom, right button to "
        "move the image, double click to reset. To measure a distance, press its button, then click twice; an angle "
        "has its apex at the second of three clicks."
    ),
    "keys": Message(
        "Keyboard: arrows move the crosshair (Shift: five voxels), Page up and Page down change the slice, + and − "
        "zoom, 0 resets, ? shows the keys. S segments at the crosshair, B draws and E erases there, U undoes; W "
        "changes the window by drag. M twice measures a distance from one place of the crosshair to another, A three "
        "times an angle, Delete removes the last distance; R puts a sphere, K keeps the view. L twice places the "
        "sphere of the liver. 1 to 6 choose the images shown, D folds out the display, Y repeats a correction."
    ),
}


def show_viewer(key: str, **data: Any) -> None:
    """Mount the viewer; the page is drawn again where the reader has confirmed the lesions, which the server keeps.

    Args:
        key: of the component on its page.
        data: see docs/app.md.
    """
    _component(key=key, data=data, on_choice_change=lambda: None)
