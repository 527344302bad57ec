"""Administration: users, audit trail, models, monitoring, quarantine, retention, erasure of a patient."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.access.sessions import Role
from app.cases.erasure import digest_of_cases, erase_patient, find_expired, purge
from app.cases.lifecycle import STATUS_LABELS
from app.cases.reading import Reading, changes
from app.screens import audit_table, monitoring, quarantine
from app.screens import model_registry as registry
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import errors_shown, user
from app.screens.layout.localization import localization
from app.screens.layout.sign_in import ROLES
from app.screens.layout.tables import table
from app.services import FILES, services
from fedpet.core.messages import Message
from fedpet.core.pseudonyms import PREFIX, pseudonym

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamlit.navigation.page import StreamlitPage

    from app.screens.layout.localization import Localization

_SHOWN = 200  # entries of the trail on the page; the export holds all


def draw(*, card: StreamlitPage) -> None:
    """Draw one part at a time."""
    loc = localization()
    _ = loc.text
    st.title(_("Administration"), anchor=False)
    parts: dict[str, Callable[[Localization], None]] = {
        _("Users"): _draw_users,
        _("Audit trail"): _draw_trail,
        _("Models"): partial(registry.draw, card=card),
        _("Monitoring"): monitoring.draw,
        _("Readings"): _draw_readings,
        _("Quarantine"): quarantine.draw,
        _("Retention"): _draw_retention,
        _("Erasure of a patient"): _draw_erasure,
    }
    names = list(parts)
    chosen = st.segmented_control(_("Part"), names, default=names[0], required=True, label_visibility="collapsed")
    parts[chosen](loc)


def _draw_users(loc: Localization) -> None:
    _ = loc.text
    if services().access.local:
        st.info(_("Local single-user mode: nobody signs in; every case is the local user’s."))
        return
    rows = ((one.name, loc.translate(ROLES[Role(one.role)]), loc.moment(one.seen)) for one in services().accounts.all())
    table((_("Name"), _("Role"), _("Last sign-in")), rows, label=_("Users"))
    st.caption(_("Roles are given by the provider of identities; they hold from the next sign-in on."))


def _draw_trail(loc: Localization) -> None:
    _ = loc.text
    audit = services().workflow.audit
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(_("Filter"), placeholder=_("user, action, case or day"), width=280)
        verify = st.button(_("Verify the chain"), icon=":material/verified:")
        _draw_link("audit.jsonl", _("Export (JSON lines)"))
    if verify:
        verdict = audit.verify()
        if verdict.broken is None:
            sound = Message(
                "The chain is sound: one entry.",
                "The chain is sound: {count} entries follow each other unchanged.",
                count=verdict.entries,
            )
            st.success(loc.translate(sound), icon=":material/verified:")
        else:
            st.error(loc.translate(verdict.broken), icon=":material/gpp_bad:")
    entries = audit.entries(words=words, newest=_SHOWN)
    headings = (_("No."), _("Time (UTC)"), _("User"), _("Action"), _("Case"), _("Model"), _("Detail"))
    table(headings, (audit_table.row(entry, loc) for entry in entries), label=_("Audit trail"))
    if len(entries) == _SHOWN:
        st.caption(loc.translate(Message("The newest {n} entries; the export has all.", n=_SHOWN)))


def _draw_readings(loc: Localization) -> None:
    """How the answer relates to what readers had estimated before they saw it."""
    _ = loc.text
    if not services().settings.blind_reading:
        st.info(_("The answer is shown at once (setting blind_reading = false)."))
    found = changes(map(Reading.of, services().store.find_answered()))

    def points(value: float | None) -> str:
        return "–" if value is None else loc.signed(100 * value, 0)

    distance = "–" if found.mean_distance is None else loc.number(100 * found.mean_distance, 0)
    rows = (
        (_("Readings confirmed"), str(found.readings)),
        (_("With an estimate before the answer"), str(found.estimates)),
        (_("Answer minus estimate, mean (points)"), points(found.mean_change)),
        (_("Distance of answer and estimate, mean (points)"), distance),
        (_("Answer on the other side of 50 %"), str(found.other_side)),
    )
    table((_("Quantity"), _("Value")), rows, label=_("Readings"))


def _draw_retention(loc: Localization) -> None:
    _ = loc.text
    site = services()
    days = site.settings.retention_days
    if not days:
        st.info(_("Cases stay until somebody erases them (setting retention_days = 0)."))
        return
    old = find_expired(site.store, days)
    st.write(loc.translate(Message("Cases are kept {days} days; {n} are older.", days=days, n=len(old.cases))))
    if old.waiting:
        sentence = Message("Studies in inbox or quarantine to which nothing was added for as long: {n}.",
                           n=len(old.waiting))  # fmt: skip
        st.write(loc.translate(sentence))

    @st.dialog(_("Erase the cases that are too old?"))
    def confirm() -> None:
        st.write(_("The cases, their images and their reports are erased. This cannot be undone."))
        if st.button(_("Erase for good"), type="primary"):
            with errors_shown(loc):
                _show_proof(purge(site.workflow, days, site.proofs, actor=user(), shown=old.digest), loc)

    if old and st.button(_("Erase what is too old"), icon=":material/auto_delete:"):
        confirm()


def _draw_erasure(loc: Localization) -> None:
    _ = loc.text
    site = services()
    st.write(_("Every case of the patient is erased, with its images, reports and signed versions."))
    with st.form("erasure"):
        entry = st.text_input(
            _("Pseudonym (P-…), or the patient’s identifier in the PACS"),
            help=_("The identifier is turned into the pseudonym and forgotten."),
        ).strip()
        st.form_submit_button(_("Show the patient’s cases"), icon=":material/search:")
    if not entry:
        return
    own = entry if entry.startswith(PREFIX) else pseudonym(entry, site.settings.pseudonym_key())
    known = site.store.pseudonyms_of(own)
    if own not in known and len(known) > 1:
        sentence = Message("{n} persons bear this identifier: give the pseudonym ({names}).", n=len(known),
                           names=", ".join(known))  # fmt: skip
        st.error(loc.translate(sentence), icon=":material/error:")
        return
    _draw_found(own if own in known or not known else known[0], loc)


def _draw_found(name: str, loc: Localization) -> None:
    """The cases of a patient, and the form that erases what is shown of them."""
    _ = loc.text
    site, cases = services(), services().store.find_by_patient(name)
    found = Message(
        "One case of {pseudonym} is on this machine.",
        "{count} cases of {pseudonym} are on this machine.",
        count=len(cases),
        pseudonym=name,
    )
    st.write(loc.translate(found))
    rows = ((one.id[:8], loc.day(one.study_date), loc.translate(STATUS_LABELS[one.status])) for one in cases)
    table((_("Case"), _("PET/CT of"), _("Status")), rows, label=_("Cases"))
    with st.form("erase"):
        reason = st.text_input(_("Reason"), placeholder=_("requested by the patient; never a name"))
        sure = st.checkbox(_("I have checked: this cannot be undone"))
        label, shown = _("Erase the patient’s cases"), digest_of_cases(cases)
        icon, submit = ":material/person_remove:", st.form_submit_button
        pressed = decision_button(label, shown, key="erase", button=submit, icon=icon)
    if not pressed:
        return
    if not (reason.strip() and sure):
        st.error(_("Give the reason, and confirm that you have checked."), icon=":material/error:")
        return
    with errors_shown(loc):
        proof = erase_patient(site.workflow, name, site.proofs, actor=user(), reason=reason.strip(), shown=shown)
        _show_proof(proof, loc)


def _show_proof(proof: Path | None, loc: Localization) -> None:
    """Show what was erased, with a link to the proof."""
    _ = loc.text
    if proof is None:
        st.info(_("There is no such case."))
        return
    facts = json.loads(proof.read_text(encoding="utf-8"))
    left = len(facts["left_because_busy"])
    words = Message("{n} cases erased, {left} left because they are being computed.", n=facts["cases"], left=left)
    st.success(loc.translate(words), icon=":material/delete_forever:")
    _draw_link(proof.name, _("Proof of the erasure (JSON)"))


def _draw_link(name: str, label: str) -> None:
    link = f"{FILES}/administration/{name}"
    st.html(f"<p class='fp-links'><a class='fp-button' href='{link}' download>{escape(label)}</a></p>")
