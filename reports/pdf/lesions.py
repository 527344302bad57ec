"""Lesions: totals with their methods, a summary by organ, every lesion, and the hot foci that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from explain.figures.drawing import lesion_colour
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES
from fedpet.imaging.lesions.lesion import BRAIN_UNSEEN
from reports.lesion_numbers import letters
from reports.measures import sul_factor
from reports.pdf.measurements import delineation, totals
from reports.pdf.style import STYLES, Heading, grid, paragraph
from reports.pdf.tagging import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from fedpet.imaging.lesions.lesion import Lesion
    from reports.content import ReportContent
    from reports.locale import Locale

    Row = list[str | Flowable | list[Flowable]]

_PLACES = {**REGIONS, **PHYSIOLOGICAL_SITES}


def findings(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Totals, the summary by organ, the table of lesions, the foci left out."""
    _ = locale.text
    measured = [Heading(_("Lesions and PET measurements")), totals(content, locale), delineation(content, locale)]
    return [
        KeepTogether(measured),
        Spacer(0, 1.5 * mm),
        *_by_region(content.prediction.quantities.lesions, locale),
        *_table(content, locale),
        *_foci(content, locale),
        paragraph(locale.translate(BRAIN_UNSEEN), "quiet"),
    ]


def _table(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Every lesion by its number."""
    _ = locale.text
    lesions = content.prediction.quantities.lesions
    if not lesions:
        return []
    shares = content.explanation.lesion_share if content.explanation and content.explanation.reliable else {}
    renumbered = any(number != focus for number, focus in content.foci.items())
    factor = sul_factor(content.study.pet_facts)
    head = [_("No."), _("Region"), "SUVmax", "SUVpeak", _("SUVmean"), *(["SULpeak"] if factor else []),
            _("MTV (ml)"), _("TLG (g)"), *([_("Share of the map")] if shares else []),
            *([_("Focus no.")] if renumbered else [])]  # fmt: skip
    rows: list[Row] = [list(head)]
    for lesion in lesions:
        values = [lesion.suv_max, lesion.suv_peak, lesion.suv_mean, *([lesion.suv_peak * factor] if factor else []),
                  lesion.mtv_ml, lesion.tlg]  # fmt: skip
        rows.append([
            _number(lesion),
            locale.translate(lesion.place),
            *(locale.decimal(x) for x in values),
            *([locale.percent(shares.get(lesion.id, 0.0))] if shares else []),
            *([str(content.foci.get(lesion.id, lesion.id))] if renumbered else []),
        ])  # fmt: skip
    note = _(
        "Regions are found by simple rules on the CT and are to be confirmed by the reader; vertebral levels are"
        " estimates, lymph node stations (IASLC) proposals."
    )
    others = len(head) - 2
    width = min(19.0, 134.0 / others)
    widths = [12 * mm, (168 - width * others) * mm, *[width * mm] * others]
    return [grid(rows, widths, numbers_from=2), paragraph(note, "quiet")]


def _by_region(lesions: Sequence[Lesion], locale: Locale) -> list[Flowable]:
    """One row for each region, the largest volume first; nothing where each lesion is in a region of its own."""
    groups: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        groups.setdefault(lesion.region, []).append(lesion)
    if len(groups) == len(lesions):
        return []
    _ = locale.text
    volumes = {region: sum(lesion.mtv_ml for lesion in found) for region, found in groups.items()}
    rows = [[_("By region"), _("Lesions"), "SUVmax", _("MTV (ml)"), _("TLG (g)")]]
    rows += [
        [
            locale.translate(REGIONS[region]),
            str(len(groups[region])),
            locale.decimal(max(lesion.suv_max for lesion in groups[region])),
            locale.decimal(volumes[region]),
            locale.decimal(sum(lesion.tlg for lesion in groups[region])),
        ]
        for region in sorted(groups, key=lambda region: -volumes[region])
    ]
    return [KeepTogether([grid(rows, [80 * mm, *[25 * mm] * 4], numbers_from=1)]), Spacer(0, 2 * mm)]


def _number(lesion: Lesion) -> Text:
    red, green, blue = (round(255 * x) for x in lesion_colour(lesion.id))
    return Text(f'<font color="#{red:02x}{green:02x}{blue:02x}">■</font> {lesion.id}', STYLES["small"])


def _foci(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The hot foci that are no lesions, each with its letter and where it lies."""
    left_out = [one for one in content.prediction.components if not one.included]
    if not left_out:
        return []
    _ = locale.text
    lettered, doubtful = letters(content.prediction.components), _("by a rule, to be confirmed")
    rows = [[_("Focus"), _("Place"), "SUVmax", "ml", _("Centre, mm (left, back, up)"), _("Left out")]]
    rows += [
        [
            lettered[one.id],
            locale.translate(_PLACES[one.place]),
            locale.decimal(one.suv_max),
            locale.decimal(one.volume_ml),
            " · ".join(locale.decimal(x, 0) for x in one.centroid_mm),
            _("by the reader") if one.switched else doubtful if one.to_confirm else _("by a rule"),
        ]
        for one in left_out
    ]
    note = Message(
        "One hot focus counts as no lesion; it is on the images, dashed, where the reader left it out or is to"
        " confirm it.",
        "{count} hot foci count as no lesion; those that the reader left out or is to confirm are on the images,"
        " dashed, by their letters.",
        count=len(left_out),
    )
    widths = [14 * mm, 50 * mm, 18 * mm, 16 * mm, 44 * mm, 38 * mm]
    return [Spacer(0, 2 * mm), grid(rows, widths), paragraph(locale.translate(note), "quiet")]
