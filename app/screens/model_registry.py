"""The models of the registry: which is in force, and who changed that; for administrators."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.model_choice import ACTS, digest_of_models
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import show_error, user
from app.screens.layout.tables import table
from app.screens.model_card import draw_link
from app.services import services
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.screens.layout.localization import Localization
    from inference.registry import RegisteredModel


def draw(loc: Localization, *, card: StreamlitPage) -> None:
    """Draw the models, the change of the one in force, and the history."""
    _ = loc.text
    registry = services().models.registry
    try:
        held = registry.held()
    except FedpetError as error:
        show_error(error, loc)
        return
    headings = (_("Fingerprint"), _("Name"), _("Version"), _("Trained on"), _("Evaluated on"), _("State"))
    table(headings, (_row(one, loc) for one in held), label=_("Models"))
    with st.container(horizontal=True):
        for one in held:
            if one.refused is None:
                draw_link(card, one.digest, one.name, one.version, loc)
    st.caption(_("Add a bundle with the command “fedpet model add”, on the machine of the application."))
    if registry.fixed is not None:
        st.info(_("The setting “model” names the model in force: nothing can be promoted here."))
    else:
        _draw_change(held, loc)
    if history := registry.history():
        st.header(_("History"), anchor=False)
        known = {one.digest: f"{one.name} {one.version}" for one in held}
        rows = (
            (
                loc.moment(datetime.fromisoformat(act.moment)),
                act.by,
                f"{loc.translate(ACTS[act.act])} {known.get(act.digest, '')} ({act.digest[:12]})",
                act.why,
            )
            for act in reversed(history)
        )
        table((_("Time"), _("User"), _("Action"), _("Reason")), rows, label=_("History"))


def _row(one: RegisteredModel, loc: Localization) -> tuple[str, ...]:
    _ = loc.text
    state = loc.translate(one.refused.found) if one.refused else _("in force") if one.in_force else ""
    evaluated = (
        loc.translate(Message("One patient", "{count} patients", count=one.patients))
        if one.patients
        else _("no report")
    )
    taught = "–" if one.refused else _("synthetic patients") if one.synthetic else _("real patients")
    return one.digest[:12], one.name, one.version, taught, evaluated, state


def _draw_change(held: tuple[RegisteredModel, ...], loc: Localization) -> None:
    """Promote another model, or go back; both need a reason."""
    _ = loc.text
    usable = {one.digest: one for one in held if one.refused is None and one.patients and not one.in_force}
    with st.form("models"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.selectbox(
                _("Model to promote"),
                list(usable),
                index=None,
                format_func=lambda digest: f"{usable[digest].name} {usable[digest].version} ({digest[:12]})",
                placeholder=_("with an evaluation report, and not in force"),
                width=420,
            )
            reason = st.text_input(_("Reason"), key="model_reason", width=420)
        with st.container(horizontal=True):
            submit, shown = st.form_submit_button, digest_of_models(held)
            promoted = decision_button(_("Promote"), shown, key="promote", button=submit, icon=":material/verified:")
            label = _("Back to the model before")
            back = decision_button(label, shown, key="roll_back", button=submit, icon=":material/undo:")
    st.caption(_("New cases are answered by the model in force. Cases that have an answer keep its model."))
    if not (promoted or back):
        return
    if not reason.strip() or (promoted and chosen is None):
        st.error(_("Choose a model and give the reason."), icon=":material/error:")
        return
    models = services().models
    try:
        if promoted and chosen is not None:
            models.promote(chosen, actor=user(), reason=reason.strip(), shown=shown)
        else:
            models.roll_back(actor=user(), reason=reason.strip(), shown=shown)
    except FedpetError as error:
        show_error(error, loc)
    else:
        st.rerun()
