"""What every page has: style, banner, choice of language; and how pages lead to each other."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Literal

import streamlit as st

from app.services import services
from app.tables import Status
from app.views import sign_in
from app.views.speech import LANGUAGE_KEY, speech
from fedpet.messages import LANGUAGES, Message

if TYPE_CHECKING:
    from app.access import User
    from app.tables import Case
    from app.views.speech import Speech
    from fedpet.errors import FedpetError

_REFRESH_SECONDS = 1.0
CASE = "case"  # parameter of the page's address: the random identifier of the case
STATUS: dict[Status, tuple[Message, Literal["gray", "blue", "green", "orange", "red"]]] = {
    Status.FETCHING: (Message("images coming in"), "blue"),
    Status.RECEIVED: (Message("received"), "gray"),
    Status.CHECKING: (Message("checking"), "blue"),
    Status.CHECKED: (Message("to be completed"), "gray"),
    Status.RUNNING: (Message("in progress"), "blue"),
    Status.READY: (Message("ready"), "green"),
    Status.READ: (Message("read"), "green"),
    Status.SIGNING: (Message("being signed"), "blue"),
    Status.SIGNED: (Message("signed"), "green"),
    Status.REFUSED: (Message("refused"), "orange"),
    Status.FAILED: (Message("failed"), "red"),
}
RISK = {
    "low": (Message("low risk"), "#1b7f4b"),
    "intermediate": (Message("intermediate risk"), "#a65f00"),
    "high": (Message("high risk"), "#b3261e"),
}

_STREAMLIT = (
    *(Message("Skip to main content"), Message("App pages"), Message("Help"), Message("Help for"), Message("Close")),
    *(Message("Show data"), Message("Download as PNG"), Message("Copy Vega-Lite spec"), Message("Copied!")),
    *(Message("Fullscreen"), Message("Close fullscreen"), Message("Increment"), Message("Decrement"), Message("Open")),
    *(Message("Clear all"), Message("Clear value"), Message("Select all"), Message("No results")),
    *(Message("Press Enter to apply"), Message("Press Enter to submit form")),
)  # words of its widgets

_document = st.components.v2.component("fedpet_document", js=(resources.files("app.views") / "document.js").read_text())


def open_frame() -> tuple[Speech, User]:
    """Draw what comes above every page; without a user the page ends with the way to sign in."""
    st.html(f"<style>{(resources.files('app.views') / 'style.css').read_text()}</style>")
    with st.container(horizontal=True, vertical_alignment="center", key="frame"):
        banner, corner = st.container(), st.container(width="content")
        st.segmented_control(
            "Langue / Language",
            LANGUAGES,
            format_func=str.upper,
            key=LANGUAGE_KEY,
            default=services().settings.language,
            required=True,
            bind="query-params",
            label_visibility="collapsed",
        )
    spoken = speech()
    _ = spoken.text
    with banner:
        words = _("Research use only – not a medical device – not a treatment decision")
        st.html(f"<p class='fp-banner' role='note'>{words}</p>")
    _upload_texts(spoken)
    streamlit = {message.template: spoken.say(message) for message in _STREAMLIT}
    _document(data={"language": spoken.language, "words": streamlit}, key="document", height=1)
    return spoken, sign_in.draw(session(), corner, spoken)


def synthetic_banner(spoken: Speech) -> None:
    """Say that the model learned from synthetic patients only."""
    _ = spoken.text
    title = _("SYNTHETIC MODEL")
    text = _("It was trained on simulated patients only: its answers say nothing about a real patient.")
    st.html(f"<p class='fp-banner fp-synthetic' role='note'><strong>{title}</strong> {text}</p>")


def is_synthetic(case: Case) -> bool:
    """Whether a model of synthetic patients answered the case."""
    return bool(case.result and case.result["prediction"]["model"]["synthetic"])


def session() -> str:
    """The session of this page; without one the page ends here, since no guard stands in front of it."""
    known = services().access.session(st.context.cookies)
    if known is None:
        st.error(speech().text("This page was not served by fedpet. Start the application with “fedpet app”."))
        st.stop()
    return known


def signed_in() -> User:
    """Who uses this page; where nobody does any more, the whole page is drawn again and asks to sign in."""
    known = services().access.user(session())
    if known is None:
        st.rerun()
    return known


def user() -> str:
    """The name of who uses this page, for the audit trail."""
    return signed_in().name


def chosen_case() -> Case | None:
    """The case that the page's address names, where its user may see it."""
    opened = services()
    case = opened.store.get(st.query_params.get(CASE, ""))
    if case is None or signed_in().sees(case):
        return case
    opened.access.refuse(session(), "case", case=case.id)
    return None


def follow_progress(case_id: str, status: Status, spoken: Speech) -> None:
    """Show how far a busy case is, until its status changes."""
    _ = spoken.text

    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        case = services().store.get(case_id)
        if case is None or case.status is not status:
            st.rerun()
        sentence = spoken.say(case.sentence) if case.sentence else ""
        st.progress(case.fraction, f"{sentence} – {spoken.percent(case.fraction)}")
        st.caption(_("You may close this page: the case stays in the list."))

    follow()


def show_error(error: FedpetError, spoken: Speech) -> None:
    """Show what was found, what was needed and what to do."""
    say = spoken.say
    st.error(f"**{say(error.found)}** {say(error.needed)} {say(error.advice)}", icon=":material/block:")


def _upload_texts(spoken: Speech) -> None:
    """Streamlit's upload widget speaks English only: its words are replaced by style."""
    _ = spoken.text
    limit = spoken.say(Message("or drop here ({size} GB at most)", size=services().settings.max_upload_mb // 1024))
    zone = "[data-testid=stFileUploaderDropzone]"
    st.html(
        f"<style>{zone} p {{font-size: 0}} {zone} p::after {{content: '{_('Browse')}'; font-size: 0.9rem}}"
        "[data-testid=stFileUploaderDropzoneInstructions] > * {display: none}"
        f"[data-testid=stFileUploaderDropzoneInstructions]::after {{content: '{limit}'; font-size: 0.9rem}}</style>"
    )
