"""The clinical record as a form: units, ranges and warnings; what is missing stays missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.cases.prefill import copied
from app.cases.uploads import release
from app.screens.layout.frame import show_error
from app.services import services
from fedpet.clinical.reading import IDENTIFIER, read_record, record_from_mapping
from fedpet.clinical.value_parsing import read_value
from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import FedpetError, RecordError, TransitionError
from fedpet.core.messages import Message
from reports.clinical_markers import ratios, scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.clinical.reading import ReadRecord
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.clinical.variables import Variable
    from reports.clinical_markers import PrognosticMarker

GROUPS: tuple[tuple[Message, tuple[str, ...]], ...] = (
    (
        Message("Patient"),
        ("age", "sex", "ecog_ps", "smoking", "pack_years", "height_cm", "weight_kg"),
    ),
    (
        Message("Tumour and treatment"),
        (
            *("histology", "pdl1_tps", "tmb", "driver_alteration"),
            *("stage", "t_category", "n_category", "m_category"),
            *("line", "drug", "chemotherapy", "pet_to_treatment_days"),
            *("prior_systemic_lines", "prior_surgery", "prior_radiotherapy"),
        ),
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
_EARLIEST = date(1990, 1, 1)
_DAYS: tuple[tuple[str, Message], ...] = (
    ("pet_date", Message("Day of the PET")),
    ("start_date", Message("Day of the first dose")),
)
_DAY_NAMES = tuple(name for name, _ in _DAYS)


def draw(case: Case, used: Sequence[str], loc: Localization) -> ReadRecord | None:
    """Draw the form of a case and keep what is entered.

    Args:
        case: the case whose record it is.
        used: names of the variables the model uses.
        loc: the language in force.

    Returns:
        The record, or None where it cannot be used.
    """
    _ = loc.text
    form = _form(case, loc)
    _load_file(case, loc)
    st.caption(
        _("Variables marked ● are used by the model. Leave empty what is not known: nothing is replaced by a default.")
    )
    if taken := copied(case):
        labels = ", ".join(loc.translate(_label(name)) for name in (*VARIABLES, *_DAY_NAMES) if name in taken)
        st.info(f"**{_('Filled in from the images, please check:')}** {labels}", icon=":material/input:")
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for number, (title, names) in enumerate(GROUPS):
        with st.container(border=True, key=f"fields_{number}"):
            st.subheader(loc.translate(title), anchor=False)
            for start in range(0, len(names), _COLUMNS):
                row = names[start : start + _COLUMNS]
                for column, name in zip(st.columns(_COLUMNS, vertical_alignment="bottom"), row, strict=False):
                    with column:
                        values[name] = _field(form, VARIABLES[name], loc, used=name in used)
                        wrong += [] if _is_valid(name, values[name], loc) else [name]
    values |= _reference_fields(case, form, loc)
    entered = {name: value for name, value in values.items() if value is not None}
    if wrong:
        labels = ", ".join(loc.translate(VARIABLES[name].label) for name in wrong)
        st.error(f"**{_('To be corrected above:')}** {labels}", icon=":material/block:")
        return None
    return _check(entered, [name for name in used if name not in entered], loc)


def keep_typed(case: Case, loc: Localization) -> Case:
    """Save what was entered since the form was drawn, before anything of the page is.

    Only fields that differ from what this window showed are saved, so that a window that is drawn again writes no older
    value back: the last entry by a person holds.

    Args:
        case: the case, as just read.
        loc: the language in force.

    Returns:
        The case as it is now.
    """
    form: _Form | None = st.session_state.get(_form_key(case))
    if form is None:
        return case
    typed = {
        name: value
        for name in (*VARIABLES, *_DAY_NAMES)
        if form.key(name) in st.session_state
        and (value := _stored(name, st.session_state[form.key(name)])) != form.record.get(name)
        and not _is_no_number(name, value)
    }
    if not typed:
        return case
    try:
        saved = services().store.save_draft(case.id, typed, loc.language)
    except TransitionError:
        del st.session_state[_form_key(case)]
        labels = ", ".join(loc.translate(_label(name)) for name in typed)
        words = Message("The case went on meanwhile; what you entered last was not kept: {fields}.", fields=labels)
        st.warning(loc.translate(words), icon=":material/sync_problem:")
        return case
    form.record |= typed
    if saved.record_version == form.version + 1:  # nobody else wrote since this window was drawn
        form.version = saved.record_version
    return saved


def shown_version(case: Case) -> int:
    """How often the form of this window was drawn anew because somebody else changed the record."""
    form: _Form | None = st.session_state.get(_form_key(case))
    return 0 if form is None else form.replaced


@dataclass
class _Form:
    """What the fields of one window were drawn from.

    Attributes:
        case: identifier of the case.
        language: in which they are drawn.
        version: `Case.record_version` of the record.
        record: what the fields show.
        replaced: how often somebody else changed the record since this window was opened.
    """

    case: str
    language: str
    version: int
    record: dict[str, Any]
    replaced: int = 0

    def key(self, name: str) -> str:
        """The key of a field; what a browser still sends for fields drawn before has another key."""
        return f"{self.case}/{self.language}/{self.replaced}/{name}"


def _form(case: Case, loc: Localization) -> _Form:
    """The form of this window: drawn anew from the database in another language, and where somebody else wrote."""
    form: _Form | None = st.session_state.get(_form_key(case))
    if form is not None and (form.language, form.version) == (loc.language, case.record_version):
        return form
    replaced = 0 if form is None else form.replaced + (form.version != case.record_version)
    form = _Form(case.id, loc.language, case.record_version, dict(case.record), replaced)
    st.session_state[_form_key(case)] = form
    return form


def _form_key(case: Case) -> str:
    return f"{case.id}/form"


def _stored(name: str, value: object) -> object:
    """A value of a field as the record holds it."""
    variable = VARIABLES.get(name)
    if variable is not None and not variable.choices and isinstance(value, str):
        return _number(variable, value)
    return value.isoformat() if isinstance(value, date) else value


def _is_no_number(name: str, value: object) -> bool:
    """Whether text stands where a number is asked for: it is not saved."""
    return name in VARIABLES and not VARIABLES[name].choices and isinstance(value, str)


def _label(name: str) -> Message:
    return VARIABLES[name].label if name in VARIABLES else dict(_DAYS)[name]


def _reference_fields(case: Case, form: _Form, loc: Localization) -> dict[str, str | None]:
    """Whose record it is: the days, and the digest of an identifier that a file stated."""
    _ = loc.text
    days: dict[str, str | None] = {}
    with st.container(border=True, key="fields_reference"):
        st.subheader(_("Whose record it is"), anchor=False)
        for column, (name, label) in zip(st.columns(_COLUMNS), _DAYS, strict=False):
            key, kept = form.key(name), form.record.get(name)
            st.session_state.setdefault(key, date.fromisoformat(kept) if kept else None)
            with column:
                chosen = st.date_input(
                    loc.translate(label), value=None, min_value=_EARLIEST, key=key, format="YYYY-MM-DD"
                )
            days[name] = chosen.isoformat() if isinstance(chosen, date) else None
        digest: str | None = case.record.get(IDENTIFIER)
        st.caption(
            _("The file stated an identifier of the patient: it is compared with the images’, and not kept.")
            if digest
            else _("No identifier of the patient is stated: a file with “patient_id” has it compared with the images’.")
        )
    return {**days, IDENTIFIER: digest}


def _is_valid(name: str, value: float | str | bool | None, loc: Localization) -> bool:  # noqa: FBT001  a value
    """Whether a value can be used; an error below its field says why not."""
    try:
        if value is not None:
            read_value(VARIABLES[name], value)
    except RecordError as error:
        show_error(error, loc)
        return False
    return True


def _check(entered: Mapping[str, Any], missing: list[str], loc: Localization) -> ReadRecord | None:
    """Show the derived scores, warnings and what is missing."""
    _ = loc.text
    try:
        read = record_from_mapping(entered)
    except FedpetError as error:
        show_error(error, loc)
        return None
    warnings = read.warnings
    _draw_scores(read.record, loc)
    if warnings:
        st.warning("\n".join(f"- {loc.translate(warning)}" for warning in warnings), icon=":material/warning:")
    if missing:
        names = ", ".join(loc.translate(VARIABLES[name].label) for name in missing)
        st.info(f"**{_('Missing for the model:')}** {names}", icon=":material/help:")
    return read


def _draw_scores(record: ClinicalRecord, loc: Localization) -> None:
    """What follows from the entries; a score whose inputs are not all there says so."""
    cells = "".join(
        f"<div><dt>{escape(loc.translate(one.name))}</dt><dd{_muted(one)}>{escape(loc.translate(one.value))}</dd></div>"
        for one in (*ratios(record), *scores(record))
    )
    with st.container(border=True):
        st.subheader(loc.text("Derived scores"), anchor=False)
        st.html(f"<div role='status'><dl class='fp-scores'>{cells}</dl></div>")


def _muted(marker: PrognosticMarker) -> str:
    return "" if marker.computable else " class='fp-muted'"


def _field(form: _Form, variable: Variable, loc: Localization, *, used: bool) -> float | int | str | bool | None:
    """The widget of one variable; its value, None where missing."""
    key, kept = form.key(variable.name), form.record.get(variable.name)
    st.session_state.setdefault(key, kept if variable.choices else _written(kept, loc))
    unit = f" ({loc.translate(variable.unit)})" if variable.unit else ""
    label = f"{loc.translate(variable.label)}{unit}{' ●' if used else ''}"
    missing = loc.text("missing")
    if variable.choices:
        labels = {choice.value: loc.translate(choice.label) for choice in variable.choices}
        return st.selectbox(label, labels, format_func=labels.__getitem__, key=key, index=None, placeholder=missing)
    return _number_field(label, key, variable, loc)


def _number_field(label: str, key: str, variable: Variable, loc: Localization) -> float | int | str | None:
    """A number with a comma or a point, whatever the language of the browser; what is none is said below it.

    Beyond its bounds it is the record that says what is wrong, perhaps the unit.
    """
    usual = variable.warn and Message("Usual: {low:g} to {high:g}", low=variable.warn[0], high=variable.warn[1])
    help_text = loc.translate(usual) if usual else None
    return _number(variable, st.text_input(label, key=key, placeholder=loc.text("missing"), help=help_text))


def _number(variable: Variable, text: str) -> float | int | str | None:
    """The number of a text; the text itself where it is none, None where it is empty."""
    plain = "".join(text.split()).replace(",", ".")
    if not plain:
        return None
    try:
        number = float(plain)
    except ValueError:
        return text
    return int(number) if variable.kind == "integer" and number.is_integer() else number


def _written(value: object, loc: Localization) -> str:
    """A number as its field shows it."""
    text = f"{value:.10g}" if isinstance(value, int | float) else ""
    return text.replace(".", ",") if loc.language == "fr" else text


def _load_file(case: Case, loc: Localization) -> None:
    """Fill the form from a file: JSON, or CSV with one row, French or English names."""
    _ = loc.text
    with st.expander(_("Load a file (JSON, or CSV with one row)"), icon=":material/upload_file:"):
        turn = st.session_state.setdefault("record_turn", 0)
        file = st.file_uploader(
            _("Clinical record, with French or English names"), key=f"record_file_{turn}", type=["json", "csv"]
        )
        notes = st.session_state.pop("record_notes", None)
        if notes is not None:
            st.success(_("The form was filled in from the file. Please check it."))
            for note in notes:
                st.warning(loc.translate(note))
    if file is None:
        return
    path = services().store.folder(case.id) / "record"
    path.write_bytes(file.getvalue())
    release(file)
    try:
        read = read_record(path)
    except FedpetError as error:
        show_error(error, loc)
        return
    finally:
        path.unlink()
    loaded: dict[str, Any] = {name: getattr(read.record, name) for name in VARIABLES}
    days = {"pet_date": read.pet_date, "start_date": read.first_dose}
    loaded |= {name: _stored(name, day) for name, day in days.items()}
    loaded[IDENTIFIER] = read.reference(services().settings.pseudonym_key()).identifier or None
    loaded = {name: value for name, value in loaded.items() if value is not None}  # the others stay as they are
    services().store.save_draft(case.id, loaded, loc.language)  # at once: the form is drawn from it
    st.session_state["record_turn"] = turn + 1
    shown_below = record_from_mapping(asdict(read.record)).warnings
    st.session_state["record_notes"] = [note for note in read.warnings if note not in shown_below]
    st.rerun()
