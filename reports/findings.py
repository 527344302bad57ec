"""Lesions: totals by method, slices through the main lesion, and the table of lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from explain.drawing import lesion_colour
from explain.figures import fused_slices
from fedpet.messages import Message
from imaging.regions import REGIONS
from reports.measured import delineation, totals
from reports.pictures import main_lesion, picture
from reports.style import STYLES, WIDTH, Heading, grid, paragraph
from reports.tagging import Text

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from imaging.lesions import Lesion
    from reports.content import ReportContent
    from reports.edition import Edition

_SHOWN = 14  # lesions in the table; the rest is summed up


def findings(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Totals, fused slices and the table of lesions."""
    _ = edition.translate
    caption = _slices_caption(content, edition)
    measured = [Heading(_("Lesions and PET measurements")), totals(content, edition), delineation(content, edition)]
    return [
        KeepTogether(measured),
        Spacer(0, 1.5 * mm),
        KeepTogether([_slices(content, caption, edition), paragraph(caption, "quiet")]),
        Spacer(0, 1.5 * mm),
        *_table(content, edition),
    ]


def _slices(content: ReportContent, caption: str, edition: Edition) -> Flowable:
    lesion, pet = main_lesion(content.prediction.quantities), content.study.pet
    if lesion is not None:
        position = lesion.centroid_mm
    else:
        x, y, z = pet.to_mm((np.array(pet.shape) - 1) / 2)
        position = (float(x), float(y), float(z))
    figure = fused_slices(content.study, content.prediction.lesion_labels, position, language=edition.language)
    return picture(figure, caption, width=WIDTH, height=74 * mm)


def _slices_caption(content: ReportContent, edition: Edition) -> str:
    _ = edition.translate
    lesion = main_lesion(content.prediction.quantities)
    if lesion is None:
        return _("Slices through the centre of the PET; nothing was delineated.")
    return edition.say(Message("Slices through lesion {number}, the largest.", number=lesion.id))


def _table(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    lesions = sorted(content.prediction.quantities.lesions, key=lambda lesion: -lesion.mtv_ml)
    if not lesions:
        return []
    shares = content.explanation.lesion_share if content.explanation and content.explanation.reliable else {}
    head = [_("Lesion"), _("Region"), _("SUVmax"), _("SUVpeak"), _("SUVmean"), _("MTV (ml)"), _("TLG (g)")]
    widths = [18 * mm, (48 if shares else 72) * mm, *[18 * mm] * 5]
    if shares:
        head, widths = [*head, _("Share of the explanation")], [*widths, 24 * mm]
    rows: list[list[str | Flowable | list[Flowable]]] = [list(head)]
    rows += [_row(lesion, shares, edition) for lesion in lesions[:_SHOWN]]
    notes = [_("Regions are found by simple rules on the CT and are to be confirmed by the reader.")]
    if rest := lesions[_SHOWN:]:
        more = Message("{count} smaller lesions are not listed ({volume:.1f} ml together).", count=len(rest),
                       volume=sum(lesion.mtv_ml for lesion in rest))  # fmt: skip
        notes.insert(0, edition.say(more))
    return [grid(rows, widths, numbers_from=2), paragraph(" ".join(notes), "quiet")]


def _row(lesion: Lesion, shares: dict[int, float], edition: Edition) -> list[str | Flowable | list[Flowable]]:
    red, green, blue = (round(255 * x) for x in lesion_colour(lesion.id))
    number = Text(f'<font color="#{red:02x}{green:02x}{blue:02x}">■</font> {lesion.id}', STYLES["small"])
    share = [edition.percent(shares.get(lesion.id, 0.0))] if shares else []
    return [
        number,
        edition.say(REGIONS[lesion.region]),
        *(edition.decimal(x) for x in (lesion.suv_max, lesion.suv_peak, lesion.suv_mean, lesion.mtv_ml, lesion.tlg)),
        *share,
    ]
