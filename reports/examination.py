"""The examination: what was acquired, what a person corrected, and the quality checks with their reasons."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import Spacer

from fedpet.messages import Message
from imaging.corrections import LABELS
from imaging.study import Level
from reports.style import VERMILION, WIDTH, Heading, clipped, facts, grid, panel, paragraph
from reports.wording import CHECKS, FACTOR_RULES, LEVELS, REFERENCE_TIMES

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from imaging.study import PetFacts
    from reports.content import ReportContent
    from reports.edition import Edition

_LONGEST_REASON = 400  # characters
_CORRECTED = "corrected"  # source of a value that a person gave (`imaging.acquisition`)


def checks(content: ReportContent, edition: Edition) -> list[Flowable]:
    """The checks, worst first: mark and word, name, reason. Those that passed share one row."""
    _ = edition.translate
    rows: list[list[str | Flowable | list[Flowable]]] = [[_("Verdict"), _("Check"), _("Reason")]]
    for level, (mark, word) in LEVELS.items():
        found = [check for check in content.study.checks if check.level is level]
        names = [edition.say(CHECKS[one.name]) if one.name in CHECKS else one.name for one in found]
        verdict = f"{mark} {edition.say(word)}"
        if level is not Level.PASS:
            rows += [
                [paragraph(verdict, "small_strong"), name, edition.say(one.reason)]
                for name, one in zip(names, found, strict=True)
            ]
        elif found:
            count = Message("Without remark: {count}", count=len(found))
            rows.append([paragraph(verdict, "small"), edition.say(count), ", ".join(names)])
    title = Heading(_("Quality checks of the images"))
    if len(rows) == 1:
        return [title, paragraph(_("No check was recorded."), "small")]
    return [title, grid(rows, [24 * mm, 34 * mm, 122 * mm])]


def acquisition(content: ReportContent, edition: Edition) -> list[Flowable]:
    """What the SUV rests on, and the geometry of both series."""
    _ = edition.translate
    study, pet = content.study, content.study.pet_facts
    ct = _("no CT") if study.ct is None else _spacing(study.ct.spacing, edition)
    told = [
        (_("Scanner"), f"{pet.manufacturer} {pet.model}".strip() or _("not stated")),
        (_("Radiopharmaceutical"), pet.radiopharmaceutical or _("not stated")),
        (_("Injected activity"), _given(pet.dose_bq, 1e-6, "MBq", edition, 0), _source(pet.dose_source, edition)),
        (_("Uptake time"), _given(pet.uptake_min, 1.0, "min", edition, 1), _source(pet.injection_source, edition)),
        (_("Weight in the images"), _given(pet.weight_kg, 1.0, "kg", edition, 1), _source(pet.weight_source, edition)),
        (_("Height in the images"), _given(pet.height_m, 100.0, "cm", edition, 0), _source(pet.height_source, edition)),
        (_("SUV"), edition.say(_suv(pet)), edition.say(FACTOR_RULES[pet.factor_rule]) if pet.factor_rule else ""),
        (_("Reference time of the SUV"), _clock(pet), edition.say(REFERENCE_TIMES[pet.reference_time_source])),
        (_("Blood glucose at the PET"), _given(content.record.glycaemia_mmol_l, 1.0, "mmol/L", edition, 1)),
        (_("PET voxel"), _spacing(study.pet.spacing, edition)),
        (_("CT voxel"), ct),
        (_("Corrections of the PET"), ", ".join(pet.corrected_image) or _("not stated")),
    ]
    return [Heading(_("Examination")), facts(told, columns=4)]


def corrections(content: ReportContent, edition: Edition) -> list[Flowable]:
    """What a person put in place of the headers' values; nothing where they were taken as they are."""
    applied = content.study.corrections
    if not applied:
        return []
    _ = edition.translate
    rows = [[_("Value"), _("In the images"), _("Used"), _("Reason"), _("By")]]
    rows += [
        [
            edition.say(LABELS[one.name]),
            _value(one.old, edition),
            _value(one.new, edition),
            clipped(one.reason, _LONGEST_REASON),
            one.by or _("not stated"),
        ]
        for one in applied
    ]
    told = _("Corrected by a person: the SUV rests on these values.")
    table = grid(rows, [28 * mm, 28 * mm, 28 * mm, 56 * mm, 32 * mm])
    return [Spacer(0, 2 * mm), panel([paragraph(f"▲ {told}", "strong"), table], WIDTH, edge=VERMILION)]


def _value(value: float | datetime | None, edition: Edition) -> str:
    if value is None:
        return edition.translate("not stated")
    if isinstance(value, datetime):
        return edition.clock(value)
    return edition.decimal(value, 2)


def _source(source: str, edition: Edition) -> str:
    """That a person gave the value, or nothing."""
    told = edition.say(REFERENCE_TIMES[_CORRECTED])
    return f"▲ {told}" if source == _CORRECTED else ""


def _given(value: float | None, factor: float, unit: str, edition: Edition, digits: int) -> str:
    _ = edition.translate
    return _("not stated") if value is None else f"{edition.decimal(factor * value, digits)} {unit}"


def _suv(pet: PetFacts) -> Message:
    decay = pet.decay_correction or "–"
    if pet.suv_factor_min is None:
        return Message("not computable ({units}, {decay})", units=pet.units, decay=decay)
    return Message("SUVbw, g/ml ({units}, {decay})", units=pet.units, decay=decay)


def _clock(pet: PetFacts) -> str:
    return "–" if pet.reference_time is None else f"{pet.reference_time:%H:%M:%S}"


def _spacing(spacing: tuple[float, float, float], edition: Edition) -> str:
    return " × ".join(edition.decimal(mm_, 2) for mm_ in spacing) + " mm"
