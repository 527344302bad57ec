"""What the viewer is given for one case: files, labels and lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.services import FILES, services
from app.tables import ANSWERED
from app.viewer import LABELS, show_viewer
from app.viewer.description import read_description
from app.views import lesions
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.tables import Case
    from app.views.speech import Speech

_OF_THE_ANSWER = ("lesions", "saliency")


def draw(
    case: Case, spoken: Speech, *, link: Mapping[str, Any] | None = None, focus: Sequence[float] | None = None
) -> None:
    """Draw the viewer of a case; what a reader changes in the list of lesions is computed anew.

    Viewers whose `link` bears the same "name" show one place; its "shift" (mm) takes the points of each to their space.
    `focus` is where the crosshair starts (LPS mm), where that is not the largest lesion.
    """
    description = read_description(services().store.folder(case.id))
    if focus is not None:
        description["focus"] = focus
    result = case.result if case.status in ANSWERED else None
    if result is None:
        # an earlier answer no longer holds
        description["volumes"] = [one for one in description["volumes"] if one["name"] not in _OF_THE_ANSWER]
    labels = {name: spoken.say(message) for name, message in LABELS.items()}
    if link is not None:  # two on one page are told apart
        labels |= {name: f"{labels[name]}, {spoken.day(case.study_date)}" for name in ("viewer", "lesions")}
    choice = show_viewer(
        f"viewer_{case.id}",
        base=f"{FILES}/{case.id}",
        locale=spoken.language,
        labels=labels,
        lesions=lesions.listed(case, result, spoken),
        influence=_influence(result, spoken),
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


def _influence(result: dict[str, Any] | None, spoken: Speech) -> dict[str, Any] | None:
    """Whether the influence map is shown, and what its gates say; None where there is no map."""
    explanation = result and result["explanation"]
    if not explanation:
        return None
    gates = explanation["gates"]
    failed = [Message.from_json(gate["reason"]) for gate in gates if not gate["passed"]]
    if not failed:
        verdict = Message("✓ Passed its {n} tests of reliability. Influence is not cause.", n=len(gates))
        return {"shown": True, "verdict": spoken.say(verdict)}
    why = " ".join(spoken.say(reason) for reason in failed)
    return {"shown": False, "verdict": spoken.say(Message("⚠ Hidden, it failed a test of reliability: {why}", why=why))}
