"""Lesions: totals, slices through the main lesion, a summary by region and the table of lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from explain.figures.case_figures import fused_slices
from explain.figures.drawing import lesion_colour
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from reports.pdf.images import embed_image
from reports.pdf.measurements import delineation, totals
from reports.pdf.style import STYLES, WIDTH, Heading, grid, paragraph
from reports.pdf.tagging import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from fedpet.imaging.lesions.lesion import Lesion
    from reports.content import ReportContent
    from reports.locale import Locale

_FEW = 8  # lesions that need no summary
_SHOWN = 100  # lesions in the table; more would fill the report, and are summed up


def findings(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Totals, fused slices and the table of lesions."""
    _ = locale.text
    caption = _slices_caption(content, locale)
    measured = [Heading(_("Lesions and PET measurements")), totals(content, locale), delineation(content, locale)]
    return [
        KeepTogether(measured),
        Spacer(0, 1.5 * mm),
        KeepTogether([_slices(content, caption, locale), paragraph(caption, "quiet")]),
        Spacer(0, 1.5 * mm),
        *_table(content, locale),
    ]


def _slices(content: ReportContent, caption: str, locale: Locale) -> Flowable:
    lesion = content.prediction.quantities.largest
    position = content.study.pet.centre if lesion is None else lesion.centroid_mm
    figure = fused_slices(content.study, content.prediction.lesion_labels, position, language=locale.language)
    return embed_image(figure, caption, width=WIDTH, height=74 * mm)


def _slices_caption(content: ReportContent, locale: Locale) -> str:
    _ = locale.text
    lesion = content.prediction.quantities.largest
    if lesion is None:
        return _("Slices through the centre of the PET; nothing was delineated.")
    return locale.translate(Message("Slices through lesion {number}, the largest.", number=lesion.id))


def _table(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Every lesion, the largest first; many are summed up by region above."""
    _ = locale.text
    lesions = sorted(content.prediction.quantities.lesions, key=lambda lesion: -lesion.mtv_ml)
    if not lesions:
        return []
    shares = content.explanation.lesion_share if content.explanation and content.explanation.reliable else {}
    head = [_("Lesion"), _("Region"), _("SUVmax"), _("SUVpeak"), _("SUVmean"), _("MTV (ml)"), _("TLG (g)")]
    widths = [18 * mm, (48 if shares else 72) * mm, *[18 * mm] * 5]
    if shares:
        head, widths = [*head, _("Share of the explanation")], [*widths, 24 * mm]
    rows: list[list[str | Flowable | list[Flowable]]] = [list(head)]
    rows += [_row(lesion, shares, locale) for lesion in lesions[:_SHOWN]]
    notes = [_("Regions are found by simple rules on the CT and are to be confirmed by the reader.")]
    if rest := lesions[_SHOWN:]:
        more = Message("{count} smaller lesions are not listed ({volume:.1f} ml together).", count=len(rest),
                       volume=sum(lesion.mtv_ml for lesion in rest))  # fmt: skip
        notes.insert(0, locale.translate(more))
    return [*_by_region(lesions, locale), grid(rows, widths, numbers_from=2), paragraph(" ".join(notes), "quiet")]


def _by_region(lesions: Sequence[Lesion], locale: Locale) -> list[Flowable]:
    """One row for each region, the largest volume first; nothing for lesions that are few or each in its region."""
    groups: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        groups.setdefault(lesion.region, []).append(lesion)
    if len(lesions) <= _FEW or len(groups) == len(lesions):
        return []
    _ = locale.text
    volumes = {region: sum(lesion.mtv_ml for lesion in found) for region, found in groups.items()}
    rows = [[_("By region"), _("Lesions"), _("SUVmax"), _("MTV (ml)"), _("TLG (g)")]]
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
    return [KeepTogether([grid(rows, [72 * mm, *[22 * mm] * 4], numbers_from=1)]), Spacer(0, 2 * mm)]


def _row(lesion: Lesion, shares: dict[int, float], locale: Locale) -> list[str | Flowable | list[Flowable]]:
    red, green, blue = (round(255 * x) for x in lesion_colour(lesion.id))
    number = Text(f'<font color="#{red:02x}{green:02x}{blue:02x}">■</font> {lesion.id}', STYLES["small"])
    share = [locale.percent(shares.get(lesion.id, 0.0))] if shares else []
    return [
        number,
        locale.translate(REGIONS[lesion.region]),
        *(locale.decimal(x) for x in (lesion.suv_max, lesion.suv_peak, lesion.suv_mean, lesion.mtv_ml, lesion.tlg)),
        *share,
    ]
