"""What the viewer is given for one case: files, labels and lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.services import FILES, services
from app.viewer import LABELS, show_viewer
from app.viewer.description import read_description
from imaging.regions import REGIONS

if TYPE_CHECKING:
    from app.tables import Case
    from app.views.speech import Speech


def draw(case: Case, spoken: Speech) -> None:
    """Draw the viewer of a case."""
    description = read_description(services().store.folder(case.id))
    show_viewer(
        f"viewer_{case.id}",
        case=case.id,
        base=f"{FILES}/{case.id}",
        locale=spoken.language,
        labels={name: spoken.say(message) for name, message in LABELS.items()},
        lesions=_lesions(case.result, spoken) if case.result else {"columns": [], "rows": []},
        settings={
            "window": "soft",
            "palette": "grey",
            "low": 0.0,
            "high": 10.0 if description["quantity"] == "SUV" else description["highest"],
            "opacity": 0.7,
            "saliency": 0.0,
            "threshold": 0.3,
            "contours": True,
        },
        **description,
    )


def _lesions(result: dict[str, Any], spoken: Speech) -> dict[str, Any]:
    """The table of lesions: its headings, and for each lesion its place and the cells of its row."""
    _ = spoken.text
    explanation = result["explanation"] or {}
    shares = explanation.get("lesion_share", {})
    columns = [_("Lesion"), _("Region"), "SUVmax", "SUVpeak", _("SUVmean"), _("MTV (ml)"), "TLG (g)", _("Influence")]
    rows = []
    for lesion in result["prediction"]["quantities"]["lesions"]:
        share = shares.get(str(lesion["id"]))
        rows.append(
            {
                "id": lesion["id"],
                "name": str(lesion["id"]),
                "point": lesion["centroid_mm"],
                "cells": [
                    spoken.say(REGIONS[lesion["region"]]),
                    *(spoken.number(lesion[name]) for name in ("suv_max", "suv_peak", "suv_mean", "mtv_ml", "tlg")),
                    "–" if share is None else spoken.percent(share),
                ],
            }
        )
    return {"columns": columns, "rows": rows}
