"""The answer of the model: probability, curve, risk group, what it rests on; or why there is none."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.views.charts import survival_chart
from app.views.frame import RISK
from app.views.model import draw_link
from clinical.variables import VARIABLES
from fedpet.messages import Message
from reports.wording import VERDICTS, meaning_of_answer

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.views.speech import Speech

_OTHERS = {
    "dcb_6m": Message("Progression-free at 6 months"),
    "early_failure_3m": Message("Progression or death before 3 months"),
}


def draw(prediction: dict[str, Any], spoken: Speech, *, card: StreamlitPage) -> None:
    """Draw the headline of a case, with the way to the card of the model."""
    _, model = spoken.text, prediction["model"]
    st.header(_("Answer of the model"), anchor=False)
    if prediction["abstained"] is not None:
        reason = spoken.say(Message.from_json(prediction["abstained"]))
        st.warning(f"**{_('The model does not answer.')}** {reason}", icon=":material/do_not_disturb_on:")
        st.caption(_("Lesions and quantities are given below; they do not depend on this answer."))
        if prediction["missing"]:
            st.info(f"**{_('Missing variables')}** : {_missing(prediction, spoken)}", icon=":material/help:")
        draw_link(card, model["digest"], model["name"], model["version"], spoken)
        return
    main = next(endpoint for endpoint in prediction["endpoints"] if endpoint["name"] == "pfs_12m")
    left, middle, right = st.columns((1.15, 1.25, 1.0), gap="medium")
    with left:
        _draw_probability(main, prediction["interval_level"], spoken)
    with middle:
        st.header(_("Predicted progression-free survival"), anchor=False)
        st.vega_lite_chart(spec=survival_chart(prediction["survival"], main["base_rate"], spoken), key="survival")
        st.caption(
            spoken.say(
                Message(
                    "Band: {level} interval. Diamond: training cohort at 12 months.",
                    level=spoken.percent(prediction["interval_level"]),
                )
            )
        )
    with right:
        _draw_others(prediction, spoken)
    st.warning(
        _(
            "Read the images and decide before you rely on this figure. The model may be wrong, also when it looks "
            "certain; it knows neither the examination of the patient nor what it was not given."
        ),
        icon=":material/psychology_alt:",
    )
    draw_link(card, model["digest"], model["name"], model["version"], spoken)


def _draw_probability(main: dict[str, Any], level: float, spoken: Speech) -> None:
    _ = spoken.text
    percent = spoken.percent
    low, point, high, base = (100 * main[name] for name in ("lower", "probability", "upper", "base_rate"))
    st.header(_("Probability of no progression at 12 months"), anchor=False)
    interval = Message("{level} interval", level=percent(level))
    st.html(
        f"<div class='fp-figure' data-testid='probability'>{percent(main['probability'])}</div>"
        f"<div class='fp-gauge' aria-hidden='true'><i class='all'></i>"
        f"<i class='span' style='left:{low:.1f}%;width:{high - low:.1f}%'></i>"
        f"<i class='base' style='left:{base:.1f}%'></i><i class='point' style='left:{point:.1f}%'></i></div>"
        "<table class='fp'>"
        f"<tr><th>{spoken.say(interval)}</th><td class='n'>{_span(main, spoken)}</td></tr>"
        f"<tr><th>{_('Training cohort (dashed line)')}</th><td class='n'>{percent(main['base_rate'])}</td></tr>"
        f"{_verdict(main, level, spoken)}</table>"
    )


def _verdict(main: dict[str, Any], level: float, spoken: Speech) -> str:
    """A row of the table with the answer of the conformal set; nothing where the model gives none."""
    verdict = main.get("verdict")  # absent from cases that were answered before there was one
    if verdict is None:
        return ""
    percent = spoken.percent(level)
    title = spoken.say(Message("Answer at {level}", level=percent))
    return (
        f"<tr data-testid='verdict'><th>{title}</th><td class='n'>{spoken.say(VERDICTS[verdict])}</td></tr>"
        f"<tr><td colspan='2' class='fp-muted'>{spoken.say(meaning_of_answer(percent))}</td></tr>"
    )


def _draw_others(prediction: dict[str, Any], spoken: Speech) -> None:
    _ = spoken.text
    label, colour = RISK[prediction["risk_group"]]
    st.header(_("Risk group and other endpoints"), anchor=False)
    rows = "".join(
        f"<tr><th>{spoken.say(_OTHERS[endpoint['name']])}</th><td class='n'>{spoken.percent(endpoint['probability'])}"
        f"<br><span class='fp-muted'>{_span(endpoint, spoken)}{_short_verdict(endpoint, spoken)}</span></td></tr>"
        for endpoint in prediction["endpoints"]
        if endpoint["name"] in _OTHERS
    )
    missing = _missing(prediction, spoken)
    st.html(
        f"<p><span class='fp-risk' style='background:{colour}'>{spoken.say(label)}</span></p>"
        f"<table class='fp'>{rows}<tr><th>{_('Missing variables')}</th><td>{escape(missing)}</td></tr></table>"
    )


def _short_verdict(endpoint: dict[str, Any], spoken: Speech) -> str:
    verdict = endpoint.get("verdict")
    return "" if verdict is None else f"<br>{spoken.say(VERDICTS[verdict])}"


def _missing(prediction: dict[str, Any], spoken: Speech) -> str:
    return ", ".join(spoken.say(VARIABLES[name].label) for name in prediction["missing"]) or spoken.text("none")


def _span(endpoint: dict[str, Any], spoken: Speech) -> str:
    return f"{spoken.percent(endpoint['lower'])} – {spoken.percent(endpoint['upper'])}"
