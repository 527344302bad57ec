"""What an answer rests on: quality of the images, quantities, record, explanation and model."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from clinical.variables import VARIABLES
from fedpet.messages import Message
from inference.delineation import method_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.views.speech import Speech

_LEVELS = {"pass": Message("compliant"), "warn": Message("to check"), "fail": Message("not compliant")}


def draw_checks(result: dict[str, Any], spoken: Speech) -> None:
    """Draw the quality checks, the worst first."""
    order = list(_LEVELS)[::-1]
    rows = "".join(
        f"<tr><td><span class='fp-level {check['level']}'>{spoken.say(_LEVELS[check['level']])}</span></td>"
        f"<td>{escape(spoken.say(Message.from_json(check['reason'])))}</td></tr>"
        for check in sorted(result["checks"], key=lambda check: order.index(check["level"]))
    )
    st.html(f"<table class='fp'>{rows}</table>")


def draw_quantities(result: dict[str, Any], spoken: Speech) -> None:
    """Draw the totals over all lesions."""
    _ = spoken.text
    quantities = result["prediction"]["quantities"]
    number = spoken.number
    figures = (
        (_("Lesions"), str(len(quantities["lesions"]))),
        ("TMTV", f"{number(quantities['tmtv_ml'])} ml"),
        ("TLG", f"{number(quantities['tlg'], 0)} g"),
        ("SUVmax", number(quantities["suv_max"])),
        ("SUVpeak", number(quantities["suv_peak"])),
        ("Dmax", f"{number(quantities['dmax_mm'] / 10)} cm"),
    )
    items = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures)
    st.html(f"<dl class='fp-figures'>{items}</dl>")
    method = Message("Delineation: {method}.", method=method_label(quantities["method"]))
    st.caption(spoken.say(method))


def draw_record(result: dict[str, Any], spoken: Speech) -> None:
    """Draw the clinical record as it was given."""
    _ = spoken.text
    rows = [
        (spoken.say(VARIABLES[name].label), _value(name, value, spoken)) for name, value in result["record"].items()
    ]
    _table(rows or [(_("No clinical variable was given."), "")])


def _value(name: str, value: float | str | bool, spoken: Speech) -> str:  # noqa: FBT001  a value of the record
    variable = VARIABLES[name]
    for choice in variable.choices:
        if choice.value == value:
            return spoken.say(choice.label)
    unit = f" {spoken.say(variable.unit)}" if variable.unit else ""
    return f"{value:g}{unit}".replace(".", "," if spoken.language == "fr" else ".")


def draw_explanation(result: dict[str, Any], spoken: Speech) -> None:
    """Draw how far the influence map can be believed."""
    _ = spoken.text
    explanation = result["explanation"]
    if explanation is None:
        st.caption(_("There is no influence map for this case."))
        return
    if not all(gate["passed"] for gate in explanation["gates"]):
        st.error(
            _("The influence map failed a test of reliability and is not shown."), icon=":material/visibility_off:"
        )
    st.caption(
        _("Zones that weigh on the answer, not causes. The map is off until you raise its opacity in the viewer.")
    )
    rows = "".join(
        f"<tr><td><span class='fp-level {'pass' if gate['passed'] else 'fail'}'>"
        f"{_('test passed') if gate['passed'] else _('test failed')}</span></td>"
        f"<td>{escape(spoken.say(Message.from_json(gate['reason'])))}</td></tr>"
        for gate in explanation["gates"]
    )
    st.html(f"<table class='fp'>{rows}</table>")
    described = explanation.get("description")
    st.caption(spoken.say(Message.from_json(described)) if described else explanation["method"])


def draw_provenance(result: dict[str, Any], spoken: Speech) -> None:
    """Draw which images and which model the answer comes from."""
    _ = spoken.text
    model, pet = result["prediction"]["model"], result["study"]["pet"]
    uptake = spoken.number(pet["uptake_min"], 0) + " min" if pet["uptake_min"] is not None else "–"
    dose = spoken.number(pet["dose_bq"] / 1e6, 0) + " MBq" if pet["dose_bq"] else "–"
    _table(
        (
            (_("PET/CT of"), spoken.day(result["study"]["date"])),
            (_("PET scanner"), f"{pet['manufacturer']} {pet['model']}".strip() or "–"),
            (_("Radiopharmaceutical"), pet["radiopharmaceutical"] or "–"),
            (_("Injected activity"), dose),
            (_("Uptake time"), uptake),
            (_("Model"), f"{model['name']} {model['version']}"),
            (_("Model fingerprint"), model["digest"][:16]),
            (_("Computed by"), f"{result['software']}, {model['provider']}"),
        )
    )


def _table(rows: Iterable[tuple[str, str]]) -> None:
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    st.html(f"<table class='fp'>{body}</table>")
