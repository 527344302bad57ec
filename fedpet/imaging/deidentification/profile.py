"""What becomes of each attribute of a de-identified object (DICOM PS3.15 Annex E).

The table of the Basic Application Level Confidentiality Profile is that of dicom-anonymizer. On top of it lie the
options that keep what SUV needs, and for every attribute that the table does not name a rule by its value
representation: numbers, codes and times stay, UIDs and dates are replaced, free text keeps only the words of a
vocabulary, and what cannot be read goes.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.tag import Tag

from fedpet.imaging.dicom.headers.attributes import text, texts
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_time, read_utc_offset
from fedpet.imaging.suv.tracer import TRACER_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

EDITION: Final = "2026c"
REMOVED: Final = "REMOVED"  # stands for a text that an object must have; valid in every text representation


class Action(StrEnum):
    """What is done with an attribute."""

    KEEP = "kept"
    REMOVE = "removed"
    EMPTY = "emptied"
    REPLACE = "replaced"  # by REMOVED
    CLEAN = "cleaned"  # words outside the vocabulary are taken out
    SHIFT = "date_shifted"
    UID = "uid_replaced"


_TEMPORAL: Final = {"DA": Action.SHIFT, "DT": Action.SHIFT, "TM": Action.KEEP}


def _profile() -> dict[BaseTag, Action]:
    """The table of the profile; of its dates and times, those that it does not plainly remove are kept or shifted."""
    table = {}
    for tags, action in (
        (profile.X_TAGS, Action.REMOVE),
        (profile.X_D_TAGS, Action.REMOVE),  # none but dates is of type 1 in the objects kept
        (profile.X_Z_D_TAGS, Action.EMPTY),
        (profile.Z_TAGS, Action.EMPTY),
        (profile.X_Z_TAGS, Action.EMPTY),
        (profile.Z_D_TAGS, Action.REPLACE),  # that there was a contrast agent is worth knowing
        (profile.D_TAGS, Action.REPLACE),
        (profile.U_TAGS, Action.UID),
        (profile.X_Z_U_STAR_TAGS, Action.KEEP),  # sequences: the UIDs in them are replaced
    ):
        for tag in (Tag(*pair) for pair in tags if len(pair) == 2):  # the others are curves and overlays
            vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
            if vr in _TEMPORAL and tags is not profile.X_TAGS:
                table[tag] = _TEMPORAL[vr]
            else:
                table[tag] = Action.REMOVE if vr == "SQ" and action is not Action.KEEP else action
    return table


_PROFILE: Final = _profile()
_OPTIONS: Final = {
    Tag(keyword): action
    for keywords, action in (
        # Retain Patient Characteristics, and the times of Retain Longitudinal Temporal Information
        ("PatientSex PatientAge PatientSize PatientWeight", Action.KEEP),
        ("TimezoneOffsetFromUTC RadiopharmaceuticalStartTime RadiopharmaceuticalStopTime", Action.KEEP),
        ("RadiopharmaceuticalStartDateTime RadiopharmaceuticalStopDateTime", Action.SHIFT),
        ("PatientBirthDate", Action.EMPTY),
        # Clean Descriptors
        ("StudyDescription SeriesDescription ProtocolName ContrastBolusAgent StructureSetLabel ROIName", Action.CLEAN),
        ("ROIObservationLabel SegmentLabel", Action.CLEAN),
        # Texts that describe the equipment, the tracer and codes, not named by the profile
        ("Manufacturer ManufacturerModelName SoftwareVersions ConvolutionKernel FilterType", Action.KEEP),
        ("ReconstructionMethod AttenuationCorrectionMethod ScatterCorrectionMethod RescaleType", Action.KEEP),
        ("Radiopharmaceutical CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator", Action.KEEP),
        ("CodingSchemeVersion DimensionDescriptionLabel WindowCenterWidthExplanation", Action.KEEP),
        # Of type 1 or 2 in enhanced objects
        ("DeviceSerialNumber", Action.REPLACE),
        ("AcquisitionContextSequence", Action.EMPTY),
    )
    for keyword in keywords.split()
}  # fmt: skip
_BY_VR: Final = {
    **_TEMPORAL,
    "UI": Action.UID,
    "PN": Action.EMPTY,
    **dict.fromkeys(("AE", "LO", "LT", "SH", "ST", "UC", "UT"), Action.CLEAN),
    **dict.fromkeys(("AS", "AT", "CS", "DS", "FD", "FL", "IS", "SL", "SQ", "SS", "SV", "UL", "US", "UV"), Action.KEEP),
}  # all others (OB, OW, ..., UN, UR) are removed
_VALID: Final = {
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[\w .+/()-]{0,64}", re.ASCII),
    "DS": re.compile(r"[\d .eE+-]*"),
    "IS": re.compile(r"[\d +-]*"),
    "TM": re.compile(r"[\d .:]*"),
}
_TERMS: Final = {
    Tag(keyword): frozenset(terms.split("|"))
    for keyword, terms in {
        "DecayCorrection": "NONE|START|ADMIN",
        "Units": "CNTS|NONE|CM2ML|CPS|BQML|1CM|PROPCNTS|PROPCPS|GML",
        "SUVType": "BSA|BW|LBM|LBMJANMA|LBMJAMES128|IBW",
        "CorrectedImage": "DECY|ATTN|SCAT|DTIM|MOTN|PMOT|CLN|RAN|RADL|DCAL|NORM",
        "SeriesType": "STATIC|DYNAMIC|GATED|WHOLE BODY|IMAGE|REPROJECTION",
        "PatientSex": "M|F|O",
    }.items()
}  # of what the SUV rests on (PS3.3 C.8.9.1)
_STANDARD_CODES: Final = frozenset(
    ("DCM", "SCT", "SRT", "SNM3", "99SDM", "UCUM", "LN", "FMA", "RADLEX", "NCIt", "UMLS", "MSH", "NDC", "UNII")
)
_CODED: Final = frozenset(
    Tag(name) for name in ("CodeValue", "LongCodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion")
)
_VOCABULARY: Final = """
    pet ct petct tep tdm nm scan scanner series serie study image images imaging recon reconstruction osem psf tof fbp
    iterative truex axial transaxial coronal sagittal thin thick slice slices coupe coupes kernel filter gauss
    ac nac attenuation corrected uncorrected correction ctac scatter emission transmission low high dose diagnostic
    topogram scout localizer surview mip projection reformat mpr fusion fused static dynamic gated respiratory early
    late delayed whole body wholebody wb total corps entier head neck brain skull cerveau crane tete cou thorax thoracic
    chest lung lungs poumon poumons abdomen abdominal pelvis pelvien pelvic tap cap leg legs arm arms upper lower limb
    limbs thigh thighs vertex eyes left right gauche droit droite anterior posterior
    contrast iv none with without injected injection enhanced non avec sans native portal venous arterial phase standard
    std soft tissue bone os suv suvbw
    fdg fluorodeoxyglucose fludeoxyglucose deoxyglucose fluorine fluor psma dotatate dotatoc choline
    lesion lesions tumor tumour tumeur mass masse node nodes nodule ganglion metastasis metastases primary primitive
    target cible gtv ctv ptv itv roi region segment segmentation contour mask manual automatic liver foie spleen rate
    heart coeur aorta aorte kidney rein bladder vessie adrenal surrenale mediastinum mediastin hilum hile external
    organ threshold
"""
_WORDS: Final = frozenset(_VOCABULARY.split())
_MEASURE: Final = re.compile(
    r"f-?18|18-?f|ga-?68|68-?ga|cu64|zr89|c11|11c|n13|lu177|"
    r"\d{1,3}(?:[.,]\d{1,2})?(?:mm|cm|s|sec|min|kv|kvp|mas|it|i|ss|d)"
)
_TOKEN: Final = re.compile(r"(?:F-18|18-F|Ga-68|68-Ga)(?!\w)|[^\W_]+(?:[.,]\d+[^\W_]*)?", re.IGNORECASE)
_NAMES: Final = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")
_NUMBERS: Final = ("PatientID", "OtherPatientIDs", "AccessionNumber")
_OTHERS: Final = (
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "RequestingPhysician",
    "NameOfPhysiciansReadingStudy", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
)  # fmt: skip
_SHORTEST_NAME = 3
_SHORTEST_NUMBER = 4


def action_for(tag: BaseTag, vr: str) -> Action:
    """What the profile and its options do with a standard attribute."""
    if tag.group < 0x0008 or tag.group & 0xFF00 in (0x5000, 0x6000):  # command, directory; curves, overlays
        return Action.REMOVE
    return _OPTIONS.get(tag) or _PROFILE.get(tag) or _BY_VR.get(vr, Action.REMOVE)


def otherwise(tag: BaseTag) -> Action:
    """What is done with a text of which no word may stay."""
    listed = _PROFILE.get(tag, Action.REPLACE)
    return Action.REPLACE if listed is Action.KEEP else listed


def is_private_code(item: Dataset, tag: BaseTag) -> bool:
    """Whether an element is part of a code that is a hospital's or a vendor's own."""
    if tag not in _CODED or text(item, "CodingSchemeDesignator") in _STANDARD_CODES:
        return False
    return tag != Tag("CodeValue") or text(item, "CodeValue") not in TRACER_CODES


def is_valid(vr: str, values: Iterable[str]) -> bool:
    """Whether values have the form of their representation, so that nothing else can hide in them."""
    return vr not in _VALID or all(_VALID[vr].fullmatch(value) or _is_time(vr, value) for value in values)


def is_defined_term(tag: BaseTag, values: Iterable[str]) -> bool:
    """Whether an element holds terms of the standard alone, or an offset from UTC: they tell nothing of a person."""
    if tag == Tag("TimezoneOffsetFromUTC"):
        return all(map(_is_offset, values))
    return tag in _TERMS and _TERMS[tag].issuperset(value.upper() for value in values)


def _is_time(vr: str, value: str) -> bool:
    try:
        return vr == "TM" and bool(read_time(value) or True)
    except UnreadableValueError:
        return False


def _is_offset(value: str) -> bool:
    try:
        return bool(read_utc_offset(value))
    except UnreadableValueError:
        return False


class IdentityTokens:
    """Words that tell whose images these are, or who made them."""

    def __init__(self, dataset: Dataset) -> None:
        names = {part for name in _NAMES for value in texts(dataset, name) for part in _parts(value)}
        numbers = {value.casefold() for name in _NUMBERS for value in texts(dataset, name)}
        others = {part for name in _OTHERS for value in texts(dataset, name) for part in (value, *_parts(value))}
        self._words = names | {number for number in numbers if len(number) >= _SHORTEST_NUMBER}
        self._words |= {other for word in others if (other := word.casefold()) not in _WORDS}
        longest_first = sorted(map(re.escape, self._words), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(longest_first)})(?![^\W_])") if self._words else None

    def in_text(self, value: str) -> bool:
        """Whether a text holds one of the words."""
        return bool(self._pattern and self._pattern.search(value.casefold()))

    def cleaned(self, value: str) -> str:
        """A text without the words that are not in the vocabulary, or that identify."""
        tokens = _TOKEN.findall(value)
        safe = [token for token in tokens if self._is_safe(_plain(token))]
        return value.strip() if len(safe) == len(tokens) and value.isprintable() else " ".join(safe)

    def _is_safe(self, word: str) -> bool:
        return (word in _WORDS or bool(_MEASURE.fullmatch(word))) and word not in self._words


def _parts(name: str) -> list[str]:
    return [part.casefold() for part in re.split(r"[\^=,.\s-]+", name) if len(part) >= _SHORTEST_NAME]


def _plain(word: str) -> str:
    """Lower case, without accents."""
    return unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode().lower()
