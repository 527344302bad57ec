"""Two examinations of one patient beside each other: response, changes, lesions, and both viewers, one crosshair."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.comparison import Examination, aligned, matched
from app.percist import cautions, respond
from app.services import services
from app.tables import ANSWERED
from app.viewer.description import read_description
from app.views import images
from app.views.frame import CASE, chosen_case, is_synthetic, signed_in, synthetic_banner
from app.views.speech import speech
from app.views.tables import table_of
from fedpet.messages import Message
from imaging.regions import REGIONS
from inference.delineation import method_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.navigation.page import StreamlitPage

    from app.comparison import Alignment, Match, Site
    from app.percist import Response
    from app.tables import Case
    from app.views.speech import Speech

OTHER = "with"  # parameter of the page's address: the case to compare with
_CATEGORIES = {
    "CMR": (Message("Complete metabolic response (CMR)"), "#1b5e7d"),
    "PMR": (Message("Partial metabolic response (PMR)"), "#1b5e7d"),
    "SMD": (Message("Stable metabolic disease (SMD)"), "#44525f"),
    "PMD": (Message("Progressive metabolic disease (PMD)"), "#a33a08"),
    "NE": (Message("Not evaluable by PERCIST"), "#44525f"),
}
_KINDS = {
    "new": Message("new"),
    "persisting": Message("persisting"),
    "part": Message("beside a matched lesion: split or merged"),
    "gone": Message("gone"),
    "unseen": Message("outside of the other examination"),
}


def others(case: Case) -> Sequence[Case]:
    """The other answered cases of the same patient that this user may see, oldest first."""
    known = services().store.of_patient(case.pseudonym) if case.pseudonym else ()
    return [one for one in known if one.id != case.id and one.status in ANSWERED and signed_in().sees(one)]


def draw(*, case: StreamlitPage, worklist: StreamlitPage) -> None:
    """Draw the comparison of the case that the address names with another of the same patient."""
    spoken = speech()
    _ = spoken.text
    st.title(_("Comparison of two examinations"), anchor=False)
    here = chosen_case()
    known = others(here) if here is not None and here.status in ANSWERED else ()
    if here is None or not known:
        st.info(_("There is no other answered case of this patient to compare with."))
        st.page_link(worklist, label=_("Back to the cases"), icon=":material/arrow_back:")
        return
    there = _chosen(known, spoken)
    if is_synthetic(here) or is_synthetic(there):
        synthetic_banner(spoken)
    with st.container(horizontal=True):
        for one in sorted((there, here), key=lambda case: case.study_date):
            label = spoken.say(Message("Case of {date}", date=spoken.day(one.study_date)))
            st.page_link(case, label=label, query_params={CASE: one.id}, icon=":material/arrow_back:")
    earlier, later = sorted((here, there), key=lambda one: (one.study_date, one.created))
    _compare(earlier, later, spoken)


def _chosen(known: Sequence[Case], spoken: Speech) -> Case:
    named = next((number for number, one in enumerate(known) if one.id == st.query_params.get(OTHER)), len(known) - 1)
    if len(known) == 1:
        return known[0]
    return st.selectbox(
        spoken.text("Compare with"), known, index=named, format_func=lambda one: spoken.day(one.study_date), width=280
    )


def _compare(earlier: Case, later: Case, spoken: Speech) -> None:
    _ = spoken.text
    store = services().store
    before, after = (
        Examination.read(one.result or {}, read_description(store.folder(one.id))["body"]) for one in (earlier, later)
    )
    alignment = aligned(before, after)
    matches = matched(before, after, alignment)
    with st.container(key="stack_response"):
        left, right = st.columns(2, gap="large")
    with left:
        _draw_response(respond(before, after, matches), spoken)
        for caution in cautions(before, after):
            st.warning(spoken.say(caution), icon=":material/warning:")
    with right:
        st.header(_("Changes"), anchor=False)
        _draw_changes(before, after, respond(before, after, matches), spoken)
    st.header(_("Lesions"), anchor=False)
    _draw_matches(matches, spoken)
    by = {
        "landmarks": _("The examinations were aligned by landmarks of the chest and the pelvis."),
        "bounds": _("The examinations were aligned by the bounds of the body: no common landmark was found."),
    }
    st.caption(f"{by[alignment.by]} {_('A lesion is the same up to 3 cm away, nearer where the regions differ.')}")
    st.header(_("Images"), anchor=False)
    st.caption(_("Moving the crosshair in one examination moves it to the same place of the other."))
    _draw_viewers((earlier, later), alignment, spoken)


def _draw_response(found: Response, spoken: Speech) -> None:
    _ = spoken.text
    label, colour = _CATEGORIES[found.category]
    st.header(_("Response by PERCIST 1.0"), anchor=False)
    st.html(
        f"<p><span class='fp-risk' style='background:{colour}' data-testid='response'>{escape(spoken.say(label))}"
        f"</span></p><p>{escape(spoken.say(found.criterion))}</p>"
    )
    if found.measurable_from is None:
        st.caption(_("Neither liver nor blood pool could be measured: whether the lesion is measurable is not known."))
    else:
        floor = Message(
            "Measurable from {quantity} {least:.2f} at the earlier date.",
            quantity=found.quantity,
            least=found.measurable_from,
        )
        st.caption(spoken.say(floor))
    if found.quantity == "SUVpeak":
        st.caption(_("Weight, height or sex is missing at one of the dates: SUVpeak stands in for SULpeak."))
    st.caption(
        _(
            "Hottest lesion of each date. Under immunotherapy a rise or a new lesion may be pseudoprogression: it is "
            "to be confirmed after 4 to 8 weeks."
        )
    )


def _draw_changes(before: Examination, after: Examination, found: Response, spoken: Speech) -> None:
    _ = spoken.text
    figures = (
        (found.quantity, found.before, found.after, 2),
        ("SUVmax", before.suv_max, after.suv_max, 1),
        ("TMTV (ml)", before.tmtv_ml, after.tmtv_ml, 1),
        ("TLG (g)", before.tlg, after.tlg, 0),
        (_("Number of lesions"), len(before.sites), len(after.sites), 0),
    )
    head = "".join(
        f"<th scope='col' class='n'>{escape(word)}</th>"
        for word in (spoken.day(before.date), spoken.day(after.date), _("Change"), "%")
    )
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td class='n'>{spoken.number(old, digits)}</td>"
        f"<td class='n'>{spoken.number(new, digits)}</td><td class='n'>{spoken.signed(new - old, digits)}</td>"
        f"<td class='n'>{spoken.signed(100 * (new - old) / old, 0) if old else '–'}</td></tr>"
        for name, old, new, digits in figures
    )
    st.html(f"<table class='fp'><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>")
    methods = dict.fromkeys(spoken.say(method_label(one.method)) for one in (before, after))
    st.caption(spoken.say(Message("Delineation: {method}.", method=" / ".join(methods))))


def _draw_matches(matches: Sequence[Match], spoken: Speech) -> None:
    _ = spoken.text
    if not matches:
        st.caption(_("No lesion was delineated at either date."))
        return
    words = (
        _("State"),
        _("Region"),
        _("before"),
        "SUVpeak",
        "MTV (ml)",
        _("after"),
        "SUVpeak",
        "MTV (ml)",
        "Δ SUVpeak",
    )
    order = list(_KINDS)
    rows = (_match_row(one, spoken) for one in sorted(matches, key=lambda match: order.index(match.kind)))
    table_of(words, rows, label=_("Lesions of both examinations"))


def _match_row(match: Match, spoken: Speech) -> str:
    site = match.after or match.before
    change = "–"
    if match.before and match.after:
        change = f"{spoken.signed(100 * (match.after.suv_peak / match.before.suv_peak - 1), 0)} %"
    cells = (
        spoken.say(_KINDS[match.kind]),
        spoken.say(REGIONS[site.region]) if site else "",
        *_site_cells(match.before, spoken),
        *_site_cells(match.after, spoken),
        change,
    )
    return f"<tr class='fp-{match.kind}'>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _site_cells(site: Site | None, spoken: Speech) -> tuple[str, str, str]:
    if site is None:
        return "–", "", ""
    return str(site.id), spoken.number(site.suv_peak), spoken.number(site.mtv_ml)


def _draw_viewers(cases: tuple[Case, Case], alignment: Alignment, spoken: Speech) -> None:
    """Both viewers, beginning at one place: they meet in the coordinates of the earlier examination."""
    start = read_description(services().store.folder(cases[0].id))["focus"]
    shifts = ((0.0, 0.0, 0.0), alignment.shift)
    with st.container(key="stack_viewers"):
        columns = st.columns(2, gap="small")
    for column, case, shift in zip(columns, cases, shifts, strict=True):
        with column:
            st.subheader(spoken.day(case.study_date), anchor=False)
            link = {"name": f"{cases[0].id}/{cases[1].id}", "shift": shift}
            images.draw(case, spoken, link=link, focus=[x - dx for x, dx in zip(start, shift, strict=True)])
