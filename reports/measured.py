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

    from imaging.references import OrganReferences
    from imaging.study import PetFacts
    from reports.content import ReportContent
    from reports.edition import Edition


def totals(content: ReportContent, edition: Edition) -> Table:
    """The quantities of all lesions, each with how it was measured."""
    _ = edition.translate
    found = content.prediction.quantities
    sul, lean = _sul_peak(content, edition)
    return facts(
        [
            (_("Total metabolic tumour volume (TMTV)"), f"{edition.decimal(found.tmtv_ml)} ml", _("sum of the lesions")),
            (_("Total lesion glycolysis (TLG)"), f"{edition.decimal(found.tlg)} g", _("sum of volume × SUVmean")),
            (_("Largest distance (Dmax)"), f"{edition.decimal(found.dmax_mm / 10)} cm", _("between lesion centroids")),
            (_("Number of lesions"), str(len(found.lesions)), edition.say(method_label(found.method))),
            (_("SUVmax"), edition.decimal(found.suv_max), _("hottest voxel; body weight")),
            (_("SUVpeak"), edition.decimal(found.suv_peak), _("highest mean of a 1 cm³ sphere; body weight")),
            (_("SULpeak"), sul, lean),
            (_("Threshold measured on"), "SUVbw", _("volumes of other methods do not compare")),
        ],
        columns=4,
    )


def _sul_peak(content: ReportContent, edition: Edition) -> tuple[str, str]:
    """SUVpeak per lean body mass, and the method or what is missing."""
    _ = edition.translate
    lean = _lean_body_mass(content.study.pet_facts)
    if lean is None:
        return _("not computable"), _("height, weight or sex is not in the images")
    mass, weight = lean
    method = Message("as SUVpeak; lean body mass {kg:.1f} kg (Janmahasatian)", kg=mass)
    return edition.decimal(content.prediction.quantities.suv_peak * mass / weight), edition.say(method)


def _lean_body_mass(facts: PetFacts) -> tuple[float, float] | None:
    """Lean and total body mass in kg, or None where something is missing."""
    if facts.weight_kg is None or facts.height_m is None or facts.sex not in {"F", "M", "O"}:
        return None
    return lean_body_mass_kg(facts.weight_kg, facts.height_m, facts.sex), facts.weight_kg


def not_counted(content: ReportContent) -> Message:
    """Hot components that are no lesions, by place, and what the reader switched."""
    if not content.components:
        return Message("Regions too hot to be normal tissue but not counted as lesions are not listed for this method.")
    left_out = [one for one in content.components if not one.included]
    switched = [one for one in content.components if one.switched]
    if not left_out:
        return Message("Every hot component was counted as a lesion. {switched}", switched=_switched(switched))
    places = Counter(one.place for one in left_out)
    listed = [_of_place(place, count) for place, count in places.most_common()]
    return Message(
        "Hot components not counted as lesions: {count}: {places}. {switched}",
        count=len(left_out),
        places=_joined(listed),
        switched=_switched(switched),
    )
