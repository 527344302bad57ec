"""Decisions of readers: each button carries the digest of what the page displayed when it was drawn.

Streamlit runs the whole page before it says that a button was pressed, so that the page may meanwhile show something
else. The press is therefore kept with the digest it was made on, and counts only where the page still shows that.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.screens.layout.localization import Localization

_PRESSED = "decision_pressed"


def decision_button(label: str, shown: str, *, key: str, button: Callable[..., bool] = st.button, **look: Any) -> bool:
    """Draw a button that decides on what is displayed.

    Args:
        label: of the button.
        shown: digest of what is displayed (`app.cases.tables.digest_of`).
        key: of the button on its page.
        button: `st.button`, or `st.form_submit_button` in a form.
        look: its type, icon and whether it is disabled.

    Returns:
        Whether it was pressed on what is displayed now.
    """
    name = f"{key}/{shown}"
    button(label, key=name, on_click=_press, args=(name,), **look)
    if st.session_state.get(_PRESSED) != name:
        return False
    del st.session_state[_PRESSED]
    return True


@contextmanager
def outdated_decisions_said(loc: Localization) -> Iterator[None]:
    """Say above the page that a press decided nothing, where no button of the page took it."""
    above = st.container()
    yield
    if st.session_state.pop(_PRESSED, None) is not None:
        words = loc.text(
            "Nothing was decided: what you decided on has changed since the page showed it, in another window or by "
            "someone else. Read the page as it is now, then decide."
        )
        above.error(words, icon=":material/sync_problem:")


def _press(name: str) -> None:
    st.session_state[_PRESSED] = name
