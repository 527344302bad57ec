"""The answer of the model: probability, curve, risk group, what it rests on; or why there is none."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.screens.case.charts import survival_chart
from app.screens.layout.frame import RISK
from app.screens.model_card import draw_link
from fedpet.core.messages import Message
from inference.encoding import input_label
from reports.labels import OVERALL_SURVIVAL, VERDICTS, meaning_of_answer, meaning_of_interval

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.cases.stored_result import StoredEndpoint, StoredOverallSurvival, StoredPrediction
    from app.screens.layout.localization import Localization

_OTHERS = {
    "dcb_6m": Message("Alive without progression at 6 months"),
    "early_failure_3m": Message("Progression or death before 3 months"),
}


def draw(prediction: StoredPrediction, loc: Localization, *, card: StreamlitPage) -> None:
    """Draw the headline of a case, with the way to the card of the model."""
    _, model = loc.text, prediction.model
    st.header(_("Answer of the model"), anchor=False)
    main = prediction.endpoint("pfs_12m")
    if main is None or prediction.abstained is not None:
        reason = loc.translate(prediction.abstained) if prediction.abstained else ""
        st.warning(f"**{_('The model does not answer.')}** {reason}", icon=":material/do_not_disturb_on:")
        count = len(prediction.quantities.lesions)
        below = Message(
            "Lesions that the delineation counts: {count}. They are measured below, without this model.", count=count
        )
        st.caption(loc.translate(below))
        if prediction.missing:
            st.info(f"**{loc.titled(_('Missing variables'))}** {_missing(prediction, loc)}", icon=":material/help:")
        draw_link(card, model.digest, model.name, model.version, loc)
        return
    st.warning(
        _(
            "Read the images and decide before you rely on this figure. The model may be wrong, also when it looks "
            "certain; it knows neither the examination of the patient nor what it was not given."
        ),
        icon=":material/psychology_alt:",
    )
    _draw_probability(main, prediction, loc)
    _draw_others(prediction, loc)
    st.header(_("Predicted progression-free survival"), anchor=False)
    if prediction.survival is not None:
        chart = survival_chart(prediction.survival, main.base_rate, loc, overall=prediction.overall_survival)
        st.vega_lite_chart(spec=chart, key="survival")
    level = loc.percent(prediction.interval_level)
    diamond = Message("Diamond: training cohort at 12 months. Band:")
    meaning = meaning_of_interval(level, missing=prediction.missing, centre=prediction.centre)
    overall = Message("Dashed line: overall survival, a secondary endpoint that is not explained.")
    said = (diamond, meaning, *((overall,) if prediction.overall_survival else ()))
    st.caption(" ".join(loc.translate(one) for one in said))
    draw_link(card, model.digest, model.name, model.version, loc)


def _draw_probability(main: StoredEndpoint, prediction: StoredPrediction, loc: Localization) -> None:
    _, level = loc.text, prediction.interval_level
    percent = loc.percent
    low, point, high, base = (100 * x for x in (main.lower, main.probability, main.upper, main.base_rate))
    st.header(_("Probability of being alive without progression at 12 months"), anchor=False)
    interval = Message("{level} interval", level=percent(level))
    st.html(
        f"<div class='fp-figure' data-testid='probability'>{percent(main.probability)}</div>"
        f"<div class='fp-gauge' aria-hidden='true'><i class='all'></i>"
        f"<i class='span' style='left:{low:.1f}%;width:{high - low:.1f}%'></i>"
        f"<i class='base' style='left:{base:.1f}%'></i><i class='point' style='left:{point:.1f}%'></i></div>"
        "<table class='fp'>"
        f"<tr><th>{loc.translate(interval)}</th><td class='n'>{_span(main, loc)}</td></tr>"
        f"<tr><th>{_('Training cohort (dashed line)')}</th><td class='n'>{percent(main.base_rate)}</td></tr>"
        f"{_verdict(main, prediction, loc)}</table>"
    )


def _verdict(main: StoredEndpoint, prediction: StoredPrediction, loc: Localization) -> str:
    """A row of the table with the answer of the conformal set; nothing where the model gives none."""
    if main.verdict is None:
        return ""
    percent = loc.percent(prediction.interval_level)
    meaning = meaning_of_answer(percent, by_outcome=prediction.centre is not None)
    title = loc.translate(Message("Answer at {level}", level=percent))
    words = loc.translate(VERDICTS[main.verdict])
    return (
        f"<tr data-testid='verdict'><th>{title}</th><td class='fp-words'>{words}</td></tr>"
        f"<tr><td colspan='2' class='fp-muted'>{loc.translate(meaning)}</td></tr>"
    )


def _draw_others(prediction: StoredPrediction, loc: Localization) -> None:
    _ = loc.text
    st.header(_("Risk group and other endpoints"), anchor=False)
    rows = "".join(
        f"<tr><th>{loc.translate(_OTHERS[endpoint.name])}</th><td class='n'>{loc.percent(endpoint.probability)}"
        f"<br><span class='fp-muted'>{_span(endpoint, loc)}{_short_verdict(endpoint, loc)}</span></td></tr>"
        for endpoint in prediction.endpoints
        if endpoint.name in _OTHERS
    )
    if (alive := prediction.overall_survival) is not None:
        rows += (
            f"<tr data-testid='overall-survival'><th>{loc.translate(OVERALL_SURVIVAL)}</th>"
            f"<td class='n'>{loc.percent(alive.probability)}"
            f"<br><span class='fp-muted'>{_span(alive, loc)}</span></td></tr>"
        )
    missing = _missing(prediction, loc)
    group = ""
    if prediction.risk_group is not None:
        label, colour = RISK[prediction.risk_group]
        group = f"<p><span class='fp-risk' style='background:{colour}'>{loc.translate(label)}</span></p>"
    st.html(
        f"{group}<table class='fp'>{rows}<tr><th>{_('Missing variables')}</th><td>{escape(missing)}</td></tr></table>"
    )


def _short_verdict(endpoint: StoredEndpoint, loc: Localization) -> str:
    if endpoint.verdict is None:
        return ""
    return f"<br><span class='fp-words'>{loc.translate(VERDICTS[endpoint.verdict])}</span>"


def _missing(prediction: StoredPrediction, loc: Localization) -> str:
    return ", ".join(loc.translate(input_label(name)) for name in prediction.missing) or loc.text("none")


def _span(endpoint: StoredEndpoint | StoredOverallSurvival, loc: Localization) -> str:
    return f"{loc.percent(endpoint.lower)} – {loc.percent(endpoint.upper)}"
