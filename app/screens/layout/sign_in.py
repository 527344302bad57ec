"""Who uses the pages: the line that says so, the way to sign in, and the way out."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

import streamlit as st

from app.access.sessions import Role
from app.services import ACTIVE, services
from fedpet.core.errors import SignInError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from app.access.sessions import User
    from app.screens.layout.localization import Localization

ROLES = {
    Role.VISITOR: Message("visitor"),
    Role.READER: Message("reader"),
    Role.ADMINISTRATOR: Message("administrator"),
}
_activity = st.components.v2.component(
    "fedpet_activity", js=(resources.files("app.screens.layout") / "activity.js").read_text()
)


def draw(session: str, corner: DeltaGenerator, loc: Localization) -> User:
    """Say in a corner who uses the page; where nobody does, the page ends with the way to sign in."""
    access = services().access
    user = access.user(session)
    if user is None and st.user.get("is_logged_in"):
        user = _bind(session, loc)
    if user is None:
        _draw_entrance(loc)
        st.stop()
    with corner:
        _draw_user(user, session, loc)
    return user


def _bind(session: str, loc: Localization) -> User | None:
    try:
        return services().access.sign_in(session, st.user.to_dict())
    except SignInError as refused:
        st.error(refused.translate(loc.translate), icon=":material/block:")
        return None


def _draw_entrance(loc: Localization) -> None:
    _ = loc.text
    st.title(_("Sign in"), anchor=False)
    if st.user.get("is_logged_in"):
        settings = services().settings
        st.info(
            loc.translate(
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


def _draw_user(user: User, session: str, loc: Localization) -> None:
    _ = loc.text
    access = services().access
    if access.local:
        words = _("Local single-user mode: no sign-in, this computer only")
        st.html(f"<p class='fp-user' role='note'>{words}</p>")
        return
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        who = Message("Signed in: {user} ({role})", user=user.name, role=ROLES[user.role])
        st.html(f"<p class='fp-user'>{escape(loc.translate(who))}</p>", width="content")
        if st.button(_("Sign out"), type="tertiary", icon=":material/logout:", key="sign_out"):
            access.sign_out(session)
            st.logout()
            st.stop()
    _activity(data=ACTIVE, key="activity", height=1)
