"""The checks of the images: which series were chosen and why, what the SUV rests on, and a reader's corrections."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.options import CaseOptions
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import show_error, user
from app.services import services
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message
from fedpet.imaging.suv.overrides import parse_override
from reports.labels import FACTOR_RULES, REFERENCE_TIMES, radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cases.stored_result import StoredInspection, StoredOverride, StoredPet, StoredSeries
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.imaging.study import OverrideName

CORRECTED: dict[OverrideName, Message] = {
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


def draw(case: Case, inspection: StoredInspection, loc: Localization) -> None:
    """Draw what was corrected, what the SUV rests on, the series, and what may be changed."""
    _ = loc.text
    _draw_corrections(inspection.corrections, loc)
    with st.expander(_("What the SUV rests on")):
        _draw_suv(inspection.pet, loc)
    with st.expander(_("Series of the study")):
        draw_series(inspection.series, loc)
    with st.expander(_("Choose other series, or correct what the headers say")):
        draw_changes(case, inspection.series, loc)


def correction_lines(corrections: Sequence[StoredOverride], loc: Localization) -> list[str]:
    """One sentence for each correction that was applied."""
    return [
        loc.translate(
            Message(
                "{name}: {old} in the headers, corrected to {new} ({reason}; {by})",
                name=CORRECTED[one.name],
                old=_value(one.old, loc),
                new=_value(one.new, loc),
                reason=one.reason,
                by=one.by or "–",
            )
        )
        for one in corrections
    ]


def _draw_corrections(corrections: Sequence[StoredOverride], loc: Localization) -> None:
    if lines := correction_lines(corrections, loc):
        st.warning("\n".join(f"- {line}" for line in lines), icon=":material/edit_note:")


def _draw_suv(pet: StoredPet, loc: Localization) -> None:
    _ = loc.text
    low, high = pet.suv_factor_min, pet.suv_factor_max
    factor = _("no SUV") if low is None or high is None else f"{low:.6g}" if low == high else f"{low:.6g} – {high:.6g}"
    rule = FACTOR_RULES.get(pet.factor_rule)
    rows = (
        (_("Units"), f"{pet.units} {pet.suv_type}".strip()),
        (_("Decay correction"), pet.decay_correction or "–"),
        (_("Corrections of the image"), ", ".join(pet.corrected_image)),
        (_("Rule of the factor"), loc.translate(rule) if rule else "–"),
        (_("SUV for one unit"), factor.replace(".", "," if loc.language == "fr" else ".")),
        (_("Reference time"), _value(pet.reference_time, loc) + _source(pet.reference_time_source, loc)),
        (_("Injection"), _value(pet.injection_time, loc) + _source(pet.injection_source, loc)),
        (_("Injected activity"), _measure(pet.dose_bq, 1e-6, "MBq", loc) + _source(pet.dose_source, loc)),
        (_("Weight"), _measure(pet.weight_kg, 1.0, "kg", loc) + _source(pet.weight_source, loc)),
        (_("Half-life"), _measure(pet.half_life_s, 1.0, "s", loc) + _source(pet.half_life_source, loc)),
        (
            _("Radiopharmaceutical"),
            loc.translate(radiopharmaceutical(pet.radiopharmaceutical, pet.radiopharmaceutical_code)),
        ),
    )
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    st.html(f"<table class='fp'>{body}</table>")


def draw_series(series: Sequence[StoredSeries], loc: Localization) -> None:
    """Draw the series found, and why each was chosen or not."""
    _ = loc.text
    head = "".join(f"<th>{escape(word)}</th>" for word in ("#", _("Kind"), _("Description"), _("Images"), _("Reason")))
    body = "".join(
        f"<tr><td>{one.id}</td><td>{escape(one.modality)}</td><td>{escape(one.description)}</td>"
        f"<td class='n'>{one.instances}</td>"
        f"<td>{'✓ ' if one.chosen else ''}{escape(loc.translate(one.reason))}</td></tr>"
        for one in series
    )
    st.html(f"<table class='fp'><tr>{head}</tr>{body}</table>")


def draw_changes(case: Case, series: Sequence[StoredSeries], loc: Localization) -> None:
    """Draw a form of what may be changed; everything is computed again with it."""
    _ = loc.text
    options = CaseOptions.from_json(case.options)
    with st.form(f"changes_{case.id}", border=False):
        left, right = st.columns(2, gap="large")
        with left:
            pet = _series_choice("pet_series", series, options, loc)
            ct = _series_choice("ct_series", series, options, loc)
        with right:
            typed = {
                name: st.text_input(loc.translate(label), key=f"correct_{name}_{case.id}", placeholder=_("unchanged"))
                for name, label in CORRECTED.items()
            }
            reason = st.text_input(_("Reason (required for a correction)"), key=f"correct_reason_{case.id}")
            dropped = bool(options.corrections) and st.checkbox(_("Drop the earlier corrections"))
        st.caption(
            _("A correction is recorded with the value of the headers, its reason and your name, and is reported.")
        )
        pressed = decision_button(
            _("Apply and compute again"),
            case.digest,
            key="changes",
            button=st.form_submit_button,
            icon=":material/refresh:",
        )
    if not pressed:
        return
    try:
        new = [parse_override(name, value, reason=reason, by=user()) for name, value in typed.items() if value.strip()]
    except FedpetError as error:
        show_error(error, loc)
        return
    replaced = {correction.name for correction in new}
    earlier = [] if dropped else [one for one in options.corrections if one.name not in replaced]
    changed = replace(options, corrections=(*earlier, *new), pet_series=pet, ct_series=ct)
    services().workflow.change_images(case.id, changed, actor=user(), shown=case.digest)
    st.rerun()


def _series_choice(name: str, series: Sequence[StoredSeries], options: CaseOptions, loc: Localization) -> int | None:
    _ = loc.text
    modality = _MODALITIES[name]
    labels = {one.id: f"{one.id}. {one.description}" for one in series if one.modality == modality}
    chosen: int | None = st.selectbox(
        _("PET series") if modality == "PT" else _("CT series"),
        [None, *labels],
        index=[None, *labels].index(getattr(options, name) if getattr(options, name) in labels else None),
        format_func=lambda number: labels[number] if number else _("chosen by fedpet"),
    )
    return chosen


def _measure(value: float | None, factor: float, unit: str, loc: Localization) -> str:
    return "–" if value is None else f"{loc.number(factor * value)} {unit}"


def _source(source: str, loc: Localization) -> str:
    """Where the value comes from, in brackets; nothing where it is unknown."""
    known = _SOURCES.get(source)
    return f" ({loc.translate(known) if known else source})" if source else ""


def _value(value: float | datetime | None, loc: Localization) -> str:
    """A number, or a time on the clock of the scanner; a dash where it is missing."""
    return loc.scanner_time(value) if isinstance(value, datetime) else loc.number(value, 2)
