"""Which hot components count as lesions: the list beside the images, and a reader's decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.options import CaseOptions
from app.services import services
from app.tables import Status
from app.views.frame import user
from fedpet.messages import Message
from imaging.physiology import PLACES
from imaging.regions import REGIONS

if TYPE_CHECKING:
    from app.tables import Case
    from app.views.speech import Speech
    from imaging.thresholds import Method

METHODS: dict[Method, Message] = {
    "suv4": Message("SUV ≥ 4"),
    "suv41pct": Message("41 % of each lesion's maximum"),
    "percist": Message("PERCIST (liver or blood pool)"),
}
_OPEN = (Status.READY, Status.READ)  # a signed version is changed by opening a new one
_MEASURES = ("suv_max", "suv_peak", "suv_mean", "mtv_ml", "tlg")


def listed(case: Case, result: dict[str, Any] | None, spoken: Speech) -> dict[str, Any]:
    """The table that the viewer shows: its headings, its rows, and what a reader may change.

    Each row has an identifier (its value in the label volume), a point in LPS mm and the cells beside its name. Where
    the answer holds all hot components, those that are no lesions are there too, each with its reason.
    """
    if result is None:
        return {"known": False, "columns": [], "rows": [], "choices": None}
    _ = spoken.text
    columns = [_("Lesion"), _("Region"), "SUVmax", "SUVpeak", _("SUVmean"), _("MTV (ml)"), "TLG (g)", _("Influence")]
    components = result["prediction"].get("components")
    rows = [_lesion(lesion, result, spoken) for lesion in result["prediction"]["quantities"]["lesions"]]
    if not components:
        return {"known": True, "columns": columns, "rows": rows, "choices": None}
    reasons = {one["id"]: spoken.say(Message.from_json(one["reason"])) for one in components}
    rows += [_left_out(one, spoken) for one in components if not one["included"]]
    rows = [row | {"cells": [*row["cells"], reasons[row["id"]]]} for row in rows]
    return {"known": True, "columns": [*columns, _("Reason")], "rows": rows, "choices": _choices(case, spoken)}


def apply(case: Case, choice: dict[str, Any]) -> None:
    """Compute the case anew with what a reader chose; what does not belong to the case is passed over."""
    options = CaseOptions.from_json(case.options)
    method = next((name for name in METHODS if name == choice.get("method")), None)
    components = (case.result or {})["prediction"].get("components") or ()
    flipped = [one for one in components if one["id"] in choice.get("flipped", ())]
    if case.status not in _OPEN or method is None:
        return
    changed = (
        replace(options, method=method, include=(), exclude=()) if method != options.method else _flip(options, flipped)
    )
    if changed != options and services().workflow.change_lesions(case.id, changed, actor=user()):
        st.rerun()


def _flip(options: CaseOptions, flipped: list[dict[str, Any]]) -> CaseOptions:
    """Switch components; one that a reader had switched goes back to what the rules say."""
    include, exclude = set(options.include), set(options.exclude)
    for one in flipped:
        number = one["id"]
        if number in include | exclude:
            include.discard(number)
            exclude.discard(number)
        else:
            (exclude if one["included"] else include).add(number)
    return replace(options, include=tuple(sorted(include)), exclude=tuple(sorted(exclude)))


def _lesion(lesion: dict[str, Any], result: dict[str, Any], spoken: Speech) -> dict[str, Any]:
    share = (result["explanation"] or {}).get("lesion_share", {}).get(str(lesion["id"]))
    measures = [spoken.number(lesion[name]) for name in _MEASURES]
    influence = "–" if share is None else spoken.percent(share)
    return _row(lesion, [spoken.say(REGIONS[lesion["region"]]), *measures, influence], included=True)


def _left_out(component: dict[str, Any], spoken: Speech) -> dict[str, Any]:
    """Its place is that of the rule, or a region of the body where a reader left it out."""
    measured = {"suv_max": component["suv_max"], "mtv_ml": component["volume_ml"]}
    measures = [spoken.number(measured.get(name)) for name in _MEASURES]
    place = {**REGIONS, **PLACES}[component["place"]]
    return _row(component, [spoken.say(place), *measures, "–"], included=False)


def _row(one: dict[str, Any], cells: list[str], *, included: bool) -> dict[str, Any]:
    return {"id": one["id"], "name": str(one["id"]), "point": one["centroid_mm"], "included": included, "cells": cells}


def _choices(case: Case, spoken: Speech) -> dict[str, Any]:
    """The method in force and those to choose from, whether the case is open to changes, and what is to be known."""
    _ = spoken.text
    is_open = case.status in _OPEN
    note = (
        _("Quantities and answer follow what counts here. Every change is kept with your name.")
        if is_open
        else _("This version is signed: open a new one to change what counts.")
    )
    return {
        "method": CaseOptions.from_json(case.options).method,
        "methods": [[name, spoken.say(label)] for name, label in METHODS.items()],
        "open": is_open,
        "note": note,
    }
