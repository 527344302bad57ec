"""Who uses the pages: the line that says so, the way to sign in, and the way out."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

import streamlit as st

from app.access import Role
from app.services import ACTIVE, services
from fedpet.errors import SignInRefused
from fedpet.messages import Message

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from app.access import User
    from app.views.speech import Speech

ROLES = {
    Role.VISITOR: Message("visitor"),
    Role.READER: Message("reader"),
    Role.ADMINISTRATOR: Message("administrator"),
}
_activity = st.components.v2.component("fedpet_activity", js=(resources.files("app.views") / "activity.js").read_text())


def draw(session: str, corner: DeltaGenerator, spoken: Speech) -> User:
    """Say in a corner who uses the page; where nobody does, the page ends with the way to sign in."""
    access = services().access
    user = access.user(session)
    if user is None and st.user.get("is_logged_in"):
        user = _bind(session, spoken)
    if user is None:
        _draw_entrance(spoken)
        st.stop()
    with corner:
        _draw_user(user, session, spoken)
    return user


def _bind(session: str, spoken: Speech) -> User | None:
    try:
        return services().access.sign_in(session, st.user.to_dict())
    except SignInRefused as refused:
        st.error(refused.translate(spoken.say), icon=":material/block:")
        return None


def _draw_entrance(spoken: Speech) -> None:
    _ = spoken.text
    st.title(_("Sign in"), anchor=False)
    if st.user.get("is_logged_in"):
        settings = services().settings
        st.info(
            spoken.say(
                Message(
                    "Your session has ended: after {minutes:.0f} minutes without activity, after {hours:.0f} hours, or "
                    "because you signed out.",
                    minutes=settings.idle_minutes,
                    hours=settings.session_hours,
                )
            ),
            icon=":material/lock_clock:",
        )
    st.write(_("The application knows its users by the account of your institution."))
    if st.button(_("Sign in"), type="primary", icon=":material/login:", key="sign_in"):
        st.login()


def _draw_user(user: User, session: str, spoken: Speech) -> None:
    _ = spoken.text
    access = services().access
    if access.local:
        words = _("Local single-user mode: no sign-in, this computer only")
        st.html(f"<p class='fp-user' role='note'>{words}</p>")
        return
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        who = Message("Signed in: {user} ({role})", user=user.name, role=ROLES[user.role])
        st.html(f"<p class='fp-user'>{escape(spoken.say(who))}</p>", width="content")
        if st.button(_("Sign out"), type="tertiary", icon=":material/logout:", key="sign_out"):
            access.sign_out(session)
            st.logout()
            st.stop()
    _activity(data=ACTIVE, key="activity", height=1)
