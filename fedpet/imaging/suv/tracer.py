"""What was injected, as a PET's headers tell it, and whether it was fluorine-18 FDG (DICOM PS3.3 C.8.9.2)."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from fedpet.core.errors import TracerError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, text, texts
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.imaging.study import PetFacts

F18_HALF_LIFE_S: Final = 6586.2
_F18_TOLERANCE = 0.02  # share of the half-life; 6586 to 6588 s are written
_FDG_CODES = frozenset(("35321007", "C-B1031"))  # SNOMED CT, SNOMED RT (PS3.16 CID 4021)
_F18_CODES = frozenset(("77004003", "C-111A1"))  # PS3.16 CID 4020
HALF_LIVES_S: Final = {  # by radionuclide code (SNOMED CT, RT), where Radionuclide Half Life is missing; NuDat 3
    **dict.fromkeys(_F18_CODES, F18_HALF_LIFE_S),
    **dict.fromkeys(("35337001", "C-131A3"), 4062.6),  # gallium-68
    **dict.fromkeys(("40565003", "C-105A1"), 1221.84),  # carbon-11
    **dict.fromkeys(("21576001", "C-107A1"), 597.9),  # nitrogen-13
    **dict.fromkeys(("3932008", "C-127A2"), 45_722.0),  # copper-64
    **dict.fromkeys(("63360001", "C-168A4"), 282_276.0),  # zirconium-89
}
TRACER_CODES: Final = _FDG_CODES | HALF_LIVES_S.keys()
_FDG = re.compile(
    r"fdg(?!al)|(flu|f\W?18|18\W?f|deoxy|desoxy).*glu[ck]|glu[ck].*(flu|f\W?18|18\W?f)|"
    r"efdege|flucis|glucotep|gluscan|metatrace|steripet"
)
_OTHERS = re.compile(
    r"acetat|ammonia|amyvid|axumin|cerianna|cholin|dcfpyl|dopa|dota|estradiol|florbeta|flucicl|fluorid|fluorure|flutemet|"
    r"illuccix|locametz|methion|misonid|miso\b|neuraceq|netspot|posluma|psma|pylarify|raclo|rubid|tauvid|thymidin|"
    r"tyrosin|vizamyl|zirconium|\b(fapi|faz|fch|fes|fet|flt|naf|pib|tau|water)\b"
)
_STATED = ("Radiopharmaceutical", "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime")
_COUNTED = ("RadionuclideTotalDose", "RadionuclideHalfLife")
_CODED = ("RadiopharmaceuticalCodeSequence", "RadionuclideCodeSequence")
_UNSPECIFIC = frozenset(  # words that tell the radionuclide only, or nothing
    (
        "",
        "18",
        "18f",
        "f18",
        "f",
        "fluor",
        "fluorine",
        "injection",
        "na",
        "n",
        "a",
        "none",
        "other",
        "solution",
        "unknown",
    )
)


def radiopharmaceutical(header: Dataset) -> Dataset:
    """The radiopharmaceutical of an image: an empty item where none or several are named."""
    named = radiopharmaceuticals(header)
    return named[0] if len(named) == 1 else Dataset()


def radiopharmaceuticals(header: Dataset) -> list[Dataset]:
    """The items of Radiopharmaceutical Information Sequence: of equal ones only one, and no empty one beside others."""
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) < 2:
        return list(items)
    distinct: dict[object, Dataset] = {}
    for item in items:
        distinct.setdefault(_content(item), item)
    distinct.pop(_content(Dataset()), None)
    return list(distinct.values())


def most_radiopharmaceuticals(headers: Sequence[Dataset]) -> int:
    """How many the image that names most of them names.

    Slices repeat the same bytes: of these one is read, so that the others stay bytes, which are compared at once.
    """
    kinds: dict[object, Dataset] = {}
    for header in headers:
        raw: object = header.get_item("RadiopharmaceuticalInformationSequence", keep_deferred=True)
        kinds.setdefault((raw.value, raw.is_implicit_VR) if isinstance(raw, RawDataElement) else id(header), header)
    return max(len(radiopharmaceuticals(header)) for header in kinds.values())


def _content(item: Dataset) -> tuple[object, ...]:
    """What of an item enters the SUV or names the tracer; numbers by value."""
    written = tuple(texts(item, keyword) for keyword in _STATED)
    counted = tuple(number(item, keyword) for keyword in _COUNTED)
    return *written, *counted, *(code(item, sequence) for sequence in _CODED)


def tracer_name(header: Dataset) -> str:
    """Radiopharmaceutical, else the meaning of its code."""
    tracer = radiopharmaceutical(header)
    codes = tracer.get("RadiopharmaceuticalCodeSequence") or []
    return text(tracer, "Radiopharmaceutical") or (text(codes[0], "CodeMeaning") if codes else "")


def code(tracer: Dataset, sequence: str) -> str:
    """Code value of the first item of a code sequence, "" where absent."""
    codes = tracer.get(sequence) or []
    return text(codes[0], "CodeValue") if codes else ""


def tracer_refusal(facts: PetFacts) -> TracerError | None:
    """Why this is not shown to be fluorine-18 FDG, or None; a tracer that is not named is not refused.

    Not fluorine-18: the code of another radionuclide, or another half-life. Not FDG: the name of another tracer, or a
    name or code that is neither FDG nor unspecific ("F-18"). The names decide over the code, which scanners preset.
    """
    name = facts.radiopharmaceutical or "—"
    if not _is_f18(facts):
        found = Message(
            "The radionuclide is not fluorine-18: {name}, half-life {s} s.",
            name=name,
            s="—" if facts.half_life_s is None else f"{facts.half_life_s:.0f}",
        )
    elif _is_fdg(facts) is False:
        found = Message("The radiopharmaceutical is {tracer}: not FDG.", tracer=name)
    else:
        return None
    return TracerError(
        found=found,
        needed=Message("A PET of fluorine-18 FDG (fludeoxyglucose)."),
        advice=Message("Choose the FDG examination; what this tracer shows means something else."),
    )


def tracer_check(facts: PetFacts) -> QualityCheck:
    """The check "tracer": FDG passes, an unnamed tracer with the half-life of fluorine-18 is a warning."""
    refusal = tracer_refusal(facts)
    if refusal is not None:
        return QualityCheck("tracer", CheckStatus.FAIL, refusal.found)
    if _is_fdg(facts) is None:
        assumed = Message("The radiopharmaceutical is not named; FDG is assumed.")
        if facts.radiopharmaceutical_code in _FDG_CODES:
            assumed = Message("The code of {tracer} is that of FDG.", tracer=facts.radiopharmaceutical)
        return QualityCheck("tracer", CheckStatus.WARN, assumed)
    passed = Message("The radiopharmaceutical is {tracer}.", tracer=facts.radiopharmaceutical or "FDG")
    return QualityCheck("tracer", CheckStatus.PASS, passed)


def _is_f18(facts: PetFacts) -> bool:
    if facts.radionuclide_code in HALF_LIVES_S and facts.radionuclide_code not in _F18_CODES:
        return False
    return facts.half_life_s is None or abs(facts.half_life_s / F18_HALF_LIFE_S - 1) <= _F18_TOLERANCE


def _is_fdg(facts: PetFacts) -> bool | None:
    """Whether the tracer is FDG; None where neither name nor code tells, or where only the code does."""
    name, coded = _plain(facts.radiopharmaceutical), facts.radiopharmaceutical_code
    if _FDG.search(name):
        return True
    if _OTHERS.search(name):
        return False
    unspecific = _UNSPECIFIC.issuperset(re.split(r"\W+", name))
    if coded in _FDG_CODES:
        return True if unspecific else None
    return None if unspecific and coded in {"", *_F18_CODES} else False


def _plain(name: str) -> str:
    """Lower case, without accents."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
