"""What every page has: style, banner, choice of language; and how pages lead to each other."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from app.cases.lifecycle import STATUS_LABELS
from app.cases.tables import Status
from app.screens.layout import sign_in
from app.screens.layout.localization import LANGUAGE_KEY, localization
from app.services import services
from fedpet.core.errors import FedpetError
from fedpet.core.messages import LANGUAGES, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.access.sessions import User
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

_REFRESH_SECONDS = 1.0
CASE = "case"  # parameter of the page's address: the random identifier of the case
STATUS_COLOURS: dict[Status, Literal["gray", "blue", "green", "orange", "red"]] = {
    Status.FETCHING: "blue",
    Status.RECEIVED: "gray",
    Status.CHECKING: "blue",
    Status.CHECKED: "gray",
    Status.RUNNING: "blue",
    Status.READY: "green",
    Status.READ: "green",
    Status.SIGNING: "blue",
    Status.SIGNED: "green",
    Status.REFUSED: "orange",
    Status.FAILED: "red",
}
RISK = {  # by what they mean; one hue, since the lower third has progressions too
    "low": (Message("lower third of the training cohort by risk"), "#5b7f95"),
    "intermediate": (Message("middle third of the training cohort by risk"), "#3d6a86"),
    "high": (Message("upper third of the training cohort by risk"), "#1f4a66"),
}

_STREAMLIT = (
    *(Message("Skip to main content"), Message("App pages"), Message("Help"), Message("Help for"), Message("Close")),
    *(Message("Show data"), Message("Download as PNG"), Message("Copy Vega-Lite spec"), Message("Copied!")),
    *(Message("Fullscreen"), Message("Close fullscreen"), Message("Increment"), Message("Decrement"), Message("Open")),
    *(Message("Clear all"), Message("Clear value"), Message("Select all"), Message("No results")),
    *(Message("Press Enter to apply"), Message("Press Enter to submit form")),
    *(Message("Cancel upload of"), Message("Remove")),
)  # words of its widgets

_document = st.components.v2.component(
    "fedpet_document", js=(resources.files("app.screens.layout") / "document.js").read_text()
)


def open_frame() -> tuple[Localization, User]:
    """Draw what comes above every page; without a user the page ends with the way to sign in."""
    st.html(f"<style>{(resources.files('app.screens.layout') / 'style.css').read_text()}</style>")
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
    loc = localization()
    _ = loc.text
    with banner:
        words = _("Research use only – not a medical device – not a treatment decision")
        st.html(f"<p class='fp-banner' role='note'>{words}</p>")
    _upload_texts(loc)
    streamlit = {message.template: loc.translate(message) for message in _STREAMLIT}
    _document(data={"language": loc.language, "words": streamlit, "notices": _notices(loc)}, key="document", height=1)
    return loc, sign_in.draw(session(), corner, loc)


def _notices(loc: Localization) -> dict[str, Any]:
    """What the browser says by itself: how far an upload is, and that the server does not answer."""
    _ = loc.text
    units = ("o", "ko", "Mo", "Go") if loc.language == "fr" else ("B", "KB", "MB", "GB")
    return {
        "uploading": loc.translate(
            Message("Sending the images: {share}", share=loc.percent(0).replace("0", "{percent}"))
        ),
        "silent": _(
            "The application does not answer. What was entered since may not be saved; the page goes on by itself "
            "as soon as it answers again."
        ),
        "units": dict(zip(("B", "KB", "MB", "GB"), units, strict=True)),
    }


def synthetic_banner(loc: Localization) -> None:
    """Say that the model learned from synthetic patients only."""
    _ = loc.text
    title = _("SYNTHETIC MODEL")
    text = _("It was trained on simulated patients only: its answers say nothing about a real patient.")
    st.html(f"<p class='fp-banner fp-synthetic' role='note'><strong>{title}</strong> {text}</p>")


def is_synthetic(case: Case) -> bool:
    """Whether a model of synthetic patients answered the case."""
    result = case.stored_result
    return result is not None and result.prediction.model.synthetic


def session() -> str:
    """The session of this page; without one the page ends here, since no guard stands in front of it."""
    known = services().access.session(st.context.cookies)
    if known is None:
        st.error(localization().text("This page was not served by fedpet. Start the application with “fedpet app”."))
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


def follow_progress(case_id: str, status: Status, loc: Localization) -> None:
    """Show how far a busy case is, until its status changes."""
    _ = loc.text

    @st.fragment(run_every=_REFRESH_SECONDS)
    def follow() -> None:
        case = services().store.get(case_id)
        if case is None or case.status is not status:
            st.rerun()
        sentence = loc.translate(case.sentence) if case.sentence else ""
        st.progress(case.fraction, f"{sentence} – {loc.percent(case.fraction)}")
        st.caption(_("You may close this page: the case stays in the list."))

    follow()


@contextmanager
def errors_shown(loc: Localization) -> Iterator[None]:
    """Show an error of fedpet in the place of the rest of a page or fragment."""
    try:
        yield
    except FedpetError as error:
        show_error(error, loc)


def show_status(status: Status, loc: Localization) -> None:
    """Show the state of a case as a badge."""
    st.badge(loc.translate(STATUS_LABELS[status]), color=STATUS_COLOURS[status])


def show_error(error: FedpetError, loc: Localization) -> None:
    """Show what was found, what was needed and what to do."""
    found, needed, advice = map(loc.translate, error.sentences)
    st.error(f"**{found}** {needed} {advice}", icon=":material/block:")


def _upload_texts(loc: Localization) -> None:
    """Streamlit's upload widget speaks English only: its words are replaced by style."""
    _ = loc.text
    limit = loc.translate(Message("or drop here ({size} GB at most)", size=services().settings.max_upload_mb // 1024))
    zone = "[data-testid=stFileUploaderDropzone]"
    st.html(
        f"<style>{zone} p {{font-size: 0}} {zone} p::after {{content: '{_('Browse')}'; font-size: 0.9rem}}"
        "[data-testid=stFileUploaderDropzoneInstructions] > * {display: none}"
        f"[data-testid=stFileUploaderDropzoneInstructions]::after {{content: '{limit}'; font-size: 0.9rem}}</style>"
    )
