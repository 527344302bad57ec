"""The examination: acquisition, manual corrections, and quality checks with their reasons."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import Spacer

from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.overrides import LABELS
from reports.labels import CHECKS, FACTOR_RULES, LEVELS, REFERENCE_TIMES, radiopharmaceutical, without_remark
from reports.pdf.style import VERMILION, WIDTH, Heading, clip, facts, grid, panel, paragraph, splitting

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from fedpet.imaging.study import PetFacts
    from reports.content import ReportContent
    from reports.locale import Locale

_LONGEST_REASON = 400  # characters
_CORRECTED = "corrected"  # source of a value that a person entered (`fedpet.imaging.suv.inputs`)


def checks(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The checks, worst first: verdict, name, reason. Those that passed share one row."""
    _ = locale.text
    rows: list[list[str | Flowable | list[Flowable]]] = [[_("Verdict"), _("Check"), _("Reason")]]
    for level, (mark, word) in LEVELS.items():
        found = [check for check in content.checks if check.level is level]
        names = [locale.translate(CHECKS[one.name]) if one.name in CHECKS else one.name for one in found]
        verdict = f"{mark} {locale.translate(word)}"
        if level is not CheckStatus.PASS:
            rows += [
                [paragraph(verdict, "small_strong"), name, locale.translate(one.reason)]
                for name, one in zip(names, found, strict=True)
            ]
        elif found:
            count = locale.translate(without_remark(len(found))).rstrip(".")
            rows.append([paragraph(verdict, "small"), count, ", ".join(names)])
    title = _("Quality checks of the images")
    if len(rows) == 1:
        return [Heading(title), paragraph(_("No check was recorded."), "small")]
    return splitting(title, grid(rows, [24 * mm, 34 * mm, 122 * mm]))


def acquisition(content: ReportContent, locale: Locale) -> list[Flowable]:
    """What the SUV rests on, and the geometry of both series."""
    _ = locale.text
    study, pet = content.study, content.study.pet_facts
    ct = _("no CT") if study.ct is None else _spacing(study.ct.spacing, locale)
    values = [
        (_("Scanner"), f"{pet.manufacturer} {pet.model}".strip() or _("not stated")),
        (
            _("Radiopharmaceutical"),
            locale.translate(radiopharmaceutical(pet.radiopharmaceutical, pet.radiopharmaceutical_code)),
        ),
        (_("Injected activity"), _measure(pet.dose_bq, 1e-6, "MBq", locale, 0), _source(pet.dose_source, locale)),
        (_("Uptake time"), _measure(pet.uptake_min, 1.0, "min", locale, 1), _source(pet.injection_source, locale)),
        (_("Weight in the images"), _measure(pet.weight_kg, 1.0, "kg", locale, 1), _source(pet.weight_source, locale)),
        (_("Height in the images"), _measure(pet.height_m, 100.0, "cm", locale, 0), _source(pet.height_source, locale)),
        (
            _("SUV"),
            locale.translate(_suv(pet)),
            locale.translate(FACTOR_RULES[pet.factor_rule]) if pet.factor_rule else "",
        ),
        (_("Reference time of the SUV"), _clock(pet), locale.translate(REFERENCE_TIMES[pet.reference_time_source])),
        (_("Blood glucose at the PET"), _measure(content.record.glycaemia_mmol_l, 1.0, "mmol/L", locale, 1)),
        (_("PET voxel"), _spacing(study.pet.spacing, locale)),
        (_("CT voxel"), ct),
        (_("Corrections of the PET"), ", ".join(pet.corrected_image) or _("not stated")),
    ]
    return [Heading(_("Examination")), facts(values, columns=4)]


def corrections(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The values that a person corrected; nothing where those of the headers were used."""
    applied = content.study.corrections
    if not applied:
        return []
    _ = locale.text
    rows = [[_("Value"), _("In the images"), _("Used"), _("Reason"), _("By")]]
    rows += [
        [
            locale.translate(LABELS[one.name]),
            _value(one.old, locale),
            _value(one.new, locale),
            clip(one.reason, _LONGEST_REASON),
            one.by or _("not stated"),
        ]
        for one in applied
    ]
    warning = _("Corrected by a person: the SUV rests on these values.")
    table = grid(rows, [28 * mm, 28 * mm, 28 * mm, 56 * mm, 32 * mm])
    return [Spacer(0, 2 * mm), panel([paragraph(f"▲ {warning}", "strong"), table], WIDTH, edge=VERMILION)]


def _value(value: float | datetime | None, locale: Locale) -> str:
    if value is None:
        return locale.text("not stated")
    if isinstance(value, datetime):
        return locale.clock(value)
    return locale.decimal(value, 2)


def _source(source: str, locale: Locale) -> str:
    """That a person corrected the value, or nothing."""
    return f"▲ {locale.translate(REFERENCE_TIMES[_CORRECTED])}" if source == _CORRECTED else ""


def _measure(value: float | None, factor: float, unit: str, locale: Locale, digits: int) -> str:
    _ = locale.text
    return _("not stated") if value is None else f"{locale.decimal(factor * value, digits)} {unit}"


def _suv(pet: PetFacts) -> Message:
    decay = pet.decay_correction or "–"
    if pet.suv_factor_min is None:
        return Message("not computable ({units}, {decay})", units=pet.units, decay=decay)
    return Message("SUVbw, g/ml ({units}, {decay})", units=pet.units, decay=decay)


def _clock(pet: PetFacts) -> str:
    return "–" if pet.reference_time is None else f"{pet.reference_time:%H:%M:%S}"


def _spacing(spacing: tuple[float, float, float], locale: Locale) -> str:
    return " × ".join(locale.decimal(mm_, 2) for mm_ in spacing) + " mm"
