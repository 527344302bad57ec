"""The results of a signed version on their way to a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.outbox import Outbox
from app.pacs import RESULTS, sent_note, study_of, viewer_link
from app.services import services
from app.tables import Sending
from app.views.frame import user
from fedpet.messages import Message

if TYPE_CHECKING:
    from app.tables import Case, Delivery, Version
    from app.views.speech import Speech

_REFRESH_SECONDS = 1.0


def draw(case: Case, version: Version, spoken: Speech) -> None:
    """Draw the way to a PACS, and whether the objects of the version are there; nothing where none is configured."""
    opened = services()
    folder = opened.store.version_folder(case.id, version.number) / RESULTS
    if not opened.settings.pacs or not folder.is_dir():
        return
    outbox = Outbox(opened.store.engine)
    delivery = outbox.get(case.id, version.number)
    if delivery is not None and delivery.state is Sending.UNDER_WAY:
        _follow(outbox, delivery, spoken)
        return
    sent = (delivery is not None and delivery.state is Sending.DONE) or sent_note(folder).exists()
    _tell(delivery, spoken, sent=sent)
    name = _choose(case, delivery, spoken)
    label = spoken.text("Send again") if delivery is not None or sent else spoken.text("Send to the PACS")
    if st.button(label, type="tertiary" if sent else "secondary", icon=":material/send:"):
        opened.workflow.send(case.id, version.number, pacs=name, actor=user())
        st.rerun()
    if sent or case.origin == f"pacs:{name}":
        _draw_link(name, study_of(folder), spoken)


def _choose(case: Case, delivery: Delivery | None, spoken: Speech) -> str:
    """The PACS that was asked last, else the one that the images came from, else the first."""
    names = sorted(services().settings.pacs)
    wanted = delivery.pacs if delivery else case.origin.removeprefix("pacs:")
    if len(names) == 1:
        return names[0]
    chosen: str = st.selectbox(spoken.text("PACS"), names, index=names.index(wanted) if wanted in names else 0)
    return chosen


def _follow(outbox: Outbox, delivery: Delivery, spoken: Speech) -> None:
    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        now = outbox.get(delivery.case, delivery.number)
        if now is None or now.state is not Sending.UNDER_WAY:
            st.rerun()
        words = Message("Sending the results to “{pacs}”. You may close this page.", pacs=delivery.pacs)
        st.info(spoken.say(words), icon=":material/send:")

    follow()


def _tell(delivery: Delivery | None, spoken: Speech, *, sent: bool) -> None:
    if delivery is not None and delivery.state is Sending.REFUSED:
        why = spoken.say(delivery.sentence) if delivery.sentence else ""
        head = spoken.say(Message("The PACS “{pacs}” did not take everything.", pacs=delivery.pacs))
        st.error(f"**{head}** {why}", icon=":material/cancel_schedule_send:")
    elif delivery is not None:
        words = Message(
            "Sent to the PACS “{pacs}”, {moment}.", pacs=delivery.pacs, moment=spoken.moment(delivery.moment)
        )
        st.success(spoken.say(words), icon=":material/mark_email_read:")
    elif sent:
        st.success(spoken.text("The results went back to the PACS by themselves."), icon=":material/mark_email_read:")


def _draw_link(name: str, study_uid: str, spoken: Speech) -> None:
    if link := viewer_link(services().settings.pacs[name], study_uid):
        st.link_button(spoken.text("Open the study in OHIF"), link, icon=":material/open_in_new:")
