"""The report, the reader's verdict, and the versions that were signed."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.options import CaseOptions
from app.cases.tables import Decision, Status
from app.screens import model_card as model
from app.screens.case import delivery as sending
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import follow_progress, user
from app.services import FILES, services
from fedpet.core.errors import CaseError
from fedpet.core.messages import LANGUAGES, Message
from reports.pdf.style import unprintable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cases.stored_result import StoredResult
    from app.cases.tables import Case, SignedVersion
    from app.screens.layout.localization import Localization

DECISIONS = {
    Decision.ACCEPT: Message("accepted"),
    Decision.AMEND: Message("amended"),
    Decision.REJECT: Message("rejected"),
}
ON_MEASUREMENTS = {
    Decision.ACCEPT: Message("measurements accepted"),
    Decision.AMEND: Message("measurements amended"),
    Decision.REJECT: Message("measurements rejected"),
}
_LONGEST_COMMENT = 4000  # characters
_LONGEST_CONCLUSION = 600  # characters: it stands on the first page
_LANGUAGE_NAMES = {"fr": Message("French"), "en": Message("English")}


def draw(case: Case, result: StoredResult, loc: Localization) -> None:
    """Draw the preview of the report, the verdict to be given or that was given, and the earlier versions."""
    _ = loc.text
    versions = services().store.versions(case.id)
    current = next((version for version in versions if version.number == case.version), None)
    if case.status is Status.SIGNING:
        follow_progress(case.id, Status.SIGNING, loc)
    elif current is not None:
        _draw_signed(case, current, loc)
    else:
        _draw_form(case, result, loc)
    draw_earlier(case, [version for version in versions if version is not current], loc)
    _draw_preview(case, current, loc)


def _draw_form(case: Case, result: StoredResult, loc: Localization) -> None:
    """The verdict to be given. It is saved as a draft with every change."""
    _ = loc.text
    if case.sentence is not None:
        st.error(loc.translate(case.sentence), icon=":material/error:")
        if decision_button(_("Compute the case again"), case.digest, key="again", icon=":material/refresh:"):
            options = CaseOptions.from_json(case.options)
            services().workflow.change_lesions(case.id, options, actor=user(), shown=case.digest)
            st.rerun()
    model.draw_other_in_force(case, loc)
    with st.container(border=True):
        _draw_reading(case, loc)
        decision, comment, conclusion = _draw_fields(case, result, loc)
        st.caption(
            loc.translate(
                Message(
                    "Signed as “{user}”. The report is then final; a later change makes a new version.", user=user()
                )
            )
        )
        label = _("Sign the report")
        if not decision_button(label, case.digest, key="sign", type="primary", icon=":material/signature:"):
            return
        if problem := _problem(decision, comment, loc) or _unprintable(conclusion, loc):
            st.error(problem, icon=":material/error:")
        elif decision is not None:
            services().workflow.sign(case.id, decision, comment, conclusion=conclusion, actor=user(), shown=case.digest)
            st.rerun()


def _draw_reading(case: Case, loc: Localization) -> None:
    """Let a reader say that they have read the answer; opening a page never says so by itself."""
    _ = loc.text
    if case.status is not Status.READY:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if decision_button(_("I have read this answer"), case.digest, key="read", icon=":material/visibility:"):
            services().workflow.mark_read(case, actor=user())
            st.rerun()
        st.caption(_("Opening the page does not mark it as read; signing does."))


def _draw_fields(case: Case, result: StoredResult, loc: Localization) -> tuple[Decision | None, str, str]:
    """The decision, the comment and the conclusion, as this reader left them."""
    _ = loc.text
    reader, draft = user(), case.verdict or {}
    if draft.get("reader") != reader:
        draft = {}
    # a verdict holds for the answer that was displayed; the words of the comment stay for the next one
    decision_key, comment_key = f"decision_{case.id}_{case.digest}", f"comment_{case.id}_{case.version}"
    st.session_state.setdefault(decision_key, Decision(draft["decision"]) if draft.get("decision") else None)
    st.session_state.setdefault(comment_key, draft.get("comment", ""))

    conclusion_key = f"conclusion_{case.id}_{case.version}"
    st.session_state.setdefault(conclusion_key, draft.get("conclusion", ""))

    def save() -> None:
        with suppress(CaseError):  # the page, drawn again after this, shows the state of the case
            services().store.save_verdict(
                case.id,
                decision=st.session_state[decision_key],
                comment=st.session_state[comment_key],
                conclusion=st.session_state[conclusion_key],
                reader=reader,
            )

    abstained = result.prediction.abstained is not None
    decisions = ON_MEASUREMENTS if abstained else DECISIONS
    decision: Decision | None = st.radio(
        _("Your verdict on the measurements: the model gave no answer")
        if abstained
        else _("Your verdict on the model's answer"),
        list(decisions),
        index=None,
        format_func=lambda choice: loc.translate(decisions[choice]).capitalize(),
        key=decision_key,
        on_change=save,
    )
    comment: str = st.text_area(_("Comment (required to amend or to reject)"), key=comment_key, on_change=save)
    conclusion: str = st.text_area(
        _("Conclusion of the report, in your words (empty: the sentences in the preview)"),
        key=conclusion_key,
        max_chars=_LONGEST_CONCLUSION,
        on_change=save,
    )
    return decision, comment, conclusion


def _problem(decision: Decision | None, comment: str, loc: Localization) -> str:
    """Why a verdict cannot be signed; "" where it can."""
    _ = loc.text
    if decision is None or (decision is not Decision.ACCEPT and not comment.strip()):
        return _("Choose a verdict; to amend or to reject, say why in the comment.")
    if len(comment) > _LONGEST_COMMENT:
        return loc.translate(
            Message(
                "The comment has {count} characters; a report takes {most} at most.",
                count=loc.number(len(comment), 0),
                most=loc.number(_LONGEST_COMMENT, 0),
            )
        )
    return _unprintable(comment, loc)


def _unprintable(text: str, loc: Localization) -> str:
    """That the report cannot print some characters; "" where it can."""
    if signs := unprintable(text):
        return loc.translate(
            Message("The report cannot print these characters, write them in words: {signs}", signs=" ".join(signs))
        )
    return ""


def _draw_signed(case: Case, version: SignedVersion, loc: Localization) -> None:
    _ = loc.text
    st.success(_sentence(version, loc), icon=":material/verified:")
    if version.comment:
        st.html(f"<blockquote class='fp-comment'>{escape(version.comment)}</blockquote>")
    st.caption(f"{loc.titled(_('Content hash'))} `{version.content_hash}`")
    _draw_links(case, version, loc)
    sending.draw(case, version, loc)
    if decision_button(_("Open a new version"), case.digest, key="version", icon=":material/edit:"):
        services().workflow.open_version(case.id, actor=user(), shown=case.digest)
        st.rerun()


def draw_earlier(case: Case, versions: Sequence[SignedVersion], loc: Localization) -> None:
    """Draw the versions that were signed, with their reports; they can be read whatever the case is doing now."""
    if not versions:
        return
    st.subheader(loc.text("Earlier versions"), anchor=False)
    for version in versions:
        st.write(_sentence(version, loc))
        _draw_links(case, version, loc)


def _draw_links(case: Case, version: SignedVersion, loc: Localization) -> None:
    labels = {
        language: loc.translate(
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
    _ = loc.text
    named = "".join(
        f"<a class='fp-button' href='{FILES}/{case.id}/{version.number}/identified.{language}.pdf' download>"
        f"{escape(loc.translate(_LANGUAGE_NAMES[language]).capitalize())}</a>"
        for language in LANGUAGES
    )
    with st.expander(_("With the patient’s identity, for the hospital’s file")):
        st.caption(
            _("Name, birth date and identifiers are read from the images now, and kept nowhere. It is recorded.")
        )
        st.html(f"<p class='fp-links'>{named}</p>")


def _draw_preview(case: Case, signed: SignedVersion | None, loc: Localization) -> None:
    """The pages of the report, as they will be printed."""
    _ = loc.text
    store = services().store
    folder = store.version_folder(case.id, signed.number) if signed else store.folder(case.id)
    base = f"{FILES}/{case.id}/{signed.number}" if signed else f"{FILES}/{case.id}"
    st.subheader(_("Signed report") if signed else _("Report, not signed yet"), anchor=False)
    if not signed:
        reports = (("fr", _("Report in French")), ("en", _("Report in English")))
        links = "".join(
            f"<a class='fp-button' href='{base}/report.{language}.pdf' download>{label} (PDF)</a>"
            for language, label in reports
        )
        st.html(f"<p class='fp-links'>{links}</p>")
    pages = sorted(folder.glob(f"report.{loc.language}.*.png"), key=lambda page: int(page.suffixes[-2][1:]))
    # the time of the file changes the address, so that a browser shows the report of today
    pictures = "".join(
        f"<img src='{base}/{page.name}?{page.stat().st_mtime_ns}' "
        f"alt='{escape(loc.translate(Message('Page {n} of the report', n=number)))}'>"
        for number, page in enumerate(pages, start=1)
    )
    label = escape(_("Preview of the report"))
    st.html(f"<div class='fp-preview' tabindex='0' role='region' aria-label='{label}'>{pictures}</div>")


def _sentence(version: SignedVersion, loc: Localization) -> str:
    return loc.translate(
        Message(
            "Version {n}: {decision} by {reader}, {moment}.",
            n=version.number,
            decision=DECISIONS[version.decision],
            reader=version.reader,
            moment=loc.moment(version.signed),
        )
    )
