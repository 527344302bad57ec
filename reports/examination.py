"""The examination: what was acquired, and the quality checks with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm

from fedpet.messages import Message
from reports.style import Heading, facts, grid, paragraph
from reports.wording import CHECKS, LEVELS

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from reports.content import ReportContent
    from reports.edition import Edition


def checks(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Every check, the worst first: mark and word, name, reason."""
    _ = edition.translate
    order = list(LEVELS)
    ordered = sorted(content.study.checks, key=lambda check: order.index(check.level))
    rows: list[list[str | Flowable | list[Flowable]]] = [[_("Verdict"), _("Check"), _("Reason")]]
    for check in ordered:
        mark, word = LEVELS[check.level]
        verdict = paragraph(f"{mark} {edition.say(word)}", "small" if check.level is order[-1] else "small_strong")
        label = edition.say(CHECKS[check.name]) if check.name in CHECKS else check.name
        rows.append([verdict, label, edition.say(check.reason)])
    return [Heading(_("Quality checks of the images")), grid(rows, [24 * mm, 34 * mm, 122 * mm])]


def acquisition(content: ReportContent, edition: Edition) -> list[Flowable]:
    """What the SUV rests on, and the geometry of both series."""
    _ = edition.translate
    study, pet = content.study, content.study.pet_facts
    pairs = [
        (_("Scanner"), f"{pet.manufacturer} {pet.model}".strip() or _("not stated")),
        (_("Radiopharmaceutical"), pet.radiopharmaceutical or _("not stated")),
        (_("Injected activity"), _given(pet.dose_bq, 1e-6, "MBq", edition, 0)),
        (_("Uptake time"), _given(pet.uptake_min, 1.0, "min", edition, 1)),
        (_("Weight in the images"), _given(pet.weight_kg, 1.0, "kg", edition, 1)),
        (_("Blood glucose at the PET"), _given(content.record.glycaemia_mmol_l, 1.0, "mmol/L", edition, 1)),
        (_("SUV"), edition.say(_suv(content))),
        (_("PET voxel"), _spacing(study.pet.spacing, edition)),
        (_("CT voxel"), _("no CT") if study.ct is None else _spacing(study.ct.spacing, edition)),
    ]
    return [Heading(_("Examination")), facts(pairs, columns=3)]


def _given(value: float | None, factor: float, unit: str, edition: Edition, digits: int) -> str:
    _ = edition.translate
    return _("not stated") if value is None else f"{edition.decimal(factor * value, digits)} {unit}"


def _suv(content: ReportContent) -> Message:
    pet = content.study.pet_facts
    if pet.suv_factor_min is None:
        return Message("not computable ({units}, {decay})", units=pet.units, decay=pet.decay_correction)
    return Message("SUVbw, g/ml ({units}, {decay})", units=pet.units, decay=pet.decay_correction)


def _spacing(spacing: tuple[float, float, float], edition: Edition) -> str:
    return " × ".join(edition.decimal(mm_, 2) for mm_ in spacing) + " mm"
