"""Which hot components count as lesions: the list beside the images, and a reader's decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.cases.examinations import mean_and_sd
from app.cases.options import CaseOptions
from app.cases.proposals import proposals
from app.cases.reading import is_locked
from app.cases.tables import Status
from app.viewer.description import has_images, read_description
from explain.figures.drawing import lesion_colour
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES
from fedpet.imaging.lesions.lesion import BRAIN_UNSEEN
from fedpet.imaging.response.comparison import measurable_from
from fedpet.imaging.suv.normalization import lean_body_mass_if_known
from reports.labels import REFERENCE_METHODS
from reports.lesion_numbers import letters, report_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.access.sessions import User
    from app.cases.proposals import Proposal
    from app.cases.store import Store
    from app.cases.stored_result import (
        StoredComponent,
        StoredLesion,
        StoredPrediction,
        StoredReferences,
        StoredResult,
    )
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.core.settings import Settings
    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from fedpet.imaging.response.comparison import Box

METHODS: dict[ThresholdMethod, Message] = {
    "suv4": Message("SUV ≥ 4"),
    "suv41pct": Message("41 % of each lesion's maximum"),
    "suv25": Message("SUV ≥ 2.5"),
    "percist": Message("PERCIST (liver or blood pool)"),
    "liver": Message("1.5 x liver"),
    "gradient": Message("Steepest gradient"),
    "adaptive": Message("Between lesion and background"),
}


def is_correctable(case: Case) -> bool:
    """Whether lesions can be corrected, also while their map is computed; a signed version is changed by a new one."""
    return case.is_answered and case.status not in {Status.SIGNING, Status.SIGNED}


def proposals_for(case: Case, user: User, store: Store) -> tuple[Proposal, ...]:
    """What an earlier examination that this user may see proposes, while the lesions can be corrected."""
    return proposals(store, case, visible=user.sees, body_of=_body_in(store)) if is_correctable(case) else ()


def _body_in(store: Store) -> Callable[[str], Box | None]:
    def body(case_id: str) -> Box | None:
        folder = store.folder(case_id)
        if not has_images(folder):
            return None
        low, high = read_description(folder)["body"]
        return tuple(low), tuple(high)

    return body


def table_data(
    case: Case, result: StoredResult | None, loc: Localization, settings: Settings, proposed: Sequence[Proposal] = ()
) -> dict[str, Any]:
    """The table that the viewer shows: totals, headings, rows, and what a reader may change.

    Each row has an identifier (its value in the label volume), a point in LPS mm, its place and the cells beside it,
    more measures in words, and the reason of the decision on it. Where the answer holds all hot components, those that
    are no lesions are there too.
    """
    if result is None:
        empty: dict[str, Any] = {name: [] for name in ("columns", "rows", "figures", "regions", "proposed")}
        return empty | {"known": False, "note": "", "choices": None, "shown": "", "liver": None}
    _, locked = loc.text, is_locked(case, settings)
    components = result.prediction.components
    reasons = {one.id: _reason(one, loc) for one in components}
    rows = [
        _lesion(one, None if locked else result.lesion_share(one.id), reasons.get(one.id, ""), loc)
        for one in result.prediction.quantities.lesions
    ]
    rows += [_left_out(one, reasons[one.id], loc) for one in components if not one.included]
    badges = {one.id: _badge(one, loc) for one in proposed}
    called = {} if locked else names(result.prediction, loc)  # before, every correction would number them anew
    rows = [row | {"badge": badges.get(row["id"], ""), "name": called.get(row["id"], row["name"])} for row in rows]
    if not locked:  # with the number of the report its colour, on the images too
        coloured = report_numbers(one.id for one in result.prediction.quantities.lesions)
        rows = [row | {"colour": _colour(coloured.get(row["id"], row["id"]))} for row in rows]
    return {
        "known": True,
        "columns": ["N°", _("Region"), "SUVmax", "ml"],
        "rows": rows,
        "figures": _figures(result.prediction, loc, locked=locked),
        "note": _note(result.prediction.quantities.lesions, loc),
        "liver": _liver(case, result.references, loc),
        "proposed": [{"point": list(one.point_mm), "text": _badge(one, loc)} for one in proposed if one.id is None],
        "choices": _choices(case, loc) if components else None,
        "shown": case.digest,
        "regions": [[name, loc.translate(label)] for name, label in REGIONS.items()],
    }


def _note(lesions: Sequence[StoredLesion], loc: Localization) -> str:
    """What the list may lack, and what an estimated place is worth."""
    notes = [loc.text("Lesions below 1 ml or SUV 2.5 may be missing from this list."), loc.translate(BRAIN_UNSEEN)]
    if any(one.vertebra or one.station for one in lesions):
        notes.append(loc.text("Vertebral levels are estimates, lymph node stations (IASLC) proposals."))
    return " ".join(notes)


def _liver(case: Case, references: StoredReferences | None, loc: Localization) -> dict[str, Any] | None:
    """The liver that lesions are compared with, and what hangs on it; None where no organ is known."""
    if references is None:
        return None
    liver, reason = references.liver, references.reasons.get("liver")
    text = "–" if reason is None else loc.translate(reason)
    if liver is not None:
        method = REFERENCE_METHODS.get(liver.method)
        values = f"SUV {loc.number(liver.suv_mean, 2)} ± {loc.number(liver.suv_sd, 2)}"
        text = values if method is None else f"{values} · {loc.translate(method)}"
    return {
        "text": text,
        "point": None if liver is None or liver.centroid_mm is None else list(liver.centroid_mm),
        "placed": CaseOptions.from_json(case.options).liver is not None,
        "remarks": [loc.translate(one) for one in references.liver_remarks],
        "measurable": _measurable(case, references, loc),
    }


def _measurable(case: Case, references: StoredReferences, loc: Localization) -> str:
    """From where PERCIST takes a lesion as measurable, in words; "" where it is not known."""
    floor, share = measurable_from(mean_and_sd(references.liver), mean_and_sd(references.blood_pool)), lean_share(case)
    if floor is None:
        return ""
    quantity, value = ("SUVpeak", floor) if share is None else ("SULpeak", floor * share)
    words = Message("PERCIST: measurable from {quantity} {value}.", quantity=quantity, value=loc.number(value, 2))
    return loc.translate(words)


def names(prediction: StoredPrediction, loc: Localization) -> dict[int, str]:
    """What lesions and hot foci are called, by number of the focus: as in the report, and that number if it differs."""
    in_report: dict[int, object] = {
        **report_numbers(one.id for one in prediction.quantities.lesions),
        **letters(prediction.components),
    }
    return {
        focus: str(focus)
        if name == focus
        else loc.translate(Message("{name} (focus {focus})", name=str(name), focus=str(focus)))
        for focus, name in in_report.items()
    }


def _badge(one: Proposal, loc: Localization) -> str:
    """What the reader of the earlier examination decided, in words."""
    if one.do == "exclude":
        return loc.translate(Message("Left out by the reader on {date}", date=loc.day(one.date)))
    if one.do == "include":
        return loc.translate(Message("Counted by the reader on {date}", date=loc.day(one.date)))
    place = loc.translate({**REGIONS, **PHYSIOLOGICAL_SITES}[one.region])
    return loc.translate(Message("Drawn by the reader on {date}: {place}", date=loc.day(one.date), place=place))


def _figures(prediction: StoredPrediction, loc: Localization, *, locked: bool) -> list[list[str]]:
    """The totals over all lesions, and the answer to them where it is not kept back."""
    quantities, main = prediction.quantities, prediction.endpoint("pfs_12m")
    answer = [] if locked or main is None else [[loc.text("12 months"), loc.percent(main.probability)]]
    return [
        [loc.text("Lesions"), str(len(quantities.lesions))],
        ["TMTV", f"{loc.number(quantities.tmtv_ml)} ml"],
        ["SUVmax", loc.number(quantities.suv_max)],
        ["Dmax", f"{loc.number(quantities.dmax_mm / 10)} cm"],
        *answer,
    ]


def _lesion(lesion: StoredLesion, share: float | None, reason: str, loc: Localization) -> dict[str, Any]:
    more = [
        ["SUVpeak", loc.number(lesion.suv_peak)],
        [loc.text("SUVmean"), loc.number(lesion.suv_mean)],
        ["TLG", f"{loc.number(lesion.tlg)} g"],
    ]
    if share is not None:
        more.append([loc.text("Influence"), loc.percent(share)])
    row = _row(lesion, loc.translate(lesion.place), (lesion.suv_max, lesion.mtv_ml), loc)
    return row | {"included": True, "more": more, "reason": reason, "region": lesion.region}


def _reason(component: StoredComponent, loc: Localization) -> str:
    """Why it counts or not; where that is doubtful, the probability of a lesion before it."""
    reason = loc.translate(component.reason)
    if not component.to_confirm or component.score is None:
        return reason
    doubt = Message(
        "To be confirmed, probability of a lesion {share:.0%}. {reason}", share=component.score, reason=reason
    )
    return loc.translate(doubt)


def _left_out(component: StoredComponent, reason: str, loc: Localization) -> dict[str, Any]:
    """Its place is the site that the rule names, or a region of the body where a reader left it out."""
    place = loc.translate({**REGIONS, **PHYSIOLOGICAL_SITES}[component.place])
    row = _row(component, place, (component.suv_max, component.volume_ml), loc)
    return row | {"included": False, "reason": reason, "doubtful": component.to_confirm}


def _colour(number: int) -> str:
    """That of a lesion of this number, as in the report."""
    red, green, blue = (round(255 * part) for part in lesion_colour(number))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _row(
    one: StoredLesion | StoredComponent, place: str, measured: tuple[float, float], loc: Localization
) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": str(one.id),
        "point": list(one.centroid_mm),
        "place": place,
        "cells": [loc.number(value) for value in measured],
        "colour": _colour(one.id),
        "more": [],
        "reason": "",
        "doubtful": False,
    }


def lean_share(case: Case) -> float | None:
    """What takes SUVbw to SUL: lean body mass over weight; None where one of them, height or sex is not known."""
    pet = case.stored_inspection.pet if "pet" in (case.inspection or {}) and case.stored_inspection else None
    if pet is None or not pet.weight_kg:
        return None
    lean = lean_body_mass_if_known(pet.weight_kg, pet.height_m, pet.sex)
    return None if lean is None else lean / pet.weight_kg


def _choices(case: Case, loc: Localization) -> dict[str, Any]:
    """The method in force and those to choose from, whether the case is open to changes, and a note."""
    _ = loc.text
    is_open = is_correctable(case)
    if is_open:
        note = _("Measurements and answer follow what counts here. Every change is recorded with your name.")
    else:
        note = _("This version is signed: open a new one to change what counts.")
    return {
        "method": CaseOptions.from_json(case.options).method,
        "methods": [[name, loc.translate(label)] for name, label in METHODS.items()],
        "open": is_open,
        "note": note,
    }
