"""What an answer rests on: quality of the images, quantities, record, explanation and model."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from inference.lesion_map import delineation_method_label
from reports.labels import radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from app.cases.stored_result import StoredCheck, StoredQuantities, StoredResult
    from app.screens.layout.localization import Localization

_LEVELS = {"pass": Message("compliant"), "warn": Message("to check"), "fail": Message("not compliant")}


def draw_checks(checks: Sequence[StoredCheck], loc: Localization) -> None:
    """Draw the quality checks, the worst first; those that passed are folded."""
    passed = [check for check in checks if check.level == "pass"]
    for level in ("fail", "warn"):
        _draw_level([check for check in checks if check.level == level], loc)
    if passed:
        label = Message("Compliant: {count} of {total} checks", count=len(passed), total=len(checks))
        with st.expander(loc.translate(label), icon=":material/check_circle:"):
            _draw_level(passed, loc)


def _draw_level(checks: Sequence[StoredCheck], loc: Localization) -> None:
    rows = "".join(
        f"<tr><td><span class='fp-level {check.level}'>{loc.translate(_LEVELS[check.level])}</span></td>"
        f"<td>{escape(loc.translate(check.reason))}</td></tr>"
        for check in checks
    )
    if rows:
        st.html(f"<table class='fp'>{rows}</table>")


def draw_quantities(quantities: StoredQuantities, loc: Localization) -> None:
    """Draw the totals over all lesions."""
    _ = loc.text
    number = loc.number
    figures = (
        (_("Lesions"), str(len(quantities.lesions))),
        ("TMTV", f"{number(quantities.tmtv_ml)} ml"),
        ("TLG", f"{number(quantities.tlg, 0)} g"),
        ("SUVmax", number(quantities.suv_max)),
        ("SUVpeak", number(quantities.suv_peak)),
        ("Dmax", f"{number(quantities.dmax_mm / 10)} cm"),
    )
    items = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures)
    st.html(f"<dl class='fp-figures'>{items}</dl>")
    method = Message("Delineation: {method}.", method=delineation_method_label(quantities.method))
    st.caption(loc.translate(method))


def draw_record(result: StoredResult, loc: Localization) -> None:
    """Draw the clinical record as it was given."""
    _ = loc.text
    rows = [(loc.translate(VARIABLES[name].label), _value(name, value, loc)) for name, value in result.record.items()]
    _table(rows or [(_("No clinical variable was given."), "")])


def _value(name: str, value: float | str | bool, loc: Localization) -> str:  # noqa: FBT001  a value of the record
    variable = VARIABLES[name]
    for choice in variable.choices:
        if choice.value == value:
            return loc.translate(choice.label)
    unit = f" {loc.translate(variable.unit)}" if variable.unit else ""
    return f"{value:g}{unit}".replace(".", "," if loc.language == "fr" else ".")


def draw_explanation(result: StoredResult, loc: Localization) -> None:
    """Draw how far the influence map can be believed."""
    _, explanation = loc.text, result.explanation
    if result.pending:
        st.caption(_("The influence map is being computed."))
        return
    if explanation is None:
        st.caption(_("There is no influence map for this case."))
        return
    if explanation.failed:
        st.error(
            _("The influence map failed a test of reliability and is not shown."), icon=":material/visibility_off:"
        )
    st.caption(
        _("Zones that weigh on the answer, not causes. The map is off until you raise its opacity in the viewer.")
    )
    rows = "".join(
        f"<tr><td><span class='fp-level {'pass' if gate.passed else 'fail'}'>"
        f"{_('test passed') if gate.passed else _('test failed')}</span></td>"
        f"<td>{escape(loc.translate(gate.reason))}</td></tr>"
        for gate in explanation.gates
    )
    st.html(f"<table class='fp'>{rows}</table>")
    st.caption(loc.translate(explanation.description) if explanation.description else explanation.method)


def draw_provenance(result: StoredResult, loc: Localization) -> None:
    """Draw which images and which model the answer comes from."""
    _ = loc.text
    model, pet = result.prediction.model, result.study.pet
    uptake = loc.number(pet.uptake_min, 0) + " min" if pet.uptake_min is not None else "–"
    dose = loc.number(pet.dose_bq / 1e6, 0) + " MBq" if pet.dose_bq else "–"
    _table(
        (
            (_("PET/CT of"), loc.day(result.study.date)),
            (_("PET scanner"), pet.scanner or "–"),
            (
                _("Radiopharmaceutical"),
                loc.translate(radiopharmaceutical(pet.radiopharmaceutical, pet.radiopharmaceutical_code)),
            ),
            (_("Injected activity"), dose),
            (_("Uptake time"), uptake),
            (_("Model"), f"{model.name} {model.version}"),
            (_("Model fingerprint"), model.digest[:16]),
            (_("Computed by"), f"{result.software}, {model.provider}"),
        )
    )


def _table(rows: Iterable[tuple[str, str]]) -> None:
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    st.html(f"<table class='fp'>{body}</table>")
