"""What a report derives from the measurements: SUL, eligibility for PERCIST, the comparison in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from fedpet.imaging.response.comparison import measurable_from as suv_peak_measurable_from
from fedpet.imaging.response.comparison import relative_change
from fedpet.imaging.suv.normalization import lean_body_mass_if_known
from reports.labels import CATEGORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fedpet.imaging.response.assessment import ResponseAssessment
    from fedpet.imaging.study import PetFacts
    from reports.content import ReportContent
    from reports.locale import Locale


def sul_factor(pet: PetFacts) -> float | None:
    """SUL (lean body mass of Janmahasatian) for one SUVbw; None where weight, height or sex is not in the images."""
    mass = lean_body_mass_if_known(pet.weight_kg, pet.height_m, pet.sex)
    return mass / pet.weight_kg if mass is not None and pet.weight_kg else None


def measurable_from(content: ReportContent) -> float | None:
    """SUVpeak (SUVbw) from which PERCIST 1.0 takes a lesion as measurable; None without healthy organs to compare."""
    found = content.references
    if found is None:
        return None
    liver, pool = (None if one is None else (one.suv_mean, one.suv_sd) for one in (found.liver, found.blood_pool))
    return suv_peak_measurable_from(liver, pool)


def percist_eligibility(content: ReportContent, locale: Locale) -> Message:
    """Whether the hottest lesion is measurable by PERCIST, with both values."""
    needed, factor = measurable_from(content), sul_factor(content.study.pet_facts) or 1.0
    if not content.prediction.quantities.lesions:
        return Message("PERCIST: no lesion to follow.")
    if needed is None:
        return Message("PERCIST: eligibility not known, no healthy liver or blood pool was measured.")
    values = {
        "peak": locale.decimal(content.prediction.quantities.suv_peak * factor),
        "needed": locale.decimal(needed * factor),
        "quantity": "SULpeak" if sul_factor(content.study.pet_facts) else "SUVpeak",
    }
    if content.prediction.quantities.suv_peak >= needed:
        return Message("PERCIST: measurable, {quantity} {peak} (at least {needed}).", **values)
    return Message("PERCIST: not measurable, {quantity} {peak} (at least {needed}).", **values)


def response_lines(found: ResponseAssessment, locale: Locale) -> Iterator[str]:
    """Category with its criterion, change of the peak and of the volume, and how many lesions match."""
    response, before, after = found.response, found.before, found.after
    yield locale.translate(
        Message(
            "{day}: {category}. {criterion}",
            day=locale.day(before.date),
            category=CATEGORIES[response.category],
            criterion=response.criterion,
        )
    )
    yield locale.translate(
        Message(
            "{quantity} {before} → {after} ({change}); TMTV {old} → {new} ml ({growth}).",
            quantity=response.quantity,
            before=locale.decimal(response.before),
            after=locale.decimal(response.after),
            change=_change(response.before, response.after, locale),
            old=locale.decimal(before.tmtv_ml),
            new=locale.decimal(after.tmtv_ml),
            growth=_change(before.tmtv_ml, after.tmtv_ml, locale),
        )
    )
    kinds = [match.kind for match in found.matches]
    counts = {kind: kinds.count(kind) for kind in ("persisting", "new", "gone")}
    said = (
        Message("One lesion matched", "{count} lesions matched", count=counts["persisting"]),
        Message("one new", "{count} new", count=counts["new"]),
        Message("one gone", "{count} gone", count=counts["gone"]),
    )
    yield locale.listed(locale.translate(one) for one in said) + "."


def _change(before: float, after: float, locale: Locale) -> str:
    change = relative_change(before, after)
    return "–" if change is None else locale.decimal(100 * change, 0, sign=True) + locale.percent_sign
