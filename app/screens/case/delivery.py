"""Delivery of the results of a signed version to a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.cases.deliveries import Deliveries
from app.cases.tables import DeliveryState
from app.exchange.cases import RESULTS, delivery_record, study_of, viewer_link
from app.screens.layout.frame import user
from app.services import services
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from app.cases.tables import Case, Delivery, SignedVersion
    from app.screens.layout.localization import Localization

_REFRESH_SECONDS = 1.0


def draw(case: Case, version: SignedVersion, loc: Localization) -> None:
    """Draw the delivery to a PACS and its state; nothing where no PACS is configured."""
    opened = services()
    folder = opened.store.version_folder(case.id, version.number) / RESULTS
    if not opened.settings.pacs or not folder.is_dir():
        return
    outbox = Deliveries(opened.store.engine)
    delivery = outbox.get(case.id, version.number)
    if delivery is not None and delivery.state is DeliveryState.UNDER_WAY:
        _follow_delivery(outbox, delivery, loc)
        return
    sent = (delivery is not None and delivery.state is DeliveryState.DONE) or delivery_record(folder).exists()
    _show_state(delivery, loc, sent=sent)
    name = _choose(case, delivery, loc)
    label = loc.text("Send again") if delivery is not None or sent else loc.text("Send to the PACS")
    if st.button(label, type="tertiary" if sent else "secondary", icon=":material/send:"):
        opened.workflow.send(case.id, version.number, pacs=name, actor=user())
        st.rerun()
    if sent or case.origin == f"pacs:{name}":
        _draw_link(name, study_of(folder), loc)


def _choose(case: Case, delivery: Delivery | None, loc: Localization) -> str:
    """The PACS of the last delivery, else the one that the images came from, else the first."""
    names = sorted(services().settings.pacs)
    wanted = delivery.pacs if delivery else case.origin.removeprefix("pacs:")
    if len(names) == 1:
        return names[0]
    chosen: str = st.selectbox(loc.text("PACS"), names, index=names.index(wanted) if wanted in names else 0)
    return chosen


def _follow_delivery(outbox: Deliveries, delivery: Delivery, loc: Localization) -> None:
    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        now = outbox.get(delivery.case, delivery.number)
        if now is None or now.state is not DeliveryState.UNDER_WAY:
            st.rerun()
        words = Message("Sending the results to “{pacs}”. You may close this page.", pacs=delivery.pacs)
        st.info(loc.translate(words), icon=":material/send:")

    follow()


def _show_state(delivery: Delivery | None, loc: Localization, *, sent: bool) -> None:
    if delivery is not None and delivery.state is DeliveryState.REFUSED:
        why = loc.translate(delivery.sentence) if delivery.sentence else ""
        head = loc.translate(Message("The PACS “{pacs}” did not accept everything.", pacs=delivery.pacs))
        st.error(f"**{head}** {why}", icon=":material/cancel_schedule_send:")
    elif delivery is not None:
        words = Message("Sent to the PACS “{pacs}”, {moment}.", pacs=delivery.pacs, moment=loc.moment(delivery.moment))
        st.success(loc.translate(words), icon=":material/mark_email_read:")
    elif sent:
        st.success(loc.text("The results were sent back to the PACS automatically."), icon=":material/mark_email_read:")


def _draw_link(name: str, study_uid: str, loc: Localization) -> None:
    if link := viewer_link(services().settings.pacs[name], study_uid):
        st.link_button(loc.text("Open the study in OHIF"), link, icon=":material/open_in_new:")
