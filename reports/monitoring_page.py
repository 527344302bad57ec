"""The monthly page of the monitoring: one HTML file without scripts, without anything of a patient."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from inference.encoding import term_label
from inference.monitoring import ALARM, LEAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inference.monitoring import Comparison, Kind, MonitoredCase, MonitorReport
    from reports.locale import Locale

KINDS: Mapping[Kind, Message] = {
    "input": Message("Mean of an input"),
    "missing": Message("Missing values"),
    "answer": Message("Mean answer at 12 months"),
    "abstention": Message("Abstentions"),
    "calibration": Message("Free of progression at 12 months: observed against predicted"),
    "coverage": Message("Answers that hold what happened"),
}
_SHARES = frozenset({"missing", "answer", "abstention", "calibration", "coverage"})
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d5dce3}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.alarm{color:#a3320b;font-weight:600}"
)


def name_of(one: Comparison, locale: Locale) -> str:
    """What was compared, in words."""
    kind = KINDS[one.kind]
    return locale.translate(Message("{kind}: {name}", kind=kind, name=term_label(one.name)) if one.name else kind)


def cells_of(one: Comparison, locale: Locale) -> tuple[str, str, str, str, str]:
    """A comparison as cells: what, found, expected, cases, verdict. Inputs are in standard deviations or as encoded."""
    value = locale.percent if one.kind in _SHARES else lambda x: locale.decimal(x, 2)
    verdict = Message("look: p = {p:.0e}", p=max(one.p, 1e-99)) if one.alarm else Message("as expected")
    return name_of(one, locale), value(one.found), value(one.expected), str(one.cases), locale.translate(verdict)


def headings(locale: Locale) -> tuple[str, ...]:
    """Those of `cells_of`."""
    _ = locale.text
    return _("Compared"), _("Found"), _("Reference"), _("Cases"), _("Result")


def months_of(months: Mapping[str, Sequence[MonitoredCase]], locale: Locale) -> list[tuple[str, ...]]:
    """By month: cases, abstentions, mean answer, outcomes known, free of progression."""
    rows: list[tuple[str, ...]] = []
    for month, cases in months.items():
        answers = [one.probability for one in cases if one.probability is not None]
        known = [one.free for one in cases if one.free is not None]
        rows.append((
            month,
            str(len(cases)),
            str(len(cases) - len(answers)),
            locale.percent(sum(answers) / len(answers)) if answers else "–",
            str(len(known)),
            locale.percent(sum(known) / len(known)) if known else "–",
        ))  # fmt: skip
    return rows


def month_headings(locale: Locale) -> tuple[str, ...]:
    """Those of `months_of`."""
    _ = locale.text
    return (
        _("Month"), _("Cases"), _("Abstentions"), _("Mean answer at 12 months"), _("Outcomes"),
        _("Free of progression"),
    )  # fmt: skip


def summary(report: MonitorReport, *, reference_patients: int, locale: Locale) -> list[str]:
    """What the page says first: sentences."""
    counts = Message(
        "{cases} cases until {until}, the newest {compared} of them compared; the model abstained from {abstained};"
        " outcomes at 12 months are known of {outcomes}.",
        cases=report.cases,
        until=report.until.isoformat(),
        compared=report.compared,
        abstained=report.abstained,
        outcomes=report.outcomes,
    )
    if not report.comparisons:
        verdict = Message("Too few cases to compare: {least} are needed.", least=LEAST)
    elif report.findings:
        verdict = Message(
            "One finding: look at it before the model is relied on.",
            "{count} findings: look at these before the model is relied on.",
            count=len(report.findings),
        )
    else:
        verdict = Message("No finding: the cases are like the reference as far as they can tell.")
    against = (
        Message("Reference: {n} patients of the model's calibration.", n=reference_patients)
        if reference_patients
        else Message(
            "Reference: the rounded means of the input contract; this model's card holds none of patients. A finding"
            " may only say that your patients differ from these. fedpet train recalibrate gives a model its reference."
        )
    )
    return [locale.translate(one) for one in (verdict, counts, against)]


def monitoring_page(
    report: MonitorReport,
    months: Mapping[str, Sequence[MonitoredCase]],
    *,
    model: str,
    reference_patients: int,
    locale: Locale,
) -> str:
    """The page.

    Args:
        report: the comparisons.
        months: by month its cases.
        model: name and version.
        reference_patients: of the bundle; 0 where the reference is the contract.
        locale: of the page.
    """
    _ = locale.text
    title = locale.translate(Message("Monitoring of the model {model}", model=model))
    first, *others = summary(report, reference_patients=reference_patients, locale=locale)
    note = Message(
        "A result is a finding where its p-value, multiplied by the number of comparisons of its kind, is below"
        " {limit}. It is a reason to look, not a verdict. Inputs are in units of the input contract (0: its"
        " reference).",
        limit=ALARM,
    )
    shown = sorted(report.comparisons, key=lambda one: one.p)
    return (
        f"<!doctype html><html lang='{locale.language}'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p class='{'alarm' if report.findings else ''}'>{escape(first)}</p>"
        f"{''.join(f'<p>{escape(one)}</p>' for one in others)}"
        f"<h2>{escape(_('By month'))}</h2>{_table(month_headings(locale), months_of(months, locale))}"
        f"<h2>{escape(_('Comparisons'))}</h2>"
        f"{_table(headings(locale), [cells_of(one, locale) for one in shown], [one.alarm for one in shown])}"
        f"<p>{escape(locale.translate(note))}</p></body></html>"
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], alarms: Sequence[bool] = ()) -> str:
    head = "".join(f"<th{_number(at)}>{escape(name)}</th>" for at, name in enumerate(names))
    marks = alarms or [False] * len(rows)
    body = "".join(
        f"<tr{' class=alarm' if mark else ''}>"
        f"{''.join(f'<td{_number(at)}>{escape(cell)}</td>' for at, cell in enumerate(row))}</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(at: int) -> str:
    return " class=n" if at else ""
