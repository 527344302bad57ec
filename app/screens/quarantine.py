"""What was received and contradicts what is there: an administrator makes a case of it or removes it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import streamlit as st

from app.exchange.quarantine import REASONS, discard, quarantined, release
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import errors_shown, user
from app.services import services
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from app.exchange.quarantine import Quarantined
    from app.screens.layout.localization import Localization


def draw(loc: Localization) -> None:
    """Draw what is kept apart, each with its two ways out."""
    _ = loc.text
    apart = quarantined(services().settings.folder)
    if not apart:
        st.info(_("Nothing is in quarantine."))
    for one in apart:
        with st.container(border=True):
            _draw_one(one, loc)


def draw_notice(loc: Localization) -> None:
    """Say above the list of cases that something is in quarantine."""
    if apart := quarantined(services().settings.folder):
        count = sum(one.images for one in apart)
        words = Message(
            "One image is in quarantine: an administrator decides what becomes of it.",
            "{count} images are in quarantine: an administrator decides what becomes of them.",
            count=count,
        )
        st.warning(loc.translate(words), icon=":material/shield_question:")


def _draw_one(one: Quarantined, loc: Localization) -> None:
    _ = loc.text
    what = Message("{n} objects are in quarantine: {why}.", n=one.images, why=REASONS[one.reason])
    st.write(loc.translate(what))
    since = Message("since {moment}", moment=loc.moment(datetime.fromisoformat(one.since)))
    facts = [loc.translate(since)]
    if one.case:
        facts.append(loc.translate(Message("case {number}", number=one.case[:8])))
    st.caption(" · ".join(facts))
    with st.container(horizontal=True):
        make = decision_button(_("Make a case of them"), one.digest, key=f"release_{one.folder.name}")
        drop = decision_button(_("Remove them for good"), one.digest, key=f"discard_{one.folder.name}")
    site = services()
    with errors_shown(loc):
        if make:
            origin = f"pacs:{site.settings.pacs_listen.pacs}"
            release(site.workflow, one, language=loc.language, origin=origin, actor=user())
        elif drop:
            discard(site.workflow, one, actor=user(), reason=str(REASONS[one.reason]))
        else:
            return
        st.rerun()
