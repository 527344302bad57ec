"""Monitoring of the model in force: its cases against its reference, and the outcomes that are entered."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.cases.monitoring import Monitoring, entered_sentence, import_outcomes
from app.screens.layout.frame import errors_shown, user
from app.screens.layout.tables import table
from app.services import services
from reports.locale import Locale
from reports.monitoring_page import cells_of, headings, monitoring_page, month_headings, months_of, summary

if TYPE_CHECKING:
    from app.screens.layout.localization import Localization


def draw(loc: Localization) -> None:
    """Draw the comparisons, the months, and the import of outcomes."""
    _, site, locale = loc.text, services(), Locale(loc.language)
    bundle = site.bundle
    model = f"{bundle.card['name']} {bundle.card['version']}"
    found = Monitoring.of(site.store, bundle)
    report, patients = found.report, found.reference.patients
    st.header(model, anchor=False)
    first, *others = summary(report, reference_patients=patients, locale=locale)
    (st.warning if report.findings else st.info)(first)
    st.caption(" ".join(others))
    if report.comparisons:
        _draw_comparisons(found, loc, locale)
    if found.months:
        table(month_headings(locale), months_of(found.months, locale), label=_("By month"))
        text = monitoring_page(report, found.months, model=model, reference_patients=patients, locale=locale)
        st.download_button(
            _("Monthly page"), text, file_name=f"monitoring-{report.until:%Y-%m}.html", mime="text/html",
            icon=":material/download:",
        )  # fmt: skip
    _draw_import(loc)


def _draw_comparisons(found: Monitoring, loc: Localization, locale: Locale) -> None:
    chart = _answers_chart(found, loc)
    if chart is not None:
        st.vega_lite_chart(spec=chart, key="monitoring")
    shown = sorted(found.report.comparisons, key=lambda one: one.p)
    rows = (cells_of(one, locale) for one in shown if one.alarm)
    if found.report.findings:
        table(headings(locale), rows, label=loc.text("Findings"))
    with st.expander(loc.text("All comparisons")):
        table(headings(locale), (cells_of(one, locale) for one in shown), label=loc.text("All comparisons"))


def _answers_chart(found: Monitoring, loc: Localization) -> dict[str, Any] | None:
    """Mean answer by month as a line, what was observed as points; None for less than two months."""
    _ = loc.text
    rows = []
    for month, cases in found.months.items():
        answers = [one.probability for one in cases if one.probability is not None]
        known = [one.free for one in cases if one.free is not None]
        rows += [{"month": month, "share": fmean(answers), "what": _("Mean answer")}] if answers else []
        rows += [{"month": month, "share": fmean(known), "what": _("Observed")}] if known else []
    if len(found.months) < 2:
        return None
    scale = {"domain": [0, 1]}
    percent = {"labelExpr": f"format(datum.value * 100, '.0f') + '{' %' if loc.language == 'fr' else '%'}'"}
    return {
        "data": {"values": rows},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": "month", "type": "ordinal", "title": _("Month"), "axis": {"labelAngle": 0}},
            "y": {"field": "share", "type": "quantitative", "title": _("Alive without progression"),
                  "scale": scale, "axis": percent},
            "color": {"field": "what", "type": "nominal", "title": None, "scale": {"range": ["#4fb3bf", "#e8875a"]}},
        },
        "height": 220,
    }  # fmt: skip


def _draw_import(loc: Localization) -> None:
    _ = loc.text
    with st.form("outcomes", clear_on_submit=True):
        st.write(
            _("Outcomes: a table with the columns pseudonym, free_12m (yes or no) and date (of the progression or"
              " death, or of the last news).")
        )  # fmt: skip
        given = st.file_uploader(_("Table of outcomes"), type=["csv", "xlsx"])
        sent = st.form_submit_button(_("Enter the outcomes"), icon=":material/upload:")
    if not (sent and given):
        return
    site = services()
    with errors_shown(loc), tempfile.TemporaryDirectory(dir=site.settings.folder) as folder:
        path = Path(folder) / f"outcomes{Path(given.name).suffix}"
        path.write_bytes(given.getvalue())
        entered, unknown = import_outcomes(site.store, site.workflow.audit, path, actor=user())
        st.success(loc.translate(entered_sentence(entered, unknown)))
