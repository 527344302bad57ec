"""What the viewer is given for one case: files, labels and lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.screens.case import lesions
from app.services import FILES, services
from app.viewer.component import LABELS, show_viewer
from app.viewer.description import read_description
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.cases.stored_result import StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

_OF_THE_ANSWER = ("lesions", "saliency")


def draw(
    case: Case,
    result: StoredResult | None,
    loc: Localization,
    *,
    link: Mapping[str, Any] | None = None,
    focus: Sequence[float] | None = None,
) -> None:
    """Draw the viewer of a case; what a reader changes in the list of lesions is computed again.

    Args:
        case: the case.
        result: the answer to show with the images; None before there is one.
        loc: the language in force.
        link: viewers with the same "name" follow each other; "shift" (mm) takes the points of each to a common space.
        focus: where the crosshair starts, LPS mm; None for the largest lesion.
    """
    description = read_description(services().store.folder(case.id))
    if focus is not None:
        description["focus"] = focus
    if result is None:  # an earlier answer no longer holds
        description["volumes"] = [one for one in description["volumes"] if one["name"] not in _OF_THE_ANSWER]
    labels = {name: loc.translate(message) for name, message in LABELS.items()}
    if link is not None:  # two on one page need different names
        labels |= {name: f"{labels[name]}, {loc.day(case.study_date)}" for name in ("viewer", "lesions")}
    choice = show_viewer(
        f"viewer_{case.id}",
        base=f"{FILES}/{case.id}",
        locale=loc.language,
        labels=labels,
        lesions=lesions.table_data(case, result, loc),
        influence=_influence(result, loc),
        link=link,
        settings={
            "window": "soft",
            "palette": "grey",
            "low": 0.0,
            "high": 10.0 if description["quantity"] == "SUV" else description["highest"],
            "opacity": 0.7,
            "saliency": 0.0,
            "threshold": 0.3,
            "contours": True,
            "excluded": True,
        },
        **description,
    )
    if choice is not None:
        lesions.apply(case, choice)


def _influence(result: StoredResult | None, loc: Localization) -> dict[str, Any] | None:
    """Whether the influence map is shown, and what its gates say; None where there is no map."""
    if result is None or result.explanation is None:
        return None
    failed = result.explanation.failed
    if not failed:
        count = len(result.explanation.gates)
        verdict = Message("✓ Passed its {n} tests of reliability. Influence is not cause.", n=count)
        return {"shown": True, "verdict": loc.translate(verdict)}
    why = " ".join(loc.translate(gate.reason) for gate in failed)
    return {
        "shown": False,
        "verdict": loc.translate(Message("⚠ Hidden, it failed a test of reliability: {why}", why=why)),
    }
