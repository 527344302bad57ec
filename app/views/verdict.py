"""The report, the reader's verdict, and the versions that were signed."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.options import CaseOptions
from app.services import FILES, services
from app.tables import Decision, Status
from app.views import model, sending
from app.views.frame import follow_progress, user
from fedpet.messages import LANGUAGES, Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.tables import Case, Version
    from app.views.speech import Speech

DECISIONS = {
    Decision.ACCEPT: Message("accepted"),
    Decision.AMEND: Message("amended"),
    Decision.REJECT: Message("rejected"),
}
_LANGUAGE_NAMES = {"fr": Message("French"), "en": Message("English")}


def draw(case: Case, spoken: Speech) -> None:
    """Draw the preview of the report, the verdict to be given or given, and the older versions."""
    _ = spoken.text
    versions = services().store.versions(case.id)
    current = next((version for version in versions if version.number == case.version), None)
    with st.container(key="stack_verdict"):
        left, right = st.columns((1.0, 1.25), gap="large")
    with left:
        if case.status is Status.SIGNING:
            follow_progress(case.id, Status.SIGNING, spoken)
        elif current is not None:
            _draw_signed(case, current, spoken)
        else:
            _draw_form(case, spoken)
        draw_earlier(case, [version for version in versions if version is not current], spoken)
    with right:
        _draw_preview(case, current, spoken)


def _draw_form(case: Case, spoken: Speech) -> None:
    """The verdict; what is amended or rejected says why."""
    _ = spoken.text
    if case.sentence is not None:
        st.error(spoken.say(case.sentence), icon=":material/error:")
        if st.button(_("Compute the case again"), icon=":material/refresh:"):
            services().workflow.change_lesions(case.id, CaseOptions.from_json(case.options), actor=user())
            st.rerun()
    model.draw_other_in_force(case, spoken)
    with st.form(f"verdict_{case.id}"):
        decision = st.radio(
            _("Your verdict on the model's answer"),
            list(DECISIONS),
            index=None,
            format_func=lambda choice: spoken.say(DECISIONS[choice]).capitalize(),
        )
        comment = st.text_area(_("Comment (required to amend or to reject)"), max_chars=4000)
        st.caption(
            spoken.say(
                Message(
                    "Signed as “{user}”. The report is then final; a later change makes a new version.", user=user()
                )
            )
        )
        asked = st.form_submit_button(_("Sign the report"), type="primary", icon=":material/signature:")
    if not asked:
        return
    if decision is None or (decision is not Decision.ACCEPT and not comment.strip()):
        st.error(_("Choose a verdict; to amend or to reject, say why in the comment."), icon=":material/error:")
    elif services().workflow.sign(case.id, decision, comment, actor=user()):
        st.rerun()
    else:
        st.error(_("This case was changed meanwhile. Reload the page."), icon=":material/error:")


def _draw_signed(case: Case, version: Version, spoken: Speech) -> None:
    _ = spoken.text
    st.success(_sentence(version, spoken), icon=":material/verified:")
    if version.comment:
        st.html(f"<blockquote class='fp-comment'>{escape(version.comment)}</blockquote>")
    st.caption(f"{_('Content hash')} : `{version.content_hash}`")
    _draw_links(case, version, spoken)
    sending.draw(case, version, spoken)
    if st.button(_("Open a new version"), icon=":material/edit:"):
        services().workflow.amend(case.id, actor=user())
        st.rerun()


def draw_earlier(case: Case, versions: Sequence[Version], spoken: Speech) -> None:
    """Draw the versions that were signed, with their reports; they can be read whatever the case is doing now."""
    if not versions:
        return
    st.subheader(spoken.text("Earlier versions"), anchor=False)
    for version in versions:
        st.write(_sentence(version, spoken))
        _draw_links(case, version, spoken)


def _draw_links(case: Case, version: Version, spoken: Speech) -> None:
    labels = {
        language: spoken.say(
            Message("Version {n}, {language} (PDF)", n=version.number, language=_LANGUAGE_NAMES[language])
        )
        for language in LANGUAGES
    }
    links = "".join(
        f"<a class='fp-button' href='{FILES}/{case.id}/{version.number}/report.{language}.pdf' download>"
        f"{escape(label)}</a>"
        for language, label in labels.items()
    )
    st.html(f"<p class='fp-links'>{links}</p>")


def _draw_preview(case: Case, signed: Version | None, spoken: Speech) -> None:
    """The pages of the report, as they will be printed."""
    _ = spoken.text
    store = services().store
    folder = store.version_folder(case.id, signed.number) if signed else store.folder(case.id)
    base = f"{FILES}/{case.id}/{signed.number}" if signed else f"{FILES}/{case.id}"
    st.subheader(_("Signed report") if signed else _("Report, not signed yet"), anchor=False)
    pages = sorted(folder.glob(f"report.{spoken.language}.?.png"))
    # the time of the file changes the address, so that a browser shows the report of today
    pictures = "".join(
        f"<img src='{base}/{page.name}?{page.stat().st_mtime_ns}' "
        f"alt='{escape(spoken.say(Message('Page {n} of the report', n=number)))}'>"
        for number, page in enumerate(pages, start=1)
    )
    label = escape(_("Preview of the report"))
    st.html(f"<div class='fp-preview' tabindex='0' role='region' aria-label='{label}'>{pictures}</div>")


def _sentence(version: Version, spoken: Speech) -> str:
    return spoken.say(
        Message(
            "Version {n}: {decision} by {reader}, {moment}.",
            n=version.number,
            decision=DECISIONS[version.decision],
            reader=version.reader,
            moment=spoken.moment(version.signed),
        )
    )
