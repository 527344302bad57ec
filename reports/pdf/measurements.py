"""Measurements on the PET, each with its method; hot components that are no lesions; healthy organs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.platypus import KeepTogether

from fedpet.core.messages import Message
from fedpet.imaging.suv.normalization import lean_body_mass_if_known
from inference.lesion_map import delineation_method_label
from reports.labels import ORGANS, REFERENCE_METHODS
from reports.lesion_numbers import letters
from reports.pdf.style import Heading, facts, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable, Table

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceOrgan
    from reports.content import ReportContent
    from reports.locale import Locale


def totals(content: ReportContent, locale: Locale) -> Table:
    """The totals over all lesions, each with its method."""
    _ = locale.text
    found = content.prediction.quantities
    sul, lean = _sul_peak(content, locale)
    distance = f"{locale.decimal(found.dmax_mm / 10)} cm" if len(found.lesions) > 1 else "–"
    hottest, peak = (locale.decimal(suv) if found.lesions else "–" for suv in (found.suv_max, found.suv_peak))
    hot = str(len(content.prediction.components)) if content.prediction.components else "–"
    return facts(
        [
            (
                _("Total metabolic tumour volume (TMTV)"),
                f"{locale.decimal(found.tmtv_ml)} ml" if found.lesions else "–",
                _("sum of the lesions"),
            ),
            (
                _("Total lesion glycolysis (TLG)"),
                f"{locale.decimal(found.tlg)} g" if found.lesions else "–",
                _("sum of volume × SUVmean"),
            ),
            (_("Largest distance (Dmax)"), distance, _("between lesion centroids")),
            (_("Number of lesions"), str(len(found.lesions))),
            (_("SUVmax"), hottest, _("hottest voxel; body weight")),
            (_("SUVpeak"), peak, _("highest mean of a 1 cm³ sphere; body weight")),
            (_("SULpeak"), sul, lean),
            (_("Hot components"), hot, _("lesions and physiological uptake")),
        ],
        columns=4,
    )


def _sul_peak(content: ReportContent, locale: Locale) -> tuple[str, str]:
    """SUVpeak per lean body mass, and the method or what is missing."""
    _ = locale.text
    pet, found = content.study.pet_facts, content.prediction.quantities
    mass, weight = lean_body_mass_if_known(pet.weight_kg, pet.height_m, pet.sex), pet.weight_kg
    if mass is None or weight is None:
        return _("not computable"), _("height, weight or sex is not in the images")
    method = Message("as SUVpeak; lean body mass {kg:.1f} kg (Janmahasatian)", kg=mass)
    return locale.decimal(found.suv_peak * mass / weight) if found.lesions else "–", locale.translate(method)


def delineation(content: ReportContent, locale: Locale) -> Flowable:
    """How the lesions were delineated, and which foci the reader switched."""
    method = delineation_method_label(content.prediction.quantities.method)
    sentences = [Message("Delineation: {method}.", method=method)]
    if switched := [one for one in content.prediction.components if one.switched]:
        numbers = {focus: str(number) for number, focus in content.foci.items()}
        named = {**letters(content.prediction.components), **numbers}
        ids = [
            ", ".join(named.get(one.id, str(one.id)) for one in switched if one.included is added) or "–"
            for added in (True, False)
        ]
        sentences.append(Message("Foci added by the reader: {added}; left out: {left}.", added=ids[0], left=ids[1]))
    return paragraph(" ".join(locale.translate(sentence) for sentence in sentences), "small")


def healthy_organs(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Uptake of healthy organs and the exploratory ratios; nothing where they were not measured."""
    if content.references is None or not any(getattr(content.references, name) for name in ORGANS):
        return []
    _ = locale.text
    ratios = [
        (_("Spleen / liver"), content.references.spleen_to_liver),
        (_("Marrow / liver"), content.references.marrow_to_liver),
    ]
    values = [
        *(_organ(name, content.references, locale) for name in ORGANS),
        *(
            (name, "–" if ratio is None else locale.decimal(ratio, 2), _("SUVmean over SUVmean; exploratory"))
            for name, ratio in ratios
        ),
    ]
    remarks = " ".join(locale.translate(one) for one in content.references.liver_remarks)
    said = [paragraph(f"{locale.translate(ORGANS['liver'])} : {remarks}", "small")] if remarks else []
    return [KeepTogether([Heading(_("Healthy organs, for comparison")), facts(values, columns=3), *said])]


def _organ(name: ReferenceOrgan, references: OrganReferences, locale: Locale) -> tuple[str, str, str]:
    """Mean and SD of an organ, and how it was measured or why it was not."""
    label, found = locale.translate(ORGANS[name]), getattr(references, name)
    if found is None:
        return label, "–", locale.translate(references.reasons[name])
    value = f"{locale.decimal(found.suv_mean)} ± {locale.decimal(found.suv_sd)}"
    method = Message("{method}, {ml:.1f} ml", method=REFERENCE_METHODS[found.method], ml=found.volume_ml)
    return label, value, locale.translate(method)
