"""What an answer rests on: the terms of its score, its lesions one by one, and what is known without the model."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.model_choice import bundle_for, kind_of, method_of
from app.cases.options import CaseOptions
from app.cases.tables import Status, digest_of
from app.screens.case.charts import waterfall_chart
from app.screens.case.lesions import names
from app.screens.layout.decisions import decision_button
from app.screens.layout.frame import errors_shown, user
from app.screens.layout.tables import table, table_of
from app.services import services
from explain.methods import METHODS
from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message
from reports.clinical_markers import markers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.cases.stored_result import StoredCounterfactual, StoredResult, StoredTerm
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

_NO_CHANGE = 0.005  # of a probability: less is shown as no change
_WITHOUT_LESIONS = Message("This patient, against the reference patient without lesions")
_MEAN_INPUTS = Message("This patient, against the mean of each input of the model")
_READS = {
    "table": Message(
        "This model answers from the lesion table and the record: its methods take lesions out of the table. Methods "
        "for networks that read the images do not explain it."
    ),
    "images": Message("This model reads the images: its methods change the uptake of the lesions in the PET."),
}


def draw_contributions(result: StoredResult, loc: Localization) -> None:
    """Draw what each part of the patient does to the answer, then what the risk score is made of."""
    _ = loc.text
    explained = result.explanation
    terms = () if explained is None else explained.terms
    if not result.prediction.contributions:
        st.caption(_("The model did not answer: there is nothing to explain."))
        return
    labels = {one.name: _named(one, names(result.prediction, loc)) for one in terms}
    if terms:
        _draw_effects(terms, labels, loc)
    by_part = bool(terms) and explained is not None and not explained.failed
    values = {one.name: one.score for one in terms if one.score} if by_part else result.prediction.contributions
    total = _WITHOUT_LESIONS if by_part else _MEAN_INPUTS
    st.vega_lite_chart(spec=waterfall_chart(values, loc, total=total, labels=labels), key="contributions")
    measured = (
        _(
            "Additive terms of the risk score before calibration, from the reference patient without lesions "
            "(0, dashed)."
        )
        if by_part
        else _("Additive terms of the risk score before calibration, each input against its mean (0, dashed).")
    )
    st.caption(f"{measured} {_('They describe the model, not causes of the disease.')}")
    if result.pending:
        st.caption(
            _(
                "The terms of each lesion and variable are being computed. They are measured against the reference "
                "patient without lesions, so that their total is another one."
            )
        )


def _named(term: StoredTerm, called: Mapping[int, str]) -> Message:
    """The label of a term; a lesion's has the number of the report."""
    number = term.label.values.get("number")
    if not term.name.startswith("lesion:") or not isinstance(number, int) or number not in called:
        return term.label
    return term.label.with_values({**term.label.values, "number": called[number]})


def _draw_effects(terms: tuple[StoredTerm, ...], labels: Mapping[str, Message], loc: Localization) -> None:
    """A table of the measured effects, the largest first."""
    _ = loc.text
    measured = sorted((one for one in terms if one.points is not None), key=lambda one: -abs(one.points or 0.0))
    shown = [one for one in measured if abs(one.points or 0.0) >= _NO_CHANGE]
    st.caption(
        _(
            "Answer with this part of the patient minus the answer without it: a lesion left out, a variable as in the "
            "reference patient. Measured on the model one by one. The lesions and what they have in common "
            "add up to the effect of all of them; the rest need not add up, and none is a cause."
        )
    )
    head = (_("Part of the patient"), _("Points at 12 months"))
    rows = ((loc.translate(labels[one.name]), loc.signed(100 * (one.points or 0.0), 0)) for one in shown)
    table(head, rows, label=_("What each part does to the answer"))
    if rest := len(measured) - len(shown):
        st.caption(
            loc.translate(
                Message(
                    "One other changes the answer by less than half a point.",
                    "{count} others change the answer by less than half a point each.",
                    count=rest,
                )
            )
        )


def draw_what_if(result: StoredResult, loc: Localization) -> None:
    """Draw the lesions: their part in the influence map, and the answer were each absent."""
    _ = loc.text
    called = names(result.prediction, loc)
    excluded = [called[one.id] for one in result.prediction.components if one.switched and not one.included]
    if excluded:
        words = Message(
            "Excluded by the reader: {numbers}. The model answers without them.", numbers=", ".join(excluded)
        )
        st.info(loc.translate(words), icon=":material/filter_alt_off:")
    if result.pending:
        st.caption(_("The answers without each lesion are being computed."))
        return
    if not result.what_if:
        st.caption(_("No lesion was taken out: the model did not answer, or there is none."))
        return
    head = (_("Lesion"), _("Region"), "MTV (ml)", _("Influence"), _("12 months without it"), _("Change"))
    rows = (_row(one, result, called, loc) for one in result.what_if)
    table_of(head, rows, label=_("What if a lesion were absent"))
    if any(one.abstained for one in result.what_if):
        st.caption(_("† The model would abstain for such a patient, who is unlike those it learned from."))
    st.caption(
        _(
            "The lesion was taken out of what the model reads (its row of the lesion table, or its uptake in the PET), "
            "and the model answered again. This shows the weight of the lesion in the model, not what its treatment "
            "would bring the patient. Points are differences before rounding."
        )
    )


def _row(one: StoredCounterfactual, result: StoredResult, called: Mapping[int, str], loc: Localization) -> str:
    _ = loc.text
    lesion = result.prediction.quantities.lesion(one.lesion)
    share = result.lesion_share(lesion.id) if lesion else None
    cells = (
        called[lesion.id] if lesion else _("all lesions"),
        loc.translate(lesion.place) if lesion else "",
        loc.number(lesion.mtv_ml) if lesion else "",
        "–" if share is None else loc.percent(share),
        loc.percent(one.probability) + (" †" if one.abstained else ""),
        _change(one.change, loc),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _change(change: float, loc: Localization) -> str:
    """In points of per cent, with the word for its direction."""
    if abs(change) < _NO_CHANGE:
        return loc.text("no change")
    count = abs(round(100 * change))
    if change > 0:
        return loc.translate(Message("+{count} point, better", "+{count} points, better", count=count))
    return loc.translate(Message("−{count} point, worse", "−{count} points, worse", count=count))


def draw_method_choice(case: Case, loc: Localization) -> None:
    """Let a reader have the map of this case made by another method; the answer does not change by it."""
    _ = loc.text
    settings = services().settings
    try:
        bundle = bundle_for(case, settings)
    except FedpetError:  # the model is gone, which the step "check" says with what can be done
        return
    options, kind = CaseOptions.from_json(case.options), kind_of(bundle)
    used = method_of(options, bundle, settings)
    fitting = [name for name, method in METHODS.items() if method.reads == kind]
    chosen = st.selectbox(
        _("How the map is made"), fitting, index=fitting.index(used),
        format_func=lambda name: loc.translate(METHODS[name].label), key=f"{case.id}/explain_method/{loc.language}",
    )  # fmt: skip
    st.caption(loc.translate(_READS[kind]))
    if case.status not in {Status.READY, Status.READ} or chosen == used:
        return
    label, shown = _("Make the map with this method"), digest_of([case.digest, chosen])
    if decision_button(label, shown, key="explain_method", icon=":material/refresh:"):
        changed = replace(options, explain_method=chosen)
        with errors_shown(loc):
            services().workflow.change_lesions(case.id, changed, actor=user(), shown=case.digest)
            st.rerun()


def draw_comparators(result: StoredResult, loc: Localization) -> None:
    """Draw the established markers of the patient, known without the model."""
    known = markers(result.clinical_record, result.prediction.quantities.tmtv_ml)
    rows = "".join(
        f"<tr><th>{escape(loc.translate(one.name))}</th><td>{escape(loc.translate(one.value))}</td>"
        f"<td class='fp-muted'>{escape(_source(one.reference, loc))}</td></tr>"
        for one in known
    )
    st.html(f"<table class='fp'>{rows}</table>")


def _source(reference: Message | str, loc: Localization) -> str:
    return reference if isinstance(reference, str) else loc.translate(reference)
