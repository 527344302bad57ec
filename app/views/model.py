"""The model card: what the model is, what it was trained on, how well it does, and what it must not be used for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from app.models import answered_by
from app.options import CaseOptions
from app.services import services
from app.views.frame import show_error, synthetic_banner, user
from app.views.speech import speech
from fedpet.errors import FedpetError
from fedpet.messages import Message
from inference.card import evaluation_markdown
from inference.registry import EVALUATION, evaluation_of

if TYPE_CHECKING:
    from app.tables import Case
    from app.views.speech import Speech
    from inference.bundle import Bundle

MODEL = "model"  # parameter of the page's address: the digest of the bundle to show


def draw() -> None:
    """Draw the card of the model that the address names, or of the one in force."""
    spoken = speech()
    _ = spoken.text
    st.title(_("Model card"), anchor=False)
    named = st.query_params.get(MODEL, "")
    try:
        bundle = services().models.registry.find(named) if named else services().bundle
        if named and bundle.digest != services().bundle.digest:
            st.info(_("This model is not the one in force."), icon=":material/history:")
    except FedpetError as error:
        show_error(error, spoken)
        return
    if bundle.card["synthetic"]:
        synthetic_banner(spoken)
    _draw_card(bundle, spoken)
    st.caption(f"{_('Fingerprint of the bundle')} : `{bundle.digest}`")
    st.caption(f"{_('Fingerprint of the contract')} : `{bundle.contract.fingerprint}`")


def _draw_card(bundle: Bundle, spoken: Speech) -> None:
    with st.container(border=True):
        st.markdown((bundle.folder / "card.md").read_text(encoding="utf-8"))
        report = evaluation_of(bundle) if (bundle.folder / EVALUATION).is_file() else None
        if report is not None:
            st.subheader(spoken.text("Evaluation report"), anchor=False)
            st.markdown(evaluation_markdown(report))


def draw_other_in_force(case: Case, spoken: Speech) -> None:
    """Say where another model is in force than the one that answered a case, and let the case be computed by it."""
    try:
        bundle = services().bundle
    except FedpetError as error:
        show_error(error, spoken)
        return
    if answered_by(case) in {"", bundle.digest}:
        return
    words = Message(
        "This case keeps the model that answered it. Another one is in force now: {name} {version}.",
        name=bundle.card["name"],
        version=bundle.card["version"],
    )
    st.info(spoken.say(words), icon=":material/history:")
    if st.button(spoken.text("Compute with the model in force"), icon=":material/refresh:"):
        chosen = replace(CaseOptions.from_json(case.options), model=bundle.digest)
        services().workflow.change_lesions(case.id, chosen, actor=user())
        st.rerun()
