"""What an answer rests on: the terms of its score, its lesions one by one, and what is known without the model."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.views.charts import waterfall_chart
from app.views.tables import table_of
from clinical.record import ClinicalRecord
from fedpet.messages import Message
from imaging.regions import REGIONS
from reports.markers import markers

if TYPE_CHECKING:
    from app.views.speech import Speech

_IMAGE = "image:"  # how the terms of the images begin
_NO_CHANGE = 0.005  # of a probability: less is not told as a change


def draw_contributions(result: dict[str, Any], spoken: Speech) -> None:
    """Draw what the risk score is made of."""
    _ = spoken.text
    contributions = result["prediction"]["contributions"]
    if not contributions:
        st.caption(_("The model did not answer: there is nothing to explain."))
        return
    terms, labels = contributions, dict[str, Message]()
    if lesions := result.get("lesion_terms"):
        ways = {"lesions": _("By lesion"), "findings": _("By finding of the model")}
        way = st.segmented_control(
            _("Images"), list(ways), format_func=ways.__getitem__, default="lesions", required=True, key="waterfall_of"
        )
        if way == "lesions":
            terms, labels = by_lesion(result, lesions)
    st.vega_lite_chart(spec=waterfall_chart(terms, spoken, labels=labels), key=f"contributions_{bool(labels)}")
    st.caption(
        _(
            "Additive terms of the risk score before calibration, from the reference patient (0, dashed) to this one. "
            "They describe the model, not causes of the disease."
        )
    )


def by_lesion(result: dict[str, Any], lesions: dict[str, float]) -> tuple[dict[str, float], dict[str, Message]]:
    """The terms of the score with those of the images shared out among the lesions, and what the new ones are called.

    What no lesion has, of the CT, of the tissue and of the uptake below the lesions', is one term.
    """
    contributions = result["prediction"]["contributions"]
    clinical = {name: value for name, value in contributions.items() if not name.startswith(_IMAGE)}
    rest = sum(value for name, value in contributions.items() if name.startswith(_IMAGE)) - sum(lesions.values())
    regions = {str(one["id"]): one["region"] for one in result["prediction"]["quantities"]["lesions"]}
    terms = clinical | {f"lesion:{number}": value for number, value in lesions.items()} | {"lesion:none": rest}
    labels = {
        f"lesion:{number}": Message("Lesion {number}, {region}", number=number, region=REGIONS[regions[number]])
        for number in lesions
    }
    return terms, labels | {"lesion:none": Message("Images outside of the lesions")}


def draw_what_if(result: dict[str, Any], spoken: Speech) -> None:
    """Draw the lesions: their part in the influence map, and the answer were each absent."""
    _ = spoken.text
    if painted := result["prediction"].get("painted_out"):
        numbers = ", ".join(map(str, painted))
        words = Message(
            "Excluded by the reader: {numbers}. Their uptake was replaced by that of the tissue around before the "
            "model saw the PET.",
            numbers=numbers,
        )
        st.info(spoken.say(words), icon=":material/format_paint:")
    tries = result.get("what_if") or []
    if not tries:
        st.caption(_("No lesion was taken out: the model did not answer, or there is none."))
        return
    lesions = {lesion["id"]: lesion for lesion in result["prediction"]["quantities"]["lesions"]}
    shares = (result["explanation"] or {}).get("lesion_share", {})
    head = (_("Lesion"), _("Region"), "MTV (ml)", _("Influence"), _("12 months without it"), _("Change"))
    rows = (_row(one, lesions.get(one["lesion"]), shares, spoken) for one in tries)
    table_of(head, rows, label=_("What if a lesion were absent"))
    if any(one["abstained"] for one in tries):
        st.caption(_("† For such images the model would abstain: the figure lies outside of what it learned from."))
    st.caption(
        _(
            "The uptake of the lesion was replaced by that of the tissue around, and the model asked again. This tells "
            "what the lesion weighs in the model, not what its treatment would bring the patient."
        )
    )


def _row(one: dict[str, Any], lesion: dict[str, Any] | None, shares: dict[str, float], spoken: Speech) -> str:
    _ = spoken.text
    share = shares.get(str(one["lesion"]))
    cells = (
        str(one["lesion"]) if lesion else _("all lesions"),
        spoken.say(REGIONS[lesion["region"]]) if lesion else "",
        spoken.number(lesion["mtv_ml"]) if lesion else "",
        "–" if share is None else spoken.percent(share),
        spoken.percent(one["probability"]) + (" †" if one["abstained"] else ""),
        _change(one["change"], spoken),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _change(change: float, spoken: Speech) -> str:
    """In points of per cent, with the word for its direction."""
    if abs(change) < _NO_CHANGE:
        return spoken.text("no change")
    points = spoken.signed(100 * change, 0)
    better, worse = Message("{points} points, better", points=points), Message("{points} points, worse", points=points)
    return spoken.say(better if change > 0 else worse)


def draw_comparators(result: dict[str, Any], spoken: Speech) -> None:
    """Draw the established markers of the patient, known without the model."""
    known = markers(ClinicalRecord(**result["record"]), result["prediction"]["quantities"]["tmtv_ml"])
    rows = "".join(
        f"<tr><th>{escape(spoken.say(one.name))}</th><td>{escape(spoken.say(one.value))}</td>"
        f"<td class='fp-muted'>{escape(_source(one.reference, spoken))}</td></tr>"
        for one in known
    )
    st.html(f"<table class='fp'>{rows}</table>")


def _source(reference: Message | str, spoken: Speech) -> str:
    return reference if isinstance(reference, str) else spoken.say(reference)
