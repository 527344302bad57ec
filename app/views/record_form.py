"""The clinical record as a form: units, ranges and warnings; what is missing stays missing."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.services import services
from app.uploads import release
from app.views.frame import show_error
from clinical.reading import read_record, record_from_mapping
from clinical.variables import VARIABLES
from fedpet.errors import FedpetError
from fedpet.messages import Message
from reports.markers import NOT_COMPUTABLE, ratios, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.tables import Case
    from app.views.speech import Speech
    from clinical.record import ClinicalRecord
    from clinical.variables import Variable
    from reports.markers import Marker

GROUPS: tuple[tuple[Message, tuple[str, ...]], ...] = (
    (
        Message("Patient"),
        ("age", "sex", "ecog_ps", "smoking", "pack_years", "height_cm", "weight_kg"),
    ),
    (
        Message("Tumour and treatment"),
        ("histology", "pdl1_tps", "driver_alteration", "line", "drug", "pet_to_treatment_days"),
    ),
    (
        Message("Blood tests"),
        (
            *("ldh", "ldh_uln", "leucocytes", "neutrophils", "lymphocytes"),
            *("albumin", "crp", "haemoglobin", "platelets", "glycaemia_mmol_l"),
        ),
    ),
    (
        Message("Metastases and effusion"),
        (
            *("metastatic_organs", "brain_metastases", "liver_metastases"),
            *("bone_metastases", "adrenal_metastases", "pleural_effusion"),
        ),
    ),
    (Message("Other medicines"), ("steroids", "antibiotics")),
)
_COLUMNS = 4


def draw(case: Case, used: Sequence[str], spoken: Speech) -> bool:
    """Draw the form of a case and keep what is entered; True where the record can be used.

    Args:
        case: the case whose record it is.
        used: names of the variables the model uses.
        spoken: the language in force.
    """
    _ = spoken.text
    _load_file(case, spoken)
    st.caption(
        _("Variables marked ● are used by the model. Leave empty what is not known: nothing is replaced by a default.")
    )
    values: dict[str, Any] = {}
    for number, (title, names) in enumerate(GROUPS):
        with st.container(border=True, key=f"fields_{number}"):
            st.subheader(spoken.say(title), anchor=False)
            for start in range(0, len(names), _COLUMNS):
                row = st.columns(_COLUMNS, vertical_alignment="bottom")
                for column, name in zip(row, names[start : start + _COLUMNS], strict=False):
                    with column:
                        values[name] = _field(case, VARIABLES[name], spoken, used=name in used)
    entered = {name: value for name, value in values.items() if value is not None}
    if entered != case.record or case.language != spoken.language:
        services().store.draft(case.id, entered, spoken.language)
    return _check(entered, [name for name in used if name not in entered], spoken)


def _check(entered: Mapping[str, Any], missing: list[str], spoken: Speech) -> bool:
    """Show the derived scores, warnings and what is missing."""
    _ = spoken.text
    try:
        read = record_from_mapping(entered)
    except FedpetError as error:
        show_error(error, spoken)
        return False
    warnings = read.warnings
    _draw_scores(read.record, spoken)
    if warnings:
        st.warning("\n".join(f"- {spoken.say(warning)}" for warning in warnings), icon=":material/warning:")
    if missing:
        names = ", ".join(spoken.say(VARIABLES[name].label) for name in missing)
        st.info(f"**{_('Missing for the model:')}** {names}", icon=":material/help:")
    return True


def _draw_scores(record: ClinicalRecord, spoken: Speech) -> None:
    """What follows from the entries; a score whose inputs are not all there says so."""
    cells = "".join(
        f"<div><dt>{escape(spoken.say(one.name))}</dt><dd{_muted(one)}>{escape(spoken.say(one.value))}</dd></div>"
        for one in (*ratios(record), *scores(record))
    )
    with st.container(border=True):
        st.subheader(spoken.text("Derived scores"), anchor=False)
        st.html(f"<div role='status'><dl class='fp-scores'>{cells}</dl></div>")


def _muted(marker: Marker) -> str:
    return " class='fp-muted'" if marker.value is NOT_COMPUTABLE else ""


def _field(case: Case, variable: Variable, spoken: Speech, *, used: bool) -> float | int | str | bool | None:
    """The widget of one variable; its value, None where missing."""
    key = _key(case, variable.name)
    st.session_state.setdefault(key, case.record.get(variable.name))
    unit = f" ({spoken.say(variable.unit)})" if variable.unit else ""
    label = f"{spoken.say(variable.label)}{unit}{' ●' if used else ''}"
    missing = spoken.text("missing")
    if variable.choices:
        labels = {choice.value: spoken.say(choice.label) for choice in variable.choices}
        return st.selectbox(label, labels, format_func=labels.__getitem__, key=key, index=None, placeholder=missing)
    return _number_field(label, key, variable, spoken)


def _number_field(label: str, key: str, variable: Variable, spoken: Speech) -> float | int | None:
    """A number without bounds: beyond them it is the record that says what is wrong, perhaps the unit."""
    whole = variable.kind == "integer"
    kind = int if whole else float
    usual = variable.warn and Message("Usual: {low:g} to {high:g}", low=variable.warn[0], high=variable.warn[1])
    return st.number_input(
        label,
        value=None,
        step=kind(1),
        format="%d" if whole else "%g",
        key=key,
        placeholder=spoken.text("missing"),
        help=spoken.say(usual) if usual else None,
    )


def _load_file(case: Case, spoken: Speech) -> None:
    """Fill the form from a file: JSON, or CSV with one row, French or English names."""
    _ = spoken.text
    with st.expander(_("Load a file (JSON, or CSV with one row)"), icon=":material/upload_file:"):
        turn = st.session_state.setdefault("record_turn", 0)
        file = st.file_uploader(
            _("Clinical record, with French or English names"), key=f"record_file_{turn}", type=["json", "csv"]
        )
        notes = st.session_state.pop("record_notes", None)
        if notes is not None:
            st.success(_("The form was filled in from the file. Please check it."))
            for note in notes:
                st.warning(spoken.say(note))
    if file is None:
        return
    path = services().store.folder(case.id) / "record"
    path.write_bytes(file.getvalue())
    release(file)
    try:
        read = read_record(path)
    except FedpetError as error:
        show_error(error, spoken)
        return
    finally:
        path.unlink()
    for name in VARIABLES:
        st.session_state[_key(case, name)] = getattr(read.record, name)
    st.session_state["record_turn"] = turn + 1
    shown_below = record_from_mapping(asdict(read.record)).warnings
    st.session_state["record_notes"] = [note for note in read.warnings if note not in shown_below]
    st.rerun()


def _key(case: Case, name: str) -> str:
    return f"{case.id}/{name}"
