"""The checks of the images: which series were chosen and why, what the SUV rests on, and a reader's corrections."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.options import CaseOptions
from app.services import services
from app.views import facts
from app.views.frame import show_error, user
from fedpet.errors import FedpetError
from fedpet.messages import Message
from imaging.corrections import parse_correction
from reports.wording import FACTOR_RULES, REFERENCE_TIMES

if TYPE_CHECKING:
    from app.tables import Case
    from app.views.speech import Speech
    from imaging.corrections import Name

CORRECTED: dict[Name, Message] = {
    "weight_kg": Message("Weight (kg)"),
    "height_m": Message("Height (m)"),
    "dose_mbq": Message("Injected activity (MBq)"),
    "injection_time": Message("Time of injection (HH:MM)"),
    "scan_start": Message("Start of the scan (HH:MM)"),
}
_SOURCES = {  # of `PetFacts`: where a value was read
    "start_datetime": Message("date and time in the headers"),
    "start_time": Message("time in the headers, on the day of the scan"),
    "start_time_previous_day": Message("time in the headers, on the day before the scan"),
    "start_datetime_without_its_date": Message("time in the headers, whose date does not fit"),
    "start_datetime_without_its_date_previous_day": Message("time in the headers, whose date does not fit"),
    "ge_private_admin_datetime": Message("private field (GE)"),
    "kg": Message("headers"),
    "Bq": Message("headers"),
    "header": Message("headers"),
    "g read as kg": Message("headers, grams read as kilograms"),
    "MBq read as Bq": Message("headers, MBq read as Bq"),
    "radionuclide_code": Message("from the radionuclide"),
    **REFERENCE_TIMES,
}
_MODALITIES = {"pet_series": "PT", "ct_series": "CT"}


def draw(case: Case, spoken: Speech) -> None:
    """Draw the gates, the facts of the SUV, the series, and what may be changed."""
    _ = spoken.text
    inspection = case.inspection or {}
    facts.draw_checks(inspection, spoken)
    _draw_corrections(inspection["corrections"], spoken)
    with st.expander(_("What the SUV rests on")):
        _draw_suv(inspection["pet"], spoken)
    with st.expander(_("Series of the study")):
        _draw_series(inspection["series"], spoken)
    with st.expander(_("Choose other series, or correct what the headers say")):
        _draw_changes(case, inspection, spoken)


def correction_lines(corrections: list[dict[str, Any]], spoken: Speech) -> list[str]:
    """One sentence for each correction that was applied."""
    return [
        spoken.say(
            Message(
                "{name}: {old} in the headers, corrected to {new} ({reason}; {by})",
                name=CORRECTED[one["name"]],
                old=_value(one["old"], spoken),
                new=_value(one["new"], spoken),
                reason=one["reason"],
                by=one["by"] or "–",
            )
        )
        for one in corrections
    ]


def _draw_corrections(corrections: list[dict[str, Any]], spoken: Speech) -> None:
    if lines := correction_lines(corrections, spoken):
        st.warning("\n".join(f"- {line}" for line in lines), icon=":material/edit_note:")


def _draw_suv(pet: dict[str, Any], spoken: Speech) -> None:
    _ = spoken.text
    low, high = pet["suv_factor_min"], pet["suv_factor_max"]
    factor = _("no SUV") if low is None else f"{low:.6g}" if low == high else f"{low:.6g} – {high:.6g}"
    rule = FACTOR_RULES.get(pet["factor_rule"])
    rows = (
        (_("Units"), f"{pet['units']} {pet['suv_type']}".strip()),
        (_("Decay correction"), pet["decay_correction"] or "–"),
        (_("Corrections of the image"), ", ".join(pet["corrected_image"])),
        (_("Rule of the factor"), spoken.say(rule) if rule else "–"),
        (_("SUV for one unit"), factor.replace(".", "," if spoken.language == "fr" else ".")),
        (_("Reference time"), _value(pet["reference_time"], spoken) + _source(pet["reference_time_source"], spoken)),
        (_("Injection"), _value(pet["injection_time"], spoken) + _source(pet["injection_source"], spoken)),
        (_("Injected activity"), _measure(pet["dose_bq"], 1e-6, "MBq", spoken) + _source(pet["dose_source"], spoken)),
        (_("Weight"), _measure(pet["weight_kg"], 1.0, "kg", spoken) + _source(pet["weight_source"], spoken)),
        (_("Half-life"), _measure(pet["half_life_s"], 1.0, "s", spoken) + _source(pet["half_life_source"], spoken)),
        (_("Radiopharmaceutical"), pet["radiopharmaceutical"] or "–"),
    )
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    st.html(f"<table class='fp'>{body}</table>")


def _draw_series(series: list[dict[str, Any]], spoken: Speech) -> None:
    _ = spoken.text
    head = "".join(f"<th>{escape(word)}</th>" for word in ("#", _("Kind"), _("Description"), _("Images"), _("Reason")))
    body = "".join(
        f"<tr><td>{one['id']}</td><td>{escape(one['modality'])}</td><td>{escape(one['description'])}</td>"
        f"<td class='n'>{one['instances']}</td>"
        f"<td>{'✓ ' if one['chosen'] else ''}{escape(spoken.say(Message.from_json(one['reason'])))}</td></tr>"
        for one in series
    )
    st.html(f"<table class='fp'><tr>{head}</tr>{body}</table>")


def _draw_changes(case: Case, inspection: dict[str, Any], spoken: Speech) -> None:
    """A form of what may be changed; everything is computed anew with it."""
    _ = spoken.text
    options = CaseOptions.from_json(case.options)
    with st.form(f"changes_{case.id}", border=False):
        left, right = st.columns(2, gap="large")
        with left:
            pet = _series_choice("pet_series", inspection["series"], options, spoken)
            ct = _series_choice("ct_series", inspection["series"], options, spoken)
        with right:
            typed = {
                name: st.text_input(spoken.say(label), key=f"correct_{name}_{case.id}", placeholder=_("unchanged"))
                for name, label in CORRECTED.items()
            }
            reason = st.text_input(_("Reason (required for a correction)"), key=f"correct_reason_{case.id}")
        st.caption(_("A correction is kept with the value of the headers, its reason and your name, and is reported."))
        asked = st.form_submit_button(_("Apply and compute anew"), icon=":material/refresh:")
    if not asked:
        return
    try:
        new = [
            parse_correction(name, value, reason=reason, by=user()) for name, value in typed.items() if value.strip()
        ]
    except FedpetError as error:
        show_error(error, spoken)
        return
    kept = [one for one in options.corrections if one.name not in {correction.name for correction in new}]
    changed = replace(options, corrections=(*kept, *new), pet_series=pet, ct_series=ct)
    services().workflow.change_images(case.id, changed, actor=user())
    st.rerun()


def _series_choice(name: str, series: list[dict[str, Any]], options: CaseOptions, spoken: Speech) -> int | None:
    _ = spoken.text
    modality = _MODALITIES[name]
    labels = {one["id"]: f"{one['id']}. {one['description']}" for one in series if one["modality"] == modality}
    chosen: int | None = st.selectbox(
        _("PET series") if modality == "PT" else _("CT series"),
        [None, *labels],
        index=[None, *labels].index(getattr(options, name) if getattr(options, name) in labels else None),
        format_func=lambda number: labels[number] if number else _("chosen by fedpet"),
    )
    return chosen


def _measure(value: float | None, factor: float, unit: str, spoken: Speech) -> str:
    return "–" if value is None else f"{spoken.number(factor * value)} {unit}"


def _source(source: str, spoken: Speech) -> str:
    """Where the value comes from, in brackets; nothing where nothing is told."""
    known = _SOURCES.get(source)
    return f" ({spoken.say(known) if known else source})" if source else ""


def _value(value: float | str | None, spoken: Speech) -> str:
    """A number, or a time as ISO 8601 without its T; a dash where it is missing."""
    if value is None:
        return "–"
    return value.replace("T", " ") if isinstance(value, str) else spoken.number(value, 2)
