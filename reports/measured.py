"""What was measured on the PET, each quantity with its method; hot uptake that is no lesion; healthy organs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reportlab.platypus import KeepTogether

from fedpet.messages import Message
from imaging.normalization import lean_body_mass_kg
from imaging.physiology import PLACES
from imaging.regions import REGIONS
from inference.delineation import method_label
from reports.style import Heading, facts, paragraph
from reports.wording import ORGANS, REFERENCE_METHODS

if TYPE_CHECKING:
    from reportlab.platypus import Flowable, Table

    from imaging.references import Name, OrganReferences
    from imaging.study import PetFacts
    from reports.content import ReportContent
    from reports.edition import Edition

_PLACES = {**REGIONS, **PLACES}


def totals(content: ReportContent, edition: Edition) -> Table:
    """The quantities of all lesions, each with how it was measured."""
    _ = edition.translate
    found = content.prediction.quantities
    sul, lean = _sul_peak(content, edition)
    distance = f"{edition.decimal(found.dmax_mm / 10)} cm" if len(found.lesions) > 1 else "–"
    hottest, peak = (edition.decimal(suv) if found.lesions else "–" for suv in (found.suv_max, found.suv_peak))
    hot = str(len(content.prediction.components)) if content.prediction.components else "–"
    return facts(
        [
            (
                _("Total metabolic tumour volume (TMTV)"),
                f"{edition.decimal(found.tmtv_ml)} ml",
                _("sum of the lesions"),
            ),
            (_("Total lesion glycolysis (TLG)"), f"{edition.decimal(found.tlg)} g", _("sum of volume × SUVmean")),
            (_("Largest distance (Dmax)"), distance, _("between lesion centroids")),
            (_("Number of lesions"), str(len(found.lesions))),
            (_("SUVmax"), hottest, _("hottest voxel; body weight")),
            (_("SUVpeak"), peak, _("highest mean of a 1 cm³ sphere; body weight")),
            (_("SULpeak"), sul, lean),
            (_("Hot components"), hot, _("lesions and physiological uptake")),
        ],
        columns=4,
    )


def _sul_peak(content: ReportContent, edition: Edition) -> tuple[str, str]:
    """SUVpeak per lean body mass, and the method or what is missing."""
    _ = edition.translate
    lean, found = _lean_body_mass(content.study.pet_facts), content.prediction.quantities
    if lean is None:
        return _("not computable"), _("height, weight or sex is not in the images")
    mass, weight = lean
    method = Message("as SUVpeak; lean body mass {kg:.1f} kg (Janmahasatian)", kg=mass)
    return edition.decimal(found.suv_peak * mass / weight) if found.lesions else "–", edition.say(method)


def _lean_body_mass(facts: PetFacts) -> tuple[float, float] | None:
    """Lean and total body mass in kg, or None where something is missing."""
    if facts.weight_kg is None or facts.height_m is None or facts.sex not in {"F", "M", "O"}:
        return None
    return lean_body_mass_kg(facts.weight_kg, facts.height_m, facts.sex), facts.weight_kg


def delineation(content: ReportContent, edition: Edition) -> Flowable:
    """The method, the hot components that are no lesions, by place, and what the reader switched."""
    left_out = [one for one in content.prediction.components if not one.included]
    delineated = Message("Delineation: {method}.", method=method_label(content.prediction.quantities.method))
    sentences = [delineated]
    if left_out:
        places = Counter(one.place for one in left_out).most_common()
        names = ", ".join(f"{edition.say(_PLACES[place])} ({count})" for place, count in places)
        sentences.append(
            Message("Hot components not counted as lesions: {count} – {places}.", count=len(left_out), places=names)
        )
    if switched := [one for one in content.prediction.components if one.switched]:
        ids = [", ".join(str(one.id) for one in switched if one.included is taken) or "–" for taken in (True, False)]
        sentences.append(Message("Components taken in by the reader: {taken}; left out: {left}.",
                                 taken=ids[0], left=ids[1]))  # fmt: skip
    return paragraph(" ".join(edition.say(sentence) for sentence in sentences), "small")


def painted_out(content: ReportContent, edition: Edition) -> list[Flowable]:
    """That the model answered on a PET without what the reader left out; nothing where it saw the PET as it is."""
    hidden = content.prediction.painted_out
    if not hidden:
        return []
    said = Message(
        "▲ The reader left out components {ids}: the model answered on a PET without their uptake.",
        ids=", ".join(map(str, hidden)),
    )
    return [paragraph(edition.say(said), "small_strong")]


def healthy_organs(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Uptake of healthy organs and the exploratory ratios; nothing where they were not measured."""
    if content.references is None or not any(getattr(content.references, name) for name in ORGANS):
        return []
    _ = edition.translate
    ratios = [
        (_("Spleen / liver"), content.references.spleen_to_liver),
        (_("Marrow / liver"), content.references.marrow_to_liver),
    ]
    told = [
        *(_organ(name, content.references, edition) for name in ORGANS),
        *(
            (name, "–" if ratio is None else edition.decimal(ratio, 2), _("SUVmean over SUVmean; exploratory"))
            for name, ratio in ratios
        ),
    ]
    return [KeepTogether([Heading(_("Healthy organs, for comparison")), facts(told, columns=3)])]


def _organ(name: Name, references: OrganReferences, edition: Edition) -> tuple[str, str, str]:
    """Mean and SD of an organ, and how it was measured or why it was not."""
    label, found = edition.say(ORGANS[name]), getattr(references, name)
    if found is None:
        return label, "–", edition.say(references.reasons[name])
    value = f"{edition.decimal(found.suv_mean)} ± {edition.decimal(found.suv_sd)}"
    method = Message("{method}, {ml:.1f} ml", method=REFERENCE_METHODS[found.method], ml=found.volume_ml)
    return label, value, edition.say(method)
