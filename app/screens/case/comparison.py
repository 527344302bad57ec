"""Two examinations of one patient beside each other: response, changes, lesions, and both viewers, one crosshair."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from app.cases.examinations import read_examination
from app.cases.stored_result import StoredResult
from app.screens.case import images
from app.screens.case.dates import is_read, of_patient
from app.screens.layout.frame import CASE, chosen_case, is_synthetic, synthetic_banner
from app.screens.layout.localization import localization
from app.screens.layout.tables import table_of
from app.services import services
from app.viewer.description import read_description
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.response.assessment import assess_response
from fedpet.imaging.response.comparison import relative_change
from inference.lesion_map import delineation_method_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlit.navigation.page import StreamlitPage

    from app.cases.tables import Case
    from app.screens.layout.localization import Localization
    from fedpet.imaging.response.assessment import ResponseAssessment
    from fedpet.imaging.response.comparison import Alignment, Examination, LesionMatch, LesionSummary
    from fedpet.imaging.response.percist import Response

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
    """The other cases of the same patient with an answer that this user may see, oldest first."""
    return [one for one in of_patient(case) if one.id != case.id and has_answer(one)]


def has_answer(case: Case) -> bool:
    """Whether a case has an answer that holds and was read: its own, or that of a signed version.

    Lesions that no reader has confirmed yet say nothing of a response.
    """
    return is_read(case) or bool(services().store.versions(case.id))


def _answer(case: Case) -> StoredResult:
    """The answer of a case; where a new version is prepared, that of the latest signed one."""
    if is_read(case):
        return StoredResult.read(case.result or {})
    return StoredResult.read(services().store.versions(case.id)[0].result)


def draw(*, case: StreamlitPage, worklist: StreamlitPage) -> None:
    """Draw the comparison of the case that the address names with another of the same patient."""
    loc = localization()
    _ = loc.text
    st.title(_("Comparison of two examinations"), anchor=False)
    here = chosen_case()
    known = others(here) if here is not None and has_answer(here) else ()
    if here is None or not known:
        st.info(_("There is no other answered case of this patient to compare with."))
        st.page_link(worklist, label=_("Back to the cases"), icon=":material/arrow_back:")
        return
    there = _chosen(known, loc)
    if is_synthetic(here) or is_synthetic(there):
        synthetic_banner(loc)
    with st.container(horizontal=True):
        for one in sorted((there, here), key=lambda case: case.study_date):
            label = loc.translate(Message("Case of {date}", date=loc.day(one.study_date)))
            st.page_link(case, label=label, query_params={CASE: one.id}, icon=":material/arrow_back:")
    earlier, later = sorted((here, there), key=lambda one: (one.study_date, one.created))
    _compare(earlier, later, loc)


def _chosen(known: Sequence[Case], loc: Localization) -> Case:
    named = next((number for number, one in enumerate(known) if one.id == st.query_params.get(OTHER)), len(known) - 1)
    if len(known) == 1:
        return known[0]
    return st.selectbox(
        loc.text("Compare with"), known, index=named, format_func=lambda one: loc.day(one.study_date), width=280
    )


def _compare(earlier: Case, later: Case, loc: Localization) -> None:
    _ = loc.text
    found = assess_response(_examination(earlier), _examination(later))
    with st.container(key="stack_response"):
        left, right = st.columns(2, gap="large")
    with left:
        _draw_response(found.response, loc)
        for caveat in found.caveats:
            st.warning(loc.translate(caveat), icon=":material/warning:")
    with right:
        st.header(_("Changes"), anchor=False)
        _draw_changes(found, loc)
    st.header(_("Lesions"), anchor=False)
    _draw_matches(found.matches, loc)
    by = {
        "landmarks": _("The examinations were aligned by landmarks of the chest and the pelvis."),
        "bounds": _("The examinations were aligned by the bounds of the body: no common landmark was found."),
    }
    st.caption(
        f"{by[found.alignment.by]} {_('A lesion is the same up to 3 cm away, nearer where the regions differ.')}"
    )
    st.header(_("Images"), anchor=False)
    st.caption(_("Moving the crosshair in one examination moves it to the same place of the other."))
    _draw_viewers((earlier, later), found.alignment, loc)


def _examination(case: Case) -> Examination:
    low, high = read_description(services().store.folder(case.id))["body"]
    return read_examination(_answer(case), (tuple(low), tuple(high)))


def _draw_response(found: Response, loc: Localization) -> None:
    _ = loc.text
    label, colour = _CATEGORIES[found.category]
    st.header(_("Response by PERCIST 1.0"), anchor=False)
    st.html(
        f"<p><span class='fp-risk' style='background:{colour}' data-testid='response'>{escape(loc.translate(label))}"
        f"</span></p><p>{escape(loc.translate(found.criterion))}</p>"
    )
    if found.measurable_from is None:
        st.caption(_("Neither liver nor blood pool could be measured: whether the lesion is measurable is not known."))
    else:
        floor = Message(
            "Measurable from {quantity} {least:.2f} at the earlier date.",
            quantity=found.quantity,
            least=found.measurable_from,
        )
        st.caption(loc.translate(floor))
    if found.quantity == "SUVpeak":
        st.caption(_("Weight, height or sex is missing at one of the dates: SUVpeak stands in for SULpeak."))
    st.caption(
        _(
            "Hottest lesion of each date. Under immunotherapy a rise or a new lesion may be pseudoprogression: it is "
            "to be confirmed after 4 to 8 weeks."
        )
    )


def _draw_changes(found: ResponseAssessment, loc: Localization) -> None:
    _ = loc.text
    before, after, response = found.before, found.after, found.response
    figures = (
        (response.quantity, response.before, response.after, 2),
        ("SUVmax", before.suv_max, after.suv_max, 1),
        ("TMTV (ml)", before.tmtv_ml, after.tmtv_ml, 1),
        ("TLG (g)", before.tlg, after.tlg, 0),
        (_("Number of lesions"), len(before.lesions), len(after.lesions), 0),
    )
    head = "".join(
        f"<th scope='col' class='n'>{escape(word)}</th>"
        for word in (loc.day(before.date), loc.day(after.date), _("Change"), "%")
    )
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td class='n'>{loc.number(old, digits)}</td>"
        f"<td class='n'>{loc.number(new, digits)}</td><td class='n'>{loc.signed(new - old, digits)}</td>"
        f"<td class='n'>{_percent(relative_change(old, new), loc)}</td></tr>"
        for name, old, new, digits in figures
    )
    st.html(f"<table class='fp'><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>")
    methods = dict.fromkeys(loc.translate(delineation_method_label(one.method)) for one in (before, after))
    st.caption(loc.translate(Message("Delineation: {method}.", method=" / ".join(methods))))


def _draw_matches(matches: Sequence[LesionMatch], loc: Localization) -> None:
    _ = loc.text
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
    rows = (_match_row(one, loc) for one in sorted(matches, key=lambda match: order.index(match.kind)))
    table_of(words, rows, label=_("Lesions of both examinations"))


def _match_row(match: LesionMatch, loc: Localization) -> str:
    lesion = match.after or match.before
    change = match.suv_peak_change
    cells = (
        loc.translate(_KINDS[match.kind]),
        loc.translate(REGIONS[lesion.region]) if lesion else "",
        *_lesion_cells(match.before, loc),
        *_lesion_cells(match.after, loc),
        "–" if change is None else f"{_percent(change, loc)} %",
    )
    return f"<tr class='fp-{match.kind}'>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _percent(change: float | None, loc: Localization) -> str:
    return "–" if change is None else loc.signed(100 * change, 0)


def _lesion_cells(lesion: LesionSummary | None, loc: Localization) -> tuple[str, str, str]:
    if lesion is None:
        return "–", "", ""
    return str(lesion.id), loc.number(lesion.suv_peak), loc.number(lesion.mtv_ml)


def _draw_viewers(cases: tuple[Case, Case], alignment: Alignment, loc: Localization) -> None:
    """Both viewers, beginning at one place: they meet in the coordinates of the earlier examination."""
    start = read_description(services().store.folder(cases[0].id))["focus"]
    shifts = ((0.0, 0.0, 0.0), alignment.shift)
    with st.container(key="stack_viewers"):
        columns = st.columns(2, gap="small")
    for column, case, shift in zip(columns, cases, shifts, strict=True):
        with column:
            st.subheader(loc.day(case.study_date), anchor=False)
            link = {"name": f"{cases[0].id}/{cases[1].id}", "shift": shift}
            images.draw(case, _answer(case), loc, link=link, focus=[x - dx for x, dx in zip(start, shift, strict=True)])
