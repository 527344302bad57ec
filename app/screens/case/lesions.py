"""Which hot components count as lesions: the list beside the images, and a reader's decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.cases.options import CaseOptions
from app.cases.store import require_shown
from app.cases.tables import Status
from app.screens.layout.frame import user
from app.services import services
from explain.figures.drawing import lesion_colour
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES

if TYPE_CHECKING:
    from app.cases.stored_result import StoredComponent, StoredLesion, StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.imaging.lesions.lesion import ThresholdMethod

METHODS: dict[ThresholdMethod, Message] = {
    "suv4": Message("SUV ≥ 4"),
    "suv41pct": Message("41 % of each lesion's maximum"),
    "suv25": Message("SUV ≥ 2.5"),
    "percist": Message("PERCIST (liver or blood pool)"),
    "liver": Message("1.5 x liver"),
    "gradient": Message("Steepest gradient"),
}
_OPEN = (Status.READY, Status.READ)  # a signed version is changed by opening a new one
_MEASURES = ("suv_max", "suv_peak", "suv_mean", "mtv_ml", "tlg")


def table_data(case: Case, result: StoredResult | None, loc: Localization) -> dict[str, Any]:
    """The table that the viewer shows: its headings, its rows, and what a reader may change.

    Each row has an identifier (its value in the label volume), a point in LPS mm and the cells beside its name. Where
    the answer holds all hot components, those that are no lesions are there too, each with its reason.
    """
    if result is None:
        return {"known": False, "columns": [], "rows": [], "choices": None}
    _ = loc.text
    columns = [_("Lesion"), _("Region"), "SUVmax", "SUVpeak", _("SUVmean"), _("MTV (ml)"), "TLG (g)", _("Influence")]
    components = result.prediction.components
    rows = [_lesion(lesion, result, loc) for lesion in result.prediction.quantities.lesions]
    if not components:
        return {"known": True, "columns": columns, "rows": rows, "choices": None}
    reasons = {one.id: _reason(one, loc) for one in components}
    rows += [_left_out(one, loc) for one in components if not one.included]
    rows = [row | {"cells": [*row["cells"], reasons[row["id"]]]} for row in rows]
    return {"known": True, "columns": [*columns, _("Reason")], "rows": rows, "choices": _choices(case, loc)}


def apply(case: Case, choice: dict[str, Any]) -> None:
    """Compute the case again with what a reader chose; choices that do not belong to the case are ignored.

    Raises:
        OutdatedError: the list that the reader chose from is not that of the case now.
    """
    require_shown(str(choice.get("shown", "")), case.digest)
    options = CaseOptions.from_json(case.options)
    method = next((name for name in METHODS if name == choice.get("method")), None)
    result = case.stored_result
    if case.status not in _OPEN or method is None or result is None:
        return
    flipped = [one for one in result.prediction.components if one.id in choice.get("flipped", ())]
    changed = (
        replace(options, method=method, include=(), exclude=()) if method != options.method else _flip(options, flipped)
    )
    if changed != options:
        services().workflow.change_lesions(case.id, changed, actor=user(), shown=case.digest)
        st.rerun()


def _flip(options: CaseOptions, flipped: list[StoredComponent]) -> CaseOptions:
    """Switch components; one that a reader had switched goes back to what the rules say."""
    include, exclude = set(options.include), set(options.exclude)
    for one in flipped:
        if one.id in include | exclude:
            include.discard(one.id)
            exclude.discard(one.id)
        else:
            (exclude if one.included else include).add(one.id)
    return replace(options, include=tuple(sorted(include)), exclude=tuple(sorted(exclude)))


def _lesion(lesion: StoredLesion, result: StoredResult, loc: Localization) -> dict[str, Any]:
    share = result.lesion_share(lesion.id)
    measures = [loc.number(getattr(lesion, name)) for name in _MEASURES]
    influence = "–" if share is None else loc.percent(share)
    return _row(lesion, [loc.translate(REGIONS[lesion.region]), *measures, influence], included=True)


def _reason(component: StoredComponent, loc: Localization) -> str:
    """Why it counts or not; where that is doubtful, the probability of a lesion before it."""
    reason = loc.translate(component.reason)
    if not component.to_confirm or component.score is None:
        return reason
    doubt = Message(
        "To be confirmed, probability of a lesion {share:.0%}. {reason}", share=component.score, reason=reason
    )
    return loc.translate(doubt)


def _left_out(component: StoredComponent, loc: Localization) -> dict[str, Any]:
    """Its place is the site that the rule names, or a region of the body where a reader left it out."""
    measured = {"suv_max": component.suv_max, "mtv_ml": component.volume_ml}
    measures = [loc.number(measured.get(name)) for name in _MEASURES]
    place = {**REGIONS, **PHYSIOLOGICAL_SITES}[component.place]
    return _row(component, [loc.translate(place), *measures, "–"], included=False)


def _row(one: StoredLesion | StoredComponent, cells: list[str], *, included: bool) -> dict[str, Any]:
    red, green, blue = (round(255 * part) for part in lesion_colour(one.id))
    return {
        "id": one.id,
        "name": str(one.id),
        "point": list(one.centroid_mm),
        "included": included,
        "colour": f"#{red:02x}{green:02x}{blue:02x}",  # as in the report
        "cells": cells,
    }


def _choices(case: Case, loc: Localization) -> dict[str, Any]:
    """The method in force and those to choose from, whether the case is open to changes, and a note."""
    _ = loc.text
    is_open = case.status in _OPEN
    note = (
        _("Measurements and answer follow what counts here. Every change is recorded with your name.")
        if is_open
        else _("This version is signed: open a new one to change what counts.")
    )
    return {
        "method": CaseOptions.from_json(case.options).method,
        "methods": [[name, loc.translate(label)] for name, label in METHODS.items()],
        "open": is_open,
        "shown": case.digest,
        "note": note,
    }
