"""What the viewer is given for one case: files, labels and lesions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.cases.reading import Reading, is_locked
from app.screens.case import lesions
from app.screens.case.dates import earlier_images
from app.screens.layout.frame import signed_in
from app.services import FILES, services
from app.viewer.component import LABELS, show_viewer
from app.viewer.description import read_description
from fedpet.core.messages import Message
from reports.labels import ORGANS

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
    panel: bool = True,
) -> None:
    """Draw the viewer of a case; what a reader changes in the list of lesions is computed again.

    Args:
        case: the case.
        result: the answer to show with the images; None before there is one.
        loc: the language in force.
        link: viewers with the same "name" follow each other; "shift" (mm) takes the points of each to a common space.
        focus: where the crosshair starts, LPS mm; None for the largest lesion.
        panel: whether the lesions are listed beside the images.
    """
    description, locked = read_description(services().store.folder(case.id)), is_locked(case, services().settings)
    if focus is not None:
        description["focus"] = focus
    # an earlier answer no longer holds, and one that is kept back has no map
    hidden = _OF_THE_ANSWER if result is None else ("saliency",) if locked else ()
    description["volumes"] = [one for one in description["volumes"] if one["name"] not in hidden]
    correcting = panel and link is None
    proposed = lesions.proposals_for(case, signed_in(), services().store) if correcting else ()
    labels = {name: loc.translate(message) for name, message in LABELS.items()}
    table = lesions.table_data(case, result, loc, services().settings, proposed)
    if not correcting:  # what else the page says would be of the lesions as they were
        table["choices"] = None
    if link is not None:  # two on one page need different names
        labels |= {name: f"{labels[name]}, {loc.day(case.study_date)}" for name in ("viewer", "lesions")}
    earlier = None if link is not None else earlier_images(case, result, description, loc)
    show_viewer(
        f"viewer_{case.id}",
        base=f"{FILES}/{case.id}",
        locale=loc.language,
        labels=labels,
        lesions=table,
        sul=lesions.lean_share(case),
        marks=None if link is not None else Reading.of(case).marks,
        influence=None if locked else _influence(result, loc),
        references=_references(result, loc),
        reading=_reading(case, loc, locked=locked) if panel and result is not None else None,
        link=link,
        date=loc.day(case.study_date),
        earlier=earlier,
        panel=panel,
        settings={
            "window": "soft",
            "unfolded": False,
            "palette": "grey",
            "low": 0.0,
            "high": 10.0 if description["quantity"] == "SUV" else description["highest"],
            "opacity": 0.7,
            "saliency": 0.0,
            "threshold": 0.3,
            "contours": True,
            "excluded": True,
            "references": False,
        },
        **description,
    )


def _references(result: StoredResult | None, loc: Localization) -> list[dict[str, Any]]:
    """The healthy organs beside the liver, which has its own place: names, SUVmean and SD, the middle of where."""
    if result is None or result.references is None:
        return []
    found = ((name, getattr(result.references, name)) for name in ORGANS if name != "liver")
    return [
        {
            "name": f"{loc.translate(ORGANS[name])} {loc.number(one.suv_mean)} ± {loc.number(one.suv_sd)}",
            "point": list(one.centroid_mm),
        }
        for name, one in found
        if one is not None and one.centroid_mm is not None
    ]


def _reading(case: Case, loc: Localization, *, locked: bool) -> dict[str, Any] | None:
    """What the reader is asked before the answer is shown, or what they said; None where it is shown at once."""
    reading = Reading.of(case)
    if reading.confirmed is not None:
        words = Message("Lesions confirmed by {reader}, {moment}.", reader=reading.confirmed.by,
                        moment=loc.moment(datetime.fromisoformat(reading.confirmed.moment)))  # fmt: skip
        estimate = Message("Estimate before the answer: {share:.0%}.", share=reading.estimate or 0.0)
        said = [words, *([] if reading.estimate is None else [estimate])]
        return {"said": " ".join(map(loc.translate, said))}
    if not locked:
        return None
    waits = services().workflow.needs_identity(case)
    tick = loc.text("First say, at the left, that images and record are of one patient.")
    return {"said": "", "waits": tick if waits else None}


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
