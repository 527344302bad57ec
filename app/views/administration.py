"""Administration: users, audit trail, models, retention, erasure of a patient."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.access import Role
from app.erasure import erase_patient, outdated, purge
from app.services import FILES, services
from app.views import registry
from app.views.frame import user
from app.views.sign_in import ROLES
from app.views.speech import speech
from app.views.tables import table
from fedpet.messages import Message
from imaging.loading import pseudonym

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamlit.navigation.page import StreamlitPage

    from app.tables import Entry
    from app.views.speech import Speech

_SHOWN = 200  # entries of the trail on the page; the export has all
_PSEUDONYM = "P-"  # how each begins


def draw(*, card: StreamlitPage) -> None:
    """Draw one part at a time."""
    spoken = speech()
    _ = spoken.text
    st.title(_("Administration"), anchor=False)
    parts: dict[str, Callable[[Speech], None]] = {
        _("Users"): _draw_users,
        _("Audit trail"): _draw_trail,
        _("Models"): partial(registry.draw, card=card),
        _("Retention"): _draw_retention,
        _("Erasure of a patient"): _draw_erasure,
    }
    names = list(parts)
    chosen = st.segmented_control(_("Part"), names, default=names[0], required=True, label_visibility="collapsed")
    parts[chosen](spoken)


def _draw_users(spoken: Speech) -> None:
    _ = spoken.text
    if services().access.local:
        st.info(_("Local single-user mode: nobody signs in; every case is the local user’s."))
        return
    rows = (
        (one.name, spoken.say(ROLES[Role(one.role)]), spoken.moment(one.seen)) for one in services().accounts.listed()
    )
    table((_("Name"), _("Role"), _("Last sign-in")), rows, label=_("Users"))
    st.caption(_("Roles are given by the provider of identities; they hold from the next sign-in on."))


def _draw_trail(spoken: Speech) -> None:
    _ = spoken.text
    audit = services().workflow.audit
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(_("Filter"), placeholder=_("user, action, case or day"), width=280)
        verify = st.button(_("Verify the chain"), icon=":material/verified:")
        _draw_link("audit.jsonl", _("Export (JSON lines)"))
    if verify:
        verdict = audit.verify()
        if verdict.broken is None:
            sound = Message("The chain is sound: {n} entries follow each other unchanged.", n=verdict.entries)
            st.success(spoken.say(sound), icon=":material/verified:")
        else:
            st.error(spoken.say(verdict.broken), icon=":material/gpp_bad:")
    entries = audit.entries(words=words, newest=_SHOWN)
    headings = (_("No."), _("Time (UTC)"), _("User"), _("Action"), _("Case"), _("Model"), _("Detail"))
    table(headings, map(_entry_row, entries), label=_("Audit trail"))
    if len(entries) == _SHOWN:
        st.caption(spoken.say(Message("The newest {n} entries; the export has all.", n=_SHOWN)))


def _entry_row(entry: Entry) -> tuple[str, ...]:
    detail = json.dumps(entry.detail, ensure_ascii=False) if entry.detail else ""
    moment = entry.moment[:19].replace("T", " ")
    return str(entry.number), moment, entry.actor, entry.action, entry.case[:8], entry.model[:12], detail


def _draw_retention(spoken: Speech) -> None:
    _ = spoken.text
    opened = services()
    days = opened.settings.retention_days
    if not days:
        st.info(_("Cases are kept until somebody erases them (setting retention_days = 0)."))
        return
    old = outdated(opened.store, days)
    st.write(spoken.say(Message("Cases are kept {days} days; {n} are older.", days=days, n=len(old))))

    @st.dialog(_("Erase the cases that are too old?"))
    def confirm() -> None:
        st.write(_("The cases, their images and their reports are erased. This cannot be undone."))
        if st.button(_("Erase for good"), type="primary"):
            _tell(purge(opened.workflow, days, opened.proofs, actor=user()), spoken)

    if old and st.button(_("Erase what is too old"), icon=":material/auto_delete:"):
        confirm()


def _draw_erasure(spoken: Speech) -> None:
    _ = spoken.text
    opened = services()
    st.write(_("Every case of the patient is erased, with its images, reports and signed versions."))
    with st.form("erasure"):
        given = st.text_input(
            _("Pseudonym (P-…), or the patient’s identifier in the PACS"),
            help=_("The identifier is turned into the pseudonym and forgotten."),
        ).strip()
        reason = st.text_input(_("Reason"), placeholder=_("asked by the patient; never a name"))
        sure = st.checkbox(_("I have checked: this cannot be undone"))
        asked = st.form_submit_button(_("Erase the patient’s cases"), icon=":material/person_remove:")
    if not asked:
        return
    if not (given and reason.strip() and sure):
        words = _("Give the pseudonym or the identifier and the reason, and confirm that you have checked.")
        st.error(words, icon=":material/error:")
        return
    known = given if given.startswith(_PSEUDONYM) else pseudonym(given, opened.settings.pseudonym_key())
    _tell(erase_patient(opened.workflow, known, opened.proofs, actor=user(), reason=reason.strip()), spoken)


def _tell(proof: Path | None, spoken: Speech) -> None:
    """Say what was erased, with the proof."""
    _ = spoken.text
    if proof is None:
        st.info(_("There is no such case."))
        return
    told = json.loads(proof.read_text(encoding="utf-8"))
    left = len(told["left_because_busy"])
    words = Message("{n} cases erased, {left} left because they are being computed.", n=told["cases"], left=left)
    st.success(spoken.say(words), icon=":material/delete_forever:")
    _draw_link(proof.name, _("Proof of the erasure (JSON)"))


def _draw_link(name: str, label: str) -> None:
    link = f"{FILES}/administration/{name}"
    st.html(f"<p class='fp-links'><a class='fp-button' href='{link}' download>{escape(label)}</a></p>")
