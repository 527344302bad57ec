"""The steps of a reading, in the order in which a reader takes them: check, read, answer, sign."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.reading import Reading
from app.cases.tables import Status
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

STEP = "step"  # of the widget, and of the parameter in the page's address
_SEEN = "step_of"  # the case and its stage when the step was last chosen by the program


class Step(StrEnum):
    """A step of a reading."""

    CHECK = "check"
    READ = "read"
    ANSWER = "answer"
    SIGN = "sign"


LABELS = {
    Step.CHECK: Message("1 Check"),
    Step.READ: Message("2 Read"),
    Step.ANSWER: Message("3 Answer"),
    Step.SIGN: Message("4 Sign"),
}


def first_step(case: Case) -> Step:
    """The step that a case waits at."""
    if not case.is_answered:
        return Step.CHECK
    if case.status in {Status.SIGNING, Status.SIGNED}:
        return Step.SIGN
    return Step.READ if Reading.of(case).confirmed is None else Step.ANSWER


def choose(case: Case, loc: Localization) -> Step:
    """Draw the steps; returns the one that is shown.

    A case that was opened shows the step that its address names, else the one that it waits at; a case that went on
    meanwhile leads its reader to the step that it waits at now.
    """
    stage = (case.id, case.version, first_step(case))
    before = st.session_state.get(_SEEN)
    if before != stage or STEP not in st.session_state:
        named = next((step for step in Step if step == st.query_params.get(STEP)), None)
        same_case = before is not None and before[0] == case.id and before != stage
        st.session_state[STEP] = stage[-1] if same_case or named is None else named
        st.session_state[_SEEN] = stage
    shown = st.segmented_control(
        loc.text("Steps"),
        list(Step),
        format_func=lambda step: loc.translate(LABELS[step]),
        key=STEP,
        required=True,
        label_visibility="collapsed",
    )
    step = shown or first_step(case)  # it is never empty
    if st.query_params.get(STEP) != step:
        st.query_params[STEP] = step
    return step


def draw_locked(loc: Localization) -> None:
    """Say that the answer is kept back, with the way to what opens it."""
    _ = loc.text
    st.info(
        _(
            "The answer is kept back until you have confirmed the lesions, so that it does not guide your reading. You "
            "may give an estimate of your own before."
        ),
        icon=":material/lock:",
    )

    def go_to_lesions() -> None:
        st.session_state[STEP] = Step.READ

    st.button(_("Go to the lesions"), type="primary", on_click=go_to_lesions)
