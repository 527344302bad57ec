"""The first page: what a tumour board discusses, on one sheet, with nothing below 9 points.

The page is fitted: projections and the field for the decision take the room that is left, and where much has to be
said, less is listed here (all of it follows on the next pages).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, PageBreak, Spacer, Table

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES
from fedpet.imaging.study import CheckStatus
from reports.conclusion import conclusion, sites
from reports.labels import CHECKS, ENDPOINTS, KEPT, LEVELS, OVERALL_SURVIVAL, meaning_of_kept, without_remark
from reports.lesion_numbers import letters
from reports.measures import percist_eligibility, response_lines, sul_factor
from reports.pdf.charts import gauge
from reports.pdf.clinical_record import contradictions, value_text
from reports.pdf.page import FRAME_HEIGHT
from reports.pdf.projections import NAMED, Projections, views
from reports.pdf.style import (
    QUIET,
    STYLES,
    VERMILION,
    WIDTH,
    DocumentTitle,
    PartHeading,
    cell_style,
    clip,
    columns,
    grid,
    height_of,
    markup,
    panel,
    paragraph,
    tinted,
)
from reports.pdf.tagging import LAYOUT, Figure, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from explain.explanation import Explanation, ScoreTerm
    from fedpet.imaging.lesions.lesion import Lesion
    from inference.prediction import EndpointProbability
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.pdf.projections import View

    _Row = tuple[str, str, float, float, float]  # name or number, site, SUVmax, SUVpeak, ml

TITLE = Message("FDG PET/CT before immunotherapy")
_LEFT, _GAP, _RIGHT = 86 * mm, 5 * mm, 89 * mm
_MOST_MIP = 132 * mm
_LEAST_FIELD, _MOST_FIELD = 20 * mm, 95 * mm
_LONG = 260  # characters of a comment here; the whole comment stands with the verdict
_REASON = 110  # characters of a reason here
_FOCI = 4  # that the reader left out and that are named here
_NO_CHANGE = 0.005  # of a probability: less is no effect
_SLACK = 3.0  # points


@dataclass(frozen=True)
class _Detail:
    """How many of each are listed here, and how large the projections are at least."""

    effects: int
    lesions: int
    checks: int
    projections: float  # their least height, points


_DETAILS = (
    _Detail(6, 8, 4, 95 * mm),
    _Detail(5, 6, 3, 95 * mm),
    _Detail(5, 5, 2, 90 * mm),
    _Detail(4, 5, 2, 80 * mm),
    _Detail(3, 4, 1, 74 * mm),
    _Detail(2, 4, 1, 68 * mm),
    _Detail(0, 3, 0, 60 * mm),
)


def first_page(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The page, and the break after it."""
    above = [
        *_title(content, locale),
        *identity(content, locale),
        Spacer(0, 1.5 * mm),
        *contradictions(content, locale),
        _conclusion(content, locale),
        Spacer(0, 1 * mm),
    ]
    room = FRAME_HEIGHT - height_of(above, WIDTH) - _SLACK
    seen = views(content, locale)
    left, right = list[Flowable](), list[Flowable]()
    for detail in _DETAILS:
        left = _left(content, detail, locale)
        if height_of([*left, *_decision(_LEAST_FIELD, locale)], _LEFT) <= room:
            break
    for detail in _DETAILS:
        right = _right(content, detail, locale)
        if height_of([_projections(content, seen, detail.projections, locale), *right], _RIGHT) <= room:
            break
    rest = room - height_of([*left, *_decision(0.0, locale)], _LEFT)
    left += _decision(min(max(rest, _LEAST_FIELD), _MOST_FIELD), locale)
    rest = room - height_of([_projections(content, seen, 0.0, locale), *right], _RIGHT)
    picture = _projections(content, seen, min(max(rest, _DETAILS[-1].projections), _MOST_MIP), locale)
    return [*above, columns([left, "", [picture, *right]], [_LEFT, _GAP, _RIGHT]), PageBreak()]


def _title(content: ReportContent, locale: Locale) -> list[Flowable]:
    verdict = content.verdict
    if verdict is None:
        lines = [
            Message("▲ DRAFT, version {version}: not validated", version=content.version),
            Message("Computed {moment}", moment=locale.moment(content.created)),
        ]
    else:
        lines = [
            Message("Report, version {version}", version=content.version),
            Message("signed {moment}", moment=locale.moment(verdict.signed)),
            Message("{reader}", reader=clip(verdict.reader, 60)),
        ]
    styles = ("strong_right", "body_right", "body_right")
    right = [paragraph(locale.translate(line), style) for line, style in zip(lines, styles, strict=False)]
    title = [DocumentTitle(locale.translate(TITLE))]
    return [columns([title, right], [106 * mm, 74 * mm]), Spacer(0, 1.5 * mm)]


def identity(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Whose examination it is, of what, and whether record and images are of one patient."""
    _ = locale.text
    record, study = content.record, content.study
    values = [
        (_("Patient (pseudonym)"), clip(study.pseudonym, 40)),
        (_("Age · sex"), " · ".join(value_text(record, name, locale) for name in ("age", "sex"))),
        (_("Tumour"), _tumour(content, locale)),
        (_("Examination"), ", ".join([locale.day(study.study_date) or _("date not stated"), _region(content, locale)])),
        (_("Planned treatment"), _treatment(content, locale)),
        (_("Earlier treatment"), _treated(content, locale)),
        (_("PD-L1 · ECOG PS"), " · ".join(value_text(record, name, locale) for name in ("pdl1_tps", "ecog_ps"))),
        (_("Images and record"), _concordance(content, locale)),
        (_("Earlier examination"), _earlier(content, locale)),
    ]
    cells = [[paragraph(label, "caption"), paragraph(clip(value, 90), "strong")] for label, value in values]
    return [tinted([cells[:4]], [54 * mm, 36 * mm, 46 * mm, 44 * mm]),
            tinted([cells[4:]], [38 * mm, 38 * mm, 32 * mm, 36 * mm, 36 * mm])]  # fmt: skip


def _treatment(content: ReportContent, locale: Locale) -> str:
    """What is planned, as far as the record says."""
    _, record = locale.text, content.record
    parts = [] if record.drug is None else [value_text(record, "drug", locale)]
    if record.chemotherapy:
        parts.append(_("with chemotherapy"))
    if record.line is not None:
        parts.append(locale.translate(Message("line {n}", n=record.line)))
    return ", ".join(parts) or _("not given")


def _treated(content: ReportContent, locale: Locale) -> str:
    """What was done before, as far as the record says."""
    _, record = locale.text, content.record
    lines = Message("one systemic line", "{count} systemic lines", count=record.prior_systemic_lines or 0)
    given = (
        (record.prior_surgery, _("surgery"), _("no surgery")),
        (record.prior_radiotherapy, _("radiotherapy"), _("no radiotherapy")),
        (record.prior_systemic_lines, locale.translate(lines), _("no systemic line")),
    )
    done = [yes for value, yes, _no in given if value]
    return ", ".join(done or [no for value, _yes, no in given if value is not None]) or _("not given")


def _tumour(content: ReportContent, locale: Locale) -> str:
    """Histology, stage and TNM."""
    record = content.record
    stage = [] if record.stage is None else [locale.translate(Message("stage {stage}", stage=record.stage))]
    tnm = " ".join(filter(None, (record.t_category, record.n_category, record.m_category)))
    return ", ".join([value_text(record, "histology", locale), *stage, *([tnm] if tnm else [])])


def _region(content: ReportContent, locale: Locale) -> str:
    """What was scanned: as its check says, or the length of the scan."""
    region = next((check for check in content.checks if check.name == "scanned_region"), None)
    extent = None if region is None else region.reason.values.get("extent")
    if isinstance(extent, Message):
        return locale.translate(extent)
    low, high = content.study.pet.bounds
    length = locale.decimal(abs(float(high[2] - low[2])) / 10, 0)
    return locale.translate(Message("{cm} cm scanned", cm=length))


def _concordance(content: ReportContent, locale: Locale) -> str:
    _ = locale.text
    found = content.concordance
    if found is None:
        return _("not compared")
    agreeing = sum(item.verdict == "agree" for item in found.items)
    if found.contradictions:
        mark, said = "✗", _("they contradict each other")
    elif not agreeing:
        mark, said = "▲", _("nothing to compare")
    else:
        counted = Message("one patient (one item agrees)", "one patient ({count} items agree)", count=agreeing)
        mark, said = "✓", locale.translate(counted)
    return f"{mark} {said}"


def _earlier(content: ReportContent, locale: Locale) -> str:
    _ = locale.text
    return _("no earlier one") if content.response is None else locale.day(content.response.before.date)


def _conclusion(content: ReportContent, locale: Locale) -> Flowable:
    _ = locale.text
    own = content.verdict is not None and bool(content.verdict.conclusion.strip())
    label = _("Conclusion of the reader") if own else _("Conclusion, composed from the case")
    return panel([paragraph(label, "caption"), paragraph(conclusion(content, locale), "lead")], WIDTH)


def _left(content: ReportContent, detail: _Detail, locale: Locale) -> list[Flowable]:
    """The answer, or why there is none; what weighs."""
    main = content.prediction.endpoint("pfs_12m")
    if content.prediction.abstained is not None or main is None:
        return _abstention(content, locale)
    return [
        *_caution(content, locale),
        *_headline(content, main, locale),
        *_others(content, locale),
        *_effects(content, detail.effects, locale),
    ]


def _caution(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    estimate = None if content.verdict is None else content.verdict.estimate
    said = _("Read the images and form an opinion first: an automatic answer, even a wrong one, sways its reader.")
    lines = [paragraph(said, "strong")]
    if estimate is not None:
        before = Message("The reader's estimate before the answer: {p}.", p=locale.percent(estimate))
        lines.append(paragraph(locale.translate(before), "strong"))
    return [panel(lines, _LEFT, edge=VERMILION)]


def _headline(content: ReportContent, main: EndpointProbability, locale: Locale) -> list[Flowable]:
    """The probability with its meaning; crossed out where the reader rejected it, beside theirs where they amended."""
    _ = locale.text
    decision = content.verdict.decision if content.verdict is not None else None
    number = markup(locale.percent(main.probability))
    rejected = decision == "reject"
    figure = Text(f"<strike>{number}</strike>" if rejected else number, STYLES["answer"])
    between = Message("interval {interval}: how well this figure is known; training cohort {cohort}",
                      interval=locale.interval(main.lower, main.upper),
                      cohort=locale.percent(main.base_rate))  # fmt: skip
    free = round(100 * main.probability)
    frequency = Message(
        "Of 100 patients with this score, about {free} are alive without progression at 12 months, and {others} have"
        " progressed or died.",
        free=free,
        others=100 - free,
    )
    scale = Message("Scale from 0 to 100: {p}, {between}", p=locale.percent(main.probability), between=between)
    story: list[Flowable] = [
        PartHeading(_("Alive without progression at 12 months")),
        *_decided(content, locale),
        columns([[figure], [Spacer(0, 3), paragraph(locale.translate(between), "body")]], [33 * mm, _LEFT - 33 * mm]),
    ]
    if rejected:
        return story
    story += [
        paragraph(locale.translate(frequency), "body"),
        Figure(gauge(main, locale, width=_LEFT), locale.translate(scale)),
    ]
    if main.verdict is not None:
        meaning = meaning_of_kept(content.prediction.interval_level, by_outcome=content.prediction.centre is not None)
        story += [
            paragraph(locale.translate(KEPT[main.verdict]), "strong"),
            paragraph(locale.translate(meaning), "caption"),
        ]
    return story


def _decided(content: ReportContent, locale: Locale) -> list[Flowable]:
    """What the reader decided on the answer, in words; nothing in a draft."""
    _ = locale.text
    verdict = content.verdict
    if verdict is None:
        return []
    words = {
        "accept": Message("✓ Accepted by the reader."),
        "amend": Message("▲ AMENDED by the reader: {comment}", comment=clip(verdict.comment, _LONG)),
        "reject": Message("✗ REJECTED by the reader, not to be used: {comment}", comment=clip(verdict.comment, _LONG)),
    }
    said = [paragraph(locale.translate(words[verdict.decision]), "strong")]
    if verdict.decision == "accept":
        return [*said, *([paragraph(clip(verdict.comment, _LONG), "body")] if verdict.comment else [])]
    answer = _("The model's answer was:")
    return [panel(said, _LEFT, edge=VERMILION), paragraph(answer, "caption")]


def _others(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    if content.verdict is not None and content.verdict.decision == "reject":
        return []
    rows = [[_("Other endpoints"), _("Patient"), _("Cohort")]]
    rows += [
        [
            locale.translate(ENDPOINTS[one.name]),
            f"{locale.percent(one.probability)} ({locale.interval(one.lower, one.upper)})",
            locale.percent(one.base_rate),
        ]
        for one in content.prediction.endpoints
        if one.name != "pfs_12m"
    ]
    if (alive := content.prediction.overall_survival) is not None:
        found = f"{locale.percent(alive.probability)} ({locale.interval(alive.lower, alive.upper)})"
        rows.append([locale.translate(OVERALL_SURVIVAL), found, locale.percent(alive.base_rate)])
    if len(rows) == 1:
        return []
    return [Spacer(0, 1.5 * mm), grid(rows, [38 * mm, 31 * mm, 17 * mm], numbers_from=1, large=True)]


def effects(found: Explanation | None) -> list[ScoreTerm]:
    """The measured effects on the answer, the largest first."""
    terms = () if found is None else found.terms
    measured = [one for one in terms if one.points is not None and abs(one.points) >= _NO_CHANGE]
    return sorted(measured, key=lambda one: -abs(one.points or 0.0))


def points(term: ScoreTerm, locale: Locale) -> str:
    """The effect of a part of the patient, in points with its sign."""
    return locale.decimal(100 * (term.points or 0.0), 0, sign=True)


def _effects(content: ReportContent, count: int, locale: Locale) -> list[Flowable]:
    _ = locale.text
    found = effects(content.explanation)[:count]
    if not found or (content.verdict is not None and content.verdict.decision == "reject"):
        return []
    rows = [[_("What weighs"), _("Points")]]
    rows += [[locale.translate(one.label), points(one, locale)] for one in found]
    meaning = _("Points of this probability, with the part minus without it; not causes.")
    table = grid(rows, [70 * mm, 16 * mm], numbers_from=1, large=True)
    return [Spacer(0, 1.5 * mm), table, paragraph(meaning, "caption")]


def _abstention(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    why = content.prediction.abstained
    reason = locale.translate(why) if why else _("The model gave no answer.")
    meaning = _(
        "No estimate is given for this patient, neither a probability nor a risk group. That says nothing about the"
        " prognosis. The measurements of the images remain valid where the checks pass."
    )
    said = [
        paragraph(_("The model abstains"), "title", tag="H2"),
        Spacer(0, 2 * mm),
        paragraph(reason, "strong"),
        Spacer(0, 2 * mm),
        paragraph(meaning, "body"),
    ]
    decided = list[Flowable]()
    if content.verdict is not None:
        words = {
            "accept": Message("✓ Measurements accepted by the reader. {comment}", comment=content.verdict.comment),
            "amend": Message("▲ Measurements AMENDED by the reader: {comment}", comment=content.verdict.comment),
            "reject": Message("✗ Measurements REJECTED by the reader: {comment}", comment=content.verdict.comment),
        }
        decided = [paragraph(clip(locale.translate(words[content.verdict.decision]), _LONG), "strong")]
    return [panel(said, _LEFT, edge=VERMILION), Spacer(0, 2 * mm), *decided]


def _decision(height: float, locale: Locale) -> list[Flowable]:
    """Fields for what the board decides, of a height in all."""
    _ = locale.text
    share = max(height, 1.0)
    rows = [[paragraph(_("Proposal"), "caption")], [paragraph(_("Date, participants, signature"), "caption")]]
    table = Table(
        rows,
        colWidths=[_LEFT],
        rowHeights=[0.55 * share, 0.45 * share],
        hAlign="LEFT",
        renderCB=LAYOUT,
        style=[("GRID", (0, 0), (-1, -1), 0.5, QUIET), ("VALIGN", (0, 0), (-1, -1), "TOP"),
               *cell_style(horizontal=4, vertical=1.5)],
    )  # fmt: skip
    return [PartHeading(_("Decision of the tumour board")), table]


def _projections(content: ReportContent, seen: Sequence[View], height: float, locale: Locale) -> Flowable:
    lesions = content.prediction.quantities.lesions
    said = Message(
        "Maximum intensity projections of the PET, from the front and in left profile. Lesions outlined: {sites}.",
        sites=sites(lesions, locale) if lesions else Message("no lesion at all"),
    )
    return Figure(
        Projections(seen, locale, width=_RIGHT, height=max(height, 20.0)), locale.translate(said), align="CENTER"
    )


def _right(content: ReportContent, detail: _Detail, locale: Locale) -> list[Flowable]:
    """Caption of the projections, lesions, what may be missing, the comparison, the quality."""
    return [
        *_lesions(content, detail.lesions, locale),
        *_comparison(content, locale),
        *_quality(content, detail.checks, locale),
    ]


def _lesions(content: ReportContent, count: int, locale: Locale) -> list[Flowable]:
    _ = locale.text
    found, factor = content.prediction.quantities, sul_factor(content.study.pet_facts)
    largest = sorted(found.lesions, key=lambda one: -one.mtv_ml)
    listed = len(largest) <= count
    peak = "SULpeak" if factor else "SUVpeak"
    rows = [[_("No.") if listed else "n", _("Lesion site"), "SUVmax", peak, "ml"]]
    rows += [
        [name, site, *(locale.decimal(x) for x in (suv_max, suv_peak * (factor or 1.0), volume))]
        for name, site, suv_max, suv_peak, volume in (
            _each(largest, locale) if listed else _by_site(largest, count, locale)
        )
    ]
    story: list[Flowable] = [PartHeading(_("Lesions"))]
    if largest:
        total = Message(
            "TMTV {tmtv} ml · TLG {tlg} g · one lesion",
            "TMTV {tmtv} ml · TLG {tlg} g · {count} lesions",
            tmtv=locale.decimal(found.tmtv_ml),
            tlg=locale.decimal(found.tlg, 0),
            count=len(largest),
        )
        story += [
            paragraph(locale.translate(total), "strong"),
            grid(rows, [9 * mm, 32 * mm, 17 * mm, 18 * mm, 13 * mm], numbers_from=2, large=True),
        ]
    else:
        story.append(paragraph(_("No lesion was delineated."), "strong"))
    notes = []
    if not listed:
        notes.append(Message("By site, n: number of lesions; each of them follows."))
    if len(largest) > NAMED:
        notes.append(Message("The projections number the {count} largest.", count=NAMED))
    notes += [*_left_out(content, locale), percist_eligibility(content, locale), _may_be_missing()]
    return [*story, paragraph(" ".join(locale.translate(note) for note in notes), "caption")]


def _each(lesions: Sequence[Lesion], locale: Locale) -> list[_Row]:
    """Each lesion by its number."""
    return [
        (str(one.id), locale.translate(REGIONS[one.region]), one.suv_max, one.suv_peak, one.mtv_ml) for one in lesions
    ]


def _by_site(lesions: Sequence[Lesion], most: int, locale: Locale) -> list[_Row]:
    """How many lesions each site has, highest uptake and whole volume; the smallest sites in one row."""
    groups: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        groups.setdefault(lesion.region, []).append(lesion)
    ordered = sorted(groups.items(), key=lambda item: -sum(one.mtv_ml for one in item[1]))
    kept = ordered if len(ordered) <= most else ordered[: most - 1]
    named = [(locale.translate(REGIONS[region]), found) for region, found in kept]
    if rest := [one for _region, found in ordered[len(kept) :] for one in found]:
        named.append((locale.text("other sites"), rest))
    return [
        (
            str(len(found)),
            site,
            max(one.suv_max for one in found),
            max(one.suv_peak for one in found),
            sum(one.mtv_ml for one in found),
        )
        for site, found in named
    ]


def _left_out(content: ReportContent, locale: Locale) -> list[Message]:
    """What the reader left out, with the letters that stand on the projections."""
    lettered = letters(content.prediction.components)
    places = {**REGIONS, **PHYSIOLOGICAL_SITES}
    named = [
        f"{lettered[one.id]}, {locale.translate(places[one.place])} ({locale.decimal(one.suv_max)})"
        for one in content.prediction.components
        if one.excluded
    ]
    if not named:
        return []
    foci = locale.listed([*named[:_FOCI], *(["…"] if len(named) > _FOCI else [])])
    said = [Message("One focus left out by the reader (SUVmax): {foci}.",
                    "{count} foci left out by the reader (SUVmax): {foci}.", count=len(named), foci=foci)]  # fmt: skip
    return said if content.prediction.abstained is not None else [*said, Message("The model answered without them.")]


def _may_be_missing() -> Message:
    """What the delineation finds and what it does not (docs/imaging.md)."""
    return Message(
        "May be missing: lesions below 1 ml or SUV 2.5, of the brain, beside heart, liver or bladder; of larger ones"
        " about 9 of 10 are found (simulated patients)."
    )


def _comparison(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    if content.response is None:
        return []
    return [PartHeading(_("Compared with the earlier examination")),
            *(paragraph(line, "body") for line in response_lines(content.response, locale))]  # fmt: skip


def _quality(content: ReportContent, count: int, locale: Locale) -> list[Flowable]:
    """What did not pass, worst first, and how many passed."""
    _ = locale.text
    story: list[Flowable] = [PartHeading(_("Quality"))]
    failed = [check for level in LEVELS for check in content.checks
              if check.level is level and level is not CheckStatus.PASS]  # fmt: skip
    for check in failed[: max(count, 1)]:
        mark, _word = LEVELS[check.level]
        name = locale.translate(CHECKS[check.name]) if check.name in CHECKS else check.name
        said = Message("{mark} {name}: {reason}", mark=mark, name=name,
                       reason=clip(locale.translate(check.reason), _REASON))  # fmt: skip
        story.append(paragraph(locale.translate(said), "body"))
    passed = sum(check.level is CheckStatus.PASS for check in content.checks)
    more = len(failed) - max(count, 1)
    others = Message("One more remark on the next pages.", "{count} more remarks on the next pages.", count=more)
    notes = [others] if more > 0 else []
    notes.append(without_remark(passed) if content.checks else Message("No check was recorded."))
    if content.study.corrections:
        story.insert(1, paragraph("▲ " + _("Values of the images were corrected by a person: see below."), "strong"))
    story.append(paragraph(" ".join(locale.translate(note) for note in notes), "caption"))
    return story
