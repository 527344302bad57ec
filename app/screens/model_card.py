"""The model card: what the model is, what it was trained on, how well it does, and what it must not be used for."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.model_choice import answering_model_digest, bundle_for
from app.cases.options import CaseOptions
from app.cases.tables import digest_of
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import show_error, synthetic_banner, user
from app.screens.layout.localization import localization
from app.screens.layout.tables import table
from app.services import services
from fedpet.core.errors import FedpetError, ModelGoneError
from fedpet.core.messages import Message
from inference.bundle.model_card import evaluation_markdown
from inference.registry import EVALUATION, evaluation_of
from reports.model_card import ModelCard

if TYPE_CHECKING:
    from streamlit.navigation.page import StreamlitPage

    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from inference.bundle.storage import Bundle
    from reports.model_card import Metric

MODEL = "model"  # parameter of the page's address: the digest of the bundle to show


def draw_link(page: StreamlitPage, digest: str, name: str, version: str, loc: Localization) -> None:
    """A link to the card of a model."""
    label = loc.translate(Message("Model card: {name} {version}", name=name, version=version))
    st.page_link(page, label=label, query_params={MODEL: digest}, icon=":material/description:")


def draw() -> None:
    """Draw the card of the model that the address names, or of the one in force."""
    loc = localization()
    _ = loc.text
    st.title(_("Model card"), anchor=False)
    named = st.query_params.get(MODEL, "")
    try:
        bundle = services().models.registry.find(named) if named else services().bundle
        if named and bundle.digest != services().bundle.digest:
            st.info(_("This model is not the one in force."), icon=":material/history:")
    except FedpetError as error:
        show_error(error, loc)
        return
    if bundle.card["synthetic"]:
        synthetic_banner(loc)
    _draw_card(bundle, loc)
    st.caption(f"{loc.titled(_('Fingerprint of the bundle'))} `{bundle.digest}`")
    st.caption(f"{loc.titled(_('Fingerprint of the contract'))} `{bundle.contract.fingerprint}`")


def _draw_card(bundle: Bundle, loc: Localization) -> None:
    """What a reader asks first, in their language; the whole card, as the training wrote it, below."""
    _ = loc.text
    card = ModelCard(bundle.card)
    st.header(f"{bundle.card['name']} {bundle.card['version']}", anchor=False)
    with st.container(key="stack_card"):
        left, right = st.columns(2, gap="large")
    with left:
        rows = "".join(
            f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in _facts(card, loc).items()
        )
        st.html(f"<table class='fp'>{rows}</table>")
        st.subheader(_("Limits"), anchor=False)
        st.markdown("\n".join(f"- {_(limit)}" for limit in card.limits) or "–")
    with right:
        st.subheader(_("Performance on patients that the training did not see"), anchor=False)
        figures = [(loc.translate(one.label), loc.number(one.value, 3), _interval(one, loc)) for one in card.metrics]
        if card.tested is not None:
            figures.insert(0, (_("Test patients"), loc.number(card.tested, 0), "–"))
        table((_("Measure"), _("Value"), _("Interval")), figures, label=_("Measure"))
        st.subheader(_("Sites"), anchor=False)
        headings = (_("Site"), _("Patients trained on"), _("Validation patients"))
        sites = ((one.site, loc.number(one.training, 0), loc.number(one.validation, 0)) for one in card.nodes)
        table(headings, sites, label=_("Sites"))
        if card.blocks is not None:
            st.caption(loc.translate(_by_blocks(card.blocks)))
    with st.expander(_("The whole card, as the training wrote it (in English)")):
        st.markdown((bundle.folder / "card.md").read_text(encoding="utf-8"))
    if (bundle.folder / EVALUATION).is_file():
        with st.expander(_("Evaluation report")):
            st.markdown(evaluation_markdown(evaluation_of(bundle) or {}))


def _facts(card: ModelCard, loc: Localization) -> dict[str, str]:
    _ = loc.text
    privacy, secure = card.privacy, card.first("federation.secure_aggregation")
    patients = card.first("data.patients")
    trained = Message("{patients} patients of {n} sites", patients=patients, n=len(card.nodes))
    return {
        _("Intended use"): _(str(card.first("intended_use") or "–")),
        _("Made on"): loc.day(card.first("created") or ""),
        _("Training data"): loc.translate(trained) if patients else str(card.first("data.description") or "–"),
        _("Federation"): card.framework or "–",
        _("Aggregation"): _(str(card.first("federation.aggregator") or "–")),
        _("Rounds"): str(card.first("federation.rounds") or "–"),
        _("Secure aggregation"): _yes_or_no(secure, loc),
        _("Differential privacy"): f"ε = {loc.number(privacy, 2)}"
        if isinstance(privacy, float)
        else _yes_or_no(privacy, loc),
    }


def _by_blocks(count: int) -> Message:
    """Why as many patients validate as train."""
    return Message(
        "Every patient trains and validates: the patients were dealt into {count} blocks, and each was validated by a"
        " fit without the own block. The test patients are others.",
        count=count,
    )


def _yes_or_no(answer: object, loc: Localization) -> str:
    """Yes or no; a dash where the card does not say."""
    return "–" if answer is None else loc.text("yes") if answer else loc.text("no")


def _interval(one: Metric, loc: Localization) -> str:
    return "–".join(loc.number(x, 3) for x in one.interval) if one.interval else "–"


def draw_gone(case: Case, loc: Localization) -> None:
    """Say where the model of a case is not here any more: what is kept, and what can be done."""
    try:
        bundle_for(case, services().settings)
    except ModelGoneError as gone:
        words = " ".join(loc.translate(one) for one in (gone.found, gone.advice))
        st.warning(words, icon=":material/history_toggle_off:")
    except FedpetError as error:
        show_error(error, loc)


def draw_other_in_force(case: Case, loc: Localization) -> None:
    """Say where another model is in force than the one that answered a case, and let the case be computed by it."""
    try:
        bundle = services().bundle
    except FedpetError as error:
        show_error(error, loc)
        return
    if answering_model_digest(case) in {"", bundle.digest}:
        return
    words = Message(
        "This case keeps the model that answered it. Another one is in force now: {name} {version}.",
        name=bundle.card["name"],
        version=bundle.card["version"],
    )
    st.info(loc.translate(words), icon=":material/history:")
    label, shown = loc.text("Compute with the model in force"), digest_of([case.digest, bundle.digest])
    if decision_button(label, shown, key="in_force", icon=":material/refresh:"):
        chosen = replace(CaseOptions.from_json(case.options), model=bundle.digest)
        services().workflow.change_lesions(case.id, chosen, actor=user(), shown=case.digest)
        st.rerun()
