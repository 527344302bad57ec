"""The application's script: `fedpet app` serves it, and Streamlit runs it for every page and every click."""

from __future__ import annotations

import streamlit as st

from app.screens import administration, federation, new_case, worklist
from app.screens import model_card as model
from app.screens.case import comparison
from app.screens.case import page as case
from app.screens.layout.decisions import outdated_decisions_said
from app.screens.layout.frame import errors_shown, open_frame

_ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='7' fill='#0b5c7d'/>"
    "<circle cx='16' cy='16' r='8' fill='none' stroke='#fff' stroke-width='2.5'/><circle cx='19' cy='14' r='3' "
    "fill='#ffb300'/><path d='M16 3v7M16 22v7M3 16h7M22 16h7' stroke='#fff' stroke-width='2'/></svg>"
)


def run() -> None:
    """Draw the frame and the requested page, of those that its user may see."""
    st.set_page_config(page_title="fedpet", page_icon=_ICON, layout="wide")
    loc, user = open_frame()  # before the titles of the pages: it chooses the language
    _ = loc.text
    pages: dict[str, st.Page] = {}
    if user.reads:
        pages["worklist"] = st.Page(
            lambda: worklist.draw(new_case=pages["new"], case=pages["case"]),
            title=_("Cases"),
            icon=":material/view_list:",
            default=True,
        )
        pages["new"] = st.Page(
            lambda: new_case.draw(case=pages["case"], worklist=pages["worklist"]),
            title=_("New case"),
            icon=":material/add_circle:",
            url_path="new",
        )
        pages["case"] = st.Page(
            lambda: case.draw(pages),
            title=_("Case"),
            url_path="case",
            visibility="hidden",
        )
        pages["comparison"] = st.Page(
            lambda: comparison.draw(case=pages["case"], worklist=pages["worklist"]),
            title=_("Comparison"),
            url_path="comparison",
            visibility="hidden",
        )
    pages["model"] = st.Page(
        model.draw, title=_("Model card"), icon=":material/description:", url_path="model", default=not user.reads
    )
    pages["federation"] = st.Page(federation.draw, title=_("Federation"), icon=":material/hub:", url_path="federation")
    if user.administers:
        pages["administration"] = st.Page(
            lambda: administration.draw(card=pages["model"]),
            title=_("Administration"),
            icon=":material/shield_person:",
            url_path="administration",
        )
    with errors_shown(loc), outdated_decisions_said(loc):
        st.navigation(list(pages.values()), position="top").run()


run()
