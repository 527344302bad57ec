"""Clinical record -> the network's clinical vector, and the human names of its terms."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from fedpet.messages import Message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.record import ClinicalRecord
    from inference.contract import ClinicalTerm, Contract


@dataclass(frozen=True, eq=False)
class EncodedRecord:
    """Clinical input vector, shape (len(contract.inputs),), and the fields that were missing."""

    values: NDArray[np.float32]
    missing: tuple[str, ...]


def encode(record: ClinicalRecord, contract: Contract) -> EncodedRecord:
    """Encode the record as the contract says.

    A missing term is 0, the reference patient, and its flag (where it has one) is 1.
    """
    values = [_value(record, term) for term in contract.terms]
    scaled = [0.0 if x is None else (x - term.mean) / term.sd for x, term in zip(values, contract.terms, strict=True)]
    flags = [float(x is None) for x, term in zip(values, contract.terms, strict=True) if term.flag]
    missing = tuple(name for name in contract.variables if getattr(record, name) is None)
    return EncodedRecord(np.array([*scaled, *flags], np.float32), missing)


def _value(record: ClinicalRecord, term: ClinicalTerm) -> float | None:
    """The term before scaling, or None where a variable is missing."""
    given = [getattr(record, name) for name in term.variables]
    if any(x is None for x in given):
        return None
    match term.kind:
        case "number":
            return float(given[0])
        case "log_ratio":
            return log(given[0] / given[1])
        case "above_ratio":
            return float(given[0] > given[1])
        case "equals":
            return float(given[0] == term.level)
        case "at_least":
            return float(given[0] >= _threshold(term))


def _threshold(term: ClinicalTerm) -> float:
    if term.threshold is None:
        raise ValueError(f"term {term.name} of kind at_least has no threshold")
    return term.threshold


_LABELS = {
    "age": Message("Age"),
    "male": Message("Male sex"),
    "ecog_1": Message("ECOG PS ≥ 1"),
    "ecog_2": Message("ECOG PS ≥ 2"),
    "never_smoker": Message("Never smoker"),
    "squamous": Message("Squamous histology"),
    "pdl1_1": Message("PD-L1 TPS ≥ 1 %"),
    "pdl1_50": Message("PD-L1 TPS ≥ 50 %"),
    "line_2": Message("Second line or later"),
    "ldh_above_uln": Message("LDH above the upper limit of normal"),
    "nlr": Message("Neutrophil-to-lymphocyte ratio"),
    "leucocytes": Message("Leucocytes"),
    "albumin": Message("Albumin"),
    "steroids": Message("Steroids ≥ 10 mg/d"),
    "brain_metastases": Message("Brain metastases"),
    "liver_metastases": Message("Liver metastases"),
    "bone_metastases": Message("Bone metastases"),
    "image:tumour_volume": Message("Metabolic tumour volume (model's map)"),
    "image:tumour_uptake": Message("Mean tumour uptake (model's map)"),
    "image:dissemination": Message("Spread of the lesions (model's map)"),
    "image:necrosis": Message("Necrotic fraction (model's map)"),
    "image:liver_burden": Message("Liver lesions (model's map)"),
    "image:marrow_to_liver": Message("Marrow-to-liver ratio (model's map)"),
}


def term_label(name: str) -> Message:
    """Human label of a clinical term, of its missingness flag, or of an image biomarker."""
    if name.startswith("missing:"):
        return Message("{term}: missing", term=term_label(name.removeprefix("missing:")))
    return _LABELS[name]
