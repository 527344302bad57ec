"""The model card: what the model is, what it was trained on, how well it does, and what it must not be used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.services import services
from app.views.frame import show_error, synthetic_banner
from app.views.speech import speech
from fedpet.errors import FedpetError

if TYPE_CHECKING:
    from inference.bundle import Bundle


def draw() -> None:
    """Draw the card of the model in force."""
    spoken = speech()
    _ = spoken.text
    st.title(_("Model card"), anchor=False)
    try:
        bundle = services().bundle
    except FedpetError as error:
        show_error(error, spoken)
        return
    if bundle.card["synthetic"]:
        synthetic_banner(spoken)
    _draw_card(bundle)
    st.caption(f"{_('Fingerprint of the bundle')} : `{bundle.digest}`")
    st.caption(f"{_('Fingerprint of the contract')} : `{bundle.contract.fingerprint}`")


def _draw_card(bundle: Bundle) -> None:
    with st.container(border=True):
        st.markdown((bundle.folder / "card.md").read_text(encoding="utf-8"))
